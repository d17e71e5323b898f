//! What became of an entry between its listing and its reading. Somebody may have put another file
//! or directory under the name by then, or given it away: content is published with the metadata
//! that its own descriptor has, never with those of what was listed.

use std::collections::VecDeque;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::entry::{Entry, Time};
use crate::ids::check_id;
use crate::observer::Kind;
use crate::policy::Powers;
use crate::refusal::Refusal;

/// Directories of one push that may turn out to be others than those that were listed.
pub(crate) const OTHER_DIRS_MAX: usize = 4096;

/// The metadata of a file or a directory, as one look at it finds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Permission bits with setuid, setgid and sticky: 0o7777.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
}

/// Who may do what with an entry: if this is another, so is what may be published.
pub(crate) type Access = (u32, u32, u32);

impl Meta {
    pub(crate) fn of_file(found: &Metadata) -> Self {
        Meta {
            mode: found.mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
            mtime: Time::found(found.mtime(), found.mtime_nsec()),
        }
    }

    pub(crate) fn of_dir(found: &Stat) -> Self {
        Meta {
            mode: found.st_mode & 0o7777,
            uid: found.st_uid,
            gid: found.st_gid,
            mtime: Time::found(found.st_mtime, found.st_mtime_nsec),
        }
    }

    pub(crate) fn of_entry(entry: &Entry) -> Self {
        Meta {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
        }
    }

    pub(crate) fn access(&self) -> Access {
        (self.mode, self.uid, self.gid)
    }

    /// Checks what a peer sent.
    pub(crate) fn check(&self, kind: Kind, powers: Powers) -> Result<(), Refusal> {
        let mode = self.mode;
        match mode {
            0o10000.. => Err(Refusal::Mode { mode }),
            _ if powers.mode(mode, kind) != mode => Err(Refusal::Setuid),
            _ => self.check_owners().and_then(|()| self.mtime.check()),
        }
    }

    /// Checks that there is a user and a group of its numbers.
    pub(crate) fn check_owners(&self) -> Result<(), Refusal> {
        [self.uid, self.gid].into_iter().try_for_each(check_id)
    }

    /// Gives them to an entry.
    pub(crate) fn put_into(&self, entry: &mut Entry) {
        (entry.mode, entry.uid, entry.gid) = self.access();
        entry.mtime = self.mtime;
    }
}

/// How the metadata that go with content relate to those that were announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Since {
    /// They are the same.
    Same,
    /// Only the time is another: it was written to.
    Touched(Time),
    /// It is another's, or another file altogether: all of them count anew.
    Other(Meta, Attributes),
}

impl Since {
    pub(crate) fn between(
        (announced, had): (&Meta, &Attributes),
        (found, has): (&Meta, &Attributes),
    ) -> Self {
        if announced.access() != found.access() || had != has {
            Since::Other(*found, has.clone())
        } else if announced.mtime != found.mtime {
            Since::Touched(found.mtime)
        } else {
            Since::Same
        }
    }

    /// Makes an entry what it has become.
    pub(crate) fn put_into(&self, entry: &mut Entry) {
        match self {
            Since::Same => {}
            Since::Touched(time) => entry.mtime = *time,
            Since::Other(meta, attributes) => {
                meta.put_into(entry);
                entry.attributes.clone_from(attributes);
            }
        }
    }

    /// Checks what a peer sent.
    pub(crate) fn check(&self, powers: Powers) -> Result<(), Refusal> {
        match self {
            Since::Same => Ok(()),
            Since::Touched(time) => time.check(),
            Since::Other(meta, attributes) => {
                meta.check(Kind::File, powers)?;
                attributes.check(FileType::RegularFile)
            }
        }
    }
}

/// Who may do what with a directory, its attributes in one number.
pub(crate) type DirAccess = (Access, u64);

/// What was listed of directories that are still to be read, in order. Neighbours are mostly alike.
#[derive(Debug, Default)]
pub(crate) struct Accesses(VecDeque<(DirAccess, u64)>);

impl Accesses {
    pub(crate) fn push(&mut self, access: DirAccess) {
        match self.0.back_mut() {
            Some((last, count)) if *last == access => *count += 1,
            _ => self.0.push_back((access, 1)),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<DirAccess> {
        let (access, count) = self.0.front_mut()?;
        let access = *access;
        *count -= 1;
        if *count == 0 {
            self.0.pop_front();
        }
        Some(access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_owns_it_counts_more_than_when_it_was_written() {
        let listed = Meta {
            mode: 0o644,
            uid: 1,
            gid: 2,
            mtime: Time { secs: 3, nanos: 4 },
        };
        let mtime = Time { secs: 3, nanos: 5 };
        let none = Attributes::default();
        for (found, since) in [
            (listed, Since::Same),
            (Meta { mtime, ..listed }, Since::Touched(mtime)),
        ] {
            assert_eq!(Since::between((&listed, &none), (&found, &none)), since);
        }
        let some = Attributes::from_bytes(&[3, 0, 1, 0, 0, 0, 0]);
        let since = Since::between((&listed, &none), (&listed, &some));
        assert_eq!(since, Since::Other(listed, some));
        for found in [
            Meta {
                mode: 0o600,
                ..listed
            },
            Meta { uid: 0, ..listed },
            Meta {
                gid: 0,
                mtime,
                ..listed
            },
        ] {
            let since = Since::between((&listed, &none), (&found, &none));
            assert_eq!(since, Since::Other(found, none.clone()));
        }
    }

    #[test]
    fn what_was_listed_comes_back_in_order() {
        let all = [
            ((1, 2, 3), 0),
            ((1, 2, 3), 0),
            ((0, 2, 3), 0),
            ((0, 2, 3), 7),
            ((1, 2, 3), 0),
        ];
        let mut accesses = Accesses::default();
        all.iter().for_each(|access| accesses.push(*access));
        assert!(accesses.0.len() == 4);
        let taken: Vec<DirAccess> = std::iter::from_fn(|| accesses.pop()).collect();
        assert_eq!(taken, all);
    }
}
