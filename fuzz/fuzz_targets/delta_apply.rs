//! Any bytes as a basis and an encoded delta, applied under a limit.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hasync_engine::delta::fuzzing::delta_apply(data));
