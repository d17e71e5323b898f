//! Errors that calls meet on a standby, one at each: no push says that the trees are equal when
//! they are not, and no undo loses a generation.

use super::{mirrored, push_on, write_version};
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::{Snapshot, report, soak};

/// All but the time of the root, which is given back after something of hasync's own has gone from
/// it: if that fails, the next push gives it back.
fn in_root(tree: Snapshot) -> Snapshot {
    tree.map(|path, entry| {
        if path.is_empty() || path == b"." {
            entry.mtime = (0, 0);
        }
    })
}

/// A push whose standby meets an error of a call says so, or is equal; the next one is.
#[test]
fn a_push_whose_standby_meets_an_error_never_says_that_it_is_equal() {
    let pair = Pair::here("");
    pair.keep_undo("keep = 9");
    mirrored(&pair);
    let script = pair.read(Foo1, "hasync");
    let trace = pair.dir.text("trace");
    let (mut version, mut tried, mut said) = (1, 0, 0);
    let mut push = |standby: &[&str]| {
        version += 1;
        write_version(&pair.path(Foo0, "html"), version);
        let strace = [&["strace", "-f", "-qq"], standby].concat().join(" ");
        let traced = script.replace("\nexec ", &format!("\nexec {strace} "));
        pair.write(Foo1, "hasync", traced);
        let done = pair.run(Foo0, &["push", "--tree", "html"]);
        pair.write(Foo1, "hasync", script.clone());
        done
    };
    for call in [
        "openat",
        "statx",
        "renameat2",
        "fsync",
        "unlinkat",
        "utimensat",
        "write",
    ] {
        push(&["-o", &trace, "-e", call]).expect(0);
        let calls = std::fs::read_to_string(&trace).unwrap().lines().count();
        for which in (1..=calls).step_by(if soak() { 1 } else { calls / 6 + 1 }) {
            let inject = format!("inject={call}:error=EIO:when={which}");
            let done = push(&["-o", "/dev/null", "-e", &inject]);
            (tried, said) = (tried + 1, said + usize::from(done.code != 0));
            assert!(!done.stderr.contains("panicked"), "{call} {which}: {done}");
            let new = pair.html(Foo0);
            if done.code == 0 {
                let diff = in_root(pair.html(Foo0)).diff(&in_root(pair.html(Foo1)));
                assert_eq!(diff, "", "{call} {which}: {done}");
            }
            let again = pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
            let diff = new.diff(&pair.html(Foo1));
            assert_eq!(diff, "", "{call} {which}: {done}{again}");
        }
    }
    report(&format!(
        "{tried} errors were met by the standby of a push, {said} were said"
    ));
    assert!(said > 0 && said < tried);
}

/// An undo meets an error of each call that it makes: whatever it says then, the generation that
/// was wanted can be reached, and so can the other.
#[test]
fn an_undo_that_meets_an_error_loses_neither_generation() {
    let pair = Pair::here("");
    pair.keep_undo("keep = 9");
    let mut versions = vec![in_root(mirrored(&pair))];
    write_version(&pair.path(Foo0, "html"), 2);
    push_on(&pair, &pair.html(Foo0));
    versions.push(in_root(pair.html(Foo0)));
    let (mut at, mut tried, mut refused, mut partial) = (1, 0, 0, 0);
    let trace = pair.dir.text("trace");
    let undo = |to: usize| pair.on(Foo1, &["undo", "html", "--to", &(to + 1).to_string()]);
    for call in ["openat", "newfstatat", "renameat2", "unlinkat", "utimensat"] {
        let words = ["strace", "-f", "-qq", "-o", &trace, "-e", call];
        undo(1 - at)
            .under(&words.map(str::to_owned))
            .run()
            .expect(0);
        at = 1 - at;
        let calls = std::fs::read_to_string(&trace).unwrap().lines().count();
        for which in (1..=calls).step_by(if soak() { 1 } else { calls / 12 + 1 }) {
            let to = 1 - at;
            let what = format!("{call} {which}, back to {to}");
            let inject = format!("inject={call}:error=EIO:when={which}");
            let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
            let done = undo(to).under(&words.map(str::to_owned)).run();
            assert_ne!(done.code, 101, "{what}: {done}");
            (tried, refused) = (tried + 1, refused + usize::from(done.code == 11));
            partial += usize::from(done.code == 23);
            let recovered = pair.run(Foo1, &["recover"]).expect(0);
            for wanted in [to, 1 - to, to] {
                let differs = || versions[wanted].diff(&in_root(pair.html(Foo1)));
                let undone = (!differs().is_empty()).then(|| undo(wanted).run());
                let (diff, undone) = (differs(), undone.map(|undone| undone.to_string()));
                let said = format!("{done}{recovered}{}", undone.unwrap_or_default());
                assert_eq!(diff, "", "{what}, {wanted}: {said}");
            }
            at = to;
        }
    }
    report(&format!(
        "{tried} errors were met by an undo, {refused} refused it, {partial} left a rest"
    ));
    assert!(refused > 0 && partial > 0);
}
