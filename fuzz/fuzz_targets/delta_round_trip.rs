//! Any bytes as a basis and a source: signature, search and apply rebuild the source.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hasync_engine::delta::fuzzing::round_trip(data));
