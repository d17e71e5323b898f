//! What a push reports while it runs, and its summary. The engine prints nothing: everything a
//! person or a program learns passes through [`Observer`].

use serde::{Deserialize, Serialize};

use crate::generation::Sealed;
use crate::ids::IdKind;
use crate::not_mirrored::NotMirrored;

/// Receives the events of one push, on the sender's side.
pub trait Observer {
    /// An entry that the push changes, or in a dry run would change; in canonical order, but with
    /// directories side by side as if a slash were behind their names. Then come deletions, then
    /// what takes the place of directories that these have cleared away.
    fn change(&mut self, change: &Change<'_>);

    /// Whether entries are told too that the push leaves as they are.
    fn wants_unchanged(&self) -> bool {
        false
    }

    /// Such an entry, in its place among the changes.
    fn unchanged(&mut self, _entry: &Change<'_>) {}

    /// Something that went wrong with one path without ending the push.
    fn warn(&mut self, warning: &Warning);

    /// Such a thing on the receiver's side, in its words.
    fn told(&mut self, warning: &Warning) {
        self.warn(warning);
    }

    /// The target root was missing and is being made, or in a dry run would be.
    fn created_root(&mut self) {}

    /// Something worth knowing that is not an error.
    fn note(&mut self, note: &Note<'_>);

    /// Called as content moves; cheap to ignore.
    fn progress(&mut self, _progress: &Progress<'_>) {}

    /// Called as directories are compared, with the number of entries seen so far, and how many of
    /// these are still to be compared; cheap to ignore.
    fn compared(&mut self, _seen: u64, _to_check: u64) {}
}

/// Something worth knowing. Paths are relative to the target root, bytes as on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note<'a> {
    /// A directory is left out because `-r` was not given.
    SkippedDir(&'a [u8]),
    /// An entry is left out because the options do not include its type.
    SkippedNonRegular(&'a [u8]),
    /// A symlink is left out because what it says, the second, may lead out of the tree.
    SkippedUnsafe(&'a [u8], &'a [u8]),
    /// A directory is left out because it is on another file system.
    SkippedMount(&'a [u8]),
    /// A directory is not deleted because the filters protect something in it.
    NotEmpty(&'a [u8]),
    /// Nobody on the receiver has this name, to whom files were to be given: they are not mapped.
    NoSuchAccount(IdKind, &'a str),
    /// `-o` was asked for, and the receiver does not run as root.
    OwnersNotKept,
    /// The source has devices, and may not have any made on the receiver. Said once.
    DevicesNotMade,
    /// Files of the source are setuid or setgid, and may not be on the receiver. Said once.
    SetuidNotKept,
    /// So many entries have ACLs, or capabilities, that were not asked for.
    NotAsked(NotMirrored),
    /// So many have capabilities or other attributes that the receiver has no right to set.
    NotSettable(NotMirrored),
    /// So many entries had no room on the target: the deletions went first, and what is left to do
    /// is done now.
    DeletedFirst(u64),
}

/// How far the push is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The file whose content is moving, relative to the target root.
    pub path: &'a [u8],
    /// Its bytes handled so far.
    pub file_offset: u64,
    /// Its length in bytes.
    pub file_len: u64,
    /// Content bytes handled since the start, over all files.
    pub total_bytes: u64,
    /// Length of all files seen so far, changed or not.
    pub total_len: u64,
    /// Length of all files found so far whose content has to move; never less than `total_bytes`
    /// unless files changed meanwhile.
    pub wanted_len: u64,
    /// Bytes handed to the link since the start.
    pub link_bytes: u64,
    /// Files whose content was sent since the start, this one included when it is complete.
    pub file_count: u64,
    /// Entries not yet compared, of those seen so far, and entries seen so far.
    pub to_check: u64,
    /// Entries seen so far.
    pub seen: u64,
    /// Whether the scan of the source is still going on, so that `seen` still grows.
    pub scanning: bool,
}

/// The kind of an entry, as far as a report needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A character or block device.
    Device,
    /// A fifo or a socket.
    Special,
}

/// What happens to an entry: the first letter of an itemized line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Content goes to the receiver (`<`).
    Transfer,
    /// Made or replaced on the receiver without content (`c`).
    Create,
    /// Hard-linked to another entry of the target (`h`).
    HardLink,
    /// Only metadata changes (`.`).
    Attributes,
    /// Removed from the target (`*deleting`).
    Delete,
    /// Left alone under `-u`, because the target's is newer; rsync says so from `-vv` on.
    KeepNewer,
}

/// Which parts of an entry differ; the other letters of an itemized line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Differences {
    /// The target does not have the entry: all letters are `+`.
    pub new: bool,
    /// `c`: content (under `-c`), link target or device number.
    pub content: bool,
    /// `s`: length.
    pub size: bool,
    /// `t`: modification time, and it will be set to the source's.
    pub time: bool,
    /// `T`: the modification time becomes the time of the push.
    pub time_now: bool,
    /// `p`: permissions.
    pub perms: bool,
    /// `o`: owner.
    pub owner: bool,
    /// `g`: group.
    pub group: bool,
    /// `u`: time of the last access.
    pub atime: bool,
    /// `a`: access ACL or default ACL.
    pub acl: bool,
    /// `x`: extended attributes.
    pub xattr: bool,
    /// No letter: hard links, which a file system keeps or does not.
    pub links: bool,
}

impl Differences {
    fn letters(&mut self) -> [&mut bool; 12] {
        let Differences {
            new,
            content,
            size,
            time,
            time_now,
            perms,
            owner,
            group,
            atime,
            acl,
            xattr,
            links,
        } = self;
        [
            new, content, size, time, time_now, perms, owner, group, atime, acl, xattr, links,
        ]
    }

    /// Whether anything differs.
    pub fn any(self) -> bool {
        u16::from(self) != 0
    }
}

/// One bit for each field, in their order, lowest first: the form on the wire.
impl From<Differences> for u16 {
    fn from(mut differences: Differences) -> u16 {
        let letters = differences.letters();
        letters
            .iter()
            .enumerate()
            .fold(0, |bits, (bit, set)| bits | u16::from(**set) << bit)
    }
}

impl TryFrom<u16> for Differences {
    type Error = String;

    fn try_from(bits: u16) -> Result<Self, String> {
        let mut differences = Differences::default();
        for (bit, letter) in differences.letters().into_iter().enumerate() {
            *letter = bits >> bit & 1 == 1;
        }
        // A bit without a letter would be lost on the way to the user.
        if u16::from(differences) != bits {
            return Err(format!("differences {bits:#x} that nobody knows"));
        }
        Ok(differences)
    }
}

/// One changed entry.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Path relative to the target root, bytes as on disk, no trailing slash; `.` for the root.
    pub path: &'a [u8],
    /// What it is on the source, or for a deletion what it was on the target.
    pub kind: Kind,
    /// What happens to it.
    pub action: Action,
    /// What differs.
    pub differences: Differences,
    /// Target of a symlink, or the path that a hard link is linked to.
    pub link: Option<&'a [u8]>,
    /// Its length in bytes on the source; 0 for what has none.
    pub len: u64,
    /// What else it is on the source; of a deletion nothing is known.
    pub facts: Facts,
}

/// What `stat` tells of an entry, as far as a report may hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner, by number.
    pub uid: u32,
    /// Group, by number.
    pub gid: u32,
    /// Modification time, in seconds since 1970.
    pub mtime_secs: i64,
}

/// A path that could not be handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Whether the source lost the path while it was being read (exit 24 instead of 23).
    pub vanished: bool,
    /// One line: what failed, on which path and side, and why.
    pub message: String,
}

/// Counts of entries by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCounts {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Devices.
    pub devices: u64,
    /// Fifos and sockets.
    pub specials: u64,
}

