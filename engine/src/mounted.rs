//! File systems mounted below the target root that do not keep what the root's keeps: the
//! receiver tells them before the first digest, so that both halves compare what is there by what
//! can be kept there.

use rustix::fs::fstat;
use serde::{Deserialize, Serialize};

use crate::attributes::Scope;
use crate::error::Error;
use crate::fs::{Abilities, Mounts, Root};
use crate::keeps::Keeps;
use crate::path::{NameError, RelPath};
use crate::refusal::Refusal;

/// Mounts that a receiver may tell.
pub(crate) const MOUNTED_MAX: usize = 1024;

/// Length of all their paths together, in bytes: the answer to the hello is one message.
pub(crate) const MOUNTED_PATHS_LEN_MAX: usize = 256 * 1024;

/// A directory, or another entry, from which on another file system keeps what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mounted {
    pub(crate) path: RelPath,
    pub(crate) keeps: Keeps,
    /// Whether others are kept out of what is made there: no matter of the sender's.
    #[serde(skip, default = "private")]
    is_private: bool,
}

fn private() -> bool {
    true
}

/// All of them, each before those below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountedBelow(Vec<Mounted>);

impl MountedBelow {
    /// Finds those below `root` that keep something else than what they are mounted in; what cannot
    /// be asked counts as the rest of the tree.
    pub(crate) fn find(root: &Root, of_root: Abilities, scope: Scope) -> Self {
        let mut all: Vec<Mounted> = Vec::new();
        let mut paths = Mounts::read().below(root);
        paths.sort_unstable();
        paths.dedup();
        let mut left = MOUNTED_PATHS_LEN_MAX;
        for path in paths {
            let Ok(dir) = root.open_dir(&path) else {
                continue;
            };
            let above = over(&all, &path).map_or(of_root, Mounted::abilities);
            let is_same = || Some(fstat(root).ok()?.st_dev == fstat(&dir).ok()?.st_dev);
            let known = match is_same() {
                Some(true) => Some(of_root),
                _ => Abilities::of(&dir, scope),
            };
            let Some(found) = known.filter(|&found| found != above) else {
                continue;
            };
            let room = left.checked_sub(path.len());
            let Some(room) = room.filter(|_| all.len() < MOUNTED_MAX) else {
                break;
            };
            left = room;
            all.push(Mounted {
                path,
                keeps: found.keeps,
                is_private: found.is_private,
            });
        }
        MountedBelow(all)
    }

    /// Checks what a peer sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let len: usize = self.0.iter().map(|m| m.path.len()).sum();
        for (found, max) in [(self.0.len(), MOUNTED_MAX), (len, MOUNTED_PATHS_LEN_MAX)] {
            if found > max {
                return Err(Error::peer(Refusal::TooManyMounts { max }));
            }
        }
        let ascend = |a: &Mounted, b: &Mounted| a.path < b.path;
        if !self.0.is_sorted_by(ascend) {
            return Err(Error::peer(Refusal::MountsOrder));
        }
        self.0.iter().try_for_each(Mounted::check)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mounted> {
        self.0.iter()
    }

    /// One where others can change what is made there.
    pub(crate) fn not_private(&self) -> Option<&RelPath> {
        let found = self.0.iter().find(|mounted| !mounted.is_private);
        found.map(|mounted| &mounted.path)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The innermost one that the directory `dir` is on.
    pub(crate) fn over(&self, dir: &RelPath) -> Option<&Mounted> {
        over(&self.0, dir)
    }

    /// The number of the one that the directory `dir` is on; 0 for none.
    pub(crate) fn number_over(&self, dir: &RelPath) -> u64 {
        position_over(&self.0, dir).map_or(0, |at| at as u64 + 1)
    }

    /// Those whose mount points are entries of `dir`.
    pub(crate) fn directly_in<'a>(&'a self, dir: &RelPath) -> impl Iterator<Item = &'a Mounted> {
        let above = dir.clone();
        let is_in = move |m: &&Mounted| m.path.split().is_some_and(|(dir, _)| dir == above);
        self.0.iter().filter(is_in)
    }
}

