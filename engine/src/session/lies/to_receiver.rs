//! What a sender could say that is not so: to each lie the refusal that the receiver owes it.

use super::Wish::DryRun;
use super::scene::{Lie, Said, like_a_dir};
use super::{dry_runs, ids, links};
use crate::attributes::{ATTRIBUTES_LEN_MAX, Attributes};
use crate::entry::{Body, Entry, Time};
use crate::generation::GenerationId;
use crate::overlap::Whereabouts;
use crate::since::{Meta, Since};
use crate::wire::{FrameKind, Hello, Pulse, ToReceiver, decode, encode, pack_sum};

type Lies = Vec<Lie<ToReceiver>>;

/// A lie that changes messages of a kind.
macro_rules! edit {
    ($refused:ident: $pattern:pat => $change:expr) => {
        Lie::tell(stringify!($refused), |message: &mut ToReceiver, _| {
            if let $pattern = message {
                $change;
            }
        })
    };
}

/// A lie that says something before messages of a kind.
macro_rules! before {
    ($refused:ident: $pattern:pat => $said:expr) => {
        Lie::tell(stringify!($refused), |message: &mut ToReceiver, before| {
            if let $pattern = message {
                before.push($said);
            }
        })
    };
}

use Said::{Bytes, Frame, Message};
use ToReceiver::{
    ContentDone, Dir, Entries, FileBegin, FileEnd, FileSkipped, Later, LinkFirst, NewDir,
    NewDirDone, RootEntry,
};

pub(super) fn all() -> Lies {
    let parts = [
        frames(),
        runs(),
        beginnings(),
        claims(),
        ids::all(),
        links::all(),
        directories(),
        entries(),
        unasked(),
        dry_runs::all(),
        content(),
        ends(),
    ];
    parts.into_iter().flatten().collect()
}

const NANOS: Time = Time {
    secs: 1,
    nanos: 1_000_000_000,
};

fn ping() -> ToReceiver {
    ToReceiver::Ping(Pulse::default())
}

fn frames() -> Lies {
    let encoded = |more: &[u8]| {
        let mut bytes = Vec::new();
        encode(&ping(), &mut bytes).unwrap();
        Frame(FrameKind::Message, [&bytes, more].concat())
    };
    vec![
        before!(FrameKind: Dir { .. } => Bytes(vec![0, 0, 0, 9])),
        before!(FrameLen: Dir { .. } => Bytes(vec![1, 0, 16, 0])),
        before!(FrameLen: ToReceiver::Hello(_) => Bytes(vec![255, 255, 255, 3])),
        before!(Undecodable: Dir { .. } => Frame(FrameKind::Message, vec![255, 255])),
        // A list of 2^60 entries.
        before!(Undecodable: Dir { .. } => {
            Frame(FrameKind::Message, vec![4, 0, 253, 0, 0, 0, 0, 0, 0, 0, 16])
        }),
        Lie::tell("MessageRest", move |message, before| {
            if let Dir { .. } = message {
                before.push(encoded(&[0]));
            }
        }),
        before!(FieldCut: Dir { .. } => Frame(FrameKind::Exchange, vec![1, 2])),
        before!(ExchangeLast: Dir { .. } => Frame(FrameKind::Exchange, vec![7; 13])),
        before!(PackWithoutSum: Dir { .. } => Frame(FrameKind::Pack, vec![0; 31])),
        before!(PackSum: Dir { .. } => Frame(FrameKind::Pack, vec![0; 64])),
        packs("FieldCut", |pack| pack.truncate(8 + 4 + 1 + 3)),
        packs("FieldCut", |pack| pack.truncate(pack.len() - 1)),
        packs("PackFlags", |pack| pack[8 + 4] = 2),
        packs("Nanos", |pack| {
            let time = [&[1], &7_u64.to_le_bytes()[..], &NANOS.nanos.to_le_bytes()].concat();
            pack.splice(8 + 4..8 + 5, time);
        }),
    ]
}

