//! A scene for lies: two trees that differ in every way that makes the halves talk, and a push
//! between them through somebody who changes what one half says to the other.

use std::ffi::OsString;
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{End, Unheard, Wish, duplex, meet, tree, truth};
use crate::entry::{Body, Entry};
use crate::error::Error;
use crate::generation::Tree;
use crate::options::{Compression, Options};
use crate::policy::{Rights, ServePolicy};
use crate::session::{Connection, serve};
use crate::wire::{FrameKind, FrameReader, FrameWriter, ToReceiver, ToSender, decode};

/// Longer than any lie may be listened to.
const DEADLINE: Duration = Duration::from_secs(30);

/// What somebody says in place of one half, or beside it.
pub(super) enum Said<M> {
    Message(M),
    Frame(FrameKind, Vec<u8>),
    /// Bytes outside any frame.
    Bytes(Vec<u8>),
    /// Nothing more: the stream ends here.
    End,
}

/// Hears a message, may change it, and says things before it.
type Tell<M> = Box<dyn FnMut(&mut M, &mut Vec<Said<M>>) + Send>;
/// The same with any other frame.
type Forge<M> = Box<dyn FnMut(FrameKind, &mut Vec<u8>, &mut Vec<Said<M>>) + Send>;

/// A lie about what one half says, and the refusal that it must meet in the other.
pub(super) struct Lie<M> {
    pub(super) refused: &'static str,
    pub(super) wish: Wish,
    /// There are many files with bases.
    pub(super) crowd: bool,
    /// The sender listens on after its push.
    listens: bool,
    tell: Tell<M>,
    forge: Forge<M>,
}

impl<M> Lie<M> {
    /// Passes on what it hears.
    pub(super) fn none() -> Self {
        Lie {
            refused: "",
            wish: Wish::Push,
            crowd: false,
            listens: false,
            tell: Box::new(|_, _| {}),
            forge: Box::new(|_, _, _| {}),
        }
    }

    pub(super) fn tell(
        refused: &'static str,
        tell: impl FnMut(&mut M, &mut Vec<Said<M>>) + Send + 'static,
    ) -> Self {
        Lie {
            refused,
            tell: Box::new(tell),
            ..Lie::none()
        }
    }

    pub(super) fn forge(
        refused: &'static str,
        forge: impl FnMut(FrameKind, &mut Vec<u8>, &mut Vec<Said<M>>) + Send + 'static,
    ) -> Self {
        Lie {
            refused,
            forge: Box::new(forge),
            ..Lie::none()
        }
    }

    pub(super) fn in_crowd(self) -> Self {
        let crowd = true;
        Lie { crowd, ..self }
    }

    pub(super) fn listened_to(self) -> Self {
        let listens = true;
        Lie { listens, ..self }
    }

    pub(super) fn of(self, wish: Wish) -> Self {
        Lie { wish, ..self }
    }
}

/// How both halves of a push ended.
pub(super) struct Outcome {
    pub(super) sender: Result<(), Error>,
    pub(super) receiver: Result<(), Error>,
}

/// A source and a target that have been equal, and differ in entries of every kind.
pub(super) fn differing(temp: &Path, crowd: bool) -> (Tree, Tree) {
    let (a, b) = (tree(temp, "a"), tree(temp, "b"));
    let long: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
    let put = |path: &str, content: &[u8]| std::fs::write(a.root.join(path), content).unwrap();
    put("small", b"one");
    put("signed", &long[..100_000]);
    put("grown", &long[..8_000]);
    put("huge", &long);
    std::fs::create_dir_all(a.root.join("full")).unwrap();
    put("full/one", b"1");
    std::fs::create_dir_all(a.root.join("same/below")).unwrap();
    put("same/below/file", b"is as it was");
    let crowd = if crowd { 130 } else { 0 };
    let of_crowd = |number: u32, content: &[u8]| put(&format!("same/{number:03}"), content);
    (0..crowd).for_each(|number| of_crowd(number, &long[..1 << 20]));
    meet(&a, &b, Wish::Push, truth, truth).unwrap();

    let changed = [b"changed", &long[7..1 << 20]].concat();
    (0..crowd).for_each(|number| of_crowd(number, &changed));
    put("small", b"another");
    put("signed", &long[1..100_001]);
    put("grown", &long[..9_000]);
    let mut huge = long.clone();
    huge[1_000_000..1_000_100].fill(7);
    put("huge", &huge);
    std::fs::remove_dir_all(a.root.join("full")).unwrap();
    put("full", b"a file now");
    std::fs::create_dir_all(a.root.join("new/below")).unwrap();
    put("new/below/file", &long[..300_000]);
    put("new/first", b"of two");
    put("new/small", b"in a pack");
    std::fs::hard_link(a.root.join("new/first"), a.root.join("new/second")).unwrap();
    symlink("file", a.root.join("new/link")).unwrap();
    std::fs::create_dir_all(a.root.join("old")).unwrap();
    std::fs::create_dir_all(b.root.join("old")).unwrap();
    std::fs::write(b.root.join("old/extra"), "x").unwrap();
    (a, b)
}

