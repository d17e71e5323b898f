//! Lies about how far a node is, which generation it makes, when that was, and who it is. A lie is
//! refused, and whatever was said leaves no trace in the records of a node that only compared.

use super::Wish::{Ask, Compare, DryRun, Push};
use super::{ALL, CLAIMED, Wish, bytes, meet, mirrored, standing, through, truth, write};
use crate::error::{Error, ErrorKind};
use crate::generation::{GenerationId, NodeRole, Sealed, Standing, Tree};
use crate::lineage::claim::Claim;
use crate::node_id::NodeId;
use crate::wire::{Pulse, ToReceiver, ToSender};

const FAR: u64 = 1 << 32;

/// A promotion of either node is a step of one: nothing that was told has carried it away.
#[track_caller]
fn unmoved(node: &Tree, before: &Tree) {
    let known = before
        .status()
        .unwrap()
        .epoch
        .max(node.status().unwrap().epoch);
    node.demote(false).unwrap();
    assert_eq!(Some(node.promote().unwrap().epoch), known.next());
}

#[track_caller]
fn refused(name: &str, wish: Wish, result: Result<Option<Sealed>, Error>, words: &str) {
    let error = result.map(|_| format!("{name} {wish:?}")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Stream, "{name} {wish:?}: {error}");
    assert!(error.message.contains(words), "{name} {wish:?}: {error}");
    assert!(!error.message.contains('\n'), "{error:?}");
}

#[test]
fn a_sender_that_lies_is_refused_and_leaves_no_trace() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    let old = b.log().unwrap();
    let (first, present) = (old.first().unwrap().clone(), old.last().unwrap().clone());
    let none = GenerationId::NONE;
    let taken = |id: GenerationId| move |claim: &mut Claim| claim.intended = id;
    let epoch = |epoch: u64| move |claim: &mut Claim| claim.epoch = epoch.into();
    let number = |number: u64| move |claim: &mut Claim| claim.number = number.into();
    type Lie = Box<dyn Fn(&mut Claim) + Sync>;
    let both = |claim: &mut Claim| {
        claim.epoch = 0.into();
        claim.number = u64::MAX.into();
    };
    let lies: [(&str, Lie, &str); 14] = [
        ("the last epoch", Box::new(epoch(u64::MAX)), "claims epoch"),
        ("one before", Box::new(epoch(u64::MAX - 1)), "claims epoch"),
        ("half way", Box::new(epoch(u64::MAX / 2)), "claims epoch"),
        ("a step too far", Box::new(epoch(FAR + 2)), "claims epoch"),
        (
            "the last number",
            Box::new(number(u64::MAX)),
            "claims number",
        ),
        (
            "a number too far",
            Box::new(number(FAR + 3)),
            "claims number",
        ),
        ("no epoch, last number", Box::new(both), ""),
        (
            "the present head",
            Box::new(taken(present.id)),
            "not a new one",
        ),
        ("an old one", Box::new(taken(first.id)), "not a new one"),
        (
            "the parent",
            Box::new(taken(present.parent.unwrap())),
            "not a new one",
        ),
        ("no identity", Box::new(taken(none)), "not a new one"),
        (
            "its own head",
            Box::new(|claim| {
                let head = claim.head.map(|head| head.id);
                claim.intended = head.unwrap_or(GenerationId::NONE);
            }),
            "not a new one",
        ),
        ("no name", Box::new(|claim| claim.node.clear()), "name"),
        (
            "many heads",
            Box::new(move |claim| claim.open = vec![none; 18]),
            "heads",
        ),
    ];
    for (name, lie, words) in &lies {
        for wish in CLAIMED {
            let before = bytes(&temp.path().join("b"));
            let result = meet(&a, &b, wish, lie, truth);
            refused(name, wish, result, words);
            assert_eq!(bytes(&temp.path().join("b")), before, "{name} {wish:?}");
        }
    }
    let sealed = meet(&a, &b, Push, truth, truth).unwrap().unwrap();
    assert_eq!(Some(sealed.head.number), present.number.next());
    unmoved(&b, &a);
}

