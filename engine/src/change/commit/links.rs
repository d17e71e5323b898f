//! Hard links. A free name is given to the inode that was judged, which is held while that is done
//! if somebody else could change what has its name.
//! Otherwise a link is made in staging, found to be one to that inode, and put in place like
//! anything else. Where an inode has as many names as its file system allows, or may have none, as
//! across the border of a project, a further one with the same content and metadata takes the rest.
//! Where no file has two names, each gets one of its own so.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, linkat, openat, unlinkat};
use rustix::io::Errno;

use super::{Commit, Staged};
use crate::change::copy::copy;
use crate::change::op::{Op, Over};
use crate::error::Error;
use crate::fs::{
    Inode, Listed, is_private, means_no_links, numbers_hold, own_scope, replaced, stat,
};
use crate::options::Options;
use crate::path::RelPath;
use crate::spill::SpillMap;
use crate::work;

/// A hard link to be made.
#[derive(Debug)]
pub(crate) struct Link {
    /// The entry that is to have another name.
    pub(crate) first: RelPath,
    pub(crate) judged: JudgedFirst,
    pub(crate) dir: RelPath,
    pub(crate) name: Vec<u8>,
    pub(crate) over: Over,
}

/// What an entry that is to have another name was, when that was decided, or is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JudgedFirst {
    /// Its number, if it was there.
    pub(crate) number: Option<u64>,
    pub(crate) file_type: FileType,
    /// Its owner, where owners are kept.
    pub(crate) uid: Option<u32>,
}

/// No file system allows fewer names.
const NAMES_MIN: u32 = 100;

/// As many as the common ones allow, for who may not try.
const NAMES_USUAL: u32 = 65_000;

/// What is known about links while they are made.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// What a plain push with hard links has put in place, by path: the inode's number.
    placed: Option<SpillMap>,
    /// Inodes with many names: whether they can have more.
    many: HashMap<u64, bool>,
    /// From which directory to which one was asked about last, and whether names cannot be given
    /// across.
    border: Option<(RelPath, RelPath, bool)>,
    /// Those among the collected ops.
    queued: HashSet<RelPath>,
    /// Entries that cannot have more names, each with a name in staging of the one that takes the
    /// rest: nobody else can give that to something else.
    full: HashMap<RelPath, Staged>,
    /// What is to take the place of the first one of the link that is being made.
    renewed: Option<Staged>,
    /// Where the entry was that got another name last: others come from there too.
    held_dir: Option<FirstDir>,
}

/// The directory of an entry that is to have another name.
#[derive(Clone, Debug)]
struct FirstDir {
    path: RelPath,
    fd: Arc<OwnedFd>,
    /// Whether nobody else can give its names to other entries.
    is_private: bool,
}

impl Links {
    pub(super) fn new(options: &Options) -> Self {
        let is_asked = options.hard_links && !options.atomic;
        Links {
            placed: is_asked.then(SpillMap::default),
            ..Links::default()
        }
    }

    /// Notes what is about to be put in place.
    pub(super) fn note(&mut self, path: &RelPath, number: impl FnOnce() -> Option<u64>) {
        if let Some(placed) = &mut self.placed
            && let Some(number) = number()
        {
            placed.set(&path.as_bytes(), &number.to_le_bytes());
        }
    }

    /// Whether what is `found` in place is what the link is to lead to, by its number, if
    /// that holds in `dir`.
    fn is_first(&self, link: &Link, found: &Inode, dir: &OwnedFd) -> bool {
        let judged = &link.judged;
        let placed = |path: &RelPath| {
            let number = self.placed.as_ref()?.get(&path.as_bytes())?;
            number.try_into().ok().map(u64::from_le_bytes)
        };
        let number = placed(&link.first).or_else(|| {
            let above = |path: &RelPath| path.split().map(|(dir, _)| dir);
            let mut dirs = std::iter::successors(above(&link.first), above);
            // In a directory that this push has made, nothing had been judged.
            let is_new = dirs.any(|dir| placed(&dir).is_some());
            judged.number.filter(|_| !is_new)
        });
        found.file_type() == judged.file_type
            && match number {
                Some(number) if number == found.number => true,
                Some(_) if numbers_hold(dir) => false,
                _ => judged.uid.is_none_or(|uid| uid == found.uid),
            }
    }
}

impl Commit {
    /// Whether the entry at `first`, which is `now`, can have no further name in `dir`.
    pub(crate) fn takes_no_name(&mut self, first: &RelPath, now: &Listed, dir: &RelPath) -> bool {
        self.is_full(first, now) || self.is_across(first, dir)
    }

    /// The same as far as can be told without trying: the name is on that device.
    pub(crate) fn may_take_no_name(now: &Listed, dev: u64) -> bool {
        now.nlink >= NAMES_USUAL || now.dev != dev
    }

