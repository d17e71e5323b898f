//! The verdict on one entry: what has to happen so that the target's entry equals the source's,
//! by rsync's rules (quick check by length and time, or by content under `-c`).

mod attributes;

use std::borrow::Cow;

use crate::digest::Fields;
use crate::entry::{Body, Entry};
use crate::fs::{Attrs, Inherited, Listed};
use crate::ids::{IdKind, IdMap};
use crate::observer::{Action, Differences, Kind};
use crate::options::{Options, QuickCheck};

/// What has to happen to one entry of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing.
    Keep,
    /// Nothing, because of `-u`.
    KeepNewer,
    /// Nothing, because of `--existing` or `--ignore-existing`, whatever is there.
    Skip,
    /// Metadata only, in place.
    SetAttrs {
        differences: Differences,
        attrs: Attrs,
    },
    /// The entry is made anew and put under its name.
    Make {
        action: Action,
        differences: Differences,
    },
}

/// How the hard link that the source has for an entry stands on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// The source's entry is not linked to an earlier one.
    NotLinked,
    /// The target's entry is already the same inode as the first of the group.
    SameInode,
    /// It is another inode, or missing.
    Apart,
    /// It is another inode, and the first can have no name there: that one takes the rest.
    Beyond,
}

/// What the target has under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) kind: Kind,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Length of a regular file.
    pub(crate) len: u64,
}

impl From<&Listed> for Replaced {
    fn from(listed: &Listed) -> Self {
        Replaced {
            kind: listed.entry.kind(),
            mode: listed.entry.mode,
            len: listed.entry.len(),
        }
    }
}

/// Everything a verdict depends on besides the two entries.
pub(crate) struct Judge<'a> {
    pub(crate) options: &'a Options,
    pub(crate) fields: Cow<'a, Fields>,
    /// Groups that an unprivileged receiver may set, the one of its new files included.
    pub(crate) own_groups: &'a [u32],
    /// The receiver's umask: what new entries lose without `-p` and without a default ACL.
    pub(crate) umask: u32,
}

