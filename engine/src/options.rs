//! What one push is asked to do. The sender's options travel to the receiver in the hello,
//! so both sides scan, compare and delete by the same rules.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::entry::{Body, Entry, Time};
use crate::filter::FilterRule;
use crate::observer::{Differences, Kind};
use crate::path::RelPath;
use crate::recast::modes::ModeChanges;
use crate::recast::owners::OwnerMaps;
use crate::refusal::Refusal;
use crate::source_list::SourceList;

/// The options of one push, named after rsync's long options.
///
/// `Default` is "nothing preserved, regular files of the named sources only", as rsync without
/// letters; [`Options::archive`] is `-a`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// `-r`: descend into directories.
    pub recursive: bool,
    /// `-d`: a directory that is named, and what is right in it if its name ends in a slash.
    #[serde(skip)]
    pub dirs: bool,
    /// `-R`: what is named keeps its path, or what follows `/./` in it.
    #[serde(skip)]
    pub relative: bool,
    /// `--no-implied-dirs` clears it: under `-R`, directories on the way have the source's
    /// metadata.
    pub implied_dirs: bool,
    /// `--files-from`: what is pushed of the only source.
    #[serde(skip)]
    pub files_from: Option<SourceList>,
    /// `-m`: no directory without anything else below it.
    #[serde(skip)]
    pub prune_empty_dirs: bool,
    /// `-l`: symlinks as symlinks.
    pub links: bool,
    /// `-L`: symlinks as what they lead to.
    #[serde(skip)]
    pub copy_links: bool,
    /// `-k`: symlinks to directories as directories.
    #[serde(skip)]
    pub copy_dirlinks: bool,
    /// `--copy-unsafe-links`: symlinks that may lead out of the tree as what they lead to.
    #[serde(skip)]
    pub copy_unsafe_links: bool,
    /// `-p`: permissions, setuid, setgid and sticky bits.
    pub perms: bool,
    /// `-t`: modification times.
    pub times: bool,
    /// `-o`: owner, where the receiver runs as root.
    pub owner: bool,
    /// `-g`: group, as far as the receiver may set it.
    pub group: bool,
    /// First half of `-D`: character and block devices, where the receiver runs as root.
    pub devices: bool,
    /// Second half of `-D`: fifos and sockets.
    pub specials: bool,
    /// `-A`: access and default ACLs.
    pub acls: bool,
    /// `-X`: extended attributes, as far as both sides have the rights for that.
    pub xattrs: bool,
    /// `-H`: hard links between mirrored names.
    pub hard_links: bool,
    /// `-S`: runs of zeros become holes.
    pub sparse: bool,
    /// `--delete`: remove what the source does not have.
    pub delete: bool,
    /// `--force`: a directory gives way to what is none, with all that is in it.
    pub force: bool,
    /// `--ignore-errors`: delete, although not everything could be listed.
    pub ignore_errors: bool,
    /// `--max-delete=N`: when more than N entries would go, none does.
    pub max_delete: Option<u64>,
    /// What stops the deletions of a named tree, or the whole of its first push.
    pub brake: Option<Brake>,
    /// `--ignore-missing-args`: a source that is not there is none.
    #[serde(skip)]
    pub ignore_missing: bool,
    /// `--delete-missing-args`: what is named and not there is removed from the target.
    pub delete_missing: bool,
    /// `-K`: a symlink of the target to a directory beneath it stays where the source has a
    /// directory.
    pub keep_dirlinks: bool,
    /// `--safe-links`: no symlinks that may lead out of the tree, in backups neither.
    pub safe_links: bool,
    /// `--mkpath`: make the directories too that lead to the target.
    pub mkpath: bool,
    /// `--follow-untrusted`: a symlink on the way to a source is followed whoever owns it. That is
    /// no matter of the receiver's.
    #[serde(skip)]
    pub follow_untrusted: bool,
    /// `-n`: decide and report, change nothing.
    pub dry_run: bool,
    /// `-c`: compare content instead of modification times.
    pub checksum: bool,
    /// Which files of equal length are taken for equal, without `checksum`.
    pub quick_check: QuickCheck,
    /// `--modify-window`: so many seconds of a modification time do not count, and nothing that is
    /// less than one. Without it every nanosecond does.
    pub window_s: Option<u32>,
    /// Files whose modification time lies within these nanoseconds since 1970, both ends included,
    /// are compared by content besides. The receiver is asked about each of them.
    #[serde(skip)]
    pub recheck: Option<(i64, i64)>,
    /// `-u`: leave files alone that are newer on the receiver.
    pub update: bool,
    /// `--existing`: make nothing that the receiver does not have.
    pub existing: bool,
    /// `--ignore-existing`: leave everything but directories alone that the receiver has.
    pub ignore_existing: bool,
    /// Lengths of files that are looked at (`--min-size`, `--max-size`). The receiver hears of no
    /// other.
    #[serde(skip)]
    pub lengths: Option<(u64, u64)>,
    /// `-O`: no modification times of directories.
    pub omit_dir_times: bool,
    /// `-J`: no modification times of symlinks.
    pub omit_link_times: bool,
    /// `-U`: times of the last access, but not of directories.
    pub atimes: bool,
    /// `--open-noatime`: reading leaves no trace in the source where that can be.
    #[serde(skip)]
    pub open_noatime: bool,
    /// `-E`: without `perms`, whether a file can be executed.
    pub executability: bool,
    /// Whether the receiver uses the rights of root.
    pub super_user: SuperUser,
    /// `-b`: what is replaced or removed, and is no directory, is kept.
    pub backup: Option<Backup>,
    /// `-W`: no deltas.
    pub whole_file: bool,
    /// `-x`: stay on the file system of each source.
    pub one_file_system: bool,
    /// `-xx`: leave directories out that are on another, as if they were not there.
    #[serde(skip)]
    pub omit_mounts: bool,
    /// Ids as numbers, without looking names up.
    pub numeric_ids: bool,
    /// Flush the target before the push is acknowledged (`--no-fsync` clears it).
    pub fsync: bool,
    /// Nothing changes until everything is staged, and then everything changes in a way that a
    /// crash cannot leave half done (`--atomic`).
    pub atomic: bool,
    /// Include and exclude rules, first match wins.
    pub filters: Vec<FilterRule>,
    /// `--chmod`: what becomes of permissions before they are told.
    #[serde(skip)]
    pub modes: ModeChanges,
    /// `--usermap`, `--groupmap`, `--chown`: what becomes of owners and groups.
    #[serde(skip)]
    pub owner_maps: OwnerMaps,
    /// Longest silence of the peer in milliseconds; 0 is the default limit.
    pub timeout_ms: u64,
    /// How long the receiver may stand still although it is not silent; zero is the default limit.
    /// What the sender may, the receiver decides by itself.
    #[serde(skip)]
    pub stall: Duration,
    /// What the target need not keep of permissions, owner, group, ACLs and extended attributes,
    /// and of hard links. That is no matter of the receiver's.
    #[serde(skip)]
    pub lossy: Differences,
    /// `--ha`: a target that cannot keep all that is asked for is refused, though it is no tree
    /// with a name.
    #[serde(skip)]
    pub lossless: bool,
    /// What the sender compresses; the receiver needs not know before.
    #[serde(skip)]
    pub compression: Compression,
}

