//! The link that ends after every single frame of a push, in both directions: nothing half-written
//! is left, the sender says that the stream broke, and the next push makes the trees equal.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod halves;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::{JoinHandle, spawn};

use halves::duplex;
use hasync_engine::{
    Change, Error, ErrorKind, Note, Observer, Options, ServePolicy, Summary, Warning, push, serve,
};

const PREAMBLE_LEN: usize = 8;
const HEADER_LEN: usize = 4;

/// Frames each way of the push below, at least: a hello, directories, entries, content, an end.
const FRAMES_MIN: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

struct Silent;

impl Observer for Silent {
    fn change(&mut self, _change: &Change<'_>) {}
    fn warn(&mut self, warning: &Warning) {
        panic!("{}", warning.message);
    }
    fn note(&mut self, _note: &Note<'_>) {}
}

#[test]
fn requests_end_after_any_frame() {
    cut_after_every_frame(Direction::Request, false);
}

#[test]
fn answers_end_after_any_frame() {
    cut_after_every_frame(Direction::Answer, false);
}

#[test]
fn requests_of_an_atomic_push_end_after_any_frame() {
    cut_after_every_frame(Direction::Request, true);
}

#[test]
fn answers_of_an_atomic_push_end_after_any_frame() {
    cut_after_every_frame(Direction::Answer, true);
}

fn cut_after_every_frame(direction: Direction, atomic: bool) {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    let versions = Versions(&source);
    versions.write(0);
    run(&source, &target, atomic, None).0.unwrap();
    // Frame 0 is the preamble.
    for frames in 0.. {
        let old = files(&target);
        assert_eq!(old, files(&source));
        versions.write(frames + 1);
        let new = files(&source);
        let (result, cut) = run(&source, &target, atomic, Some((direction, frames)));
        let now = files(&target);
        for (path, content) in now.iter().filter(|(path, _)| !path.starts_with(".hasync")) {
            let known = [old.get(path), new.get(path)];
            let shown = path.display();
            assert!(
                known.contains(&Some(content)),
                "{shown} is neither old nor new after {frames} frames"
            );
        }
        for path in old.keys().filter(|path| new.contains_key(*path)) {
            assert!(
                now.contains_key(path),
                "{path:?} is gone after {frames} frames"
            );
        }
        if !cut {
            result.unwrap();
            assert_eq!(now, new);
            assert!(frames > FRAMES_MIN, "only {frames} frames");
            return;
        }
        match result {
            Err(e) => assert_eq!(e.kind, ErrorKind::Stream, "{frames} frames: {}", e.message),
            // Only the very end of the stream was cut off.
            Ok(_) => assert_eq!(now, new),
        }
        run(&source, &target, atomic, None).0.unwrap();
        assert!(!target.join(".hasync").exists());
    }
}

/// One push; `cut` ends the link after that many frames of one direction. Says whether it did.
fn run(
    source: &Path,
    target: &Path,
    atomic: bool,
    cut: Option<(Direction, usize)>,
) -> (Result<Summary, Error>, bool) {
    let (ours, sender_side) = UnixStream::pair().unwrap();
    let (theirs, receiver_side) = UnixStream::pair().unwrap();
    let limit = |direction| cut.filter(|cut| cut.0 == direction).map(|cut| cut.1);
    let request = pass(&sender_side, &receiver_side, limit(Direction::Request));
    let answer = pass(&receiver_side, &sender_side, limit(Direction::Answer));
    let receiver = duplex(&theirs);
    let half = spawn(move || {
        // Its reason is the sender's to tell.
        let _ = serve(receiver, &ServePolicy::default());
    });
    let sources = [OsString::from(format!("{}/", source.display()))];
    let options = Options {
        delete: true,
        hard_links: true,
        fsync: false,
        atomic,
        ..Options::archive()
    };
    let target = target.as_os_str().as_encoded_bytes();
    let result = push(duplex(&ours), &sources, target, &options, &mut Silent);
    half.join().unwrap();
    let cuts = [request, answer].map(|thread| thread.join().unwrap());
    (result, cuts.contains(&true))
}

/// Passes the preamble and whole frames on; after `limit` of them the link is gone, both ways,
/// and the result is true.
fn pass(from: &UnixStream, to: &UnixStream, limit: Option<usize>) -> JoinHandle<bool> {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    spawn(move || {
        for passed in 0.. {
            if limit == Some(passed) {
                // What was passed can still be read at either end.
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return true;
            }
            let part = if passed == 0 {
                exactly(&mut from, PREAMBLE_LEN)
            } else {
                frame(&mut from)
            };
            if part.and_then(|part| to.write_all(&part)).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
        false
    })
}

fn frame(from: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut frame = exactly(from, HEADER_LEN)?;
    let len = u32::from_le_bytes([frame[0], frame[1], frame[2], 0]);
    frame.extend(exactly(from, len as usize)?);
    Ok(frame)
}

fn exactly(from: &mut UnixStream, len: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A source that is different each time in every way a push has a message for.
struct Versions<'a>(&'a Path);

impl Versions<'_> {
    fn write(&self, version: usize) {
        let at = |name: &str| self.0.join(name);
        let write = |name: &str, content: Vec<u8>| {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), content).unwrap();
        };
        // The length tells versions apart even where the clock does not.
        let text = |name: &str| {
            format!("{name} {version} ")
                .repeat(version + 1)
                .into_bytes()
        };
        for name in ["a", "dir/b", "dir/sub/c"] {
            write(name, text(name));
        }
        let mut large = vec![7; 600_000];
        large[300_000..300_008].copy_from_slice(&(version as u64).to_le_bytes());
        large.extend(text("large"));
        write("large", large);
        let previous = version.wrapping_sub(1);
        let _ = std::fs::remove_dir_all(at(&format!("new-{previous}")));
        let _ = std::fs::remove_file(at(&format!("dir/only-{previous}")));
        write(&format!("new-{version}/deep/file"), text("new"));
        write(&format!("dir/only-{version}"), text("only"));
        for name in ["link", "first", "second"] {
            let _ = std::fs::remove_file(at(name));
        }
        write("first", text("linked"));
        std::fs::hard_link(at("first"), at("second")).unwrap();
        symlink(format!("to-{version}"), at("link")).unwrap();
    }
}

/// Every file's content and every symlink's target, by path below `root`.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = walkdir::WalkDir::new(root).into_iter().flatten();
    let content = |entry: walkdir::DirEntry| {
        let path = entry.path();
        let content = match entry.file_type() {
            kind if kind.is_dir() => return None,
            kind if kind.is_symlink() => std::fs::read_link(path).unwrap().into_os_string(),
            _ => return Some((path.to_owned(), std::fs::read(path).unwrap())),
        };
        Some((path.to_owned(), content.into_encoded_bytes()))
    };
    let below = |(path, content): (PathBuf, _)| {
        let path = path.strip_prefix(root).unwrap().to_owned();
        (path, content)
    };
    entries.filter_map(content).map(below).collect()
}
