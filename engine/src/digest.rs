//! What makes two entries equal: a canonical encoding of the fields that the options include.
//! A directory's digest is the keyed hash of its entries' encodings, so one short message settles
//! an unchanged directory. The key is fresh for each session: nobody can prepare a collision.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::entries::EntryList;
use crate::entry::{Body, Entry, Time};
use crate::error::Error;
use crate::ids::{IdKind, IdMap};
use crate::mounted::{Mounted, MountedBelow};
use crate::observer::Differences;
use crate::options::Options;
use crate::path::RelPath;
use crate::policy::Powers;
use crate::refusal::Refusal;

/// Digest of one directory: 8 bytes of keyed BLAKE3, which is most of what an unchanged directory
/// costs on the link. Whether a change goes unnoticed, once in 2^64, is drawn again by each push.
pub(crate) type DirDigest = [u8; 8];

/// Print of one entry, exchanged when a directory's digests differ: 8 bytes of keyed BLAKE3.
pub(crate) type EntryPrint = u64;

/// Encoded entries are hashed when there are this many bytes of them.
const HASHED_LEN: usize = 32 * 1024;

/// The coarsest step of a file system's times, that of FAT, in nanoseconds.
const STEP_NS_MAX: u32 = 2_000_000_000;

/// What the receiving file system can store as a time. Both sides compare times as it stores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimeStore {
    /// Smallest step in nanoseconds; at least 1, at most [`STEP_NS_MAX`].
    pub(crate) granularity_ns: u32,
    pub(crate) min_secs: i64,
    pub(crate) max_secs: i64,
}

impl Default for TimeStore {
    fn default() -> Self {
        TimeStore {
            granularity_ns: 1,
            min_secs: i64::MIN,
            max_secs: i64::MAX,
        }
    }
}

impl TimeStore {
    /// Checks what a peer sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Self {
            granularity_ns,
            min_secs,
            max_secs,
        } = *self;
        if (1..=STEP_NS_MAX).contains(&granularity_ns) && min_secs <= max_secs {
            return Ok(());
        }
        Err(Error::peer(Refusal::TimeStore {
            granularity_ns,
            min_secs,
            max_secs,
        }))
    }

    /// `time` as the file system would give it back.
    pub(crate) fn stored(&self, time: Time) -> Time {
        // Of its first and its last second the kernel keeps no part.
        let secs = time.secs.clamp(self.min_secs, self.max_secs);
        if secs == self.min_secs || secs == self.max_secs {
            return Time { secs, nanos: 0 };
        }
        match self.granularity_ns {
            0 | 1 => time,
            step @ 2..1_000_000_000 => Time {
                secs: time.secs,
                nanos: time.nanos / step * step,
            },
            step => {
                let step_secs = i64::from(step / 1_000_000_000).max(1);
                Time {
                    secs: time.secs.div_euclid(step_secs) * step_secs,
                    nanos: 0,
                }
            }
        }
    }
}

/// How far groups count.
#[derive(Clone, Debug)]
pub(crate) enum GroupScope {
    Ignored,
    All,
    /// An unprivileged receiver: only the groups that it may set count, in this side's numbers.
    /// The group that new files get anyway is not among them: it stands for all that it cannot set.
    Among(Vec<u32>),
}

/// The fields that count in this session, agreed in the hello.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    pub(crate) perms: bool,
    pub(crate) owner: bool,
    pub(crate) group: GroupScope,
    pub(crate) times: bool,
    pub(crate) checksum: bool,
    pub(crate) hard_links: bool,
    pub(crate) time_store: TimeStore,
    pub(crate) powers: Powers,
    key: [u8; 32],
    /// Where all this is otherwise.
    mounted: Arc<MountedBelow>,
    /// Of the entries of one directory: those that are mount points.
    points: Vec<Mounted>,
}

impl Fields {
    pub(crate) fn new(
        options: &Options,
        powers: Powers,
        settable_groups: Vec<u32>,
        time_store: TimeStore,
        key: [u8; 32],
    ) -> Self {
        Fields {
            perms: options.perms,
            owner: options.owner && powers.owners,
            group: match (options.group, powers.owners) {
                (false, _) => GroupScope::Ignored,
                (true, true) => GroupScope::All,
                (true, false) => GroupScope::Among(settable_groups),
            },
            times: options.times,
            checksum: options.checksum,
            hard_links: options.hard_links,
            time_store,
            powers,
            key,
            mounted: Arc::default(),
            points: Vec::new(),
        }
    }

