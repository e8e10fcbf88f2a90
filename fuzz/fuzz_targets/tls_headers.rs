//! See `rtun_fuzz::tls_headers`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::tls_headers(bytes));