/// Changes the files of packs, and makes the sum right again.
fn packs(refused: &'static str, change: fn(&mut Vec<u8>)) -> Lie<ToReceiver> {
    Lie::forge(refused, move |kind, payload, _| {
        if kind == FrameKind::Pack {
            payload.truncate(payload.len() - 32);
            change(payload);
            let sum = pack_sum(&[payload]);
            payload.extend_from_slice(&sum);
        }
    })
}

/// A frame of a kind of its own: a run of what is packed, with the length that it says.
fn run(says: usize, packed: &[u8]) -> Said<ToReceiver> {
    let len = |len: usize| (len as u32).to_le_bytes()[..3].to_vec();
    let header = [len(3 + packed.len()), vec![4], len(says)].concat();
    Bytes([&header, packed].concat())
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

pub(super) fn message(kind: u8, message: &ToReceiver) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes).unwrap();
    let len = (bytes.len() as u32).to_le_bytes();
    [&len[..3], &[kind], &bytes].concat()
}

fn runs() -> Lies {
    vec![
        before!(RunWithoutLength: Dir { .. } => Bytes(vec![2, 0, 0, 4, 1, 0])),
        before!(RunLen: Dir { .. } => run(0, b"packed")),
        before!(RunLen: Dir { .. } => run(1 << 20 | 1, b"packed")),
        before!(RunDamaged: Dir { .. } => run(9, b"no zstd at all")),
        before!(RunOtherLen: Dir { .. } => run(9, &zstd(b"five."))),
        before!(RunOtherLen: Dir { .. } => run(3, &zstd(b"five."))),
        // A gigabyte in some kilobytes.
        before!(RunOtherLen: Dir { .. } => run(1 << 20, &zstd(&vec![0; 64 << 20]))),
        before!(RunCut: Dir { .. } => run(5, &zstd(&[9, 0, 0, 0, 12]))),
        before!(FrameKind: Dir { .. } => run(4, &zstd(&[0, 0, 0, 4]))),
        Lie::tell("HelloInRun", |said, before| {
            if let ToReceiver::Hello(_) = said {
                let frames = [message(0, said), message(0, &ping())].concat();
                before.push(run(frames.len(), &zstd(&frames)));
            }
        }),
    ]
}

fn beginnings() -> Lies {
    use ToReceiver::Hello as Begins;
    let nothing = |hello: &mut Hello| {
        // A rule of one zero byte, which no constructor gives.
        hello.options.filters = vec![decode(&[0, 0, 0, 0, 0, 0, 1, 0]).unwrap()];
    };
    vec![
        before!(NoHello: Begins(_) => Said::End),
        before!(ContentBeforeHello: Begins(_) => Frame(FrameKind::Data, vec![])),
        before!(ContentBeforeHello: Begins(_) => Frame(FrameKind::Exchange, vec![0; 13])),
        before!(MessageBeforeHello: Begins(_) => Message(FileEnd { sum: None })),
        Lie::tell("SecondHello", {
            let mut first = None;
            move |message, before| match message {
                Begins(_) => first = Some(message.clone()),
                Dir { .. } => before.extend(first.take().map(Message)),
                _ => {}
            }
        }),
        Lie::tell("Filter", move |message, _| {
            if let Begins(hello) = message {
                nothing(hello);
            }
        }),
        edit!(Backup: Begins(hello) => hello.options.backup = Some(crate::options::Backup {
            place: crate::options::BackupPlace::Below(b"../out".to_vec()),
            suffix: Vec::new(),
        })),
        edit!(Backup: Begins(hello) => hello.options.backup = Some(crate::options::Backup {
            place: crate::options::BackupPlace::Elsewhere(b"/out".to_vec()),
            suffix: Vec::new(),
        })),
        edit!(ComparesForReal: Begins(hello) => hello.claim.as_mut().unwrap().compares = true),
        edit!(TooManySources: Begins(hello) => hello.whereabouts = Whereabouts::of_many(1025)),
        edit!(NamedNotAtomic: Begins(hello) => hello.options.atomic = false),
    ]
}

