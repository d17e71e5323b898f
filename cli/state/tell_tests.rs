//! Every state that a record can be in: each has a sentence and a next step, what is to be typed is
//! understood, and the JSON is read back as it was.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::ffi::OsString;

use hasync_engine::generation::{Epoch, Number};

use super::record::{
    AsOfState, DataState, DataWord, Doing, Facts, GenerationState, GivenUp, KindWord, Moment, Part,
    Past, RoleWord, TreeState, Trouble,
};
use super::tell::{Level, Told};
use crate::args;
use crate::exit::Exit;

const ROLES: [RoleWord; 3] = [RoleWord::New, RoleWord::Primary, RoleWord::Standby];
const STATES: [DataWord; 8] = [
    DataWord::New,
    DataWord::Unmounted,
    DataWord::Emptied,
    DataWord::Missing,
    DataWord::Unrecorded,
    DataWord::Interrupted,
    DataWord::Partial,
    DataWord::Complete,
];
const KINDS: [Option<KindWord>; 4] = [
    None,
    Some(KindWord::Push),
    Some(KindWord::Undo),
    Some(KindWord::Promotion),
];
const HANDED_OVER: [Option<bool>; 3] = [None, Some(false), Some(true)];
const FAILURES: [Option<Exit>; 4] = [
    None,
    Some(Exit::Fenced),
    Some(Exit::Partial),
    Some(Exit::Unreachable),
];
/// A mismatch, a move, what is unsent, what is given up, a known time, a known lag.
const FLAGS: u8 = 6;

#[test]
fn every_state_has_a_sentence_and_a_step_that_is_understood() {
    let (mut typed, mut count) = (BTreeSet::new(), 0);
    for role in ROLES {
        for state in STATES {
            for kind in KINDS {
                for handed_over in HANDED_OVER {
                    for failure in FAILURES {
                        for flags in 0..1 << FLAGS {
                            let facts = facts(role, state, kind, handed_over, failure, flags);
                            let told = check(&facts, &mut typed);
                            // What is in the record is there or not.
                            if [0, (1 << FLAGS) - 1].contains(&flags) {
                                is_read_back(TreeState { told, facts });
                            }
                            count += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(count > 70_000 && typed.len() > 6, "{count} {typed:?}");
    for words in typed {
        let words = words.split(' ').map(OsString::from);
        assert!(args::parse(words.clone()).is_ok(), "{words:?}");
    }
}

fn check(facts: &Facts, typed: &mut BTreeSet<String>) -> Told {
    let told = Told::of(facts, "foo0");
    for words in [&told.sentence, &told.next, &told.promotable_reason] {
        assert!(
            !words.trim().is_empty() && !words.contains("  "),
            "{facts:?}"
        );
    }
    let commands = told.next.split('`').skip(1).step_by(2);
    typed.extend(
        commands
            .filter(|words| words.starts_with("hasync "))
            .map(str::to_owned),
    );
    assert!(!told.next.contains("on foo0 `"), "{}: {facts:?}", told.next);
    let is_gone = matches!(
        facts.data.state,
        DataWord::Unmounted
            | DataWord::Emptied
            | DataWord::Missing
            | DataWord::Unrecorded
            | DataWord::Interrupted
    );
    if is_gone {
        assert_eq!(told.level, Level::Critical, "{facts:?}");
        assert!(!told.promotable, "{facts:?}");
    }
    if facts.part.given_up_for.is_some() && facts.part.role == RoleWord::Standby {
        assert!(!told.promotable, "{facts:?}");
    }
    told
}

fn is_read_back(tree: TreeState) {
    let json = serde_json::to_value(tree).unwrap();
    let read: TreeState = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), json);
}

fn facts(
    role: RoleWord,
    state: DataWord,
    kind: Option<KindWord>,
    handed_over: Option<bool>,
    failure: Option<Exit>,
    flags: u8,
) -> Facts {
    let is = |flag: u8| flags & 1 << flag != 0;
    let other = || GivenUp {
        node: "foo1".to_owned(),
        id: "0123456789abcdef0123456789abcdef".to_owned(),
    };
    Facts {
        name: "html".to_owned(),
        path: "/srv/html".to_owned(),
        is_group: false,
        records: "/var/lib/hasync/trees/html".to_owned(),
        lossy: Vec::new(),
        part: Part {
            role,
            role_mismatch: is(0),
            is_moving: is(1),
            is_unsent: is(2),
            given_up_for: is(3).then(other),
            handed_over,
            ..Part::default()
        },
        data: DataState {
            state,
            head: kind.map(head),
            as_of: is(4).then(as_of),
            lag_seconds: is(5).then_some(7),
            undone_from: is(4).then(other),
        },
        past: Past::default(),
        unreadable: None,
        last_failure: failure.map(|exit| Trouble {
            doing: Doing::Pushing,
            exit: exit as u8,
            line: "why".to_owned(),
            next: "`hasync push --tree html`".to_owned(),
            at: Moment::of(1),
        }),
        peer: None,
    }
}

/// Made by the node itself, of which no other is known.
fn head(kind: KindWord) -> GenerationState {
    GenerationState {
        id: "fedcba9876543210fedcba9876543210".to_owned(),
        number: Number::from(4),
        epoch: Epoch::from(2),
        kind,
        node: "foo0".to_owned(),
        parent: None,
        state_of: String::new(),
        made: String::new(),
        made_seconds: 0,
        as_of: None,
        placed: 0,
        removed: 0,
        attributes: 0,
        partial: None,
    }
}

fn as_of() -> AsOfState {
    AsOfState {
        time: "2026-11-27T03:00:00Z".to_owned(),
        seconds: 0,
        here_time: String::new(),
        here_seconds: 0,
    }
}
