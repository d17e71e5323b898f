//! The FIFO that keepalived writes to. keepalived makes it unless it is there, and removes the one
//! that it made when it ends: the name is looked at again and again, and whatever still stands in
//! the old one is read before the new one.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hasync_engine::{escape, hold};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, mknodat, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::exit::{Exit, Failure};
use crate::out;

/// The longest line that anybody means, in bytes.
const LINE_LEN_MAX: usize = 4096;
/// The most that is read at once, in bytes.
const PIECE_LEN: usize = 64 * 1024;

/// Write permission of a group or of everybody.
const OTHERS_WRITE: u32 = 0o022;

/// A FIFO, and what came through it.
pub(super) struct Fifo {
    path: PathBuf,
    /// Open for both ends: it never ends, and a writer that comes first finds it open.
    file: Option<File>,
    /// The beginning of a line.
    rest: Vec<u8>,
    /// What stands in its way, once it was said.
    told: Option<String>,
}

impl Fifo {
    /// Opens the FIFO, or makes it. If its directory is not there yet, it is waited for.
    pub(super) fn new(path: &Path) -> Result<Self, Failure> {
        let mut fifo = Fifo {
            path: path.to_owned(),
            file: None,
            rest: Vec::new(),
            told: None,
        };
        fifo.open()?;
        Ok(fifo)
    }

