//! A file that is written aside and takes its name in one step, when it is complete and on disk.
//!
//! It has no name at all while it is written (`O_TMPFILE`), so that even a crash leaves nothing;
//! where the file system cannot do that, it has a hidden name in the same directory. Order of
//! durable effects: content and metadata, fsync, link or rename, fsync of the directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hasync_engine::hold;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::fs::{
    fchmod, fchown, fstat, fsync, linkat, openat, renameat, statat, syncfs, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::input::Input;
use crate::exit::{self, Exit, Failure};

/// The temporary name of a file that has not got its own yet, shared with who removes it on a
/// signal.
#[derive(Clone, Debug, Default)]
pub(super) struct Unnamed(Arc<Mutex<Option<TempName>>>);

#[derive(Debug)]
struct TempName {
    dir: OwnedFd,
    name: String,
}

/// A file in the making.
#[derive(Debug)]
pub(super) struct NewFile {
    dir: OwnedFd,
    name: OsString,
    replaced: Option<Stat>,
    unnamed: Unnamed,
}

impl NewFile {
    /// Makes the file that will be `path`, called `shown` in messages; refuses to replace any of
    /// `inputs`, and anything that is not a regular file.
    pub(super) fn create(
        path: &Path,
        shown: &str,
        inputs: &[&Input],
        unnamed: Unnamed,
    ) -> Result<(Self, File), Failure> {
        let cannot = |cause: io::Error| {
            Failure::new(
                exit::of_io(&cause),
                format!("cannot create {shown}: {}", exit::cause(&cause)),
            )
        };
        let not_a_file = || Failure::usage(format!("{shown} names a directory, not a file"));
        let name = path.file_name().ok_or_else(not_a_file)?.to_owned();
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(not_a_file());
        }
        let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = open_dir(parent.unwrap_or(Path::new("."))).map_err(cannot)?;
        let replaced = replaced(&dir, &name, shown).map_err(|why| match why {
            Refusal::Failed(cause) => cannot(cause),
            Refusal::Unfit(failure) => failure,
        })?;
        let id = replaced.map(|stat| (stat.st_dev, stat.st_ino));
        if let Some(input) = inputs.iter().find(|input| Some(input.id()) == id) {
            return Err(Failure::usage(format!(
                "{shown} would replace the input {}; name another output",
                input.shown()
            )));
        }
        // Nobody else reads the new content of a file before it has that file's permissions.
        let mode = Mode::from_raw_mode(if replaced.is_some() { 0o600 } else { 0o666 });
        let file = match without_name(&dir, mode).map_err(cannot)? {
            Some(file) => file,
            None => unnamed.create(&dir, mode).map_err(cannot)?,
        };
        let new_file = Self {
            dir,
            name,
            replaced,
            unnamed,
        };
        Ok((new_file, file))
    }

    /// Gives `file`, which [`create`](Self::create) returned, its name.
    pub(super) fn commit(&mut self, file: &File) -> io::Result<()> {
        if let Some(replaced) = &self.replaced {
            take_over(file, replaced)?;
        }
        file.sync_all()?;
        if self.unnamed.is_none() {
            if self.replaced.is_none() {
                let linked = link(file, &self.dir, &self.name);
                linked.map_err(|cause| match cause.kind() {
                    io::ErrorKind::AlreadyExists => {
                        io::Error::other("a file of this name was made meanwhile")
                    }
                    _ => cause,
                })?;
                return self.sync_dir(file);
            }
            self.unnamed.link(file, &self.dir)?;
        }
        self.unnamed.rename_to(&self.name)?;
        self.sync_dir(file)
    }

    fn sync_dir(&self, file: &File) -> io::Result<()> {
        match fsync(&self.dir) {
            // The directory may not be read, only written to: flush by way of the file.
            Err(Errno::BADF) => Ok(syncfs(file)?),
            // Some file systems have nothing to flush in a directory.
            Err(Errno::INVAL) => Ok(()),
            result => Ok(result?),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        self.unnamed.remove();
    }
}

