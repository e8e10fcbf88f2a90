//! See `rtun_fuzz::relay_request`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::relay_request(bytes));
