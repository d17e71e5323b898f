//! Where a directory lies, so that two directories that share entries are recognised by whatever
//! path each is reached: another spelling, a symlink, a bind mount of the same directory, of one
//! above or of one below it.

use std::ffi::{OsStr, OsString};
use std::fs::read_link;
use std::io;
use std::iter;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat, openat};
use serde::{Deserialize, Serialize};

use super::root::{Root, dir_id};
use crate::path::RelPath;

/// Steps up from a directory to `/` that are taken at most.
const ABOVE_MAX: usize = 4096;

/// An open directory as a process finds it: it says the same to any other process of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Its path from `/`; empty where `/proc` does not tell.
    #[serde(with = "serde_bytes")]
    pub(crate) path: Vec<u8>,
    /// Device and inode of it and of the directories above, the closest first, as far as this user
    /// may look.
    pub(crate) ids: Vec<(u64, u64)>,
    /// Number of the mount that it is in; 0 if the kernel does not tell.
    pub(crate) mount: u64,
}

impl Seen {
    pub(crate) fn of(dir: impl AsFd) -> io::Result<Self> {
        let dir = dir.as_fd();
        let path = read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).unwrap_or_default();
        let above = ancestors(dir).map_while(|dir| id(dir.ok()?).ok());
        Ok(Seen {
            path: path.into_os_string().into_vec(),
            ids: iter::once(id(dir)?).chain(above).collect(),
            mount: dir_id(dir)?.mount.1,
        })
    }

    /// Which of the directories above it that one is, counted from itself.
    fn level_of(&self, other: &Seen) -> Option<usize> {
        let top = other.ids.first()?;
        self.ids.iter().position(|id| id == top)
    }

    /// Its last `levels` names; `None` if they are not known.
    fn names(&self, levels: usize) -> Option<Vec<u8>> {
        let names: Vec<&[u8]> = self.path.split(|&b| b == b'/').skip(1).collect();
        let from = names.len().checked_sub(levels)?;
        Some(names.get(from..)?.join(&b'/'))
    }
}

/// What a directory holds, as far as it takes to tell whether another holds some of it.
#[derive(Debug)]
pub(crate) struct Extent {
    seen: Seen,
    /// What the mount table says of it: what it is itself, if that is known.
    own: Option<Region>,
    /// And what is mounted below it, and where.
    mounted: Vec<(PathBuf, Region)>,
}

/// A directory of a file system and all below it, by the path that the file system itself gives it.
#[derive(Clone, Debug)]
struct Region {
    device: String,
    path: PathBuf,
}

/// One directory that two others hold, or are: no directory above it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    /// Its path below either of them, where that is known.
    pub(crate) paths: Option<(Vec<u8>, Vec<u8>)>,
    /// How many names the way to it goes down in the first of them until it comes to another file
    /// system.
    pub(crate) leaves_at: Option<usize>,
    /// The first of them lies in the second, as the directories above it tell.
    pub(crate) is_below: bool,
}

impl Region {
    fn overlaps(&self, other: &Region) -> bool {
        self.way_to(other).or_else(|| other.way_to(self)).is_some()
    }

    /// The path down to the other one, if that is in it.
    fn way_to<'a>(&self, other: &'a Region) -> Option<&'a Path> {
        let is_same = self.device == other.device;
        is_same.then(|| other.path.strip_prefix(&self.path).ok())?
    }
}

impl Extent {
    pub(crate) fn of(dir: impl AsFd, mounts: &Mounts) -> io::Result<Self> {
        Ok(Extent::told(Seen::of(dir)?, mounts))
    }

    /// Of a directory that another process of this machine has open.
    pub(crate) fn told(seen: Seen, mounts: &Mounts) -> Self {
        let (own, mounted) = mounts.regions(&seen);
        Extent { seen, own, mounted }
    }

    /// Its path, for messages.
    pub(crate) fn path(&self) -> &[u8] {
        &self.seen.path
    }

    /// Whether it is `other`, seen by the same mount or another.
    pub(crate) fn is_same(&self, other: &Extent) -> bool {
        self.seen.level_of(&other.seen) == Some(0)
    }

    /// Whether it is `other`, or lies in it.
    pub(crate) fn is_within(&self, other: &Extent) -> bool {
        let is_mounted_from = |region: &Region| {
            let mut of_other = other.regions();
            of_other.any(|(_, other)| other.way_to(region).is_some())
        };
        self.seen.level_of(&other.seen).is_some() || self.own.as_ref().is_some_and(is_mounted_from)
    }

