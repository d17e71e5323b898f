//! How the directories of a tree are read: which entries belong to the mirror, and of which files
//! the content counts.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use crate::entries::Revised;
use crate::entry::{Body, Entry};
use crate::filter::Filter;
use crate::fs::{Listing, Root, list};
use crate::options::Summed;
use crate::path::RelPath;
use crate::source::{open_file, sum_file};
use crate::work;

/// How often, in entries, it is asked whether to go on.
const STEP_LEN: usize = 256;

/// Which entries of a tree's directories are wanted, and what of them.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) filter: Filter,
    /// See [`list`].
    pub(crate) with_inodes: bool,
    /// Files that are read to their end, for the sum of their content. Those that cannot be read
    /// have none.
    pub(crate) summed: Summed,
}

impl Reader {
    /// Reads the directory at `on_disk`, which the filter knows as `path`. Every now and then
    /// `go_on` is told how many more entries there are; when it says no, what comes back is
    /// worthless.
    pub(crate) fn read(
        &self,
        root: &Root,
        on_disk: &RelPath,
        path: &RelPath,
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> io::Result<Listing> {
        let dir = root.open_dir(on_disk)?;
        let mut path = match self.filter.is_empty() {
            true => Vec::new(),
            false => path.as_bytes().into_owned(),
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        let prefix_len = path.len();
        let (mut seen, mut is_stopped) = (0, false);
        let mut listing = list(dir.as_fd(), self.with_inodes, &mut |name, is_dir| {
            seen += 1;
            if seen % STEP_LEN == 0 {
                work::did(STEP_LEN as u64);
                is_stopped |= !go_on(STEP_LEN);
            }
            if is_stopped || self.filter.is_empty() {
                return is_stopped;
            }
            path.truncate(prefix_len);
            path.extend_from_slice(name);
            self.filter.is_excluded(&path, is_dir)
        })?;
        work::did(1);
        if !self.summed.is_empty() {
            let entries = &mut listing.entries;
            entries.revise(|listed| self.add_sum(&dir, &mut listed.entry, go_on));
        }
        Ok(listing)
    }

    fn add_sum(
        &self,
        dir: &OwnedFd,
        entry: &mut Entry,
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> Revised {
        if let Body::File { sum, .. } = &mut entry.body
            && self.summed.covers(entry.mtime)
            && let Ok(file) = open_file(dir, &entry.name)
        {
            *sum = sum_file(Stoppable { file, go_on }).ok();
            return Revised::Changed;
        }
        Revised::Kept
    }
}

/// A file that nobody may want to be read to its end.
struct Stoppable<'a> {
    file: File,
    go_on: &'a mut dyn FnMut(usize) -> bool,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !(self.go_on)(0) {
            return Err(io::ErrorKind::Other.into());
        }
        work::did(1);
        self.file.read(buffer)
    }
}
