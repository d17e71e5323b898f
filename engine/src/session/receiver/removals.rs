//! What goes: entries that the source does not have, and full directories in the way of something
//! else. Nothing of it goes before everything has been compared.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use rustix::fs::{AtFlags, statat};

use super::brake::Toll;
use super::door;
use super::going::Going;
use super::named::Named;
use super::site::Site;
use crate::change::{Over, Staged, Tree};
use crate::delete::{Doomed, Extraneous};
use crate::entries::EntryList;
use crate::error::{Error, describe};
use crate::fs::{Root, WhichDir};
use crate::options::Options;
use crate::path::RelPath;
use crate::path_set::PathSet;
use crate::wire::{DirIndex, ToSender};

/// Directories with entries that one push replaces by something else.
const IN_THE_WAY_MAX: usize = 1 << 16;

/// Bytes in a block, as `stat` counts.
const BLOCK_LEN: u64 = 512;

/// Entries of the target on their way out.
#[derive(Default)]
pub(super) struct Removals {
    /// Entries of the target that the source does not have.
    extraneous: Extraneous,
    /// Non-empty directories in the way of something else, which give way with the deletions.
    in_the_way: BTreeMap<RelPath, InTheWay>,
    /// A directory of the target could not be read: nothing is deleted.
    unread: bool,
    /// What the push takes from the target.
    pub(super) toll: Toll,
}

/// A directory that gives way.
struct InTheWay {
    which: WhichDir,
    by: Replacement,
}

/// What comes in place of a directory.
pub(super) enum Replacement {
    /// Content that has not arrived. If it never does, the directory stays.
    Awaited,
    Staged(Staged),
    /// A hard link, made once the directory is gone.
    Link,
}

/// Directories in the way of hard links.
#[derive(Default)]
pub(super) struct Ways {
    /// They give way.
    clear: BTreeMap<RelPath, WhichDir>,
    /// They had to, and could not.
    barred: BTreeSet<RelPath>,
}

impl Ways {
    /// What a link at this path may replace; `None` if it is not made.
    pub(super) fn over(&self, path: &RelPath) -> Option<Over> {
        let over = self.clear.get(path).copied().map(over_tree);
        let over = over.unwrap_or_default();
        (!self.barred.contains(path)).then_some(over)
    }
}

/// A directory gives way, with everything that is in it.
fn over_tree(which: WhichDir) -> Over {
    let tree = Tree::Only(which);
    Over { tree, len: 0 }
}

/// Whether a directory gives way to something else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum GivesWay {
    No,
    AtOnce,
    WithDeletions,
}

impl Removals {
    pub(super) fn new(options: &Options, named: Option<&Named>) -> Self {
        Removals {
            toll: Toll::new(options, named),
            ..Removals::default()
        }
    }

    /// A directory of the target cannot be read: nothing is deleted.
    pub(super) fn not_read(
        &mut self,
        site: &mut Site,
        path: &RelPath,
        e: &io::Error,
    ) -> Result<(), Error> {
        let shown = site.door.shown(path);
        let is_first = !std::mem::replace(&mut self.unread, true);
        let options = &site.rules.options;
        let end = if options.delete && !options.ignore_errors && is_first {
            "; so nothing is deleted"
        } else {
            ""
        };
        site.warn(format!(
            "cannot read directory {shown} on the target: {}{end}",
            describe(e)
        ))
    }

    /// Adds what a directory holds on top: `stuck`, and the entries of `local`.
    pub(super) fn add(
        &mut self,
        dir: (DirIndex, &RelPath),
        stuck: &[(RelPath, WhichDir)],
        local: &EntryList,
    ) {
        self.extraneous.add(dir, stuck, local);
    }

    /// Whether nothing is in the directory at `path`.
    pub(super) fn is_empty_dir(&self, site: &Site, path: &RelPath) -> bool {
        let mut doomed = Doomed::default();
        let root = site.door.root();
        root.is_some_and(|root| {
            let dir = (path, None);
            doomed.add_contents(root, dir, site.rules.for_deletions()) && doomed.len() == 0
        })
    }

