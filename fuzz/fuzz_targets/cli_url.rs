//! See `rtun_fuzz::cli_url`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::cli_url(bytes));