fn claims() -> Lies {
    use ToReceiver::Hello as Begins;
    macro_rules! claim {
        ($refused:ident: $claim:ident => $change:expr) => {
            edit!($refused: Begins(hello) => {
                let $claim = hello.claim.as_mut().unwrap();
                $change;
            })
        };
    }
    let none = GenerationId::NONE;
    vec![
        claim!(ClaimWithoutTree: claim => claim.tree.clear()),
        claim!(ClaimWithoutTree: claim => claim.tree = "t".repeat(65)),
        claim!(ClaimWithoutHead: claim => claim.head = None),
        claim!(ClaimWithoutHead: claim => claim.epoch = 0.into()),
        claim!(NodeName: claim => claim.node.clear()),
        claim!(NodeName: claim => claim.node = "n".repeat(256)),
        claim!(TooManyAncestors: claim => claim.open = vec![GenerationId::NONE; 18]),
        claim!(TooManyAncestors: claim => claim.line = vec![GenerationId::NONE; 65]),
        claim!(NotNew: claim => claim.head.as_mut().unwrap().number = 1000.into()),
        claim!(TooFar: claim => claim.epoch = u64::MAX.into()),
        claim!(TooFar: claim => claim.number = (1 << 40).into()).of(DryRun),
        Lie::tell("NotNew", move |message, _| {
            if let Begins(hello) = message {
                hello.claim.as_mut().unwrap().intended = none;
            }
        }),
    ]
}

fn directories() -> Lies {
    /// Of all but the root.
    fn named(rest: &[u8]) -> bool {
        !rest.is_empty()
    }
    macro_rules! place {
        ($refused:ident: $place:pat, $name:ident => $change:expr) => {
            edit!($refused: $place => if named($name) { $change })
        };
    }
    vec![
        place!(DirNumber: Dir { skipped, rest, .. }, rest => *skipped = u64::MAX),
        edit!(DirBeforeRoot: Dir { skipped, .. } => *skipped = 1),
        place!(DirShared: Dir { shared, rest, .. }, rest => *shared = 255),
        place!(DirAboveRoot: Dir { up, rest, .. }, rest => *up = u32::MAX),
        place!(DirName: Dir { shared, rest, .. }, rest => (*shared, *rest) = (0, b"..".to_vec())),
        place!(DirName: Dir { shared, rest, .. }, rest => {
            (*shared, *rest) = (0, b".hasync".to_vec());
        }),
        place!(DirName: Dir { shared, rest, .. }, rest => (*shared, *rest) = (0, b"a/b".to_vec())),
        place!(DirName: Dir { shared, rest, .. }, rest => (*shared, *rest) = (0, Vec::new())),
        edit!(DirParent: NewDir { dir, parent, name, .. } => {
            // The first is where the receiver said that it lacks it, whatever the name.
            if name == b"below" { *parent = *dir };
        }),
        edit!(DirName: NewDir { name, .. } => if name == b"below" { *name = b"a/../b".to_vec() }),
        Lie::tell("PathLen", |message, before| {
            if let Dir { rest, digest, .. } = message
                && named(rest)
            {
                let deeper = || Dir {
                    skipped: 0,
                    up: 0,
                    shared: 0,
                    rest: vec![b'd'; 255],
                    digest: *digest,
                    complete: true,
                };
                before.extend((0..5_000).map(|_| Message(deeper())));
            }
        }),
        edit!(NotAwaited: Entries { dir, .. } => *dir = 77),
        // None is said of the root, whose metadata nothing lists.
        Lie::tell("NotAwaited", |message, before| {
            if let Dir { rest, .. } = message
                && named(rest)
            {
                let meta = Meta::default();
                before.push(Message(ToReceiver::OtherDir {
                    dir: 0,
                    meta,
                    attributes: Attributes::default(),
                }));
            }
        }),
        before!(NotAwaited: Entries { dir, .. } => Message(NewDirDone { dir: *dir })),
        before!(EntriesAfterLast: NewDirDone { dir, .. } => Message(NewDir {
            dir: *dir,
            parent: 0,
            name: Vec::new(),
            entries: Vec::new(),
            last: true,
        })),
        before!(LateRootEntry: ContentDone { .. } => Message(RootEntry(directory()))),
    ]
}

