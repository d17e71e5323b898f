//! Directories that turned out to be others than those that the sender had listed: what is in them
//! goes with their own metadata, whatever the directory above says, before or after.

use rustix::fs::FileType;

use super::Receiver;
use super::dir::{Dir, New, not_awaited};
use crate::attributes::Attributes;
use crate::entry::{Body, Entry};
use crate::error::Error;
use crate::fs::{Attrs, Inherited};
use crate::observer::Kind;
use crate::path::RelPath;
use crate::since::Meta;
use crate::wire::DirIndex;

/// What such a directory is.
type Other = (Meta, Attributes);

impl Receiver {
    /// The directory just announced, or one that is being made, has these metadata.
    pub(super) fn other_dir(
        &mut self,
        dir: DirIndex,
        meta: Meta,
        attributes: Attributes,
    ) -> Result<(), Error> {
        let powers = self.site.rules.fields.powers;
        meta.check(Kind::Dir, powers).map_err(Error::peer)?;
        attributes.check(FileType::Directory).map_err(Error::peer)?;
        let other = (meta, attributes);
        if let Some(Dir::New(New { begun: Some(_), .. })) = self.dirs.get(dir) {
            return self.make_other(dir, &other);
        }
        let path = self.trail.last(dir).cloned();
        let path = path.ok_or_else(|| not_awaited(dir))?;
        self.site.rules.is_other(dir, &path, other.clone())?;
        self.change_other(&path, &other)
    }

    /// Nobody can see yet what is being made: it is to get these when it is placed.
    fn make_other(&mut self, dir: DirIndex, other: &Other) -> Result<(), Error> {
        let Some(mut new) = self.dirs.take_new(dir)? else {
            return Ok(());
        };
        let path = &new.list.path;
        let parent = path.parent();
        let inherited = self.site.inherited(&parent);
        let entry = dir_entry(path, other);
        if let Some(begun) = &mut new.begun {
            begun.attrs = self.site.rules.made_attrs(&parent, &entry, None, inherited);
        }
        self.dirs.put(dir, Dir::New(new))
    }

    /// What the target has there gets them before anything is put into it.
    fn change_other(&mut self, path: &RelPath, other: &Other) -> Result<(), Error> {
        let Some((parent, name)) = path.split() else {
            return Ok(());
        };
        let local = self.site.door.look(&parent, name).ok();
        let Some(local) = local.filter(|local| local.entry.is_dir()) else {
            return Ok(());
        };
        if self.site.spares(&parent, name, false)? {
            return Ok(());
        }
        let entry = dir_entry(path, other);
        let rules = &self.site.rules;
        let judge = rules.judge_in(&parent);
        let inherited = Inherited::default();
        let attrs = judge.made_attrs(&rules.ids, &entry, Some((&local).into()), inherited);
        // All of them: some that are not there yet may be on their way.
        let mode = attrs.mode.filter(|_| rules.options.perms);
        let attrs = Attrs { mode, ..attrs };
        self.site.door.set_attrs(&parent, &local, attrs)
    }
}

fn dir_entry(path: &RelPath, (meta, attributes): &Other) -> Entry {
    let Meta {
        mode,
        uid,
        gid,
        mtime,
    } = *meta;
    Entry {
        name: path.name().to_vec(),
        mode,
        uid,
        gid,
        mtime,
        body: Body::Dir,
        atime: None,
        link_to: None,
        attributes: attributes.clone(),
    }
}
