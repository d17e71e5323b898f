//! Both halves of a push in one process, over a socket pair, and what they reported.

#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used)]

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use hasync_engine::generation::Tree;
use hasync_engine::history::UndoPolicy;
use hasync_engine::{
    Action, Change, Connection, Duplex, Error, Note, Observer, Options, ServePolicy, Summary,
    Warning, push, serve,
};

#[derive(Default)]
pub struct Log {
    pub lines: Vec<(Action, String)>,
    pub warnings: Vec<String>,
    pub notes: Vec<String>,
}

impl Observer for Log {
    fn change(&mut self, change: &Change<'_>) {
        self.lines.push((
            change.action,
            String::from_utf8_lossy(change.path).into_owned(),
        ));
    }

    fn warn(&mut self, warning: &Warning) {
        self.warnings.push(warning.message.clone());
    }

    fn note(&mut self, note: &Note<'_>) {
        self.notes.push(format!("{note:?}"));
    }
}

/// Both directions of a socket. Dropping the writer ends what it sends, though the reader lives.
pub fn duplex(stream: &UnixStream) -> Duplex {
    Duplex {
        reader: Box::new(stream.try_clone().unwrap()),
        writer: Box::new(Ending(stream.try_clone().unwrap())),
    }
}

struct Ending(UnixStream);

impl Write for Ending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

pub fn run(sources: &[String], target: &Path, options: &Options) -> (Result<Summary, Error>, Log) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let receiver = duplex(&theirs);
    let half = std::thread::spawn(move || serve(receiver, &ServePolicy::default()));
    let mut log = Log::default();
    let sources: Vec<OsString> = sources.iter().map(OsString::from).collect();
    let target = target.as_os_str().as_encoded_bytes();
    let result = push(duplex(&ours), &sources, target, options, &mut log);
    let served = half.join().unwrap();
    assert_eq!(result.is_ok(), served.is_ok(), "{result:?} {served:?}");
    (result, log)
}

/// Pushes the contents of `source`, whatever becomes of single files.
pub fn push_some(source: &Path, target: &Path, options: &Options) -> (Summary, Log) {
    let (result, log) = run(&[format!("{}/", source.display())], target, options);
    (result.unwrap(), log)
}

/// The same, and nothing may be warned of.
pub fn push_ok(source: &Path, target: &Path, options: &Options) -> (Summary, Log) {
    let (summary, log) = push_some(source, target, options);
    assert_eq!(log.warnings, Vec::<String>::new());
    (summary, log)
}

/// The tree `name` of a node, with data and records in a directory of the node below `temp`.
pub fn tree(temp: &Path, node: &str, name: &str, keep: u32) -> Tree {
    let root = temp.join(node).join(name);
    std::fs::create_dir_all(&root).unwrap();
    Tree {
        name: name.to_owned(),
        root,
        files: Vec::new(),
        node: node.to_owned(),
        state_dir: temp.join(node).join("state"),
        undo: UndoPolicy {
            keep,
            ..UndoPolicy::default()
        },
        lock_file: None,
    }
}

/// Pushes the tree `from` one node to the one that has it as `to`, with what `more` sources hold.
pub fn push_tree(
    from: &Tree,
    more: &[OsString],
    to: &Tree,
    options: &Options,
) -> (Result<Summary, Error>, Log) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let policy = ServePolicy {
        trees: vec![to.clone()],
        ..ServePolicy::default()
    };
    let receiver = duplex(&theirs);
    let half = std::thread::spawn(move || serve(receiver, &policy));
    let mut sources = vec![OsString::from(format!("{}/", from.root.display()))];
    sources.extend_from_slice(more);
    let mut log = Log::default();
    let mut connection = Connection::open(duplex(&ours));
    let result = connection.push_tree(&sources, from, options, &mut log);
    drop(connection);
    let served = half.join().unwrap();
    if result.is_ok() {
        served.unwrap();
    }
    (result, log)
}

pub fn options() -> Options {
    Options {
        delete: true,
        ..Options::archive()
    }
}

/// The same without flushes, where durability is not what is tried.
pub fn unflushed() -> Options {
    Options {
        fsync: false,
        ..options()
    }
}
