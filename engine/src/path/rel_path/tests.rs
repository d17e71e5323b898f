//! Tests: a path is the same however it was made, and as deep as it may be.

#![allow(clippy::unwrap_used)]
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use proptest::prelude::*;

use super::*;

fn joined(names: &[Vec<u8>]) -> RelPath {
    let root = RelPath::root();
    names.iter().fold(root, |path, name| path.join(name))
}

fn hash(path: &RelPath) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

/// Names of all lengths, few of each, so that paths have much in common.
fn names() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let lens = proptest::sample::select(&[1_usize, 2, 100, 127, 128, 255, 511, 512, 513, 1023][..]);
    let name = (lens, proptest::sample::select(&b"ab!~"[..])).prop_map(|(len, b)| vec![b; len]);
    proptest::collection::vec(name, 0..30)
}

proptest! {
    #[test]
    fn however_it_is_made_a_path_is_the_same(names in names(), cut in 0_usize..30) {
        let path = joined(&names);
        let bytes = names.join(&b'/');
        prop_assert_eq!(&*path.as_bytes(), &*bytes);
        prop_assert_eq!(path.len(), bytes.len());
        prop_assert_eq!(path.depth(), names.len());
        prop_assert_eq!(path.components().collect::<Vec<_>>(), &*names);
        prop_assert_eq!(path.name(), names.last().map_or(&[][..], |name| name));
        let other = RelPath::of(&bytes);
        prop_assert_eq!(&other, &path);
        prop_assert_eq!(hash(&other), hash(&path));
        prop_assert_eq!(other.cmp(&path), Ordering::Equal);
        let cut = cut.min(names.len());
        let (above, below) = (joined(&names[..cut]), joined(&names[cut..]));
        prop_assert!(path.is_within(&above));
        prop_assert_eq!(&path.below(&above), &below);
        prop_assert_eq!(&above.join_path(&below), &path);
        let mut upwards = path;
        for depth in (cut..names.len()).rev() {
            let (dir, name) = upwards.split().map(|(dir, name)| (dir, name.to_vec())).unwrap();
            prop_assert_eq!(name, &*names[depth]);
            upwards = dir;
        }
        prop_assert_eq!(upwards, above);
    }

    #[test]
    fn paths_compare_by_their_names(
        common in names(), a in names(), b in names(), share in any::<bool>(),
    ) {
        let above = joined(&common);
        let whole = |end: &[Vec<u8>]| [&common, end].concat();
        let path = |end: &[Vec<u8>]| match share {
            true => end.iter().fold(above.clone(), |path, name| path.join(name)),
            false => joined(&whole(end)),
        };
        let (a_path, b_path) = (path(&a), path(&b));
        prop_assert_eq!(a_path.cmp(&b_path), whole(&a).cmp(&whole(&b)));
        prop_assert_eq!(a_path == b_path, a == b);
        prop_assert_eq!(a_path.is_within(&b_path), a.starts_with(&b));
    }
}

#[test]
fn a_walk_goes_down_before_it_goes_on() {
    let paths = ["", "a", "a/b", "a/b/c", "a/b-c", "a-b", "b"];
    let paths = paths.map(|path| RelPath::parse(path.as_bytes()).unwrap());
    assert!(paths.is_sorted_by(|a, b| a < b));
}

#[test]
fn within_compares_whole_components() {
    let path = |s: &str| RelPath::parse(s.as_bytes()).unwrap();
    assert!(path("a/b").is_within(&path("a")));
    assert!(path("a").is_within(&path("a")));
    assert!(!path("ab").is_within(&path("a")));
    assert!(path("x").is_within(&RelPath::root()));
}

#[test]
fn what_could_leave_the_tree_or_has_no_end_is_refused() {
    for bad in [&b"a/../b"[..], b"/a", b"a/", b"a//b", b"a/.hasync"] {
        assert!(RelPath::parse(bad).is_err(), "{bad:?}");
    }
    assert_eq!(RelPath::parse(b"").unwrap(), RelPath::root());
    let longest = vec![&b"d"[..]; PATH_LEN_MAX / 2].join(&b'/');
    let longer = [b"d/", &*longest].concat();
    assert_eq!(RelPath::parse(&longest).unwrap().len(), PATH_LEN_MAX - 1);
    assert_eq!(RelPath::parse(&longer), Err(NameError::PathTooLong));
}

#[test]
fn a_record_holds_no_path_that_could_not_be_parsed() {
    let config = bincode::config::standard();
    let decode = |bytes: &[u8]| {
        let encoded = bincode::serde::encode_to_vec(serde_bytes::Bytes::new(bytes), config);
        let decoded = bincode::serde::decode_from_slice(&encoded.unwrap(), config);
        decoded.map(|(path, _): (RelPath, usize)| path)
    };
    assert_eq!(decode(b"a/b").unwrap(), RelPath::of(b"a/b"));
    for bad in [&b"a/../b"[..], b"/etc", b"a/\0", &[b'n'; PATH_LEN_MAX + 1]] {
        assert!(decode(bad).is_err());
    }
}

#[test]
fn a_path_deep_down_has_its_end_for_itself() {
    let mut path = RelPath::root();
    let mut own = 0;
    while path.len() + 2 <= PATH_LEN_MAX {
        path = path.join(b"d");
        own += path.end.capacity();
    }
    let depth = path.depth();
    assert!(depth > 32_000);
    assert!(
        own <= depth * PIECE_LEN_MAX,
        "{own} bytes for {depth} paths"
    );
}
