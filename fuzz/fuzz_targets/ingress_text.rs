//! See `rtun_fuzz::ingress_text`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::ingress_text(bytes));
