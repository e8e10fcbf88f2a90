//! See `rtun_fuzz::addressed_datagrams`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::addressed_datagrams(bytes));
