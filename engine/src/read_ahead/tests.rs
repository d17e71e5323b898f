//! What is read ahead against what is there, and the order in which it is read.
#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::entry::Body;
use crate::filter::Filter;
use crate::links::LinkRules;
use crate::options::Summed;

fn path(path: &str) -> RelPath {
    RelPath::parse(path.as_bytes()).unwrap()
}

fn reader() -> Reader {
    Reader {
        links: LinkRules::kept(),
        filter: Filter::default(),
        half: crate::filter::Half::Sender,
        inodes: crate::fs::Inodes::None,
        scope: crate::attributes::Scope::default(),
        alike: None,
        with_atimes: false,
        is_quiet: false,
        summed: Summed::default(),
    }
}

fn root_at(dir: &std::path::Path) -> Arc<Root> {
    Arc::new(Root::open(dir).unwrap())
}

fn names_in(listing: &Listing) -> Vec<Vec<u8>> {
    listing.entries.iter().map(|entry| entry.name).collect()
}

/// Four levels, three directories wide, with a file in each.
fn make_tree(root: &std::path::Path) -> Vec<RelPath> {
    let mut paths = vec![RelPath::root()];
    let mut at = 0;
    while let Some(parent) = paths.get(at).cloned() {
        at += 1;
        if parent.depth() < 3 {
            paths.extend([&b"a"[..], b"a-", b"b"].map(|name| parent.join(name)));
        }
    }
    for path in &paths {
        let dir = root.join(std::str::from_utf8(&path.shown()).unwrap());
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("file{}", path.depth())), "").unwrap();
    }
    paths.sort_by(RelPath::cmp);
    paths
}

