//! The rules of the gate, case by case, and what they promise under any flood.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn limits(waiting_max: usize, logins_max: usize) -> ServerLimits {
    ServerLimits {
        waiting_max,
        logins_max,
        sessions_max: 2,
        ..ServerLimits::default()
    }
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Stands for one client; `named` as if `from=` had its address.
fn arrive(gate: &mut Gate, address: &str, named: bool, ms: u64) -> (Id, Option<Id>) {
    gate.arrive(address.parse().unwrap(), named, at(ms))
}

/// Starts all that may be started now.
fn starts(gate: &mut Gate, ms: u64) -> Vec<Start> {
    std::iter::from_fn(|| gate.start(at(ms))).collect()
}

#[test]
fn addresses_of_one_host_are_one_group() {
    for (one, other, same) in [
        ("10.0.0.1", "10.0.0.1", true),
        ("10.0.0.1", "10.0.0.2", false),
        ("10.0.0.1", "::ffff:10.0.0.1", true),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", false),
        ("fd00:1:2:3::1", "fd00:1:2:3:ffff:ffff:ffff:ffff", true),
        ("fd00:1:2:3::1", "fd00:1:2:4::1", false),
        ("fe80::1", "fe80::2", true),
        ("::1", "::ffff:127.0.0.1", false),
    ] {
        let group = |address: &str| group(address.parse().unwrap(), false);
        assert_eq!(group(one) == group(other), same, "{one} {other}");
    }
}

#[test]
fn the_oldest_of_the_largest_group_gives_way() {
    for (arrivals, expected) in [
        // The flood's own.
        ("a b b b", Some(1)),
        ("b b a b", Some(0)),
        ("b a b c", Some(0)),
        // Of equals the oldest, be it one of a pair.
        ("a b c d", Some(0)),
        ("a a b b", Some(0)),
        ("a b a b", Some(0)),
        ("c a b b a", Some(1)),
    ] {
        let names: Vec<&str> = arrivals.split(' ').collect();
        let mut gate = Gate::new(limits(names.len() - 1, 4));
        let mut gave_way = None;
        for name in &names {
            assert_eq!(gave_way, None);
            let address = format!("10.0.0.{}", name.as_bytes()[0]);
            gave_way = arrive(&mut gate, &address, false, 0).1;
        }
        assert_eq!(gave_way.map(|id| id - FIRST_ID), expected, "{arrivals}");
    }
}

#[test]
fn a_network_of_64_bits_floods_as_one() {
    let mut gate = Gate::new(limits(8, 4));
    let (good, _) = arrive(&mut gate, "fd00:0:0:2::1", false, 0);
    for host in 0..1000 {
        let (_, gave_way) = arrive(&mut gate, &format!("fd00:0:0:1::{host:x}"), false, 0);
        assert_ne!(gave_way, Some(good));
    }
}

#[test]
fn named_addresses_keep_a_reserve() {
    let mut gate = Gate::new(limits(16, 16));
    let mut named: Vec<Id> = Vec::new();
    for _ in 0..4 {
        named.push(arrive(&mut gate, "10.0.0.1", true, 0).0);
    }
    // Each stranger is alone in its group, and the named are the largest.
    for host in 0..1000 {
        let address = format!("10.1.{}.{}", host / 250, host % 250);
        let (id, gave_way) = arrive(&mut gate, &address, false, 0);
        assert!(gave_way.is_none_or(|gone| !named.contains(&gone)));
        gate.spoke(id);
    }
    named.iter().for_each(|id| gate.spoke(*id));
    let first: Vec<Id> = starts(&mut gate, 0).iter().map(|start| start.id).collect();
    assert_eq!(first[..4], named, "they do not queue behind strangers");
    for round in 1..100 {
        for start in starts(&mut gate, round * 1000) {
            assert!(start.gives_way.is_none_or(|gone| !named.contains(&gone)));
        }
    }
    // Beyond the reserve they compete like others.
    let (_, gave_way) = arrive(&mut gate, "10.0.0.1", true, 0);
    assert!(gave_way.is_none_or(|gone| !named.contains(&gone)));
    for _ in 0..16 {
        arrive(&mut gate, "10.0.0.9", true, 0);
    }
    let (last, _) = arrive(&mut gate, "10.3.0.1", false, 0);
    let (_, gave_way) = arrive(&mut gate, "10.0.0.9", true, 0);
    assert!(gave_way.is_some_and(|gone| gone != last && !named.contains(&gone)));
}

#[test]
fn processes_are_started_at_a_bounded_rate() {
    let mut gate = Gate::new(limits(256, 16));
    let mut count = 0;
    for ms in 0..10_000 {
        let (id, _) = arrive(&mut gate, "10.0.0.1", false, ms);
        gate.spoke(id);
        count += starts(&mut gate, ms).len();
    }
    assert_eq!(count, 20 + 10 * 20 - 1);
}

