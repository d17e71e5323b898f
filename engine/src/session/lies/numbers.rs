//! Lies in the numbers of single messages: lengths, counts, indices, times, ids. Whatever one half
//! is told, it comes to an end, and not by an overflow.

use std::os::unix::fs::symlink;
use std::panic;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Wish, mirrored, through, truth, write};
use crate::attributes::Attributes;
use crate::entry::{Body, Time};
use crate::generation::Tree;
use crate::since::{Meta, Since};
use crate::wire::{ToReceiver, ToSender};

/// Longer than honest halves on a busy machine are silent; who waits for more has been lied to.
const PATIENCE: Duration = Duration::from_secs(1);

const EXTREMES: [u64; 5] = [0, u32::MAX as u64, i64::MAX as u64, u64::MAX - 1, u64::MAX];

/// Panics of this process, of threads that nobody joins too.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// What is done at a panic is the process's: one test at a time sets it.
static ONE: Mutex<()> = Mutex::new(());

/// What there is of each kind: new directories, links, a file with a basis, what goes.
fn changed(temp: &Path) -> (Tree, Tree) {
    let (a, b) = mirrored(temp);
    let long: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    for (tree, shift) in [(&a, 1), (&b, 0)] {
        std::fs::write(tree.root.join("long"), &long[shift..]).unwrap();
        std::fs::create_dir_all(tree.root.join("old/below")).unwrap();
    }
    std::fs::create_dir_all(a.root.join("new/below")).unwrap();
    std::fs::write(a.root.join("new/below/file"), &long).unwrap();
    symlink("file", a.root.join("new/link")).unwrap();
    std::fs::write(b.root.join("old/extra"), "x").unwrap();
    write(&a, "another");
    (a, b)
}

fn lie_to_receiver(message: &mut ToReceiver, at: usize, n: u64) {
    let small = u32::try_from(n).unwrap_or(u32::MAX);
    let time = Time {
        secs: n as i64 ^ i64::MIN,
        nanos: small,
    };
    let meta = Meta {
        mode: small,
        uid: small,
        gid: small,
        mtime: time,
    };
    match (message, at) {
        (ToReceiver::Hello(hello), 0) => hello.options.timeout_ms = n,
        (ToReceiver::Hello(hello), 1) => hello.options.max_delete = Some(n),
        (ToReceiver::Id { id, .. }, 2) => *id = small,
        (ToReceiver::Dir { skipped, .. }, 3) => *skipped = n,
        (ToReceiver::Dir { up, .. }, 4) => *up = small,
        (ToReceiver::Dir { shared, .. }, 5) => *shared = n as u8,
        (ToReceiver::Entries { dir, .. }, 6) => *dir = n,
        (ToReceiver::Entries { unmatched, .. }, 7) => *unmatched = vec![small; 3],
        (ToReceiver::NewDir { dir, .. }, 8) => *dir = n,
        (ToReceiver::NewDir { parent, .. }, 9) => *parent = n,
        (ToReceiver::NewDirDone { dir, .. }, 10) => *dir = n,
        (ToReceiver::Later { entries, .. }, 11) => *entries = vec![small, small],
        (ToReceiver::FileBegin { dir, .. }, 12) => *dir = n,
        (ToReceiver::FileBegin { entry, .. }, 13) => *entry = small,
        (ToReceiver::FileBegin { len, .. }, 14) => *len = n,
        (ToReceiver::FileBegin { since, .. }, 15) => *since = Since::Touched(time),
        (ToReceiver::ContentDone { problems, .. }, 16) => problems.count = n,
        (ToReceiver::RootEntry(entry), 22) => entry.mtime = time,
        (ToReceiver::RootEntry(entry), 23) => entry.mtime.secs = time.secs,
        (ToReceiver::RootEntry(entry), 24) => entry.mode = small,
        (ToReceiver::FileBegin { since, .. }, 25) => {
            *since = Since::Touched(Time { nanos: 0, ..time });
        }
        // What utimensat takes for now, and for leave it as it is.
        (ToReceiver::FileBegin { since, .. }, 26) => {
            let nanos = 0x3fff_fffe | (n & 1) as u32;
            *since = Since::Touched(Time { secs: 1, nanos });
        }
        (ToReceiver::FileBegin { since, .. }, 27) => {
            *since = Since::Other(meta, Attributes::default());
        }
        (message @ ToReceiver::NewDirDone { .. }, 28) => {
            *message = ToReceiver::OtherDir {
                dir: n,
                meta,
                attributes: Attributes::default(),
            };
        }
        (
            ToReceiver::Entries { entries, .. } | ToReceiver::NewDir { entries, .. },
            at @ 17..=21,
        ) => entries.iter_mut().for_each(|entry| match at {
            17 => entry.mtime = time,
            18 => entry.mtime.secs = time.secs,
            19 => (entry.uid, entry.gid, entry.mode) = (small, small, small),
            20 => entry.mtime.nanos = small,
            _ => {
                if let Body::File { len, .. } = &mut entry.body {
                    *len = n;
                }
            }
        }),
        _ => {}
    }
}

