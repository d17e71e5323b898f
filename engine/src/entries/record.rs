//! One entry as it is packed: numbers are LEB128 where small ones are likely.

use crate::attributes::Attributes;
use crate::entry::{Body, Entry, Sum, Time};
use crate::fs::{Listed, WhichDir};
use crate::observer::Kind;
use crate::since::Meta;
use crate::spill::{put_number, take_number};

const TAG_MASK: u8 = 0x0f;
/// What is known of the inode follows.
const HAS_INODE: u8 = 0x10;
/// The sum of the content follows.
const HAS_SUM: u8 = 0x20;
/// The path of the first entry of the same inode follows.
const HAS_LINK: u8 = 0x40;
/// The attributes follow.
const HAS_ATTRIBUTES: u8 = 0x80;

/// Above the mode: the time is before 1970 or after 2106, and has eight bytes.
const HAS_FAR_TIME: u16 = 0x8000;
/// The time of the last access follows.
const HAS_ATIME: u16 = 0x4000;

/// An entry as it is packed. Numbers are LEB128 where small ones are likely.
pub(super) struct Record<'a> {
    /// A type and flags.
    tag: u8,
    pub(super) name: &'a [u8],
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: Time,
    atime: Option<Time>,
    /// Length of a file or of a symlink's target, or a device number.
    size: u64,
    /// The target of a symlink, and what the flags tell of.
    rest: &'a [u8],
}

pub(super) fn pack(entry: &Entry, inode: Option<&Listed>, out: &mut Vec<u8>) {
    let (mut tag, size) = match &entry.body {
        Body::File { len, .. } => (0, *len),
        Body::Dir => (DIR_TAG, 0),
        Body::Symlink { target } => (2, target.len() as u64),
        Body::CharDevice { rdev } => (3, *rdev),
        Body::BlockDevice { rdev } => (4, *rdev),
        Body::Fifo => (5, 0),
        Body::Socket => (6, 0),
        Body::Unmirrored(Kind::File) => (7, 0),
        Body::Unmirrored(Kind::Dir) => (8, 0),
        Body::Unmirrored(Kind::Symlink) => (9, 0),
        Body::Unmirrored(Kind::Device) => (10, 0),
        Body::Unmirrored(Kind::Special) => (11, 0),
        Body::Gone => (12, 0),
        Body::Way => (WAY_TAG, 0),
    };
    let sum = match &entry.body {
        Body::File { sum, .. } => sum.as_ref(),
        _ => None,
    };
    let near = u32::try_from(entry.mtime.secs);
    let flag = |is_set: bool, flag: u8| u8::from(is_set) * flag;
    tag |= flag(inode.is_some(), HAS_INODE)
        | flag(sum.is_some(), HAS_SUM)
        | flag(entry.link_to.is_some(), HAS_LINK)
        | flag(!entry.attributes.is_empty(), HAS_ATTRIBUTES);
    out.push(tag);
    put_bytes(out, &entry.name);
    let far = near.map_or(HAS_FAR_TIME, |_| 0);
    let read = entry.atime.map_or(0, |_| HAS_ATIME);
    let [m0, m1] = ((entry.mode & 0o7777) as u16 | far | read).to_le_bytes();
    let [n0, n1, n2, n3] = entry.mtime.nanos.to_le_bytes();
    let [s0, s1, s2, s3] = near.unwrap_or_default().to_le_bytes();
    out.extend_from_slice(&[m0, m1, n0, n1, n2, n3, s0, s1, s2, s3]);
    put_number(out, entry.uid.into());
    put_number(out, entry.gid.into());
    if near.is_err() {
        out.extend_from_slice(&entry.mtime.secs.to_le_bytes());
    }
    if let Some(atime) = entry.atime {
        out.extend_from_slice(&atime.secs.to_le_bytes());
        out.extend_from_slice(&atime.nanos.to_le_bytes());
    }
    put_number(out, size);
    if let Some(target) = entry.symlink_target() {
        out.extend_from_slice(target);
    }
    if let Some(inode) = inode {
        put_number(out, inode.dev);
        put_number(out, inode.ino);
        put_number(out, inode.nlink.into());
    }
    if let Some(sum) = sum {
        out.extend_from_slice(sum);
    }
    if let Some(first) = &entry.link_to {
        put_bytes(out, first);
    }
    if !entry.attributes.is_empty() {
        put_bytes(out, entry.attributes.as_bytes());
    }
}

const DIR_TAG: u8 = 1;
const WAY_TAG: u8 = 13;

pub(super) fn is_dir(record: &[u8]) -> bool {
    let tag = record.first().map(|tag| tag & TAG_MASK);
    matches!(tag, Some(DIR_TAG | WAY_TAG))
}

pub(super) fn name_of(record: &[u8]) -> &[u8] {
    let mut rest = record.get(1..).unwrap_or_default();
    take_bytes(&mut rest)
}

/// What [`Entry::canonical_cmp`] orders by.
pub(super) fn canonical_key(record: &[u8]) -> (bool, &[u8]) {
    (is_dir(record), name_of(record))
}