/// A push is stopped that would take more than both of these from its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brake {
    /// Share of the entries that the target has.
    pub percent: u8,
    /// Entries.
    pub entries: u64,
}

/// Under which name what is replaced or removed is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The directory.
    pub place: BackupPlace,
    /// What its name gets at the end; not empty without a directory.
    #[serde(with = "serde_bytes")]
    pub suffix: Vec<u8>,
}

/// The directory that backups are kept in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupPlace {
    /// That of what takes their place.
    Beside,
    /// One of the target, as a path below its root.
    Below(#[serde(with = "serde_bytes")] Vec<u8>),
    /// One that is not in the target, as a path from `/` or from the target's root.
    Elsewhere(#[serde(with = "serde_bytes")] Vec<u8>),
}

impl Backup {
    /// Whether backups stay in the directories that they are of.
    #[must_use]
    pub fn is_beside(&self) -> bool {
        self.place == BackupPlace::Beside
    }

    /// Whether a name is that of a backup, which gets no other.
    pub(crate) fn is_one(&self, name: &[u8]) -> bool {
        self.is_beside() && name.len() > self.suffix.len() && name.ends_with(&self.suffix)
    }

    /// Checks what a peer sent.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let is_name = !self.suffix.iter().any(|byte| matches!(byte, 0 | b'/'));
        let is_place = match &self.place {
            BackupPlace::Beside => !self.suffix.is_empty(),
            BackupPlace::Below(dir) => !dir.is_empty() && RelPath::parse(dir).is_ok(),
            BackupPlace::Elsewhere(dir) => !dir.is_empty() && !dir.contains(&0),
        };
        match is_name && is_place {
            true => Ok(()),
            false => Err(Refusal::Backup),
        }
    }
}

/// How regular files of equal length are compared without looking into them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuickCheck {
    /// By their modification times.
    #[default]
    Times,
    /// They are equal (`--size-only`).
    Lengths,
    /// They are not: each is transferred (`-I`).
    Nothing,
}

/// Whether a receiver gives files to others and makes devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SuperUser {
    /// As root it does.
    #[default]
    IfRoot,
    /// Whoever it is, it tries to (`--super`).
    Always,
    /// Not even as root (`--no-super`).
    Never,
}

