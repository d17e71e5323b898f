//! Copies of entries, made in staging, with all of their metadata.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Mode, SeekFrom, copy_file_range, ioctl_ficlone, mkdirat, openat, seek};
use rustix::io::Errno;

use crate::apply::{create_file, create_node, set_node_attrs};
use crate::entry::Body;
use crate::fs::{Attrs, DIR_FLAGS, FileDir, Listed, close_written, set_new_attrs};

/// Makes in `dir` a copy of an entry that is at `from`: all of a file, a directory without what is
/// in it. It is made with the permissions that it is to have, as far as that goes: not everywhere
/// can they be changed.
pub(crate) fn copy(
    (from, from_name): (impl AsFd, &[u8]),
    then: &Listed,
    attrs: &Attrs,
    dir: impl AsFd,
    name: &[u8],
) -> io::Result<()> {
    let (dir, entry) = (dir.as_fd(), &then.entry);
    match &entry.body {
        Body::Dir => {
            mkdirat(
                dir,
                name,
                Mode::from_raw_mode(entry.mode & 0o777) | Mode::RWXU,
            )?;
            let made = File::from(openat(dir, name, DIR_FLAGS, Mode::empty())?);
            set_new_attrs(&made, attrs.clone()).map(drop)
        }
        Body::File { .. } => {
            let (basis, _) = FileDir::new(from)?.open(from_name)?;
            let file = create_file(dir, name, entry.mode)?;
            copy_content(&basis, &file)?;
            set_new_attrs(&file, attrs.clone())?;
            close_written(file)
        }
        _ => {
            create_node(dir, name, entry)?;
            set_node_attrs(dir, name, entry, attrs)
        }
    }
}

/// Makes the empty `to` what `from` holds: shared where the file system can, else copied, holes
/// staying holes.
fn copy_content(from: &File, to: &File) -> io::Result<()> {
    if ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let len = from.metadata()?.len();
    to.set_len(len)?;
    let mut at = 0;
    while at < len {
        let data = match seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => break,
            // A file system that does not tell has no holes.
            Err(_) => at,
        };
        let end = seek(from, SeekFrom::Hole(data)).map_or(len, |hole| hole.min(len));
        copy_range(from, to, data, end)?;
        at = end.max(data + 1);
    }
    Ok(())
}

fn copy_range(from: &File, to: &File, mut at: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut buffer = Vec::new();
    while at < end {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        let (mut from_at, mut to_at) = (at, at);
        let result = copy_file_range(from, Some(&mut from_at), to, Some(&mut to_at), left);
        let copied = match result {
            Ok(copied) => copied,
            // Two file systems, or one that cannot.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                buffer.resize(left.min(COPY_LEN), 0);
                let read = from.read_at(&mut buffer, at)?;
                to.write_all_at(buffer.get(..read).unwrap_or_default(), at)?;
                read
            }
            Err(e) => return Err(e.into()),
        };
        if copied == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += copied as u64;
    }
    Ok(())
}

/// Bytes copied at once where the kernel does not copy by itself.
const COPY_LEN: usize = 1 << 20;