fn pass<M: serde::de::DeserializeOwned>(
    from: &UnixStream,
    to: &UnixStream,
    lie: &mut Lie<M>,
    put: fn(&mut FrameWriter, &M) -> Result<(), Error>,
) {
    let mut reader = FrameReader::new(Box::new(from.try_clone().unwrap()));
    let mut writer = FrameWriter::new(Box::new(to.try_clone().unwrap()));
    let mut run = || -> Result<(), Error> {
        writer.raw(reader.preamble()?);
        writer.flush()?;
        while let Some(frame) = reader.next()? {
            let mut all = Vec::new();
            match frame.kind {
                FrameKind::Message => {
                    let mut message = decode(frame.payload)?;
                    (lie.tell)(&mut message, &mut all);
                    all.push(Said::Message(message));
                }
                kind => {
                    let mut payload = frame.payload.to_vec();
                    (lie.forge)(kind, &mut payload, &mut all);
                    // One that the lie has emptied is withheld.
                    if !payload.is_empty() {
                        all.push(Said::Frame(kind, payload));
                    }
                }
            }
            for said in all {
                match said {
                    Said::Message(message) => put(&mut writer, &message)?,
                    Said::Frame(kind, payload) => writer.put(kind, &payload, &[])?,
                    Said::Bytes(bytes) => writer.raw(&bytes),
                    Said::End => {
                        writer.flush()?;
                        return Ok(());
                    }
                }
            }
            writer.flush()?;
        }
        Ok(())
    };
    // It ends with either half.
    let _ = run();
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

/// A push, a dry run or a comparison, in which each half hears of the other what the lies make
/// of it.
pub(super) fn play(
    (from, to): (&Tree, &Tree),
    wish: Wish,
    to_receiver: &mut Lie<ToReceiver>,
    to_sender: &mut Lie<ToSender>,
) -> Outcome {
    let (ours, to_us) = UnixStream::pair().unwrap();
    let (theirs, to_them) = UnixStream::pair().unwrap();
    let options = Options {
        delete: true,
        hard_links: true,
        dry_run: wish == Wish::DryRun,
        compression: Compression::Never,
        ..Options::archive()
    };
    let policy = ServePolicy {
        trees: vec![to.clone()],
        rights: Rights {
            devices: false,
            setuid: false,
            ..Rights::default()
        },
        ..ServePolicy::default()
    };
    let listens = to_sender.listens;
    let (over, alarm) = std::sync::mpsc::channel::<()>();
    let sources = [OsString::from(format!("{}/", from.root.display()))];
    std::thread::scope(|scope| {
        let (ours, theirs) = (&ours, &theirs);
        scope.spawn(move || {
            let (_ours, _theirs) = (End(ours), End(theirs));
            let _ = alarm.recv_timeout(DEADLINE);
        });
        let receiver = scope.spawn(|| {
            let _end = End(theirs);
            serve(duplex(theirs), &policy)
        });
        scope.spawn(|| pass(&to_us, &to_them, to_receiver, FrameWriter::put_to_receiver));
        scope.spawn(|| pass(&to_them, &to_us, to_sender, FrameWriter::put_to_sender));
        let sender = {
            let _end = End(ours);
            let mut connection = Connection::open(duplex(ours));
            let result = match wish {
                Wish::Push | Wish::DryRun => connection
                    .push_tree(&sources, from, &options, &mut Unheard)
                    .map(|_| ()),
                Wish::Compare => connection
                    .compare_tree(&sources, from, &options, &mut Unheard)
                    .map(|_| ()),
                Wish::Ask => connection
                    .ask(from, crate::policy::Wish::Service)
                    .map(|_| ()),
            };
            result.and_then(|()| {
                if !listens {
                    return Ok(());
                }
                loop {
                    connection.check()?;
                    std::thread::yield_now();
                }
            })
        };
        let receiver = receiver.join().unwrap();
        drop(over);
        Outcome { sender, receiver }
    })
}

/// Makes the entry before the first directory one of that name.
pub(super) fn like_a_dir(entries: &mut Vec<Entry>, body: &Body) {
    let of_dir = entries.iter().find(|entry| entry.is_dir()).cloned();
    if let Some(dir) = of_dir {
        entries.retain(|entry| entry.is_dir() || entry.name < dir.name);
        let at = entries.partition_point(|entry| !entry.is_dir());
        let body = body.clone();
        entries.insert(at, Entry { body, ..dir });
    }
}
