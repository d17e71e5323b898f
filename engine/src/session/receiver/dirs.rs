//! Comparing directories: the digest, then prints against entries, and what the target has on top.

use std::io;
use std::os::fd::OwnedFd;

use super::Receiver;
use super::local::Local;
use super::wanted::WantedFiles;
use crate::change::{Staged, clean_leftovers};
use crate::digest::{DirDigest, EntryPrint, IdView};
use crate::entries::{EntryList, Revised};
use crate::entry::Entry;
use crate::error::{Error, describe};
use crate::fs::{Attrs, Listed, Listing, is_absent};
use crate::history::Store;
use crate::observer::Kind;
use crate::path::RelPath;
use crate::policy::Powers;
use crate::refusal::Refusal;
use crate::session::MESSAGE_LEN;
use crate::session::place::Place;
use crate::session::prints;
use crate::wire::{DirIndex, ToSender};

/// Entries that take no more than that stay, whether they are still of use or not.
const ALL_KEPT_LEN: usize = 64 << 10;

/// A directory whose entries or content are awaited.
pub(super) struct DirState {
    pub(super) path: RelPath,
    /// As announced by the sender; content is named by position in here.
    pub(super) entries: EntryList,
    /// Numbers of the entries, if they are not their positions.
    pub(super) numbers: Option<Vec<u32>>,
    /// Positions of the prints that are none of the sender's.
    pub(super) unmatched: Vec<u32>,
    /// The sender has announced the last of the entries.
    pub(super) all_announced: bool,
    pub(super) wanted: WantedFiles,
    /// Directories of the target that could not give way to what the source has in their place.
    pub(super) stuck: Vec<(RelPath, Kind)>,
    pub(super) phase: Phase,
    /// The group that new entries inherit here: set if the directory is setgid.
    pub(super) inherited_gid: Option<u32>,
}

/// How far a directory is.
pub(super) enum Phase {
    /// Prints were sent; the entries that differ are awaited.
    Differs {
        local: Local,
        complete: bool,
        /// The prints were not cut.
        full: bool,
    },
    /// The target lacks the directory, but an interrupted push has left something of it: its
    /// entries are awaited.
    Resumed,
    /// Verdicts were sent; content is awaited.
    Judged,
    /// The directory is being made in staging, and content arrives unasked.
    New {
        staged: Staged,
        fd: OwnedFd,
        attrs: Attrs,
    },
    /// The directory could not be read or made; what arrives for it is dropped.
    Failed,
    /// The same, once all of it has been sent but for the content awaited.
    Dropped,
}

impl Receiver {
    /// A directory of the source: compare digests.
    pub(super) fn dir(
        &mut self,
        place: Place<'_>,
        digest: DirDigest,
        complete: bool,
    ) -> Result<(), Error> {
        let (dir, path) = self.trail.follow(place)?;
        if self
            .lacking_root
            .as_ref()
            .is_some_and(|lacking| path.is_within(lacking))
        {
            return Ok(());
        }
        let local = match self.read_dir(&path) {
            Ok(Some(local)) => local,
            Ok(None) if self.interrupted.has_within(&path) => {
                self.say_prints((dir, &path), &EntryList::default(), prints::FULL_LEN)?;
                self.dirs.insert(dir, DirState::new(path, Phase::Resumed))?;
                return Ok(());
            }
            Ok(None) => {
                if self.commit.is_some() {
                    self.lacking.insert(dir, path.clone())?;
                }
                self.lacking_root = Some(path);
                return self.say(&ToSender::Lacks { dir });
            }
            Err(e) => {
                self.not_read(&path, &e)?;
                self.say_prints((dir, &path), &EntryList::default(), prints::FULL_LEN)?;
                self.dirs.insert(dir, DirState::new(path, Phase::Failed))?;
                return Ok(());
            }
        };
        self.toll.has(local.len());
        let view = IdView::Receiver(&self.ids);
        if self.fields.at(&path).dir_digest(&local, &view) == digest {
            return Ok(());
        }
        // What is taken up again must be known before what is below it: there is no second round.
        let full = !self.interrupted.is_empty();
        let local = if full {
            self.say_prints((dir, &path), &local, prints::FULL_LEN)?;
            self.hold(local)
        } else {
            self.say_prints((dir, &path), &local, prints::first_len(local.len()))?;
            self.hold_or_forget(local)
        };
        let phase = Phase::Differs {
            local,
            complete,
            full,
        };
        self.dirs.insert(dir, DirState::new(path, phase))?;
        Ok(())
    }

    /// A directory of the target cannot be read: nothing is deleted.
    pub(super) fn not_read(&mut self, path: &RelPath, e: &io::Error) -> Result<(), Error> {
        let shown = self.shown(path);
        let is_first = !std::mem::replace(&mut self.unread, true);
        let says_so = self.options.delete && is_first;
        let end = if says_so {
            "; so nothing is deleted"
        } else {
            ""
        };
        self.warn(format!(
            "cannot read directory {shown} on the target: {}{end}",
            describe(e)
        ))
    }

    /// Says `Differs`, in parts.
    pub(super) fn say_prints(
        &self,
        (dir, path): (DirIndex, &RelPath),
        local: &EntryList,
        print_len: u8,
    ) -> Result<(), Error> {
        let (fields, view) = (self.fields.at(path), IdView::Receiver(&self.ids));
        let mut entries = local.walk();
        let mut left = local.len();
        loop {
            let count = left.min(MESSAGE_LEN / usize::from(print_len));
            let mut prints = Vec::with_capacity(count * usize::from(print_len));
            for _ in 0..count {
                if let Some(entry) = entries.next() {
                    prints::put(&mut prints, fields.print(entry, &view), print_len);
                }
            }
            left -= count;
            let last = left == 0;
            self.say(&ToSender::Differs {
                dir,
                print_len,
                prints,
                last,
            })?;
            if last {
                return Ok(());
            }
        }
    }

