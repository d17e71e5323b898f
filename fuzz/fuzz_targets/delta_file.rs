//! Any bytes as a signature file and as a delta file, also behind seals that are right.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hasync_engine::delta::fuzzing::delta_file(data));
