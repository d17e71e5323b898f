//! An atomic push whose connection broke: nothing has changed, and the next push takes up what the
//! standby had staged.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod halves;
mod histories;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use halves::{Log, duplex, options, push_ok};
use hasync_engine::{Duplex, Error, Options, ServePolicy, Summary, push, serve};
use histories::{apply, edit, histories, part, scan, state};
use proptest::prelude::*;

fn atomic() -> Options {
    Options {
        atomic: true,
        hard_links: true,
        ..options()
    }
}

/// A writer whose link is gone after so many bytes.
struct Breaking {
    link: UnixStream,
    left: usize,
}

impl Write for Breaking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            let _ = self.link.shutdown(Shutdown::Both);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = bytes.len().min(self.left);
        let written = self.link.write(bytes.get(..len).unwrap_or_default())?;
        self.left -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.link.flush()
    }
}

impl Drop for Breaking {
    fn drop(&mut self) {
        let _ = self.link.shutdown(Shutdown::Write);
    }
}

/// What a reader sees below the root, whose own time tells that there is a `.hasync`.
fn inside(root: &Path) -> BTreeMap<String, String> {
    part(&scan(root), |path| !path.is_empty())
}

/// A push over a link that carries `len` bytes to the standby and no more.
fn push_over(
    source: &Path,
    target: &Path,
    options: &Options,
    len: usize,
) -> Result<Summary, Error> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let receiver = duplex(&theirs);
    let half = std::thread::spawn(move || {
        // Its reason is the sender's to tell.
        let _ = serve(receiver, &ServePolicy::default());
    });
    let link = Duplex {
        reader: Box::new(ours.try_clone().unwrap()),
        writer: Box::new(Breaking {
            link: ours,
            left: len,
        }),
    };
    let sources = [OsString::from(format!("{}/", source.display()))];
    let target = target.as_os_str().as_encoded_bytes();
    let result = push(link, &sources, target, options, &mut Log::default());
    half.join().unwrap();
    result
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// New directories in one another, a directory that is there already, and a file in the root.
fn make_source(source: &Path) {
    for dir in 0..6 {
        for file in 0..20 {
            let path = source.join(format!("new/d{dir}/sub/f{file:02}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, noise(20_000, dir * 100 + file)).unwrap();
        }
    }
    fs::create_dir_all(source.join("old")).unwrap();
    for file in 0..20 {
        let path = source.join(format!("old/f{file:02}"));
        fs::write(path, noise(20_000, 1000 + file)).unwrap();
    }
    fs::write(source.join("root"), noise(20_000, 7)).unwrap();
}

const SOURCE_LEN: usize = (6 * 20 + 20 + 1) * 20_000;

#[test]
fn what_has_arrived_is_not_sent_again() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    make_source(&source);
    let (_, uninterrupted) = push_ok(&source, &temp.path().join("whole"), &atomic());
    fs::create_dir_all(target.join("old")).unwrap();
    fs::write(target.join("old/f03"), "old").unwrap();
    let before = inside(&target);
    for part in [3, 2] {
        push_over(&source, &target, &atomic(), SOURCE_LEN / part).unwrap_err();
        assert_eq!(inside(&target), before);
        assert!(target.join(".hasync").exists());
    }
    let (summary, log) = push_ok(&source, &target, &atomic());
    assert_eq!(state(&target), state(&source));
    assert!(!target.join(".hasync").exists());
    // A third had arrived, then a half of the rest: what was on its way may be lost.
    let sent = summary.sent_bytes as usize;
    assert!(sent < SOURCE_LEN * 2 / 5, "{sent} of {SOURCE_LEN}");
    // What is told is what changes, not how it came.
    let is_new = |line: &&(_, String)| line.1 != "." && !line.1.starts_with("old");
    let lines = |log: &Log| log.lines.iter().filter(is_new).cloned().collect::<Vec<_>>();
    assert_eq!(lines(&log), lines(&uninterrupted));
}

#[test]
fn what_has_changed_meanwhile_is_sent() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    make_source(&source);
    push_over(&source, &target, &atomic(), SOURCE_LEN * 3 / 4).unwrap_err();
    fs::write(source.join("new/d0/sub/f00"), noise(20_000, 5000)).unwrap();
    fs::remove_dir_all(source.join("new/d1")).unwrap();
    fs::write(source.join("new/d1"), "a file now").unwrap();
    fs::rename(source.join("new/d2"), source.join("new/e2")).unwrap();
    push_ok(&source, &target, &atomic());
    assert_eq!(state(&target), state(&source));
    assert!(!target.join(".hasync").exists());
}

