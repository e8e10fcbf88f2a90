//! See `rtun_fuzz::virtio`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtun_fuzz::virtio(bytes));
