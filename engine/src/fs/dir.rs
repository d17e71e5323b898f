//! Reading a directory: names by `getdents`, metadata by `statx` with only the fields needed.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, RawDir, Statx, StatxFlags, readlinkat, statx};
use rustix::io::Errno;

use crate::entry::{Body, Entry, Time};
use crate::path::RESERVED_NAME;

/// Bytes of directory records read by one `getdents`; a hundred entries need about 4 KiB.
const GETDENTS_BUFFER_LEN: usize = 64 * 1024;

const STAT_MASK: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::MODE)
    .union(StatxFlags::NLINK)
    .union(StatxFlags::UID)
    .union(StatxFlags::GID)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::INO)
    .union(StatxFlags::SIZE);

/// An entry as found on disk, with what only this side needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) entry: Entry,
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) nlink: u32,
}

/// A directory's entries in no particular order, and the names that could not be examined.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Listed>,
    pub(crate) failed: Vec<(Vec<u8>, io::Error)>,
    /// Whether hasync's own directory is in there; it is never listed as an entry.
    pub(crate) has_reserved: bool,
}

/// Reads the directory `dir`, leaving out names for which `skip` says so (a filter, which needs
/// to know whether the name is a directory).
pub(crate) fn list(
    dir: BorrowedFd<'_>,
    skip: &mut dyn FnMut(&[u8], bool) -> bool,
) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut buffer = Vec::with_capacity(GETDENTS_BUFFER_LEN);
    let mut records = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(record) = records.next() {
        let record = record?;
        let name = record.file_name();
        match name.to_bytes() {
            b"." | b".." => continue,
            RESERVED_NAME => {
                listing.has_reserved = true;
                continue;
            }
            _ => {}
        }
        let known_type = record.file_type();
        if known_type != FileType::Unknown
            && skip(name.to_bytes(), known_type == FileType::Directory)
        {
            continue;
        }
        match stat(dir, name) {
            Ok(listed) => {
                if known_type == FileType::Unknown && skip(name.to_bytes(), listed.entry.is_dir()) {
                    continue;
                }
                listing.entries.push(listed);
            }
            // Gone between the two calls: as if it had gone before.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::NOENT) => {}
            Err(e) => listing.failed.push((name.to_bytes().to_vec(), e)),
        }
    }
    Ok(listing)
}

/// Examines one name of `dir` without following it.
pub(crate) fn stat(dir: impl AsFd, name: &CStr) -> io::Result<Listed> {
    let dir = dir.as_fd();
    let s = statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, STAT_MASK)?;
    let target = match FileType::from_raw_mode(s.stx_mode.into()) {
        FileType::Symlink => readlinkat(dir, name, Vec::new())?.into_bytes(),
        _ => Vec::new(),
    };
    Ok(listed(name.to_bytes().to_vec(), &s, target))
}

fn listed(name: Vec<u8>, s: &Statx, target: Vec<u8>) -> Listed {
    let rdev = rustix::fs::makedev(s.stx_rdev_major, s.stx_rdev_minor);
    let body = match FileType::from_raw_mode(s.stx_mode.into()) {
        FileType::Directory => Body::Dir,
        FileType::Symlink => Body::Symlink { target },
        FileType::CharacterDevice => Body::CharDevice { rdev },
        FileType::BlockDevice => Body::BlockDevice { rdev },
        FileType::Fifo => Body::Fifo,
        FileType::Socket => Body::Socket,
        FileType::RegularFile | FileType::Unknown => Body::File {
            len: s.stx_size,
            sum: None,
        },
    };
    Listed {
        entry: Entry {
            name,
            mode: u32::from(s.stx_mode) & 0o7777,
            uid: s.stx_uid,
            gid: s.stx_gid,
            mtime: Time {
                secs: s.stx_mtime.tv_sec,
                nanos: s.stx_mtime.tv_nsec,
            },
            body,
            link_to: None,
        },
        dev: rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor),
        ino: s.stx_ino,
        nlink: s.stx_nlink,
    }
}
