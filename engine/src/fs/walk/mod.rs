//! The walk to what a path names, for paths that users, configurations and peers give: component
//! by component on held descriptors, so that nothing that is renamed or planted meanwhile leads
//! elsewhere. A trailing slash, `/.` and `//` mean nothing.
//!
//! A symlink is followed only if root or this user owns it, as rsync 3.5.0 has it: its owner alone
//! decided what it says. Who else may write to the directory can remove it, or move another link of
//! its owner there, but not make one. A hard link is the exception, which anybody may make of
//! anybody's symlink where `fs.protected_hardlinks` is off: a symlink with several names counts
//! only where nobody else may write.

mod error;
mod led;
mod log;
mod nearest;
mod open;
mod put;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, Stat, fstat, fstatfs, openat, readlinkat,
};
use rustix::io::Errno;

pub use error::{PathCause, PathError};
pub(crate) use led::{Led, follow_from};
pub use log::open_log;
pub(crate) use nearest::{Nearest, make_dir, nearest};
pub use open::{hold, only_files, open_file};
pub use put::{Existing, make_dirs, put_file};

use crate::path::is_reserved;

/// Symlinks followed in one walk: as many as the kernel follows.
const LINKS_MAX: u32 = 40;

/// Search permission is enough to hold a directory like this.
const HELD_DIR: OFlags = HELD.union(OFlags::DIRECTORY);
const HELD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Which symlinks are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    /// None, and no `..` either: the path stays beneath its start.
    Never,
    /// Those of root and of this user, as long as they lead neither out of the start nor into what
    /// is hasync's own.
    Beneath,
    /// Those of root and of this user.
    Trusted,
    /// Whoever made them.
    Any,
}

/// What a walk has come to: the start, a directory or a symlink on the way, or the end.
#[derive(Debug)]
pub struct Step<'a> {
    /// The path that it was reached by, without symlinks.
    pub path: &'a Path,
    /// Its owner.
    pub uid: u32,
    /// Its type and permission bits, as `st_mode` has them.
    pub mode: u32,
    /// How many names it has.
    pub nlink: u64,
}

impl Step<'_> {
    /// Whether root or this user owns it.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        is_trusted(self.uid)
    }

    /// Whether it is a symlink, which is about to be followed.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Symlink
    }
}

/// Says in words why a step of a walk is refused, if it is: they complete a sentence that begins
/// with its path.
pub type Judge<'a> = dyn FnMut(&Step<'_>) -> Result<(), String> + 'a;

/// What is at the end of a path to a directory.
#[derive(Debug)]
pub(crate) enum Place {
    /// The directory itself, open for reading.
    Dir(OwnedFd),
    /// Something else than a directory.
    Other(Spot),
    /// Nothing, but the directory that it would be in is there.
    Missing(Spot),
}

/// A name in a held directory.
#[derive(Debug)]
pub(crate) struct Spot {
    pub(crate) dir: OwnedFd,
    pub(crate) dir_path: PathBuf,
    pub(crate) name: Vec<u8>,
    /// A symlink is there, which leads to what was found.
    pub(crate) is_symlink: bool,
}

/// Walks to the directory that a path names.
pub(crate) fn find_dir(
    path: &Path,
    follow: Follow,
    judge: &mut Judge<'_>,
) -> Result<Place, PathError> {
    Walk::new(path, follow, judge)?.place()
}

/// Walks to a directory beneath a held one, without symlinks; `start_path` is for messages.
pub(crate) fn find_dir_beneath(
    start: impl AsFd,
    start_path: &Path,
    path: &Path,
    judge: &mut Judge<'_>,
) -> Result<Place, PathError> {
    Walk::beneath(start, start_path, path, judge)?.place()
}

/// Opens the directory that a path names.
pub(crate) fn open_dir(path: &Path, follow: Follow) -> Result<OwnedFd, PathError> {
    let failed = |spot: Spot, e: Errno| {
        let path = spot.dir_path.join(OsString::from_vec(spot.name));
        PathError::new(path, PathCause::Io(e.into()))
    };
    match find_dir(path, follow, &mut |_| Ok(()))? {
        Place::Dir(fd) => Ok(fd),
        Place::Other(spot) => Err(failed(spot, Errno::NOTDIR)),
        Place::Missing(spot) => Err(failed(spot, Errno::NOENT)),
    }
}