fn lie_to_sender(message: &mut ToSender, at: usize, n: u64) {
    let small = u32::try_from(n).unwrap_or(u32::MAX);
    match (message, at) {
        (ToSender::HelloReply(reply), 0) => reply.len_max = n,
        (ToSender::HelloReply(reply), 1) => reply.keeps.time_store.min_secs = n as i64,
        (ToSender::HelloReply(reply), 2) => reply.keeps.time_store.max_secs = n as i64,
        (ToSender::HelloReply(reply), 3) => reply.keeps.time_store.granularity_ns = small,
        (ToSender::Differs { dir, .. }, 4) => *dir = n,
        (ToSender::Differs { print_len, .. }, 5) => *print_len = n as u8,
        (ToSender::Lacks { dir }, 6) => *dir = n,
        (ToSender::Compared { below }, 7) => *below = n,
        (ToSender::Verdicts { dir, .. }, 8) => *dir = n,
        (ToSender::Verdicts { verdicts, .. }, 9) => {
            verdicts
                .iter_mut()
                .for_each(|verdict| verdict.entry = small);
        }
        (ToSender::Again { dir, .. } | ToSender::Settled { dir, .. }, 10) => *dir = n,
        (ToSender::Again { entry, .. } | ToSender::Settled { entry, .. }, 11) => *entry = small,
        // Said again and again, so that the sum of it overflows.
        (message @ (ToSender::Deleted { .. } | ToSender::Compared { .. }), 12) => {
            *message = ToSender::DeletionsStopped { count: n };
        }
        (ToSender::Standing(standing), 13) => {
            if let Some(space) = &mut standing.space {
                (space.free_bytes, space.total_bytes, space.device) = (n, n, n);
            }
        }
        _ => {}
    }
}

/// Lies at each place with each number, several at a time: most of it is waiting.
fn try_all(places: usize, meet: impl Fn(&Tree, &Tree, usize, u64) + Sync) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // Other tests run beside this one: their threads have their names, ours have none.
        let thread = std::thread::current();
        let is_ours = thread.name().is_none_or(|name| !name.contains("::"));
        PANICS.fetch_add(usize::from(is_ours), Ordering::Relaxed);
        hook(info);
    }));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let lie = next.fetch_add(1, Ordering::Relaxed);
                    let (at, number) = (lie / EXTREMES.len(), lie % EXTREMES.len());
                    if at >= places {
                        return;
                    }
                    let temp = tempfile::tempdir().unwrap();
                    let (a, b) = changed(temp.path());
                    meet(&a, &b, at, EXTREMES[number]);
                    // Whatever came of it, the records can be read.
                    b.status().unwrap();
                    a.status().unwrap();
                }
            });
        }
    });
    drop(panic::take_hook());
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}

#[test]
fn no_number_of_a_sender_overflows_in_the_receiver() {
    try_all(29, |a, b, at, n| {
        let lie = |message: &mut ToReceiver| lie_to_receiver(message, at, n);
        let _ = through(a, b, Wish::Push, lie, truth, Some(PATIENCE));
    });
}

#[test]
fn no_number_of_a_receiver_overflows_in_the_sender() {
    try_all(14, |a, b, at, n| {
        let lie = |message: &mut ToSender| lie_to_sender(message, at, n);
        let _ = through(a, b, Wish::Push, truth, lie, Some(PATIENCE));
    });
}
