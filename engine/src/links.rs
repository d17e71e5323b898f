//! What becomes of the symlinks of a source: which of them are pushed as what they lead to. By
//! whose symlinks root is led is a rule besides: its own alone, since all others could be traps.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::attributes::Scope;
use crate::entry::Body;
use crate::fs::{Follow, Listed, follow_listed};
use crate::options::Options;

/// The symlinks that are pushed as what they lead to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkRules {
    all: bool,
    to_dirs: bool,
    unsafe_ones: bool,
    pub(crate) whose: Follow,
}

/// What is to come of a symlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    /// It is what it leads to, if that is a directory that may be entered.
    FollowedToDir,
    /// It is what it leads to; if that is nothing, it is an error.
    Followed,
}

impl LinkRules {
    /// Symlinks are symlinks.
    pub(crate) fn kept() -> Self {
        LinkRules::of(&Options::default())
    }

    pub(crate) fn of(options: &Options) -> Self {
        LinkRules {
            all: options.copy_links,
            to_dirs: options.copy_dirlinks,
            unsafe_ones: options.copy_unsafe_links,
            whose: match options.follow_untrusted || !rustix::process::geteuid().is_root() {
                // What this user may not read, nobody's link makes readable.
                true => Follow::Any,
                false => Follow::Trusted,
            },
        }
    }

    /// Whether any is followed.
    pub(crate) fn any(&self) -> bool {
        self.all || self.to_dirs || self.unsafe_ones
    }

    /// Puts in place of a symlink, listed in a directory so many levels below the top, what it is
    /// pushed as. All else stays as it is.
    pub(crate) fn look_through(
        &self,
        dir: BorrowedFd<'_>,
        listed: &mut Listed,
        depth: usize,
        scope: Scope,
    ) -> io::Result<()> {
        let Body::Symlink { target } = &listed.entry.body else {
            return Ok(());
        };
        match self.fate(target, depth) {
            Fate::Kept => Ok(()),
            Fate::FollowedToDir => {
                let mut found = listed.clone();
                let is_led = follow_listed(dir, &mut found, self.whose, scope).is_ok();
                if is_led && found.entry.is_dir() {
                    *listed = found;
                }
                Ok(())
            }
            Fate::Followed => follow_listed(dir, listed, self.whose, scope).map_err(to_nothing),
        }
    }

    /// Why a name of the source could not be examined: under `-L` one that leads to nothing is not
    /// there.
    pub(crate) fn of_named(&self, e: io::Error) -> io::Error {
        match self.all && e.to_string() == TO_NOTHING {
            true => io::Error::new(io::ErrorKind::NotFound, TO_NOTHING),
            false => e,
        }
    }

    /// Whether a name of the source stands for nothing.
    pub(crate) fn is_missing(&self, path: &Path) -> bool {
        let found = match self.all {
            true => path.metadata(),
            false => path.symlink_metadata(),
        };
        found.is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    }

    /// What comes of one that says `target`, in a directory so many levels below the top.
    pub(crate) fn fate(&self, target: &[u8], depth: usize) -> Fate {
        if self.all || self.unsafe_ones && is_unsafe(target, depth) {
            Fate::Followed
        } else if self.to_dirs {
            Fate::FollowedToDir
        } else {
            Fate::Kept
        }
    }
}

const TO_NOTHING: &str = "it is a symlink to nothing";

/// It did not vanish: it leads nowhere.
fn to_nothing(e: io::Error) -> io::Error {
    match e.kind() {
        io::ErrorKind::NotFound => io::Error::other(TO_NOTHING),
        _ => e,
    }
}

/// Whether a symlink may lead out of the tree, by its text alone: it is absolute, climbs higher
/// than the directory that it is in lies deep, or climbs after it has gone down.
pub(crate) fn is_unsafe(target: &[u8], depth: usize) -> bool {
    let mut names = target.split(|&b| b == b'/').filter(|name| !name.is_empty());
    let ups = names.clone().take_while(|name| *name == b"..").count();
    let climbs_later = names.clone().skip(ups).any(|name| name == b"..");
    let ends_above = ups > 1 && names.next_back() == Some(b"..") && !target.ends_with(b"/");
    target.is_empty() || target.starts_with(b"/") || climbs_later || ends_above || ups > depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symlink_is_unsafe_if_its_text_may_lead_out() {
        for (target, depth, expected) in [
            ("a", 0, false),
            ("a/b", 0, false),
            ("./a", 0, false),
            ("/a", 5, true),
            ("", 0, true),
            ("../a", 0, true),
            ("../a", 1, false),
            ("..//..///a", 2, false),
            ("../../a", 1, true),
            ("..", 0, true),
            ("..", 1, false),
            ("../", 1, false),
            // rsync takes these for unsafe, however deep they are.
            ("../..", 5, true),
            ("a/..", 5, true),
            ("a/../b", 5, true),
            ("./../b", 5, true),
            ("../../", 2, false),
            ("..a/b", 0, false),
        ] {
            assert_eq!(
                is_unsafe(target.as_bytes(), depth),
                expected,
                "{target} {depth}"
            );
        }
    }
}
