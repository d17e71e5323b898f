//! One connection that carries several pushes: what they change, what ends it, and that both
//! halves notice between two pushes that the other is gone.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod halves;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use halves::{Log, duplex};
use hasync_engine::{
    Compression, Connection, Duplex, Error, ErrorKind, Options, ServePolicy, Summary, serve,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of a ping: header, number of the message, work done, whether it flushes.
const PING_LEN_MAX: usize = 4 + 1 + 9 + 1;

type Half = JoinHandle<Result<(), Error>>;

fn options() -> Options {
    Options {
        fsync: false,
        ..halves::options()
    }
}

fn start_serving(stream: UnixStream) -> Half {
    spawn(move || {
        let link = duplex(&stream);
        let result = serve(link, &ServePolicy::default());
        // As the end of its process would.
        let _ = stream.shutdown(Shutdown::Both);
        result
    })
}

fn connect() -> (Connection, UnixStream, Half) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let half = start_serving(theirs);
    (Connection::open(duplex(&ours)), ours, half)
}

fn push(
    connection: &mut Connection,
    source: &Path,
    target: &Path,
    options: &Options,
) -> Result<Summary, Error> {
    let sources = [OsString::from(format!("{}/", source.display()))];
    let target = target.as_os_str().as_encoded_bytes();
    let mut log = Log::default();
    let result = connection.push(&sources, target, options, &mut log);
    assert_eq!(log.warnings, Vec::<String>::new());
    result
}

fn make_tree(source: &Path) {
    for dir in 0..20 {
        let dir = source.join(format!("dir-{dir}"));
        std::fs::create_dir_all(&dir).unwrap();
        for file in 0..20 {
            let name = format!("file-{file}");
            std::fs::write(dir.join(&name), name.repeat(50 * file)).unwrap();
        }
    }
}

#[test]
fn several_pushes_share_one_connection() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    make_tree(&source);
    let (mut connection, _ours, half) = connect();
    let with = |compression| Options {
        compression,
        ..options()
    };
    let always = with(Compression::Always { level: Some(3) });
    let first = push(&mut connection, &source, &target, &always).unwrap();
    assert_eq!(first.transferred_files, 400);
    assert!(first.sent_bytes < first.sent_plain_bytes);
    // Another target, and each push begins a compressed stream of its own.
    let other = temp.path().join("other");
    for (target, compression) in [
        (&other, Compression::Always { level: None }),
        (&target, Compression::Never),
        (&other, Compression::Adaptive),
    ] {
        let summary = push(&mut connection, &source, target, &with(compression)).unwrap();
        assert_eq!(summary.transferred_files > 0, summary.created.total() > 0);
    }
    let idle = push(&mut connection, &source, &target, &always).unwrap();
    assert_eq!((idle.dirs_exchanged, idle.transferred_files), (0, 0));
    assert!(idle.sent_bytes < 4_000, "charged once: {idle:?}");
    std::fs::write(source.join("dir-3/file-7"), "changed").unwrap();
    std::fs::remove_dir_all(source.join("dir-4")).unwrap();
    let last = push(&mut connection, &source, &target, &always).unwrap();
    assert_eq!((last.transferred_files, last.deleted.total()), (1, 21));
    assert_eq!(
        std::fs::read(target.join("dir-3/file-7")).unwrap(),
        b"changed"
    );
    assert!(!target.join(".hasync").exists());
    drop(connection);
    half.join().unwrap().unwrap();
}

#[test]
fn a_push_of_nothing_leaves_the_connection_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    make_tree(&source);
    let (mut connection, _ours, _half) = connect();
    let missing = [OsString::from("/nonexistent-source/")];
    let target_bytes = target.as_os_str().as_encoded_bytes();
    let mut log = Log::default();
    let summary = connection.push(&missing, target_bytes, &options(), &mut log);
    assert!(summary.unwrap().partial);
    connection.check().unwrap();
    push(&mut connection, &source, &target, &options()).unwrap();
    connection.check().unwrap();
}

