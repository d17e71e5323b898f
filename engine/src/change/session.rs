//! One staging directory: `.hasync/stage/<session>` in the directory that holds it, and what of the
//! target it serves.
//!
//! What is made in a directory gets what that one hands on. So that staging changes nothing about
//! it, such entries are made in a directory of the session that hands on the same.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, FsWord, Mode, OFlags, fchmod, fchown, fstat, fstatfs, mkdirat, openat, renameat,
    unlinkat,
};
use rustix::io::Errno;

use super::op::Slot;
use crate::entry::Time;
use crate::fs::{
    Attrs, DeepDirs, HandedOn, Lock, Root, drop_default_acl, hints_at_extents, open_own,
    remove_tree, set_fd_attrs,
};
use crate::path::{RESERVED_NAME, RelPath};

pub(super) const STAGE_NAME: &[u8] = b"stage";

/// A name in a session, for a moment.
const CROSSING: &[u8] = b"crossing";

/// How often a session's directory is made again when another session's cleaning races it.
const MAKE_ATTEMPTS: usize = 10;

/// How long a session's new directory is waited for that a cleaner takes for a dead one's.
const CLEANING_WAIT: Duration = Duration::from_secs(10);

/// A directory to make entries in.
#[derive(Debug)]
pub(crate) struct StageDir {
    fd: Arc<OwnedFd>,
    /// Position of its session among those of this push.
    session: u32,
    /// Where it is in its session's directory.
    within: RelPath,
    /// Whether what is made in it gets no default ACL.
    is_plain: bool,
    deep: DeepDirs,
}

impl StageDir {
    pub(crate) fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Opens the directory at `path` in it.
    pub(crate) fn open_dir(&self, path: &RelPath) -> io::Result<OwnedFd> {
        self.deep.open(&self.fd, path)
    }

    /// Whether what is made in it gets no default ACL.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// What a journal calls the entry `name` in it.
    pub(crate) fn slot(&self, name: &[u8]) -> Slot {
        Slot {
            session: self.session,
            path: self.within.join(name),
        }
    }
}

/// One staging directory.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) plain: Lock<Arc<StageDir>>,
    /// What that hands on.
    plain_hands_on: HandedOn,
    /// Directories in it that hand something else on.
    others: HashMap<HandedOn, Arc<StageDir>>,
    pub(super) mount: (u64, u64),
    borders: Borders,
    /// The directory that holds its `.hasync`, and its path.
    pub(super) holder: OwnedFd,
    pub(super) holder_path: RelPath,
    pub(super) name: Vec<u8>,
}

/// Where the file system of a session may refuse to move a name into a directory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Borders {
    /// Where flags of the directory say so.
    Flagged,
    /// And where a directory hints at the extents of files, which no other can be made to.
    Hinted,
    /// Anywhere.
    Unknown,
}

impl AsFd for StageDir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Session {
    /// Makes one in the directory `holder`, at `holder_path`.
    pub(super) fn make(
        holder: OwnedFd,
        holder_path: RelPath,
        mount: (u64, u64),
        number: u32,
    ) -> io::Result<Session> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = format!("{:016x}", u64::from_le_bytes(random)).into_bytes();
        let mut last = Errno::NOENT;
        for _ in 0..MAKE_ATTEMPTS {
            match keeping_time(&holder, || try_make(&holder, &name, number))? {
                Ok(plain) => {
                    return Ok(Session {
                        plain_hands_on: HandedOn::by(plain.fd()).0.without_acl(),
                        plain,
                        others: HashMap::new(),
                        mount,
                        borders: borders_in(&holder)?,
                        holder,
                        holder_path,
                        name,
                    });
                }
                // Another session removed a directory that was empty for a moment.
                Err(Errno::NOENT) => last = Errno::NOENT,
                Err(e) => return Err(e.into()),
            }
        }
        Err(last.into())
    }
}

impl Session {
    /// Whether what is staged in it can be moved into `dir`, of which that is known, and is there
    /// as if it had been made there.
    pub(super) fn reaches(
        &self,
        dir: &OwnedFd,
        (_, is_flagged): &(HandedOn, bool),
    ) -> io::Result<bool> {
        if self.borders == Borders::Hinted
            && hints_at_extents(dir)
            && !hints_at_extents(self.plain.fd())
        {
            return Ok(false);
        }
        if !is_flagged && self.borders != Borders::Unknown {
            return Ok(true);
        }
        self.crosses_into(dir)
    }

    /// The directory in which new entries get what this is.
    pub(super) fn handing_on(&mut self, handed_on: &HandedOn) -> io::Result<Arc<StageDir>> {
        if *handed_on == self.plain_hands_on {
            return Ok(Arc::clone(&self.plain));
        }
        if let Some(made) = self.others.get(handed_on) {
            return Ok(Arc::clone(made));
        }
        let name = format!("like-{}", self.others.len()).into_bytes();
        mkdir_if_missing(&self.plain.fd, &name)?;
        let fd = open_own(&self.plain.fd, &name)?;
        handed_on.give_to(&fd)?;
        let made = Arc::new(StageDir {
            fd: Arc::new(fd),
            session: self.plain.session,
            within: RelPath::root().join(&name),
            is_plain: handed_on.has_no_acl(),
            deep: DeepDirs::default(),
        });
        self.others.insert(handed_on.clone(), Arc::clone(&made));
        Ok(made)
    }

