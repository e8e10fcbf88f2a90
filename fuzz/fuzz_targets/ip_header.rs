//! See `rtun_fuzz::ip_header`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::ip_header(bytes));
