//! See `rtun_fuzz::ws_frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::ws_frames(bytes));
