//! Entries of the target that stay as they are for the sake of a group, which a push without a name
//! comes to. It is said of each, and the rest of the push goes on.

use super::judging::Judging;
use super::rules::Rules;
use super::site::Site;
use crate::entries::EntryList;
use crate::entry::Entry;
use crate::error::Error;
use crate::fs::Listed;
use crate::members::{Spared, Which};
use crate::path::{RelPath, Shown};

impl Site {
    /// Whether an entry stays as it is for the sake of a group, to which it belongs or, if it
    /// `leaves_backup`, that does. This is said.
    pub(super) fn spares(
        &mut self,
        dir: &RelPath,
        name: &[u8],
        leaves_backup: bool,
    ) -> Result<bool, Error> {
        let Rules {
            members, options, ..
        } = &self.rules;
        let backup = options.backup.as_ref().filter(|_| leaves_backup);
        let which = || Which::of(self.door.open_dir(dir)?);
        match members.spare(name, backup, which) {
            None => Ok(false),
            Some(spared) => self.tell_spared(dir.join(name), &spared).map(|()| true),
        }
    }

    /// Says once why an entry stays as it is.
    pub(super) fn tell_spared(&mut self, path: RelPath, spared: &Spared) -> Result<(), Error> {
        let Spared { group, backup } = spared;
        let shown = self.door.shown(&path);
        let backup = backup.as_ref().map(|name| Shown(name));
        let belongs = backup.map_or_else(
            || "it belongs".to_owned(),
            |name| format!("its backup would replace {name}, which belongs"),
        );
        if !self.spared.insert(path) {
            return Ok(());
        }
        self.warn(format!(
            "{shown} stays as it is on the target: {belongs} to group {group} of the receiving \
             node, whose lineage this push would break; push it with --tree {group}"
        ))
    }
}

impl Judging<'_> {
    /// Counts entries as having a counterpart that stay for the sake of a group.
    pub(super) fn spare_members(
        &mut self,
        dir: &RelPath,
        local: &EntryList,
        counterparts: &mut [bool],
    ) -> Result<(), Error> {
        if self.site.rules.members.is_empty() {
            return Ok(());
        }
        let unmatched = counterparts.iter_mut().enumerate();
        for (at, has) in unmatched.filter(|(_, has)| !**has) {
            if let Some(entry) = local.get(at) {
                *has = self
                    .site
                    .spares(dir, &entry.name, self.leaves_backup(&entry))?;
            }
        }
        Ok(())
    }

    /// Whether an entry that is removed leaves a backup, if any are asked for.
    pub(super) fn leaves_backup(&self, entry: &Entry) -> bool {
        let backup = self.site.rules.options.backup.as_ref();
        !entry.is_dir() && backup.is_some_and(|backup| !backup.is_one(&entry.name))
    }

    /// Whether an entry of the target that would be changed, or replaced if one `is_made` anew,
    /// stays for the sake of a group.
    pub(super) fn is_spared(
        &mut self,
        dir: &RelPath,
        entry: &Entry,
        local: Option<&Listed>,
        is_made: bool,
    ) -> Result<bool, Error> {
        let there = local.map(|local| &local.entry);
        let leaves_backup = is_made && there.is_some_and(|there| !there.is_dir());
        if self.site.spares(dir, &entry.name, leaves_backup)? {
            return Ok(true);
        }
        // In another spelling, where those are one name.
        match there.filter(|there| there.name != entry.name) {
            Some(there) => self.site.spares(dir, &there.name, leaves_backup),
            None => Ok(false),
        }
    }
}
