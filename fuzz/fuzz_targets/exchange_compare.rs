//! Any bytes as an offer of the delta exchange and the answers that follow.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hasync_engine::delta::fuzzing::exchange_compare(data));
