//! What makes two entries equal: a canonical encoding of the fields that the options include.
//! A directory's digest is the keyed hash of its entries' encodings, so one short message settles
//! an unchanged directory. The key is fresh for each session: nobody can prepare a collision.

use std::borrow::Cow;
use std::iter;
use std::sync::Arc;

use crate::attributes::{Attributes, Scope};
use crate::entries::EntryList;
use crate::entry::{Body, Entry};
use crate::filter::{AttributeRules, Side};
use crate::ids::{IdKind, IdMap};
use crate::keeps::Keeps;
use crate::mounted::{Mounted, MountedBelow};
use crate::namespaces::Namespaces;
use crate::observer::{Differences, Kind};
use crate::options::{Options, QuickCheck};
use crate::path::RelPath;
use crate::policy::Powers;

/// Digest of one directory: 8 bytes of keyed BLAKE3, which is most of what an unchanged directory
/// costs on the link. Whether a change goes unnoticed, once in 2^64, is drawn again by each push.
pub(crate) type DirDigest = [u8; 8];

/// Print of one entry, exchanged when a directory's digests differ: 8 bytes of keyed BLAKE3.
pub(crate) type EntryPrint = u64;

/// Encoded entries are hashed when there are this many bytes of them.
const HASHED_LEN: usize = 32 * 1024;

/// How far groups count.
#[derive(Clone, Debug)]
pub(crate) enum GroupScope {
    Ignored,
    All,
    /// An unprivileged receiver: only the groups that it may set count, in this side's numbers.
    /// The group that new files get anyway is not among them: it stands for all that it cannot set.
    Among(Vec<u32>),
}

/// Of which entries times count.
#[derive(Clone, Copy, Debug)]
struct TimeScope {
    files: bool,
    dirs: bool,
    links: bool,
    /// They tell files apart, whether they are to become equal or not.
    compared: bool,
}

/// What counts of one entry.
struct Counts<'a> {
    perms: bool,
    executability: bool,
    owner: bool,
    group: &'a GroupScope,
    times: bool,
    atimes: bool,
    attributes: Scope,
}

/// The fields that count in this session, agreed in the hello.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    /// Whether these are asked for; what cannot be kept does not count all the same.
    perms: bool,
    owner: bool,
    group: GroupScope,
    times: TimeScope,
    executability: bool,
    atimes: bool,
    checksum: bool,
    quick_check: QuickCheck,
    hard_links: bool,
    attributes: Scope,
    /// Which of them do not count by their names.
    attribute_rules: AttributeRules,
    pub(crate) powers: Powers,
    key: [u8; 32],
    /// What the file system of the target root keeps.
    pub(crate) keeps: Keeps,
    /// Where that is otherwise.
    mounted: Arc<MountedBelow>,
    /// Of the entries of one directory: those that are mount points.
    points: Vec<Mounted>,
}

/// The attributes that are asked for and that the receiver has the rights for.
pub(crate) fn asked_attributes(options: &Options, powers: Powers) -> Scope {
    Scope {
        acls: options.acls,
        xattrs: match options.xattrs {
            true => powers.xattrs,
            false => Namespaces::NONE,
        },
    }
}

/// The digest of a directory, whose entries are added in canonical order.
pub(crate) struct Digester<'a> {
    fields: &'a Fields,
    /// What counted of the last entry: the next is likely to be of the same kind.
    counts: (Kind, Counts<'a>),
    hasher: blake3::Hasher,
    /// Encoded, but not hashed yet.
    bytes: Vec<u8>,
}

impl Digester<'_> {
    pub(crate) fn add(&mut self, entry: &Entry, ids: &IdView<'_>) {
        let kind = entry.kind();
        if self.counts.0 != kind {
            self.counts = (kind, self.fields.counts(kind));
        }
        match self.fields.points.is_empty() {
            true => self
                .fields
                .encode_counted(&self.counts.1, entry, ids, &mut self.bytes),
            false => self.fields.encode(entry, ids, &mut self.bytes),
        }
        if self.bytes.len() >= HASHED_LEN {
            self.hasher.update(&self.bytes);
            self.bytes.clear();
        }
    }

    pub(crate) fn finish(mut self) -> DirDigest {
        let hash = self.hasher.update(&self.bytes).finalize();
        hash.as_bytes().first_chunk().copied().unwrap_or_default()
    }
}

