//! What goes is told when it is gone: a directory that goes as one with what is in it, as far as
//! that could be removed, and what gives way to something else once that is in its place. An atomic
//! push tells it when it is committed.

use rustix::fs::{AtFlags, statat};

use super::door::Door;
use super::site::Site;
use crate::change::Tree;
use crate::delete::{Doomed, DoomedWalk};
use crate::error::Error;
use crate::observer::Kind;
use crate::path::RelPath;
use crate::path_set::PathSet;
use crate::wire::ToSender;

/// Entries on their way out, and how many of them have been told.
#[derive(Default)]
pub(super) struct Going {
    doomed: Doomed,
    told: u64,
    /// Of these, those that are gone.
    gone: u64,
    /// Directories that stay, with whatever is in them, and entries that could not be backed up.
    stay: PathSet,
}

impl Going {
    /// Of what is `doomed`, directories `stay` in whose place nothing has come.
    pub(super) fn new(doomed: Doomed, stay: PathSet) -> Self {
        Going {
            doomed,
            told: 0,
            gone: 0,
            stay,
        }
    }

    /// Removes what has to be removed by itself, and tells what is gone then.
    pub(super) fn go(&mut self, site: &mut Site) -> Result<(), Error> {
        let is_atomic = match &site.door {
            Door::Real(real) => real.commit.is_atomic(),
            Door::Dry(_) => {
                // Whatever is awaited would come.
                self.stay = PathSet::default();
                return self.tell_rest(site, &[]);
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
            if kind != Kind::Dir && !self.stay.covers(&path) && !back_up(site, &dir, name)? {
                self.stay.insert(&path);
                continue;
            }
            if !by_itself {
                continue;
            }
            if self.stay.holds_any_in(&path) {
                self.stay.insert(&path);
                continue;
            }
            let (tree, within) = match (kind, ahead.which()) {
                (Kind::Dir, Some(which)) => (Tree::Only(which), None),
                (_, within) => (Tree::None, within),
            };
            site.door.remove((dir, within), name, tree)?;
            if is_atomic {
                continue;
            }
            site.door.run()?;
            let unmoved = site.door.real()?.commit.take_unmoved();
            self.told += behind;
            for _ in 0..std::mem::take(&mut behind) {
                let next = tell_next(&mut told, site, &[&unmoved, &self.stay])?;
                self.gone += u64::from(next == Some(true));
            }
        }
        Ok(())
    }

    /// Whether something in the directory could not be backed up.
    pub(super) fn keeps_any_in(&self, dir: &RelPath) -> bool {
        self.stay.holds_any_in(dir)
    }

    /// How many entries are gone, and have been told.
    pub(super) fn gone(&self) -> u64 {
        self.gone
    }

    /// Tells the rest, but for what is still there of what was not moved.
    pub(super) fn tell_rest(&mut self, site: &Site, unmoved: &[&PathSet]) -> Result<(), Error> {
        if self.told == self.doomed.len() {
            return Ok(());
        }
        let mut walk = self.doomed.walk();
        for _ in 0..self.told {
            walk.advance();
        }
        let stay = [unmoved, &[&self.stay]].concat();
        while let Some(is_gone) = tell_next(&mut walk, site, &stay)? {
            self.gone += u64::from(is_gone);
        }
        Ok(())
    }
}

/// Tells what comes next, unless it is in one of the directories that `stay`, and still there.
/// Returns whether it is gone, if anything comes.
fn tell_next(
    walk: &mut DoomedWalk<'_>,
    site: &Site,
    stay: &[&PathSet],
) -> Result<Option<bool>, Error> {
    let Some((kind, _)) = walk.advance() else {
        return Ok(None);
    };
    let stays = stay.iter().any(|all| !all.is_empty()) && {
        let path = RelPath::of(walk.path());
        stay.iter().any(|all| all.covers(&path)) && is_there(&site.door, &path)
    };
    if !stays {
        let path = walk.path().to_vec();
        site.say(&ToSender::Deleted { path, kind })?;
    }
    Ok(Some(!stays))
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
