//! How the directories of a tree are read: which entries belong to the mirror, and of which files
//! the content counts.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::attributes::Scope;
use crate::entries::Revised;
use crate::entry::{Body, Sum};
use crate::filter::{Filter, Half};
use crate::fs::{Alike, FileDir, Inodes, Listed, Listing, LookThrough, Root, Wanted, list};
use crate::links::LinkRules;
use crate::options::Summed;
use crate::path::RelPath;
use crate::source::{SUM_NOT_KNOWN, sum_file};
use crate::work;

/// How often, in entries, it is asked whether to go on.
const STEP_LEN: usize = 256;

/// Which entries of a tree's directories are wanted, and what of them.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) filter: Filter,
    pub(crate) half: Half,
    pub(crate) inodes: Inodes,
    /// Symlinks that are listed as what they lead to.
    pub(crate) links: LinkRules,
    /// Attributes that are read.
    pub(crate) scope: Scope,
    /// What is known of them from before.
    pub(crate) alike: Option<Arc<Alike>>,
    pub(crate) with_atimes: bool,
    /// Reading leaves no trace, where that can be.
    pub(crate) is_quiet: bool,
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
        let (dir, depth) = (root.open_dir(on_disk)?, path.depth());
        let rules = self.filter.seen_by(self.half, root, on_disk)?;
        let mut path = match self.filter.is_empty() {
            true => Vec::new(),
            false => path.as_bytes().into_owned(),
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        let prefix_len = path.len();
        let (mut seen, mut is_stopped) = (0, false);
        let mut skip = |name: &[u8], is_dir| {
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
            rules.passes_over(self.half, &path, is_dir)
        };
        let look_through = |dir: BorrowedFd<'_>, listed: &mut Listed| {
            self.links.look_through(dir, listed, depth, self.scope)
        };
        let look_through: Option<&LookThrough<'_>> = match self.links.any() {
            true => Some(&look_through),
            false => None,
        };
        let wanted = Wanted {
            inodes: self.inodes,
            with_atimes: self.with_atimes,
            scope: self.scope,
            alike: self.alike.as_deref(),
            look_through,
        };
        let mut listing = list(dir.as_fd(), wanted, &mut skip)?;
        work::did(1);
        if !self.summed.is_empty() {
            let (entries, dir) = (
                &mut listing.entries,
                FileDir::new(dir)?
                    .following(root.follow())
                    .quietly(self.is_quiet),
            );
            entries.revise(|listed| self.add_sum(&dir, listed, go_on));
        }
        Ok(listing)
    }

    fn add_sum(
        &self,
        dir: &FileDir<OwnedFd>,
        listed: &mut Listed,
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> Revised {
        let is_file = matches!(listed.entry.body, Body::File { .. });
        if !is_file || !self.summed.covers(listed.entry.mtime) {
            return Revised::Kept;
        }
        match summed(dir, listed, |file| sum_file(Stoppable { file, go_on })) {
            Ok(()) => Revised::Changed,
            Err(_) => Revised::Kept,
        }
    }
}

/// Adds the sum of its content to a regular file, which is from then on what it was when it was
/// opened for that. One under a lease gets a sum that it does not have: it is read later.
pub(crate) fn summed(
    dir: &FileDir<impl AsFd>,
    listed: &mut Listed,
    sum: impl FnOnce(File) -> io::Result<Sum>,
) -> io::Result<()> {
    let content = match dir.open(&listed.entry.name) {
        Ok((file, metadata)) => {
            let content = sum(file)?;
            listed.take_in(&metadata);
            content
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => SUM_NOT_KNOWN,
        Err(e) => return Err(e),
    };
    if let Body::File { sum, .. } = &mut listed.entry.body {
        *sum = Some(content);
    }
    Ok(())
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
