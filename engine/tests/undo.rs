//! Undo brings back exactly what was there, over random histories of a tree with everything that a
//! tree can hold.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod halves;
mod histories;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use halves::{options, push_tree};
use hasync_engine::generation::{GenerationId, Tree};
use hasync_engine::history::Undone;
use hasync_engine::{ErrorKind, Options};
use histories::{Scan, apply, edit, histories, part, scan, state};
use proptest::prelude::*;

fn tree(temp: &Path, node: &str, keep: u32) -> Tree {
    halves::tree(temp, node, "data", keep)
}

fn push(from: &Tree, to: &Tree) -> GenerationId {
    let options = Options {
        hard_links: true,
        ..options()
    };
    let (result, log) = push_tree(from, &[], to, &options);
    assert_eq!(log.warnings, Vec::<String>::new());
    result.unwrap().sealed.unwrap().head.id
}

proptest! {
    #![proptest_config(histories())]

    #[test]
    fn any_history_can_be_walked_back_and_forth(
        history in prop::collection::vec(prop::collection::vec(edit(), 1..12), 2..6),
        route in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        // Flushes cost nothing there.
        let temp = tempfile::tempdir_in("/dev/shm").unwrap();
        let (a, b) = (tree(temp.path(), "a", 0), tree(temp.path(), "b", 20));
        let mut states: Vec<(GenerationId, BTreeMap<String, String>)> = Vec::new();
        for edits in &history {
            edits.iter().for_each(|edit| apply(&a.root, edit));
            let id = push(&a, &b);
            let now = state(&b.root);
            // The mirror is right before anything is undone.
            prop_assert_eq!(&now, &state(&a.root));
            if states.last().is_none_or(|(last, _)| *last != id) {
                states.push((id, now));
            }
        }
        let before = state(&b.root);
        let dry = b.undo(states.first().map(|(id, _)| *id), true);
        prop_assert!(states.len() == 1 || dry.is_ok());
        prop_assert_eq!(&before, &state(&b.root));
        for index in route {
            let (id, wanted) = &states[index.index(states.len())];
            let undone = b.undo(Some(*id), false).unwrap();
            prop_assert_eq!(undone.failed.count, 0);
            prop_assert_eq!(wanted, &state(&b.root));
        }
    }
}

/// Some of the paths that [`edit`] makes.
fn some_paths() -> impl Strategy<Value = Vec<String>> {
    let path = prop_oneof![
        3 => (0_u8..8).prop_map(|name| format!("n{name}")),
        2 => (0_u8..8, 0_u8..8).prop_map(|(dir, name)| format!("n{dir}/m{name}")),
    ];
    prop::collection::vec(path, 1..4)
}