    /// What the full prints of the target's entries add up to, without those at `unmatched`.
    pub(super) fn total_without(
        &self,
        dir: &RelPath,
        local: &EntryList,
        unmatched: &[u32],
    ) -> [u8; 8] {
        let (fields, view) = (self.fields.at(dir), IdView::Receiver(&self.ids));
        let mut unmatched = unmatched.iter().peekable();
        let mut total: EntryPrint = 0;
        let (mut entries, mut numbers) = (local.walk(), 0_u32..);
        while let Some((entry, number)) = entries.next().zip(numbers.next()) {
            if unmatched.next_if(|&&at| at == number).is_none() {
                total = total.wrapping_add(fields.print(entry, &view));
            }
        }
        total.to_le_bytes()
    }

    /// The target's entries in canonical order; `None` if there is no such directory.
    fn read_dir(&mut self, path: &RelPath) -> io::Result<Option<EntryList>> {
        let Some(root) = self.root.clone() else {
            return Ok(None);
        };
        let listing = match self.ahead.read(&root, path, path) {
            Ok(listing) => listing,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(e),
        };
        let has_reserved = listing.has_reserved;
        let local = self.entries_of(path, listing)?;
        let below = local.dir_names().collect();
        self.ahead.expect(&root, path, path, below);
        if has_reserved && let Some(commit) = &mut self.commit {
            commit.spare_time(path)?;
            // What another user may have put there is no business of ours.
            let _ = clean_leftovers(&root, path, || Store::sessions_needed(&root));
        }
        Ok(Some(local))
    }

    /// The entries of a directory, with the first names of their inodes.
    pub(super) fn entries_of(&mut self, path: &RelPath, listing: Listing) -> io::Result<EntryList> {
        if let Some((_, e)) = listing.failed.into_iter().next() {
            return Err(e);
        }
        let mut local = listing.entries;
        if self.options.hard_links {
            local.revise(|listed| self.find_first_link(path, listed));
        }
        Ok(local)
    }

    /// Finds out the first name of an entry's inode.
    fn find_first_link(&mut self, dir: &RelPath, listed: &mut Listed) -> Revised {
        if listed.nlink < 2 || listed.entry.is_dir() {
            return Revised::Kept;
        }
        let path = dir.join(&listed.entry.name);
        let first = self.first_names.other_than(&path, listed.dev, listed.ino);
        listed.entry.link_to = first;
        match &listed.entry.link_to {
            Some(_) => Revised::Changed,
            None => Revised::Kept,
        }
    }

    /// The group that a setgid directory passes on, as the kernel does to what is made in it;
    /// staging would lose that.
    pub(super) fn inherited_gid(&mut self, dir: &RelPath) -> Result<Option<u32>, Error> {
        if self.options.group && self.options.perms {
            return Ok(None);
        }
        // The directory may be about to become setgid, or to be so no longer.
        let found = match (&mut self.commit, &self.root) {
            (Some(commit), _) => commit.mode_and_group(dir),
            (None, Some(root)) => root.open_dir(dir).and_then(|dir| {
                let stat = rustix::fs::fstat(dir)?;
                Ok((stat.st_mode, stat.st_gid))
            }),
            (None, None) => return Ok(None),
        };
        Ok(found
            .ok()
            .and_then(|(mode, gid)| (mode & 0o2000 != 0).then_some(gid)))
    }
}

impl DirState {
    pub(super) fn new(path: RelPath, phase: Phase) -> Self {
        DirState {
            path,
            entries: EntryList::default(),
            numbers: None,
            unmatched: Vec::new(),
            all_announced: false,
            wanted: WantedFiles::default(),
            stuck: Vec::new(),
            phase,
            inherited_gid: None,
        }
    }

    /// The position of the entry of that number.
    pub(super) fn position(&self, number: u32) -> Option<usize> {
        match &self.numbers {
            None => Some(number as usize),
            Some(numbers) => numbers.binary_search(&number).ok(),
        }
    }

    /// Drops the entries of which no content is awaited, if that is worth it.
    pub(super) fn keep_wanted(&mut self) {
        if self.numbers.is_some() || self.entries.memory_len() < ALL_KEPT_LEN {
            return;
        }
        let (mut kept, mut kept_numbers) = (EntryList::default(), Vec::new());
        let (mut walk, mut numbers) = (self.entries.walk(), 0..);
        while let Some((entry, number)) = walk.next().zip(numbers.next()) {
            if self.wanted.contains(number) {
                kept.push(entry);
                kept_numbers.push(number);
            }
        }
        drop(walk);
        (self.entries, self.numbers) = (kept, Some(kept_numbers));
    }

    /// Adds announced entries, which must continue in canonical order.
    ///
    /// Returns the position of the first of these.
    pub(super) fn announce(
        &mut self,
        dir: DirIndex,
        entries: Vec<Entry>,
        last: bool,
        powers: Powers,
    ) -> Result<usize, Error> {
        if std::mem::replace(&mut self.all_announced, last) {
            return Err(Error::peer(Refusal::EntriesAfterLast { dir }));
        }
        let first = self.entries.len();
        for entry in entries {
            entry.check().map_err(Error::peer)?;
            powers.check(&entry)?;
            if !self.entries.may_be_followed_by(&entry) {
                return Err(Error::peer(Refusal::EntriesOrder { dir }));
            }
            self.entries.push(&entry);
        }
        Ok(first)
    }
}
