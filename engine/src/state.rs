//! The directory in which a node keeps what it knows: roles, epochs, locks, and what the command
//! line remembers. It is private: whoever could open a file in there could hold a lock on it, and
//! nothing would be pushed or promoted any more. Directories are 0700 and files 0600, whatever the
//! umask; an own directory with another mode gets this one, what somebody else owns is refused.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fchmod, fstat, mkdirat, openat, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::{Error, ErrorKind};
use crate::fs::{
    Attrs, DIR_FLAGS, Follow, Judgement, Lock, Nearest, PathCause, PathError, Place, find_dir,
    flush_dir, nearest, set_attrs,
};
use crate::path::Shown;

/// How often a file is opened anew that is replaced under our hands.
const OPEN_ATTEMPTS: usize = 100;

/// Nothing is followed, and nothing makes an open wait, whatever stands in for the file.
const FILE_FLAGS: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Of a directory that is made on the way to the state.
const PUBLIC_DIR: Mode = Mode::RWXU
    .union(Mode::RGRP)
    .union(Mode::XGRP)
    .union(Mode::ROTH)
    .union(Mode::XOTH);

/// The state directory, or a directory in it, held open.
#[derive(Debug)]
pub struct StateDir {
    fd: OwnedFd,
    path: PathBuf,
}

/// How an attempt on a lock ended.
#[derive(Debug)]
pub enum Attempt {
    /// It is held until this is dropped.
    Taken(Lock<File>),
    /// Somebody has had it all the time; this is the file.
    Held(File),
}

