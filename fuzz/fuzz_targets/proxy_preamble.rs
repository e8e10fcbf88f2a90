//! See `rtun_fuzz::proxy_preamble`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::proxy_preamble(bytes));
