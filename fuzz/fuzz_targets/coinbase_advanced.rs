#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::drive("coinbase_advanced", data));
