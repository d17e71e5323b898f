//! Staging: where entries are made before they become visible. `.hasync/stage/<session>` in the
//! target root, mode 0700, locked for as long as the session lives. A directory that names cannot
//! be moved into from there (another mount) gets a `.hasync` of its own.
//!
//! What is made in a directory with a default ACL gets that ACL from the kernel. So that staging
//! changes nothing about it, such entries are made in a directory of the session that has the same
//! default ACL, and the session's own has none, whatever the target root passes on.
//!
//! `.hasync` exists on disk from before the first change of a push until after its last one: an
//! interrupted push leaves at most that, and the next one removes it. If it is an atomic one whose
//! connection broke, the next one takes from there what it needs.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, Mode, OFlags, XattrFlags, fchmod, fchown, fgetxattr, fremovexattr, fsetxattr, mkdirat,
    openat, unlinkat,
};
use rustix::io::Errno;

use super::op::{SessionPlace, Slot};
use crate::fs::{DeepDirs, DirId, Lock, Root, dir_id, names, open_private, remove_tree};
use crate::path::{RESERVED_NAME, RelPath};

const STAGE_NAME: &[u8] = b"stage";

/// The attribute that holds a directory's default ACL.
const DEFAULT_ACL: &str = "system.posix_acl_default";

/// Longest default ACL that is passed on, in bytes: 8,191 of its entries.
const ACL_LEN_MAX: usize = 1 << 16;

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
    deep: DeepDirs,
}

impl StageDir {
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Opens the directory at `path` in it.
    pub(crate) fn open_dir(&self, path: &RelPath) -> io::Result<OwnedFd> {
        self.deep.open(&self.fd, path)
    }

    /// Whether what is made in it gets no default ACL.
    pub(crate) fn is_plain(&self) -> bool {
        self.within.is_root()
    }

    /// What a journal calls the entry `name` in it.
    pub(crate) fn slot(&self, name: &[u8]) -> Slot {
        Slot {
            session: self.session,
            path: self.within.join(name),
        }
    }
}

/// The staging of one session on one mount.
#[derive(Debug)]
struct Session {
    plain: Lock<Arc<StageDir>>,
    /// Directories in it that pass a default ACL on, by that ACL.
    by_acl: HashMap<Vec<u8>, Arc<StageDir>>,
    /// The directory that holds its `.hasync`, and its path.
    holder: OwnedFd,
    holder_path: RelPath,
    name: Vec<u8>,
}

impl AsFd for StageDir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// All staging directories of one session, made when first needed.
#[derive(Debug)]
pub(crate) struct Stage {
    root: Arc<Root>,
    by_mount: HashMap<(u64, u64), Session>,
    /// The directory that was asked about last, and the answer: files come directory by directory.
    last: Option<(Arc<OwnedFd>, Arc<StageDir>)>,
    next_name: u64,
}

impl Stage {
    pub(crate) fn new(root: Arc<Root>) -> Self {
        Stage {
            root,
            by_mount: HashMap::new(),
            last: None,
            next_name: 0,
        }
    }

    /// The staging directory whose entries can be moved into the open directory `dir`.
    pub(crate) fn for_dir(
        &mut self,
        dir: &Arc<OwnedFd>,
        path: &RelPath,
    ) -> io::Result<Arc<StageDir>> {
        if let Some(stage) = self.held_for(dir) {
            return Ok(Arc::clone(stage));
        }
        let stage = self.find_for(dir, path)?;
        self.last = Some((Arc::clone(dir), Arc::clone(&stage)));
        Ok(stage)
    }

    fn held_for(&self, dir: &Arc<OwnedFd>) -> Option<&Arc<StageDir>> {
        let (held, stage) = self.last.as_ref()?;
        Arc::ptr_eq(held, dir).then_some(stage)
    }

    fn find_for(&mut self, dir: &OwnedFd, path: &RelPath) -> io::Result<Arc<StageDir>> {
        let DirId { mount, .. } = dir_id(dir)?;
        let acl = default_acl(dir);
        if let Some(session) = self.by_mount.get_mut(&mount) {
            return session.for_acl(acl);
        }
        let root_mount = dir_id(&*self.root)?.mount;
        let number = self.by_mount.len() as u32;
        let made = if mount == root_mount {
            // An unprivileged receiver may have no right to the root, but to what is below it.
            make(&*self.root, RelPath::root(), number)
                .or_else(|e| make(dir, path.clone(), number).map_err(|_| e))
        } else {
            make(dir, path.clone(), number)
        };
        self.by_mount.entry(mount).or_insert(made?).for_acl(acl)
    }