#[test]
fn a_push_that_fails_ends_the_connection() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    make_tree(&source);
    let (mut connection, _ours, half) = connect();
    push(&mut connection, &source, &target, &options()).unwrap();
    let file = temp.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let refused = push(&mut connection, &source, &file, &options()).unwrap_err();
    assert_ne!(refused.kind, ErrorKind::Stream, "{refused}");
    assert_eq!(half.join().unwrap().unwrap_err().message, refused.message);
    for error in [
        connection.check().unwrap_err(),
        push(&mut connection, &source, &target, &options()).unwrap_err(),
    ] {
        assert!(error.message.contains("open another one"), "{error}");
    }
    assert_eq!(std::fs::read(file).unwrap(), b"in the way");
}

#[test]
fn an_idle_connection_is_kept_alive_by_both_halves() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    make_tree(&source);
    let (ours, sender_side) = UnixStream::pair().unwrap();
    let (receiver_side, theirs) = UnixStream::pair().unwrap();
    let requests = pass(&sender_side, &receiver_side);
    let answers = pass(&receiver_side, &sender_side);
    let _half = start_serving(theirs);
    let mut connection = Connection::open(duplex(&ours));
    let options = Options {
        timeout_ms: 600,
        ..options()
    };
    for _ in 0..2 {
        push(&mut connection, &source, &target, &options).unwrap();
        for passed in [&requests, &answers] {
            while passed.try_recv().is_ok() {}
            for _ in 0..3 {
                // What still passes once the push is over is pings.
                let len = passed.recv_timeout(PATIENCE).unwrap();
                assert!(len <= 2 * PING_LEN_MAX, "{len} bytes");
            }
        }
        connection.check().unwrap();
    }
}

#[test]
fn a_peer_that_left_while_idle_is_noticed() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    make_tree(&source);
    let (mut connection, ours, half) = connect();
    push(&mut connection, &source, &target, &options()).unwrap();
    ours.shutdown(Shutdown::Both).unwrap();
    let error = await_end(&mut connection);
    assert_eq!(error.kind, ErrorKind::Stream);
    assert!(error.message.contains("between two pushes"), "{error}");
    // To the receiver it is the usual end.
    half.join().unwrap().unwrap();
    assert!(push(&mut connection, &source, &target, &options()).is_err());
}

#[test]
fn a_peer_that_fell_silent_while_idle_is_noticed() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    make_tree(&source);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let _half = start_serving(theirs);
    ours.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut connection = Connection::open(Duplex {
        reader: Box::new(Limited(ours.try_clone().unwrap())),
        writer: duplex(&ours).writer,
    });
    // The receiver's pings come far too rarely for that limit.
    push(&mut connection, &source, &target, &options()).unwrap();
    let error = await_end(&mut connection);
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(error.message.contains("between two pushes"), "{error}");
}

#[test]
fn a_stream_cut_within_a_frame_is_no_end() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    make_tree(&source);
    let (mut connection, mut ours, half) = connect();
    push(&mut connection, &source, &target, &options()).unwrap();
    ours.write_all(&[9, 0]).unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    assert_eq!(half.join().unwrap().unwrap_err().kind, ErrorKind::Stream);
}

#[test]
fn a_receiver_that_speaks_between_two_pushes_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    make_tree(&source);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let half = {
        let link = duplex(&theirs);
        spawn(move || serve(link, &ServePolicy::default()))
    };
    let mut connection = Connection::open(duplex(&ours));
    push(&mut connection, &source, &target, &options()).unwrap();
    // `Done` once more.
    theirs.write_all(&[2, 0, 0, 0, 12, 1]).unwrap();
    let error = await_end(&mut connection);
    assert!(error.message.contains("protocol error"), "{error}");
    ours.shutdown(Shutdown::Both).unwrap();
    let _ = half.join().unwrap();
}

/// Waits until the connection knows that it has ended.
fn await_end(connection: &mut Connection) -> Error {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connection.check() {
            Err(error) => return error,
            Ok(()) => assert!(Instant::now() < deadline, "not noticed"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Passes bytes on, and says how many at a time.
fn pass(from: &UnixStream, to: &UnixStream) -> Receiver<usize> {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let (passed, receiver) = channel();
    spawn(move || {
        let mut buf = vec![0; 1 << 16];
        while let Ok(len @ 1..) = from.read(&mut buf) {
            if to.write_all(&buf[..len]).is_err() || passed.send(len).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A reader whose limit on silence is told as the transports tell it.
struct Limited(UnixStream);

impl Read for Limited {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => e,
        })
    }
}
