//! What a kept generation replaced or removed: listed, and copied out. It lies where its commit put
//! it, whatever became of the tree since, so that no way back is needed, and nothing here changes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, linkat, mkdirat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::kept::{Kept, PINNED, exists, open_step, read, step_places};
use super::store::Store;
use crate::change::{Op, Slot, copy};
use crate::entry::Time;
use crate::error::{Error, ErrorKind};
use crate::fs::{
    Attrs, Listed, Root, is_absent, make_dir, names, open_dir_below, own_scope, set_fd_attrs,
};
use crate::generation::tree::{Tree, shown_path};
use crate::lineage::generation::{Generation, GenerationId, Partial};
use crate::observer::Kind;
use crate::path::RelPath;
use crate::source::stat_name;

/// A generation, and what it replaced.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// Which generation that is.
    pub generation: Generation,
    /// It is kept until it is forgotten.
    pub is_pinned: bool,
    /// In the order of their paths. What is in a directory that was removed goes with that.
    pub entries: Vec<ReplacedEntry>,
}

/// An entry that is not in the tree any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacedEntry {
    /// Its path below the root.
    pub path: Vec<u8>,
    /// Another one has its name; else that was removed.
    pub is_replaced: bool,
    /// What it is.
    pub kind: Kind,
    /// Its length in bytes.
    pub len: u64,
    /// When it was last changed.
    pub mtime: Time,
}

/// What was copied out.
#[derive(Clone, Debug, Default)]
pub struct Extracted {
    /// Entries, with those in directories.
    pub entries: u64,
    /// What could not be copied.
    pub failed: Partial,
}

/// Where an entry lies that was replaced.
struct Lying {
    path: RelPath,
    session: Arc<OwnedFd>,
    /// Below the session.
    at: RelPath,
    is_replaced: bool,
}

impl Tree {
    /// What each kept generation replaced, the last first; of these paths alone if there are any.
    ///
    /// # Errors
    ///
    /// If the records cannot be read, or a path is not in the tree.
    pub fn replaced(&self, paths: &[PathBuf]) -> Result<Vec<Replaced>, Error> {
        let paths = self.parse_paths(paths)?;
        let read = |e: io::Error| self.cannot("read what is kept of", &e);
        let Some(store) = self.store(self.open_root()?.as_ref())? else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        for (kept, is_pinned) in kept_steps(&store).map_err(read)? {
            let lying = lying(store.root(), &kept, &paths).map_err(read)?;
            let entries = lying
                .iter()
                .filter_map(|lying| listed(lying).ok().flatten());
            all.push(Replaced {
                entries: entries.collect(),
                generation: kept.generation,
                is_pinned,
            });
        }
        Ok(all)
    }

    /// Copies what a kept generation replaced to `to`, which is made, or is an empty directory:
    /// each entry under its path, with its metadata. Of these paths alone if there are any.
    ///
    /// # Errors
    ///
    /// If that generation is not kept, or `to` cannot be made or is not empty.
    pub fn extract(
        &self,
        id: GenerationId,
        paths: &[PathBuf],
        to: &Path,
    ) -> Result<Extracted, Error> {
        let paths = self.parse_paths(paths)?;
        let read = |e: io::Error| self.cannot("read what is kept of", &e);
        let none = || {
            let name = &self.name;
            let message = format!(
                "nothing is kept of what generation {id} of tree {name} replaced; see `hasync kept \
                 {name}`"
            );
            Error::new(ErrorKind::Usage, message)
        };
        let store = self.store(self.open_root()?.as_ref())?.ok_or_else(none)?;
        let mut steps = kept_steps(&store).map_err(read)?.into_iter();
        let kept = steps.find(|(kept, _)| kept.generation.id == id);
        let (kept, _) = kept.ok_or_else(none)?;
        let lying = lying(store.root(), &kept, &paths).map_err(read)?;
        let mut copies = Copies::into(to).map_err(|why| {
            let to = shown_path(to);
            Error::new(
                ErrorKind::FileIo,
                format!("cannot extract into {to}: {why}"),
            )
        })?;
        for lying in &lying {
            copies.add(lying);
        }
        Ok(copies.end())
    }
}

