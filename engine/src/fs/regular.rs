//! Opening regular files and nothing else: to open a tape, a watchdog or a fifo is to act on it.
//! So the type is known before: from the listing, in a directory in which none but root and this
//! user can give a name to something else; otherwise by holding the name without opening it, and
//! opening what is held through `/proc/self/fd`. Where there is none, the name is examined once
//! more right before it is opened.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::walk::{Follow, Led, follow_from};
use crate::ids::check_id;
use crate::since::{Access, Meta};

const READ_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

/// A directory whose regular files are read.
#[derive(Debug)]
pub(crate) struct FileDir<Fd> {
    fd: Fd,
    /// What it is itself.
    own: Meta,
    /// None but root and this user can give its names to something else.
    is_ours: bool,
    /// Symlinks that are read as the files that they lead to.
    follow: Option<Follow>,
    /// Reading does not count as an access, if this user may ask for that.
    is_quiet: bool,
}

impl<Fd: AsFd> FileDir<Fd> {
    pub(crate) fn new(fd: Fd) -> io::Result<Self> {
        let stat = fstat(&fd)?;
        let others_write = stat.st_mode & (Mode::WGRP | Mode::WOTH).as_raw_mode() != 0;
        let is_ours = stat.st_uid == 0 || stat.st_uid == geteuid().as_raw();
        let is_ours = is_ours && !others_write;
        let own = Meta::of_dir(&stat);
        Ok(FileDir {
            fd,
            own,
            is_ours,
            follow: None,
            is_quiet: false,
        })
    }

    /// The same, with files that symlinks in it lead to.
    pub(crate) fn following(self, follow: Option<Follow>) -> Self {
        FileDir { follow, ..self }
    }

    /// The same, whose files are read without a trace if that `is_quiet`.
    pub(crate) fn quietly(self, is_quiet: bool) -> Self {
        FileDir { is_quiet, ..self }
    }

    /// Whose the directory itself is.
    pub(crate) fn access(&self) -> Access {
        self.own.access()
    }

    /// Opens what is listed as a regular file, with its metadata as the descriptor has it. One that
    /// somebody has a lease on is [`io::ErrorKind::WouldBlock`]: the lease is being broken.
    pub(crate) fn open(&self, name: &[u8]) -> io::Result<(File, Metadata)> {
        let opened = if self.is_ours {
            self.open_by_name(name, OFlags::NONBLOCK)
        } else {
            self.open_held(name, OFlags::NONBLOCK)
        };
        let opened = opened.and_then(regular);
        self.or_led(name, opened, |dir, name| dir.open(name))
    }

    /// The same, but waits until a lease is broken: at the most the system's `lease-break-time`.
    pub(crate) fn open_waiting(&self, name: &[u8]) -> io::Result<(File, Metadata)> {
        // A fifo in its place would be waited for without end.
        let opened = self.open_held(name, OFlags::empty()).and_then(regular);
        self.or_led(name, opened, |dir, name| dir.open_waiting(name))
    }

    /// What was opened, or where it is a symlink that is followed, the file that it leads to.
    fn or_led(
        &self,
        name: &[u8],
        opened: io::Result<(File, Metadata)>,
        open: impl FnOnce(&FileDir<OwnedFd>, &[u8]) -> io::Result<(File, Metadata)>,
    ) -> io::Result<(File, Metadata)> {
        let failed = match (opened, self.follow) {
            (Err(e), Some(follow)) if e.kind() != io::ErrorKind::WouldBlock => (e, follow),
            (opened, _) => return opened,
        };
        let is_link = |mode| FileType::from_raw_mode(mode) == FileType::Symlink;
        let there = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        if !there.is_ok_and(|stat| is_link(stat.st_mode)) {
            return Err(failed.0);
        }
        match follow_from(&self.fd, name, failed.1)? {
            Led::Dir(_) => Err(failed.0),
            Led::Other(dir, name) => open(&FileDir::new(dir)?.quietly(self.is_quiet), &name),
        }
    }

    fn open_held(&self, name: &[u8], flags: OFlags) -> io::Result<File> {
        let held = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = openat(&self.fd, name, held, Mode::empty())?;
        check_type(fstat(&held)?.st_mode)?;
        match self.open_at(CWD, proc_path(held.as_fd()).as_bytes(), READ_FLAGS | flags) {
            Ok(file) => Ok(file),
            Err(e @ Errno::AGAIN) => Err(e.into()),
            // There is no `/proc`, or the file system opens nothing that has lost its name.
            Err(_) => {
                check_type(statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)?;
                self.open_by_name(name, OFlags::NONBLOCK)
            }
        }
    }

