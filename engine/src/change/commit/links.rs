//! Hard links. A link is made in staging, found to be one to the inode that was judged, and put in
//! place like anything else. Where an inode has as many names as its file system allows, a further
//! one with the same content and metadata takes the rest.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, linkat, unlinkat};
use rustix::io::Errno;

use super::{Commit, Staged};
use crate::change::copy::copy;
use crate::change::failed::Failed;
use crate::change::op::Over;
use crate::change::place::inode;
use crate::error::Error;
use crate::fs::{Inode, replaced, stat};
use crate::path::RelPath;

/// A hard link to be made.
#[derive(Debug)]
pub(crate) struct Link {
    /// The entry that is to have another name.
    pub(crate) first: RelPath,
    /// What that was, if it was there when that was decided.
    pub(crate) judged: Option<Inode>,
    pub(crate) dir: RelPath,
    pub(crate) name: Vec<u8>,
    pub(crate) over: Over,
}

/// What is known about links while they are made.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Those among the collected ops.
    queued: HashSet<RelPath>,
    /// Entries that cannot have more names, each with a name in staging of the one that takes the
    /// rest: nobody else can give that to something else.
    full: HashMap<RelPath, Staged>,
}

impl Commit {
    /// Makes a hard link.
    pub(crate) fn link(&mut self, link: Link) -> Result<(), Error> {
        if !self.is_atomic() {
            let is_in_place = self.ops.len() == self.links.queued.len();
            if !is_in_place || self.links.queued.contains(&link.first) {
                self.run()?;
                self.links.queued.clear();
            }
        }
        match self.stage_link(&link) {
            Ok(None) => Ok(()),
            Ok(Some(staged)) => {
                let path = link.dir.join(&link.name);
                self.place(&staged, link.dir, link.name, link.over)?;
                if self.ops.is_empty() {
                    self.links.queued.clear();
                } else if !self.is_atomic() {
                    self.links.queued.insert(path);
                }
                Ok(())
            }
            Err(cause) => self.failed(Failed {
                at: 0,
                doing: "link",
                path: link.dir.join(&link.name),
                cause,
                obstacle: None,
            }),
        }
    }

    /// Makes the link in staging; `None` if the name is one already.
    fn stage_link(&mut self, link: &Link) -> io::Result<Option<Staged>> {
        let (first_dir, first_name) = self.first_of(&link.first)?;
        let first = inode(&first_dir, &first_name)?.ok_or(io::ErrorKind::NotFound)?;
        let dir = self.open(&link.dir)?;
        if inode(&dir, &link.name)?.is_some_and(|inode| inode.number == first.number) {
            return Ok(None);
        }
        let staged = self.try_stage(&link.dir)?;
        let from = (&*first_dir, &*first_name);
        match link_to(from, &staged) {
            Err(Errno::MLINK) => {
                return self
                    .stage_beyond(link, (first_dir, first_name), staged)
                    .map(Some);
            }
            result => result?,
        }
        let linked = inode(staged.stage.fd(), &staged.name)?.ok_or(io::ErrorKind::NotFound)?;
        let is_it = link.judged.is_none_or(|judged| {
            linked.number == judged.number && linked.file_type() == judged.file_type()
        });
        if !is_it {
            unlinkat(staged.stage.fd(), &*staged.name, AtFlags::empty())?;
            return Err(replaced());
        }
        Ok(Some(staged))
    }

    /// Makes the link to an inode that takes what the first one cannot.
    fn stage_beyond(
        &mut self,
        link: &Link,
        (first_dir, first_name): (Arc<OwnedFd>, Vec<u8>),
        staged: Staged,
    ) -> io::Result<Staged> {
        if let Some(other) = self.links.full.get(&link.first) {
            match link_to((other.stage.fd(), &other.name), &staged) {
                Err(Errno::MLINK) => {}
                result => return Ok(result.map(|()| staged)?),
            }
        }
        let name = std::ffi::CString::new(&*first_name).map_err(|_| io::ErrorKind::InvalidInput)?;
        let listed = stat(&first_dir, &name)?;
        let attrs = listed.attrs();
        copy(
            (first_dir, first_name),
            &listed,
            &attrs,
            &staged.stage,
            &staged.name,
        )?;
        let spare = self.try_stage(&link.dir)?;
        link_to((staged.stage.fd(), &staged.name), &spare)?;
        let full = self.links.full.insert(link.first.clone(), spare);
        full.map_or(Ok(()), |full| drop_spare(&full))?;
        Ok(staged)
    }

    /// Gives up the names in staging that no entry of the tree comes from.
    pub(super) fn drop_spare_links(&mut self) {
        for (_, spare) in self.links.full.drain() {
            // It goes with its session otherwise.
            let _ = drop_spare(&spare);
        }
    }

    /// Where the entry is that will be at `first`: its directory and its name there.
    fn first_of(&mut self, first: &RelPath) -> io::Result<(Arc<OwnedFd>, Vec<u8>)> {
        let (dir, name) = first.split().ok_or(io::ErrorKind::InvalidInput)?;
        if let Some(pending) = &mut self.pending {
            if let Some(fd) = pending.open(&dir) {
                return Ok((Arc::new(fd?), name.to_vec()));
            }
            let at = pending.placed_at(&self.ops, first);
            if let Some(slot) = at.and_then(|at| self.ops.get(at)?.slot()) {
                return self.roll.slot(slot);
            }
        }
        Ok((Arc::new(self.root.open_dir(&dir)?), name.to_vec()))
    }
}

fn link_to((dir, name): (&OwnedFd, &[u8]), staged: &Staged) -> rustix::io::Result<()> {
    linkat(
        dir,
        name,
        staged.stage.fd(),
        &*staged.name,
        AtFlags::empty(),
    )
}

fn drop_spare(spare: &Staged) -> io::Result<()> {
    Ok(unlinkat(spare.stage.fd(), &*spare.name, AtFlags::empty())?)
}
