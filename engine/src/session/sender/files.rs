//! Files of one directory on their way: short ones in packs, long ones one by one.

use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

use super::Sender;
use super::deltas::Means;
use super::long_file::LongFile;
use super::packs::{PACKED_LEN_MAX, PackRest, Put};
use super::reading::FileSource;
use crate::error::Error;
use crate::session::window::HeldDir;

/// Files of one directory, to be sent whole.
pub(super) struct Files {
    rest: Peekable<Rest>,
    pack: PackRest,
    /// The one under way.
    long: Option<LongFile>,
}

/// Where they come from.
pub(super) enum Rest {
    Asked(vec::IntoIter<FileSource>),
    /// All of a directory that stand for themselves.
    Of(Arc<HeldDir>, usize),
}

impl Iterator for Rest {
    type Item = FileSource;

    fn next(&mut self) -> Option<FileSource> {
        let (held, next) = match self {
            Rest::Asked(files) => return files.next(),
            Rest::Of(held, next) => (held, next),
        };
        let dir = &held.dir;
        while *next < dir.entries.len() {
            let at = *next as u32;
            *next += 1;
            if dir.firsts.binary_search(&at).is_err()
                && let Some(file) = FileSource::new(held, at as usize, at)
                && !file.is_linked()
            {
                return Some(file);
            }
        }
        None
    }
}

impl Files {
    pub(super) fn new(rest: Rest) -> Self {
        Files {
            rest: rest.peekable(),
            pack: PackRest::default(),
            long: None,
        }
    }
}

impl Sender<'_> {
    /// Sends a pack or a piece of a long file; what is left, if anything is.
    pub(super) fn send_files(&mut self, mut files: Files) -> Result<Option<Files>, Error> {
        let by_itself = |file| Some(LongFile::new(file, Means::Whole));
        if let Some(long) = files.long.take() {
            files.long = self.send_long(long)?;
        } else if let Some((file, why)) = files.pack.failed.pop_front() {
            match why {
                Put::Failed(warning) => self.skip(&file, &warning)?,
                Put::Leased => self.put_off(&file),
                Put::ByItself => files.long = by_itself(file),
            }
        } else if let Some(file) = files.rest.next_if(|file| file.len() > PACKED_LEN_MAX) {
            files.long = by_itself(file);
        } else if files.rest.peek().is_some() {
            self.put_pack(&mut files.rest, &mut files.pack)?;
        } else {
            return self.put_noise(&mut files.pack).map(|()| None);
        }
        Ok(Some(files))
    }
}
