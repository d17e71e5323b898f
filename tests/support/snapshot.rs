//! What a tree is, as data: every path with all that a mirror must preserve, read through
//! directory descriptors so that trees deeper than PATH_MAX are no exception.
//! `Snapshot::diff` says in words what two trees do not share.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};

/// One entry; two entries are equal when a mirror may not tell them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    /// Bytes of a regular file, 0 for everything else.
    pub(crate) size: u64,
    /// BLAKE3 of a regular file's bytes, or the target of a symlink.
    pub(crate) content: String,
    pub(crate) rdev: u64,
    /// The first path of the hard-link group in this tree, when it has another member.
    pub(crate) linked_to: Option<Vec<u8>>,
    /// What must not change when nothing is written; never part of a diff.
    pub(crate) identity: Identity,
}

/// Inode number, ctime and allocated 512-byte blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) ino: u64,
    pub(crate) ctime: (i64, u64),
    pub(crate) blocks: u64,
}

/// All entries under a root by relative path; the root itself is the empty path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) entries: BTreeMap<Vec<u8>, Entry>,
}

impl Snapshot {
    #[track_caller]
    pub(crate) fn of(root: &Path) -> Self {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, root, flags, Mode::empty())
            .unwrap_or_else(|error| panic!("{}: {error}", root.display()));
        let mut entries = BTreeMap::new();
        let stat = rustix::fs::fstat(&fd).unwrap();
        entries.insert(Vec::new(), entry(&stat, String::new()));
        let mut groups = BTreeMap::new();
        walk(fd.as_fd(), &mut Vec::new(), &mut entries, &mut groups);
        for members in groups
            .values()
            .filter(|members: &&Vec<Vec<u8>>| members.len() > 1)
        {
            let first = members.iter().min().unwrap();
            for path in members {
                entries.get_mut(path).unwrap().linked_to = Some(first.clone());
            }
        }
        Self { entries }
    }

    /// The same with some entries changed or left out.
    pub(crate) fn map(mut self, change: impl Fn(&[u8], &mut Entry)) -> Self {
        for (path, entry) in &mut self.entries {
            change(path, entry);
        }
        self
    }

    /// Differences in words, one line each; empty when the trees are equal.
    pub(crate) fn diff(&self, other: &Self) -> String {
        let mut out = String::new();
        for (path, entry) in &self.entries {
            let shown = shown(path);
            match other.entries.get(path) {
                None => writeln!(out, "only left:  {shown} ({})", entry.kind).unwrap(),
                Some(theirs) => {
                    for (what, left, right) in entry
                        .fields()
                        .into_iter()
                        .zip(theirs.fields())
                        .map(|((what, left), (_, right))| (what, left, right))
                    {
                        if left != right {
                            writeln!(out, "{shown}: {what} {left} != {right}").unwrap();
                        }
                    }
                }
            }
        }
        for (path, entry) in &other.entries {
            if !self.entries.contains_key(path) {
                writeln!(out, "only right: {} ({})", shown(path), entry.kind).unwrap();
            }
        }
        out
    }

    /// Fails with the differences unless both trees are equal.
    #[track_caller]
    pub(crate) fn assert_same(&self, other: &Self) {
        let diff = self.diff(other);
        assert!(diff.is_empty(), "the trees differ (left, right):\n{diff}");
    }

    /// Fails unless not a single inode was touched since `before`.
    #[track_caller]
    pub(crate) fn assert_untouched_since(&self, before: &Self) {
        before.assert_same(self);
        for (path, entry) in &self.entries {
            let then = before.entries[path].identity;
            assert!(
                entry.identity == then,
                "{} was rewritten: {then:?}",
                shown(path)
            );
        }
    }

    /// True when some path component is hasync's working directory.
    pub(crate) fn litter(&self) -> Vec<String> {
        let is_litter = |path: &&Vec<u8>| {
            path.split(|b| *b == b'/')
                .any(|part| part.starts_with(b".hasync"))
        };
        self.entries
            .keys()
            .filter(is_litter)
            .map(|path| shown(path))
            .collect()
    }
}

impl Entry {
    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("type", self.kind.to_string()),
            ("mode", format!("{:o}", self.mode)),
            ("uid", self.uid.to_string()),
            ("gid", self.gid.to_string()),
            ("mtime", format!("{}.{:09}", self.mtime.0, self.mtime.1)),
            ("size", self.size.to_string()),
            ("content", self.content.clone()),
            ("rdev", format!("{:x}", self.rdev)),
            (
                "linked to",
                self.linked_to.as_deref().map_or_else(|| "-".into(), shown),
            ),
        ]
    }
}

/// A path as a person can read it on one line.
pub(crate) fn shown(path: &[u8]) -> String {
    if path.is_empty() {
        ".".into()
    } else {
        path.escape_ascii().to_string()
    }
}

type Groups = BTreeMap<(u64, u64), Vec<Vec<u8>>>;

fn walk(
    dir: BorrowedFd<'_>,
    path: &mut Vec<u8>,
    entries: &mut BTreeMap<Vec<u8>, Entry>,
    groups: &mut Groups,
) {
    let names: Vec<Vec<u8>> = Dir::read_from(dir)
        .unwrap()
        .map(|item| item.unwrap().file_name().to_bytes().to_vec())
        .filter(|name| name != b"." && name != b"..")
        .collect();
    for name in names {
        let Ok(stat) = rustix::fs::statat(dir, &name[..], AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let len = path.len();
        if len > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        let content = content_of(dir, &name, &stat);
        entries.insert(path.clone(), entry(&stat, content));
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Ok(inner) = rustix::fs::openat(dir, &name[..], flags, Mode::empty()) {
                walk(inner.as_fd(), path, entries, groups);
            }
        } else if stat.st_nlink > 1 {
            groups
                .entry((stat.st_dev, stat.st_ino))
                .or_default()
                .push(path.clone());
        }
        path.truncate(len);
    }
}

fn content_of(dir: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> String {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            // What is looked at is not read by anybody else.
            let quietly = rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty());
            let opened = quietly.or_else(|_| rustix::fs::openat(dir, name, flags, Mode::empty()));
            let Ok(fd) = opened else {
                return "unreadable".into();
            };
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(std::fs::File::from(fd)).unwrap();
            hasher.finalize().to_hex()[..16].to_owned()
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(dir, name, Vec::new()).unwrap();
            shown(target.to_bytes())
        }
        _ => String::new(),
    }
}

fn entry(stat: &Stat, content: String) -> Entry {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => 'f',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Unknown => '?',
    };
    Entry {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap()),
        size: if kind == 'f' {
            u64::try_from(stat.st_size).unwrap()
        } else {
            0
        },
        content,
        rdev: if matches!(kind, 'c' | 'b') {
            stat.st_rdev
        } else {
            0
        },
        linked_to: None,
        identity: Identity {
            ino: stat.st_ino,
            ctime: (stat.st_ctime, stat.st_ctime_nsec),
            blocks: u64::try_from(stat.st_blocks).unwrap(),
        },
    }
}