    /// Where the sessions are, in the order of their numbers.
    pub(crate) fn places(&self) -> Vec<SessionPlace> {
        let place = |session: &Session| SessionPlace {
            holder: session.holder_path.clone(),
            within: RelPath::root().join(STAGE_NAME),
            name: session.name.clone(),
        };
        self.in_order().into_iter().map(place).collect()
    }

    /// Leaves the sessions as they are: a journal answers for them now.
    pub(crate) fn forget(&mut self) {
        self.last = None;
        self.by_mount.clear();
    }

    /// The directories of the sessions, in the order of their numbers.
    pub(super) fn sessions(&self) -> Vec<Arc<OwnedFd>> {
        let sessions = self.in_order().into_iter();
        sessions
            .map(|session| Arc::clone(&session.plain.fd))
            .collect()
    }

    fn in_order(&self) -> Vec<&Session> {
        let mut sessions: Vec<&Session> = self.by_mount.values().collect();
        sessions.sort_unstable_by_key(|session| session.plain.session);
        sessions
    }

    /// Leaves what is staged in the target root's own session for the next push: `left` says what,
    /// and where it belongs, which `note` writes down there, as paths in the session and in the
    /// tree. All other sessions are removed.
    pub(crate) fn leave(
        &mut self,
        left: impl Iterator<Item = (Slot, RelPath)>,
        note: impl FnOnce(&OwnedFd, Vec<(RelPath, RelPath)>) -> io::Result<()>,
    ) -> io::Result<()> {
        let is_own = |session: &Session| session.holder_path.is_root();
        let Some(mount) = self.by_mount.iter().find(|(_, session)| is_own(session)) else {
            return Ok(());
        };
        let (mount, session) = (*mount.0, mount.1);
        let of_session = |(slot, path): (Slot, RelPath)| {
            (slot.session == session.plain.session).then_some((slot.path, path))
        };
        let left: Vec<_> = left.filter_map(of_session).collect();
        if !left.is_empty() {
            note(session.plain.fd(), left)?;
            self.by_mount.remove(&mount);
        }
        self.remove()
    }

    /// Whether [`for_dir`](Self::for_dir) would have to make a staging directory.
    pub(crate) fn is_new(&self, dir: &Arc<OwnedFd>) -> io::Result<bool> {
        Ok(self.held_for(dir).is_none() && !self.by_mount.contains_key(&dir_id(dir)?.mount))
    }

    /// A name that no other entry of this session's staging has.
    pub(crate) fn fresh_name(&mut self) -> Vec<u8> {
        self.next_name += 1;
        format!("{}", self.next_name).into_bytes()
    }

    /// One descriptor for every mount that was staged on, to flush it by.
    pub(crate) fn mounts(&self) -> Vec<Arc<StageDir>> {
        let plain = |session: &Session| Arc::clone(&session.plain);
        self.by_mount.values().map(plain).collect()
    }

    /// Removes this session's staging, and `.hasync` itself where nothing else needs it.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        self.last = None;
        let mut result = Ok(());
        for (_, session) in self.by_mount.drain() {
            let removed = remove_session(&session.holder, &session.name);
            result = result.and(removed);
        }
        result
    }
}

impl Session {
    /// The directory in which new entries get what a directory with this default ACL gives them.
    fn for_acl(&mut self, acl: Vec<u8>) -> io::Result<Arc<StageDir>> {
        if acl.is_empty() {
            return Ok(Arc::clone(&self.plain));
        }
        if let Some(made) = self.by_acl.get(&acl) {
            return Ok(Arc::clone(made));
        }
        let name = format!("acl-{}", self.by_acl.len()).into_bytes();
        mkdir_if_missing(&self.plain.fd, &name)?;
        let fd = open_private(&self.plain.fd, &name)?;
        fsetxattr(&fd, DEFAULT_ACL, &acl, XattrFlags::empty())?;
        let made = Arc::new(StageDir {
            fd: Arc::new(fd),
            session: self.plain.session,
            within: RelPath::root().join(&name),
            deep: DeepDirs::default(),
        });
        self.by_acl.insert(acl, Arc::clone(&made));
        Ok(made)
    }
}

/// The default ACL of a directory as the kernel has it; empty if there is none.
fn default_acl(dir: &OwnedFd) -> Vec<u8> {
    let mut acl = Vec::with_capacity(256);
    let mut read = fgetxattr(dir, DEFAULT_ACL, rustix::buffer::spare_capacity(&mut acl));
    if read == Err(Errno::RANGE) {
        acl.reserve(ACL_LEN_MAX);
        read = fgetxattr(dir, DEFAULT_ACL, rustix::buffer::spare_capacity(&mut acl));
    }
    // A file system without ACLs is one whose directories have none.
    if read.is_err() {
        acl.clear();
    }
    acl
}

