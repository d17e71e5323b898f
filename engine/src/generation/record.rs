//! Small records on disk: each is one file that is replaced in one step and is on disk when the
//! call returns. A record says what it is, and a BLAKE3 sum over all of it tells a damaged one
//! from a whole one.
//!
//! A journal may be longer than what memory has room for: none of it is ever there as a whole.
//!
//! Layout: `hasync`, two letters of kind, version (2 bytes, little endian), payload length (8
//! bytes), payload (serde through bincode, as messages are), BLAKE3-256 of everything before.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fstat, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fs::flush_dir;
use crate::wire::{encode_record, read_record};

const MAGIC: &[u8; 6] = b"hasync";
const VERSION: u16 = 1;
const HEADER_LEN: u64 = 18;
const LEN_AT: u64 = 10;
const SUM_LEN: u64 = 32;

/// Longest record, in bytes.
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
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let fd = openat(dir, &*fresh, flags, mode)?;
    // Whatever the umask takes away. Not every file system has modes of its own.
    let _ = fchmod(&fd, mode);
    let mut file = File::from(fd);
    let put = put(kind, value, &mut file).and_then(|()| {
        fsync(&file)?;
        Ok(renameat(dir, &*fresh, dir, kind.name)?)
    });
    if let Err(e) = put {
        // It may be long, and the disk full.
        let _ = unlinkat(dir, &*fresh, AtFlags::empty());
        return Err(e);
    }
    Ok(flush_dir(dir)?)
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
    take(kind, &mut File::from(file)).map(Some)
}

/// Removes the record in `dir`, if there is one; durable when this returns.
pub(crate) fn remove(dir: impl AsFd, kind: RecordKind) -> io::Result<()> {
    let dir = dir.as_fd();
    match unlinkat(dir, kind.name, AtFlags::empty()) {
        Ok(()) => Ok(flush_dir(dir)?),
        Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// A record's bytes.
pub(crate) fn seal<T: Serialize>(kind: RecordKind, value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::with_capacity(256));
    put(kind, value, &mut bytes)?;
    Ok(bytes.into_inner())
}

/// The value in a record's bytes.
pub(crate) fn unseal<T: DeserializeOwned>(kind: RecordKind, bytes: &[u8]) -> io::Result<T> {
    take(kind, &mut Cursor::new(bytes))
}

/// Puts a record into what is empty.
fn put<T: Serialize>(
    kind: RecordKind,
    value: &T,
    file: &mut (impl Read + Write + Seek),
) -> io::Result<()> {
    let mut out = BufWriter::new(&mut *file);
    out.write_all(MAGIC)?;
    out.write_all(&kind.letters)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&[0; 8])?;
    encode_record(value, &mut out)?;
    out.flush()?;
    drop(out);
    let end = file.stream_position()?;
    if end + SUM_LEN > RECORD_LEN_MAX {
        let message = format!("the record {:?} would be longer than 4 GiB", kind.name);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    file.seek(SeekFrom::Start(LEN_AT))?;
    file.write_all(&(end - HEADER_LEN).to_le_bytes())?;
    let sum = sum_of(file, end)?;
    file.seek(SeekFrom::Start(end))?;
    file.write_all(sum.as_bytes())
}

/// The sum over the first bytes of a record.
fn sum_of(file: &mut (impl Read + Seek), len: u64) -> io::Result<blake3::Hash> {
    file.rewind()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file.take(len))?;
    Ok(hasher.finalize())
}

/// Takes the value out of a record, of which every byte is checked before.
fn take<T: DeserializeOwned>(kind: RecordKind, file: &mut (impl Read + Seek)) -> io::Result<T> {
    let damaged = |what: &str| {
        let message = format!("the record {:?} {what}", kind.name);
        io::Error::new(io::ErrorKind::InvalidData, message)
    };
    let whole_len = file.seek(SeekFrom::End(0))?;
    if whole_len < HEADER_LEN + SUM_LEN {
        return Err(damaged("is cut off"));
    }
    file.rewind()?;
    let mut head = [0; HEADER_LEN as usize];
    file.read_exact(&mut head)?;
    let (magic, rest) = head.split_at(MAGIC.len());
    let (letters, rest) = rest.split_at(kind.letters.len());
    let (version, len) = rest.split_at(VERSION.to_le_bytes().len());
    if magic != MAGIC || letters != kind.letters {
        return Err(damaged("is something else"));
    }
    if version != VERSION.to_le_bytes() {
        return Err(damaged("is of another version of hasync"));
    }
    let covered_len = whole_len - SUM_LEN;
    if len != (covered_len - HEADER_LEN).to_le_bytes() || whole_len > RECORD_LEN_MAX {
        return Err(damaged("is cut off"));
    }
    let found = sum_of(file, covered_len)?;
    let mut sum = [0; SUM_LEN as usize];
    file.read_exact(&mut sum)?;
    if found != sum {
        return Err(damaged("is damaged"));
    }
    file.seek(SeekFrom::Start(HEADER_LEN))?;
    let mut payload = BufReader::new(file.take(covered_len - HEADER_LEN));
    let value = read_record(&mut payload).map_err(|_| damaged("does not decode"))?;
    match payload.read(&mut [0])? {
        0 => Ok(value),
        _ => Err(damaged("does not decode")),
    }
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
