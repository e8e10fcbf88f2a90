//! See `rtun_fuzz::api_change`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::api_change(bytes));