/// Where a walk has ended, seen from the directory that it holds.
enum Landed {
    Dir,
    Other(Vec<u8>, Box<Stat>),
    Missing(Vec<u8>),
}

struct Walk<'w, 'j> {
    follow: Follow,
    judge: &'w mut Judge<'j>,
    /// The directory that the next component is in.
    at: OwnedFd,
    at_stat: Box<Stat>,
    at_path: PathBuf,
    /// What has been passed on the way down: `..` must lead back to it.
    above: Vec<(u64, u64)>,
    /// What is still to be walked, the last component first.
    rest: Vec<Vec<u8>>,
    links_left: u32,
    /// The symlink by which the last component of the given path is reached.
    entry: Option<Spot>,
    /// The end was reached by a link of `/proc` that the kernel alone can follow.
    has_jumped: bool,
}

impl<'w, 'j> Walk<'w, 'j> {
    fn new(path: &Path, follow: Follow, judge: &'w mut Judge<'j>) -> Result<Self, PathError> {
        let start = Path::new(if path.is_absolute() { "/" } else { "" });
        let opened = open_start(start).map_err(|e| PathError::new(path.to_owned(), e.into()))?;
        Walk::begin(opened, start, path, follow, judge)
    }

    fn beneath(
        start: impl AsFd,
        start_path: &Path,
        path: &Path,
        judge: &'w mut Judge<'j>,
    ) -> Result<Self, PathError> {
        let opened = openat(start, ".", HELD_DIR, Mode::empty());
        let opened = opened.map_err(|e| PathError::new(start_path.to_owned(), e.into()))?;
        Walk::begin(opened, start_path, path, Follow::Never, judge)
    }

    fn begin(
        start: OwnedFd,
        start_path: &Path,
        path: &Path,
        follow: Follow,
        judge: &'w mut Judge<'j>,
    ) -> Result<Self, PathError> {
        let stat = fstat(&start).map_err(|e| PathError::new(path.to_owned(), e.into()))?;
        let mut walk = Walk {
            follow,
            judge,
            at: start,
            at_stat: Box::new(stat),
            at_path: start_path.to_owned(),
            above: Vec::new(),
            rest: Vec::new(),
            links_left: LINKS_MAX,
            entry: None,
            has_jumped: false,
        };
        walk.push(path.as_os_str().as_bytes());
        walk.ask(b"", &stat)?;
        Ok(walk)
    }

    /// The components of `path` come next.
    fn push(&mut self, path: &[u8]) {
        let components = path.rsplit(|&b| b == b'/');
        let components = components.filter(|&name| !matches!(name, b"" | b"."));
        self.rest.extend(components.map(<[u8]>::to_vec));
    }

