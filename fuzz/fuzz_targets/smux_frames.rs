//! See `rtun_fuzz::smux_frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::smux_frames(bytes));