    /// Whether the directory at `path` may give way. If not, it is said why, and if it goes all the
    /// same, it is `stuck`.
    pub(super) fn may_replace(
        &self,
        site: &mut Site,
        (path, which): (&RelPath, WhichDir),
        stuck: &mut Vec<(RelPath, WhichDir)>,
    ) -> Result<GivesWay, Error> {
        let Some(root) = site.door.root() else {
            return Ok(GivesWay::AtOnce);
        };
        let mut doomed = Doomed::default();
        let dir = (path, Some(which));
        let all = doomed.add_contents(root, dir, site.rules.for_deletions());
        if all && doomed.len() == 0 {
            return Ok(GivesWay::AtOnce);
        }
        // What goes because its SRC is not there was named.
        let deletes = site.rules.options.delete || site.rules.options.force;
        let is_room = self.in_the_way.len() < IN_THE_WAY_MAX;
        if all && deletes && is_room {
            return Ok(GivesWay::WithDeletions);
        }
        let why = if !is_room {
            "too many directories would be replaced by one push; push again"
        } else if deletes {
            // It has no counterpart: what is not excluded in it goes all the same.
            stuck.push((path.clone(), which));
            match &site.rules.options.backup {
                _ if doomed.mounts.first() == Some(path) => "it is a mount point",
                _ if !doomed.mounts.is_empty() => "something is mounted in it",
                _ if !doomed.failed.is_empty() => "not all of it can be read",
                _ if !doomed.spared.is_empty() => "what belongs to a group stays in it",
                Some(backup) if backup.is_beside() => {
                    "backups of what is in it, or excluded parts, stay there"
                }
                _ => "parts of it are excluded",
            }
        } else if site.rules.rights.deletes {
            "give --delete or --force"
        } else {
            "nothing may be deleted with this key"
        };
        let shown = site.door.shown(path);
        site.warn(format!(
            "cannot replace the non-empty directory {shown} on the target: {why}"
        ))?;
        Ok(GivesWay::No)
    }

    /// This comes in place of a directory in the way.
    pub(super) fn replace(&mut self, path: RelPath, which: WhichDir, by: Replacement) {
        self.in_the_way.insert(path, InTheWay { which, by });
    }

    /// By now it is known what comes in place of a directory in the way.
    pub(super) fn arrived(&mut self, path: &RelPath, by: Replacement) {
        if let Some(in_the_way) = self.in_the_way.get_mut(path) {
            in_the_way.by = by;
        }
    }

    /// What the deletions would give back, as far as it has been compared, in bytes.
    pub(super) fn freed_bytes(&mut self, site: &Site) -> u64 {
        let extraneous = std::mem::take(&mut self.extraneous);
        let Some(root) = site.door.root().filter(|_| site.rules.options.delete) else {
            return 0;
        };
        let doomed = extraneous.doom(root, site.rules.for_deletions());
        let (mut walk, mut bytes) = (doomed.walk(), 0);
        while walk.advance().is_some() {
            let path = RelPath::of(walk.path());
            let stat = path.split().and_then(|(dir, name)| {
                let dir = root.open_dir(&dir).ok()?;
                statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()
            });
            let frees = stat.filter(|stat| stat.st_nlink == 1);
            bytes += frees.map_or(0, |stat| stat.st_blocks.unsigned_abs() * BLOCK_LEN);
        }
        bytes
    }

