//! Two spellings that are one entry on the target: a file system that folds case, or forms of
//! letters, has room for one of them. The other is named and left out, the same one each time, and
//! what is there stays.

use std::collections::HashMap;

use super::site::Site;
use crate::entries::EntryList;
use crate::entry::Entry;
use crate::error::Error;
use crate::fs::{folds_names, names};
use crate::keeps::Folds;
use crate::path::{RelPath, Shown};

/// The names of one directory that have been judged, by what they are folded to.
pub(super) struct OneName<'a> {
    dir: &'a RelPath,
    folds: Folds,
    judged: HashMap<Vec<u8>, Vec<u8>>,
}

impl<'a> OneName<'a> {
    /// `None` where each spelling is a name.
    pub(super) fn in_dir(site: &Site, dir: &'a RelPath) -> Option<Self> {
        let of_mount = site.rules.fields.at(dir).keeps.folds;
        let is_folding = || site.door.open_dir(dir).is_ok_and(folds_names);
        let folds = match of_mount == Folds::default() && is_folding() {
            true => Folds {
                case: true,
                form: true,
            },
            false => of_mount,
        };
        (folds != Folds::default()).then(|| OneName {
            dir,
            folds,
            judged: HashMap::new(),
        })
    }

    /// Finds the entry of `local` that an entry stands for in another spelling, unless it is
    /// `found` in that very one.
    pub(super) fn find(
        &mut self,
        site: &mut Site,
        entry: &Entry,
        found: Option<usize>,
        local: &EntryList,
    ) -> Result<Spelt, Error> {
        let key = self.folds.fold(&entry.name);
        let before = self.judged.insert(key.clone(), entry.name.clone());
        if let Some(before) = before {
            self.judged.insert(key, before.clone());
            return self.refuse(site, entry, &before);
        }
        if found.is_some() || site.door.look(self.dir, &entry.name).is_err() {
            return Ok(Spelt::As(found));
        }
        let mut walk = local.walk();
        let mut at = 0;
        while let Some(there) = walk.next() {
            if self.folds.fold(&there.name) == key {
                return Ok(Spelt::As(Some(at)));
            }
            at += 1;
        }
        // One that is as it is on the source has the name.
        let listed = site.door.open_dir(self.dir).and_then(|dir| names(&dir));
        let mut listed = listed.unwrap_or_default().into_iter();
        match listed.find(|name| *name != entry.name && self.folds.fold(name) == key) {
            Some(other) => self.refuse(site, entry, &other),
            None => Ok(Spelt::As(None)),
        }
    }

    fn refuse(&self, site: &mut Site, entry: &Entry, other: &[u8]) -> Result<Spelt, Error> {
        let shown = site.door.shown(&self.dir.join(&entry.name));
        site.warn(format!(
            "cannot make {shown} on the target: its file system takes the name for {}; rename one \
             of them",
            Shown(other)
        ))?;
        Ok(Spelt::Taken)
    }
}

/// What a name stands for on the target.
pub(super) enum Spelt {
    /// The entry at that position among those that differ, if it is there.
    As(Option<usize>),
    /// Another entry of the source.
    Taken,
}
