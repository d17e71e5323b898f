//! The verdict on one entry: what has to happen so that the target's entry equals the source's,
//! by rsync's rules (quick check by length and time, or by content under `-c`).

mod attributes;

use std::borrow::Cow;

use crate::digest::Fields;
use crate::entry::{Body, Entry};
use crate::fs::{Attrs, Listed};
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
    /// It is another inode, and the first has as many names as it can: that one takes the rest.
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
    /// The receiver's umask: what new entries lose without `-p`.
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
        if self.options.perms && entry.kind() != Kind::Symlink {
            differences.perms = entry.mode != self.kept_mode(&Replaced::from(local));
        }
        differences.owner = self
            .uid(ids, entry)
            .is_some_and(|uid| uid != local.entry.uid);
        differences.group = self
            .gid(ids, entry)
            .is_some_and(|gid| gid != local.entry.gid);
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
            (owned && local.entry.mode & 0o6000 != 0)
                .then(|| self.kept_mode(&Replaced::from(local)))
        };
        Attrs {
            uid: self.uid(ids, entry).filter(|_| differences.owner),
            gid: self.gid(ids, entry).filter(|_| differences.group),
            mode: mode.filter(|_| !lost.perms),
            mtime: differences
                .time
                .then(|| keeps.time_store.stored(entry.mtime)),
            attributes: self.changed_attributes(ids, entry, differences),
        }
    }

    /// The metadata of an entry made anew in a directory; `inherited_gid` is the group that a
    /// setgid directory passes on.
    pub(crate) fn made_attrs(
        &self,
        ids: &IdMap,
        entry: &Entry,
        replaced: Option<Replaced>,
        inherited_gid: Option<u32>,
    ) -> Attrs {
        let same_kind = replaced.filter(|replaced| replaced.kind == entry.kind());
        let is_way = entry.body == Body::Way;
        let mode = match same_kind {
            _ if self.options.perms && !is_way => entry.mode,
            Some(replaced) if !entry.is_dir() => self.kept_mode(&replaced),
            _ => {
                let inherits_setgid = inherited_gid.is_some() && entry.is_dir();
                let setgid = if inherits_setgid { 0o2000 } else { 0 };
                (entry.mode & 0o777 & !self.umask) | setgid
            }
        };
        let keeps = self.fields.of(entry).keeps;
        let lost = keeps.lost_of(entry.kind());
        Attrs {
            uid: self.uid(ids, entry).filter(|_| !is_way),
            gid: self
                .gid(ids, entry)
                .filter(|_| !is_way)
                .or(inherited_gid.filter(|_| !lost.group)),
            mode: Some(mode).filter(|_| !lost.perms),
            mtime: (!is_way && self.options.times_of(entry.kind()) && !lost.time)
                .then(|| keeps.time_store.stored(entry.mtime)),
            attributes: self.made_attributes(ids, entry),
        }
    }

    /// The mode of what is there, without the bits that are not set for this peer: neither new
    /// content nor another owner may come to have them.
    fn kept_mode(&self, there: &Replaced) -> u32 {
        self.fields.powers.mode(there.mode, there.kind)
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
mod tests {
    use super::*;
    use crate::attributes::Attributes;
    use crate::entry::Time;
    use crate::keeps::Keeps;
    use crate::policy::{Powers, Rights};

    fn file(len: u64, secs: i64, mode: u32) -> Entry {
        Entry {
            name: b"f".to_vec(),
            mode,
            uid: 0,
            gid: 0,
            mtime: Time { secs, nanos: 0 },
            body: Body::File { len, sum: None },
            link_to: None,
            attributes: Attributes::default(),
        }
    }

    fn check(options: &Options, entry: &Entry, local: Option<Entry>) -> Decision {
        check_with(Rights::default(), options, entry, local)
    }

    fn check_with(
        rights: Rights,
        options: &Options,
        entry: &Entry,
        local: Option<Entry>,
    ) -> Decision {
        let powers = Powers::new(true, rights);
        let fields = Fields::new(options, powers, Vec::new(), Keeps::default(), [0; 32]);
        let judge = Judge {
            options,
            fields: Cow::Owned(fields),
            own_groups: &[],
            umask: 0o22,
        };
        let local = local.map(|entry| Listed {
            entry,
            dev: 0,
            ino: 0,
            nlink: 1,
        });
        judge.decide(
            &IdMap::default(),
            entry,
            local.as_ref(),
            LinkState::NotLinked,
        )
    }

    #[test]
    fn quick_check_compares_length_and_time() {
        let archive = Options::archive();
        let same = check(&archive, &file(5, 9, 0o644), Some(file(5, 9, 0o644)));
        assert_eq!(same, Decision::Keep);
        for other in [file(6, 9, 0o644), file(5, 8, 0o644)] {
            let decision = check(&archive, &file(5, 9, 0o644), Some(other));
            assert!(matches!(
                decision,
                Decision::Make {
                    action: Action::Transfer,
                    ..
                }
            ));
        }
    }

    #[test]
    fn a_change_of_mode_alone_moves_no_content() {
        let decision = check(
            &Options::archive(),
            &file(5, 9, 0o600),
            Some(file(5, 9, 0o644)),
        );
        let Decision::SetAttrs { differences, attrs } = decision else {
            unreachable!("{decision:?}")
        };
        assert!(differences.perms && !differences.time);
        assert_eq!(
            attrs,
            Attrs {
                mode: Some(0o600),
                ..Attrs::default()
            }
        );
    }

    #[test]
    fn update_leaves_newer_files_alone_but_not_other_types() {
        let options = Options {
            update: true,
            ..Options::archive()
        };
        let newer = check(&options, &file(5, 9, 0o644), Some(file(6, 10, 0o600)));
        assert_eq!(newer, Decision::KeepNewer);
        let fifo = Entry {
            body: Body::Fifo,
            ..file(0, 10, 0o600)
        };
        assert!(matches!(
            check(&options, &file(5, 9, 0o644), Some(fifo)),
            Decision::Make { .. }
        ));
    }

    const NO_SETUID: Rights = Rights {
        deletes: true,
        devices: true,
        setuid: false,
    };

    #[test]
    fn bits_that_may_not_be_set_are_no_difference() {
        let archive = Options::archive();
        for there in [0o755, 0o4755, 0o2755, 0o6755] {
            let local = Some(file(5, 9, there));
            let decision = check_with(NO_SETUID, &archive, &file(5, 9, 0o755), local);
            assert_eq!(decision, Decision::Keep, "{there:o}");
        }
        // The sticky bit and a directory's setgid lend nobody's rights to anybody.
        let sticky = check_with(
            NO_SETUID,
            &archive,
            &file(5, 9, 0o755),
            Some(file(5, 9, 0o1755)),
        );
        assert!(matches!(sticky, Decision::SetAttrs { .. }));
        let dir = |mode| Entry {
            body: Body::Dir,
            ..file(0, 9, mode)
        };
        let setgid = check_with(NO_SETUID, &archive, &dir(0o2755), Some(dir(0o755)));
        assert!(matches!(setgid, Decision::SetAttrs { .. }));
    }

    /// Whoever may not set the bits may not fill a file that has them, nor give it to another.
    #[test]
    fn bits_that_are_there_do_not_outlive_a_change() {
        let without_perms = Options {
            perms: false,
            ..Options::archive()
        };
        let owner = |uid| Entry {
            uid,
            ..file(5, 9, 0o755)
        };
        for there in [0o4711, 0o2711, 0o6711] {
            for (rights, kept) in [(NO_SETUID, 0o711), (Rights::default(), there)] {
                let local = Entry {
                    uid: 7,
                    ..file(5, 9, there)
                };
                let given = check_with(rights, &without_perms, &owner(8), Some(local.clone()));
                let Decision::SetAttrs { attrs, .. } = given else {
                    unreachable!("{given:?}")
                };
                assert_eq!((attrs.uid, attrs.mode), (Some(8), Some(kept)));
                let powers = Powers::new(true, rights);
                let fields = Fields::new(
                    &without_perms,
                    powers,
                    Vec::new(),
                    Keeps::default(),
                    [0; 32],
                );
                let judge = Judge {
                    options: &without_perms,
                    fields: Cow::Owned(fields),
                    own_groups: &[],
                    umask: 0o22,
                };
                let replaced = Replaced {
                    kind: Kind::File,
                    mode: there,
                    len: 5,
                };
                let filled = judge.made_attrs(&IdMap::default(), &owner(7), Some(replaced), None);
                assert_eq!(filled.mode, Some(kept));
            }
        }
    }
}
