//! What goes is told when it is gone: a directory that goes as one with what is in it, as far as
//! that could be removed, and what gives way to something else once that is in its place. An atomic
//! push tells it when it is committed.

use std::collections::BTreeSet;
use std::ops::Bound;

use rustix::fs::{AtFlags, statat};

use super::door::Door;
use super::site::Site;
use crate::change::Tree;
use crate::delete::{Doomed, DoomedWalk};
use crate::error::Error;
use crate::observer::Kind;
use crate::path::RelPath;
use crate::wire::ToSender;

/// Entries on their way out, and how many of them have been told.
#[derive(Default)]
pub(super) struct Going {
    doomed: Doomed,
    told: u64,
    /// Directories that stay, with whatever is in them, and entries that could not be backed up.
    stay: BTreeSet<RelPath>,
}

impl Going {
    /// Of what is `doomed`, directories `stay` in whose place nothing has come.
    pub(super) fn new(doomed: Doomed, stay: BTreeSet<RelPath>) -> Self {
        Going {
            doomed,
            told: 0,
            stay,
        }
    }

    /// Removes what has to be removed by itself, and tells what is gone then.
    pub(super) fn go(&mut self, site: &mut Site) -> Result<(), Error> {
        let is_atomic = match &site.door {
            Door::Real(real) => real.commit.is_atomic(),
            Door::Dry(_) => {
                // Whatever is awaited would come.
                self.stay.clear();
                return self.tell_rest(site, &BTreeSet::new());
            }
        };
        let (mut ahead, mut told) = (self.doomed.walk(), self.doomed.walk());
        let mut behind = 0;
        while let Some((kind, by_itself)) = ahead.advance() {
            behind += 1;
            let path = RelPath::of(ahead.path());
            let Some((dir, name)) = path.split() else {
                continue;
            };
            if kind != Kind::Dir && !is_in(&self.stay, &path) && !back_up(site, &dir, name)? {
                self.stay.insert(path);
                continue;
            }
            if !by_itself {
                continue;
            }
            if holds_any(&path, &self.stay) {
                self.stay.insert(path);
                continue;
            }
            let tree = ahead.which().map_or(Tree::None, Tree::Only);
            site.door.remove(dir, name, tree)?;
            if is_atomic {
                continue;
            }
            site.door.run()?;
            let unmoved = site.door.real()?.commit.take_unmoved();
            self.told += behind;
            for _ in 0..std::mem::take(&mut behind) {
                tell_next(&mut told, site, [&unmoved, &self.stay])?;
            }
        }
        Ok(())
    }

    /// Whether something in the directory could not be backed up.
    pub(super) fn keeps_any_in(&self, dir: &RelPath) -> bool {
        holds_any(dir, &self.stay)
    }

    /// Tells the rest, but for what is still there of what was not moved.
    pub(super) fn tell_rest(&self, site: &Site, unmoved: &BTreeSet<RelPath>) -> Result<(), Error> {
        if self.told == self.doomed.len() {
            return Ok(());
        }
        let mut walk = self.doomed.walk();
        for _ in 0..self.told {
            walk.advance();
        }
        while tell_next(&mut walk, site, [unmoved, &self.stay])? {}
        Ok(())
    }
}

/// Tells what comes next, unless it is in one of the directories that `stay`, and still there.
/// Returns whether anything comes.
fn tell_next(
    walk: &mut DoomedWalk<'_>,
    site: &Site,
    stay: [&BTreeSet<RelPath>; 2],
) -> Result<bool, Error> {
    let Some((kind, _)) = walk.advance() else {
        return Ok(false);
    };
    let stays = stay.iter().any(|all| !all.is_empty()) && {
        let path = RelPath::of(walk.path());
        stay.iter().any(|all| is_in(all, &path)) && is_there(&site.door, &path)
    };
    if !stays {
        let path = walk.path().to_vec();
        site.say(&ToSender::Deleted { path, kind })?;
    }
    Ok(true)
}

/// Whether a path is one of these, or in one.
fn is_in(all: &BTreeSet<RelPath>, path: &RelPath) -> bool {
    let above = |path: &RelPath| path.split().map(|(above, _)| above);
    let mut ways = std::iter::successors(Some(path.clone()), above);
    !all.is_empty() && ways.any(|way| all.contains(&way))
}

/// Whether one of these is in a directory.
fn holds_any(dir: &RelPath, all: &BTreeSet<RelPath>) -> bool {
    let mut after = all.range((Bound::Excluded(dir), Bound::Unbounded));
    after.next().is_some_and(|path| path.is_within(dir))
}

/// Keeps an entry, if that is asked for; `false` if it has to stay.
fn back_up(site: &mut Site, dir: &RelPath, name: &[u8]) -> Result<bool, Error> {
    match &site.rules.options.backup {
        Some(backup) if !backup.is_one(name) => site.door.back_up(dir, name),
        _ => Ok(true),
    }
}

fn is_there(door: &Door, path: &RelPath) -> bool {
    let found = path.split().and_then(|(dir, name)| {
        let dir = door.open_dir(&dir).ok()?;
        statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    });
    found.is_some()
}
