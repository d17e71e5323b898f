//! The brake of a push: what it would take from the target is counted against what the target has.
//! Where nothing is known of the target, the push may come from the wrong node: then what it
//! replaces counts like what it deletes, a group is not changed at all, and nothing is done unless
//! somebody says that it is right.

use super::named::Named;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind};
use crate::options::{Brake, Options};

/// What a push has been found to take.
#[derive(Default)]
pub(super) struct Toll {
    /// Entries of the target in the directories that were compared.
    had: u64,
    /// Set while this is the first push that the target receives by its name, and braked.
    first: Option<First>,
}

struct First {
    /// Entries that something else takes the place of.
    replaced: u64,
    /// When the last of what differs was changed, in seconds since 1970.
    newest_here: Option<i64>,
    newest_there: Option<i64>,
}

impl Toll {
    pub(super) fn new(options: &Options, named: Option<&Named>) -> Self {
        let is_first = named.is_some_and(|named| named.is_first);
        let first = options.brake.filter(|_| is_first).map(|_| First {
            replaced: 0,
            newest_here: None,
            newest_there: None,
        });
        Toll { had: 0, first }
    }

    /// A directory of the target has that many entries.
    pub(super) fn has(&mut self, entries: usize) {
        self.had = self.had.saturating_add(entries as u64);
    }

    /// The source has these in place of what is here.
    pub(super) fn announced(&mut self, entries: &[Entry]) {
        if let Some(first) = &mut self.first {
            let newest = entries.iter().map(|entry| entry.mtime.secs).max();
            first.newest_there = first.newest_there.max(newest);
        }
    }

    /// An entry of the target gives way to one of the source.
    pub(super) fn replaces(&mut self, local: &Entry) {
        if let Some(first) = &mut self.first {
            first.replaced += 1;
            first.newest_here = first.newest_here.max(Some(local.mtime.secs));
        }
    }

    /// How many entries may go, given that so many would that were in no directory compared.
    fn limit(&self, brake: Brake, below: u64) -> u64 {
        let had = self.had.saturating_add(below);
        let share = had.saturating_mul(u64::from(brake.percent)) / 100;
        share.max(brake.entries)
    }
}

impl Toll {
    /// Whether so many deletions are more than this push may do. `below` of them are in directories
    /// that the source does not have.
    pub(super) fn brakes(&self, options: &Options, count: u64, below: u64) -> bool {
        let braked = options.brake.map(|brake| self.limit(brake, below));
        let limits = [options.max_delete, braked];
        limits.into_iter().flatten().any(|limit| count > limit)
    }

    /// Stops a first push that would take much from a target of which nothing is known.
    pub(super) fn brake_first(
        &self,
        options: &Options,
        named: Option<&Named>,
        deleted: u64,
        below: u64,
    ) -> Result<(), Error> {
        let (Some(brake), Some(first), Some(named)) = (options.brake, &self.first, named) else {
            return Ok(());
        };
        let limit = match named.tree.is_group() {
            true => 0,
            false => self.limit(brake, below),
        };
        if deleted.saturating_add(first.replaced) <= limit {
            return Ok(());
        }
        let (tree, here, there) = (&named.tree.name, &named.tree.node, named.sender());
        let now = named.source_now_s();
        let age = |newest: Option<i64>| {
            newest.map_or_else(
                || "nothing of it".to_owned(),
                |newest| {
                    format!(
                        "the newest of it changed {}",
                        ago(now.saturating_sub(newest))
                    )
                },
            )
        };
        let had = self.had.saturating_add(below);
        Err(Error::new(
            ErrorKind::Braked,
            format!(
                "this is the first push of tree {tree} to {here}, and it would replace {} and \
                 delete {deleted} of the {had} entries there: {there} would win. On {there}, {}; \
                 on {here}, {}. Nothing was changed; if {there} has the data to keep, run `hasync \
                 push --tree {tree} --no-brake` there once",
                first.replaced,
                age(first.newest_there),
                age(first.newest_here),
            ),
        ))
    }
}

/// So many seconds ago, roughly.
fn ago(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds @ 120..7200 => format!("{} min ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_one_of_what_the_target_has() {
        let toll = |had| Toll { had, first: None };
        let brake = |percent, entries| Brake { percent, entries };
        for (had, below, brake, expected) in [
            (0, 0, brake(50, 100), 100),
            (150, 0, brake(50, 100), 100),
            (300, 0, brake(50, 100), 150),
            (1, 349, brake(50, 100), 175),
            (300, 0, brake(0, 0), 0),
            (u64::MAX, u64::MAX, brake(100, 1), u64::MAX / 100),
        ] {
            assert_eq!(toll(had).limit(brake, below), expected, "{had} {below}");
        }
    }
}
