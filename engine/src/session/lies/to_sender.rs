//! What a receiver could say that is not so: to each lie the refusal that the sender owes it.

use super::Wish::{Ask, DryRun};
use super::deletions;
use super::scene::{Lie, Said};
use crate::generation::{GenerationId, Partial, Sealed};
use crate::keeps::TimeStore;
use crate::namespaces::Namespaces;
use crate::wire::{FrameKind, Pulse, ToSender, Verdict, Want, decode, encode};

type Lies = Vec<Lie<ToSender>>;

/// A lie that changes messages of a kind.
macro_rules! edit {
    ($refused:ident: $pattern:pat => $change:expr) => {
        Lie::tell(stringify!($refused), |message: &mut ToSender, _| {
            if let $pattern = message {
                $change;
            }
        })
    };
}

/// A lie that says something before messages of a kind.
macro_rules! before {
    ($refused:ident: $pattern:pat => $said:expr) => {
        Lie::tell(stringify!($refused), |message: &mut ToSender, before| {
            if let $pattern = message {
                before.push($said);
            }
        })
    };
}

use Said::{Bytes, Frame, Message};
use ToSender::{
    Again, Compared, Differs, Done, HelloReply, Lacks, Settled, Standing, Told, Verdicts,
};

pub(super) fn all() -> Lies {
    let parts = [
        frames(),
        standings(),
        replies(),
        mounts(),
        answers(),
        verdicts(),
        bases(),
        ends(),
        deletions::all(),
    ];
    parts.into_iter().flatten().collect()
}

fn ping() -> ToSender {
    ToSender::Ping(Pulse::default())
}

fn frames() -> Lies {
    vec![
        before!(FrameKind: HelloReply(_) => Bytes(vec![0, 0, 0, 9])),
        before!(FrameLen: HelloReply(_) => Bytes(vec![255, 255, 255, 3])),
        before!(RunFromReceiver: HelloReply(_) => Bytes(vec![0, 0, 0, 4])),
        before!(Undecodable: HelloReply(_) => Frame(FrameKind::Message, vec![99])),
        before!(MessageRest: HelloReply(_) => {
            let mut bytes = Vec::new();
            encode(&ping(), &mut bytes).unwrap();
            bytes.push(0);
            Frame(FrameKind::Message, bytes)
        }),
        before!(FieldCut: Differs { .. } => Frame(FrameKind::Exchange, vec![0; 12])),
        before!(ExchangeLast: Differs { .. } => Frame(FrameKind::Exchange, vec![2; 13])),
        before!(ContentFromReceiver: Differs { .. } => Frame(FrameKind::Pack, vec![])),
        before!(ContentFromReceiver: HelloReply(_) => Frame(FrameKind::Data, vec![])),
    ]
}

fn standings() -> Lies {
    vec![
        edit!(NodeName: Standing(standing) => standing.node.clear()),
        edit!(NodeName: Standing(standing) => standing.node = "n".repeat(256)),
        edit!(TooFar: Standing(standing) => standing.epoch = u64::MAX.into()),
        edit!(TooFar: Standing(standing) => {
            standing.head.as_mut().unwrap().number = (1 << 40).into();
        }),
        edit!(HeadAboveEpoch: Standing(standing) => {
            standing.head.as_mut().unwrap().epoch = 7.into();
        }),
        edit!(NoStanding: message @ Standing(_) => *message = ping()),
        edit!(TooFar: Told { standing, .. } => {
            standing.as_mut().unwrap().epoch = u64::MAX.into();
        })
        .of(Ask),
        edit!(NotReply: message @ Told { .. } => *message = Compared { below: 0 }).of(Ask),
        edit!(LetIn: Standing(standing) => standing.is_primary = true),
        edit!(LetIn: Standing(standing) => standing.epoch = 2.into()),
        before!(LateStanding: message @ Done { .. } => {
            let _ = message;
            Message(standing())
        }),
    ]
}

fn standing() -> ToSender {
    // The node of nobody, as the encoding has it: all of it empty or zero.
    let empty = [&[0, 0][..], &[0; 16], &[0; 8]].concat();
    crate::wire::decode(&empty).unwrap()
}

fn replies() -> Lies {
    vec![
        before!(NotReply: HelloReply(_) => Message(Compared { below: 0 })),
        before!(NotReply: HelloReply(_) => Frame(FrameKind::Exchange, vec![0; 13])),
        Lie::tell("SecondReply", |message, before| {
            if let HelloReply(_) = message {
                before.push(Message(message.clone()));
            }
        }),
        edit!(TimeStore: HelloReply(reply) => reply.keeps.time_store.granularity_ns = 0),
        edit!(TimeStore: HelloReply(reply) => reply.keeps.time_store.granularity_ns = u32::MAX),
        edit!(TimeStore: HelloReply(reply) => reply.keeps.time_store.granularity_ns = 7),
        edit!(TimeStore: HelloReply(reply) => {
            reply.keeps.time_store.granularity_ns = 1_500_000_000;
        }),
        edit!(TimeStore: HelloReply(reply) => reply.keeps.time_store.min_secs = i64::MAX),
        edit!(Lost: HelloReply(reply) => reply.keeps.lost.content = true),
        edit!(TargetName: HelloReply(reply) => reply.rename = Some(b"../../etc".to_vec())),
        edit!(TargetName: HelloReply(reply) => reply.rename = Some(b".hasync".to_vec())),
        edit!(RenameUnasked: HelloReply(reply) => reply.rename = Some(b"other".to_vec())),
        edit!(NoId: HelloReply(reply) => reply.settable_groups = vec![(u32::MAX, None)]),
        edit!(Accounts: HelloReply(reply) => reply.accounts.push(Some(0))),
        edit!(TooManyGroups: HelloReply(reply) => {
            reply.settable_groups = vec![(7, None); (1 << 16) + 1];
        }),
        before!(NotReply: Told { .. } => Frame(FrameKind::Exchange, vec![0; 13])).of(Ask),
    ]
}

