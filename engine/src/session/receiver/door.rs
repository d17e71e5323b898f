//! The target, behind a door of one of two kinds: through the real one entries are staged and
//! changed, through that of a dry run they are only looked at.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, unlinkat};

use crate::apply::{create_file, create_node, set_node_attrs};
use crate::attributes::Scope;
use crate::change::{Commit, Lines, Link, Over, Slot, Staged, Tree, clean_leftovers};
use crate::entry::Entry;
use crate::error::{Error, ErrorKind};
use crate::fs::{Attrs, Inherited, Listed, Root, WhichDir, can_hold};
use crate::history::{Room, Store, leave};
use crate::path::{RelPath, Shown};
use crate::refusal::Refusal;
use crate::source::stat_name;
use crate::target::root_listed;

/// A file that may be too long for where it belongs has more bytes than this.
const LEN_ASKED_MIN: u64 = i32::MAX as u64;

/// The target of a push.
pub(super) enum Door {
    Real(Box<Real>),
    /// The root is missing if the target does not exist.
    Dry(Option<Arc<Root>>),
}

/// A target that changes.
pub(super) struct Real {
    pub(super) root: Arc<Root>,
    pub(super) commit: Commit,
    /// Where something may give way.
    pub(super) room: Arc<Room>,
    /// The root was made for this push.
    pub(super) is_new: bool,
}

/// Whether an entry was made, and whether it could be given its metadata.
pub(super) type Made = io::Result<io::Result<()>>;

impl Door {
    pub(super) fn root(&self) -> Option<&Arc<Root>> {
        match self {
            Door::Real(real) => Some(&real.root),
            Door::Dry(root) => root.as_ref(),
        }
    }

    /// Whether what is announced is made, so that content is asked for and awaited.
    pub(super) fn is_real(&self) -> bool {
        matches!(self, Door::Real(_))
    }

    /// The real door; content has no business at the other one.
    pub(super) fn real(&mut self) -> Result<&mut Real, Error> {
        match self {
            Door::Real(real) => Ok(real),
            Door::Dry(_) => Err(Error::peer(Refusal::DryContent)),
        }
    }

    /// The full path of what is at `rel` in the target, quoted for a message.
    pub(super) fn shown(&self, rel: &RelPath) -> String {
        let root = self.root();
        root.map_or_else(|| Shown(&rel.shown()).to_string(), |root| root.shown(rel))
    }

    pub(super) fn open_dir(&self, dir: &RelPath) -> io::Result<OwnedFd> {
        self.root().ok_or(io::ErrorKind::NotFound)?.open_dir(dir)
    }

    /// What the target has at `name` in `dir`.
    pub(super) fn look(&self, dir: &RelPath, name: &[u8]) -> io::Result<Listed> {
        self.look_closely(dir, name, Scope::default())
    }

    /// The same with the attributes in `scope`.
    pub(super) fn look_closely(
        &self,
        dir: &RelPath,
        name: &[u8],
        scope: Scope,
    ) -> io::Result<Listed> {
        stat_name(self.open_dir(dir)?, name, scope)
    }

    /// The target root's own metadata, with attributes in `scope`, if it was there before.
    pub(super) fn root_listed(&self, scope: Scope) -> io::Result<Option<Listed>> {
        match (self, self.root()) {
            (Door::Real(real), _) if real.is_new => Ok(None),
            (_, root) => root.map(|root| root_listed(root, scope)).transpose(),
        }
    }

    /// What a directory passes on to what is made in it.
    pub(super) fn inherited(&mut self, dir: &RelPath) -> Inherited {
        // Nothing is made in a dry run.
        let Door::Real(real) = self else {
            return Inherited::default();
        };
        real.commit.inherited(dir)
    }

    /// What hasync itself has left in `dir` goes, and leaves no trace.
    pub(super) fn clean(&mut self, dir: &RelPath) -> io::Result<()> {
        let Door::Real(real) = self else {
            return Ok(());
        };
        real.commit.spare_time(dir)?;
        let root = &real.root;
        match clean_leftovers(root, dir, || Store::sessions_needed(root)) {
            Ok(failed) => real.commit.warn_of(failed).map_err(io::Error::other),
            // What is not known to be needed by nobody stays.
            Err(_) => Ok(()),
        }
    }

    /// What is about to change in the directory at `dir` was found in that one.
    pub(super) fn judged_in(&mut self, dir: &RelPath, which: Option<WhichDir>) {
        if let (Door::Real(real), Some(which)) = (self, which) {
            real.commit.judged_in(dir, which);
        }
    }

    /// Puts a staged entry under its name in `dir`.
    pub(super) fn place(
        &mut self,
        staged: &Staged,
        dir: &RelPath,
        name: &[u8],
        over: Over,
    ) -> Result<(), Error> {
        match self {
            Door::Real(real) => real.commit.place(staged, dir.clone(), name.to_vec(), over),
            Door::Dry(_) => Ok(()),
        }
    }

