//! What a receiver could say of deletions that is not so: of what was not to go, more of it than
//! may, or that something stopped it.

use super::Unheard;
use super::Wish::DryRun;
use super::scene::Lie;
use super::scene::Said::Message;
use super::script::push_to;
use crate::error::{Error, Fault};
use crate::observer::Kind;
use crate::options::{Brake, Options};
use crate::wire::ToReceiver;
use crate::wire::ToSender::{self, Deleted, DeletionsStopped, Differs, Done, NotEmpty, Verdicts};

/// A lie that says these before the first message of a kind.
macro_rules! before {
    ($refused:ident: $pattern:pat => $($said:expr),+) => {
        Lie::tell(stringify!($refused), |message: &mut ToSender, before| {
            if let $pattern = message {
                before.extend([$($said),+].map(Message));
            }
        })
    };
}

fn gone(path: &[u8]) -> ToSender {
    Deleted {
        path: path.to_vec(),
        kind: Kind::Dir,
    }
}

fn stays(path: &[u8]) -> ToSender {
    NotEmpty {
        path: path.to_vec(),
    }
}

fn stopped(count: u64) -> ToSender {
    DeletionsStopped { count }
}

fn done(starved: u64) -> ToSender {
    Done {
        durable: false,
        sealed: None,
        starved,
    }
}

/// Of a push under `--delete` without limits, in which a full directory gives way.
pub(super) fn all() -> Vec<Lie<ToSender>> {
    vec![
        before!(DeletedPath: Done { .. } => gone(b"")),
        before!(DeletedPath: Done { .. } => gone(b"")).of(DryRun),
        before!(DeletedPath: Done { .. } => gone(b"../small")),
        before!(DeletedPath: Done { .. } => gone(b"/etc/passwd")),
        before!(DeletedPath: Done { .. } => gone(b"a//b")),
        before!(DeletedPath: Deleted { .. } => stays(b"")),
        before!(DeletedPath: Deleted { .. } => stays(b"a/../b")),
        before!(DeletedUnasked: Differs { .. } => gone(b"small")),
        before!(DeletedUnasked: Verdicts { .. } => gone(b"small")),
        before!(DeletedUnasked: Deleted { .. } => stopped(0)),
        before!(StoppedUnasked: Differs { .. } => stopped(0)),
        before!(StoppedUnasked: Differs { .. } => stopped(7)),
        before!(StoppedUnasked: Deleted { .. } => stopped(1)),
        before!(StoppedUnasked: Deleted { .. } => stopped(u64::MAX)),
        before!(StoppedUnasked: Deleted { .. } => stopped(0), stopped(0)),
        before!(StoppedUnasked: Done { .. } => stopped(0)),
        before!(NotEmptyUnasked: Differs { .. } => stays(b"old")),
        before!(NotEmptyUnasked: Verdicts { .. } => stays(b"old")),
        before!(NotEmptyUnasked: Done { .. } => stays(b"old")),
        before!(NotEmptyUnasked: Deleted { .. } => stopped(0), stays(b"old")),
        Lie::tell("StarvedUnasked", |message, _| {
            if let Done { starved, .. } = message {
                *starved = 1;
            }
        }),
        Lie::tell("StarvedUnasked", |message, _| {
            if let Done { starved, .. } = message {
                *starved = u64::MAX;
            }
        })
        .of(DryRun),
    ]
}

/// What comes of these words after the end of the sender's, in a plain push of nothing.
fn told(options: &Options, words: &[ToSender]) -> Result<(), Error> {
    let source = tempfile::tempdir().unwrap();
    let pushed = push_to(source.path(), options, &mut Unheard, true, |far| {
        let dir = |message: &ToReceiver| matches!(message, ToReceiver::Dir { .. });
        let end = |message: &ToReceiver| matches!(message, ToReceiver::ContentDone { .. });
        assert!(far.await_message(dir));
        far.answer(&ToSender::Verdicts {
            dir: 0,
            verdicts: Vec::new(),
            last: true,
        });
        far.answer(&ToSender::Compared { below: 1 });
        assert!(far.await_message(end));
        words.iter().all(|word| far.answer(word));
    });
    pushed.map(drop)
}

