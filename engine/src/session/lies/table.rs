//! The table of lies: each meets its own refusal, and each refusal is met by a lie. A process of
//! its own plays them one after another, so that the memory that each takes can be seen.

use std::collections::BTreeSet;
use std::process::Command;

use super::scene::{Lie, differing, play};
use super::to_receiver;
use super::to_sender;
use crate::error::{Error, Fault};
use crate::refusal::Refusal;

/// What both halves and whoever is between them may take together, in kB.
const MEMORY_MAX_KB: u64 = 256 << 10;

/// Refusals that depend on how busy a half is, or on all that it was told before: these are met in
/// the tests of what keeps them.
const ELSEWHERE: [&str; 4] = ["AskedTooMuch", "DirOrder", "HoleInCopy", "TooMuchAwaited"];

#[test]
fn truth_is_believed() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = differing(temp.path(), false);
    for wish in super::ALL {
        let (mut to_receiver, mut to_sender) = (Lie::none().of(wish), Lie::none());
        let outcome = play((&a, &b), wish, &mut to_receiver, &mut to_sender);
        outcome.sender.unwrap();
        outcome.receiver.unwrap();
    }
}

/// Runs [`every_lie_meets_its_refusal`] by itself.
#[test]
fn lies_are_refused_in_bounded_memory() {
    let name = format!("{}::every_lie_meets_its_refusal", module_path!());
    let name = name.split_once("::").unwrap().1;
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args([
        "--exact",
        name,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    let output = alone.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
#[ignore = "measures its own process: run by the test above"]
fn every_lie_meets_its_refusal() {
    let (mut met, mut wrong) = (BTreeSet::new(), Vec::new());
    let (to_receiver, to_sender) = (to_receiver::all(), to_sender::all());
    assert!(to_receiver.len() >= 60, "{}", to_receiver.len());
    assert!(to_sender.len() >= 40, "{}", to_sender.len());
    let mut check = |at: usize, half: &str, refused: &'static str, result: Result<(), Error>| {
        met.insert(refused);
        let lie = format!("lie {at} to a {half}, due {refused}");
        match result.map_err(|e| (e.fault.clone(), e)) {
            Err((Fault::Peer(refusal), _)) if refusal.name() == refused => {}
            Err((_, e)) => wrong.push(format!("{lie}: {e:?}")),
            Ok(()) => wrong.push(format!("{lie}: believed")),
        }
        let peak_kb = peak_kb();
        if peak_kb > MEMORY_MAX_KB {
            wrong.push(format!("{lie}: {peak_kb} kB"));
        }
    };
    // Those first that let a half take most: what the others leave behind counts as well.
    for (at, mut lie) in to_sender.into_iter().enumerate() {
        let temp = tempfile::tempdir().unwrap();
        let (a, b) = differing(temp.path(), lie.crowd);
        forget_peak();
        let wish = lie.wish;
        let outcome = play((&a, &b), wish, &mut Lie::none(), &mut lie);
        check(at, "sender", lie.refused, outcome.sender);
    }
    for (at, mut lie) in to_receiver.into_iter().enumerate() {
        let temp = tempfile::tempdir().unwrap();
        let (a, b) = differing(temp.path(), lie.crowd);
        forget_peak();
        let wish = lie.wish;
        let outcome = play((&a, &b), wish, &mut lie, &mut Lie::none());
        check(at, "receiver", lie.refused, outcome.receiver);
    }
    let met = |name: &&&str| met.contains(**name) || ELSEWHERE.contains(*name);
    let never = Refusal::ALL.iter().filter(|name| !met(name));
    wrong.extend(never.map(|name| format!("no lie is refused as {name}")));
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Lets the peak of this process's memory begin anew.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    peak.unwrap().trim().parse().unwrap()
}
