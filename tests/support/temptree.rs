//! A scratch directory and the calls that put every kind of file into it.
//! It lives on tmpfs when that is roomy, since most tests care for names, not for disks.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use filetime::FileTime;
use rustix::fs::{CWD, FileType, Mode};

/// Below this, /dev/shm is a container's token share and not a place for test data.
const ROOMY_BYTES: u64 = 1 << 30;

/// A directory that is removed with everything in it when dropped.
pub(crate) struct TempTree {
    dir: tempfile::TempDir,
}

impl TempTree {
    pub(crate) fn new() -> Self {
        let shm = Path::new("/dev/shm");
        let roomy = rustix::fs::statvfs(shm)
            .is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= ROOMY_BYTES);
        Self::within(if roomy { shm } else { Path::new("/tmp") })
    }

    /// A scratch directory on a given file system.
    pub(crate) fn within(parent: &Path) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hasync-test-")
            .tempdir_in(parent)
            .unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The path with a trailing slash: a SRC that means the directory's contents.
    pub(crate) fn contents_of(&self, name: &str) -> String {
        format!("{}/", self.path(name).display())
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Makes the parents that `name` needs.
    pub(crate) fn write(&self, name: impl AsRef<Path>, data: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }

    pub(crate) fn mkdir(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub(crate) fn symlink(&self, to: impl AsRef<Path>, name: impl AsRef<Path>) {
        std::os::unix::fs::symlink(to, self.path(name)).unwrap();
    }

    pub(crate) fn hard_link(&self, old: impl AsRef<Path>, new: impl AsRef<Path>) {
        fs::hard_link(self.path(old), self.path(new)).unwrap();
    }

    pub(crate) fn fifo(&self, name: impl AsRef<Path>) {
        make_node(&self.path(name), FileType::Fifo, 0, 0);
    }

    pub(crate) fn socket(&self, name: impl AsRef<Path>) {
        make_node(&self.path(name), FileType::Socket, 0, 0);
    }

    pub(crate) fn char_device(&self, name: impl AsRef<Path>, major: u32, minor: u32) {
        make_node(&self.path(name), FileType::CharacterDevice, major, minor);
    }

    pub(crate) fn block_device(&self, name: impl AsRef<Path>, major: u32, minor: u32) {
        make_node(&self.path(name), FileType::BlockDevice, major, minor);
    }

    pub(crate) fn chmod(&self, name: impl AsRef<Path>, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn chown(&self, name: impl AsRef<Path>, uid: u32, gid: u32) {
        std::os::unix::fs::lchown(self.path(name), Some(uid), Some(gid)).unwrap();
    }

    /// Sets the mtime of the entry itself, also of a symlink.
    pub(crate) fn mtime(&self, name: impl AsRef<Path>, seconds: i64, nanos: u32) {
        set_mtime(&self.path(name), seconds, nanos);
    }

    pub(crate) fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }
}

/// A name from raw bytes.
pub(crate) fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

pub(crate) fn make_node(path: &Path, kind: FileType, major: u32, minor: u32) {
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o644), device)
        .unwrap_or_else(|error| panic!("mknod {}: {error}", path.display()));
}

pub(crate) fn set_mtime(path: &Path, seconds: i64, nanos: u32) {
    let time = FileTime::from_unix_time(seconds, nanos);
    filetime::set_symlink_file_times(path, time, time).unwrap();
}
