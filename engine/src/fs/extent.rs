//! Where a directory lies, so that two directories that share entries are recognised by whatever
//! path each is reached: another spelling, a symlink, a bind mount of the same directory, of one
//! above or of one below it.

use std::ffi::OsString;
use std::fs::read_link;
use std::io;
use std::iter;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat, openat};

use super::root::{Root, dir_id};
use crate::path::RelPath;

/// Steps up from a directory to `/` that are taken at most.
const ABOVE_MAX: usize = 4096;

/// What a directory holds, as far as it takes to tell whether another holds some of it.
#[derive(Debug)]
pub(crate) struct Extent {
    id: (u64, u64),
    /// The directories above it.
    above: Vec<(u64, u64)>,
    /// What the mount table says of it: what it is itself, if that is known.
    own: Option<Region>,
    /// And what is mounted below it.
    mounted: Vec<Region>,
}

/// A directory of a file system and all below it, by the path that the file system itself gives it.
#[derive(Debug)]
struct Region {
    device: String,
    path: PathBuf,
}

impl Region {
    fn overlaps(&self, other: &Region) -> bool {
        self.device == other.device
            && (self.path.starts_with(&other.path) || other.path.starts_with(&self.path))
    }
}

impl Extent {
    pub(crate) fn of(dir: impl AsFd, mounts: &Mounts) -> io::Result<Self> {
        let dir = dir.as_fd();
        let (own, mounted) = mounts.regions(dir).unwrap_or_default();
        Ok(Extent {
            id: id(dir)?,
            above: ancestors(dir)
                .map(|dir| id(dir?))
                .collect::<Result<_, _>>()?,
            own,
            mounted,
        })
    }

    /// Whether it is `other`, seen by the same mount or another.
    pub(crate) fn is_same(&self, other: &Extent) -> bool {
        self.id == other.id
    }

    /// Whether it is `other`, or lies in it.
    pub(crate) fn is_within(&self, other: &Extent) -> bool {
        let is_mounted_from = |region: &Region| {
            let mut of_other = other.own.iter().chain(&other.mounted);
            of_other
                .any(|other| region.device == other.device && region.path.starts_with(&other.path))
        };
        self.id == other.id
            || self.above.contains(&other.id)
            || self.own.as_ref().is_some_and(is_mounted_from)
    }

    /// Whether anything is in both. That the same is mounted below each does not count: a pair of
    /// directories with a `/proc` in them has nothing in common.
    pub(crate) fn overlaps(&self, other: &Extent) -> bool {
        let shares = |one: &Extent, other: &Extent| {
            let own = one.own.iter();
            own.flat_map(|own| {
                other
                    .own
                    .iter()
                    .chain(&other.mounted)
                    .map(move |r| (own, r))
            })
            .any(|(own, region)| own.overlaps(region))
        };
        self.is_within(other) || other.is_within(self) || shares(self, other) || shares(other, self)
    }
}

/// The directories above an open one, the closest first, as the kernel knows them.
pub(crate) fn ancestors(dir: impl AsFd) -> impl Iterator<Item = io::Result<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let up = move |from: &dyn AsFd| -> io::Result<Option<OwnedFd>> {
        let above = openat(from.as_fd(), "..", flags, Mode::empty())?;
        // The top is above itself.
        Ok((id(&above)? != id(from)?).then_some(above))
    };
    let mut next = up(&dir).transpose();
    let step = move || {
        let found = next.take()?;
        if let Ok(dir) = &found {
            next = up(dir).transpose();
        }
        Some(found)
    };
    iter::from_fn(step).take(ABOVE_MAX)
}

