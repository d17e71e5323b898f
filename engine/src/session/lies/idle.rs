//! A peer that is there and does nothing, or nothing that shows, and one that is slow and honest.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::Unheard;
use super::script::{Far, ping, push_to, serve_from};
use crate::attributes::Attributes;
use crate::entry::{Body, Entry, Time};
use crate::error::{Error, ErrorKind};
use crate::observer::{Change, Kind, Note, Observer, Progress, Warning};
use crate::options::Options;
use crate::policy::ServePolicy;
use crate::since::Since;
use crate::wire::{ToReceiver, ToSender};

/// Short, so that an end is not waited for long.
const STALL: Duration = Duration::from_millis(20);

fn options(stall: Duration) -> Options {
    Options {
        stall,
        fsync: false,
        delete: true,
        ..Options::archive()
    }
}

fn source(temp: &Path, len: usize) -> std::path::PathBuf {
    let source = temp.join("source");
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("file"), vec![7; len]).unwrap();
    source
}

fn assert_stalled(result: Result<(), Error>, who: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{who} got through"));
    assert_eq!(error.kind, ErrorKind::Timeout, "{who}: {error}");
    assert!(error.message.contains("[peer] stall"), "{who}: {error}");
}

/// What a half says again and again, with a number that grows.
type Says<M> = (&'static str, fn(u64) -> M);

fn answers() -> Vec<Says<ToSender>> {
    vec![
        ("pings", |_| ToSender::Ping(ping(7, false))),
        ("counts", |n| ToSender::Ping(ping(n, false))),
        ("flushes", |n| ToSender::Ping(ping(n, true))),
        ("flushes in turns", |n| {
            ToSender::Ping(ping(n, n.is_multiple_of(2)))
        }),
        ("compared", |_| ToSender::Compared { below: 0 }),
        ("deletes", |_| ToSender::Deleted {
            path: b"x".to_vec(),
            kind: Kind::File,
        }),
        ("keeps", |_| ToSender::NotEmpty {
            path: b"x".to_vec(),
        }),
        ("warns", |_| {
            ToSender::Warning(Warning {
                vanished: false,
                message: "so it is".to_owned(),
            })
        }),
        ("stops deletions", |_| ToSender::DeletionsStopped {
            count: 0,
        }),
        ("settles", |n| ToSender::Settled { dir: n, entry: 0 }),
    ]
}

#[test]
fn a_receiver_that_gets_on_with_nothing_ends_the_push() {
    let temp = tempfile::tempdir().unwrap();
    let source = source(temp.path(), 8 << 20);
    let met = AtomicUsize::new(0);
    for (what, say) in answers() {
        // At each time of a push: before the answer to the hello (pings alone), before the
        // directories are compared, before the content is taken, and before the end.
        for stage in 0..4 {
            if stage == 0 && !matches!(say(0), ToSender::Ping(_)) {
                continue;
            }
            let act = |far: &mut Far| {
                // On a busy machine it may have ended before.
                let is_end =
                    |message: &ToReceiver| matches!(message, ToReceiver::ContentDone { .. });
                if stage >= 2 && !far.want(1) || stage == 3 && !far.await_message(is_end) {
                    return;
                }
                met.fetch_add(1, Ordering::Relaxed);
                let mut numbers = 0..;
                while numbers.next().is_some_and(|n| far.answer(&say(n))) {}
            };
            let result = push_to(&source, &options(STALL), &mut Unheard, stage > 0, act);
            // What is not due at that time is refused by itself.
            let is_refused = |e: &Error| e.message.starts_with("protocol error");
            let is_ping = matches!(say(0), ToSender::Ping(_));
            if is_ping || !result.as_ref().is_err_and(is_refused) {
                assert_stalled(result.map(drop), &format!("{what}, stage {stage}"));
            }
        }
    }
    // A machine that is always too busy shows nothing.
    assert!(met.into_inner() > answers().len());
}

#[test]
fn a_sender_that_gets_on_with_nothing_ends_the_session() {
    let temp = tempfile::tempdir().unwrap();
    let policy = ServePolicy {
        stall: STALL,
        ..ServePolicy::default()
    };
    let says: [Says<ToReceiver>; 3] = [
        ("pings", |_| ToReceiver::Ping(ping(7, false))),
        ("counts", |n| ToReceiver::Ping(ping(n, false))),
        ("flushes", |n| ToReceiver::Ping(ping(n, true))),
    ];
    for (what, say) in says {
        let act = |far: &mut Far| {
            let mut numbers = 0..;
            while numbers.next().is_some_and(|n| far.tell(&say(n))) {}
        };
        let result = serve_from(temp.path(), options(STALL), &policy, act);
        assert_stalled(result, what);
    }
    // A frame whose bytes drip.
    let act = |far: &mut Far| {
        far.bytes(&[0, 0, 0x10, 2]);
        while far.bytes(&[0]) {}
    };
    let result = serve_from(temp.path(), options(STALL), &policy, act);
    assert_stalled(result, "drips");
}

#[test]
fn a_flush_that_takes_longer_than_a_standstill_may_passes() {
    let temp = tempfile::tempdir().unwrap();
    let source = source(temp.path(), 100);
    let stall = Duration::from_secs(1);
    let act = |far: &mut Far| {
        assert!(far.want(1));
        assert!(far.await_message(|message| matches!(message, ToReceiver::ContentDone { .. })));
        let start = Instant::now();
        while start.elapsed() < stall * 3 / 2 {
            assert!(far.answer(&ToSender::Ping(ping(7, true))));
        }
        far.done();
    };
    push_to(&source, &options(stall), &mut Unheard, true, act).unwrap();
}

/// Stands for a terminal that was stopped.
struct Stopped(Receiver<()>);

impl Observer for Stopped {
    fn change(&mut self, _change: &Change<'_>) {}
    fn warn(&mut self, _warning: &Warning) {}
    fn note(&mut self, _note: &Note<'_>) {}

    fn progress(&mut self, _progress: &Progress<'_>) {
        self.0.recv().unwrap();
    }
}

#[test]
fn a_terminal_that_was_stopped_does_not_silence_the_pings() {
    for len in [100, 1 << 20] {
        let temp = tempfile::tempdir().unwrap();
        let source = source(temp.path(), len);
        let (go_on, stopped) = channel();
        let act = move |far: &mut Far| {
            assert!(far.want(1));
            for _ in 0..3 {
                far.await_ping();
            }
            // It may be asked more than once.
            for _ in 0..1000 {
                go_on.send(()).unwrap();
            }
            assert!(far.await_message(|message| matches!(message, ToReceiver::ContentDone { .. })));
            far.done();
        };
        let options = Options {
            timeout_ms: 300,
            ..options(Duration::ZERO)
        };
        push_to(&source, &options, &mut Stopped(stopped), true, act).unwrap();
    }
}

#[test]
fn a_run_of_zeros_does_not_outlast_its_sender() {
    // Years of work, and minutes of it where no file may be longer.
    for len in [1_u64 << 43, 1 << 61] {
        let temp = tempfile::tempdir().unwrap();
        let options = Options {
            sparse: true,
            timeout_ms: 300,
            ..options(Duration::ZERO)
        };
        let act = |far: &mut Far| {
            far.tell(&ToReceiver::Dir {
                skipped: 0,
                up: 0,
                shared: 0,
                rest: Vec::new(),
                digest: [0; 8],
                complete: true,
            });
            assert!(far.await_answer(|answer| matches!(answer, ToSender::Differs { .. })));
            far.tell(&ToReceiver::Entries {
                dir: 0,
                entries: vec![Entry {
                    name: b"file".to_vec(),
                    mode: 0o600,
                    uid: 0,
                    gid: 0,
                    mtime: Time::default(),
                    body: Body::File { len, sum: None },
                    atime: None,
                    link_to: None,
                    attributes: Attributes::default(),
                }],
                last: true,
                unmatched: Vec::new(),
                matched: [0; 8],
            });
            assert!(far.await_answer(|answer| matches!(answer, ToSender::Verdicts { .. })));
            far.tell(&ToReceiver::FileBegin {
                dir: 0,
                entry: 0,
                len,
                since: Since::Same,
            });
            let mut ops = Vec::new();
            let mut number = u128::from(len) * 4 + 2;
            while number > 0 {
                let more = if number > 0x7f { 0x80 } else { 0 };
                ops.push((number & 0x7f) as u8 | more);
                number >>= 7;
            }
            far.ops(&ops);
        };
        let result = serve_from(temp.path(), options, &ServePolicy::default(), act);
        assert!(result.is_err());
    }
}
