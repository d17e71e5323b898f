//! Changing the permissions of what must not or cannot be opened, without following a symlink.
//!
//! `fchmodat` follows symlinks and `fchmod` refuses `O_PATH`, so the held inode is reached through
//! `/proc/self/fd`. Where there is no `/proc`, it is opened if that does no harm, or else named,
//! where nobody else can put something else under that name. (A call that needs neither,
//! `fchmodat2` on a descriptor, has no safe wrapper yet.)

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Stat, chmodat, fchmod, fstat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::held::Held;

/// Sets the permissions of what is held, which has that name in `dir`. A symlink has none.
pub(super) fn set_mode(
    dir: BorrowedFd<'_>,
    name: &CStr,
    held: &Held,
    mode: Mode,
) -> io::Result<()> {
    match chmodat(CWD, held.proc_path(), mode, AtFlags::empty()) {
        // The way to what is held cannot fail but for `/proc`.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => {
            match held.open(dir, name) {
                Some(file) => Ok(fchmod(file, mode)?),
                None => set_mode_without_proc(dir, name, &fstat(&held.fd)?, mode),
            }
        }
        result => Ok(result?),
    }
}

fn set_mode_without_proc(
    dir: BorrowedFd<'_>,
    name: &CStr,
    held: &Stat,
    mode: Mode,
) -> io::Result<()> {
    if FileType::from_raw_mode(held.st_mode) == FileType::Symlink {
        return Err(Errno::OPNOTSUPP.into());
    }
    if !keeps_its_name(&fstat(dir)?, held) {
        return Err(io::Error::other(
            "without /proc it has no safe way to be reached, since others may rename what is in \
             its directory; mount /proc",
        ));
    }
    let now = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (now.st_dev, now.st_ino) != (held.st_dev, held.st_ino) {
        return Err(io::Error::other("something else took its name meanwhile"));
    }
    Ok(chmodat(dir, name, mode, AtFlags::empty())?)
}

/// Whether none but root and this user can give an entry's name in `dir` to something else.
fn keeps_its_name(dir: &Stat, entry: &Stat) -> bool {
    let is_ours = |stat: &Stat| stat.st_uid == 0 || stat.st_uid == geteuid().as_raw();
    let others_write = dir.st_mode & (Mode::WGRP | Mode::WOTH).as_raw_mode() != 0;
    let sticky = dir.st_mode & Mode::SVTX.as_raw_mode() != 0;
    is_ours(dir) && (!others_write || sticky && is_ours(entry))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// Sets 0640 on `name` without the help of `/proc`; gives what it has then.
    fn without_proc(dir: &std::path::Path, name: &CStr) -> io::Result<u32> {
        let fd = std::fs::File::open(dir)?;
        let held = statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        set_mode_without_proc(fd.as_fd(), name, &held, Mode::from_raw_mode(0o640))?;
        Ok(statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode & 0o7777)
    }

    fn populated() -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), b"x").unwrap();
        std::fs::create_dir(temp.path().join("dir")).unwrap();
        symlink("file", temp.path().join("link")).unwrap();
        let fd = std::fs::File::open(temp.path()).unwrap();
        rustix::fs::mknodat(&fd, c"fifo", FileType::Fifo, Mode::RUSR, 0).unwrap();
        rustix::fs::mknodat(&fd, c"socket", FileType::Socket, Mode::RUSR, 0).unwrap();
        temp
    }

    #[test]
    fn every_kind_but_a_symlink_can_do_without_proc() {
        let temp = populated();
        for name in [c"file", c"dir", c"fifo", c"socket"] {
            assert_eq!(without_proc(temp.path(), name).unwrap(), 0o640, "{name:?}");
        }
        let before = std::fs::metadata(temp.path().join("file")).unwrap();
        assert!(without_proc(temp.path(), c"link").is_err());
        let after = std::fs::metadata(temp.path().join("file")).unwrap();
        assert_eq!(before.permissions(), after.permissions());
    }

    #[test]
    fn what_others_can_rename_is_refused() {
        let temp = populated();
        let loosen = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(temp.path(), loosen(0o777)).unwrap();
        for name in [c"file", c"dir", c"fifo"] {
            assert!(without_proc(temp.path(), name).is_err(), "{name:?}");
        }
        std::fs::set_permissions(temp.path(), loosen(0o1777)).unwrap();
        assert!(without_proc(temp.path(), c"fifo").is_ok());
    }
}