impl StateDir {
    /// Opens the directory at `path` for use, making what is missing.
    ///
    /// # Errors
    ///
    /// A directory that somebody else owns, or could have put there, is an error of the
    /// configuration.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fd = loop {
            match find(path)? {
                Nearest::Dir(fd) => break fd,
                Nearest::Missing { spot, rest } => {
                    let is_last = rest.as_os_str().is_empty();
                    let mode = if is_last { Mode::RWXU } else { PUBLIC_DIR };
                    match make_dir(&spot.dir, &spot.name, mode) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(e) => return Err(cannot("make the state directory", path, e)),
                    }
                }
            }
        };
        StateDir {
            fd,
            path: path.to_owned(),
        }
        .own()
    }

    /// Opens it to look only: nothing is made, and no mode is set. `None` if it is not there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) has them, but what is root's may be looked at by whoever can.
    pub fn look(path: &Path) -> Result<Option<Self>, Error> {
        Ok(match find(path)? {
            Nearest::Dir(fd) => Some(StateDir {
                fd,
                path: path.to_owned(),
            }),
            Nearest::Missing { .. } => None,
        })
    }

    /// Opens the directory `name` in it for use, making it if it is missing.
    pub(crate) fn sub(&self, name: &str) -> Result<Self, Error> {
        let path = self.path.join(name);
        match make_dir(&self.fd, name.as_bytes(), Mode::RWXU) {
            Ok(()) => flush_dir(&self.fd).map_err(|e| cannot("use", &path, e))?,
            Err(Errno::EXIST) => {}
            Err(e) => return Err(cannot("make", &path, e)),
        }
        let fd = openat(&self.fd, name, DIR_FLAGS, Mode::empty());
        let fd = fd.map_err(|e| cannot("open", &path, e))?;
        StateDir { fd, path }.own()
    }

    /// Opens the directory `name` in it to look only; `None` if it is not there.
    pub(crate) fn look_sub(&self, name: &str) -> Result<Option<Self>, Error> {
        let path = self.path.join(name);
        let fd = match openat(&self.fd, name, DIR_FLAGS, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(cannot("open", &path, e)),
        };
        let stat = fstat(&fd).map_err(|e| cannot("open", &path, e))?;
        refuse_foreign(&stat, &path)?;
        Ok(Some(StateDir { fd, path }))
    }

    /// Makes sure that it is this user's, and that nobody else gets in.
    fn own(self) -> Result<Self, Error> {
        let stat = fstat(&self.fd).map_err(|e| cannot("open", &self.path, e))?;
        refuse_foreign(&stat, &self.path)?;
        if stat.st_uid != geteuid().as_raw() {
            return Err(cannot("use the state directory", &self.path, Errno::ACCESS));
        }
        if stat.st_mode & 0o777 != 0o700 {
            fchmod(&self.fd, Mode::RWXU).map_err(|e| cannot("chmod 700", &self.path, e))?;
        }
        Ok(self)
    }

    /// Takes the lock on the file `name`, which is made if it is missing; waits for who has it
    /// until `deadline`.
    ///
    /// A file that others could have opened is replaced by a new one: one of them may hold it.
    ///
    /// # Errors
    ///
    /// If something else than a file of this user's has that name, or the file system refuses.
    pub fn lock(&self, name: &str, deadline: Instant) -> Result<Attempt, Error> {
        let failed = |e: Errno| cannot("lock", &self.path.join(name), e);
        loop {
            let file = self.open_private(name)?;
            match Lock::take(file, deadline).map_err(failed)? {
                Ok(file) if self.has(name, &file).map_err(failed)? => {
                    return Ok(Attempt::Taken(file));
                }
                // Somebody has put another in its place: that one counts.
                Ok(_) => {}
                Err(file) => return Ok(Attempt::Held(file)),
            }
        }
    }

    /// What is in the file `name`, up to `len_max` bytes; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// If others could have written it, or it cannot be read.
    pub fn read(&self, name: &str, len_max: u64) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path.join(name);
        let file = match openat(&self.fd, name, FILE_FLAGS | OFlags::RDONLY, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(cannot("open", &path, e)),
        };
        let stat = fstat(&file).map_err(|e| cannot("read", &path, e))?;
        refuse_other(&stat, &path)?;
        if stat.st_mode & 0o022 != 0 {
            return Err(refused(&path, "could be written by others (rm it)"));
        }
        let mut bytes = Vec::new();
        let read = File::from(file).take(len_max).read_to_end(&mut bytes);
        read.map_err(|e| Error::file(format_args!("read {}", shown(&path)), &e))?;
        Ok(Some(bytes))
    }

    /// Puts a new file `name` in the place of an older one, in one step.
    ///
    /// # Errors
    ///
    /// If the file system refuses.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let fresh = format!("{name}.new");
        let replace = || -> io::Result<()> {
            match unlinkat(&self.fd, &*fresh, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
            let flags = FILE_FLAGS | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let mut file = File::from(openat(&self.fd, &*fresh, flags, PRIVATE_FILE)?);
            fchmod(&file, PRIVATE_FILE)?;
            file.write_all(bytes)?;
            Ok(renameat(&self.fd, &*fresh, &self.fd, name)?)
        };
        let path = self.path.join(name);
        replace().map_err(|e| Error::file(format_args!("write {}", shown(&path)), &e))
    }

    /// Opens a file of this user's that nobody else has been able to open, making it if need be.
    fn open_private(&self, name: &str) -> Result<File, Error> {
        let path = self.path.join(name);
        let flags = FILE_FLAGS | OFlags::RDWR | OFlags::CREATE;
        for _ in 0..OPEN_ATTEMPTS {
            let file = match openat(&self.fd, name, flags, PRIVATE_FILE) {
                Ok(file) => file,
                Err(Errno::LOOP) => return Err(refused(&path, "is a symlink (rm it)")),
                Err(e) => return Err(cannot("open", &path, e)),
            };
            let failed = |e: Errno| cannot("open", &path, e);
            let stat = fstat(&file).map_err(failed)?;
            refuse_other(&stat, &path)?;
            if stat.st_mode & 0o077 != 0 {
                match unlinkat(&self.fd, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    Err(e) => return Err(failed(e)),
                }
            }
            if stat.st_mode & 0o777 != 0o600 {
                fchmod(&file, PRIVATE_FILE).map_err(failed)?;
            }
            return Ok(File::from(file));
        }
        Err(refused(&path, "is opened to others again and again"))
    }

    /// Whether `name` is still the name of that file.
    fn has(&self, name: &str, file: &File) -> rustix::io::Result<bool> {
        let own = fstat(file)?;
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl AsFd for StateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Walks to a state directory by a way that only root and this user may change. The directory
/// itself may have any mode.
fn find(path: &Path) -> Result<Nearest, Error> {
    let found = nearest(path, |part| Ok::<_, PathError>(walk(part)));
    found.map_err(|e| of_walk(path, &e))
}

fn walk(path: &Path) -> Result<Place, PathError> {
    let mut judgement = Judgement::default();
    // An own directory is excused if it is the last one: it gets another mode.
    let mut excused: Option<String> = None;
    let place = find_dir(path, Follow::Trusted, &mut |step| {
        if let Some(why) = excused.take() {
            return Err(format!("is reached through a directory that {why}"));
        }
        match judgement.of(step) {
            Err(why) if step.is_trusted() => {
                excused = Some(why);
                Ok(())
            }
            judged => judged,
        }
    })?;
    match (&place, excused) {
        (Place::Missing(spot), Some(why)) => Err(PathError {
            path: spot.dir_path.clone(),
            cause: PathCause::Refused(why),
        }),
        _ => Ok(place),
    }
}

/// Makes a directory with this mode, whatever the umask takes away.
fn make_dir(dir: &OwnedFd, name: &[u8], mode: Mode) -> rustix::io::Result<()> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    mkdirat(dir, &name, mode)?;
    let attrs = Attrs {
        mode: Some(mode.as_raw_mode()),
        ..Attrs::default()
    };
    let set = set_attrs(dir, &name, None, &attrs);
    set.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}

