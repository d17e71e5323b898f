//! How long a file can get: each file system has its limit, and says so when it is to seek beyond.

use std::fs::File;
use std::os::fd::AsFd;

use nix::sys::resource::{Resource, getrlimit};
use rustix::fs::{Mode, OFlags, SeekFrom, fstatfs, openat, seek};

/// No file system in use holds less than this in one file.
const LEN_EVERYWHERE: u64 = i32::MAX as u64;

/// The limits of most file systems: what the kernel can count, and 2^32 - 1 blocks of 4 KiB (ext4).
const USUAL: [u64; 2] = [i64::MAX as u64, 0xffff_ffff << 12];

/// FAT has no unnamed files to ask with, and is known for its limit.
const FAT_MAGIC: i64 = 0x4d44;
const FAT_LEN_MAX: u64 = u32::MAX as u64;

/// The most bytes that a file in the file system of `dir` can have, as far as that can be found out
/// without a trace.
pub(crate) fn len_max(dir: impl AsFd) -> u64 {
    let own = getrlimit(Resource::RLIMIT_FSIZE).map_or(u64::MAX, |(soft, _)| soft);
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let unnamed = openat(&dir, ".", flags, Mode::RUSR | Mode::WUSR);
    let there = match unnamed.map(File::from) {
        Ok(file) => longest(&file),
        Err(_) => {
            #[allow(clippy::unnecessary_cast, reason = "narrower on other processors")]
            let is_fat = fstatfs(dir).is_ok_and(|fs| fs.f_type as i64 == FAT_MAGIC);
            if is_fat { FAT_LEN_MAX } else { u64::MAX }
        }
    };
    own.min(there)
}

fn longest(file: &File) -> u64 {
    if !can_seek(file, LEN_EVERYWHERE) {
        return u64::MAX;
    }
    let is_limit = |&&len: &&u64| can_seek(file, len) && !can_seek(file, len + 1);
    if let Some(limit) = USUAL.iter().find(is_limit) {
        return *limit;
    }
    let (mut fits, mut too_long) = (LEN_EVERYWHERE, 1 << 63);
    while too_long - fits > 1 {
        let len = fits + (too_long - fits) / 2;
        if can_seek(file, len) {
            fits = len;
        } else {
            too_long = len;
        }
    }
    fits
}

/// Whether this file, which is at its start, can get that long.
pub(crate) fn can_hold(file: &File, len: u64) -> bool {
    len <= LEN_EVERYWHERE || can_seek(file, len)
}

fn can_seek(file: &File, len: u64) -> bool {
    let can = seek(file, SeekFrom::Start(len)).is_ok();
    can && seek(file, SeekFrom::Start(0)).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_said_to_fit_fits_and_no_byte_more() {
        let temp = tempfile::tempdir().unwrap();
        let max = len_max(File::open(temp.path()).unwrap());
        let file = tempfile::tempfile_in(temp.path()).unwrap();
        if max >= i64::MAX as u64 {
            assert!(can_hold(&file, i64::MAX as u64) && !can_hold(&file, 1 << 63));
            return;
        }
        assert!(can_hold(&file, max) && !can_hold(&file, max + 1));
        file.set_len(max).unwrap();
        assert!(file.set_len(max + 1).is_err());
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