fn id(dir: impl AsFd) -> io::Result<(u64, u64)> {
    let stat = fstat(dir)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// The mount table of this process; empty where `/proc` does not show it.
#[derive(Debug, Default)]
pub(crate) struct Mounts(Vec<Mount>);

#[derive(Debug)]
struct Mount {
    id: u64,
    /// What is mounted.
    region: Region,
    /// Where.
    point: PathBuf,
    /// It waits for somebody to open it before it mounts anything there.
    is_automount: bool,
}

impl Mounts {
    pub(crate) fn read() -> Self {
        let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        Mounts(table.split(|&b| b == b'\n').filter_map(mount).collect())
    }

    /// The paths at which something is mounted below a tree's root: what would only be mounted
    /// once it is looked at is not. What was mounted on top of another is there twice.
    pub(crate) fn below(&self, root: &Root) -> Vec<RelPath> {
        let Ok(here) = read_link(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd())) else {
            return Vec::new();
        };
        let below = |mount: &Mount| {
            let path = mount.point.strip_prefix(&here).ok()?;
            let path = RelPath::parse(path.as_os_str().as_bytes()).ok()?;
            (!path.is_root()).then_some(path)
        };
        let mounted = self.0.iter().filter(|mount| !mount.is_automount);
        mounted.filter_map(below).collect()
    }

    /// What an open directory is, and what is mounted below it.
    fn regions(&self, dir: impl AsFd) -> Option<(Option<Region>, Vec<Region>)> {
        let dir = dir.as_fd();
        let here = read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).ok()?;
        let (_, mount_id) = dir_id(dir).ok()?.mount;
        let own = self.0.iter().find(|mount| mount.id == mount_id);
        let own = own.and_then(|mount| {
            let below = here.strip_prefix(&mount.point).ok()?;
            Some(mount.region.below(below))
        });
        let is_below = |mount: &&Mount| mount.point.starts_with(&here) && mount.point != here;
        let mounted = self.0.iter().filter(is_below);
        Some((
            own,
            mounted
                .map(|mount| mount.region.below(Path::new("")))
                .collect(),
        ))
    }
}

impl Region {
    fn below(&self, path: &Path) -> Region {
        Region {
            device: self.device.clone(),
            path: self.path.join(path).components().collect(),
        }
    }
}

/// One line: id, parent, device, what of it, where, options and more, a dash, type.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (id, _parent, device) = (text()?.parse().ok()?, text()?, text()?.to_owned());
    Some(Mount {
        id,
        region: Region {
            device,
            path: unescape(fields.next()?),
        },
        point: unescape(fields.next()?),
        is_automount: fields.skip_while(|field| *field != b"-").nth(1) == Some(b"autofs"),
    })
}

/// Blanks, tabs, newlines and backslashes stand there as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.first_chunk::<3>().filter(|_| byte == b'\\');
        let octal = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &tail[3..];
            }
            None => {
                path.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(device: &str, path: &str) -> Region {
        let (device, path) = (device.to_owned(), path.into());
        Region { device, path }
    }

    fn extent(ino: u64, own: Region, mounted: Vec<Region>) -> Extent {
        Extent {
            id: (0, ino),
            above: Vec::new(),
            own: Some(own),
            mounted,
        }
    }

    #[test]
    fn a_line_of_the_mount_table_is_understood() {
        let line = b"36 35 98:0 /a\\040b /mnt/\\134x rw,noatime master:1 - ext3 /dev/root rw";
        let mount = mount(line);
        let mount = mount
            .as_ref()
            .map(|mount| (mount.id, &mount.region, mount.point.as_path()));
        let Some((36, region, point)) = mount else {
            unreachable!("{mount:?}");
        };
        assert_eq!(
            (region.device.as_str(), region.path.as_path()),
            ("98:0", Path::new("/a b"))
        );
        assert_eq!(point, Path::new("/mnt/\\x"));
        for (end, is_automount) in [
            ("rw - autofs systemd-1 rw", true),
            ("rw shared:1 master:2 - autofs map rw", true),
            ("rw autofs - ext4 autofs rw", false),
            ("rw", false),
        ] {
            let line = format!("36 35 98:0 / /mnt {end}");
            let found = super::mount(line.as_bytes()).map(|mount| mount.is_automount);
            assert_eq!(found, Some(is_automount), "{end}");
        }
    }

    #[test]
    fn what_is_mounted_from_the_same_place_overlaps() {
        let tree = || extent(1, region("8:1", "/srv/tree"), vec![region("0:5", "/")]);
        for (own, mounted, overlaps) in [
            (region("8:1", "/srv/tree"), None, true),
            (region("8:1", "/srv/tree/sub"), None, true),
            (region("8:1", "/srv"), None, true),
            (region("8:1", "/"), None, true),
            (region("8:1", "/srv/tree2"), None, false),
            (region("8:2", "/srv/tree"), None, false),
            // What is mounted in the tree, mounted elsewhere too.
            (region("0:5", "/x"), None, true),
            // A part of the tree mounted below the other.
            (
                region("8:2", "/"),
                Some(region("8:1", "/srv/tree/sub")),
                true,
            ),
            // The same file system below both.
            (region("8:2", "/"), Some(region("0:5", "/")), false),
        ] {
            let other = extent(2, own, mounted.into_iter().collect());
            assert_eq!(tree().overlaps(&other), overlaps, "{other:?}");
            assert_eq!(other.overlaps(&tree()), overlaps, "{other:?}");
        }
    }
}
