//! See `rtun_fuzz::sealed_datagram`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::sealed_datagram(bytes));
