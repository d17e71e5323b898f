//! Any bytes as an ask of the delta exchange.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hasync_engine::delta::fuzzing::exchange_ask(data));
