//! Why a file's content was not sent, and what follows from that.

use std::fs::Metadata;
use std::sync::Arc;

use super::Sender;
use super::reading::{FileSource, Reading};
use crate::attributes::Scope;
use crate::error::Error;
use crate::observer::Warning;
use crate::recast::Recast;
use crate::wire::ToReceiver;

/// Why a file's content was not sent.
pub(super) enum NotSent {
    /// The source could not be read: this file's misfortune.
    Source(Warning),
    /// Somebody has a lease on it.
    Leased,
    /// The link broke: everybody's.
    Link(Error),
}

impl From<Error> for NotSent {
    fn from(error: Error) -> Self {
        NotSent::Link(error)
    }
}

/// What a file must comply with to be sent.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) recast: Arc<Recast>,
    pub(super) attributes: Scope,
    pub(super) hard_links: bool,
    /// The most bytes that a file can have on the target.
    pub(super) len_max: u64,
}

impl Terms {
    /// Whether other entries are to be linked to what this file is no longer.
    pub(super) fn refuse(&self, file: &FileSource, opened: &Metadata) -> bool {
        self.hard_links && file.has_left_its_links(opened, &self.recast)
    }
}

impl Sender<'_> {
    /// What follows from the last attempt to send a long file.
    pub(super) fn sent(
        &mut self,
        file: &FileSource,
        result: Result<Reading, NotSent>,
    ) -> Result<(), Error> {
        match result {
            Ok(Reading::Steady) => Ok(()),
            Ok(reading) => self.skip(file, &reading.warning(file)),
            Err(NotSent::Source(warning)) => self.skip(file, &warning),
            Err(NotSent::Leased) => {
                self.put_off(file);
                Ok(())
            }
            Err(NotSent::Link(e)) => Err(e),
        }
    }

    /// Leaves a file out; what the target has of it stays.
    pub(super) fn skip(&mut self, file: &FileSource, warning: &Warning) -> Result<(), Error> {
        let (dir, entry) = (file.dir(), file.number());
        self.say(&ToReceiver::FileSkipped { dir, entry })?;
        self.deltas.settle(dir, entry);
        self.telling.warn(warning);
        Ok(())
    }
}
