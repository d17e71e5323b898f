//! A full disk. What has no room there keeps nothing else from arriving, as long as anything fits
//! or the deletions are still to come. An atomic push ends, and says what it lacked.

use rustix::fs::syncfs;

use super::door::Door;
use crate::error::{Error, ErrorKind};
use crate::options::Options;

/// With less left than this nothing is tried any more, in bytes.
const WORTH_TRYING: u64 = 1 << 20;

/// So many bytes wait to be placed at most: on a full disk even that may find no room.
const UNPLACED_LEN_MAX: u64 = 4 << 20;

/// What found no room.
#[derive(Default)]
pub(super) struct Full {
    count: u64,
    first: Option<Error>,
    /// Bytes of the last file of it.
    pub(super) needed: u64,
    /// Bytes of files that have been handed to the commit, and may not have been placed.
    unplaced_len: u64,
}

impl Full {
    /// Goes on without what had no room, if anything else may have some.
    pub(super) fn left_out(
        &mut self,
        door: &mut Door,
        options: &Options,
        e: Error,
    ) -> Result<(), Error> {
        let Door::Real(real) = door else {
            return Err(e);
        };
        let is_hopeless = || real.room.free().is_ok_and(|free| free < WORTH_TRYING);
        if options.atomic || !options.delete && is_hopeless() {
            return Err(e);
        }
        self.count += 1;
        if self.first.is_some() {
            return Ok(());
        }
        self.first = Some(e);
        // What is complete is placed while there is room for that. Where quotas are kept, what was
        // given back is free only after a flush.
        syncfs(&*real.root).map_err(|e| Error::file("flush the target to disk", &e.into()))?;
        real.commit.run()
    }

    /// A file of that length has been handed to the commit.
    pub(super) fn handed_over(&mut self, door: &mut Door, len: u64) -> Result<(), Error> {
        self.unplaced_len = self.unplaced_len.saturating_add(len);
        if self.unplaced_len < UNPLACED_LEN_MAX {
            return Ok(());
        }
        self.unplaced_len = 0;
        door.run()
    }

    /// A plain push is over. Returns how many entries had no room, if what is `deleted` made some.
    pub(super) fn starved(&mut self, door: &Door, deleted: u64) -> Result<u64, Error> {
        let count = self.count;
        match self.first.take() {
            None => Ok(0),
            Some(mut first) if deleted == 0 => {
                if count > 1 {
                    first.message = format!("{}; {count} entries had no room", first.message);
                }
                if let Door::Real(real) = door {
                    first.message.push_str(&real.room.said_of_inodes(false));
                }
                Err(first)
            }
            // Some file systems have the space only then.
            Some(_) => door.root().map_or(Ok(count), |root| {
                let flushed = syncfs(&**root).map(|()| count);
                flushed.map_err(|e| Error::file("flush the target to disk", &e.into()))
            }),
        }
    }

    /// The error that ends an atomic push, with what the disk holds. The deletions would give back
    /// so much.
    pub(super) fn with_sums(
        &self,
        door: &Door,
        options: &Options,
        e: Error,
        deletable: impl FnOnce() -> u64,
    ) -> Error {
        let Door::Real(real) = door else {
            return e;
        };
        if e.kind != ErrorKind::NoSpace || !options.atomic {
            return e;
        }
        let filled = real.room.filled();
        let message = format!(
            "{}; nothing was changed: {} bytes were needed for that, {} are free on the disk, undo \
             keeps {}, {} are kept until they are forgotten, and the deletions would free {}{}",
            e.message,
            self.needed,
            filled.free,
            filled.undo,
            filled.pinned,
            deletable(),
            real.room.said_of_inodes(self.needed < filled.free)
        );
        Error { message, ..e }
    }
}
