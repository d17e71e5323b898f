//! The order of what is told of directories side by side. A walk comes to them by their names;
//! rsync, and so what is told, has them as if a slash were behind each: `a-` before `a`, since a
//! dash comes before a slash. What happens in `a` waits until all of its siblings that go first
//! have been told.
//!
//! Memory: what waits spills.

use serde::{Deserialize, Serialize};

use crate::entries::EntryList;
use crate::error::Error;
use crate::observer::{Action, Change, Differences, Facts, Kind, Observer};
use crate::path::RelPath;
use crate::spill::{Room, SpillList, SpillSorter, put_number, take_number};
use crate::wire::{decode_record, encode};

/// Directories that are told in another order than that of the walk.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    /// Rows of siblings that are still to be walked, the first last: each by its first and its last
    /// directory.
    rows: Vec<(RelPath, RelPath)>,
    waiting: Option<SpillSorter>,
    /// How many events wait, or have waited.
    count: u64,
}

/// A change that waits to be told.
#[derive(Serialize, Deserialize)]
struct Waiting {
    #[serde(with = "serde_bytes")]
    path: Vec<u8>,
    kind: Kind,
    action: Action,
    differences: Differences,
    #[serde(with = "serde_bytes")]
    link: Option<Vec<u8>>,
    len: u64,
    facts: (u32, u32, u32, i64),
    changes: bool,
}

impl Siblings {
    /// The walk comes to `dir`, which has these entries.
    pub(super) fn enter(&mut self, dir: &RelPath, entries: &EntryList) {
        // What waits is sorted as a whole.
        if self.holds(dir) {
            return;
        }
        let rows = entries.rows_of_siblings();
        let rows = rows.into_iter().rev();
        let row = |(first, last): (Vec<u8>, Vec<u8>)| (dir.join(&first), dir.join(&last));
        self.rows.extend(rows.map(row));
    }

    /// Whether what happens to the directory `dir`, or to what is no directory in it, is to wait.
    pub(super) fn holds(&mut self, dir: &RelPath) -> bool {
        while let Some((first, last)) = self.rows.last() {
            if dir <= last || dir.is_within(last) {
                return dir >= first;
            }
            self.rows.pop();
        }
        false
    }

    /// Lets a change wait, or an entry that stays as it is.
    pub(super) fn push(&mut self, change: &Change<'_>, changes: bool) -> Result<(), Error> {
        let Facts {
            mode,
            uid,
            gid,
            mtime_secs,
        } = change.facts;
        let waiting = Waiting {
            path: change.path.to_vec(),
            kind: change.kind,
            action: change.action,
            differences: change.differences,
            link: change.link.map(<[u8]>::to_vec),
            len: change.len,
            facts: (mode, uid, gid, mtime_secs),
            changes,
        };
        let key = key_of(change, self.count);
        self.count += 1;
        let mut record = Vec::new();
        put_number(&mut record, key.len() as u64);
        record.extend_from_slice(&key);
        encode(&waiting, &mut record)?;
        let sorter = || SpillSorter::new(Room::default(), key_in);
        self.waiting.get_or_insert_with(sorter).push(&record);
        Ok(())
    }

    /// What has waited long enough, in the order in which it is told.
    pub(super) fn take(&mut self) -> Option<SpillList> {
        self.waiting.take().map(SpillSorter::finish)
    }
}

/// Tells what has waited.
pub(super) fn tell(list: &SpillList, observer: &mut dyn Observer) {
    let mut records = list.walk_from(0);
    while let Some(mut record) = records.next() {
        let key_len = usize::try_from(take_number(&mut record)).unwrap_or(usize::MAX);
        let waiting = record.get(key_len..).and_then(decode_record::<Waiting>);
        let Some(waiting) = waiting else {
            continue;
        };
        let (mode, uid, gid, mtime_secs) = waiting.facts;
        let change = Change {
            path: &waiting.path,
            kind: waiting.kind,
            action: waiting.action,
            differences: waiting.differences,
            link: waiting.link.as_deref(),
            len: waiting.len,
            facts: Facts {
                mode,
                uid,
                gid,
                mtime_secs,
            },
        };
        match waiting.changes {
            true => observer.change(&change),
            false => observer.unchanged(&change),
        }
    }
}

