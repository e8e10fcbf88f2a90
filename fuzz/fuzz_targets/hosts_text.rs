//! See `rtun_fuzz::hosts_text`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::hosts_text(bytes));