#[test]
fn deletions_are_as_the_options_let_them_be() {
    let plain = Options {
        fsync: false,
        ..Options::archive()
    };
    let with = |change: fn(&mut Options)| {
        let mut options = plain.clone();
        change(&mut options);
        options
    };
    let delete = with(|options| options.delete = true);
    let max = with(|options| (options.delete, options.max_delete) = (true, Some(1)));
    let brake = with(|options| {
        (options.delete, options.brake) = (
            true,
            Some(Brake {
                percent: 0,
                entries: 5,
            }),
        );
    });
    let force = with(|options| options.force = true);
    let missing = with(|options| options.delete_missing = true);
    let atomic = with(|options| (options.delete, options.atomic) = (true, true));
    let dry_run = with(|options| (options.delete, options.dry_run) = (true, true));
    let (one, two) = (|| gone(b"x"), || gone(b"y"));
    let believed = "";
    let cases: [(&Options, &[ToSender], &str); 34] = [
        (&plain, &[done(0)], believed),
        (&plain, &[one()], "DeletedUnasked"),
        (&plain, &[stopped(1)], "StoppedUnasked"),
        (&plain, &[stays(b"x")], "NotEmptyUnasked"),
        (&plain, &[done(1)], "StarvedUnasked"),
        (&delete, &[stays(b"x"), one(), two(), done(0)], believed),
        (&delete, &[stopped(0)], "StoppedUnasked"),
        (&delete, &[stopped(2)], "StoppedUnasked"),
        (&delete, &[one(), stays(b"x")], "NotEmptyUnasked"),
        (&delete, &[one(), done(1)], believed),
        (&delete, &[done(1)], "StarvedUnasked"),
        (&force, &[one(), done(0)], believed),
        (&force, &[stays(b"x"), done(0)], believed),
        (&force, &[stopped(2)], "StoppedUnasked"),
        (&missing, &[one(), done(0)], believed),
        (&missing, &[stays(b"x"), done(0)], believed),
        (&missing, &[stopped(0)], "StoppedUnasked"),
        (&max, &[one(), done(0)], believed),
        (&max, &[one(), two()], "DeletedUnasked"),
        (&max, &[stopped(2), done(0)], believed),
        (&max, &[stopped(1)], "StoppedUnasked"),
        (&max, &[stopped(0)], "StoppedUnasked"),
        (&max, &[stopped(2), stopped(2)], "StoppedUnasked"),
        (&max, &[stopped(2), one()], "DeletedUnasked"),
        (&max, &[stopped(2), stays(b"x")], "NotEmptyUnasked"),
        (&max, &[stopped(2), done(1)], "StarvedUnasked"),
        (&max, &[one(), stopped(2)], "StoppedUnasked"),
        (&brake, &[stopped(6), done(0)], believed),
        (&brake, &[stopped(5)], "StoppedUnasked"),
        (&brake, &[one(), two(), done(0)], believed),
        (&atomic, &[one(), done(1)], "StarvedUnasked"),
        (&atomic, &[one(), done(0)], believed),
        (&dry_run, &[one(), done(0)], believed),
        (&dry_run, &[one(), done(1)], "StarvedUnasked"),
    ];
    for (at, (options, words, refused)) in cases.into_iter().enumerate() {
        let found = match told(options, words).map_err(|e| (e.fault.clone(), e)) {
            Ok(()) => "",
            Err((Fault::Peer(refusal), _)) => refusal.name(),
            // Believed, and then pushed once more to a receiver that has left.
            Err(_) if words.iter().any(is_starved) => "",
            Err((_, e)) => panic!("case {at}: {e:?}"),
        };
        assert_eq!(found, refused, "case {at}: {words:?}");
    }
}

fn is_starved(word: &ToSender) -> bool {
    matches!(word, Done { starved: 1.., .. })
}