impl Fields {
    pub(crate) fn new(
        options: &Options,
        powers: Powers,
        settable_groups: Vec<u32>,
        keeps: Keeps,
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
            times: TimeScope {
                files: options.times,
                dirs: options.times && !options.omit_dir_times,
                links: options.times && !options.omit_link_times,
                compared: options.update
                    || !options.checksum && options.quick_check != QuickCheck::Lengths,
            },
            executability: options.only_executability(),
            atimes: options.atimes,
            checksum: options.checksum,
            quick_check: options.quick_check,
            hard_links: options.hard_links,
            attributes: asked_attributes(options, powers),
            attribute_rules: AttributeRules::of(&options.filters),
            powers,
            key,
            keeps,
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

    /// The number of the file system that the directory `dir` is on: no link leads to another one.
    pub(crate) fn file_system_of(&self, dir: &RelPath) -> u64 {
        self.mounted.number_over(dir)
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

    /// Of the metadata that differs in an entry of this kind what counts.
    pub(crate) fn counted(&self, kind: Kind, found: Differences) -> Differences {
        let counts = self.counts(kind);
        Differences {
            perms: found.perms && (counts.perms || counts.executability),
            owner: found.owner && counts.owner,
            group: found.group && !matches!(counts.group, GroupScope::Ignored),
            time: found.time && counts.times,
            atime: found.atime && counts.atimes,
            acl: found.acl && counts.attributes.acls,
            xattr: found.xattr && !counts.attributes.xattrs.is_empty(),
            ..found
        }
    }

    fn times_of(&self, kind: Kind) -> bool {
        match kind {
            Kind::Dir => self.times.dirs,
            Kind::Symlink => self.times.links,
            Kind::File | Kind::Device | Kind::Special => self.times.files,
        }
    }

    /// What counts of an entry of this kind.
    fn counts(&self, kind: Kind) -> Counts<'_> {
        let lost = self.keeps.lost_of(kind);
        Counts {
            perms: self.perms && !lost.perms && kind != Kind::Symlink,
            executability: self.executability && !lost.perms && kind == Kind::File,
            owner: self.owner && !lost.owner,
            group: match lost.group {
                true => &GroupScope::Ignored,
                false => &self.group,
            },
            times: self.times_of(kind) && !lost.time,
            atimes: self.atimes && !lost.time && !matches!(kind, Kind::Dir | Kind::Symlink),
            attributes: self.attributes_of(kind),
        }
    }

    /// The attributes that count anywhere.
    pub(crate) fn attributes(&self) -> Scope {
        self.attributes
    }

    /// Those that count of an entry of this kind.
    pub(crate) fn attributes_of(&self, kind: Kind) -> Scope {
        let Scope { acls, xattrs } = self.attributes;
        Scope {
            acls: acls && !self.keeps.lost_of(kind).acl,
            xattrs: xattrs.without(self.keeps.lost_xattrs_of(kind)),
        }
    }

    /// The attributes of an entry of the target that count: all but those that rules about names
    /// leave alone, of which none is sent either.
    pub(crate) fn compared<'a>(&self, there: &'a Attributes) -> Cow<'a, Attributes> {
        match self.attribute_rules.is_empty() {
            true => Cow::Borrowed(there),
            false => Cow::Owned(there.without(|name| self.is_left_alone(name))),
        }
    }

    /// Whether an attribute of the target stays, by rules about its name.
    pub(crate) fn is_left_alone(&self, name: &[u8]) -> bool {
        self.attribute_rules.exclude(Side::Receiver, name)
    }

    /// The places where something is lost that is asked for and not among `accepted`, the root
    /// first.
    pub(crate) fn losing(
        &self,
        accepted: Differences,
    ) -> impl Iterator<Item = (RelPath, Differences)> {
        let mounted = self.mounted.iter();
        let below =
            mounted.map(|mounted| (mounted.path.clone(), self.on(mounted).lost(Kind::File)));
        iter::once((RelPath::root(), self.lost(Kind::File)))
            .chain(below)
            .filter_map(move |(path, lost)| {
                let lost = Differences {
                    perms: lost.perms && !accepted.perms,
                    owner: lost.owner && !accepted.owner,
                    group: lost.group && !accepted.group,
                    acl: lost.acl && !accepted.acl,
                    xattr: lost.xattr && !accepted.xattr,
                    links: lost.links && !accepted.links,
                    ..Differences::default()
                };
                lost.any().then_some((path, lost))
            })
    }

    /// Which of its ACLs and extended attributes are asked for and cannot be kept.
    pub(crate) fn lost_attributes(&self, entry: &Entry) -> Differences {
        let kept = self.of(entry).attributes_of(entry.kind());
        entry.attributes.kinds_outside(kept)
    }

    /// What is asked for and cannot be kept of an entry of this kind.
    pub(crate) fn lost(&self, kind: Kind) -> Differences {
        let lost = self.keeps.lost_of(kind);
        Differences {
            perms: lost.perms && self.perms && kind != Kind::Symlink,
            owner: lost.owner && self.owner,
            group: lost.group && !matches!(self.group, GroupScope::Ignored),
            time: lost.time && self.times.files,
            acl: lost.acl && self.attributes.acls && kind != Kind::Symlink,
            xattr: {
                let lost = self.keeps.lost_xattrs_of(kind);
                let lost = match kind {
                    Kind::File | Kind::Dir => lost,
                    _ => lost.without(Namespaces::USER),
                };
                !self.attributes.xattrs.within(lost).is_empty()
            },
            links: self.keeps.lost.links && self.hard_links,
            ..Differences::default()
        }
    }

    /// The same on another file system.
    fn on(&self, mounted: &Mounted) -> Fields {
        Fields {
            keeps: mounted.keeps,
            points: Vec::new(),
            ..self.clone()
        }
    }

    /// Digest of a directory's entries, which stand in canonical order.
    /// `Unmirrored` entries take no part, since the receiver cannot know of them.
    pub(crate) fn dir_digest(&self, entries: &EntryList, ids: &IdView<'_>) -> DirDigest {
        let mut digester = self.digester();
        let mut entries = entries.walk();
        while let Some(entry) = entries.next() {
            digester.add(entry, ids);
        }
        digester.finish()
    }

    /// What makes such a digest of entries one by one.
    pub(crate) fn digester(&self) -> Digester<'_> {
        Digester {
            fields: self,
            counts: (Kind::File, self.counts(Kind::File)),
            hasher: blake3::Hasher::new_keyed(&self.key),
            bytes: Vec::with_capacity(HASHED_LEN + 1024),
        }
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
        let fields = self.of(entry);
        fields.encode_counted(&fields.counts(entry.kind()), entry, ids, out);
    }

    fn encode_counted(
        &self,
        counts: &Counts<'_>,
        entry: &Entry,
        ids: &IdView<'_>,
        out: &mut Vec<u8>,
    ) {
        let (tag, timed) = match &entry.body {
            Body::File { .. } => (b'f', counts.times || self.times.compared),
            Body::Dir => (b'd', counts.times),
            // Equal to none that is there: nobody knows its metadata, and they do not matter.
            Body::Way => (b'w', false),
            Body::Symlink { .. } => (b'l', counts.times),
            Body::CharDevice { .. } => (b'c', counts.times),
            Body::BlockDevice { .. } => (b'b', counts.times),
            Body::Fifo => (b'p', counts.times),
            Body::Socket => (b's', counts.times),
            Body::Unmirrored(_) | Body::Gone => return,
        };
        out.push(tag);
        put_bytes(out, &entry.name);
        if counts.perms {
            let mode = self.powers.mode(entry.mode, entry.kind());
            out.extend_from_slice(&mode.to_le_bytes());
        }
        if counts.executability {
            out.push(u8::from(entry.mode & 0o111 != 0));
        }
        if counts.owner {
            out.extend_from_slice(&ids.id(IdKind::User, entry.uid).to_le_bytes());
        }
        if let Some(gid) = ids.group(counts.group, entry.gid) {
            out.extend_from_slice(&gid.to_le_bytes());
        }
        if timed {
            let time = self.keeps.time_store.stored(entry.mtime);
            out.extend_from_slice(&time.secs.to_le_bytes());
            out.extend_from_slice(&time.nanos.to_le_bytes());
        }
        if let Some(atime) = entry.atime.filter(|_| counts.atimes) {
            let time = self.keeps.time_store.stored(atime);
            out.extend_from_slice(&time.secs.to_le_bytes());
            out.extend_from_slice(&time.nanos.to_le_bytes());
        }
        match &entry.body {
            Body::File { len, sum } => {
                out.extend_from_slice(&len.to_le_bytes());
                // Then no two files are equal, one here and one there.
                if self.quick_check == QuickCheck::Nothing && !self.checksum {
                    out.push(u8::from(matches!(ids, IdView::Sender)));
                }
                // A sum that only the sender has makes the two different: the entry is sent.
                if self.checksum || sum.is_some() {
                    out.extend_from_slice(sum.as_ref().unwrap_or(&[0; 32]));
                }
            }
            Body::Symlink { target } => put_bytes(out, target),
            Body::CharDevice { rdev } | Body::BlockDevice { rdev } => {
                out.extend_from_slice(&rdev.to_le_bytes());
            }
            Body::Dir
            | Body::Way
            | Body::Fifo
            | Body::Socket
            | Body::Unmirrored(_)
            | Body::Gone => {}
        }
        if self.hard_links && !self.keeps.lost.links {
            put_bytes(out, entry.link_to.as_deref().unwrap_or_default());
        }
        if !entry.attributes.is_empty() {
            let id = |kind, id| ids.id(kind, id);
            let compared = match ids {
                IdView::Sender => Cow::Borrowed(&entry.attributes),
                IdView::Receiver(_) => self.compared(&entry.attributes),
            };
            compared.put_digested(counts.attributes, id, out);
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
    fn id(&self, kind: IdKind, id: u32) -> u64 {
        match self {
            IdView::Sender => id.into(),
            IdView::Receiver(map) => map.sender(kind, id),
        }
    }

    fn group(&self, scope: &GroupScope, gid: u32) -> Option<u64> {
        let id = self.id(IdKind::Group, gid);
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
