//! See `rtun_fuzz::extension_frame`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::extension_frame(bytes));
