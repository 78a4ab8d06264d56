#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fairlead::testing::fuzz::proxy_protocol(data));