impl Judge<'_> {
    /// Decides about `entry`, given what the target has under that name.
    pub(crate) fn decide(
        &self,
        ids: &IdMap,
        entry: &Entry,
        local: Option<&Listed>,
        link: LinkState,
    ) -> Decision {
        if entry.is_unmirrored() {
            return Decision::Keep;
        }
        let has_both_dirs = local.is_some_and(|local| local.entry.is_dir() && entry.is_dir());
        let skipped = match local {
            None => self.options.existing,
            Some(_) => self.options.ignore_existing && !has_both_dirs,
        };
        if skipped {
            return Decision::Skip;
        }
        let same_kind = local.filter(|local| local.entry.kind() == entry.kind());
        let made = match (entry.kind(), link) {
            (_, LinkState::SameInode | LinkState::Apart | LinkState::Beyond) => Action::HardLink,
            (Kind::File, _) => Action::Transfer,
            _ => Action::Create,
        };
        let Some(local) = same_kind else {
            let differences = Differences {
                new: true,
                ..Differences::default()
            };
            return Decision::Make {
                action: made,
                differences,
            };
        };
        if entry.body == Body::Way {
            return Decision::Keep;
        }
        let fields = self.fields.of(entry);
        let stored = |time| fields.keeps.time_store.stored(time);
        let (time, local_time) = (stored(entry.mtime), stored(local.entry.mtime));
        let time_differs = !self.options.is_same_time(time, local_time);
        let is_older = time_differs && time < local.entry.mtime;
        if self.options.update && entry.kind() == Kind::File && is_older {
            return Decision::KeepNewer;
        }
        let mut differences = self.metadata_differences(ids, entry, local);
        let (content_differs, shown_as_content) = self.content_differs(entry, local, time_differs);
        differences.size = entry.kind() == Kind::File && entry.len() != local.entry.len();
        differences.content = shown_as_content;
        differences.time = time_differs;
        differences = fields.counted(entry.kind(), differences);
        let is_apart = match link {
            LinkState::NotLinked | LinkState::SameInode => false,
            LinkState::Apart => true,
            LinkState::Beyond => differences.any(),
        };
        if content_differs || is_apart {
            differences.time_now = content_differs && !self.options.times;
            // Its time is one that this push makes.
            let has_no_time = self.options.times && !self.options.times_of(entry.kind());
            differences.time |= content_differs && has_no_time;
            if content_differs && entry.kind() != Kind::File {
                // What is made anew has none yet.
                (differences.acl, differences.xattr) = self.attributes_given(ids, entry);
            }
            return Decision::Make {
                action: made,
                differences,
            };
        }
        // The first entry of a link group answers for the inode they share.
        if !differences.any() || link == LinkState::SameInode {
            return Decision::Keep;
        }
        Decision::SetAttrs {
            differences,
            attrs: self.changed_attrs(ids, entry, local, differences),
        }
    }

    /// Whether the content has to be made anew, and whether an itemized line shows that as `c`.
    fn content_differs(&self, entry: &Entry, local: &Listed, time_differs: bool) -> (bool, bool) {
        match (&entry.body, &local.entry.body) {
            (
                Body::File { len, sum },
                Body::File {
                    len: local_len,
                    sum: local_sum,
                },
            ) => {
                if self.options.checksum {
                    let differs = len != local_len || sum.is_none() || sum != local_sum;
                    (differs, differs)
                } else if len != local_len || self.may_differ(time_differs) {
                    (true, false)
                } else {
                    // With a sum the sender asks for more than the quick check.
                    let differs = sum.is_some() && sum != local_sum;
                    (differs, differs)
                }
            }
            (Body::Dir | Body::Way, Body::Dir) => (false, false),
            (body, local_body) => (body != local_body, body != local_body),
        }
    }

    /// Whether files of equal length are taken for different without looking into them.
    fn may_differ(&self, time_differs: bool) -> bool {
        match self.options.quick_check {
            QuickCheck::Times => time_differs,
            QuickCheck::Lengths => false,
            QuickCheck::Nothing => true,
        }
    }

    fn metadata_differences(&self, ids: &IdMap, entry: &Entry, local: &Listed) -> Differences {
        let mut differences = Differences::default();
        let there = Replaced::from(local);
        if self.options.perms && entry.kind() != Kind::Symlink {
            differences.perms = entry.mode != self.kept_mode(&there);
        } else if self.options.only_executability() {
            differences.perms = self.left_mode(entry, &there) != self.kept_mode(&there);
        }
        differences.owner = self
            .uid(ids, entry)
            .is_some_and(|uid| uid != local.entry.uid);
        differences.group = self
            .gid(ids, entry)
            .is_some_and(|gid| gid != local.entry.gid);
        let stored = |atime| self.fields.of(entry).keeps.time_store.stored(atime);
        if self.options.atimes_of(entry.kind())
            && let Some((wanted, there)) = entry.atime.zip(local.entry.atime)
        {
            differences.atime = !self.options.is_same_time(stored(wanted), stored(there));
        }
        (differences.acl, differences.xattr) = self.attributes_differ(ids, entry, local);
        differences
    }

    fn changed_attrs(
        &self,
        ids: &IdMap,
        entry: &Entry,
        local: &Listed,
        differences: Differences,
    ) -> Attrs {
        let keeps = self.fields.of(entry).keeps;
        let lost = keeps.lost_of(entry.kind());
        // A change of owner clears setuid and setgid: then the mode is set again.
        let owned = differences.owner || differences.group;
        let mode = if self.options.perms {
            (differences.perms || owned).then_some(entry.mode)
        } else {
            (differences.perms || owned && local.entry.mode & 0o6000 != 0)
                .then(|| self.left_mode(entry, &Replaced::from(local)))
        };
        Attrs {
            uid: self.uid(ids, entry).filter(|_| differences.owner),
            gid: self.gid(ids, entry).filter(|_| differences.group),
            mode: mode.filter(|_| !lost.perms),
            mtime: (differences.time
                || differences.atime && self.options.times_of(entry.kind()) && !lost.time)
                .then(|| keeps.time_store.stored(entry.mtime)),
            // Whatever sets the one time sets both.
            atime: entry
                .atime
                .filter(|_| differences.time || differences.atime)
                .map(|atime| keeps.time_store.stored(atime)),
            attributes: self.changed_attributes(ids, entry, local, differences),
        }
    }

    /// The metadata of an entry made anew in a directory, which may pass some on.
    pub(crate) fn made_attrs(
        &self,
        ids: &IdMap,
        entry: &Entry,
        replaced: Option<Replaced>,
        inherited: Inherited,
    ) -> Attrs {
        let same_kind = replaced.filter(|replaced| replaced.kind == entry.kind());
        let is_way = entry.body == Body::Way;
        let mode = match same_kind {
            _ if self.options.perms && !is_way => entry.mode,
            Some(replaced) if !entry.is_dir() => self.left_mode(entry, &replaced),
            _ => {
                let inherits_setgid = inherited.gid.is_some() && entry.is_dir();
                let setgid = if inherits_setgid { 0o2000 } else { 0 };
                let perms = inherited.perms.unwrap_or(0o777 & !self.umask);
                (entry.mode & perms) | setgid
            }
        };
        let keeps = self.fields.of(entry).keeps;
        let lost = keeps.lost_of(entry.kind());
        Attrs {
            uid: self.uid(ids, entry).filter(|_| !is_way),
            gid: self
                .gid(ids, entry)
                .filter(|_| !is_way)
                .or(inherited.gid.filter(|_| !lost.group)),
            mode: Some(mode).filter(|_| !lost.perms),
            mtime: (!is_way && self.options.times_of(entry.kind()) && !lost.time)
                .then(|| keeps.time_store.stored(entry.mtime)),
            atime: entry
                .atime
                .filter(|_| !lost.time)
                .map(|atime| keeps.time_store.stored(atime)),
            attributes: self.made_attributes(ids, entry),
        }
    }

    /// The mode of what is there, without the bits that are not set for this peer: neither new
    /// content nor another owner may come to have them.
    fn kept_mode(&self, there: &Replaced) -> u32 {
        self.fields.powers.mode(there.mode, there.kind)
    }

    /// The mode that what is there is left, or has afterwards under `-E`: who may read it may
    /// execute it, or nobody may.
    fn left_mode(&self, entry: &Entry, there: &Replaced) -> u32 {
        let kept = self.kept_mode(there);
        let are_files = entry.kind() == Kind::File && there.kind == Kind::File;
        if !are_files || !self.options.only_executability() {
            return kept;
        }
        match (entry.mode & 0o111 != 0, kept & 0o111 != 0) {
            (true, false) => kept | (kept & 0o444) >> 2,
            (false, true) => kept & !0o111,
            _ => kept,
        }
    }

    /// What cannot be kept of the entry.
    fn lost(&self, entry: &Entry) -> Differences {
        self.fields.of(entry).keeps.lost_of(entry.kind())
    }

    /// The owner that the entry is to have, if owners are kept at all.
    fn uid(&self, ids: &IdMap, entry: &Entry) -> Option<u32> {
        (self.options.owner && self.fields.powers.owners && !self.lost(entry).owner)
            .then(|| ids.local(IdKind::User, entry.uid))
    }

    /// The group that the entry is to have, if groups are kept and this process may set it.
    fn gid(&self, ids: &IdMap, entry: &Entry) -> Option<u32> {
        let gid = ids.local(IdKind::Group, entry.gid);
        let may = self.fields.powers.owners || self.own_groups.contains(&gid);
        (self.options.group && may && !self.lost(entry).group).then_some(gid)
    }
}

#[cfg(test)]
mod tests;