/// When what the sender says is compressed. Data that does not get shorter never is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Never.
    #[default]
    Never,
    /// While the link, and not a processor, is what the push waits for.
    Adaptive,
    /// However fast the link is.
    Always {
        /// zstd's level: 1 fast to 22 small; below 1 faster still. `None` leaves it to the link.
        level: Option<i32>,
    },
}

impl Default for Options {
    fn default() -> Self {
        Options {
            recursive: false,
            dirs: false,
            relative: false,
            implied_dirs: true,
            files_from: None,
            prune_empty_dirs: false,
            links: false,
            copy_links: false,
            copy_dirlinks: false,
            copy_unsafe_links: false,
            safe_links: false,
            perms: false,
            times: false,
            owner: false,
            group: false,
            devices: false,
            specials: false,
            acls: false,
            xattrs: false,
            hard_links: false,
            sparse: false,
            delete: false,
            force: false,
            ignore_errors: false,
            ignore_missing: false,
            delete_missing: false,
            keep_dirlinks: false,
            mkpath: false,
            max_delete: None,
            brake: None,
            follow_untrusted: false,
            dry_run: false,
            checksum: false,
            quick_check: QuickCheck::Times,
            window_s: None,
            recheck: None,
            update: false,
            existing: false,
            ignore_existing: false,
            lengths: None,
            omit_dir_times: false,
            omit_link_times: false,
            atimes: false,
            open_noatime: false,
            executability: false,
            super_user: SuperUser::IfRoot,
            backup: None,
            whole_file: false,
            one_file_system: false,
            omit_mounts: false,
            numeric_ids: false,
            fsync: true,
            atomic: false,
            filters: Vec::new(),
            modes: ModeChanges::default(),
            owner_maps: OwnerMaps::default(),
            timeout_ms: 0,
            stall: Duration::ZERO,
            lossy: Differences::default(),
            lossless: false,
            compression: Compression::Never,
        }
    }
}

/// Files whose content counts, besides their metadata.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summed {
    all: bool,
    between: Option<(i64, i64)>,
}

impl Summed {
    /// Whether that is so of a file with that modification time.
    pub(crate) fn covers(self, mtime: Time) -> bool {
        let ns = mtime.secs.saturating_mul(1_000_000_000);
        let ns = ns.saturating_add(mtime.nanos.into());
        self.all
            || self
                .between
                .is_some_and(|(from, to)| (from..=to).contains(&ns))
    }

    /// Whether it is so of this file, and its sum is not there.
    pub(crate) fn lacks(self, entry: &Entry) -> bool {
        matches!(entry.body, Body::File { sum: None, .. }) && self.covers(entry.mtime)
    }

    pub(crate) fn is_empty(self) -> bool {
        !self.all && self.between.is_none()
    }
}

impl Options {
    pub(crate) fn summed(&self) -> Summed {
        Summed {
            all: self.checksum,
            between: self.recheck,
        }
    }

    /// Whether a receiver does what root may.
    pub(crate) fn acts_as_root(&self, is_root: bool) -> bool {
        match self.super_user {
            SuperUser::IfRoot => is_root,
            SuperUser::Always => true,
            SuperUser::Never => false,
        }
    }

    /// Whether it counts if a file can be executed, though its permissions do not.
    pub(crate) fn only_executability(&self) -> bool {
        self.executability && !self.perms
    }

    /// Whether two modification times are one.
    pub(crate) fn is_same_time(&self, a: Time, b: Time) -> bool {
        match self.window_s {
            Some(window_s) => a.secs.abs_diff(b.secs) <= window_s.into(),
            None => a == b,
        }
    }

    /// Whether a symlink of the target may lead to a directory of it that is mirrored.
    pub(crate) fn may_lead(&self) -> bool {
        self.keep_dirlinks || !self.implied_dirs && !self.atomic
    }

    /// Whether modification times of entries of this kind are kept.
    pub(crate) fn times_of(&self, kind: Kind) -> bool {
        self.times
            && match kind {
                Kind::Dir => !self.omit_dir_times,
                Kind::Symlink => !self.omit_link_times,
                Kind::File | Kind::Device | Kind::Special => true,
            }
    }

    /// Whether times of the last access count of entries of this kind.
    pub(crate) fn atimes_of(&self, kind: Kind) -> bool {
        // To follow a symlink sets its own.
        self.atimes && !matches!(kind, Kind::Dir | Kind::Symlink)
    }

    /// Whether reading leaves no trace, where that can be.
    pub(crate) fn reads_quietly(&self) -> bool {
        self.atimes || self.open_noatime
    }

    /// Whether this removes names on the receiver.
    pub(crate) fn deletes(&self) -> bool {
        self.delete || self.force || self.delete_missing
    }

    /// `-a`: `-rlptgoD`.
    pub fn archive() -> Self {
        Options {
            recursive: true,
            links: true,
            perms: true,
            times: true,
            owner: true,
            group: true,
            devices: true,
            specials: true,
            ..Options::default()
        }
    }
}
