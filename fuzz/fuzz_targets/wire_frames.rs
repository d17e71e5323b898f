//! Any bytes as what a sender says, runs included.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hasync_engine::fuzzing::frames(data));