    /// Whether anything is in both. That the same is mounted below each does not count: a pair of
    /// directories with a `/proc` in them has nothing in common.
    pub(crate) fn overlaps(&self, other: &Extent) -> bool {
        let shares = |one: &Extent, other: &Extent| {
            let own = one.own.iter();
            own.flat_map(|own| other.regions().map(move |(_, region)| (own, region)))
                .any(|(own, region)| own.overlaps(region))
        };
        self.is_within(other) || other.is_within(self) || shares(self, other) || shares(other, self)
    }

    /// All directories that are in both. What is at the same place of each does not count: whoever
    /// makes one equal to the other finds it so.
    pub(crate) fn shared(&self, other: &Extent) -> Vec<Shared> {
        let mut found: Vec<Shared> = self.shared_above(other).into_iter().collect();
        for (here, one) in self.regions() {
            for (there, another) in other.regions() {
                let (here_at, there_at) = match (one.way_to(another), another.way_to(one)) {
                    (Some(down), _) => (here.join(down), there.to_owned()),
                    (None, Some(down)) => (here.to_owned(), there.join(down)),
                    (None, None) => continue,
                };
                let is_seen =
                    self.innermost(&here_at) == here && other.innermost(&there_at) == there;
                let are_alike = here_at == there_at && !bytes_of(&here_at).is_empty();
                let is_other = |own: &Region| own.device != one.device;
                let leaves = self.own.as_ref().is_some_and(is_other);
                let shared = Shared {
                    leaves_at: leaves.then(|| here.components().count()),
                    is_below: false,
                    paths: Some((bytes_of(&here_at), bytes_of(&there_at))),
                };
                let is_known = |known: &Shared| known.paths == shared.paths;
                if is_seen && !are_alike && !found.iter().any(is_known) {
                    found.push(shared);
                }
            }
        }
        found
    }

    /// The one that the directories above tell of: either of them lies in the other.
    fn shared_above(&self, other: &Extent) -> Option<Shared> {
        if let Some(levels) = other.seen.level_of(&self.seen) {
            let own = self.seen.ids.first()?.0;
            let on_the_way = other.seen.ids.iter().take(levels).rev();
            let names = other.seen.names(levels);
            return Some(Shared {
                paths: names.map(|names| (names, Vec::new())),
                leaves_at: on_the_way
                    .map(|id| id.0)
                    .position(|dev| dev != own)
                    .map(|at| at + 1),
                is_below: false,
            });
        }
        let names = self.seen.names(self.seen.level_of(&other.seen)?);
        Some(Shared {
            paths: names.map(|names| (Vec::new(), names)),
            leaves_at: None,
            is_below: true,
        })
    }

    /// What it is itself and what is mounted in it, with the paths below it.
    fn regions(&self) -> impl Iterator<Item = (&Path, &Region)> {
        let own = self.own.iter().map(|own| (Path::new(""), own));
        own.chain(self.mounted.iter().map(|(at, region)| (&**at, region)))
    }

    /// Where that is mounted, or nothing if it is in no mount below, which is where a path leads.
    fn innermost(&self, path: &Path) -> &Path {
        let above = self.mounted.iter().filter(|(at, _)| path.starts_with(at));
        let innermost = above.max_by_key(|(at, _)| at.components().count());
        innermost.map_or(Path::new(""), |(at, _)| at)
    }
}