fn refuse_foreign(stat: &Stat, path: &Path) -> Result<(), Error> {
    let uid = stat.st_uid;
    if uid == 0 || uid == geteuid().as_raw() {
        return Ok(());
    }
    let to_do = format!(
        "belongs to uid {uid} (chown it if it is to be used, else name another as state of [node])"
    );
    Err(refused(path, &to_do))
}

/// Refuses what is no file of this user's alone.
fn refuse_other(stat: &Stat, path: &Path) -> Result<(), Error> {
    let uid = stat.st_uid;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        Err(refused(path, "is not a regular file (rm it)"))
    } else if uid != 0 && uid != geteuid().as_raw() {
        Err(refused(path, &format!("belongs to uid {uid} (rm it)")))
    } else if stat.st_nlink > 1 {
        Err(refused(path, "is a hard link of another file (rm it)"))
    } else {
        Ok(())
    }
}

fn refused(path: &Path, why: &str) -> Error {
    let message = format!("the state of this node is not safe: {} {why}", shown(path));
    Error::new(ErrorKind::Config, message)
}

fn cannot(verb: &str, path: &Path, cause: Errno) -> Error {
    let hint = match cause {
        Errno::ACCESS | Errno::PERM if !geteuid().is_root() => "; run this as root",
        _ => "",
    };
    let mut error = Error::file(format_args!("{verb} {}", shown(path)), &cause.into());
    error.message.push_str(hint);
    error
}

fn of_walk(path: &Path, e: &PathError) -> Error {
    match &e.cause {
        PathCause::Io(cause) => match Errno::from_io_error(cause) {
            Some(cause) => cannot("open the state directory", path, cause),
            None => Error::file(format_args!("open {}", shown(path)), cause),
        },
        _ => Error::new(
            ErrorKind::Config,
            format!("the state of this node is not safe: {e}"),
        ),
    }
}

fn shown(path: &Path) -> Shown<'_> {
    Shown(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests;
