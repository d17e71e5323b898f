//! Verdicts on the entries of a directory, told in parts while it is judged: there may be millions.

use super::Receiver;
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
}

impl Receiver {
    /// Tells a verdict, sooner or later.
    pub(super) fn tell(&self, told: &mut Told, verdict: Verdict) -> Result<(), Error> {
        if told.part.len() >= MESSAGE_LEN / VERDICT_LEN_MAX {
            self.tell_part(told, false)?;
        }
        if verdict.want == Want::Delta {
            told.deltas.push(verdict.entry);
        }
        told.part.push(verdict);
        Ok(())
    }

    /// Tells the rest. Returns the entries for which deltas are wanted.
    pub(super) fn end_of_verdicts(&self, mut told: Told) -> Result<Vec<u32>, Error> {
        self.tell_part(&mut told, true)?;
        Ok(told.deltas)
    }

    fn tell_part(&self, told: &mut Told, last: bool) -> Result<(), Error> {
        let (dir, verdicts) = (told.dir, std::mem::take(&mut told.part));
        self.say(&ToSender::Verdicts {
            dir,
            verdicts,
            last,
        })
    }
}
