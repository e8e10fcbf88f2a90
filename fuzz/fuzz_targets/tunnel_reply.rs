//! See `rtun_fuzz::tunnel_reply`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::tunnel_reply(bytes));