impl Unnamed {
    /// Removes the temporary name, if there is one.
    pub(super) fn remove(&self) {
        if let Some(TempName { dir, name }) = self.lock().take() {
            // What cannot be removed stays: there is nobody left to tell.
            let _ = unlinkat(dir, name, AtFlags::empty());
        }
    }

    fn is_none(&self) -> bool {
        self.lock().is_none()
    }

    /// Makes a file under a temporary name in `dir`.
    fn create(&self, dir: &OwnedFd, mode: Mode) -> io::Result<File> {
        let mut temp = self.lock();
        let name = fresh_name()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = openat(dir, &name, flags | OFlags::CLOEXEC, mode)?;
        *temp = Some(TempName {
            dir: dir.try_clone()?,
            name,
        });
        Ok(File::from(file))
    }

    /// Gives a file without a name a temporary one.
    fn link(&self, file: &File, dir: &OwnedFd) -> io::Result<()> {
        let mut temp = self.lock();
        let name = fresh_name()?;
        link(file, dir, OsStr::new(&name))?;
        *temp = Some(TempName {
            dir: dir.try_clone()?,
            name,
        });
        Ok(())
    }

    fn rename_to(&self, to: &OsStr) -> io::Result<()> {
        let mut temp = self.lock();
        if let Some(TempName { dir, name }) = &*temp {
            renameat(dir, name, dir, to)?;
        }
        *temp = None;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<TempName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Refusal {
    Failed(io::Error),
    Unfit(Failure),
}

/// What stands under `name` and is going to be replaced.
fn replaced(dir: &OwnedFd, name: &OsStr, shown: &str) -> Result<Option<Stat>, Refusal> {
    let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(cause) => return Err(Refusal::Failed(cause.into())),
    };
    let unfit = |why: &str| Err(Refusal::Unfit(Failure::new(Exit::Usage, why)));
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Some(stat)),
        FileType::Symlink => unfit(&format!(
            "{shown} is a symlink; name the file that it points to"
        )),
        FileType::Directory => unfit(&format!("{shown} is a directory; name a file")),
        _ => unfit(&format!(
            "{shown} is not a regular file; write to it by redirecting standard output"
        )),
    }
}

/// Gives `file` the owner, group and permissions of the one that it replaces.
fn take_over(file: &File, replaced: &Stat) -> io::Result<()> {
    let own = fstat(file)?;
    let uid = (own.st_uid != replaced.st_uid).then(|| Uid::from_raw(replaced.st_uid));
    let gid = (own.st_gid != replaced.st_gid).then(|| Gid::from_raw(replaced.st_gid));
    if uid.is_some() || gid.is_some() {
        fchown(file, uid, gid).map_err(|cause| {
            let cause = exit::cause(&cause.into());
            io::Error::other(format!(
                "cannot keep owner and group of the file there: {cause}; name another output"
            ))
        })?;
    }
    if (fstat(file)?.st_mode ^ replaced.st_mode) & 0o7777 != 0 {
        fchmod(file, Mode::from_raw_mode(replaced.st_mode & 0o7777))?;
    }
    Ok(())
}

/// Opens a directory to make a name in, if need be without the right to read it.
fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let held = hold(path)?;
    match openat(
        &held,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Err(Errno::ACCESS) => Ok(held),
        result => Ok(result?),
    }
}

/// A file in `dir` that has no name; `None` if such a thing cannot be had, or not be named later.
fn without_name(dir: &OwnedFd, mode: Mode) -> io::Result<Option<File>> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = match openat(dir, ".", flags, mode) {
        Ok(file) => File::from(file),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => return Ok(None),
        Err(cause) => return Err(cause.into()),
    };
    let can_be_named = statat(CWD, proc_path(&file), AtFlags::empty()).is_ok();
    Ok(can_be_named.then_some(file))
}

fn link(file: &File, dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    Ok(linkat(
        CWD,
        proc_path(file),
        dir,
        name,
        AtFlags::SYMLINK_FOLLOW,
    )?)
}

fn proc_path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// A hidden name that nothing else in the directory has.
fn fresh_name() -> io::Result<String> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(format!(".hasync-{:016x}", u64::from_le_bytes(random)))
}
