//! Any bytes as the script of a sender: the receiver comes to an end and harms nothing.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use tempfile::TempDir;

/// Of this process, since several may run side by side; in memory, if there is such a place.
static DIR: LazyLock<Option<TempDir>> = LazyLock::new(|| {
    let in_memory = TempDir::new_in("/dev/shm");
    in_memory.or_else(|_| TempDir::new()).ok()
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let dir = DIR.as_ref().map_or(Path::new("none"), TempDir::path);
    let _ = hasync_engine::fuzzing::receiver(data, dir);
});
