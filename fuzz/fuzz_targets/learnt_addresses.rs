//! See `rtun_fuzz::learnt_addresses`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::learnt_addresses(bytes));
