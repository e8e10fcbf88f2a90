//! See `rtun_fuzz::routes_text`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::routes_text(bytes));