fn directory() -> Entry {
    Entry {
        name: b"root".to_vec(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        body: Body::Dir,
        atime: None,
        link_to: None,
        attributes: Default::default(),
    }
}

fn entries() -> Lies {
    /// Of each entry, whether of a directory that both have or of a new one.
    macro_rules! each {
        ($refused:ident: $entry:ident => $change:expr) => {
            edit!($refused: Entries { entries, .. } | NewDir { entries, .. } => {
                for $entry in entries.iter_mut() {
                    $change;
                }
            })
        };
    }
    /// Of those in new directories.
    macro_rules! new {
        ($refused:ident: $pattern:pat => $change:expr) => {
            edit!($refused: NewDir { entries, .. } => {
                for entry in entries.iter_mut() {
                    if let $pattern = entry { $change; }
                }
            })
        };
    }
    macro_rules! attributes {
        ($refused:ident: $bytes:expr) => {
            edit!($refused: Entries { entries, .. } | NewDir { entries, .. } => {
                for entry in entries.iter_mut().take(1) {
                    entry.attributes = Attributes::from_bytes(&$bytes);
                }
            })
        };
    }
    vec![
        each!(EntryName: entry => entry.name = b"..".to_vec()),
        each!(EntryName: entry => entry.name = b"../../etc".to_vec()),
        each!(EntryName: entry => entry.name = b"zero\0".to_vec()),
        each!(EntryName: entry => entry.name = b".hasync".to_vec()),
        each!(EntryName: entry => entry.name = vec![b'n'; 1 << 16]),
        each!(Mode: entry => entry.mode |= 0o10000),
        edit!(Mode: RootEntry(entry) => entry.mode = u32::MAX),
        each!(NoId: entry => entry.uid = u32::MAX),
        each!(NoId: entry => entry.gid = u32::MAX),
        edit!(NoId: RootEntry(entry) => entry.gid = u32::MAX),
        // The group that may write, and a user that may read.
        attributes!(AttributeValue: [&[1, 0, 7, 0, 0, 0, 7, 0, 4][..], &[255; 4]].concat()),
        each!(Nanos: entry => entry.mtime = NANOS),
        edit!(Nanos: RootEntry(entry) => entry.mtime = NANOS),
        new!(LinkTarget: Entry { body: Body::Symlink { target }, .. } => target.clear()),
        new!(LinkTarget: Entry { body: Body::Symlink { target }, .. } => target.push(0)),
        new!(LinkedDir: Entry { body: Body::Dir, link_to, .. } => *link_to = Some(b"a".to_vec())),
        new!(LinkTo: Entry { body: Body::File { .. }, link_to, .. } => {
            *link_to = Some(b"../../etc/shadow".to_vec());
        }),
        each!(LinkTo: entry => if !entry.is_dir() { entry.link_to = Some(b"a//b".to_vec()) }),
        edit!(EntriesOrder: NewDir { entries, .. } => entries.reverse()),
        edit!(EntriesOrder: NewDir { entries, .. } => {
            let double = entries.first().cloned();
            double.into_iter().for_each(|entry| entries.insert(0, entry));
        }),
        // A directory, and something else of the same name.
        edit!(EntriesOrder: NewDir { entries, .. } => like_a_dir(entries, &Body::Fifo)),
        edit!(EntriesOrder: Entries { entries, .. } => like_a_dir(entries, &Body::Gone)),
        attributes!(AttributesLen: [0; ATTRIBUTES_LEN_MAX + 1]),
        attributes!(AttributesLen: [&[0, 0][..], &70_000_u32.to_le_bytes(), &[0; 70_000]].concat()),
        attributes!(AttributesCut: [1, 0, 1, 0, 0, 0]),
        attributes!(AttributesCut: [1, 0]),
        attributes!(AttributesOrder: [9, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0]),
        attributes!(AttributesOrder: [9, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0]),
        attributes!(AttributeKind: [255, 255, 0, 0, 0, 0]),
        attributes!(AttributeValue: [1, 0, 1, 0, 0, 0, 8]),
        each!(Device: entry => if !entry.is_dir() {
            entry.body = Body::BlockDevice { rdev: 0x0800 };
        }),
        each!(Setuid: entry => if !entry.is_dir() { entry.mode |= 0o4000 }),
        edit!(Unmatched: Entries { unmatched, .. } => *unmatched = vec![u32::MAX]),
        edit!(Unmatched: Entries { unmatched, .. } => *unmatched = vec![1, 0]),
        edit!(Unmatched: Entries { unmatched, .. } => *unmatched = vec![0, 0]),
        edit!(Unmatched: Entries { unmatched, .. } => if unmatched.len() > 1 {
            unmatched.reverse();
        }),
    ]
}

pub(super) type SaidBy = Box<dyn Fn() -> Said<ToReceiver> + Send>;

/// Something said when everything has been.
pub(super) fn at_end(refused: &'static str, said: SaidBy) -> Lie<ToReceiver> {
    Lie::tell(refused, move |message, before| {
        if let ContentDone { .. } = message {
            before.push(said());
        }
    })
}

/// A pack of one empty file.
pub(super) fn pack(dir: u64, entry: u32) -> Said<ToReceiver> {
    let header = [&dir.to_le_bytes()[..], &entry.to_le_bytes(), &[0; 5]].concat();
    let sum = pack_sum(&[&header]);
    Frame(FrameKind::Pack, [&header[..], &sum].concat())
}

fn unasked() -> Lies {
    let begin = |dir, entry| FileBegin {
        dir,
        entry,
        len: 9,
        since: Since::Same,
    };
    let cases: [SaidBy; 8] = [
        Box::new(move || pack(999, 0)),
        Box::new(move || Message(begin(999, 0))),
        Box::new(move || Message(begin(0, u32::MAX))),
        Box::new(|| {
            Message(FileSkipped {
                dir: 0,
                entry: 9_999,
            })
        }),
        Box::new(|| Message(FileSkipped { dir: 999, entry: 0 })),
        Box::new(|| Message(NewDirDone { dir: 999 })),
        Box::new(|| {
            let to = b"small".to_vec();
            Message(LinkFirst {
                dir: 0,
                entry: 9_999,
                to,
            })
        }),
        Box::new(|| {
            Frame(
                FrameKind::Exchange,
                [&[231, 3][..], &[0; 10], &[1, 3]].concat(),
            )
        }),
    ];
    let mut lies: Lies = cases.map(|said| at_end("NotAwaited", said)).into();
    lies.extend([
        edit!(NotAwaited: Later { entries, .. } => *entries = vec![u32::MAX]),
        edit!(NotAwaited: Later { entries, .. } => *entries = vec![entries[0]; 2]),
        edit!(NotAwaited: Later { dir, .. } => *dir = 999),
        before!(NotAwaited: NewDirDone { dir } => Message(Later {
            dir: *dir,
            entries: vec![0, 1, 2, 3],
        })),
        Lie::forge("NotAwaited", |kind, payload, before| {
            if kind == FrameKind::Pack {
                before.push(Frame(kind, payload.clone()));
            }
        }),
    ]);
    lies
}

fn content() -> Lies {
    let data = |refused, ops: &'static [u8]| {
        Lie::forge(refused, move |kind, payload: &mut Vec<u8>, _| {
            if kind == FrameKind::Data {
                *payload = ops.to_vec();
            }
        })
    };
    let again = |begin: &mut ToReceiver, before: &mut Vec<_>| {
        if let FileBegin { .. } = begin {
            before.push(Message(begin.clone()));
        }
    };
    vec![
        Lie::tell("FileInFile", again),
        edit!(Nanos: FileBegin { since, .. } => *since = Since::Touched(NANOS)),
        before!(OpsWithoutFile: Dir { .. } => Frame(FrameKind::Data, vec![5, b'x'])),
        before!(EndWithoutFile: Dir { .. } => Message(FileEnd { sum: None })),
        data("Ops", &[0]),
        edit!(Mode: FileBegin { since, .. } => {
            let mode = u32::MAX;
            let meta = Meta { mode, ..Meta::default() };
            *since = Since::Other(meta, Attributes::default());
        }),
        data("Ops", &[0x80]),
        data("Ops", &[5]),
        // A zero op of 2^61 bytes, a literal that says it is longer than any.
        data(
            "FileLen",
            &[0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        ),
        data(
            "Ops",
            &[0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        ),
        edit!(FileLen: FileBegin { len, .. } => *len = 1),
        edit!(FileSum: FileEnd { sum } => *sum = Some([7; 32])),
        asks("Ask", |key| vec![ask(key, true, &[9, 9, 9])]),
        asks("Ask", |key| vec![ask(key, true, &[])]),
        asks("AskLen", |key| {
            (0..3)
                .map(|_| ask(key, false, &[2; (1 << 20) - 13]))
                .collect()
        }),
        Lie::tell("AskOfNothing", |message, before| {
            if let FileBegin {
                dir: 0, entry, len, ..
            } = message
                && *len < 200_000
            {
                before.push(ask(&key(0, *entry), true, &[9]));
            }
        }),
        Lie::tell("AskNotOffered", {
            let mut begun = None;
            move |message, before| match message {
                FileBegin { dir: 0, entry, .. } => begun = Some(key(0, *entry)),
                FileEnd { .. } => before.extend(begun.take().map(|key| ask(&key, true, &[4]))),
                _ => {}
            }
        }),
    ]
}

fn key(dir: u64, entry: u32) -> Vec<u8> {
    [&dir.to_le_bytes()[..], &entry.to_le_bytes()].concat()
}

fn ask(key: &[u8], last: bool, bytes: &[u8]) -> Said<ToReceiver> {
    Frame(FrameKind::Exchange, [key, &[last.into()], bytes].concat())
}

/// Says something else where something is asked about a long basis.
fn asks(
    refused: &'static str,
    say: impl Fn(&[u8]) -> Vec<Said<ToReceiver>> + Send + 'static,
) -> Lie<ToReceiver> {
    Lie::forge(refused, move |kind, payload, before| {
        if kind == FrameKind::Exchange {
            before.extend(say(&payload[..12]));
        }
    })
}

fn ends() -> Lies {
    let end = || {
        Message(ContentDone {
            deletable: true,
            problems: Default::default(),
        })
    };
    macro_rules! early {
        ($pattern:pat) => {
            Lie::tell("Outstanding", move |message: &mut ToReceiver, before| {
                if let $pattern = message {
                    before.push(end());
                }
            })
        };
    }
    let mut is_first = true;
    let without_pack = Lie::forge("Outstanding", move |kind, payload: &mut Vec<u8>, _| {
        if kind == FrameKind::Pack && std::mem::take(&mut is_first) {
            // A pack of nothing.
            payload.truncate(8);
            let sum = pack_sum(&[payload]);
            payload.extend_from_slice(&sum);
        }
    });
    vec![
        early!(RootEntry(_)),
        early!(Dir { .. }),
        early!(Entries { .. }),
        early!(NewDir { .. }),
        early!(NewDirDone { .. }),
        early!(FileEnd { .. }),
        early!(LinkFirst { .. } | FileBegin { .. }),
        early!(Entries { .. }).of(DryRun),
        // After the end, while it is carried out or thereafter.
        at_end("MessageBeforeHello", Box::new(end)),
        edit!(NotAwaited: NewDir { last, .. } => *last = false),
        without_pack,
        edit!(NewDirInNewDir: message @ NewDirDone { .. } => *message = ping()),
        // A file that is given up, and neither begun again nor skipped.
        edit!(Outstanding: FileEnd { sum } => *sum = None),
    ]
}