    /// Whether the entry at `first`, which is `now`, can have no further name in `dir`, which holds
    /// `local`.
    pub(super) fn takes_no_name(
        &mut self,
        (first, now): (&RelPath, &Listed),
        (dir, local): (&RelPath, &Listed),
    ) -> bool {
        match self {
            Door::Real(real) => real.commit.takes_no_name(first, now, dir),
            Door::Dry(_) => Commit::may_take_no_name(now, local.dev),
        }
    }

    /// Makes a hard link.
    pub(super) fn link(&mut self, link: Link) -> Result<(), Error> {
        match self {
            Door::Real(real) => real.commit.link(link),
            Door::Dry(_) => Ok(()),
        }
    }

    /// Removes an entry of a directory, which is that one if it is known which.
    pub(super) fn remove(
        &mut self,
        dir: (RelPath, Option<WhichDir>),
        name: &[u8],
        tree: Tree,
    ) -> Result<(), Error> {
        match self {
            Door::Real(real) => real.commit.remove(dir, name.to_vec(), tree),
            Door::Dry(_) => Ok(()),
        }
    }

    /// Whether a file of that length can be in `dir`, as far as that can be told. What the file
    /// system of the root can hold, the sender knows.
    pub(super) fn holds(&mut self, dir: &RelPath, len: u64) -> Result<bool, Error> {
        let Door::Real(real) = self else {
            return Ok(true);
        };
        if len <= LEN_ASKED_MIN {
            return Ok(true);
        }
        // What goes wrong for this file alone does so again when it is staged.
        let staged = match real.commit.stage_for(dir) {
            Err(e) if e.kind != ErrorKind::FileIo => return Err(e),
            Err(_) => return Ok(true),
            Ok(staged) => staged,
        };
        let Ok(file) = create_file(&*staged.stage, &staged.name, 0o600) else {
            return Ok(true);
        };
        remove(&staged);
        Ok(can_hold(&file, len))
    }

    /// Stages an entry without content. `None` in a dry run.
    pub(super) fn stage_node(
        &mut self,
        dir: &RelPath,
        entry: &Entry,
        attrs: &Attrs,
    ) -> Result<Option<(Staged, Made)>, Error> {
        let Door::Real(real) = self else {
            return Ok(None);
        };
        let staged = real.commit.stage_for(dir)?;
        let (dir, name) = (&*staged.stage, &*staged.name);
        let made = real.room.with(|| create_node(dir, name, entry));
        let set = || set_node_attrs(dir, name, entry, attrs);
        let made = made.map(|()| real.room.with(set));
        Ok(Some((staged, made)))
    }

    pub(super) fn set_root_attrs(&mut self, attrs: Attrs) -> Result<(), Error> {
        match self {
            Door::Real(real) => real.commit.set_root_attrs(attrs),
            Door::Dry(_) => Ok(()),
        }
    }

    /// Sets metadata of an entry that was `listed` so.
    pub(super) fn set_attrs(
        &mut self,
        dir: &RelPath,
        listed: &Listed,
        attrs: Attrs,
    ) -> Result<(), Error> {
        match self {
            Door::Real(real) => real.commit.set_attrs(dir, listed, attrs),
            Door::Dry(_) => Ok(()),
        }
    }

    /// Keeps an entry, if backups are asked for; `false` if that failed, and it has to stay.
    pub(super) fn back_up(&mut self, dir: &RelPath, name: &[u8]) -> Result<bool, Error> {
        match self {
            Door::Real(real) => real.commit.back_up(dir, name),
            Door::Dry(_) => Ok(true),
        }
    }

    /// Carries out what has been collected.
    pub(super) fn run(&mut self) -> Result<(), Error> {
        match self {
            Door::Real(real) => real.commit.run(),
            Door::Dry(_) => Ok(()),
        }
    }

    /// What went wrong with single changes since the last call.
    pub(super) fn take_warnings(&mut self) -> Result<Lines, Error> {
        match self {
            Door::Real(real) => real.commit.take_warnings(),
            Door::Dry(_) => Ok(Lines::default()),
        }
    }

    /// Leaves what is staged for the next push; `begun` has not been added yet.
    pub(super) fn leave_staged(&mut self, begun: Vec<(Slot, RelPath)>) {
        if let Door::Real(real) = self {
            // What cannot be kept is sent again.
            let _ = real.commit.leave_staged(begun.into_iter(), leave);
        }
    }
}

/// Removes what was staged; staging is cleaned at the end anyway.
pub(super) fn remove(staged: &Staged) {
    let _ = unlinkat(&*staged.stage, &*staged.name, AtFlags::empty());
}