/// The directory that a change is in, or that it is of, each name with a slash behind; and its
/// number, whose first byte is below all that names begin with.
fn key_of(change: &Change<'_>, number: u64) -> Vec<u8> {
    let dir = match (change.kind, change.path.iter().rposition(|&b| b == b'/')) {
        (Kind::Dir, _) => change.path,
        (_, Some(slash)) => change.path.get(..slash).unwrap_or_default(),
        (_, None) => b"",
    };
    [dir, b"/", &number.to_be_bytes()].concat()
}

fn key_in(mut record: &[u8]) -> (bool, &[u8]) {
    let len = usize::try_from(take_number(&mut record)).unwrap_or(usize::MAX);
    (false, record.get(..len).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn dirs(names: &[&str]) -> EntryList {
        let entry = |name: &&str| crate::entry::Entry {
            name: name.as_bytes().to_vec(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: crate::entry::Time::default(),
            body: crate::entry::Body::Dir,
            atime: None,
            link_to: None,
            attributes: crate::attributes::Attributes::default(),
        };
        names.iter().map(entry).collect()
    }

    #[test]
    fn rows_begin_where_a_name_goes_on_before_a_slash() {
        for (names, rows) in [
            (&["a", "b"][..], &[][..]),
            (&["a", "a-"], &[("a", "a-")]),
            (&["a", "a-", "a-b", "a.c", "a0", "b"], &[("a", "a.c")]),
            (
                &["a", "aa", "aa b", "c", "c!"],
                &[("aa", "aa b"), ("c", "c!")],
            ),
            (&["a", "a0", "ab"], &[]),
            (&["a", "a\u{1}", "b"], &[("a", "a\u{1}")]),
        ] {
            let found = dirs(names).rows_of_siblings();
            let text = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
            let found: Vec<_> = found.iter().map(|(a, b)| (text(a), text(b))).collect();
            let expected: Vec<_> = rows.iter().map(|&(a, b)| (a.into(), b.into())).collect();
            assert_eq!(found, expected, "{names:?}");
        }
    }

    #[test]
    fn what_waits_is_told_as_if_slashes_were_behind_the_names() {
        let mut siblings = Siblings::default();
        siblings.enter(&RelPath::root(), &dirs(&["a", "a-", "a.", "b"]));
        let (file, dir) = (Kind::File, Kind::Dir);
        let events = [
            ("z", file),
            ("a", dir),
            ("a/f", file),
            ("a/x", dir),
            ("a/x/f", file),
            ("a/x ", dir),
            ("a-", dir),
            ("a-/f", file),
            ("a./f", file),
        ];
        for (path, kind) in events {
            let path_ = RelPath::of(path.as_bytes());
            let dir_ = path_.split().map(|(dir, _)| dir).unwrap_or_default();
            let at = if kind == dir { path_ } else { dir_ };
            assert_eq!(siblings.holds(&at), path != "z", "{path}");
            if path == "z" {
                continue;
            }
            let change = Change {
                path: path.as_bytes(),
                kind,
                action: Action::Create,
                differences: Differences::default(),
                link: None,
                len: 0,
                facts: Facts::default(),
            };
            siblings.push(&change, true).unwrap();
        }
        assert!(!siblings.holds(&RelPath::of(b"b")));
        let list = siblings.take().unwrap();
        let mut log = Log(Vec::new());
        tell(&list, &mut log);
        let told = ["a-", "a-/f", "a./f", "a", "a/f", "a/x ", "a/x", "a/x/f"];
        assert_eq!(log.0, told);
    }

    struct Log(Vec<String>);

    impl Observer for Log {
        fn change(&mut self, change: &Change<'_>) {
            self.0
                .push(String::from_utf8(change.path.to_vec()).unwrap());
        }
        fn warn(&mut self, _: &crate::observer::Warning) {}
        fn note(&mut self, _: &crate::observer::Note<'_>) {}
    }
}
