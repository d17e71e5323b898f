//! How fast this node reads and sums files: measured on a sample of a tree's own, for plans.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};

use crate::fs::{Root, names, open_dir_below};
use crate::path::{RelPath, is_reserved};

/// Fewer bytes say nothing.
const LEN_MIN: u64 = 1 << 20;

/// What a sample gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Bytes read and summed.
    pub len: u64,
    /// How long that took.
    pub took: Duration,
}

impl Sample {
    /// Bytes per second; `None` if there was too little to tell.
    #[must_use]
    pub fn bytes_per_s(&self) -> Option<f64> {
        (self.len >= LEN_MIN).then(|| self.len as f64 / self.took.as_secs_f64().max(1e-6))
    }
}

/// Reads and sums regular files below `root`, in whatever order they come, until `max_len` bytes
/// are read or `max_time` has passed. What cannot be read is passed over; nothing is followed.
///
/// # Errors
///
/// If `root` cannot be opened.
pub fn sample(root: &Path, max_len: u64, max_time: Duration) -> io::Result<Sample> {
    let root = Root::open(root)?;
    let top = root.open_dir(&RelPath::root())?;
    let mut sample = Sample::default();
    let mut dirs = vec![RelPath::root()];
    while let Some(path) = dirs.pop() {
        let Ok(dir) = open_dir_below(&top, &path) else {
            continue;
        };
        for name in names(&dir).unwrap_or_default() {
            if is_reserved(&name) {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let Ok(fd) = openat(&dir, &*name, flags, Mode::empty()) else {
                continue;
            };
            match fstat(&fd).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
                Ok(FileType::Directory) => dirs.push(path.join(&name)),
                Ok(FileType::RegularFile) => {
                    let left = max_len.saturating_sub(sample.len);
                    let began = Instant::now();
                    sample.len += sum(File::from(fd), left);
                    sample.took += began.elapsed();
                }
                _ => {}
            }
            if sample.len >= max_len || sample.took >= max_time {
                return Ok(sample);
            }
        }
    }
    Ok(sample)
}

/// Sums a file as far as it can be read, at most `max_len` bytes of it.
fn sum(file: File, max_len: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    // What was read before an error counts as well.
    let _ = hasher.update_reader(file.take(max_len));
    std::hint::black_box(hasher.finalize());
    hasher.count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sample_is_of_regular_files_and_bounded() {
        let temp = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        let len = |max_len| sample(temp.path(), max_len, hour).unwrap().len;
        assert_eq!(sample(temp.path(), 9, hour).unwrap().bytes_per_s(), None);
        std::fs::create_dir_all(temp.path().join("a/b")).unwrap();
        std::fs::create_dir_all(temp.path().join(".hasync")).unwrap();
        for file in ["one", "a/two", "a/b/three", ".hasync/own"] {
            std::fs::write(temp.path().join(file), vec![7; 700_000]).unwrap();
        }
        std::os::unix::fs::symlink("one", temp.path().join("link")).unwrap();
        let fifo = temp.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        assert_eq!(len(u64::MAX), 2_100_000);
        assert_eq!(len(1_000_000), 1_000_000);
        assert!(
            sample(temp.path(), u64::MAX, hour)
                .unwrap()
                .bytes_per_s()
                .is_some()
        );
        assert!(sample(&temp.path().join("none"), 1, hour).is_err());
    }
}