fn bytes_of(path: &Path) -> Vec<u8> {
    // What nothing was joined to ends in a slash.
    let path: PathBuf = path.components().collect();
    path.into_os_string().into_vec()
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

    /// What a directory is, and what is mounted below it: of two mounts at one place, the upper.
    fn regions(&self, seen: &Seen) -> (Option<Region>, Vec<(PathBuf, Region)>) {
        let own = self.0.iter().find(|mount| mount.id == seen.mount);
        if own.is_none() && seen.mount != 0 {
            // Seen in another namespace, where the path leads elsewhere.
            return (None, Vec::new());
        }
        let here = Path::new(OsStr::from_bytes(&seen.path));
        let own = own.and_then(|own| Some(own.region.below(here.strip_prefix(&own.point).ok()?)));
        let below_here = |mount: &Mount| {
            let at = mount.point.strip_prefix(here).ok()?;
            let is_below = !at.as_os_str().is_empty() && here.is_absolute();
            is_below.then(|| (at.to_owned(), mount.region.clone()))
        };
        let mut mounted: Vec<_> = self.0.iter().rev().filter_map(below_here).collect();
        mounted.sort_by(|(one, _), (other, _)| one.cmp(other));
        mounted.dedup_by(|(later, _), (upper, _)| later == upper);
        (own, mounted)
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

    fn extent(ino: u64, own: Region, mounted: Option<(&str, Region)>) -> Extent {
        let seen = Seen {
            path: b"/srv/tree".to_vec(),
            ids: vec![(0, ino)],
            mount: 0,
        };
        let mounted = mounted.map(|(at, region)| (at.into(), region));
        Extent {
            seen,
            own: Some(own),
            mounted: mounted.into_iter().collect(),
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
    fn the_way_between_two_directories_leaves_a_file_system_or_not() {
        let seen = |path: &str, ids: &[(u64, u64)]| Extent {
            seen: Seen {
                path: path.as_bytes().to_vec(),
                ids: ids.to_vec(),
                mount: 0,
            },
            own: None,
            mounted: Vec::new(),
        };
        let top = seen("/srv", &[(1, 5), (1, 2)]);
        for (path, ids, names, leaves_at) in [
            ("/srv", vec![(1, 5), (1, 2)], Some(""), None),
            ("/srv/a", vec![(1, 6), (1, 5), (1, 2)], Some("a"), None),
            ("/srv/a", vec![(2, 2), (1, 5), (1, 2)], Some("a"), Some(1)),
            (
                "/srv/a/b",
                vec![(2, 3), (2, 2), (1, 5)],
                Some("a/b"),
                Some(1),
            ),
            (
                "/srv/a/b",
                vec![(2, 2), (1, 6), (1, 5)],
                Some("a/b"),
                Some(2),
            ),
            // Back on the first file system, after another.
            (
                "/srv/a/b",
                vec![(1, 7), (2, 2), (1, 5)],
                Some("a/b"),
                Some(1),
            ),
            ("", vec![(1, 6), (1, 5), (1, 2)], None, None),
        ] {
            let below = seen(path, &ids);
            let bytes = names.map(|names| names.as_bytes().to_vec());
            let paths = bytes.clone().map(|names| (names, Vec::new()));
            let found = &top.shared(&below)[0];
            assert_eq!(
                (&found.paths, found.leaves_at, found.is_below),
                (&paths, leaves_at, false)
            );
            let back = &below.shared(&top)[0];
            let paths = bytes.map(|names| (Vec::new(), names));
            assert_eq!(
                (&back.paths, back.leaves_at, back.is_below),
                (&paths, None, names != Some(""))
            );
        }
        assert_eq!(top.shared(&seen("/x", &[(1, 9), (1, 2)])), []);
    }

    #[test]
    fn what_is_mounted_from_the_same_place_overlaps() {
        let tree = extent(
            1,
            region("8:1", "/srv/tree"),
            Some(("proc", region("0:5", "/"))),
        );
        let mounted = |at, device, path| Some((at, region(device, path)));
        // Where each of the two has the other, or a part of it.
        for (own, mounted, shared, overlaps) in [
            (region("8:1", "/srv/tree"), None, &[("", "")][..], true),
            (region("8:1", "/srv/tree/sub"), None, &[("sub", "")], true),
            (region("8:1", "/srv"), None, &[("", "tree")], true),
            (region("8:1", "/"), None, &[("", "srv/tree")], true),
            (region("8:1", "/srv/tree2"), None, &[], false),
            (region("8:2", "/srv/tree"), None, &[], false),
            // In the tree that is hidden below what is mounted there.
            (region("8:1", "/srv/tree/proc/x"), None, &[], true),
            // What is mounted in the tree, mounted elsewhere too.
            (region("0:5", "/x"), None, &[("proc/x", "")], true),
            // A part of the tree mounted below the other.
            (
                region("8:2", "/"),
                mounted("at/x", "8:1", "/srv/tree/sub"),
                &[("sub", "at/x")],
                true,
            ),
            // The same file system below both.
            (region("8:2", "/"), mounted("proc", "0:5", "/"), &[], false),
            (
                region("8:2", "/"),
                mounted("old/proc", "0:5", "/"),
                &[("proc", "old/proc")],
                false,
            ),
        ] {
            let other = extent(2, own, mounted);
            assert_eq!(tree.overlaps(&other), overlaps, "{other:?}");
            assert_eq!(other.overlaps(&tree), overlaps, "{other:?}");
            let found = |one: &Extent, other: &Extent| {
                let paths = one.shared(other).into_iter().filter_map(|at| at.paths);
                paths.collect::<Vec<_>>()
            };
            let bytes = |text: &str| text.as_bytes().to_vec();
            let (there, back): (Vec<_>, Vec<_>) = shared
                .iter()
                .map(|(a, b)| ((bytes(a), bytes(b)), (bytes(b), bytes(a))))
                .unzip();
            assert_eq!(found(&tree, &other), there, "{other:?}");
            assert_eq!(found(&other, &tree), back, "{other:?}");
        }
    }
}
