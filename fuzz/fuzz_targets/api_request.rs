//! See `rtun_fuzz::api_request`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::api_request(bytes));
