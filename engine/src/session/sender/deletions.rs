//! What a receiver may say of deletions once it has been told to finish: nothing that the options,
//! or its own words before, rule out.

use crate::error::Error;
use crate::options::Options;
use crate::path::{NameError, RelPath};
use crate::refusal::Refusal;

/// What has been told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deletions {
    /// The options ask for some, and the source could be listed.
    may_be: bool,
    told: u64,
    stopped: bool,
}

impl Deletions {
    /// None yet. They are `deletable` if everything in the source could be listed.
    pub(super) fn due(options: &Options, deletable: bool) -> Self {
        Deletions {
            may_be: deletable && options.deletes(),
            told: 0,
            stopped: false,
        }
    }

    pub(super) fn are_told(&self) -> bool {
        self.told > 0
    }

    /// An entry is gone.
    pub(super) fn deleted(&mut self, options: &Options) -> Result<(), Error> {
        let max = options.max_delete.unwrap_or(u64::MAX);
        if !self.may_be || self.stopped || self.told >= max {
            return Err(Error::peer(Refusal::DeletedUnasked));
        }
        self.told += 1;
        Ok(())
    }

    /// A directory stays that has no counterpart: said before anything goes.
    pub(super) fn stays(&self) -> Result<(), Error> {
        if !self.may_be || self.stopped || self.are_told() {
            return Err(Error::peer(Refusal::NotEmptyUnasked));
        }
        Ok(())
    }

    /// All that was to go stays: `count` entries, which are more than may go, or 0 because
    /// something could not be read while something else `gives_way`.
    pub(super) fn stop(
        &mut self,
        count: u64,
        gives_way: bool,
        options: &Options,
    ) -> Result<(), Error> {
        let braked = options.brake.map(|brake| brake.entries);
        let mut limits = [options.max_delete, braked].into_iter().flatten();
        let has_cause = match count {
            0 => gives_way && options.deletes(),
            _ => self.may_be && limits.any(|limit| count > limit),
        };
        if !has_cause || self.are_told() || std::mem::replace(&mut self.stopped, true) {
            return Err(Error::peer(Refusal::StoppedUnasked { count }));
        }
        Ok(())
    }
}

/// Refuses the path of something on the target that is none, or the root, which never goes.
pub(super) fn check_told(path: &[u8]) -> Result<(), Error> {
    let error = match RelPath::parse(path) {
        Ok(path) if path.is_root() => NameError::Empty,
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    Err(Error::peer(Refusal::DeletedPath { error }))
}
