//! Small records on disk: each is one file that is replaced in one step and is on disk when the
//! call returns. A record says what it is, and a BLAKE3 sum over all of it tells a damaged one
//! from a whole one.
//!
//! Layout: `hasync`, two letters of kind, version (2 bytes, little endian), payload length (8
//! bytes), payload (serde through bincode, as messages are), BLAKE3-256 of everything before.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fstat, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::{decode_record, encode};

const MAGIC: &[u8; 6] = b"hasync";
const VERSION: u16 = 1;
const HEADER_LEN: usize = 18;
const SUM_LEN: usize = 32;

/// Longest record that is read, in bytes: a journal of some ten million ops.
const RECORD_LEN_MAX: u64 = 4 << 30;

/// What a record is, and the name of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordKind {
    pub(crate) letters: [u8; 2],
    pub(crate) name: &'static str,
}

/// Writes the record in `dir` in place of an older one. When this returns, it is on disk.
pub(crate) fn write<T: Serialize>(dir: impl AsFd, kind: RecordKind, value: &T) -> io::Result<()> {
    let dir = dir.as_fd();
    let fresh = format!("{}.new", kind.name);
    match unlinkat(dir, &*fresh, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let fd = openat(dir, &*fresh, flags, mode)?;
    // Whatever the umask takes away. Not every file system has modes of its own.
    let _ = fchmod(&fd, mode);
    let mut file = File::from(fd);
    file.write_all(&seal(kind, value)?)?;
    fsync(&file)?;
    renameat(dir, &*fresh, dir, kind.name)?;
    Ok(fsync(dir)?)
}

/// Reads the record in `dir`; `None` if there is none.
///
/// # Errors
///
/// A damaged record, or one of another version, is `InvalidData`.
pub(crate) fn read<T: DeserializeOwned>(dir: impl AsFd, kind: RecordKind) -> io::Result<Option<T>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: OwnedFd = match openat(dir, kind.name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    // Its directory may have been open to others, before it became private.
    let uid = fstat(&file)?.st_uid;
    if uid != 0 && uid != geteuid().as_raw() {
        let message = format!("the record {:?} belongs to uid {uid}", kind.name);
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut bytes = Vec::new();
    File::from(file)
        .take(RECORD_LEN_MAX)
        .read_to_end(&mut bytes)?;
    unseal(kind, &bytes).map(Some)
}

/// Removes the record in `dir`, if there is one; durable when this returns.
pub(crate) fn remove(dir: impl AsFd, kind: RecordKind) -> io::Result<()> {
    let dir = dir.as_fd();
    match unlinkat(dir, kind.name, AtFlags::empty()) {
        Ok(()) => Ok(fsync(dir)?),
        Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// A record's bytes.
pub(crate) fn seal<T: Serialize>(kind: RecordKind, value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&kind.letters);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    encode(value, &mut bytes).map_err(|e| io::Error::other(e.message))?;
    let len = (bytes.len() - HEADER_LEN) as u64;
    bytes[HEADER_LEN - 8..HEADER_LEN].copy_from_slice(&len.to_le_bytes());
    let sum = blake3::hash(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    Ok(bytes)
}

/// The value in a record's bytes.
pub(crate) fn unseal<T: DeserializeOwned>(kind: RecordKind, bytes: &[u8]) -> io::Result<T> {
    let damaged = |what: &str| {
        let message = format!("the record {:?} {what}", kind.name);
        io::Error::new(io::ErrorKind::InvalidData, message)
    };
    let (head, rest) = bytes
        .split_at_checked(HEADER_LEN)
        .ok_or_else(|| damaged("is cut off"))?;
    if head[..6] != MAGIC[..] || head[6..8] != kind.letters {
        return Err(damaged("is something else"));
    }
    if head[8..10] != VERSION.to_le_bytes() {
        return Err(damaged("is of another version of hasync"));
    }
    let len = head[10..]
        .try_into()
        .map(u64::from_le_bytes)
        .map_err(|_| damaged("is cut off"))?;
    if rest.len() as u64 != len.saturating_add(SUM_LEN as u64) {
        return Err(damaged("is cut off"));
    }
    let (covered, sum) = bytes.split_at(bytes.len() - SUM_LEN);
    if *blake3::hash(covered).as_bytes() != *sum {
        return Err(damaged("is damaged"));
    }
    decode_record(&covered[HEADER_LEN..]).ok_or_else(|| damaged("does not decode"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KIND: RecordKind = RecordKind {
        letters: *b"TS",
        name: "test",
    };

    #[test]
    fn a_record_comes_back_and_every_damage_is_seen() {
        let bytes = seal(KIND, &(7_u64, "seven".to_owned())).unwrap();
        let back: (u64, String) = unseal(KIND, &bytes).unwrap();
        assert_eq!(back, (7, "seven".to_owned()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(unseal::<(u64, String)>(KIND, &damaged).is_err(), "{at}");
            assert!(unseal::<(u64, String)>(KIND, &bytes[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn a_record_on_disk_is_replaced_and_removed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = File::open(temp.path()).unwrap();
        assert_eq!(read::<u64>(&dir, KIND).unwrap(), None);
        write(&dir, KIND, &1_u64).unwrap();
        write(&dir, KIND, &2_u64).unwrap();
        assert_eq!(read::<u64>(&dir, KIND).unwrap(), Some(2));
        remove(&dir, KIND).unwrap();
        remove(&dir, KIND).unwrap();
        assert_eq!(read::<u64>(&dir, KIND).unwrap(), None);
    }
}
