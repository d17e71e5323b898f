//! Where what a commit collects is made before, and what is said where that cannot be.

use std::io;

use super::{Commit, Staged};
use crate::change::failed::Failed;
use crate::error::Error;
use crate::path::{RESERVED_NAME, RelPath};

impl Commit {
    /// The staging directory for entries of the target directory `dir`, and a free name in it.
    pub(crate) fn stage_for(&mut self, dir: &RelPath) -> Result<Staged, Error> {
        let mut staged = self.try_stage(dir);
        if staged.is_err() && !self.batch.is_empty() {
            // The directory itself may be among what has been collected.
            self.run()?;
            staged = self.try_stage(dir);
        }
        staged.map_err(|e| {
            let shown = self.root.shown(dir);
            let error = Error::file(format_args!("make a staging directory for {shown}"), &e);
            let failed = Failed::new(&self.root, "make", &dir.join(RESERVED_NAME), e.into());
            match failed.obstacle {
                Some(_) => Error {
                    message: failed.line(&self.root),
                    ..error
                },
                None => error,
            }
        })
    }

    pub(super) fn try_stage(&mut self, dir: &RelPath) -> io::Result<Staged> {
        let fd = self.touch(dir)?;
        let before = self.stage.session_count();
        let stage = self.stage.for_dir(&fd, dir);
        for said in self.stage.take_in_the_way() {
            let line = format!("{said}; this push was staged beside it");
            self.warnings.push(&line).map_err(io::Error::other)?;
        }
        let stage = stage?;
        if self.stage.session_count() > before {
            self.roll.set_sessions(self.stage.sessions());
        }
        let name = self.stage.fresh_name();
        Ok(Staged {
            stage,
            name,
            number: None,
        })
    }
}