    fn run(&mut self) -> Result<Landed, PathError> {
        while let Some(name) = self.rest.pop() {
            if name == b".." {
                self.climb()?;
                continue;
            }
            if self.follow == Follow::Beneath && is_reserved(&name) {
                return Err(self.refused(&name, "is hasync's own".to_owned()));
            }
            match openat(&self.at, &*name, HELD_DIR, Mode::empty()) {
                Ok(fd) => self.descend(fd, &name)?,
                // A kernel may say either of a symlink.
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    if let Some(landed) = self.pass(&name)? {
                        return Ok(landed);
                    }
                }
                Err(Errno::NOENT) if self.rest.is_empty() => return Ok(Landed::Missing(name)),
                Err(e) => return Err(self.failed(&name, e)),
            }
        }
        Ok(Landed::Dir)
    }

    fn place(mut self) -> Result<Place, PathError> {
        let landed = match self.run() {
            // A symlink that leads nowhere, however far from there: its own place is what counts.
            Err(e) if e.is_missing() && self.entry.is_some() => Landed::Missing(Vec::new()),
            landed => landed?,
        };
        let (place, name): (fn(Spot) -> Place, _) = match landed {
            Landed::Dir => return self.open_here().map(Place::Dir),
            Landed::Other(name, _) => (Place::Other, name),
            Landed::Missing(name) => (Place::Missing, name),
        };
        let dir_path = self.path_of(b"");
        Ok(place(self.entry.unwrap_or(Spot {
            dir: self.at,
            dir_path,
            name,
            is_symlink: false,
        })))
    }

    /// Opens the directory that the walk has come to for reading.
    fn open_here(&self) -> Result<OwnedFd, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(&self.at, ".", flags, Mode::empty());
        opened.map_err(|e| self.failed(b"", e))
    }

    /// Opens what the walk has landed on, if that is still what was judged.
    fn open(&self, name: &[u8], judged: &Stat, mut flags: OFlags) -> Result<OwnedFd, PathError> {
        flags.set(OFlags::NOFOLLOW, !self.has_jumped);
        let opened = openat(&self.at, name, flags, Mode::empty());
        let opened = opened.map_err(|e| self.failed(name, e))?;
        let stat = fstat(&opened).map_err(|e| self.failed(name, e))?;
        if id(&stat) != id(judged) {
            return Err(self.moved(name));
        }
        Ok(opened)
    }

    fn descend(&mut self, fd: OwnedFd, name: &[u8]) -> Result<(), PathError> {
        let stat = fstat(&fd).map_err(|e| self.failed(name, e))?;
        self.ask(name, &stat)?;
        self.above.push(id(&self.at_stat));
        self.at_path.push(OsString::from_vec(name.to_vec()));
        self.at = fd;
        *self.at_stat = stat;
        Ok(())
    }

    /// `..`: back to the directory that was passed on the way here, wherever this one has been
    /// moved since.
    fn climb(&mut self) -> Result<(), PathError> {
        let leads_out = match self.follow {
            Follow::Never => true,
            Follow::Beneath => self.above.is_empty(),
            Follow::Trusted | Follow::Any => false,
        };
        if leads_out {
            return Err(self.refused(b"..", "leads out of where it may lead".to_owned()));
        }
        let opened = openat(&self.at, "..", HELD_DIR, Mode::empty());
        let fd = opened.map_err(|e| self.failed(b"..", e))?;
        let stat = fstat(&fd).map_err(|e| self.failed(b"..", e))?;
        if self.above.pop().is_some_and(|above| above != id(&stat)) {
            return Err(self.moved(b""));
        }
        let is_name = self.at_path.file_name().is_some();
        if is_name || self.at_path.is_absolute() {
            self.at_path.pop();
        } else {
            self.at_path.push("..");
        }
        self.at = fd;
        *self.at_stat = stat;
        Ok(())
    }

    /// Something that is no directory: the end of the walk, or a symlink to follow.
    fn pass(&mut self, name: &[u8]) -> Result<Option<Landed>, PathError> {
        let opened = openat(&self.at, name, HELD, Mode::empty());
        let held = opened.map_err(|e| self.failed(name, e))?;
        let stat = fstat(&held).map_err(|e| self.failed(name, e))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => return self.follow(name, &held, &stat),
            // It has taken the place of something else since.
            FileType::Directory => return self.descend(held, name).map(|()| None),
            _ if !self.rest.is_empty() => return Err(self.failed(name, Errno::NOTDIR)),
            _ => {}
        }
        self.ask(name, &stat)?;
        Ok(Some(Landed::Other(name.to_vec(), Box::new(stat))))
    }

    fn follow(
        &mut self,
        name: &[u8],
        held: &OwnedFd,
        stat: &Stat,
    ) -> Result<Option<Landed>, PathError> {
        let target = readlinkat(held, c"", Vec::new()).map_err(|e| self.failed(name, e))?;
        let target = target.into_bytes();
        if let Err(rule) = self.may_follow(stat, &target) {
            let cause = PathCause::Symlink {
                owner: stat.st_uid,
                target: OsString::from_vec(target).into(),
                rule,
            };
            return Err(PathError::new(self.path_of(name), cause));
        }
        self.ask(name, stat)?;
        let Some(links_left) = self.links_left.checked_sub(1) else {
            return Err(self.failed(name, Errno::LOOP));
        };
        self.links_left = links_left;
        if self.rest.is_empty() && self.entry.is_none() {
            let dir = openat(&self.at, ".", HELD_DIR, Mode::empty());
            self.entry = Some(Spot {
                dir: dir.map_err(|e| self.failed(name, e))?,
                dir_path: self.path_of(b""),
                name: name.to_vec(),
                is_symlink: true,
            });
        }
        let fs = fstatfs(held).map_err(|e| self.failed(name, e))?;
        if fs.f_type == PROC_SUPER_MAGIC && self.follow != Follow::Beneath {
            return self.jump(name);
        }
        if target.starts_with(b"/") {
            self.at = open_start(Path::new("/")).map_err(|e| self.failed(name, e))?;
            *self.at_stat = fstat(&self.at).map_err(|e| self.failed(name, e))?;
            self.at_path = PathBuf::from("/");
            self.above.clear();
        }
        self.push(&target);
        Ok(None)
    }

    /// Lets the kernel follow a link of `/proc`, where the text of many is no path and nobody can
    /// plant one. Nothing is known of what is above the place that it leads to.
    fn jump(&mut self, name: &[u8]) -> Result<Option<Landed>, PathError> {
        let flags = HELD.difference(OFlags::NOFOLLOW);
        let opened = openat(&self.at, name, flags, Mode::empty());
        let fd = opened.map_err(|e| self.failed(name, e))?;
        let stat = fstat(&fd).map_err(|e| self.failed(name, e))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            self.descend(fd, name)?;
            self.above.clear();
            return Ok(None);
        }
        if !self.rest.is_empty() {
            return Err(self.failed(name, Errno::NOTDIR));
        }
        self.ask(name, &stat)?;
        self.has_jumped = true;
        Ok(Some(Landed::Other(name.to_vec(), Box::new(stat))))
    }

    /// Gives the rule that keeps a symlink in the held directory from being followed.
    fn may_follow(&self, link: &Stat, target: &[u8]) -> Result<(), &'static str> {
        let dir = &self.at_stat;
        let is_shared_dir = || !is_trusted(dir.st_uid) || dir.st_mode & 0o022 != 0;
        match self.follow {
            Follow::Any => Ok(()),
            Follow::Never => Err("none is followed below a served root"),
            Follow::Beneath if target.starts_with(b"/") => {
                Err("here only those are followed that lead down from where they are")
            }
            _ if !is_trusted(link.st_uid) => {
                Err("only those of root and of the user that hasync runs as are followed")
            }
            _ if link.st_nlink > 1 && is_shared_dir() => {
                Err("with other names besides, it may have been linked there by anybody")
            }
            Follow::Beneath | Follow::Trusted => Ok(()),
        }
    }

    /// Asks the judge about the component `name`, or about the held directory itself.
    fn ask(&mut self, name: &[u8], stat: &Stat) -> Result<(), PathError> {
        let path = self.path_of(name);
        #[allow(clippy::unnecessary_cast, reason = "narrower on other processors")]
        let nlink = stat.st_nlink as u64;
        let step = Step {
            path: &path,
            uid: stat.st_uid,
            mode: stat.st_mode,
            nlink,
        };
        (self.judge)(&step).map_err(|why| self.refused(name, why))
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        match name {
            b"" if self.at_path.as_os_str().is_empty() => PathBuf::from("."),
            b"" => self.at_path.clone(),
            name => self.at_path.join(OsString::from_vec(name.to_vec())),
        }
    }

    fn failed(&self, name: &[u8], e: Errno) -> PathError {
        PathError::new(self.path_of(name), e.into())
    }

    fn refused(&self, name: &[u8], why: String) -> PathError {
        PathError::new(self.path_of(name), PathCause::Refused(why))
    }

    fn moved(&self, name: &[u8]) -> PathError {
        self.refused(name, "was moved while the path was followed".to_owned())
    }
}

fn open_start(start: &Path) -> Result<OwnedFd, Errno> {
    let path = if start.is_absolute() { "/" } else { "." };
    openat(CWD, path, HELD_DIR, Mode::empty())
}

fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