impl<'a> Record<'a> {
    pub(super) fn parse(record: &'a [u8]) -> Self {
        let mut rest = record;
        let [tag] = take_array(&mut rest);
        let name = take_bytes(&mut rest);
        let [m0, m1, n0, n1, n2, n3, s0, s1, s2, s3] = take_array(&mut rest);
        let (mode, nanos) = (
            u16::from_le_bytes([m0, m1]),
            u32::from_le_bytes([n0, n1, n2, n3]),
        );
        let uid = take_number(&mut rest) as u32;
        let gid = take_number(&mut rest) as u32;
        let secs = match mode & HAS_FAR_TIME {
            0 => u32::from_le_bytes([s0, s1, s2, s3]).into(),
            _ => i64::from_le_bytes(take_array(&mut rest)),
        };
        let atime = (mode & HAS_ATIME != 0).then(|| Time {
            secs: i64::from_le_bytes(take_array(&mut rest)),
            nanos: u32::from_le_bytes(take_array(&mut rest)),
        });
        let size = take_number(&mut rest);
        Record {
            tag,
            name,
            mode: mode & !(HAS_FAR_TIME | HAS_ATIME),
            uid,
            gid,
            mtime: Time { secs, nanos },
            atime,
            size,
            rest,
        }
    }

    /// The regular file that it is: its length, and its metadata.
    pub(super) fn file(&self) -> Option<(u64, Meta)> {
        let meta = Meta {
            mode: self.mode.into(),
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
        };
        (self.tag & TAG_MASK == 0).then_some((self.size, meta))
    }

    /// Whether it is another name of an entry before it.
    pub(super) fn is_linked(&self) -> bool {
        self.tag & HAS_LINK != 0
    }

    pub(super) fn kind_and_len(&self) -> (Kind, u64) {
        match self.tag & TAG_MASK {
            0 => (Kind::File, self.size),
            DIR_TAG | 8 => (Kind::Dir, 0),
            2 => (Kind::Symlink, self.size),
            9 => (Kind::Symlink, 0),
            3 | 4 | 10 => (Kind::Device, 0),
            7 => (Kind::File, 0),
            _ => (Kind::Special, 0),
        }
    }

    /// Which directory it is, if that was noted.
    pub(super) fn which_dir(mut self) -> Option<WhichDir> {
        let is_noted = self.tag & TAG_MASK == DIR_TAG && self.tag & HAS_INODE != 0;
        is_noted.then(|| {
            let _dev = take_number(&mut self.rest);
            WhichDir {
                number: take_number(&mut self.rest),
                uid: self.uid,
            }
        })
    }

    /// Puts the entry into `listed`, whose buffers it uses again.
    pub(super) fn unpack(self, listed: &mut Listed) {
        let Record { tag, mut rest, .. } = self;
        let entry = &mut listed.entry;
        entry.name.clear();
        entry.name.extend_from_slice(self.name);
        entry.mode = self.mode.into();
        (entry.uid, entry.gid) = (self.uid, self.gid);
        (entry.mtime, entry.atime) = (self.mtime, self.atime);
        let target = match tag & TAG_MASK {
            2 => take(&mut rest, self.size),
            _ => &[],
        };
        (listed.dev, listed.ino, listed.nlink) = match tag & HAS_INODE {
            0 => (0, 0, 0),
            _ => {
                let (dev, ino) = (take_number(&mut rest), take_number(&mut rest));
                (dev, ino, take_number(&mut rest) as u32)
            }
        };
        let sum: Option<Sum> = (tag & HAS_SUM != 0).then(|| take_array(&mut rest));
        entry.link_to = (tag & HAS_LINK != 0).then(|| take_bytes(&mut rest).to_vec());
        entry.attributes = match tag & HAS_ATTRIBUTES {
            0 => Attributes::default(),
            _ => Attributes::from_bytes(take_bytes(&mut rest)),
        };
        entry.body = match tag & TAG_MASK {
            0 => Body::File {
                len: self.size,
                sum,
            },
            DIR_TAG => Body::Dir,
            2 => Body::Symlink {
                target: target.to_vec(),
            },
            3 => Body::CharDevice { rdev: self.size },
            4 => Body::BlockDevice { rdev: self.size },
            5 => Body::Fifo,
            6 => Body::Socket,
            7 => Body::Unmirrored(Kind::File),
            8 => Body::Unmirrored(Kind::Dir),
            9 => Body::Unmirrored(Kind::Symlink),
            10 => Body::Unmirrored(Kind::Device),
            12 => Body::Gone,
            WAY_TAG => Body::Way,
            _ => Body::Unmirrored(Kind::Special),
        };
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let len = take_number(rest);
    take(rest, len)
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> &'a [u8] {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let (taken, left) = rest.split_at_checked(len).unwrap_or_default();
    *rest = left;
    taken
}

fn take_array<const LEN: usize>(rest: &mut &[u8]) -> [u8; LEN] {
    let (taken, left) = rest.split_first_chunk().unwrap_or((&[0; LEN], &[]));
    *rest = left;
    *taken
}
