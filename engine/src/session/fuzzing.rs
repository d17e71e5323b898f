//! What the fuzz targets run on both halves of a session: each against a peer that says what a
//! script has it say. A script is the options (2 bytes, little endian) and frames: kind (1 byte),
//! length of the payload (2), payload. The kind's third and fourth bit say what the peer waits for
//! before.

use std::ffi::OsString;
use std::fs::{DirEntry, create_dir, hard_link, read, read_dir, read_link, remove_dir_all, write};
use std::io::{self, Cursor, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{Connection, Duplex, serve};
use crate::error::Error;
use crate::observer::{Change, Note, Observer, Warning};
use crate::options::{Backup, BackupPlace, Options};
use crate::overlap::Whereabouts;
use crate::policy::ServePolicy;
use crate::wire::{
    FrameKind, FrameReader, Hello, HelloReply, ToReceiver, ToSender, decode, encode, pack_sum,
    preamble,
};

/// Longest file that a script may announce: what the disk holds is not at stake here.
const FILE_LEN_MAX: u64 = 1 << 20;

/// Directories of the tree that both halves work on.
const DIRS: usize = 3;

/// Any bytes as what a sender says after its hello: the receiver comes to an end, and what is
/// beside the target stays as it is. Works in `dir`, which must be empty or have been used before.
pub fn receiver(data: &[u8], dir: &Path) -> Result<(), Error> {
    let Some((&[low, high], script)) = data.split_first_chunk() else {
        return Ok(());
    };
    let _ = make_tree(dir);
    let beside = seen(dir);
    let hello = ToReceiver::Hello(Box::new(Hello {
        options: options(u16::from_le_bytes([low, high])),
        destination: dir.join("tree").as_os_str().as_bytes().to_vec(),
        single: false,
        digest_key: [0; 32],
        claim: None,
        whereabouts: Whereabouts::default(),
        readable: crate::namespaces::Namespaces::ALL,
        accounts: Vec::new(),
    }));
    let mut said = [&preamble()[..], &message(&hello)].concat();
    said.extend(frames(script).into_iter().flat_map(|(_, frame)| frame));
    let link = Duplex {
        reader: Box::new(Cursor::new(said)),
        writer: Box::new(io::sink()),
    };
    let result = serve(link, &ServePolicy::default());
    assert_eq!(seen(dir), beside);
    result
}

/// Any bytes as what a receiver says after its answer to the hello, once it has heard of all
/// directories: the sender comes to an end, and its source stays as it is. The peer does not wait
/// for longer than `patience` for what the script has it wait for.
pub fn sender(data: &[u8], dir: &Path, patience: Duration) -> Result<(), Error> {
    let Some((&[low, high], script)) = data.split_first_chunk() else {
        return Ok(());
    };
    let _ = make_tree(dir);
    let source = dir.join("tree");
    let before = (seen(dir), seen(&source));
    let reply = ToSender::HelloReply(Box::new(HelloReply::plain(false)));
    let mut rest = frames(script);
    // The last is said first.
    rest.reverse();
    rest.push((Need::Hello, message(&reply)));
    rest.push((Need::Nothing, preamble().to_vec()));
    let heard = Arc::new(Heard::default());
    let peer = Peer {
        heard: Arc::clone(&heard),
        patience,
        rest,
        before: Words::default(),
    };
    let link = Duplex {
        reader: Box::new(peer),
        writer: Box::new(Listening(heard, Vec::new())),
    };
    let options = options(u16::from_le_bytes([low, high]));
    let sources = [OsString::from(source.join(""))];
    let result = Connection::open(link).push(&sources, b"x", &options, &mut Unheard);
    assert_eq!((seen(dir), seen(&source)), before);
    result.map(drop)
}

/// Options by bits. What changes no side's behaviour by itself is as in `-a`.
fn options(bits: u16) -> Options {
    let has = |bit: u16| bits >> bit & 1 == 1;
    Options {
        delete: has(0),
        hard_links: has(1),
        checksum: has(2),
        sparse: has(3),
        atomic: has(4),
        update: has(5),
        whole_file: has(6),
        dry_run: has(7),
        numeric_ids: has(8),
        perms: !has(9),
        times: !has(10),
        max_delete: has(11).then_some(1),
        acls: has(12),
        xattrs: has(12),
        backup: has(13).then(|| Backup {
            place: match has(14) {
                true => BackupPlace::Below(b"kept".to_vec()),
                false => BackupPlace::Beside,
            },
            suffix: b"~".to_vec(),
        }),
        keep_dirlinks: has(14),
        safe_links: has(15),
        atimes: has(15),
        delete_missing: has(15),
        devices: false,
        ..Options::archive()
    }
}

/// A small tree with one of most kinds, and something beside it.
fn make_tree(dir: &Path) -> io::Result<()> {
    let tree = dir.join("tree");
    if tree.exists() {
        remove_dir_all(&tree)?;
    } else {
        write(dir.join("beside"), "untouched")?;
    }
    for part in ["", "dir", "dir/inner"] {
        create_dir(tree.join(part))?;
    }
    write(tree.join("file"), "small")?;
    write(tree.join("dir/long"), [7; 5000])?;
    hard_link(tree.join("file"), tree.join("dir/linked"))?;
    symlink("../beside", tree.join("link"))
}

/// What is in a directory, and what it is.
fn seen(dir: &Path) -> Vec<String> {
    let tell = |entry: DirEntry| -> io::Result<String> {
        let (path, meta) = (entry.path(), entry.metadata()?);
        // The tree itself is what is worked on.
        if meta.is_dir() {
            return Ok(format!("{path:?}"));
        }
        let (mode, ino, mtime) = (meta.mode(), meta.ino(), meta.mtime());
        let content = read_link(&path).map_or_else(
            |_| read(&path),
            |to| Ok(to.into_os_string().into_encoded_bytes()),
        );
        Ok(format!("{path:?} {mode:o} {ino} {mtime} {:?}", content?))
    };
    let entries = read_dir(dir).into_iter().flatten();
    let mut all: Vec<_> = entries
        .map(|entry| format!("{:?}", entry.and_then(tell)))
        .collect();
    all.sort();
    all
}

/// What a peer waits for before it says something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Hello,
    /// All directories.
    Dirs,
    /// One ask more about a basis.
    Ask,
    /// The end of one file more.
    FileEnd,
    ContentDone,
}

