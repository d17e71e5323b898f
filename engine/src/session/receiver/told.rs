//! Verdicts on the entries of a directory, told in parts while it is judged: there may be millions.

use super::voice::Voice;
use crate::error::Error;
use crate::session::MESSAGE_LEN;
use crate::wire::{DirIndex, ToSender, Verdict, Want};

/// Bytes of one verdict on the wire at most.
const VERDICT_LEN_MAX: usize = 10;

/// Verdicts on their way.
pub(super) struct Told {
    dir: DirIndex,
    /// Those that have not been told.
    part: Vec<Verdict>,
    /// Entries whose bases are to be described when all has been told.
    deltas: Vec<u32>,
}

impl Told {
    pub(super) fn new(dir: DirIndex) -> Self {
        Told {
            dir,
            part: Vec::new(),
            deltas: Vec::new(),
        }
    }

    /// The directory that they are about.
    pub(super) fn dir(&self) -> DirIndex {
        self.dir
    }

    /// Tells a verdict, sooner or later.
    pub(super) fn tell(&mut self, voice: &Voice, verdict: Verdict) -> Result<(), Error> {
        if self.part.len() >= MESSAGE_LEN / VERDICT_LEN_MAX {
            self.tell_part(voice, false)?;
        }
        if verdict.want == Want::Delta {
            self.deltas.push(verdict.entry);
        }
        self.part.push(verdict);
        Ok(())
    }

    /// Tells the rest. Returns the entries for which deltas are wanted.
    pub(super) fn end(mut self, voice: &Voice) -> Result<Vec<u32>, Error> {
        self.tell_part(voice, true)?;
        Ok(self.deltas)
    }

    fn tell_part(&mut self, voice: &Voice, last: bool) -> Result<(), Error> {
        let (dir, verdicts) = (self.dir, std::mem::take(&mut self.part));
        voice.say(&ToSender::Verdicts {
            dir,
            verdicts,
            last,
        })
    }
}
