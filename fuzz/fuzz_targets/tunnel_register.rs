//! See `rtun_fuzz::tunnel_register`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::tunnel_register(bytes));