    /// Whether names can be moved from it into `dir`: tried with an empty directory, which is gone
    /// again afterwards.
    pub(super) fn crosses_into(&self, dir: &OwnedFd) -> io::Result<bool> {
        let session = self.plain.fd();
        mkdir_if_missing(session, CROSSING)?;
        let moved = keeping_time(dir, || {
            renameat(session, CROSSING, dir, RESERVED_NAME)?;
            unlinkat(dir, RESERVED_NAME, AtFlags::REMOVEDIR)
        })?;
        if let Err(e) = moved {
            // It goes with the session otherwise.
            let _ = unlinkat(session, CROSSING, AtFlags::REMOVEDIR);
            // Any other trouble is not one of borders: it is met, and told, when it matters.
            return Ok(e != Errno::XDEV);
        }
        Ok(true)
    }
}

/// An error that says what is in the way of a `.hasync` and what to do about it, if something is.
pub(crate) fn not_ours(root: &Root, holder: &RelPath, e: io::Error) -> io::Error {
    let why = match Errno::from_io_error(&e) {
        Some(Errno::PERM) => "belongs to another user, or can be changed by others",
        Some(Errno::NOTDIR | Errno::LOOP) => "is not a directory",
        _ => return e,
    };
    let shown = root.shown(&holder.join(RESERVED_NAME));
    io::Error::new(e.kind(), format!("{shown} {why}: remove it"))
}

fn borders_in(dir: &OwnedFd) -> io::Result<Borders> {
    const XFS: FsWord = 0x5846_5342;
    const FUSE: FsWord = 0x6573_5546;
    Ok(match fstatfs(dir)?.f_type {
        XFS => Borders::Hinted,
        FUSE => Borders::Unknown,
        _ => Borders::Flagged,
    })
}

/// Does what changes the names in `dir`, which keeps its time as far as this user may set it.
fn keeping_time<T>(dir: &OwnedFd, change: impl FnOnce() -> T) -> io::Result<T> {
    let before = fstat(dir)?;
    let done = change();
    let mtime = Some(Time::found(before.st_mtime, before.st_mtime_nsec));
    let attrs = Attrs {
        mtime,
        ..Attrs::default()
    };
    let _ = set_fd_attrs(&File::from(dir.try_clone()?), &attrs);
    Ok(done)
}

/// Opens a directory once more, to list it or to make something in it.
pub(super) fn reopen(dir: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(dir, ".", flags, Mode::empty())?)
}

fn try_make(
    holder: &OwnedFd,
    session: &[u8],
    number: u32,
) -> rustix::io::Result<Lock<Arc<StageDir>>> {
    mkdir_if_missing(holder, RESERVED_NAME)?;
    let reserved = open_own(holder, RESERVED_NAME)?;
    mkdir_if_missing(&reserved, STAGE_NAME)?;
    let stage = open_own(&reserved, STAGE_NAME)?;
    mkdir_if_missing(&stage, session)?;
    let made = Arc::new(StageDir {
        fd: Arc::new(open_own(&stage, session)?),
        session: number,
        within: RelPath::root(),
        is_plain: true,
        deep: DeepDirs::default(),
    });
    let made = Lock::take(made, Instant::now() + CLEANING_WAIT)?.map_err(|_| Errno::WOULDBLOCK)?;
    let fd = made.fd();
    // A setgid directory passes its group on to what is made in it: not to what is staged here and
    // belongs elsewhere.
    // Where that cannot be, neither can what is staged have another.
    let _ = fchown(fd, None, Some(rustix::process::getegid()));
    let _ = fchmod(fd, Mode::RWXU);
    // No more does a default ACL.
    drop_default_acl(fd);
    // A cleaner may have removed it before it was locked.
    open_own(&stage, session)?;
    Ok(made)
}

fn mkdir_if_missing(dir: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    match mkdirat(dir, name, Mode::RWXU) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

fn open_dir(dir: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// The session's directory, locked, if nobody else has it.
pub(crate) fn lock_session(stage: &OwnedFd, session: &[u8]) -> Option<Lock<OwnedFd>> {
    Lock::try_take(open_own(stage, session).ok()?)
}

/// Opens the directory that holds the sessions of the `.hasync` in `holder`.
pub(crate) fn open_stage(holder: impl AsFd) -> io::Result<OwnedFd> {
    let reserved = open_own(holder, RESERVED_NAME)?;
    Ok(open_own(&reserved, STAGE_NAME)?)
}

/// Removes a session, and with the last one the `.hasync` in `holder`.
pub(crate) fn remove_session(holder: &OwnedFd, session: &[u8]) -> io::Result<()> {
    let stage = open_stage(holder)?;
    remove_tree(&stage, session)?;
    keeping_time(holder, || remove_if_empty(holder))?
}

/// Removes the directory of the sessions and `.hasync` in `holder` where they are empty.
pub(crate) fn remove_if_empty(holder: &OwnedFd) -> io::Result<()> {
    let reserved = match open_dir(holder, RESERVED_NAME) {
        Ok(reserved) => reserved,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    for (dir, name) in [(&reserved, STAGE_NAME), (holder, RESERVED_NAME)] {
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Another session's.
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