    /// The lines that have come, none if there are none. What stands in the FIFO's way is said, and
    /// waited for: somebody has put it there, and the last push is still to come.
    pub(super) fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        // Twice: once more from a new one that was found.
        for _ in 0..2 {
            match self.look(&mut lines) {
                Ok(false) => {}
                Ok(true) => {
                    self.told = None;
                    break;
                }
                Err(failure) => {
                    if self.told.as_ref() != Some(&failure.message) {
                        out::error(&failure.message);
                    }
                    self.told = Some(failure.message);
                    break;
                }
            }
        }
        lines
    }

    /// Reads what has come; `false` if there may be more in another FIFO of that name.
    fn look(&mut self, lines: &mut Vec<String>) -> Result<bool, Failure> {
        // Before it is read: nobody writes to it any more once its name is gone.
        let is_current = self.is_current();
        self.read(lines)
            .map_err(|cause| self.cannot("read", &cause))?;
        if !is_current {
            self.rest.clear();
            self.open()?;
        }
        Ok(is_current)
    }

    fn read(&mut self, lines: &mut Vec<String>) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut piece = vec![0; PIECE_LEN];
        loop {
            let len = match file.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(len) => len,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            for byte in piece.iter().take(len) {
                match byte {
                    b'\n' => {
                        let line = std::mem::take(&mut self.rest);
                        // A longer one is cut, and is about nothing then.
                        lines.push(String::from_utf8_lossy(&line).into_owned());
                    }
                    byte if self.rest.len() < LINE_LEN_MAX => self.rest.push(*byte),
                    _ => {}
                }
            }
        }
    }

    /// Whether the name still leads to what is open.
    fn is_current(&self) -> bool {
        let identity = |stat: Stat| (stat.st_dev, stat.st_ino);
        let here = self.file.as_ref().and_then(|file| fstat(file).ok());
        let place = self.place().ok().flatten();
        let stat = |(dir, name)| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let named = place.and_then(stat);
        here.is_some() && here.map(identity) == named.map(identity)
    }

    /// Its directory, held, and its name there; `None` if the directory is not there. Others'
    /// symlinks lead to none.
    fn place(&self) -> io::Result<Option<(OwnedFd, &OsStr)>> {
        let name = self.path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        match hold(self.path.parent().unwrap_or(Path::new(""))) {
            Ok(dir) => Ok(Some((dir, name))),
            Err(e) => match io::Error::from(e) {
                e if e.kind() == io::ErrorKind::NotFound => Ok(None),
                e => Err(e),
            },
        }
    }

    fn open(&mut self) -> Result<(), Failure> {
        self.file = None;
        let place = self.place().map_err(|e| self.cannot("open", &e))?;
        let Some((dir, name)) = place else {
            return Ok(());
        };
        let mode = Mode::RUSR | Mode::WUSR;
        match mknodat(&dir, name, FileType::Fifo, mode, 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(self.cannot("make", &e.into())),
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.file = match openat(&dir, name, flags, Mode::empty()) {
            Ok(fd) => Some(self.checked(fd)?),
            // It has gone again.
            Err(Errno::NOENT) => None,
            Err(Errno::LOOP) => return Err(self.refused("is a symlink")),
            Err(e) => return Err(self.cannot("open", &e.into())),
        };
        Ok(())
    }

    fn checked(&self, fd: OwnedFd) -> Result<File, Failure> {
        let stat = fstat(&fd).map_err(|e| self.cannot("open", &e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
            return Err(self.refused("is no FIFO"));
        }
        // Whoever can write to it promotes and demotes this node.
        let owners = [0, geteuid().as_raw()];
        if !owners.contains(&stat.st_uid) {
            return Err(self.refused("belongs to another user"));
        }
        if stat.st_mode & OTHERS_WRITE != 0 {
            return Err(self.refused("can be written by other users"));
        }
        Ok(File::from(fd))
    }

    fn refused(&self, what: &str) -> Failure {
        let path = escape(self.path.as_os_str().as_encoded_bytes());
        let message = format!(
            "{path} {what}: name the FIFO of vrrp_notify_fifo in keepalived.conf, or remove this"
        );
        Failure::new(Exit::Config, message)
    }

    fn cannot(&self, what: &str, cause: &io::Error) -> Failure {
        let path = escape(self.path.as_os_str().as_encoded_bytes());
        Failure::cannot(format!("{what} the FIFO {path}"), cause)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rustix::fs::{CWD, open};
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    /// Opens it as keepalived does.
    fn writer(path: &Path) -> File {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        File::from(open(path, flags, Mode::empty()).unwrap())
    }

    #[test]
    fn what_is_written_is_read_over_restarts_and_new_fifos() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("dir/fifo");
        let mut fifo = Fifo::new(&path).unwrap();
        assert!(fifo.lines().is_empty(), "not even its directory is there");
        std::fs::create_dir(temp.path().join("dir")).unwrap();
        assert!(fifo.lines().is_empty());
        let mut old = writer(&path);
        old.write_all(b"one\ntw").unwrap();
        assert_eq!(fifo.lines(), ["one"]);
        old.write_all(b"o\nthree\n").unwrap();
        drop(old);
        assert_eq!(fifo.lines(), ["two", "three"]);
        // A restart in which it stays.
        writer(&path).write_all(b"four\n").unwrap();
        assert_eq!(fifo.lines(), ["four"]);
        // One in which it is made anew: the last words of the old one come first.
        let mut old = writer(&path);
        old.write_all(b"stop\nhal").unwrap();
        std::fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let mut new = writer(&path);
        new.write_all(b"master\n").unwrap();
        assert_eq!(fifo.lines(), ["stop", "master"]);
        // Removed for good: it is made.
        std::fs::remove_file(&path).unwrap();
        assert!(fifo.lines().is_empty());
        writer(&path).write_all(&[b'x'; 10_000]).unwrap();
        writer(&path).write_all(b"\nnext\n").unwrap();
        let lines = fifo.lines();
        assert_eq!((lines[0].len(), &*lines[1]), (LINE_LEN_MAX, "next"));
    }

    /// Each line comes, however soon its FIFO is removed after it.
    #[test]
    fn no_last_line_is_lost_with_its_fifo() {
        const COUNT: usize = 20_000;
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("fifo");
        let mut fifo = Fifo::new(&path).unwrap();
        let writes = std::thread::spawn(move || {
            for index in 0..COUNT {
                // Once the other end has it open.
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let mut file = loop {
                    match open(&path, flags, Mode::empty()) {
                        Ok(fd) => break File::from(fd),
                        Err(_) => std::thread::yield_now(),
                    }
                };
                file.write_all(format!("{index}\n").as_bytes()).unwrap();
                std::fs::remove_file(&path).unwrap();
            }
        });
        let mut lines = Vec::new();
        while lines.len() < COUNT && !writes.is_finished() {
            lines.extend(fifo.lines());
        }
        writes.join().unwrap();
        lines.extend(fifo.lines());
        let all: Vec<_> = (0..COUNT).map(|index| index.to_string()).collect();
        assert_eq!(lines, all);
    }

    #[test]
    fn what_others_could_write_to_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("fifo");
        for (mode, owner, is_taken) in [
            (0o600, None, true),
            (0o400, None, true),
            (0o644, None, true),
            (0o620, None, false),
            (0o602, None, false),
            (0o666, None, false),
            (0o600, Some(65534), false),
        ] {
            if owner.is_some() && !geteuid().is_root() {
                continue;
            }
            let _ = std::fs::remove_file(&path);
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            std::os::unix::fs::chown(&path, owner, None).unwrap();
            let taken = Fifo::new(&path);
            assert_eq!(taken.is_ok(), is_taken, "{mode:o} {owner:?}");
        }
    }

    #[test]
    fn nothing_is_made_behind_a_planted_symlink() {
        if !geteuid().is_root() {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir(at("victim")).unwrap();
        for name in ["of root", "planted"] {
            symlink("victim", at(name)).unwrap();
        }
        lchown(at("planted"), Some(4242), Some(4242)).unwrap();
        let refused = Fifo::new(&at("planted/fifo")).err().unwrap();
        assert!(
            refused.message.contains("is a symlink to"),
            "{}",
            refused.message
        );
        assert_eq!(std::fs::read_dir(at("victim")).unwrap().count(), 0);
        assert!(Fifo::new(&at("of root/fifo")).is_ok());
    }

    #[test]
    fn what_is_no_fifo_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        std::fs::write(&path, "").unwrap();
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for path in [path, link, temp.path().to_owned()] {
            assert!(Fifo::new(&path).is_err(), "{}", path.display());
        }
    }
}