fn mounts() -> Lies {
    let long = ["d"; 2_000].join("/");
    let lie = |refused, all: &[(&str, u16)], count: usize| {
        let mounted = all.iter().map(|&(path, lost)| {
            let path = serde_bytes::ByteBuf::from(path);
            (path, TimeStore::default(), lost, Namespaces::NONE)
        });
        let mounted: Vec<_> = mounted.cycle().take(count).collect();
        let mut bytes = Vec::new();
        encode(&mounted, &mut bytes).unwrap();
        Lie::tell(refused, move |message, _| {
            if let HelloReply(reply) = message {
                reply.mounted = decode(&bytes).unwrap();
            }
        })
    };
    vec![
        lie("TooManyMounts", &[("m", 0)], 1025),
        lie("TooManyMounts", &[(&long, 0)], 100),
        lie("MountsOrder", &[("n", 0), ("m", 0)], 2),
        lie("MountsOrder", &[("m", 0)], 2),
        lie("MountPath", &[("", 0)], 1),
        lie("Lost", &[("m", 1)], 1),
    ]
}

fn answers() -> Lies {
    let prints = |print_len: u8, len: usize| {
        Lie::tell("PrintsLen", move |message: &mut ToSender, _| {
            if let Differs {
                print_len: told,
                prints,
                ..
            } = message
            {
                *told = print_len;
                prints.resize(len, 0);
            }
        })
    };
    vec![
        edit!(NotDue: Differs { dir, .. } => *dir = 77),
        edit!(NotDue: Lacks { dir } => *dir = 77),
        edit!(NotDue: Lacks { dir } => *dir = 0),
        edit!(NotDue: Verdicts { dir, .. } => *dir = u64::MAX),
        Lie::tell("NotDue", |message, before| {
            if let Lacks { .. } = message {
                before.push(Message(message.clone()));
            }
        }),
        // First answers come in the order of the directories.
        edit!(NotDue: Differs { dir, .. } => if *dir > 0 { *dir -= 1 }),
        edit!(NotDue: Lacks { dir } => *dir -= 1),
        Lie::tell("NotDue", {
            let mut told = None;
            move |message, before| match message {
                Differs { dir, .. } if *dir > 0 => told = Some(Lacks { dir: *dir }),
                _ => before.extend(told.take().map(Message)),
            }
        })
        .of(DryRun),
        before!(NotDue: Differs { dir, .. } => Message(Verdicts {
            dir: *dir,
            verdicts: Vec::new(),
            last: true,
        })),
        before!(NotDue: Differs { .. } => Message(Verdicts {
            dir: 1,
            verdicts: Vec::new(),
            last: true,
        })),
        Lie::tell("TooManyPrints", |message, before| {
            if let Differs { dir, .. } = message {
                let part = || Differs {
                    dir: *dir,
                    print_len: 1,
                    prints: vec![0; 1_000_000],
                    last: false,
                };
                before.extend((0..12).map(|_| Message(part())));
            }
        }),
        prints(0, 0),
        prints(9, 9),
        prints(255, 255),
        prints(2, 3),
    ]
}

fn verdicts() -> Lies {
    macro_rules! each {
        ($refused:ident: $verdicts:ident => $change:expr) => {
            edit!($refused: Verdicts { verdicts: $verdicts, .. } => if $verdicts.len() > 1 {
                $change;
            })
        };
    }
    vec![
        each!(VerdictsOrder: verdicts => verdicts.reverse()),
        each!(VerdictsOrder: verdicts => verdicts[1].entry = verdicts[0].entry),
        each!(VerdictsOrder: verdicts => verdicts.last_mut().unwrap().entry = u32::MAX),
        each!(WantWithoutContent: verdicts => {
            // All that differs at the top are files, and two new directories.
            verdicts.iter_mut().for_each(|verdict| verdict.want = Want::Whole);
        }),
        Lie::tell("VerdictsOrder", |message, _| {
            if let Verdicts { verdicts, last, .. } = message
                && let Some(first) = verdicts.first().copied()
            {
                let entry = first.entry;
                verdicts.push(Verdict { entry, ..first });
                *last = false;
            }
        }),
    ]
}