    /// Whether the entry has as many names as its file system allows.
    fn is_full(&mut self, first: &RelPath, now: &Listed) -> bool {
        if now.nlink < NAMES_MIN {
            return false;
        }
        if let Some(is_full) = self.links.many.get(&now.ino) {
            return *is_full;
        }
        let is_full = self.has_no_room_for_names(first).unwrap_or(false);
        self.links.many.insert(now.ino, is_full);
        is_full
    }

    /// Whether the entry is where it can have no names in `dir`: what is staged for the one is not
    /// staged for the other. To try it would change an overlay.
    fn is_across(&mut self, first: &RelPath, dir: &RelPath) -> bool {
        let from = first.parent();
        match &self.links.border {
            _ if from == *dir => false,
            Some((a, b, is_across)) if (a, b) == (&from, dir) => *is_across,
            _ => {
                let mut session = |dir| self.try_stage(dir).map(|staged| staged.slot().session);
                let both = session(&from).and_then(|one| Ok((one, session(dir)?)));
                let is_across = both.is_ok_and(|(one, other)| one != other);
                self.links.border = Some((from, dir.clone(), is_across));
                is_across
            }
        }
    }

    fn has_no_room_for_names(&mut self, first: &RelPath) -> io::Result<bool> {
        let (dir, name) = first.split().ok_or(io::ErrorKind::InvalidInput)?;
        let fd = self.root.open_dir(&dir)?;
        let staged = self.try_stage(&dir)?;
        match link_to((&fd, name), &staged) {
            Err(Errno::MLINK) => Ok(true),
            result => {
                result?;
                drop_spare(&staged)?;
                Ok(false)
            }
        }
    }

    /// Makes a hard link.
    pub(crate) fn link(&mut self, link: Link) -> Result<(), Error> {
        if !self.is_atomic() {
            let is_in_place = self.batch.len() == self.links.queued.len();
            if !is_in_place || self.links.queued.contains(&link.first) {
                self.run()?;
                self.links.queued.clear();
            }
            if let Ok(()) = self.link_in_place(&link) {
                work::did(1);
                return Ok(());
            }
        }
        match self.stage_link(&link) {
            Ok(None) => Ok(()),
            Ok(Some(staged)) => {
                if let Some(renewed) = self.links.renewed.take()
                    && let Some((dir, name)) = link.first.split()
                {
                    self.place(&renewed, dir, name.to_vec(), Over::default())?;
                    self.links.queued.insert(link.first.clone());
                }
                let path = link.dir.join(&link.name);
                self.place(&staged, link.dir, link.name, link.over)?;
                if self.batch.is_empty() {
                    self.links.queued.clear();
                } else {
                    self.links.queued.insert(path);
                }
                Ok(())
            }
            Err(cause) => self.not_done("link", link.dir.join(&link.name), cause),
        }
    }

