//! See `rtun_fuzz::tls_padding`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::tls_padding(bytes));
