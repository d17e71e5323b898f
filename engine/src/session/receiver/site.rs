//! What every part of the receiver works with: the rules of the push, the target, and the sender's
//! ear.

use std::collections::HashSet;
use std::io;

use super::door::Door;
use super::full::Full;
use super::rules::Rules;
use super::voice::Voice;
use crate::change::Slot;
use crate::entries::EntryList;
use crate::error::{Error, ErrorKind, describe};
use crate::fs::Inherited;
use crate::path::RelPath;
use crate::session::{MESSAGE_LEN, prints};
use crate::wire::{DirIndex, ToSender};

pub(super) struct Site {
    pub(super) rules: Rules,
    pub(super) door: Door,
    pub(super) voice: Voice,
    pub(super) full: Full,
    /// What stays for the sake of groups, as far as that was said.
    pub(super) spared: HashSet<RelPath>,
}

impl Site {
    /// Whether a directory that the target does not have is not made, with all that is in it.
    pub(super) fn is_left_alone(&self, path: &RelPath) -> bool {
        let options = &self.rules.options;
        let split = path.split();
        let is_there = || split.is_some_and(|(dir, name)| self.door.look(&dir, name).is_ok());
        options.existing || options.ignore_existing && is_there()
    }

    pub(super) fn say(&self, message: &ToSender) -> Result<(), Error> {
        self.voice.say(message)
    }

    pub(super) fn warn(&mut self, message: String) -> Result<(), Error> {
        self.voice.warn(message)
    }

    /// What the error that `doing` something to an entry ended in means: the end of the push, or a
    /// warning about this entry alone.
    pub(super) fn failed(
        &mut self,
        doing: &str,
        path: &RelPath,
        e: &io::Error,
    ) -> Result<(), Error> {
        let shown = self.door.shown(path);
        let error = Error::file(format_args!("{doing} {shown} on the target"), e);
        self.unless_fatal(Err(error)).map(|_: Option<()>| ())
    }

    /// The same of the content of a file of that length.
    pub(super) fn not_written(
        &mut self,
        path: &RelPath,
        len: u64,
        e: &io::Error,
    ) -> Result<(), Error> {
        self.full.needed = len;
        self.failed("write", path, e)
    }

    /// A failure of an atomic push, with what the disk holds. The deletions would free so much.
    pub(super) fn with_sums(&self, e: Error, deletable: impl FnOnce() -> u64) -> Error {
        let options = &self.rules.options;
        self.full.with_sums(&self.door, options, e, deletable)
    }

    /// A warning of what went wrong with an entry: the push goes on in any case.
    pub(super) fn warn_of(
        &mut self,
        doing: &str,
        path: &RelPath,
        e: &io::Error,
    ) -> Result<(), Error> {
        let shown = self.door.shown(path);
        self.warn(format!(
            "cannot {doing} {shown} on the target: {}",
            describe(e)
        ))
    }

    /// Goes on without what failed for one entry alone, after a warning.
    pub(super) fn unless_fatal<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.kind == ErrorKind::NoSpace => {
                let options = &self.rules.options;
                self.full
                    .left_out(&mut self.door, options, e)
                    .map(|()| None)
            }
            Err(e) if e.kind != ErrorKind::FileIo => Err(e),
            Err(e) => self.warn(e.message).map(|()| None),
        }
    }

    /// What is made in `dir` inherits, as far as the source does not say what it gets.
    pub(super) fn inherited(&mut self, dir: &RelPath) -> Inherited {
        self.door.inherited(dir)
    }

    /// The push has failed: leaves what is staged for the next one, if that is likely to want the
    /// same. `begun` has not been added yet. What is not left is removed with the staging.
    pub(super) fn leave_staged(
        &mut self,
        cause: &Error,
        begun: impl FnOnce() -> Vec<(Slot, RelPath)>,
    ) {
        if cause.kind == ErrorKind::NoSpace && !self.rules.options.atomic {
            // What is complete is placed: it need not be sent again.
            let _ = self.door.real().and_then(|real| real.commit.finish());
        }
        let is_broken = matches!(cause.kind, ErrorKind::Stream | ErrorKind::Timeout);
        if is_broken && self.rules.options.atomic {
            self.door.leave_staged(begun());
        }
    }

    /// Tells what went wrong with changes that have been carried out meanwhile.
    pub(super) fn tell_warnings(&mut self) -> Result<(), Error> {
        let lines = self.door.take_warnings()?;
        lines.iter().try_for_each(|line| self.voice.warn(line?))
    }

    /// Says `Differs`, in parts.
    pub(super) fn say_prints(
        &self,
        (dir, path): (DirIndex, &RelPath),
        local: &EntryList,
        print_len: u8,
    ) -> Result<(), Error> {
        let say = |prints, last| {
            self.say(&ToSender::Differs {
                dir,
                print_len,
                prints,
                last,
            })
        };
        let len = usize::from(print_len);
        let part_len = MESSAGE_LEN / len * len;
        let mut left = local.len() * len;
        let mut part = Vec::with_capacity(left.min(part_len));
        self.rules.prints(path, local, |print| {
            prints::put(&mut part, print, print_len);
            if part.len() < part_len || part.len() == left {
                return Ok(());
            }
            left -= part.len();
            let room = Vec::with_capacity(left.min(part_len));
            say(std::mem::replace(&mut part, room), false)
        })?;
        say(part, true)
    }
}
