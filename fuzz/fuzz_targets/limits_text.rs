//! See `rtun_fuzz::limits_text`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::limits_text(bytes));