#[test]
fn a_receiver_that_lies_is_refused_and_leaves_no_trace() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    type Lie = Box<dyn Fn(&mut Standing) + Sync>;
    let head = |number: u64, epoch: u64| {
        move |standing: &mut Standing| {
            let head = standing.head.as_mut().unwrap();
            (head.number, head.epoch) = (number.into(), epoch.into());
        }
    };
    let epoch = |epoch: u64| move |standing: &mut Standing| standing.epoch = epoch.into();
    let lies: [(&str, Lie, &str); 8] = [
        ("the last epoch", Box::new(epoch(u64::MAX)), "claims epoch"),
        ("one before", Box::new(epoch(u64::MAX - 1)), "claims epoch"),
        ("a step too far", Box::new(epoch(FAR + 2)), "claims epoch"),
        (
            "the last number",
            Box::new(head(u64::MAX, 1)),
            "claims number",
        ),
        (
            "a number too far",
            Box::new(head(FAR + 3, 1)),
            "claims number",
        ),
        ("a head beyond it", Box::new(head(1, 2)), "above the epoch"),
        (
            "no name",
            Box::new(|standing| standing.node.clear()),
            "name",
        ),
        (
            "a long name",
            Box::new(|standing| standing.node = "n".repeat(256)),
            "name",
        ),
    ];
    for (name, lie, words) in &lies {
        for wish in ALL {
            let before = bytes(&temp.path().join("a"));
            let result = meet(&a, &b, wish, truth, |message| {
                standing(message).into_iter().for_each(lie);
            });
            refused(name, wish, result, words);
            assert_eq!(bytes(&temp.path().join("a")), before, "{name} {wish:?}");
        }
    }
    unmoved(&a, &b);
}

#[test]
fn a_receiver_that_lets_in_whom_it_has_to_fence_is_not_believed() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    for lie in [
        |standing: &mut Standing| standing.is_primary = true,
        |standing: &mut Standing| standing.epoch = 2.into(),
    ] {
        for wish in [Push, DryRun] {
            let before = bytes(&temp.path().join("a"));
            let result = meet(&a, &b, wish, truth, |message| {
                if let ToSender::Standing(standing) = message {
                    lie(standing);
                }
            });
            refused("let in", wish, result, "fenced");
            assert_eq!(bytes(&temp.path().join("a")), before, "{wish:?}");
        }
    }
}

#[test]
fn no_standing_and_no_time_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    for wish in CLAIMED {
        let before = bytes(&temp.path().join("a"));
        let result = meet(&a, &b, wish, truth, |message| {
            if let ToSender::Standing(_) = message {
                *message = ToSender::Ping(Pulse::default());
            }
        });
        refused("no word", wish, result, "no word of how it stands");
        for granularity_ns in [0, 2_000_000_001, 3_000_000_000, u32::MAX] {
            let result = meet(&a, &b, wish, truth, |message| {
                if let ToSender::HelloReply(reply) = message {
                    reply.keeps.time_store.granularity_ns = granularity_ns;
                }
            });
            refused("time", wish, result, "times that no file system has");
        }
        assert_eq!(bytes(&temp.path().join("a")), before, "{wish:?}");
    }
}

