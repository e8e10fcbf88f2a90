//! See `rtun_fuzz::admission_text`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::admission_text(bytes));
