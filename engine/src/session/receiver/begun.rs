//! A directory that is made in staging, with everything directly in it, and put in place when it is
//! complete. Its subdirectories follow the same way, into the directory then in place.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, mkdirat, openat};

use super::site::Site;
use crate::change::{Over, Staged};
use crate::entry::Entry;
use crate::error::Error;
use crate::fs::{Attrs, DIR_FLAGS, Inherited, set_fd_attrs};
use crate::path::RelPath;

/// A directory in staging.
pub(super) struct Begun {
    pub(super) staged: Staged,
    pub(super) fd: OwnedFd,
    /// What it is to get.
    pub(super) attrs: Attrs,
}

impl Begun {
    /// Makes an empty directory, private for now. `None` if that fails for it alone.
    pub(super) fn make(
        site: &mut Site,
        path: &RelPath,
        entry: &Entry,
    ) -> Result<Option<Self>, Error> {
        let parent = path.parent();
        let staged = site.door.real()?.commit.stage_for(&parent);
        let Some(staged) = site.unless_fatal(staged)? else {
            return Ok(None);
        };
        let inherited = site.inherited(&parent);
        let attrs = site.rules.made_attrs(&parent, entry, None, inherited);
        let made = site.door.real()?.room.with(|| {
            mkdirat(&*staged.stage, &*staged.name, Mode::RWXU)?;
            Ok(openat(
                &*staged.stage,
                &*staged.name,
                DIR_FLAGS,
                Mode::empty(),
            )?)
        });
        match made {
            Ok(fd) => Ok(Some(Begun { staged, fd, attrs })),
            Err(e) => {
                site.failed("make directory", path, &e)?;
                Ok(None)
            }
        }
    }

    /// What is made in it inherits. It has the default ACL of the directory that it is to be in.
    pub(super) fn passes_on(&self) -> Inherited {
        let is_setgid = self.attrs.mode.is_some_and(|mode| mode & 0o2000 != 0);
        let own = || rustix::process::getegid().as_raw();
        Inherited {
            gid: is_setgid.then(|| self.attrs.gid.unwrap_or_else(own)),
            perms: Inherited::perms_in(&self.fd),
        }
    }

    /// Puts it in place.
    pub(super) fn place(self, site: &mut Site, path: &RelPath) -> Result<(), Error> {
        let Begun { staged, fd, attrs } = self;
        let needs_more = |mode: &u32| {
            site.door
                .real()
                .is_ok_and(|real| real.commit.needs_more(*mode))
        };
        // Its own subdirectories have still to be put into it.
        let more = attrs.mode.filter(needs_more).map(|mode| mode | 0o700);
        let now = Attrs {
            mtime: None,
            mode: more.or(attrs.mode),
            ..attrs.clone()
        };
        let fd = File::from(fd);
        if let Err(e) = set_fd_attrs(&fd, &now) {
            site.warn_of("set the metadata of", path, &e)?;
        }
        let commit = &mut site.door.real()?.commit;
        commit.place_dir(&staged, &fd.into(), path, &attrs, Over::default())
    }
}
