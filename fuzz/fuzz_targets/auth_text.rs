//! See `rtun_fuzz::auth_text`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::auth_text(bytes));