/// What is kept, the last one first, and whether it is pinned.
fn kept_steps(store: &Store) -> io::Result<Vec<(Kept, bool)>> {
    let mut steps = Vec::new();
    for (_, place) in step_places(store)? {
        let is_pinned = exists(open_step(store, &place)?, PINNED)?;
        steps.extend(read(store, place)?.map(|kept| (kept, is_pinned)));
    }
    Ok(steps)
}

/// Where everything lies that a commit replaced; what an undo has taken back lies there no more.
fn lying(root: &Root, kept: &Kept, wanted: &[RelPath]) -> io::Result<Vec<Lying>> {
    let mut sessions = Vec::new();
    for place in &kept.journal.sessions {
        let opened = root.open_reserved(&place.holder, &place.within.join(&place.name));
        sessions.push(match opened {
            Ok(session) => Some(Arc::new(session)),
            Err(e) if is_absent(&e) => None,
            Err(e) => return Err(e),
        });
    }
    let mut found: HashMap<RelPath, Lying> = HashMap::new();
    for op in kept.journal.ops.iter() {
        let op = op.map_err(io::Error::other)?;
        let Some((slot, is_replaced)) = taken_away(&op) else {
            continue;
        };
        let session = sessions.get(slot.session as usize).and_then(Clone::clone);
        let Some(session) = session else { continue };
        for (path, at) in parts(&op.path(), &slot.path, wanted) {
            // Where a journal leads over several commits, the first took what was there before.
            found.entry(path.clone()).or_insert_with(|| Lying {
                path,
                session: Arc::clone(&session),
                at,
                is_replaced,
            });
        }
    }
    let mut found: Vec<Lying> = found.into_values().collect();
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// Where an op put what had the name before, and whether something else has it now.
fn taken_away(op: &Op) -> Option<(&Slot, bool)> {
    match op {
        Op::Place {
            slot, old: Some(_), ..
        } => Some((slot, true)),
        Op::Remove { slot, .. } => Some((slot, false)),
        _ => None,
    }
}

/// What of the entry at `path`, which lies at `at`, is wanted: all of it, or what is in it.
fn parts(path: &RelPath, at: &RelPath, wanted: &[RelPath]) -> Vec<(RelPath, RelPath)> {
    if wanted.is_empty() || wanted.iter().any(|wanted| path.is_within(wanted)) {
        return vec![(path.clone(), at.clone())];
    }
    let inside = wanted.iter().filter(|wanted| wanted.is_within(path));
    inside
        .map(|wanted| (wanted.clone(), at.join_path(&wanted.below(path))))
        .collect()
}

/// The entry itself; `None` if it is not there.
fn listed(lying: &Lying) -> io::Result<Option<ReplacedEntry>> {
    let Some(found) = stat_at(&lying.session, &lying.at)? else {
        return Ok(None);
    };
    Ok(Some(ReplacedEntry {
        path: lying.path.as_bytes().into_owned(),
        is_replaced: lying.is_replaced,
        kind: found.entry.kind(),
        len: found.entry.len(),
        mtime: found.entry.mtime,
    }))
}

fn stat_at(top: &OwnedFd, at: &RelPath) -> io::Result<Option<Listed>> {
    let (dir, name) = at.split().ok_or(io::ErrorKind::InvalidInput)?;
    match open_dir_below(top, &dir).and_then(|dir| stat_name(dir, name, own_scope())) {
        Ok(found) => Ok(Some(found)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Copies in the making.
struct Copies {
    top: OwnedFd,
    /// Where the first name of an inode is that has several.
    linked: HashMap<(u64, u64), RelPath>,
    /// Directories whose metadata is set when everything is in them.
    dirs: Vec<(RelPath, Attrs)>,
    done: Extracted,
}

impl Copies {
    fn into(to: &Path) -> Result<Self, String> {
        let top = make_dir(to, Mode::from_raw_mode(0o777)).map_err(|e| e.to_string())?;
        if !names(&top).map_err(|e| e.to_string())?.is_empty() {
            return Err("it is not empty".to_owned());
        }
        Ok(Copies {
            top,
            linked: HashMap::new(),
            dirs: Vec::new(),
            done: Extracted::default(),
        })
    }

    /// Copies an entry with everything in it.
    fn add(&mut self, lying: &Lying) {
        let mut ahead = vec![(lying.at.clone(), lying.path.clone())];
        let above = lying.path.parent();
        if let Err(e) = self.make_above(&above) {
            return self.failed(&above, &e);
        }
        while let Some((at, path)) = ahead.pop() {
            match self.copy(&lying.session, &at, &path) {
                Ok(names) => {
                    let inside = names.into_iter();
                    ahead.extend(inside.map(|name| (at.join(&name), path.join(&name))));
                }
                Err(e) => self.failed(&path, &e),
            }
        }
    }

    /// Copies one entry; gives the names in it.
    fn copy(&mut self, from: &OwnedFd, at: &RelPath, path: &RelPath) -> io::Result<Vec<Vec<u8>>> {
        let Some(then) = stat_at(from, at)? else {
            return Ok(Vec::new());
        };
        let (dir, name) = path.split().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = open_dir_below(&self.top, &dir)?;
        self.done.entries += 1;
        let id = (then.dev, then.ino);
        let has_names = !then.entry.is_dir() && then.nlink > 1;
        if let Some(first) = self.linked.get(&id).filter(|_| has_names) {
            let (first_dir, first_name) = first.split().ok_or(io::ErrorKind::InvalidInput)?;
            let first_dir = open_dir_below(&self.top, &first_dir)?;
            linkat(first_dir, first_name, dir, name, AtFlags::empty())?;
            return Ok(Vec::new());
        }
        let mut attrs = then.attrs(own_scope());
        if !geteuid().is_root() {
            (attrs.uid, attrs.gid) = (None, None);
        }
        if has_names {
            self.linked.insert(id, path.clone());
        }
        let (from_dir, from_name) = at.split().ok_or(io::ErrorKind::InvalidInput)?;
        let from_dir = open_dir_below(from, &from_dir)?;
        let place = (&from_dir, from_name);
        if !then.entry.is_dir() {
            copy(place, &then, &attrs, &dir, name)?;
            return Ok(Vec::new());
        }
        self.dirs.push((path.clone(), attrs));
        copy(place, &then, &Attrs::default(), &dir, name)?;
        names(&open_dir_below(from, at)?)
    }

    /// Makes the directories above, which are in the tree still.
    fn make_above(&self, path: &RelPath) -> io::Result<()> {
        let mut dir = self.top.try_clone()?;
        for name in path.components() {
            match mkdirat(&dir, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            dir = openat(&dir, name, flags, Mode::empty())?;
        }
        Ok(())
    }

    fn failed(&mut self, path: &RelPath, e: &io::Error) {
        let path = shown_path(Path::new(std::ffi::OsStr::from_bytes(&path.as_bytes())));
        self.done
            .failed
            .add_line(&format!("cannot copy {path}: {e}"));
    }

    /// The last ones in are the innermost.
    fn end(mut self) -> Extracted {
        for (path, attrs) in std::mem::take(&mut self.dirs).into_iter().rev() {
            let set = open_dir_below(&self.top, &path)
                .and_then(|dir| set_fd_attrs(&File::from(dir), &attrs));
            if let Err(e) = set {
                self.failed(&path, &e);
            }
        }
        self.done
    }
}