#[test]
fn what_a_node_notes_of_an_acknowledgement_is_its_own() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    for far in [0, 1, i64::MIN, i64::MAX] {
        write(&a, &format!("{far}"));
        let sealed = meet(&a, &b, Push, truth, |message| {
            if let ToSender::Done { sealed, .. } = message {
                let sealed = sealed.as_mut().unwrap();
                sealed.head.number = u64::MAX.into();
                sealed.head.epoch = u64::MAX.into();
                sealed.head.node = "nobody".to_owned();
                sealed.head.made_ns = far;
                for as_of in [&mut sealed.head.as_of, &mut sealed.as_of] {
                    let as_of = as_of.as_mut().unwrap();
                    (as_of.source_ns, as_of.here_ns, as_of.since_boot_ns) = (far, far, far);
                }
            }
        });
        let sealed = sealed.unwrap().unwrap();
        let (noted, real) = (a.status().unwrap(), b.status().unwrap().head.unwrap());
        let head = noted.head.unwrap();
        assert_eq!(sealed.head, head);
        assert_eq!((head.number, head.epoch), (real.number, real.epoch));
        assert_eq!((head.id, head.parent), (real.id, real.parent));
        assert_eq!(head.node, "a");
        for as_of in [
            head.as_of.unwrap(),
            noted.as_of.unwrap(),
            sealed.as_of.unwrap(),
        ] {
            let lag = as_of.lag_ns().unwrap();
            assert!((0..600_000_000_000).contains(&lag), "{far}: {lag}");
            assert!(as_of.source_ns > 1_700_000_000_000_000_000);
        }
        assert_eq!(a.log().unwrap().last(), Some(&sealed.head));
    }
    // Equal is not what is partial, by its own words, and the words it has about that are counted.
    write(&a, "partial");
    let equal = a.status().unwrap().as_of;
    let sealed = meet(&a, &b, Push, truth, |message| {
        if let ToSender::Done { sealed, .. } = message {
            let partial = sealed
                .as_mut()
                .unwrap()
                .head
                .partial
                .get_or_insert_default();
            (partial.count, partial.lines) = (u64::MAX, vec!["x".to_owned(); 1000]);
        }
    });
    let sealed = sealed.unwrap().unwrap();
    assert_eq!((sealed.as_of, sealed.head.as_of), (None, None));
    assert_eq!(a.status().unwrap().as_of, equal);
    let partial = sealed.head.partial.unwrap();
    assert_eq!((partial.count, partial.lines.len()), (u64::MAX, 100));
    // Of what it was not asked for nothing is noted at all.
    write(&a, "last");
    let old = a.status().unwrap().head;
    for changed in [true, false] {
        let result = meet(&a, &b, Push, truth, |message| {
            if let ToSender::Done { sealed, .. } = message {
                let sealed = sealed.as_mut().unwrap();
                sealed.changed = changed;
                sealed.head.id = GenerationId::NONE;
            }
        });
        refused("another", Push, result, "another generation");
        assert_eq!(a.status().unwrap().head, old);
    }
}

#[test]
fn what_the_sender_says_of_time_makes_no_lag_smaller() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    for (far, changes) in [i64::MIN, -1, 0, i64::MAX]
        .into_iter()
        .flat_map(|far| [(far, true), (far, false)])
    {
        if changes {
            write(&a, &format!("{far} {changes}"));
        }
        let before = b.status().unwrap().as_of.unwrap();
        meet(&a, &b, Push, |claim| claim.now_ns = far, truth).unwrap();
        let as_of = b.status().unwrap().as_of.unwrap();
        assert_eq!(as_of.source_ns, far, "it is shown as its own");
        assert!(as_of.here_ns > before.here_ns && as_of.since_boot_ns > before.since_boot_ns);
        assert!((0..600_000_000_000).contains(&as_of.lag_ns().unwrap()));
        assert_eq!(as_of.boot, before.boot);
    }
    // Nor do they upset who goes on from there.
    b.promote().unwrap();
    a.demote(false).unwrap();
    meet(&b, &a, Push, truth, truth).unwrap();
}