    /// Removes what goes, all or nothing as to `--max-delete`.
    pub(super) fn carry_out(
        self,
        site: &mut Site,
        named: Option<&Named>,
        deletable: bool,
    ) -> Result<(Ways, Going), Error> {
        let Some(root) = site.door.root().map(Arc::clone) else {
            return Ok(<(Ways, Going)>::default());
        };
        let options = &site.rules.options;
        if !deletable || self.unread && !options.ignore_errors {
            self.toll.brake_first(options, named, 0, 0)?;
            if !self.in_the_way.is_empty() {
                site.say(&ToSender::DeletionsStopped { count: 0 })?;
            }
            return stay(site, self.in_the_way, "not everything could be read");
        }
        let mut doomed = self.extraneous.doom(&root, site.rules.for_deletions());
        for (path, InTheWay { which, .. }) in &self.in_the_way {
            let dir = (path, Some(*which));
            doomed.add_contents(&root, dir, site.rules.for_deletions());
        }
        let (count, below) = (doomed.len(), doomed.below_len());
        self.toll.brake_first(options, named, count, below)?;
        if self.toll.brakes(options, count, below) {
            let line = format!("--max-delete stopped the removal of {count} entries");
            site.voice.problems.add_line(&line);
            site.say(&ToSender::DeletionsStopped { count })?;
            return stay(site, self.in_the_way, "--max-delete");
        }
        tell_stuck(site, &root, &doomed)?;
        let is_awaited = |way: &InTheWay| matches!(way.by, Replacement::Awaited);
        let stay = self.in_the_way.iter().filter(|(_, way)| is_awaited(way));
        let mut staying = PathSet::default();
        stay.for_each(|(path, _)| staying.insert(path));
        let mut going = Going::new(doomed, staying);
        going.go(site)?;
        let ways = replace(site, self.in_the_way, &going)?;
        site.door.run()?;
        Ok((ways, going))
    }
}

/// Nothing is removed: says of each directory in the way why it stays.
fn stay(
    site: &mut Site,
    in_the_way: BTreeMap<RelPath, InTheWay>,
    why: &str,
) -> Result<(Ways, Going), Error> {
    for path in in_the_way.keys() {
        let shown = site.door.shown(path);
        site.warn(format!("did not replace the directory {shown}: {why}"))?;
    }
    let ways = Ways {
        clear: BTreeMap::new(),
        barred: in_the_way.into_keys().collect(),
    };
    Ok((ways, Going::default()))
}

/// Tells what of what goes has to stay, as far as that is known before.
fn tell_stuck(site: &mut Site, root: &Root, doomed: &Doomed) -> Result<(), Error> {
    let mut pinned = doomed.pinned.walk();
    while pinned.advance().is_some() {
        let path = pinned.path().to_vec();
        site.say(&ToSender::NotEmpty { path })?;
    }
    for path in &doomed.mounts {
        let shown = root.shown(path);
        site.warn(format!(
            "did not delete {shown} on the target: it is a mount point"
        ))?;
    }
    for (path, spared) in &doomed.spared {
        site.tell_spared(path.clone(), spared)?;
    }
    for failed in doomed.failed.iter() {
        let (path, why) = failed?;
        let shown = root.shown(&path);
        site.warn(format!(
            "cannot delete directory {shown} on the target: {why}"
        ))?;
    }
    Ok(())
}

/// Puts what was staged for it in place of each directory, unless something in it has to stay.
fn replace(
    site: &mut Site,
    in_the_way: BTreeMap<RelPath, InTheWay>,
    going: &Going,
) -> Result<Ways, Error> {
    let mut ways = Ways::default();
    for (path, InTheWay { which, by }) in in_the_way {
        if going.keeps_any_in(&path) {
            let shown = site.door.shown(&path);
            site.warn(format!(
                "did not replace the directory {shown} on the target: not all that is in it could \
                 be backed up"
            ))?;
            if let Replacement::Staged(staged) = by {
                door::remove(&staged);
            }
            ways.barred.insert(path);
            continue;
        }
        match (by, path.split()) {
            (Replacement::Staged(staged), Some((dir, name))) => {
                site.door.place(&staged, &dir, name, over_tree(which))?;
            }
            (Replacement::Link, _) => {
                ways.clear.insert(path, which);
            }
            _ => {}
        }
    }
    Ok(ways)
}
