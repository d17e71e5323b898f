//! What could not be done to single entries: it is told, with its cause, and ends nothing but what
//! nothing more can come of.

use std::io;

use super::Commit;
use super::backup::Backups;
use crate::change::failed::{Failed, Lines};
use crate::error::Error;
use crate::path::RelPath;
use crate::path_set::PathSet;

impl Commit {
    /// Warns of what failed, unless nothing can succeed any more.
    pub(super) fn failed(&mut self, failed: Failed) -> Result<(), Error> {
        if failed.is_no_space() {
            return Err(failed.into_error(&self.root));
        }
        let line = self.told.line(&failed, &self.root);
        line.map_or(Ok(()), |line| self.warnings.push(&line))
    }

    pub(super) fn not_done(
        &mut self,
        doing: &'static str,
        path: RelPath,
        cause: io::Error,
    ) -> Result<(), Error> {
        self.unmoved.insert(&path);
        self.failed(Failed {
            doing,
            path,
            cause,
            obstacle: None,
            others: 0,
        })
    }

    /// Says that a backup there has not all of the original's attributes, nor others.
    pub(super) fn tell_lost_in_backups(&mut self, shown: &str) -> Result<(), Error> {
        self.warnings.push(&format!(
            "cannot keep all ACLs and extended attributes of the backup {shown} on the target, nor \
             of others there: its file system has none of that kind; everything else is kept"
        ))
    }

    /// Removes the staging, and warns of what of it could not be.
    pub(crate) fn remove_stage(&mut self) -> Result<(), Error> {
        let failed = self.stage.remove();
        self.warn_of(failed)
    }

    /// Warns of what failed, unless nothing can succeed any more.
    pub(crate) fn warn_of(&mut self, failed: Vec<Failed>) -> Result<(), Error> {
        failed
            .into_iter()
            .try_for_each(|failed| self.failed(failed))
    }

    /// What went wrong with single entries since the last call.
    pub(crate) fn take_warnings(&mut self) -> Result<Lines, Error> {
        let mut warnings = std::mem::take(&mut self.warnings);
        if let Some(own) = self.backups.as_mut().and_then(Backups::own_commit) {
            for line in own.take_warnings()?.iter() {
                warnings.push(&line?)?;
            }
        }
        Ok(warnings)
    }

    /// The paths at which something was to be put or removed, and was not, since the last call.
    pub(crate) fn take_unmoved(&mut self) -> PathSet {
        std::mem::take(&mut self.unmoved)
    }
}
