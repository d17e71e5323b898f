//! Directories that turned out to be others than those that the sender had listed: what is in them
//! goes with their own metadata, whatever the directory above says, before or after.

use super::Receiver;
use super::dirs::Phase;
use crate::attributes::Attributes;
use crate::entry::{Body, Entry};
use crate::error::Error;
use crate::fs::Attrs;
use crate::observer::Kind;
use crate::path::RelPath;
use crate::refusal::Refusal;
use crate::since::{Meta, OTHER_DIRS_MAX};
use crate::source::stat_name;
use crate::wire::DirIndex;

impl Receiver {
    /// The directory just announced, or one that is being made, has these metadata.
    pub(super) fn other_dir(&mut self, dir: DirIndex, meta: Meta) -> Result<(), Error> {
        let powers = self.fields.powers;
        meta.check(Kind::Dir, powers).map_err(Error::peer)?;
        if let Some(state) = self.dirs.get(dir)
            && let Phase::New { .. } = &state.phase
        {
            let path = state.path.clone();
            return self.make_other(dir, &path, meta);
        }
        let path = self.trail.last(dir).cloned();
        let path = path.ok_or_else(|| Error::peer(Refusal::NotAwaited { dir }))?;
        let is_first = self.others.insert(path.clone(), meta).is_none();
        if !is_first || self.others.len() > OTHER_DIRS_MAX {
            return Err(Error::peer(Refusal::NotAwaited { dir }));
        }
        self.change_other(&path, meta)
    }

    /// Nobody can see yet what is being made: it is to get these when it is placed.
    fn make_other(&mut self, dir: DirIndex, path: &RelPath, meta: Meta) -> Result<(), Error> {
        let Some((parent, _)) = path.split() else {
            return Ok(());
        };
        let inherited = self.inherited_gid(&parent)?;
        let entry = dir_entry(path, meta);
        let judge = self.judge_in(&parent);
        let other = judge.made_attrs(&self.ids, &entry, None, inherited);
        let Some(mut state) = self.dirs.remove(dir) else {
            return Ok(());
        };
        if let Phase::New { attrs, .. } = &mut state.phase {
            *attrs = other;
        }
        self.dirs.insert(dir, state)
    }

    /// What the target has there gets them before anything is put into it.
    fn change_other(&mut self, path: &RelPath, meta: Meta) -> Result<(), Error> {
        let Some(((parent, name), root)) = path.split().zip(self.root.as_ref()) else {
            return Ok(());
        };
        let local = root.open_dir(&parent).and_then(|dir| stat_name(dir, name));
        let Some(local) = local.ok().filter(|local| local.entry.is_dir()) else {
            return Ok(());
        };
        let entry = dir_entry(path, meta);
        let judge = self.judge_in(&parent);
        let attrs = judge.made_attrs(&self.ids, &entry, Some((&local).into()), None);
        // All of them: some that are not there yet may be on their way.
        let mode = attrs.mode.filter(|_| self.options.perms);
        let attrs = Attrs { mode, ..attrs };
        let commit = self.commit.as_mut();
        commit.map_or(Ok(()), |commit| commit.set_attrs(&parent, &local, attrs))
    }

    /// An entry as it is to be judged: a directory may have turned out to be another.
    pub(super) fn as_found(&self, path: &RelPath, entry: &Entry) -> Option<Entry> {
        let meta = self.others.get(path).filter(|_| entry.is_dir())?;
        let mut found = entry.clone();
        meta.put_into(&mut found);
        Some(found)
    }
}

fn dir_entry(path: &RelPath, meta: Meta) -> Entry {
    let Meta {
        mode,
        uid,
        gid,
        mtime,
    } = meta;
    Entry {
        name: path.name().to_vec(),
        mode,
        uid,
        gid,
        mtime,
        body: Body::Dir,
        link_to: None,
        attributes: Attributes::default(),
    }
}