#[test]
fn of_a_large_file_the_rest_is_sent() {
    const LEN: usize = 24 << 20;
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    fs::create_dir_all(source.join("new")).unwrap();
    fs::create_dir(&target).unwrap();
    for (interrupted, file) in ["alone", "new/first"].into_iter().enumerate() {
        fs::write(source.join(file), noise(LEN, interrupted as u64)).unwrap();
        push_over(&source, &target, &atomic(), LEN * 3 / 4).unwrap_err();
        assert!(!target.join(file).exists());
        let (summary, _) = push_ok(&source, &target, &atomic());
        assert_eq!(state(&target), state(&source));
        let sent = summary.literal_bytes as usize;
        assert!(sent < LEN / 2, "{sent} of {LEN} for {file}");
        assert!(!target.join(".hasync").exists());
    }
}

#[test]
fn a_push_that_is_not_atomic_removes_what_was_left() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    make_source(&source);
    push_over(&source, &target, &atomic(), SOURCE_LEN / 2).unwrap_err();
    assert!(target.join(".hasync").exists());
    push_ok(&source, &target, &options());
    assert_eq!(state(&target), state(&source));
    assert!(!target.join(".hasync").exists());
}

#[test]
fn what_a_crash_left_is_not_trusted() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    make_source(&source);
    push_over(&source, &target, &atomic(), SOURCE_LEN / 2).unwrap_err();
    // As if it had ended before its note was written, with content that never reached the disk.
    for entry in walkdir::WalkDir::new(target.join(".hasync")) {
        let entry = entry.unwrap();
        if entry.file_name() == "interrupted" {
            fs::remove_file(entry.path()).unwrap();
        } else if entry.file_type().is_file() {
            let mtime = filetime::FileTime::from_last_modification_time(&entry.metadata().unwrap());
            fs::write(entry.path(), vec![0; 20_000]).unwrap();
            filetime::set_file_mtime(entry.path(), mtime).unwrap();
        }
    }
    push_ok(&source, &target, &atomic());
    assert_eq!(state(&target), state(&source));
    for file in ["new/d0/sub/f00", "new/d5/sub/f19", "old/f07", "root"] {
        assert!(fs::read(source.join(file)).unwrap() == fs::read(target.join(file)).unwrap());
    }
    assert!(!target.join(".hasync").exists());
}

proptest! {
    #![proptest_config(histories())]

    #[test]
    fn any_history_arrives_over_a_link_that_breaks(
        history in prop::collection::vec(
            (prop::collection::vec(edit(), 1..12), prop::option::of(0_usize..4_000)), 1..8),
    ) {
        // Flushes cost nothing there.
        let temp = tempfile::tempdir_in("/dev/shm").unwrap();
        let (source, target) = (temp.path().join("s"), temp.path().join("t"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&target).unwrap();
        for (edits, broken_after) in &history {
            edits.iter().for_each(|edit| apply(&source, edit));
            let before = inside(&target);
            let result = match broken_after {
                Some(len) => push_over(&source, &target, &atomic(), *len),
                None => Ok(push_ok(&source, &target, &atomic()).0),
            };
            let (now, wanted) = (inside(&target), inside(&source));
            prop_assert!(now == before || now == wanted, "{now:?}");
            prop_assert!(result.is_err() || now == wanted);
        }
        push_ok(&source, &target, &atomic());
        prop_assert_eq!(state(&target), state(&source));
        prop_assert!(!target.join(".hasync").exists());
    }
}