impl Drop for Stage {
    fn drop(&mut self) {
        // After an error: give the space back. What cannot be removed, the next push removes.
        let _ = self.remove();
    }
}

/// Removes what interrupted sessions left in the `.hasync` of directory `dir` of `root`; sessions
/// still running hold their lock and are left alone, and so are those `needed` by interrupted
/// commits. Returns whether there was anything.
pub(crate) fn clean_leftovers(
    root: &Root,
    dir: &RelPath,
    needed: impl FnOnce() -> io::Result<Vec<Vec<u8>>>,
) -> io::Result<bool> {
    let holder = root.open_dir(dir)?;
    let stage = match open_stage(&holder) {
        Ok(stage) => stage,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // Killed between two steps of making or removing it.
            return Ok(unlinkat(&holder, RESERVED_NAME, AtFlags::REMOVEDIR).is_ok());
        }
        Err(e) => return Err(e),
    };
    let mut any = false;
    let needed = needed()?;
    for session in names(&stage)? {
        if needed.contains(&session) {
            continue;
        }
        if lock_session(&stage, &session).is_some() {
            remove_tree(&stage, &session)?;
            any = true;
        }
    }
    remove_if_empty(&holder)?;
    Ok(any)
}

fn make(holder: impl AsFd, holder_path: RelPath, number: u32) -> io::Result<Session> {
    let holder = openat(
        &holder,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let name = format!("{:016x}", u64::from_le_bytes(random)).into_bytes();
    let mut last = Errno::NOENT;
    for _ in 0..MAKE_ATTEMPTS {
        match try_make(&holder, &name, number) {
            Ok(plain) => {
                return Ok(Session {
                    plain,
                    by_acl: HashMap::new(),
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

fn try_make(
    holder: &OwnedFd,
    session: &[u8],
    number: u32,
) -> rustix::io::Result<Lock<Arc<StageDir>>> {
    mkdir_if_missing(holder, RESERVED_NAME)?;
    let reserved = open_private(holder, RESERVED_NAME)?;
    mkdir_if_missing(&reserved, STAGE_NAME)?;
    let stage = open_private(&reserved, STAGE_NAME)?;
    mkdir_if_missing(&stage, session)?;
    let made = Arc::new(StageDir {
        fd: Arc::new(open_private(&stage, session)?),
        session: number,
        within: RelPath::root(),
        deep: DeepDirs::default(),
    });
    let made = Lock::take(made, Instant::now() + CLEANING_WAIT)?.map_err(|_| Errno::WOULDBLOCK)?;
    let fd = made.fd();
    // A setgid directory passes its group on to what is made in it: not to what is staged here and
    // belongs elsewhere.
    fchown(fd, None, Some(rustix::process::getegid()))?;
    fchmod(fd, Mode::RWXU)?;
    // No more does a default ACL. Without one, or on a file system without any, this fails.
    let _ = fremovexattr(fd, DEFAULT_ACL);
    // A cleaner may have removed it before it was locked.
    open_private(&stage, session)?;
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
    Lock::try_take(open_private(stage, session).ok()?)
}

/// Opens the directory that holds the sessions of the `.hasync` in `holder`.
pub(crate) fn open_stage(holder: impl AsFd) -> io::Result<OwnedFd> {
    let reserved = open_private(holder, RESERVED_NAME)?;
    Ok(open_private(&reserved, STAGE_NAME)?)
}

/// Removes a session, and with the last one the `.hasync` in `holder`.
pub(crate) fn remove_session(holder: &OwnedFd, session: &[u8]) -> io::Result<()> {
    let stage = open_stage(holder)?;
    remove_tree(&stage, session)?;
    remove_if_empty(holder)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn leftovers_go_and_running_sessions_stay() {
        let temp = tempfile::tempdir().unwrap();
        let root = Arc::new(Root::open(temp.path()).unwrap());
        let dir = Arc::new(root.open_dir(&RelPath::root()).unwrap());
        let mut running = Stage::new(Arc::clone(&root));
        running.for_dir(&dir, &RelPath::root()).unwrap();
        let session = running.by_mount.values().next().unwrap().name.clone();
        let left = temp.path().join(".hasync/stage/dead");
        std::fs::create_dir_all(left.join("deep/er")).unwrap();
        assert!(clean_leftovers(&root, &RelPath::root(), || Ok(Vec::new())).unwrap());
        assert!(!left.exists());
        let session = String::from_utf8(session).unwrap();
        assert!(temp.path().join(".hasync/stage").join(session).exists());
        running.remove().unwrap();
        assert!(!temp.path().join(".hasync").exists());
        assert!(!clean_leftovers(&root, &RelPath::root(), || Ok(Vec::new())).unwrap());
    }
}