fn over<'a>(all: &'a [Mounted], dir: &RelPath) -> Option<&'a Mounted> {
    position_over(all, dir).and_then(|at| all.get(at))
}

fn position_over(all: &[Mounted], dir: &RelPath) -> Option<usize> {
    all.iter().rposition(|mounted| dir.is_within(&mounted.path))
}

impl Mounted {
    fn abilities(&self) -> Abilities {
        Abilities {
            keeps: self.keeps,
            is_private: self.is_private,
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.path.is_root() {
            let error = NameError::Empty;
            return Err(Error::peer(Refusal::MountPath { error }));
        }
        self.keeps.check()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::digest::{Fields, IdView};
    use crate::entries::EntryList;
    use crate::entry::{Body, Entry, Time};
    use crate::keeps::TimeStore;
    use crate::options::Options;
    use crate::policy::{Powers, Rights};

    fn mounted(path: &str, granularity_ns: u32) -> Mounted {
        let time_store = TimeStore {
            granularity_ns,
            ..TimeStore::default()
        };
        Mounted {
            path: RelPath::parse(path.as_bytes()).unwrap(),
            keeps: Keeps {
                time_store,
                ..Keeps::default()
            },
            is_private: true,
        }
    }

    fn below(all: &[Mounted]) -> MountedBelow {
        MountedBelow(all.to_vec())
    }

    #[test]
    fn what_no_receiver_has_is_refused() {
        let with = |change: fn(&mut Mounted)| {
            let mut mounted = mounted("a", 1);
            change(&mut mounted);
            below(&[mounted])
        };
        let many = |count: usize, len: usize| -> Vec<Mounted> {
            let path = |n| format!("{n:05}/{}", vec!["x".repeat(255); len / 256].join("/"));
            let one = |n| mounted(path(n).trim_end_matches('/'), 1);
            (0..count).map(one).collect()
        };
        for (all, taken) in [
            (below(&[]), true),
            (
                below(&[mounted("a", 1), mounted("a/b", 2_000_000_000)]),
                true,
            ),
            (below(&[mounted("a/b", 1), mounted("a-b", 1)]), true),
            (with(|m| m.keeps.lost.owner = true), true),
            (below(&[mounted("a/b", 1), mounted("a", 1)]), false),
            (below(&[mounted("a", 1), mounted("a", 1)]), false),
            (below(&[mounted("a-b", 1), mounted("a/b", 1)]), false),
            (below(&[mounted("", 1)]), false),
            (below(&[mounted("a", 0)]), false),
            (below(&[mounted("a", 2_000_000_001)]), false),
            (with(|m| m.keeps.time_store.min_secs = i64::MAX), true),
            (with(|m| m.keeps.time_store.max_secs = i64::MIN), true),
            (
                with(|m| (m.keeps.time_store.min_secs, m.keeps.time_store.max_secs) = (1, 0)),
                false,
            ),
            (with(|m| m.keeps.lost.content = true), false),
            (with(|m| m.keeps.lost.time = true), true),
            (below(&many(MOUNTED_MAX, 0)), true),
            (below(&many(MOUNTED_MAX + 1, 0)), false),
            (below(&many(4, 60_000)), true),
            (below(&many(5, 60_000)), false),
        ] {
            assert_eq!(all.check().is_ok(), taken, "{:?}", all.0.first());
        }
        for path in [&b"/a"[..], b"a//b", b"a/..", b"a/", b".hasync"] {
            let text = [&[path.len() as u8], path].concat();
            let path = crate::wire::decode(&text);
            let refused = path.is_err()
                || path.is_ok_and(|path| {
                    below(&[Mounted {
                        path,
                        ..mounted("a", 1)
                    }])
                    .check()
                    .is_err()
                });
            assert!(refused, "{text:?}");
        }
    }

    /// Digests of a directory with a file and a subdirectory of that name, a nanosecond or an owner
    /// apart.
    #[test]
    fn each_place_counts_what_it_keeps() {
        let fields = |all: &[Mounted]| {
            let powers = Powers::new(true, Rights::default());
            let options = Options::archive();
            Fields::new(&options, powers, Vec::new(), Keeps::default(), [0; 32])
                .with_mounted(below(all))
        };
        let entry = |name: &str, body: Body, nanos: u32, uid: u32| Entry {
            name: name.as_bytes().to_vec(),
            mode: 0o644,
            uid,
            gid: 0,
            mtime: Time { secs: 9, nanos },
            body,
            atime: None,
            link_to: None,
            attributes: crate::attributes::Attributes::default(),
        };
        let file = |nanos, uid| entry("f", Body::File { len: 1, sum: None }, nanos, uid);
        let sub = |nanos, uid| entry("sub", Body::Dir, nanos, uid);
        let coarse = mounted("a/sub", 1_000_000_000);
        let mut lossy = mounted("a/sub", 1);
        lossy.keeps.lost.owner = true;
        let inner = [coarse.clone(), mounted("a/sub/x", 1)];
        let [none, coarse, lossy] = [vec![], vec![coarse], vec![lossy]];
        // What is mounted, of which directory, and whether time and owner of a file and of a
        // subdirectory count there.
        for (all, dir, of_file, of_sub) in [
            (&none[..], "a", (true, true), (true, true)),
            (&coarse, "", (true, true), (true, true)),
            (&coarse, "a", (true, true), (false, true)),
            (&coarse, "a/sub", (false, true), (false, true)),
            (&coarse, "a/sub/y", (false, true), (false, true)),
            (&coarse, "a/subx", (true, true), (true, true)),
            (&inner, "a/sub", (false, true), (false, true)),
            (&inner, "a/sub/x", (true, true), (true, true)),
            (&inner, "a/sub/x/y", (true, true), (true, true)),
            (&lossy, "a", (true, true), (true, false)),
            (&lossy, "a/sub", (true, false), (true, false)),
        ] {
            let fields = fields(all);
            let fields = fields.at(&RelPath::parse(dir.as_bytes()).unwrap());
            let digest = |file: Entry, sub: Entry| {
                let entries = EntryList::from_iter([file, sub]);
                fields.dir_digest(&entries, &IdView::Sender)
            };
            let same = digest(file(0, 0), sub(0, 0));
            let counts = |file, sub| digest(file, sub) != same;
            let found = (
                (counts(file(1, 0), sub(0, 0)), counts(file(0, 1), sub(0, 0))),
                (counts(file(0, 0), sub(1, 0)), counts(file(0, 0), sub(0, 1))),
            );
            assert_eq!(found, (of_file, of_sub), "{dir} {all:?}");
            let prints = |nanos| fields.print(&file(nanos, 0), &IdView::Sender);
            assert_eq!(prints(0) != prints(1), of_file.0, "{dir} {all:?}");
        }
    }

    #[test]
    fn attributes_are_part_of_a_digest() {
        use crate::attributes::Attributes;
        let powers = Powers::new(true, Rights::default());
        let options = Options {
            acls: true,
            ..Options::default()
        };
        let keeps = Keeps::default();
        let fields = Fields::new(&options, powers, Vec::new(), keeps, [0; 32]);
        let digest = |attributes: &[u8]| {
            let entry = Entry {
                name: b"f".to_vec(),
                mode: 0,
                uid: 0,
                gid: 0,
                mtime: Time::default(),
                body: Body::Fifo,
                atime: None,
                link_to: None,
                attributes: Attributes::from_bytes(attributes),
            };
            fields.dir_digest(&EntryList::from_iter([entry]), &IdView::Sender)
        };
        // Two access ACLs, and none.
        let [one, other] =
            [b"\x01\0\x01\0\0\0\x07", b"\x01\0\x01\0\0\0\x06"].map(|acl| digest(acl));
        assert!(digest(b"") != one && one != other);
    }
}
