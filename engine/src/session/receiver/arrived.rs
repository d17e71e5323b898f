//! A file whose content has arrived: it gets the metadata that came with it, and is handed to the
//! commit.

use std::borrow::Cow;
use std::fs::File;

use super::removals::{Removals, Replacement};
use super::site::Site;
use super::wanted::Wanted;
use crate::change::{Over, Staged};
use crate::entry::Entry;
use crate::error::{Error, is_no_space};
use crate::fs::{Inherited, close_written, set_new_attrs};
use crate::path::RelPath;
use crate::since::Since;

/// Where a file is being made.
pub(super) enum Place {
    /// In staging, to be put under its name by itself.
    Alone(Staged),
    /// In a staged directory, under its own name already.
    Within,
}

/// A file whose content is right.
pub(super) struct Arrived<'a> {
    pub(super) dir: &'a RelPath,
    pub(super) inherited: Inherited,
    pub(super) entry: &'a Entry,
    pub(super) file: File,
    pub(super) since: Since,
    pub(super) place: Place,
    pub(super) wanted: Wanted,
}

impl Arrived<'_> {
    /// Has it removed by `discard` if the target could not store it after all.
    pub(super) fn settle(
        self,
        site: &mut Site,
        removals: &mut Removals,
        discard: impl FnOnce(&Place),
    ) -> Result<(), Error> {
        let Wanted {
            replaced,
            in_the_way,
            ..
        } = self.wanted;
        let mut found = Cow::Borrowed(self.entry);
        if self.since != Since::Same {
            self.since.put_into(found.to_mut());
        }
        let attrs = site
            .rules
            .made_attrs(self.dir, &found, replaced, self.inherited);
        let path = || self.dir.join(&self.entry.name);
        let made = set_new_attrs(&self.file, attrs);
        let closed = close_written(self.file);
        // Whoever is to own it may own no more.
        let has_no_room = made.as_ref().err().filter(|e| is_no_space(e));
        if let Some(e) = has_no_room.or(closed.as_ref().err()) {
            discard(&self.place);
            return site.not_written(&path(), self.entry.len(), e);
        }
        if let Err(e) = &made {
            site.warn_of("set the metadata of", &path(), e)?;
        }
        let staged = match self.place {
            Place::Within => return Ok(()),
            Place::Alone(staged) => Staged {
                number: made.ok(),
                ..staged
            },
        };
        if in_the_way {
            removals.arrived(&path(), Replacement::Staged(staged));
            return Ok(());
        }
        let over = Over {
            len: replaced.map_or(0, |replaced| replaced.len),
            ..Over::default()
        };
        site.door.place(&staged, self.dir, &self.entry.name, over)?;
        site.full.handed_over(&mut site.door, self.entry.len())
    }
}
