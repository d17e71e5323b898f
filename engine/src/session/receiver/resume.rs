//! Going on where an atomic push was interrupted: what it had staged stays, and the next one takes
//! from there what it would otherwise ask for.

use std::fs::File;

use rustix::fs::renameat;

use super::Receiver;
use super::content::Place;
use super::dirs::{DirState, Phase};
use super::told::Told;
use super::wanted::Wanted;
use crate::entries::EntryList;
use crate::entry::{Body, Entry, Time};
use crate::error::{Error, ErrorKind};
use crate::fs::{Attrs, Listed, set_fd_attrs};
use crate::history::leave;
use crate::path::RelPath;
use crate::session::bases::EXCHANGE_LEN_MIN;
use crate::since::Since;
use crate::wire::DirIndex;

impl Receiver {
    /// The push has failed: leaves what is staged for the next one, if that is likely to want the
    /// same. What is not left is removed with the staging.
    pub(super) fn leave_staged(&mut self, cause: &Error) {
        let is_broken = matches!(cause.kind, ErrorKind::Stream | ErrorKind::Timeout);
        if !is_broken || !self.options.atomic {
            return;
        }
        let part = self.end_incoming(may_be_basis);
        let begun = self
            .dirs
            .iter()
            .filter_map(|(_, state)| match &state.phase {
                Phase::New { staged, .. } => Some((staged.slot(), state.path.clone())),
                _ => None,
            });
        let begun: Vec<_> = begun.chain(part).collect();
        if let Some(commit) = &mut self.commit {
            // What cannot be kept is sent again.
            let _ = commit.leave_staged(begun.into_iter(), leave);
        }
    }

    /// Takes the content of a wanted file from an interrupted push. If there is none, it is still
    /// wanted.
    pub(super) fn resume_file(
        &mut self,
        state: &DirState,
        entry: &Entry,
        wanted: Wanted,
    ) -> Result<Option<Wanted>, Error> {
        if self.interrupted.is_empty() || wanted.in_the_way {
            return Ok(Some(wanted));
        }
        // The same by the quick check; where that does not do, content is sent.
        let summed = matches!(entry.body, Body::File { sum: Some(_), .. });
        let fields = self.fields.at(&state.path);
        let stored = |entry: &Entry| fields.of(entry).keeps.time_store.stored(entry.mtime);
        let fits = |found: &Listed| {
            !summed && found.entry.len() == entry.len() && stored(&found.entry) == stored(entry)
        };
        let path = state.path.join(&entry.name);
        let Some(found) = self.interrupted.find(&path, fits) else {
            return Ok(Some(self.resume_from_part(&path, wanted)));
        };
        let staged = self.commit()?.stage_for(&state.path)?;
        // Another default ACL than where it was made would have been applied here.
        let moved = staged.stage.is_plain()
            && renameat(&found.dir, &*found.name, &*staged.stage, &*staged.name).is_ok();
        if !moved {
            return Ok(Some(wanted));
        }
        let place = Place::Alone(staged);
        self.complete(state, entry, found.file, Since::Same, &place, Some(wanted))?;
        Ok(None)
    }

    /// Lets a large file be made from what an interrupted push has left of it, if that is more than
    /// there is anyway.
    fn resume_from_part(&self, path: &RelPath, wanted: Wanted) -> Wanted {
        if self.options.whole_file {
            return wanted;
        }
        let least = wanted.replaced.map_or(0, |replaced| replaced.len);
        let is_more = |found: &Listed| found.entry.len() >= EXCHANGE_LEN_MIN.max(least);
        match self.interrupted.find(path, is_more) {
            None => wanted,
            Some(found) => Wanted {
                basis: Some(found.file),
                delta: true,
                ..wanted
            },
        }
    }

    /// The entries of a directory are known that the target lacks, and of which something is left.
    pub(super) fn resume_dir(
        &mut self,
        dir: DirIndex,
        state: &mut DirState,
        told: &mut Told,
    ) -> Result<(), Error> {
        let Some((staged, fd, attrs)) = self.stage_announced(&state.path)? else {
            state.phase = Phase::Failed;
            return Ok(());
        };
        self.place_dir(&state.path, staged, fd, attrs)?;
        self.judge_dir(dir, state, EntryList::default(), false, told)
    }

    /// Everything is staged anew: what is left of interrupted pushes is of no use any more.
    pub(super) fn forget_interrupted(&mut self) {
        if let Some(root) = &self.root {
            // What stays behind, the next push removes.
            let _ = self.interrupted.remove(root);
        }
    }
}

/// Whether a part of a large file is worth keeping. It is given a time that the file will hardly
/// have, and it has another length: nothing takes it for the whole.
fn may_be_basis(part: &File, whole: &Entry) -> bool {
    let len = part.metadata().map_or(0, |metadata| metadata.len());
    let attrs = Attrs {
        mtime: Some(Time { secs: 0, nanos: 1 }),
        ..Attrs::default()
    };
    (EXCHANGE_LEN_MIN..whole.len()).contains(&len) && set_fd_attrs(part, &attrs).is_ok()
}
