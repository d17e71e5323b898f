//! What a verdict depends on besides the two entries: settled at the hello, but for the names of
//! ids and for directories that turn out to be others than those that were listed.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::attributes::Attributes;
use crate::compare::{Judge, Replaced};
use crate::delete;
use crate::digest::{DirDigest, EntryPrint, Fields, IdView};
use crate::entries::EntryList;
use crate::entry::Entry;
use crate::error::Error;
use crate::filter::Filter;
use crate::fs::{Attrs, Inherited};
use crate::ids::IdMap;
use crate::members::Members;
use crate::options::Options;
use crate::path::RelPath;
use crate::policy::Rights;
use crate::refusal::Refusal;
use crate::since::{Meta, OTHER_DIRS_MAX};
use crate::wire::DirIndex;

/// The rules of one push.
pub(super) struct Rules {
    pub(super) options: Options,
    pub(super) filter: Filter,
    pub(super) fields: Fields,
    pub(super) ids: IdMap,
    pub(super) rights: Rights,
    pub(super) own_groups: Vec<u32>,
    pub(super) umask: u32,
    /// Directories whose metadata are not those of their entries.
    pub(super) others: HashMap<RelPath, (Meta, Attributes)>,
    /// What stays as it is for the sake of groups.
    pub(super) members: Members,
}

impl Rules {
    /// Judges by what the file system of the target's root keeps.
    pub(super) fn judge(&self) -> Judge<'_> {
        self.judge_by(Cow::Borrowed(&self.fields))
    }

    /// Judges the entries of `dir`.
    pub(super) fn judge_in(&self, dir: &RelPath) -> Judge<'_> {
        self.judge_by(self.fields.at(dir))
    }

    fn judge_by<'a>(&'a self, fields: Cow<'a, Fields>) -> Judge<'a> {
        Judge {
            options: &self.options,
            fields,
            own_groups: &self.own_groups,
            umask: self.umask,
        }
    }

    /// By what it is known what stays of what is to go.
    pub(super) fn for_deletions(&self) -> delete::Rules<'_> {
        delete::Rules {
            filter: &self.filter,
            backup: self.options.backup.as_ref(),
            members: &self.members,
        }
    }

    /// The metadata of an entry that is made in `dir`.
    pub(super) fn made_attrs(
        &self,
        dir: &RelPath,
        entry: &Entry,
        replaced: Option<Replaced>,
        inherited: Inherited,
    ) -> Attrs {
        let judge = self.judge_in(dir);
        judge.made_attrs(&self.ids, entry, replaced, inherited)
    }

    /// Whether two files in `dir` pass the quick check.
    pub(super) fn are_alike(&self, dir: &RelPath, a: &Entry, b: &Entry) -> bool {
        let fields = self.fields.at(dir);
        let stored = |entry: &Entry| fields.of(entry).keeps.time_store.stored(entry.mtime);
        a.len() == b.len() && self.options.is_same_time(stored(a), stored(b))
    }

    /// The digest of what the target has in `dir`.
    pub(super) fn digest(&self, dir: &RelPath, local: &EntryList) -> DirDigest {
        let view = IdView::Receiver(&self.ids);
        self.fields.at(dir).dir_digest(local, &view)
    }

    /// Shows the print of each of these entries of `dir`, in their order.
    pub(super) fn prints(
        &self,
        dir: &RelPath,
        local: &EntryList,
        mut see: impl FnMut(EntryPrint) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (fields, view) = (self.fields.at(dir), IdView::Receiver(&self.ids));
        let mut entries = local.walk();
        while let Some(entry) = entries.next() {
            see(fields.print(entry, &view))?;
        }
        Ok(())
    }

    /// A directory has these metadata, whatever the one above says of it.
    pub(super) fn is_other(
        &mut self,
        dir: DirIndex,
        path: &RelPath,
        other: (Meta, Attributes),
    ) -> Result<(), Error> {
        let is_first = self.others.insert(path.clone(), other).is_none();
        if !is_first || self.others.len() > OTHER_DIRS_MAX {
            return Err(Error::peer(Refusal::NotAwaited { dir }));
        }
        Ok(())
    }

    /// An entry as it is to be judged, if that is not as it was announced.
    pub(super) fn as_found(&self, path: &RelPath, entry: &Entry) -> Option<Entry> {
        let (meta, attributes) = self.others.get(path).filter(|_| entry.is_dir())?;
        let mut found = entry.clone();
        meta.put_into(&mut found);
        found.attributes.clone_from(attributes);
        Some(found)
    }
}
