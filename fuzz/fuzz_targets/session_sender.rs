//! Any bytes as the script of a receiver: the sender comes to an end and harms nothing.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use tempfile::TempDir;

/// Of this process, since several may run side by side; in memory, if there is such a place.
static DIR: LazyLock<Option<TempDir>> = LazyLock::new(|| {
    let in_memory = TempDir::new_in("/dev/shm");
    in_memory.or_else(|_| TempDir::new()).ok()
});

/// How long the receiver waits for what the sender may never say.
const PATIENCE: Duration = Duration::from_millis(20);

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let dir = DIR.as_ref().map_or(Path::new("none"), TempDir::path);
    let _ = hasync_engine::fuzzing::sender(data, dir, PATIENCE);
});
