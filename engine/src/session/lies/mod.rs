//! Tests: a peer that lies. Two honest halves talk through somebody who changes single words of
//! theirs, which is what a peer that was taken over can do.

#![allow(clippy::unwrap_used, clippy::panic)]

mod deletions;
mod depth;
mod dry_runs;
mod floods;
mod idle;
mod ids;
mod leaves;
mod lineage;
mod links;
mod numbers;
mod scene;
mod script;
mod table;
mod to_receiver;
mod to_sender;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Connection, Duplex, serve};
use crate::error::Error;
use crate::generation::{Sealed, Standing, Tree};
use crate::history::UndoPolicy;
use crate::lineage::claim::Claim;
use crate::observer::{Change, Note, Observer, Warning};
use crate::options::{Compression, Options};
use crate::policy::ServePolicy;
use crate::policy::Wish::Service;
use crate::wire::{FrameKind, FrameReader, FrameWriter, ToReceiver, ToSender, decode};

struct Unheard;

impl Observer for Unheard {
    fn change(&mut self, _change: &Change<'_>) {}
    fn warn(&mut self, _warning: &Warning) {}
    fn note(&mut self, _note: &Note<'_>) {}
}

/// What one node wants of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Push,
    DryRun,
    Compare,
    Ask,
}

use Wish::{Ask, Compare, DryRun, Push};

const ALL: [Wish; 4] = [Push, DryRun, Compare, Ask];

/// Those that begin with a claim.
const CLAIMED: [Wish; 3] = [Push, DryRun, Compare];

/// How the receiver stands, in whatever message says it.
fn standing(message: &mut ToSender) -> Option<&mut Standing> {
    match message {
        ToSender::Standing(standing) => Some(standing),
        ToSender::Told { standing, .. } => standing.as_deref_mut(),
        _ => None,
    }
}

fn tree(temp: &Path, node: &str) -> Tree {
    let root = temp.join(node).join("html");
    std::fs::create_dir_all(&root).unwrap();
    Tree {
        name: "html".to_owned(),
        root,
        files: Vec::new(),
        node: node.to_owned(),
        state_dir: temp.join(node).join("state"),
        undo: UndoPolicy {
            keep: 3,
            ..UndoPolicy::default()
        },
        lock_file: None,
    }
}

/// Passes frames on from one stream to another, and messages as `pass` leaves them.
fn relay<M: serde::de::DeserializeOwned>(
    from: &UnixStream,
    to: &UnixStream,
    mut pass: impl FnMut(&mut FrameWriter, M) -> Result<(), Error>,
) {
    let mut reader = FrameReader::new(Box::new(from.try_clone().unwrap()));
    let mut writer = FrameWriter::new(Box::new(to.try_clone().unwrap()));
    let mut run = || -> Result<(), Error> {
        writer.raw(reader.preamble()?);
        writer.flush()?;
        while let Some(frame) = reader.next()? {
            match frame.kind {
                FrameKind::Message => pass(&mut writer, decode(frame.payload)?)?,
                kind => writer.put(kind, frame.payload, &[])?,
            }
            writer.flush()?;
        }
        Ok(())
    };
    // It ends with either half, and neither waits for it then.
    let _ = run();
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

fn duplex(stream: &UnixStream) -> Duplex {
    Duplex {
        reader: Box::new(stream.try_clone().unwrap()),
        writer: Box::new(stream.try_clone().unwrap()),
    }
}

/// Lets nobody wait for a half that has ended, by a panic too.
struct End<'a>(&'a UnixStream);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Lets `from` do what it wishes with `to`, while one side or the other lies in its claim or in its
/// answers. What is sealed comes back if something was pushed.
fn meet(
    from: &Tree,
    to: &Tree,
    wish: Wish,
    claim: impl Fn(&mut Claim) + Sync,
    answer: impl Fn(&mut ToSender) + Sync,
) -> Result<Option<Sealed>, Error> {
    let tell = |message: &mut ToReceiver| {
        if let ToReceiver::Hello(hello) = message {
            hello.claim.as_mut().into_iter().for_each(&claim);
        }
    };
    through(from, to, wish, tell, answer, None)
}

/// The same with any message. Either half that waits for longer than `patience` gives up.
fn through(
    from: &Tree,
    to: &Tree,
    wish: Wish,
    tell: impl Fn(&mut ToReceiver) + Sync,
    answer: impl Fn(&mut ToSender) + Sync,
    patience: Option<Duration>,
) -> Result<Option<Sealed>, Error> {
    let (ours, to_us) = UnixStream::pair().unwrap();
    let (theirs, to_them) = UnixStream::pair().unwrap();
    for half in [&ours, &theirs] {
        half.set_read_timeout(patience).unwrap();
        half.set_write_timeout(patience).unwrap();
    }
    let options = Options {
        delete: true,
        dry_run: wish == DryRun,
        compression: Compression::Never,
        ..Options::archive()
    };
    let policy = ServePolicy {
        trees: vec![to.clone()],
        ..ServePolicy::default()
    };
    let sources = [OsString::from(format!("{}/", from.root.display()))];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _end = End(&theirs);
            let _ = serve(duplex(&theirs), &policy);
        });
        scope.spawn(|| {
            relay(&to_us, &to_them, |writer, mut message| {
                tell(&mut message);
                writer.put_to_receiver(&message)
            });
        });
        scope.spawn(|| {
            relay(&to_them, &to_us, |writer, mut message| {
                answer(&mut message);
                writer.put_to_sender(&message)
            });
        });
        let _end = End(&ours);
        let mut connection = Connection::open(duplex(&ours));
        let result = match wish {
            Push | DryRun => connection
                .push_tree(&sources, from, &options, &mut Unheard)
                .map(|summary| summary.sealed.map(|sealed| *sealed)),
            Compare => connection
                .compare_tree(&sources, from, &options, &mut Unheard)
                .map(|_| None),
            Ask => connection.ask(from, Service).map(|_| None),
        };
        drop(connection);
        result
    })
}

fn truth<T>(_: &mut T) {}

fn write(tree: &Tree, content: &str) {
    std::fs::write(tree.root.join("file"), content).unwrap();
}

/// Node a has pushed to node b twice, so that there are old generations.
fn mirrored(temp: &Path) -> (Tree, Tree) {
    let (a, b) = (tree(temp, "a"), tree(temp, "b"));
    for content in ["one", "two is longer"] {
        write(&a, content);
        meet(&a, &b, Push, truth, truth).unwrap();
    }
    write(&a, "three, which is to come");
    (a, b)
}

/// Every entry below a directory, hasync's own included, with its mode and content.
fn bytes(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    use std::os::unix::fs::PermissionsExt;
    let entry = |entry: walkdir::DirEntry| {
        let meta = entry.metadata().unwrap();
        let content = meta.is_file().then(|| std::fs::read(entry.path()).unwrap());
        let mode = meta.permissions().mode();
        (entry.into_path(), (mode, content.unwrap_or_default()))
    };
    walkdir::WalkDir::new(dir)
        .into_iter()
        .map(|found| entry(found.unwrap()))
        .collect()
}
