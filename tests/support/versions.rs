//! Trees whose files say of every block which version it belongs to, so that a reader can
//! tell an old file, a new file and a half-written one apart at any moment of a push.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::snapshot::{Snapshot, shown};
use super::temptree::set_mtime;

/// A file's bytes: 16-byte blocks, each naming file and version.
pub(crate) fn content(file: usize, version: u32, blocks: usize) -> Vec<u8> {
    format!("{file:07}:v{version:06}\n")
        .into_bytes()
        .repeat(blocks)
}

/// Writes `count` files `dir<d>/f<n>` of `version`; mtimes tell versions apart.
pub(crate) fn write_tree(root: &Path, count: usize, version: u32, blocks: usize) {
    for file in 0..count {
        let path = root.join(name(file));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content(file, version, blocks)).unwrap();
        set_mtime(&path, 1_600_000_000 + i64::from(version), 0);
    }
}

/// The relative name of the n-th file.
pub(crate) fn name(file: usize) -> String {
    format!("dir{}/f{file}", file % 7)
}

/// Fails unless every file of `now` is wholly old or wholly new, and every name that both
/// the old and the new tree have is there. hasync's own staging is not looked at.
#[track_caller]
pub(crate) fn assert_old_or_new(now: &Snapshot, old: &Snapshot, new: &Snapshot) {
    let staged = |path: &[u8]| path.split(|b| *b == b'/').any(|part| part == b".hasync");
    for (path, entry) in now.entries.iter().filter(|(path, _)| !staged(path)) {
        let known = [old, new]
            .into_iter()
            .filter_map(|tree| tree.entries.get(path));
        let known: Vec<_> = known.collect();
        assert!(!known.is_empty(), "{} is in neither tree", shown(path));
        let whole = known
            .iter()
            .any(|version| version.kind == entry.kind && version.content == entry.content);
        assert!(whole, "{} is neither old nor new: {entry:?}", shown(path));
    }
    for path in old
        .entries
        .keys()
        .filter(|path| new.entries.contains_key(*path))
    {
        assert!(now.entries.contains_key(path), "{} is gone", shown(path));
    }
}

/// Reads every file of a tree over and over; stops and reports on `finish`.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    thread: thread::JoinHandle<BTreeSet<String>>,
}

impl Watcher {
    pub(crate) fn start(root: &Path, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(AtomicU64::new(0));
        let root = root.to_owned();
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&reads));
        let thread = thread::spawn(move || {
            let mut wrong = BTreeSet::new();
            while !stopped.load(Ordering::Relaxed) {
                for file in 0..count {
                    wrong.extend(look(&root, file));
                }
                counted.fetch_add(count as u64, Ordering::Relaxed);
            }
            wrong
        });
        Self {
            stop,
            reads,
            thread,
        }
    }

    /// Fails when a name was ever absent or a file ever mixed; gives the number of reads.
    #[track_caller]
    pub(crate) fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let wrong = self.thread.join().unwrap();
        assert!(
            wrong.is_empty(),
            "seen by a reader during the push: {wrong:#?}"
        );
        self.reads.load(Ordering::Relaxed)
    }
}

fn look(root: &Path, file: usize) -> Option<String> {
    let name = name(file);
    let data = match std::fs::read(root.join(&name)) {
        Ok(data) => data,
        Err(error) => return Some(format!("{name}: {error}")),
    };
    let Some(first) = data.get(..16) else {
        return Some(format!("{name}: cut to {} bytes", data.len()));
    };
    let mixed = data.chunks(16).any(|block| block != first);
    mixed.then(|| format!("{name}: half-written"))
}