    pub(crate) fn with_mounted(self, mounted: MountedBelow) -> Self {
        Fields {
            mounted: Arc::new(mounted),
            ..self
        }
    }

    /// What counts of the entries of the directory `dir`.
    pub(crate) fn at(&self, dir: &RelPath) -> Cow<'_, Fields> {
        if self.mounted.is_empty() {
            return Cow::Borrowed(self);
        }
        let points: Vec<Mounted> = self.mounted.directly_in(dir).cloned().collect();
        let here = match self.mounted.over(dir) {
            Some(mounted) => self.on(mounted),
            None if points.is_empty() => return Cow::Borrowed(self),
            None => self.clone(),
        };
        Cow::Owned(Fields { points, ..here })
    }

    /// What counts of this entry of the directory that these fields are [of](Self::at).
    pub(crate) fn of(&self, entry: &Entry) -> Cow<'_, Fields> {
        let mut points = self.points.iter();
        match points.find(|point| point.path.name() == entry.name) {
            Some(point) => Cow::Owned(self.on(point)),
            None => Cow::Borrowed(self),
        }
    }

    /// Of the metadata that differs what counts.
    pub(crate) fn counted(&self, found: Differences) -> Differences {
        Differences {
            perms: found.perms && self.perms,
            owner: found.owner && self.owner,
            group: found.group && !matches!(self.group, GroupScope::Ignored),
            ..found
        }
    }

    /// The same on another file system.
    fn on(&self, mounted: &Mounted) -> Fields {
        let Mounted {
            time_store, lost, ..
        } = *mounted;
        let kept = |scope: &GroupScope| match lost.group {
            true => GroupScope::Ignored,
            false => scope.clone(),
        };
        Fields {
            perms: self.perms && !lost.perms,
            owner: self.owner && !lost.owner,
            group: kept(&self.group),
            time_store,
            points: Vec::new(),
            ..self.clone()
        }
    }

    /// Digest of a directory's entries, which stand in canonical order.
    /// `Unmirrored` entries take no part, since the receiver cannot know of them.
    pub(crate) fn dir_digest(&self, entries: &EntryList, ids: &IdView<'_>) -> DirDigest {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        let mut bytes = Vec::with_capacity(HASHED_LEN + 1024);
        let mut entries = entries.walk();
        while let Some(entry) = entries.next() {
            self.encode(entry, ids, &mut bytes);
            if bytes.len() >= HASHED_LEN {
                hasher.update(&bytes);
                bytes.clear();
            }
        }
        let hash = hasher.update(&bytes).finalize();
        hash.as_bytes().first_chunk().copied().unwrap_or_default()
    }

    /// Print of one entry.
    pub(crate) fn print(&self, entry: &Entry, ids: &IdView<'_>) -> EntryPrint {
        let mut bytes = Vec::with_capacity(256);
        self.encode(entry, ids, &mut bytes);
        let hash = blake3::keyed_hash(&self.key, &bytes);
        let mut print = [0; 8];
        print.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(print)
    }

    /// The canonical encoding. Described in PROTOCOL.md; every field is self-delimiting.
    fn encode(&self, entry: &Entry, ids: &IdView<'_>, out: &mut Vec<u8>) {
        if !self.points.is_empty() {
            return self.of(entry).encode_here(entry, ids, out);
        }
        self.encode_here(entry, ids, out);
    }

    fn encode_here(&self, entry: &Entry, ids: &IdView<'_>, out: &mut Vec<u8>) {
        let (tag, timed) = match &entry.body {
            Body::File { .. } => (b'f', self.times || !self.checksum),
            Body::Dir => (b'd', self.times),
            Body::Symlink { .. } => (b'l', self.times),
            Body::CharDevice { .. } => (b'c', self.times),
            Body::BlockDevice { .. } => (b'b', self.times),
            Body::Fifo => (b'p', self.times),
            Body::Socket => (b's', self.times),
            Body::Unmirrored(_) => return,
        };
        out.push(tag);
        put_bytes(out, &entry.name);
        if self.perms && tag != b'l' {
            let mode = self.powers.mode(entry.mode, entry.kind());
            out.extend_from_slice(&mode.to_le_bytes());
        }
        if self.owner {
            out.extend_from_slice(&ids.user(entry.uid).to_le_bytes());
        }
        if let Some(gid) = ids.group(&self.group, entry.gid) {
            out.extend_from_slice(&gid.to_le_bytes());
        }
        if timed {
            let time = self.time_store.stored(entry.mtime);
            out.extend_from_slice(&time.secs.to_le_bytes());
            out.extend_from_slice(&time.nanos.to_le_bytes());
        }
        match &entry.body {
            Body::File { len, sum } => {
                out.extend_from_slice(&len.to_le_bytes());
                // A sum that only the sender has makes the two different: the entry is sent.
                if self.checksum || sum.is_some() {
                    out.extend_from_slice(sum.as_ref().unwrap_or(&[0; 32]));
                }
            }
            Body::Symlink { target } => put_bytes(out, target),
            Body::CharDevice { rdev } | Body::BlockDevice { rdev } => {
                out.extend_from_slice(&rdev.to_le_bytes());
            }
            Body::Dir | Body::Fifo | Body::Socket | Body::Unmirrored(_) => {}
        }
        if self.hard_links {
            put_bytes(out, entry.link_to.as_deref().unwrap_or_default());
        }
        if !entry.attributes.is_empty() {
            out.push(b'a');
            put_bytes(out, entry.attributes.as_bytes());
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Whose numbers an entry's ids are. Digests hold the sender's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IdView<'a> {
    Sender,
    Receiver(&'a IdMap),
}

/// Stands for every group that an unprivileged receiver cannot set.
const GROUP_NOT_SETTABLE: u64 = u64::MAX;

impl IdView<'_> {
    fn user(&self, uid: u32) -> u64 {
        match self {
            IdView::Sender => uid.into(),
            IdView::Receiver(map) => map.sender(IdKind::User, uid),
        }
    }

    fn group(&self, scope: &GroupScope, gid: u32) -> Option<u64> {
        let id = match self {
            IdView::Sender => u64::from(gid),
            IdView::Receiver(map) => map.sender(IdKind::Group, gid),
        };
        match scope {
            GroupScope::Ignored => None,
            GroupScope::All => Some(id),
            GroupScope::Among(settable) => Some(if settable.contains(&gid) {
                id
            } else {
                GROUP_NOT_SETTABLE
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_compared_as_they_are_kept() {
        let store = |granularity_ns| TimeStore {
            granularity_ns,
            min_secs: -9,
            max_secs: 9,
        };
        for (step, time, kept) in [
            (1, (8, 999_999_999), (8, 999_999_999)),
            (1, (9, 0), (9, 0)),
            (1, (9, 1), (9, 0)),
            (1, (10, 5), (9, 0)),
            (1, (-9, 1), (-9, 0)),
            (1, (-10, 5), (-9, 0)),
            (1, (-8, 5), (-8, 5)),
            (100, (8, 1_234), (8, 1_200)),
            (100, (9, 1_234), (9, 0)),
            (1_000_000_000, (8, 5), (8, 0)),
            (2_000_000_000, (7, 5), (6, 0)),
            (2_000_000_000, (9, 5), (9, 0)),
            (2_000_000_000, (-7, 5), (-8, 0)),
        ] {
            let [time, kept] = [time, kept].map(|(secs, nanos)| Time { secs, nanos });
            let stored = store(step).stored(time);
            assert_eq!(stored, kept, "{step} {time:?}");
            assert_eq!(store(step).stored(stored), stored, "{step} {time:?}");
        }
    }

    #[test]
    fn a_damaged_time_becomes_one_that_a_peer_takes() {
        for (nanos, expected) in [
            (0_i64, 0),
            (999_999_999, 999_999_999),
            (1_000_000_000, 999_999_999),
            ((1 << 30) - 1, 999_999_999),
            (-1, 999_999_999),
            (i64::MAX, 999_999_999),
        ] {
            let time = Time::found(-1, nanos);
            assert_eq!((time.secs, time.nanos), (-1, expected));
            assert!(time.check().is_ok());
        }
    }
}