    fn open_by_name(&self, name: &[u8], flags: OFlags) -> io::Result<File> {
        let flags = READ_FLAGS | OFlags::NOFOLLOW | flags;
        Ok(self.open_at(self.fd.as_fd(), name, flags)?)
    }

    fn open_at(&self, dir: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<File, Errno> {
        let open = |flags| openat(dir, path, flags, Mode::empty()).map(File::from);
        match self.is_quiet {
            true => match open(flags | OFlags::NOATIME) {
                // Neither root nor its owner: then it leaves a trace.
                Err(Errno::PERM) => open(flags),
                result => result,
            },
            false => open(flags),
        }
    }
}

fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn check_type(mode: u32) -> io::Result<()> {
    if FileType::from_raw_mode(mode) == FileType::RegularFile {
        return Ok(());
    }
    Err(io::Error::other("it is not a regular file any more"))
}

fn regular(file: File) -> io::Result<(File, Metadata)> {
    let metadata = file.metadata()?;
    check_type(metadata.mode())?;
    let numbers = [metadata.uid(), metadata.gid()];
    match numbers.into_iter().all(|id| check_id(id).is_ok()) {
        true => Ok((file, metadata)),
        false => Err(io::Error::other(
            "no user or group has the number of its owner",
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{RenameFlags, mknodat, renameat_with};

    use super::*;

    fn dir_at(path: &std::path::Path, mode: u32) -> FileDir<File> {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        FileDir::new(File::open(path).unwrap()).unwrap()
    }

    /// Each member once where the listing is trusted, and once where others rename.
    #[test]
    fn what_is_no_regular_file_is_not_read() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path();
        std::fs::write(path.join("file"), b"content").unwrap();
        std::fs::create_dir(path.join("dir")).unwrap();
        std::os::unix::fs::symlink("file", path.join("symlink")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
        let fd = File::open(path).unwrap();
        mknodat(&fd, "fifo", FileType::Fifo, Mode::RWXU, 0).unwrap();
        let null = rustix::fs::makedev(1, 3);
        let has_device = mknodat(&fd, "null", FileType::CharacterDevice, Mode::RWXU, null).is_ok();
        for mode in [0o700, 0o777] {
            let dir = dir_at(path, mode);
            let (mut file, metadata) = dir.open(b"file").unwrap();
            let mut content = String::new();
            file.read_to_string(&mut content).unwrap();
            assert_eq!((content.as_str(), metadata.len()), ("content", 7));
            assert!(dir.open_waiting(b"file").is_ok());
            for name in ["dir", "symlink", "socket", "fifo", "null", "none"] {
                if name != "null" || has_device {
                    assert!(dir.open(name.as_bytes()).is_err(), "{name} {mode:o}");
                    assert!(
                        dir.open_waiting(name.as_bytes()).is_err(),
                        "{name} {mode:o}"
                    );
                }
            }
        }
    }

    /// A writer that waits at a fifo goes on as soon as somebody opens it to read.
    #[test]
    fn a_fifo_that_takes_the_name_of_a_file_is_never_opened() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), b"").unwrap();
        let fd = File::open(temp.path()).unwrap();
        mknodat(&fd, "fifo", FileType::Fifo, Mode::RWXU, 0).unwrap();
        let fifo = openat(&fd, "fifo", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let path = proc_path(fifo.as_fd());
        let dir = dir_at(temp.path(), 0o777);
        let [stop, was_opened] = [false; 2].map(|set| Arc::new(AtomicBool::new(set)));
        let (at, opened) = (path.clone(), Arc::clone(&was_opened));
        let writer = std::thread::spawn(move || {
            let waited = std::fs::OpenOptions::new().write(true).open(at);
            opened.store(true, Ordering::SeqCst);
            waited.unwrap();
        });
        let stopped = Arc::clone(&stop);
        let flipper = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                renameat_with(&fd, "file", &fd, "fifo", RenameFlags::EXCHANGE).unwrap();
            }
        });
        let (mut files, mut others) = (0, 0);
        while files < 500 || others < 500 {
            match dir.open(b"file") {
                Ok((_, metadata)) => {
                    assert!(metadata.is_file());
                    files += 1;
                }
                Err(_) => others += 1,
            }
        }
        assert!(!was_opened.load(Ordering::SeqCst), "a fifo was opened");
        stop.store(true, Ordering::Relaxed);
        flipper.join().unwrap();
        let _reader = File::open(path).unwrap();
        writer.join().unwrap();
    }
}