/// The frames of a script.
fn frames(mut script: &[u8]) -> Vec<(Need, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some((&[kind, low, high], rest)) = script.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (payload, rest) = rest.split_at(len);
        script = rest;
        let need = match kind >> 2 & 3 {
            0 => Need::Dirs,
            1 => Need::Ask,
            2 => Need::FileEnd,
            _ => Need::ContentDone,
        };
        let frame = match (kind & 3, decode(payload)) {
            (
                0,
                Ok(ToReceiver::FileBegin {
                    dir,
                    entry,
                    len,
                    since,
                }),
            ) => {
                let len = len.min(FILE_LEN_MAX);
                message(&ToReceiver::FileBegin {
                    dir,
                    entry,
                    len,
                    since,
                })
            }
            // Nobody guesses a sum.
            (1, _) => frame(1, &[payload, &pack_sum(&[payload])].concat()),
            (kind, _) => frame(kind, payload),
        };
        all.push((need, frame));
    }
    all
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let header = payload.len() as u32 | u32::from(kind) << 24;
    [&header.to_le_bytes(), payload].concat()
}

fn message(message: &impl serde::Serialize) -> Vec<u8> {
    let mut payload = Vec::new();
    let _ = encode(message, &mut payload);
    frame(0, &payload)
}

/// What the sender has said.
#[derive(Clone, Copy, Default)]
struct Words {
    hellos: usize,
    dirs: usize,
    asks: usize,
    ends: usize,
    dones: usize,
    is_gone: bool,
}

#[derive(Default)]
struct Heard(Mutex<Words>, Condvar);

impl Heard {
    fn change(&self, change: impl FnOnce(&mut Words)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.1.notify_all();
    }

