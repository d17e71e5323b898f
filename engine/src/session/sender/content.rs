//! Which content is sent next, piece by piece.

use super::Sender;
use super::asked::AskedFiles;
use super::files::{Files, Rest};
use super::links::HeldWalk;
use super::long_file::LongFile;
use super::new_dir::NewDir;
use super::reading::{DirCache, FileSource};
use crate::error::Error;

/// Files asked for that are taken up at once.
const ASKED_MAX: usize = 4096;

/// Content that the receiver is to have.
#[derive(Default)]
pub(super) struct Content {
    pub(super) under_way: Option<Work>,
    /// The directory of what is under way.
    pub(super) cache: DirCache,
    /// One whose lease has been waited for.
    pub(super) opened: Option<LongFile>,
    /// Files to be sent whole.
    pub(super) asked: AskedFiles,
    /// What was held back, as long as files of the directory before are under a lease: the receiver
    /// takes up one directory at a time.
    pub(super) held: Option<HeldWalk>,
}

/// What is under way.
#[expect(clippy::large_enum_variant, reason = "there is one of it at a time")]
pub(super) enum Work {
    NewDir(NewDir),
    Files(Files),
    Long(Box<LongFile>),
    /// What was held back for the sake of links.
    Held(HeldWalk),
}

impl Sender<'_> {
    /// Sends a piece of what there is to send; `false` if there is nothing.
    pub(super) fn send_content(&mut self) -> Result<bool, Error> {
        let Some(work) = self.content.under_way.take().or_else(|| self.next_work()) else {
            return Ok(false);
        };
        self.content.under_way = match work {
            Work::NewDir(dir) => self.send_dir(dir)?.map(Work::NewDir),
            Work::Files(files) => self.send_files(files)?.map(Work::Files),
            Work::Long(long) => self
                .send_long(*long)?
                .map(|rest| Work::Long(Box::new(rest))),
            Work::Held(walk) => self.release(walk)?.map(Work::Held),
        };
        if self.content.under_way.is_none() {
            self.content.cache = DirCache::default();
        }
        Ok(true)
    }

    fn next_work(&mut self) -> Option<Work> {
        if let Some(opened) = self.content.opened.take() {
            return Some(Work::Long(Box::new(opened)));
        }
        if let Some(held) = self.dirs.pushes.pop_front() {
            return Some(Work::NewDir(NewDir::new(held)));
        }
        if let Some((file, means)) = self.deltas.pop_prepared() {
            return Some(Work::Long(Box::new(LongFile::new(file, means))));
        }
        let files = self.content.asked.take(ASKED_MAX);
        let files = (!files.is_empty()).then(|| Files::new(Rest::Asked(files.into_iter())));
        files.map(Work::Files)
    }

    pub(super) fn progress(&mut self, file: &FileSource, file_offset: u64, more: u64) {
        let written = self.outbox.written_bytes();
        self.telling.progress(file, file_offset, more, written);
    }
}