/// Changes what is said of a basis, from the first piece of it on.
fn of_basis(
    refused: &'static str,
    format: u8,
    change: impl Fn(&mut Vec<u8>) + Send + 'static,
) -> Lie<ToSender> {
    Lie::forge(refused, move |kind, payload, _| {
        if kind == FrameKind::Exchange && payload.get(13) == Some(&format) {
            change(payload);
        }
    })
}

fn bases() -> Lies {
    vec![
        before!(BasisUnannounced: Differs { .. } => {
            Frame(FrameKind::Exchange, [&[0; 12][..], &[1, 1]].concat())
        }),
        before!(BasisUnannounced: Done { .. } => {
            Frame(FrameKind::Exchange, [&[9; 12][..], &[1, 1]].concat())
        }),
        of_basis("PrefixSum", 4, |payload| payload.truncate(20)),
        of_basis("PrefixSum", 4, |payload| payload.push(0)),
        of_basis("Signature", 1, |payload| payload[13] = 77),
        of_basis("Signature", 1, |payload| payload.truncate(30)),
        of_basis("Signature", 1, |payload| payload[14..20].fill(255)),
        of_basis("Exchange", 2, |payload| payload.truncate(40)),
        of_basis("Exchange", 2, |payload| payload[14..60].fill(255)),
        Lie::forge("Exchange", |kind, payload, _| {
            // Answers begin with anything, but none of them is that long.
            let is_answer = !(1..=4).contains(&payload.get(13).copied().unwrap_or_default());
            if kind == FrameKind::Exchange && is_answer {
                payload.push(0);
            }
        }),
        Lie::forge("AnswerLen", |kind, payload, before| {
            if kind == FrameKind::Exchange {
                let piece = [&payload[..12], &[0], &[2; 1 << 19]].concat();
                before.extend((0..9).map(|_| Frame(kind, piece.clone())));
            }
        }),
        // The sum of the basis once more, in place of the signature that was asked for.
        Lie::forge("Signature", {
            let mut sum: Option<Vec<u8>> = None;
            move |kind, payload, _| match payload.get(13) {
                Some(4) if kind == FrameKind::Exchange => {
                    payload[22..].fill(0);
                    sum = Some(payload.clone());
                }
                Some(1) => {
                    let told = sum.iter().find(|sum| sum[..12] == payload[..12]);
                    told.into_iter().for_each(|sum| payload.clone_from(sum));
                }
                _ => {}
            }
        }),
        Lie::forge("TooManyExchanges", {
            let mut samples = 0_u32;
            move |_, payload, before| {
                // The answers are withheld, so that all remain open.
                match payload.get(13) {
                    Some(3) => payload.clear(),
                    Some(2) => samples += 1,
                    _ => {}
                }
                if samples == 128 && payload.get(13) == Some(&2) {
                    // The last one that is open, and one more: nothing is asked about that.
                    before.push(Frame(FrameKind::Exchange, payload.clone()));
                    payload.splice(8..12, 128_u32.to_le_bytes());
                }
            }
        })
        .in_crowd(),
        edit!(NoDelta: Settled { entry, .. } => *entry = 9_999),
        edit!(NoDelta: Settled { dir, .. } => *dir = 9_999),
        Lie::tell("NoDelta", |message, before| {
            if let Settled { .. } = message {
                before.push(Message(message.clone()));
            }
        }),
        before!(NoDelta: Done { .. } => Message(Again { dir: 0, entry: 0 })),
    ]
}

fn ends() -> Lies {
    let done = || {
        Message(Done {
            durable: true,
            sealed: None,
            starved: 0,
        })
    };
    macro_rules! early {
        ($pattern:pat) => {
            Lie::tell("EarlyDone", move |message: &mut ToSender, before| {
                if let $pattern = message {
                    before.push(done());
                }
            })
        };
    }
    vec![
        before!(NotDue: Verdicts { .. } => Message(Compared { below: u64::MAX })),
        early!(Differs { .. }),
        early!(Verdicts { .. }),
        early!(Settled { .. }),
        early!(Differs { .. }).of(DryRun),
        // What comes after the end belongs to no push.
        Lie::tell("IdleMessage", |message, before| {
            if let Done { .. } = message {
                let done = std::mem::replace(message, Compared { below: 0 });
                before.push(Message(done));
            }
        })
        .listened_to(),
        edit!(NotDurable: Done { durable, .. } => *durable = false),
        edit!(NotSealed: Done { sealed, .. } => *sealed = None),
        Lie::tell("SealedUnasked", {
            let mut head = None;
            move |message, _| match message {
                Standing(standing) => head = standing.head.clone(),
                Done { sealed, .. } => {
                    *sealed = head.take().map(|head| {
                        let (changed, as_of, pinned) = (true, None, false);
                        Box::new(Sealed {
                            head,
                            changed,
                            as_of,
                            pinned,
                            written: Partial::default(),
                        })
                    });
                }
                _ => {}
            }
        })
        .of(DryRun),
        edit!(OtherGeneration: Done { sealed: Some(sealed), .. } => {
            sealed.head.id = GenerationId::NONE;
        }),
        edit!(OtherGeneration: Done { sealed: Some(sealed), .. } => sealed.changed = false),
    ]
}