impl KindCounts {
    /// Counts one more entry of `kind`.
    pub fn add(&mut self, kind: Kind) {
        match kind {
            Kind::File => self.files += 1,
            Kind::Dir => self.dirs += 1,
            Kind::Symlink => self.symlinks += 1,
            Kind::Device => self.devices += 1,
            Kind::Special => self.specials += 1,
        }
    }

    /// All entries counted.
    pub fn total(&self) -> u64 {
        self.files + self.dirs + self.symlinks + self.devices + self.specials
    }
}

/// What a finished push did, for `--stats` and the exit code.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Entries on the source.
    pub entries: KindCounts,
    /// Entries that the target did not have.
    pub created: KindCounts,
    /// Entries removed from the target.
    pub deleted: KindCounts,
    /// Regular files whose content was sent.
    pub transferred_files: u64,
    /// Bytes of all regular files and symlink targets on the source.
    pub total_len: u64,
    /// Bytes of the files whose content was sent.
    pub transferred_len: u64,
    /// Content bytes that travelled as they are.
    pub literal_bytes: u64,
    /// Content bytes that the receiver took from its own files.
    pub matched_bytes: u64,
    /// Deltas that came out wrong on the target, because its file changed meanwhile or sums
    /// collided, so that the whole file followed.
    pub resent_files: u64,
    /// Bytes written to the link.
    pub sent_bytes: u64,
    /// The same before compression.
    pub sent_plain_bytes: u64,
    /// Bytes read from the link.
    pub received_bytes: u64,
    /// Directories whose digests differed, so that their entries were exchanged.
    pub dirs_exchanged: u64,
    /// Directories compared by digest.
    pub dirs_compared: u64,
    /// Files skipped under `-u` because the target's was newer.
    pub newer_skipped: u64,
    /// Some entries could not be handled (exit 23).
    pub partial: bool,
    /// Some source files vanished (exit 24).
    pub vanished: bool,
    /// Deletions that `--max-delete` stopped (exit 25 unless 0).
    pub deletions_stopped: u64,
    /// Whether the target was flushed to its disk before the acknowledgement.
    pub durable: bool,
    /// What a tree with a name is now.
    pub sealed: Option<Box<Sealed>>,
    /// Entries that had no room before the deletions made some.
    pub starved: u64,
}
