//! Any bytes as a message of the receiver.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hasync_engine::fuzzing::to_sender(data));
