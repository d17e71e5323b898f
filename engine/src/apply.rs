//! Making entries in staging: content written and summed as it is written, metadata set before
//! anybody can see the entry.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, mknodat, openat, symlinkat};
use rustix::io::Errno;

use crate::delta::Output;
use crate::entry::{Body, Entry};
use crate::error::is_no_space;
use crate::fs::{Attrs, can_hold, set_attrs};

/// Bytes of zeros worth a hole: the usual block of a file system.
const HOLE_LEN: usize = 4096;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Makes an empty regular file in a directory that only this user can enter, to be filled and then
/// given its metadata. Most files then have the `mode` that they are to have, and need no call to
/// get it; the user can open it again whatever that is.
pub(crate) fn create_file(dir: impl AsFd, name: &[u8], mode: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(mode & 0o777) | Mode::RUSR | Mode::WUSR;
    Ok(File::from(openat(dir, name, flags, mode)?))
}

/// Makes a symlink, device, fifo or socket, to be given its metadata.
pub(crate) fn create_node(dir: impl AsFd, name: &[u8], entry: &Entry) -> io::Result<()> {
    let dir = dir.as_fd();
    let node = |file_type, rdev| mknodat(dir, name, file_type, Mode::RUSR | Mode::WUSR, rdev);
    match &entry.body {
        Body::Symlink { target } => symlinkat(target.as_slice(), dir, name)?,
        Body::CharDevice { rdev } => node(FileType::CharacterDevice, *rdev)?,
        Body::BlockDevice { rdev } => node(FileType::BlockDevice, *rdev)?,
        Body::Fifo => node(FileType::Fifo, 0)?,
        Body::Socket => node(FileType::Socket, 0)?,
        Body::File { .. } | Body::Dir | Body::Way | Body::Unmirrored(_) | Body::Gone => {
            return Err(io::ErrorKind::InvalidInput.into());
        }
    }
    Ok(())
}

/// Gives it its metadata.
pub(crate) fn set_node_attrs(
    dir: impl AsFd,
    name: &[u8],
    entry: &Entry,
    attrs: &Attrs,
) -> io::Result<()> {
    let c_name = std::ffi::CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    let attrs = Attrs {
        mode: attrs.mode.filter(|_| entry.symlink_target().is_none()),
        ..attrs.clone()
    };
    set_attrs(dir.as_fd(), &c_name, None, &attrs)
}

/// Has something give way on a full disk.
pub(crate) trait MakeRoom: std::fmt::Debug + Send + Sync {
    /// Returns whether something did.
    fn make(&self) -> bool;
}

/// A file being written front to back, with holes where asked for.
#[derive(Debug)]
pub(crate) struct FileSink {
    file: File,
    room: Arc<dyn MakeRoom>,
    sparse: bool,
    len: u64,
    /// The file ends with a hole that nothing has been written after yet.
    ends_with_hole: bool,
}

impl FileSink {
    pub(crate) fn new(file: File, sparse: bool, room: Arc<dyn MakeRoom>) -> Self {
        FileSink {
            file,
            room,
            sparse,
            len: 0,
            ends_with_hole: false,
        }
    }

    /// Whether the file can get that long. Nothing has been written yet.
    pub(crate) fn can_hold(&self, len: u64) -> bool {
        can_hold(&self.file, len)
    }

    /// Writes the whole of a small file.
    pub(crate) fn write_content(&mut self, content: &[u8]) -> io::Result<()> {
        if !self.sparse {
            return self.write_all(content);
        }
        let is_zero = |block: &&[u8]| block.len() == HOLE_LEN && **block == ZEROS[..HOLE_LEN];
        content.chunks(HOLE_LEN).try_for_each(|block| {
            if is_zero(&block) {
                self.zero(HOLE_LEN as u64)
            } else {
                self.write_all(block)
            }
        })
    }

    /// Gives the file its full length and hands it back.
    pub(crate) fn finish(self) -> io::Result<File> {
        if self.ends_with_hole {
            self.file.set_len(self.len)?;
        }
        Ok(self.file)
    }
}

impl Output for FileSink {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => rest = rest.get(len..).unwrap_or_default(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if is_no_space(&e) && self.room.make() => {}
                Err(e) => return Err(e),
            }
        }
        self.len += bytes.len() as u64;
        self.ends_with_hole = false;
        Ok(())
    }

    /// What is a hole on the source is one here, whatever is made of other zeros.
    fn hole(&mut self, len: u64) -> io::Result<()> {
        let end = self.len.checked_add(len).ok_or(Errno::FBIG)?;
        self.file.seek(SeekFrom::Start(end))?;
        self.len = end;
        self.ends_with_hole = true;
        Ok(())
    }

    fn zero(&mut self, len: u64) -> io::Result<()> {
        if self.sparse {
            return self.hole(len);
        }
        let mut left = len;
        while left > 0 {
            let step = left.min(ZEROS.len() as u64);
            self.write_all(&ZEROS[..step as usize])?;
            left -= step;
        }
        Ok(())
    }
}