    /// Waits for what is needed and was not `before`; gives what has been said by then.
    fn wait(&self, need: Need, before: Words, patience: Duration) -> Words {
        let lacks = |words: &mut Words| {
            let has = match need {
                Need::Nothing => true,
                Need::Hello => words.hellos > 0,
                Need::Dirs => words.dirs >= DIRS,
                Need::Ask => words.asks > before.asks,
                Need::FileEnd => words.ends > before.ends,
                Need::ContentDone => words.dones > 0,
            };
            !has && !words.is_gone
        };
        let patience = match need {
            Need::Ask | Need::FileEnd | Need::ContentDone => patience,
            // An honest sender says these whatever it hears.
            Need::Nothing | Need::Hello | Need::Dirs => Duration::MAX,
        };
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.1.wait_timeout_while(heard, patience, lacks);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A receiver that says one thing after another.
struct Peer {
    heard: Arc<Heard>,
    patience: Duration,
    rest: Vec<(Need, Vec<u8>)>,
    /// What had been said when it last waited for an ask or the end of a file.
    before: Words,
}

impl Read for Peer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some((need, said)) = self.rest.last_mut() else {
            return Ok(0);
        };
        let heard = self.heard.wait(*need, self.before, self.patience);
        match need {
            Need::Ask => self.before.asks = heard.asks,
            Need::FileEnd => self.before.ends = heard.ends,
            _ => {}
        }
        *need = Need::Nothing;
        let len = buf.len().min(said.len());
        buf[..len].copy_from_slice(&said[..len]);
        said.drain(..len);
        if said.is_empty() {
            self.rest.pop();
        }
        Ok(len)
    }
}

/// Hears what the sender says.
struct Listening(Arc<Heard>, Vec<u8>);

impl Write for Listening {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.extend_from_slice(bytes);
        let mut reader = FrameReader::new(Box::new(Cursor::new(self.1.clone())));
        let _ = reader.preamble();
        let mut words = Words::default();
        while let Ok(Some(frame)) = reader.next() {
            if frame.kind != FrameKind::Message {
                words.asks += usize::from(frame.kind == FrameKind::Exchange);
                continue;
            }
            match decode(frame.payload) {
                Ok(ToReceiver::Hello(_)) => words.hellos += 1,
                Ok(ToReceiver::Dir { .. }) => words.dirs += 1,
                Ok(ToReceiver::FileEnd { .. }) => words.ends += 1,
                Ok(ToReceiver::ContentDone { .. }) => words.dones += 1,
                _ => {}
            }
        }
        self.0.change(|heard| *heard = words);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.change(|heard| heard.is_gone = true);
    }
}

struct Unheard;

impl Observer for Unheard {
    fn change(&mut self, _change: &Change<'_>) {}
    fn warn(&mut self, _warning: &Warning) {}
    fn note(&mut self, _note: &Note<'_>) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use crate::error::Error;
    use crate::fuzzing;

    /// Longer than an honest sender takes to say what is waited for.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// What the fuzz targets begin with, and what they have found. That honest seeds are refused
    /// would say that they are out of date: fuzz/seeds.py makes them anew.
    #[test]
    fn fuzz_corpus_passes() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        let well = |run: fn(&[u8])| {
            move |data: &[u8]| -> Result<(), Error> {
                run(data);
                Ok(())
            }
        };
        type Entry<'a> = &'a dyn Fn(&[u8]) -> Result<(), Error>;
        let targets: [(&str, Entry<'_>); 5] = [
            ("wire_frames", &well(fuzzing::frames)),
            ("message_to_receiver", &well(fuzzing::to_receiver)),
            ("message_to_sender", &well(fuzzing::to_sender)),
            ("session_receiver", &|data| fuzzing::receiver(data, dir)),
            ("session_sender", &|data| {
                fuzzing::sender(data, dir, PATIENCE)
            }),
        ];
        let mut wrong = Vec::new();
        for (target, run) in targets {
            let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus");
            let files: Vec<_> = std::fs::read_dir(format!("{corpus}/{target}"))
                .unwrap()
                .collect();
            assert!(!files.is_empty(), "{target} has no corpus");
            for file in files {
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let result = run(&std::fs::read(&path).unwrap());
                let expected = name.starts_with("refused_");
                if !name.starts_with("found_") && result.is_err() != expected {
                    wrong.push((target, name, result));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
