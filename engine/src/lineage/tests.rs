//! The rules and the steps of the records, explored: two nodes, every verb, and a push that
//! anything may happen beside, in every order up to a depth and in random ones beyond it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod search;
pub(super) mod standings;
mod world;

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::Write;
use std::ops::ControlFlow;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::claim::Standing;
use super::rules::{Rejoin, Serves};
use crate::clock::Boot;
use search::{ACTIONS, Action, Broken, Search, act, check, key};
use world::{End, Fault, World};

/// Further, and more of them, is for those who have time.
#[expect(
    clippy::disallowed_methods,
    reason = "the one switch between the two counts"
)]
fn is_soak() -> bool {
    std::env::var_os("HASYNC_SOAK").is_some_and(|value| value == "1")
}

/// Two nodes, of which the first has pushed something.
fn mirrored(fault: Fault) -> World {
    let mut world = World::new(fault);
    world.promote(0, Default::default());
    world.write(0);
    world.push(0);
    world
}

#[track_caller]
fn explore(world: World, actions: &[Action], depth: usize) -> usize {
    match Search::new(actions, depth).run(world) {
        ControlFlow::Continue(count) => count,
        ControlFlow::Break(found) => panic!("{found}"),
    }
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    let depth = if is_soak() { 6 } else { 5 };
    for world in [mirrored(Fault::None), World::new(Fault::None)] {
        let count = explore(world, &ACTIONS, depth);
        let mut out = std::io::stdout();
        writeln!(out, "{count} states in {depth} steps (normal 5, soak 6)").unwrap();
        assert!(count > 10_000, "{count}");
    }
}

#[test]
fn no_long_history_breaks_a_promise() {
    let (cases, rng_seed) = match is_soak() {
        true => (20_000, RngSeed::Random),
        false => (400, RngSeed::Fixed(1)),
    };
    let mut runner = TestRunner::new(Config {
        cases,
        rng_seed,
        failure_persistence: None,
        ..Config::default()
    });
    let history = proptest::collection::vec(0..ACTIONS.len(), 0..60);
    let seen = RefCell::new(HashSet::new());
    let ran = runner.run(&(any::<bool>(), history), |(is_new, history)| {
        let mut world = match is_new {
            true => World::new(Fault::None),
            false => mirrored(Fault::None),
        };
        for at in history {
            let Some(next) = act(&world, ACTIONS[at]) else {
                continue;
            };
            let broken = check(&world, ACTIONS[at], &next);
            prop_assert!(broken.is_none(), "{:?} by {:?}", broken, ACTIONS[at]);
            seen.borrow_mut().insert(key(&next));
            world = next;
        }
        Ok(())
    });
    ran.unwrap();
    let (mut out, count) = (std::io::stdout(), seen.borrow().len());
    writeln!(
        out,
        "{count} states in {cases} histories (normal 400, soak 20,000)"
    )
    .unwrap();
}

#[test]
fn restarts_without_a_change_are_handed_on_however_many() {
    let mut world = mirrored(Fault::None);
    for _ in 0..200 {
        world.demote(0, false);
        world.promote(0, Default::default());
    }
    assert_eq!(world.push(0), End::Equal);
    world.demote(0, true);
    world.promote(1, Default::default());
    assert_eq!(world.push(1), End::Equal);
}

#[test]
fn acknowledgements_may_be_lost_again_and_again() {
    // How many steps of the next push are made before that one breaks off.
    for steps in 0..7 {
        let mut world = mirrored(Fault::None);
        for _ in 0..3 {
            world.write(0);
            world.begin(0);
            world.go_on(5);
            world.cut();
            world.go_on(9);
            world.begin(0);
            world.go_on(steps);
            world.crash(0);
            world.go_on(9);
        }
        let end = world.push(0);
        assert!(matches!(end, End::Equal | End::Changed), "{steps}: {end:?}");
        assert_eq!(world.nodes[0].writes, world.nodes[1].writes);
    }
}

#[test]
fn a_fault_that_is_put_back_is_found() {
    for (fault, promise) in [
        (Fault::StaleCopy, Broken::EpochFell),
        (Fault::NotHandedOn, Broken::HandOver),
    ] {
        let found = Search::new(&ACTIONS, 5).run(mirrored(fault));
        let ControlFlow::Break(found) = found else {
            panic!("{fault:?} is not found");
        };
        assert_eq!(found.broken, promise, "{found}");
    }
}

#[test]
fn a_former_primary_follows_only_where_all_of_it_is_known() {
    const OLD: Boot = [1; 16];
    const NEW: Boot = [2; 16];
    const UNKNOWN: Boot = [0; 16];
    let mut world = mirrored(Fault::None);
    let before = world.standing(1);
    world.promote(1, Default::default());
    let promoted = world.standing(1);
    let mut apart = mirrored(Fault::None);
    apart.lose_state(1);
    apart.lose_data(1);
    apart.promote(1, 7.into());
    let apart = apart.standing(1);
    let demoted = Standing {
        is_primary: false,
        ..promoted.clone()
    };
    let (yes, no, unknown) = (Serves::Yes, Serves::No, Serves::Unknown);
    for (what, peer, serves, boot, follows) in [
        ("a crash", &promoted, no, NEW, Some(true)),
        ("it serves", &promoted, yes, NEW, Some(false)),
        ("no test of the role", &promoted, unknown, NEW, Some(false)),
        ("the same boot", &promoted, no, OLD, Some(false)),
        ("no boot is told", &promoted, no, UNKNOWN, Some(false)),
        ("it came from elsewhere", &apart, no, NEW, Some(false)),
        ("nobody was promoted", &before, no, NEW, None),
        ("nobody is primary", &demoted, no, NEW, None),
    ] {
        let found = world.view(0).rejoins(peer, serves, boot);
        let expected = matches!(
            (found, follows),
            (Rejoin::Follows, Some(true)) | (Rejoin::Asks(_), Some(false)) | (Rejoin::Stays, None)
        );
        assert!(expected, "{what}: {found:?}");
    }
    // Whatever acted as primary in this boot has to be looked at.
    assert!(world.nodes[0].record.serves(NEW));
    let found = world.view(0).rejoins(&promoted, no, NEW);
    assert!(matches!(found, Rejoin::Asks(_)), "{found:?}");
    assert!(!world.nodes[0].record.serves(NEW), "it is known");
    assert!(!World::new(Fault::None).nodes[0].record.clone().serves(NEW));
}
