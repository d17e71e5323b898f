//! Any bytes as an encoded signature, and a search with what decodes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hasync_engine::delta::fuzzing::signature_decode(data));