/// Asks for `asked`, expecting what is below each.
fn walk(ahead: &mut ReadAhead, root: &Arc<Root>, asked: &[RelPath]) {
    for path in asked {
        let listing = ahead.read(root, path, path).unwrap();
        let direct = reader().read(root, path, path, &mut |_| true).unwrap();
        assert_eq!(names_in(&listing), names_in(&direct), "{path:?}");
        ahead.expect(root, path, path, listing.entries.dir_names().collect());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_asked_for_is_what_is_there(
        asked in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        in_order: bool,
    ) {
        let temp = tempfile::tempdir().unwrap();
        let paths = make_tree(temp.path());
        let root = root_at(temp.path());
        let mut asked: Vec<RelPath> = asked.iter().map(|at| at.get(&paths).clone()).collect();
        if in_order {
            asked.sort_by(RelPath::cmp);
        }
        let mut ahead = ReadAhead::new(reader());
        let top = RelPath::root();
        ahead.expect(&root, &top, &top, Names::from_iter([&b""[..]]));
        walk(&mut ahead, &root, &asked);
        walk(&mut ahead, &root, &paths);
        let state = ahead.shared.lock();
        let held: usize = state.readings.values().map(|reading| reading.held).sum();
        prop_assert_eq!(state.held, held);
        prop_assert!(state.readings.is_empty() || !asked.is_empty());
    }
}

/// A state in which `names` below `parent` are expected.
fn expecting(levels: &[(&str, &[&str])]) -> State {
    let root = root_at(std::path::Path::new("/"));
    let mut state = State::default();
    for &(parent, names) in levels {
        state.levels.push(Level {
            root: Arc::clone(&root),
            on_disk: path(parent),
            path: path(parent),
            begun: VecDeque::new(),
            names: names.iter().map(|name| name.as_bytes()).collect(),
        });
    }
    state
}

fn begin(state: &mut State) -> Option<(u64, Vec<u8>)> {
    state
        .begin()
        .map(|task| (task.id, task.path.as_bytes().to_vec()))
}

#[test]
fn what_comes_first_is_begun_first() {
    let mut state = expecting(&[("", &["b", "c"]), ("a", &["x", "y"])]);
    for (id, begun) in [(0, "a/x"), (1, "a/y"), (2, "b"), (3, "c")] {
        assert_eq!(begin(&mut state), Some((id, begun.into())));
    }
    assert!(begin(&mut state).is_none());
}

#[test]
fn what_is_passed_by_is_given_up() {
    let mut state = expecting(&[("", &["b", "c", "d", "e"]), ("a", &["x", "y"])]);
    while begin(&mut state).is_some() {}
    assert_eq!(state.readings.len(), 6);
    // Nothing of that name, and nothing below it, is expected.
    assert_eq!(state.reach(&path("a/w")), None);
    assert_eq!(state.reach(&path("a/x/deeper")), None);
    assert_eq!(state.readings.len(), 6);
    assert_eq!(state.reach(&path("a/y")), Some(1));
    assert!(!state.readings.contains_key(&0));
    assert_eq!(state.reach(&path("d")), Some(4));
    assert!(!state.readings.contains_key(&2) && !state.readings.contains_key(&3));
    assert_eq!(state.reach(&path("c")), None);
    assert_eq!(state.reach(&path("f/g")), None);
    assert_eq!(state.levels.len(), 1);
    assert_eq!(state.reach(&path("e")), Some(5));
}

#[test]
fn what_is_far_away_or_too_much_waits() {
    let names: Vec<String> = (10..60).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut state = expecting(&[("", &names)]);
    let begun = std::iter::from_fn(|| begin(&mut state)).count();
    assert_eq!(begun, AHEAD_MAX);
    assert!(!state.has_due(AHEAD_MAX));
    assert_eq!(state.reach(&path("12")), Some(2));
    assert!(state.has_due(AHEAD_MAX) && !state.has_due(AHEAD_MAX / 2));
    state.held += HELD_MAX;
    assert!(begin(&mut state).is_none());
}

#[test]
fn a_large_directory_waits_for_its_turn() {
    let temp = tempfile::tempdir().unwrap();
    let len = HELD_MAX + 1000;
    for dir in ["a", "b"] {
        std::fs::create_dir(temp.path().join(dir)).unwrap();
    }
    for file in 0..len {
        std::fs::write(temp.path().join(format!("b/{file}")), "").unwrap();
    }
    let root = root_at(temp.path());
    let mut ahead = ReadAhead::new(reader());
    let top = RelPath::root();
    ahead.expect(&root, &top, &top, Names::from_iter([&b"a"[..], b"b"]));
    // With `a` read and not taken, `b` is not the next.
    while ahead.shared.lock().stalled == 0 {
        std::thread::yield_now();
    }
    assert!(ahead.shared.lock().held < len);
    ahead.read(&root, &path("a"), &path("a")).unwrap();
    let listing = ahead.read(&root, &path("b"), &path("b")).unwrap();
    assert_eq!(listing.entries.len(), len);
}

#[test]
fn giving_up_ends_the_threads() {
    let temp = tempfile::tempdir().unwrap();
    make_tree(temp.path());
    let root = root_at(temp.path());
    let mut ahead = ReadAhead::new(reader());
    let top = RelPath::root();
    ahead.expect(&root, &top, &top, Names::from_iter([&b"a"[..], b"none"]));
    assert!(ahead.read(&root, &path("none"), &path("none")).is_err());
    drop(ahead);
    assert_eq!(Arc::strong_count(&root), 1);
}

#[test]
fn content_is_summed_where_it_counts() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("a")).unwrap();
    std::fs::write(temp.path().join("a/file"), "content").unwrap();
    let root = root_at(temp.path());
    for (checksum, sum) in [
        (false, None),
        (true, Some(*blake3::hash(b"content").as_bytes())),
    ] {
        let options = crate::Options {
            checksum,
            ..crate::Options::default()
        };
        let mut ahead = ReadAhead::new(Reader {
            summed: options.summed(),
            ..reader()
        });
        let top = RelPath::root();
        ahead.expect(&root, &top, &top, Names::from_iter([&b"a"[..]]));
        let listing = ahead.read(&root, &path("a"), &path("a")).unwrap();
        let entry = listing.entries.get(0).unwrap();
        assert_eq!(entry.body, Body::File { len: 7, sum });
    }
}
