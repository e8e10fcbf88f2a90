//! See `rtun_fuzz::ethernet_frame`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::ethernet_frame(bytes));
