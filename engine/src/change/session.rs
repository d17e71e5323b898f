//! One staging directory: `.hasync/stage/<session>` in the directory that holds it, and what of the
//! target it serves. Where somebody has put something else under that name, a plain push, which
//! has no journal to be found there, uses another spelling, which is as reserved.
//!
//! What is made in a directory gets what that one hands on. So that staging changes nothing about
//! it, such entries are made in a directory of the session that hands on the same.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, FsWord, Mode, OFlags, fchmod, fchown, fstatfs, mkdirat, openat, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;

use super::op::Slot;
use super::place::place_new;
use crate::fs::{
    DIR_FLAGS, DeepDirs, HandedOn, Lock, Root, Stuck, dir_id, drop_default_acl, has_name,
    hints_at_extents, is_bordered, keeping_time, open_own, remove_own_tree,
};
use crate::path::{RESERVED_NAME, RelPath, STAND_IN_NAME};

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
    /// What its `.hasync` is called.
    pub(super) reserved: &'static [u8],
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
    /// Makes one in the directory `holder`, at `holder_path`, in what is called `reserved` there.
    pub(super) fn make(
        holder: OwnedFd,
        holder_path: RelPath,
        reserved: &'static [u8],
        mount: (u64, u64),
        number: u32,
    ) -> io::Result<Session> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = format!("{:016x}", u64::from_le_bytes(random)).into_bytes();
        let mut last = Errno::NOENT;
        for _ in 0..MAKE_ATTEMPTS {
            match keeping_time(&holder, || try_make(&holder, reserved, &name, number))? {
                Ok(plain) => {
                    return Ok(Session {
                        plain_hands_on: HandedOn::by(plain.fd()).0.without_acl(),
                        plain,
                        others: HashMap::new(),
                        mount,
                        borders: borders_in(&holder)?,
                        holder,
                        holder_path,
                        reserved,
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
        let handed_on = handed_on.clone().labelled_as(&self.plain_hands_on);
        if handed_on == self.plain_hands_on {
            return Ok(Arc::clone(&self.plain));
        }
        if let Some(made) = self.others.get(&handed_on) {
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
        self.others.insert(handed_on, Arc::clone(&made));
        Ok(made)
    }

    /// Whether names can be moved from it into `dir`: tried with an empty directory, which is gone
    /// again afterwards.
    pub(super) fn crosses_into(&self, dir: &OwnedFd) -> io::Result<bool> {
        let session = self.plain.fd();
        mkdir_if_missing(session, CROSSING)?;
        let cross = |name: &[u8]| {
            keeping_time(dir, || {
                place_new(session, CROSSING, dir, name)?;
                unlinkat(dir, name, AtFlags::REMOVEDIR)
            })
        };
        // Another session, or something else, may have the one name.
        let moved = match cross(RESERVED_NAME)? {
            Err(Errno::EXIST) => cross(STAND_IN_NAME)?,
            moved => moved,
        };
        if let Err(e) = moved {
            // It goes with the session otherwise.
            let _ = unlinkat(session, CROSSING, AtFlags::REMOVEDIR);
            // Any other trouble is not one of borders: it is met, and told, when it matters.
            return Ok(e != Errno::XDEV);
        }
        Ok(true)
    }
}

/// What is in the way of the `.hasync` of `holder`, which is at `path`, and what to do about it, if
/// it is that by which `e` came about.
pub(super) fn in_the_way(
    root: &Root,
    path: &RelPath,
    holder: impl AsFd,
    e: &io::Error,
) -> Option<String> {
    let to_do = match Errno::from_io_error(e)? {
        Errno::PERM | Errno::ACCESS => {
            "belongs to another user, or can be changed by others: remove it"
        }
        Errno::NOTDIR | Errno::LOOP => "is not a directory: remove it",
        Errno::XDEV => "is a mount point: unmount it",
        _ => return None,
    };
    // It may as well be the directory that lets nothing be made.
    statat(holder, RESERVED_NAME, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(format!("{} {to_do}", root.shown(&path.join(RESERVED_NAME))))
}

/// An error that says what is in the way of the root's `.hasync`, if something is.
pub(crate) fn not_ours(root: &Root, e: io::Error) -> io::Error {
    match in_the_way(root, &RelPath::root(), root, &e) {
        Some(said) => io::Error::new(e.kind(), said),
        None => e,
    }
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

/// Opens a directory once more, to list it or to make something in it.
pub(super) fn reopen(dir: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(dir, ".", flags, Mode::empty())?)
}

fn try_make(
    holder: &OwnedFd,
    reserved: &[u8],
    session: &[u8],
    number: u32,
) -> rustix::io::Result<Lock<Arc<StageDir>>> {
    mkdir_if_missing(holder, reserved)?;
    let reserved = open_own(holder, reserved)?;
    if is_elsewhere(holder, &reserved) {
        return Err(Errno::XDEV);
    }
    mkdir_if_missing(&reserved, STAGE_NAME)?;
    let stage = open_own(&reserved, STAGE_NAME)?;
    make_session(holder, &stage, session)?;
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

/// Makes a session's directory in `stage`. If `holder` was given to a project after its `.hasync`
/// was made, it is made there, to belong to that as well.
fn make_session(holder: &OwnedFd, stage: &OwnedFd, session: &[u8]) -> rustix::io::Result<()> {
    let comes_from_holder = is_bordered(holder)
        && !is_bordered(stage)
        && mkdirat(holder, STAND_IN_NAME, Mode::RWXU).is_ok();
    if comes_from_holder {
        if renameat(holder, STAND_IN_NAME, stage, session).is_ok() {
            return Ok(());
        }
        unlinkat(holder, STAND_IN_NAME, AtFlags::REMOVEDIR)?;
    }
    mkdir_if_missing(stage, session)
}

/// Whether something is mounted on what was opened in `holder`.
fn is_elsewhere(holder: &OwnedFd, opened: &OwnedFd) -> bool {
    let mount = |dir: &OwnedFd| dir_id(dir).ok().map(|id| id.mount);
    mount(holder) != mount(opened)
}

fn mkdir_if_missing(dir: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    match mkdirat(dir, name, Mode::RWXU) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

fn open_dir(dir: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    openat(dir, name, DIR_FLAGS, Mode::empty())
}

/// The session's directory, locked, if nobody else has it.
pub(crate) fn lock_session(stage: &OwnedFd, session: &[u8]) -> Option<Lock<OwnedFd>> {
    Lock::try_take(open_own(stage, session).ok()?)
}

/// Opens the directory that holds the sessions of what is called `reserved` in `holder`.
pub(crate) fn open_stage(holder: impl AsFd, reserved: &[u8]) -> io::Result<OwnedFd> {
    let reserved = open_own(holder, reserved)?;
    Ok(open_own(&reserved, STAGE_NAME)?)
}

/// Removes a session, and with the last one what is called `reserved` in `holder`. What has to stay
/// is below that.
pub(crate) fn remove_session(
    holder: &OwnedFd,
    reserved: &[u8],
    session: &[u8],
) -> Result<(), Stuck> {
    let stage = open_stage(holder, reserved)?;
    remove_own_tree(&stage, session).map_err(|stuck| Stuck {
        below: RelPath::root()
            .join(STAGE_NAME)
            .join(session)
            .join_path(&stuck.below),
        ..stuck
    })?;
    Ok(keeping_time(holder, || remove_if_empty(holder, reserved))??)
}

/// Removes the directory of the sessions, and what is called `reserved` in `holder`, where they
/// are empty.
pub(crate) fn remove_if_empty(holder: &OwnedFd, reserved: &[u8]) -> io::Result<()> {
    let opened = match open_dir(holder, reserved) {
        Ok(opened) => opened,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    for (dir, name) in [(&opened, STAGE_NAME), (holder, reserved)] {
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Another session's.
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
            Err(Errno::PERM) if has_name(&open_dir(dir, name)?, |_| true)? => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