#[test]
fn a_client_that_waits_for_us_gets_a_process_if_there_is_room() {
    let mut gate = Gate::new(limits(16, 2));
    let (silent, _) = arrive(&mut gate, "10.0.0.1", false, 0);
    assert_eq!(gate.wake_at(), Some(at(500)));
    assert_eq!(starts(&mut gate, 499), []);
    let start = |id| Start {
        id,
        gives_way: None,
    };
    assert_eq!(starts(&mut gate, 500), [start(silent)]);
    let (second, _) = arrive(&mut gate, "10.0.0.2", false, 500);
    let (third, _) = arrive(&mut gate, "10.0.0.3", false, 500);
    assert_eq!(starts(&mut gate, 2000), [start(second)]);
    // No room: now silence has to wait, and words have not.
    assert_eq!(starts(&mut gate, 3000), []);
    assert_eq!(gate.wake_at(), Some(at(30_000)));
    gate.spoke(third);
    let spoken = Start {
        id: third,
        gives_way: Some(silent),
    };
    assert_eq!(starts(&mut gate, 3000), [spoken]);
}

#[test]
fn a_login_has_a_deadline_in_every_stage() {
    let mut gate = Gate::new(limits(16, 2));
    let (silent, _) = arrive(&mut gate, "10.0.0.1", false, 0);
    let (started, _) = arrive(&mut gate, "10.0.0.2", false, 1);
    let (logged_in, _) = arrive(&mut gate, "10.0.0.3", false, 2);
    gate.spoke(started);
    gate.spoke(logged_in);
    assert_eq!(starts(&mut gate, 10).len(), 2);
    assert!(gate.log_in(logged_in));
    assert_eq!(gate.late(at(29_999)), None);
    assert_eq!(gate.late(at(30_001)), Some(silent));
    assert_eq!(gate.late(at(30_001)), Some(started));
    assert_eq!(gate.late(at(99_999)), None);
    assert!(gate.is_session(logged_in));
}

#[test]
fn sessions_are_counted_and_only_a_process_logs_in() {
    let mut gate = Gate::new(limits(16, 8));
    let ids: Vec<Id> = (0..4)
        .map(|_| arrive(&mut gate, "10.0.0.1", false, 0).0)
        .collect();
    assert!(!gate.log_in(ids[0]), "it has no process");
    ids.iter().for_each(|id| gate.spoke(*id));
    assert_eq!(starts(&mut gate, 0).len(), 4);
    let in_turn: Vec<bool> = ids.iter().map(|id| gate.log_in(*id)).collect();
    assert_eq!(in_turn, [true, true, false, false]);
    assert!(!gate.log_in(ids[0]), "twice");
    gate.leave(ids[1]);
    assert!(gate.log_in(ids[2]));
}

/// What each connection of a flood does after it has come.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Idles,
    Speaks,
    Leaves,
    SpeaksAndLeaves,
}

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        Just(Manner::Idles),
        Just(Manner::Speaks),
        Just(Manner::Leaves),
        Just(Manner::SpeaksAndLeaves)
    ]
}

proptest! {
    /// Whatever one group does, another address that speaks is given a process within two starts'
    /// time, and keeps it.
    #[test]
    fn one_flooding_group_harms_itself_alone(
        flood in prop::collection::vec((manner(), 0_u64..4, any::<u16>()), 300..2000),
        good_at in 0_usize..300,
        named_flood in any::<bool>(),
    ) {
        let mut gate = Gate::new(limits(32, 8));
        let (mut ms, mut good, mut asked_at, mut served) = (0, None, 0, false);
        for (index, (manner, pause_ms, host)) in flood.into_iter().enumerate() {
            ms += pause_ms;
            if index == good_at {
                let (id, gave_way) = arrive(&mut gate, "fd00:0:0:2::1", false, ms);
                prop_assert_ne!(gave_way, Some(id));
                gate.spoke(id);
                (good, asked_at) = (Some(id), ms);
            }
            let address = format!("fd00:0:0:1::{host:x}");
            let (id, gave_way) = arrive(&mut gate, &address, named_flood, ms);
            prop_assert!(good.is_none() || gave_way != good);
            if matches!(manner, Manner::Speaks | Manner::SpeaksAndLeaves) {
                gate.spoke(id);
            }
            for start in starts(&mut gate, ms) {
                served |= Some(start.id) == good;
                prop_assert!(good.is_none() || start.gives_way != good);
            }
            if matches!(manner, Manner::Leaves | Manner::SpeaksAndLeaves) {
                gate.leave(id);
            }
            prop_assert!(gate.count(is_waiting) <= 32 && gate.count(is_logging_in) <= 8);
            prop_assert!(good.is_none() || served || ms <= asked_at + 100);
        }
    }
}