proptest! {
    #![proptest_config(histories())]

    #[test]
    fn single_paths_come_back_from_any_generation_and_nothing_else_changes(
        history in prop::collection::vec(prop::collection::vec(edit(), 1..12), 2..5),
        undos in prop::collection::vec(
            (some_paths(), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..3),
    ) {
        let temp = tempfile::tempdir_in("/dev/shm").unwrap();
        let (a, b) = (tree(temp.path(), "a", 0), tree(temp.path(), "b", 40));
        let mut states: Vec<(GenerationId, Scan)> = Vec::new();
        for edits in &history {
            edits.iter().for_each(|edit| apply(&a.root, edit));
            let id = push(&a, &b);
            if states.last().is_none_or(|(last, _)| *last != id) {
                states.push((id, scan(&b.root)));
            }
        }
        for (paths, from, next) in undos {
            let (id, then) = &states[from.index(states.len())];
            let before = scan(&b.root);
            let is_within = |path: &str, above: &String| {
                path == above || path.starts_with(&format!("{above}/"))
            };
            let is_asked = |path: &str| paths.iter().any(|asked| is_within(path, asked));
            let asked: Vec<_> = paths.iter().map(|path| b.root.join(path)).collect();
            let dry = b.undo_paths(Some(*id), &asked, true);
            prop_assert_eq!(&before, &scan(&b.root));
            let undone = b.undo_paths(Some(*id), &asked, false);
            let now = scan(&b.root);
            let undone = match undone {
                Ok(undone) => undone,
                Err(e) => {
                    prop_assert_eq!(e.kind, ErrorKind::Usage, "{}", e);
                    prop_assert!(dry.is_err());
                    prop_assert_eq!(&before, &now);
                    continue;
                }
            };
            prop_assert_eq!(part(&now, is_asked), part(then, is_asked));
            let is_other = |path: &str| before.contains_key(path) && !is_asked(path);
            prop_assert_eq!(part(&now, is_other), part(&before, is_other));
            // Directories that they need are made, and nothing else.
            let is_new = |path: &str| !before.contains_key(path) && !is_asked(path);
            let above = |path: &str| paths.iter().any(|asked| is_within(asked, &path.to_owned()));
            let new = part(&now, is_new);
            prop_assert!(new.keys().all(|path| above(path)), "{:?}", new);
            prop_assert_eq!(&new, &part(then, |path| new.contains_key(path)));
            let changes = |undone: &Option<Undone>| undone.as_ref().map(|u| u.changes.clone());
            prop_assert_eq!(changes(&dry.unwrap()), changes(&undone));
            if let Some(undone) = undone {
                prop_assert_eq!(undone.failed.count, 0);
                b.undo(None, false).unwrap();
                prop_assert_eq!(part(&before, |_| true), state(&b.root));
                b.undo(None, false).unwrap();
                prop_assert_eq!(part(&now, |_| true), state(&b.root));
            }
            // The way to all generations is still open.
            let (id, wanted) = &states[next.index(states.len())];
            b.undo(Some(*id), false).unwrap();
            prop_assert_eq!(part(wanted, |_| true), state(&b.root));
        }
    }
}

#[test]
fn a_directory_gives_way_to_the_first_name_of_a_link_group() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = (tree(temp.path(), "a", 0), tree(temp.path(), "b", 3));
    fs::write(a.root.join("z"), "linked").unwrap();
    fs::create_dir(a.root.join("a")).unwrap();
    fs::write(a.root.join("a/inside"), "").unwrap();
    push(&a, &b);
    let before = state(&b.root);
    fs::remove_dir_all(a.root.join("a")).unwrap();
    fs::hard_link(a.root.join("z"), a.root.join("a")).unwrap();
    push(&a, &b);
    assert_eq!(state(&b.root), state(&a.root));
    b.undo(None, false).unwrap();
    assert_eq!(state(&b.root), before);
}

#[test]
fn a_path_that_makes_no_sense_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = (tree(temp.path(), "a", 0), tree(temp.path(), "b", 3));
    fs::create_dir(a.root.join("dir")).unwrap();
    fs::write(a.root.join("dir/file"), "one").unwrap();
    let first = push(&a, &b);
    fs::remove_dir_all(a.root.join("dir")).unwrap();
    fs::write(a.root.join("dir"), "a file now").unwrap();
    push(&a, &b);
    let before = state(&b.root);
    for (path, said) in [
        ("../b/data/dir", "is not in"),
        ("/etc/passwd", "is not in"),
        ("dir/.hasync/x", "reserved"),
        (".", "the whole tree"),
        ("nowhere", "is not there, and was not then"),
        ("dir/file", "is not a directory now"),
    ] {
        let error = b
            .undo_paths(Some(first), &[path.into()], false)
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage, "{error}");
        assert!(error.message.contains(said), "{error}");
    }
    assert_eq!(state(&b.root), before);
    let same = b.undo_paths(None, &[b.root.join("dir/")], false).unwrap();
    assert!(same.is_some());
    assert_eq!(fs::read_to_string(b.root.join("dir/file")).unwrap(), "one");
    let same = b.undo_paths(Some(first), &["dir/nothing".into()], false);
    assert!(same.is_err());
}

#[test]
fn a_path_that_somebody_else_changed_is_not_undone_over() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = (tree(temp.path(), "a", 0), tree(temp.path(), "b", 3));
    for file in ["file", "other"] {
        fs::write(a.root.join(file), "one").unwrap();
    }
    push(&a, &b);
    for file in ["file", "other"] {
        fs::write(a.root.join(file), "two, longer").unwrap();
    }
    push(&a, &b);
    fs::write(b.root.join("file"), "by hand").unwrap();
    let error = b.undo_paths(None, &["file".into()], false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotEqual, "{error}");
    assert_eq!(fs::read_to_string(b.root.join("file")).unwrap(), "by hand");
    b.undo_paths(None, &["other".into()], false).unwrap();
    assert_eq!(fs::read_to_string(b.root.join("other")).unwrap(), "one");
}

#[test]
fn an_undo_is_undone_by_the_next() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = (tree(temp.path(), "a", 0), tree(temp.path(), "b", 3));
    fs::write(a.root.join("file"), "one").unwrap();
    push(&a, &b);
    let one = state(&b.root);
    fs::write(a.root.join("file"), "two, the bad one").unwrap();
    fs::create_dir(a.root.join("dir")).unwrap();
    push(&a, &b);
    let two = state(&b.root);
    b.undo(None, false).unwrap();
    assert_eq!(state(&b.root), one);
    b.undo(None, false).unwrap();
    assert_eq!(state(&b.root), two);
    // The primary that knows nothing of it would do again what was undone: it is told first.
    let log = b.log().unwrap();
    assert_eq!(log.len(), 4, "{log:?}");
}

