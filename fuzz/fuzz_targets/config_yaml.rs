//! See `rtun_fuzz::config_yaml`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::config_yaml(bytes));