#[test]
fn a_step_that_is_just_believed_can_be_followed_and_no_panic_comes_of_counts() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    let ahead = |claim: &mut Claim| {
        claim.epoch = (FAR + 1).into();
        claim.number = (FAR + 2).into();
    };
    for wish in [DryRun, Compare] {
        let before = bytes(temp.path());
        meet(&a, &b, wish, ahead, truth).unwrap();
        assert_eq!(bytes(temp.path()), before, "{wish:?}");
    }
    meet(&a, &b, Push, ahead, truth).unwrap();
    let status = b.status().unwrap();
    assert_eq!(status.epoch, (FAR + 1).into());
    assert_eq!(status.head.unwrap().number, (FAR + 3).into());
    assert_eq!(b.promote().unwrap().epoch, (FAR + 2).into());
    // From the other side it is the admin who carries the epoch over.
    let error = meet(&a, &b, Push, truth, truth).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Stream, "{error}");
}

#[test]
fn the_last_epoch_and_number_are_an_end_and_no_way_round() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    for above in [FAR + 1, u64::MAX - 1, u64::MAX] {
        let error = a.promote_above(above.into()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage, "{error}");
    }
    let before = bytes(temp.path());
    let own = a.status().unwrap().epoch;
    assert!(a.promote_above(u64::MAX.into()).is_err());
    assert_eq!(bytes(temp.path()), before);
    a.demote(false).unwrap();
    assert_eq!(Some(a.promote().unwrap().epoch), own.next());
    assert_eq!(b.status().unwrap().role, NodeRole::Standby);
}

#[test]
fn looking_changes_no_byte_on_either_node() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    let quiet = |what: &str| {
        for (from, to) in [(&a, &b), (&b, &a)] {
            for wish in [DryRun, Compare, Ask, Push] {
                let is_refused = matches!(wish, DryRun | Push);
                if is_refused && from.status().unwrap().role != NodeRole::Primary {
                    continue;
                }
                let before = bytes(temp.path());
                let result = meet(from, to, wish, truth, truth);
                let allowed = what == "mirrored";
                if allowed && wish == Push {
                    result.unwrap();
                    write(&a, &format!("{:?}", std::time::Instant::now()));
                    continue;
                }
                assert!(result.is_ok() || !allowed && is_refused, "{what} {wish:?}");
                from.status().unwrap();
                to.log().unwrap();
                assert_eq!(bytes(temp.path()), before, "{what} {wish:?}");
            }
        }
    };
    quiet("mirrored");
    b.promote().unwrap();
    b.promote().unwrap();
    quiet("fenced, the peer two epochs above");
    b.demote(false).unwrap();
    quiet("fenced by a standby");
    a.promote_above(3.into()).unwrap();
    quiet("diverged");
}

#[test]
fn each_half_knows_itself_by_its_identity() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    let (own, other) = (
        NodeId::of(&a.state_dir).unwrap(),
        NodeId::of(&b.state_dir).unwrap(),
    );
    assert_ne!(own, other);
    for wish in ALL {
        let before = bytes(temp.path());
        let tell = |message: &mut ToReceiver| match message {
            ToReceiver::Hello(hello) => hello.claim.as_mut().unwrap().node_id = other,
            ToReceiver::Ask(ask) => ask.node_id = other,
            _ => {}
        };
        let by_receiver = through(&a, &b, wish, tell, truth, None);
        let by_sender = meet(&a, &b, wish, truth, |message| {
            if let Some(standing) = standing(message) {
                standing.node_id = own;
            }
        });
        for (result, node) in [(by_receiver, &b), (by_sender, &a)] {
            let error = result.unwrap_err();
            assert_eq!(error.kind, ErrorKind::OwnNode, "{error}");
            let file = node.state_dir.join("node-id").display().to_string();
            assert!(error.message.contains(&file), "{error}");
        }
        assert_eq!(bytes(temp.path()), before, "{wish:?}");
    }
    // One tree with one state at both ends, where locks would be in each other's way.
    for wish in ALL {
        let error = meet(&a, &a, wish, truth, truth).unwrap_err();
        assert_eq!(error.kind, ErrorKind::OwnNode, "{wish:?}: {error}");
    }
}