#[test]
fn what_somebody_else_changed_is_not_undone_over() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = (tree(temp.path(), "a", 0), tree(temp.path(), "b", 3));
    fs::write(a.root.join("file"), "one").unwrap();
    push(&a, &b);
    fs::write(a.root.join("file"), "two, longer").unwrap();
    push(&a, &b);
    fs::remove_file(b.root.join("file")).unwrap();
    fs::write(b.root.join("file"), "by hand").unwrap();
    let error = b.undo(None, false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotEqual, "{error}");
    assert_eq!(fs::read_to_string(b.root.join("file")).unwrap(), "by hand");
}

#[test]
fn only_so_much_of_the_past_is_kept() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = (tree(temp.path(), "a", 0), tree(temp.path(), "b", 2));
    let mut ids = Vec::new();
    for round in 0..5 {
        fs::write(a.root.join("file"), "x".repeat(round + 1)).unwrap();
        ids.push(push(&a, &b));
    }
    assert_eq!(b.status().unwrap().undo.len(), 2);
    let error = b.undo(Some(ids[0]), false).unwrap_err();
    assert!(error.message.contains("not kept"), "{error}");
    b.undo(Some(ids[2]), false).unwrap();
    assert_eq!(fs::read_to_string(b.root.join("file")).unwrap(), "xxx");
    let kept = b.root.join(".hasync/trees/data/undo");
    assert_eq!(fs::read_dir(kept).unwrap().count(), 1);
}

/// Pushes files of 100,000 bytes that no file system makes shorter, each version another.
fn push_versions(a: &Tree, b: &Tree, count: u64) {
    for version in 0..count {
        let mut content = Vec::new();
        let mut state = version + 1;
        while content.len() < 100_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            content.extend_from_slice(&state.to_le_bytes());
        }
        content.extend_from_slice(&vec![1; version as usize]);
        fs::write(a.root.join("file"), content).unwrap();
        push(a, b);
    }
}

#[test]
fn what_takes_too_much_space_goes_but_for_the_last() {
    let temp = tempfile::tempdir().unwrap();
    let (a, mut b) = (tree(temp.path(), "a", 0), tree(temp.path(), "b", 20));
    b.undo.max_bytes = Some(250_000);
    push_versions(&a, &b, 6);
    assert_eq!(b.status().unwrap().undo.len(), 2);
    b.undo.max_bytes = Some(1);
    push_versions(&a, &b, 1);
    assert_eq!(b.status().unwrap().undo.len(), 1);
    b.undo(None, false).unwrap();
    assert_eq!(fs::read(b.root.join("file")).unwrap().len(), 100_005);
}

#[test]
fn what_is_too_old_goes() {
    let temp = tempfile::tempdir().unwrap();
    let (a, mut b) = (tree(temp.path(), "a", 0), tree(temp.path(), "b", 20));
    b.undo.max_age_s = Some(3600);
    push_versions(&a, &b, 3);
    // Before the first there is nothing.
    assert_eq!(b.status().unwrap().undo.len(), 2);
    b.undo.max_age_s = Some(0);
    push_versions(&a, &b, 1);
    assert_eq!(b.status().unwrap().undo.len(), 0);
    let error = b.undo(None, false).unwrap_err();
    assert!(error.message.contains("nothing can be undone"), "{error}");
}

#[test]
fn what_a_cut_off_prune_left_goes_with_the_next() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = (tree(temp.path(), "a", 0), tree(temp.path(), "b", 20));
    push_versions(&a, &b, 3);
    let kept = b.root.join(".hasync/trees/data/undo");
    let names = || {
        let mut names: Vec<_> = fs::read_dir(&kept)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let [_, cut, _] = &names()[..] else { panic!() };
    // Cut off after its first step, and, by an older version, with no trace of what it was.
    fs::rename(
        kept.join(cut).join("manifest"),
        kept.join(cut).join("going"),
    )
    .unwrap();
    fs::create_dir_all(kept.join("1-deadbeef/session/deep")).unwrap();
    // The way back ends there.
    assert_eq!(b.status().unwrap().undo.len(), 1);
    push_versions(&a, &b, 1);
    let left = names();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(
        !left.contains(cut) && !left.contains(&"1-deadbeef".to_owned()),
        "{left:?}"
    );
}