    /// Gives a free name to the entry. If that fails, for whatever reason, nothing has changed.
    fn link_in_place(&mut self, link: &Link) -> io::Result<()> {
        let (dir, name) = link.first.split().ok_or(io::ErrorKind::InvalidInput)?;
        let FirstDir { fd, is_private, .. } = self.first_dir(dir)?;
        let held = match is_private {
            true => None,
            false => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                Some(openat(&fd, name, flags, Mode::empty())?)
            }
        };
        let found = match &held {
            Some(held) => Inode::held(held)?,
            None => Inode::at(&fd, name)?.ok_or(io::ErrorKind::NotFound)?,
        };
        if !self.links.is_first(link, &found, &fd) {
            return Err(replaced());
        }
        let to = self.touch(&link.dir)?;
        match held {
            Some(held) => {
                let held = format!("/proc/self/fd/{}", held.as_raw_fd());
                linkat(CWD, held, to, &*link.name, AtFlags::SYMLINK_FOLLOW)?;
            }
            None => linkat(&fd, name, to, &*link.name, AtFlags::empty())?,
        }
        let path = link.dir.join(&link.name);
        self.links.note(&path, || Some(found.number));
        Ok(())
    }

    /// Opens the directory of an entry that is to have another name. If it is another one by now,
    /// what is found in it is not what was judged.
    fn first_dir(&mut self, path: RelPath) -> io::Result<FirstDir> {
        if let Some(held) = self
            .links
            .held_dir
            .as_ref()
            .filter(|held| held.path == path)
        {
            return Ok(held.clone());
        }
        let fd = Arc::new(self.root.open_dir(&path)?);
        let is_private = is_private(&fstat(&fd)?);
        let dir = FirstDir {
            path,
            fd,
            is_private,
        };
        self.links.held_dir = Some(dir.clone());
        Ok(dir)
    }

    /// Makes the link in staging; `None` if the name is one already.
    fn stage_link(&mut self, link: &Link) -> io::Result<Option<Staged>> {
        let (first_dir, first_name, is_staged) = self.first_of(&link.first)?;
        let first = Inode::at(&first_dir, &first_name)?.ok_or(io::ErrorKind::NotFound)?;
        let dir = self.open(&link.dir)?;
        // Two file systems may give the same number.
        if Inode::at(&dir, &link.name)?.is_some_and(|inode| inode.number == first.number)
            && fstat(&dir)?.st_dev == fstat(&first_dir)?.st_dev
        {
            return Ok(None);
        }
        let staged = self.try_stage(&link.dir)?;
        let from = (&*first_dir, &*first_name);
        match link_to(from, &staged) {
            Err(why) if is_no_room(why) || means_no_links(why) => {
                if !is_staged && !self.links.is_first(link, &first, &first_dir) {
                    return Err(replaced());
                }
                let is_stranger = why == Errno::XDEV && !is_staged && numbers_hold(&first_dir);
                let from = (first_dir, first_name);
                let staged = self.stage_beyond(link, (from, why), &first, staged)?;
                if is_stranger {
                    self.renew_first(link)?;
                }
                return Ok(Some(staged));
            }
            result => result?,
        }
        let linked = Inode::at(staged.stage.fd(), &staged.name)?.ok_or(io::ErrorKind::NotFound)?;
        if !is_staged && !self.links.is_first(link, &linked, &first_dir) {
            drop_spare(&staged)?;
            return Err(replaced());
        }
        Ok(Some(staged))
    }

    /// Makes the link to an inode that takes what the first one cannot.
    fn stage_beyond(
        &mut self,
        link: &Link,
        ((first_dir, first_name), why): ((Arc<OwnedFd>, Vec<u8>), Errno),
        first: &Inode,
        staged: Staged,
    ) -> io::Result<Staged> {
        if let Some(other) = self.links.full.get(&link.first) {
            match link_to((other.stage.fd(), &other.name), &staged) {
                Err(why) if is_no_room(why) => {}
                result => return Ok(result.map(|()| staged)?),
            }
        }
        let name = std::ffi::CString::new(&*first_name).map_err(|_| io::ErrorKind::InvalidInput)?;
        let scope = own_scope();
        let listed = stat(&first_dir, &name, scope)?;
        let (attrs, from) = (listed.attrs(scope), (&*first_dir, &*first_name));
        copy(from, &listed, &attrs, &staged.stage, &staged.name)?;
        // Neither what was examined nor what was copied may have been another one.
        let now = Inode::at(&first_dir, &first_name)?;
        let is_it = listed.ino == first.number || !numbers_hold(&first_dir);
        if !is_it || !first.is_still(now.as_ref(), &first_dir) {
            drop_spare(&staged)?;
            return Err(replaced());
        }
        let spare = self.try_stage(&link.dir)?;
        match link_to((staged.stage.fd(), &staged.name), &spare) {
            Ok(()) if is_no_room(why) => {}
            // No file there has a second name.
            Err(e) if e == why => return Ok(staged),
            // The first one alone may have none.
            result => {
                drop_spare(&staged)?;
                if result.is_ok() {
                    drop_spare(&spare)?;
                }
                return Err(why.into());
            }
        }
        let full = self.links.full.insert(link.first.clone(), spare);
        full.map_or(Ok(()), |full| drop_spare(&full))?;
        Ok(staged)
    }

    /// Stages what takes the place of the first one, if that does not belong to the project of its
    /// own directory: all names can be those of the inode that took the rest.
    fn renew_first(&mut self, link: &Link) -> io::Result<()> {
        if self.is_across(&link.first, &link.dir) {
            return Ok(());
        }
        let renewed = self.try_stage(&link.first.parent())?;
        if let Some(full) = self.links.full.get(&link.first) {
            link_to((full.stage.fd(), &full.name), &renewed)?;
            self.links.renewed = Some(renewed);
        }
        Ok(())
    }

    /// Gives up the names in staging that no entry of the tree comes from.
    pub(super) fn drop_spare_links(&mut self) {
        for (_, spare) in self.links.full.drain() {
            // It goes with its session otherwise.
            let _ = drop_spare(&spare);
        }
    }

    /// Where the entry is that will be at `first`: its directory, its name there, and whether that
    /// is where nobody else can change anything.
    fn first_of(&mut self, first: &RelPath) -> io::Result<(Arc<OwnedFd>, Vec<u8>, bool)> {
        let (dir, name) = first.split().ok_or(io::ErrorKind::InvalidInput)?;
        if let Some(pending) = &mut self.pending {
            if let Some(fd) = pending.open(&dir) {
                return Ok((Arc::new(fd?), name.to_vec(), true));
            }
            let placed = pending.placed_at(first).map_err(io::Error::other)?;
            if let Some(slot) = placed.as_ref().and_then(Op::slot) {
                let (slots, name) = self.roll.slot(slot)?;
                return Ok((slots, name, true));
            }
        }
        Ok((Arc::new(self.root.open_dir(&dir)?), name.to_vec(), false))
    }
}

/// Whether a link fails with that where a further inode can take the rest.
fn is_no_room(why: Errno) -> bool {
    matches!(why, Errno::MLINK | Errno::XDEV)
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
