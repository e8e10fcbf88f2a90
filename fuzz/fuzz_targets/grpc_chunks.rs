//! See `rtun_fuzz::grpc_chunks`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::grpc_chunks(bytes));
