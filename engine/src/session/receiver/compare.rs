//! Comparing directories: the digest, then prints against entries. What differs is judged.

use super::Receiver;
use super::begun::Begun;
use super::dir::{Asked, Dir, Here, Judged};
use super::judging::Judging;
use super::local::Recalled;
use super::told::Told;
use crate::digest::{DirDigest, EntryPrint};
use crate::entries::EntryList;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind};
use crate::path::RelPath;
use crate::refusal::Refusal;
use crate::session::place::Place;
use crate::session::prints;
use crate::wire::DirIndex;

impl Receiver {
    /// A directory of the source: compare digests.
    pub(super) fn dir(
        &mut self,
        place: Place<'_>,
        digest: DirDigest,
        complete: bool,
    ) -> Result<(), Error> {
        let (dir, path) = self.trail.follow(place)?;
        if self.new_dirs.is_within_lacking(&path) {
            return Ok(());
        }
        if let Some((above, name)) = path.split()
            && self.site.spares(&above, name, false)?
        {
            self.new_dirs.leave_out(path);
            return Ok(());
        }
        let local = match !complete || !self.is_led_elsewhere(&path) {
            true => self.locals.read(&mut self.site, &path),
            false => Ok(None),
        };
        let here = match local {
            Ok(Some(local)) => {
                self.removals.toll.has(local.len());
                if self.site.rules.digest(&path, &local) == digest {
                    return Ok(());
                }
                // What is taken up again must be known before what is below it: there is no second
                // round.
                let full = !self.left.is_empty();
                let print_len = match full {
                    true => prints::FULL_LEN,
                    false => prints::first_len(local.len()),
                };
                self.site.say_prints((dir, &path), &local, print_len)?;
                let local = match full {
                    true => self.locals.hold(local),
                    false => self.locals.hold_or_forget(&self.site, local),
                };
                Here::Entries {
                    local,
                    complete,
                    full,
                }
            }
            Ok(None) if self.left.has_within(&path) => Here::Left,
            Ok(None) if self.site.is_left_alone(&path) => {
                self.new_dirs.leave_out(path);
                return Ok(());
            }
            // The root was there when the push began, and nothing could be put into it now.
            Ok(None) if path.is_root() && self.site.door.is_real() => {
                let shown = self.site.door.shown(&path);
                let message =
                    format!("the target {shown} has been removed; make it, and push again");
                return Err(Error::new(ErrorKind::FileIo, message));
            }
            Ok(None) => return self.new_dirs.lacks(&self.site, dir, path),
            Err(e) => {
                self.removals.not_read(&mut self.site, &path, &e)?;
                Here::Unreadable
            }
        };
        if !matches!(here, Here::Entries { .. }) {
            let nothing = EntryList::default();
            self.site
                .say_prints((dir, &path), &nothing, prints::FULL_LEN)?;
        }
        self.dirs.put(dir, Dir::asked(path, here))
    }

    /// Whether a symlink is in the place of a directory that is not on the way to what is mirrored:
    /// of such a one not all is sent.
    fn is_led_elsewhere(&self, path: &RelPath) -> bool {
        let (door, options) = (&self.site.door, &self.site.rules.options);
        let leads = |(dir, name): (RelPath, &[u8])| {
            let there = door.look(&dir, name);
            there.is_ok_and(|there| there.entry.symlink_target().is_some())
        };
        options.may_lead() && !options.keep_dirlinks && path.split().is_some_and(leads)
    }

    /// The entries that differ in a directory both sides have.
    pub(super) fn entries(
        &mut self,
        dir: DirIndex,
        entries: Vec<Entry>,
        last: bool,
        unmatched: &[u32],
        matched: [u8; 8],
    ) -> Result<(), Error> {
        let mut asked = self.dirs.take_asked(dir)?;
        self.removals.toll.announced(&entries);
        asked
            .list
            .add(dir, entries, self.site.rules.fields.powers)?;
        for &print in unmatched {
            if asked.unmatched.last().is_some_and(|&last| last >= print) {
                return Err(Error::peer(Refusal::Unmatched { dir, print }));
            }
            asked.unmatched.push(print);
        }
        if last {
            self.judge(dir, asked, matched)
        } else {
            self.dirs.put(dir, Dir::Asked(asked))
        }
    }

    /// All entries that differ are known.
    fn judge(&mut self, dir: DirIndex, asked: Asked, matched: [u8; 8]) -> Result<(), Error> {
        let Asked {
            mut list,
            unmatched,
            here,
        } = asked;
        let mut told = Told::new(dir);
        match here {
            Here::Unreadable => {}
            Here::Left => {
                if self.make_left(&list.path)? {
                    let mut nothing = EntryList::default();
                    keep(dir, &mut nothing, &unmatched)?;
                    self.judging().dir(&mut told, &mut list, nothing, false)?;
                }
            }
            Here::Entries {
                local,
                complete,
                full,
            } => match self.locals.recall(&self.site, &list.path, local) {
                Err(e) => self.removals.not_read(&mut self.site, &list.path, &e)?,
                Ok(Recalled { mut local, changed }) => {
                    // If the sums are others, some entries that differ share a print.
                    if changed
                        || !full && self.total_without(&list.path, &local, &unmatched)? != matched
                    {
                        return self.ask_again(dir, list.path, local, complete);
                    }
                    keep(dir, &mut local, &unmatched)?;
                    self.judging().dir(&mut told, &mut list, local, complete)?;
                }
            },
        }
        let deltas = told.end(&self.site.voice)?;
        self.content.exchanges.queue(dir, deltas);
        if !list.wanted.is_empty() {
            list.keep_wanted();
        }
        let is_lost = false;
        self.dirs.put(dir, Dir::Judged(Judged { list, is_lost }))
    }

    fn judging(&mut self) -> Judging<'_> {
        Judging {
            site: &mut self.site,
            new_dirs: &mut self.new_dirs,
            links: &mut self.links,
            removals: &mut self.removals,
            left: &self.left,
        }
    }

    /// Says the prints of a directory once more, in full.
    fn ask_again(
        &mut self,
        dir: DirIndex,
        path: RelPath,
        local: EntryList,
        complete: bool,
    ) -> Result<(), Error> {
        self.site
            .say_prints((dir, &path), &local, prints::FULL_LEN)?;
        let here = Here::Entries {
            local: self.locals.hold(local),
            complete,
            full: true,
        };
        self.dirs.put(dir, Dir::asked(path, here))
    }

    /// What the full prints of the target's entries add up to, without those at `unmatched`.
    fn total_without(
        &self,
        dir: &RelPath,
        local: &EntryList,
        unmatched: &[u32],
    ) -> Result<[u8; 8], Error> {
        let mut unmatched = unmatched.iter().peekable();
        let (mut total, mut numbers): (EntryPrint, _) = (0, 0_u32..);
        self.site.rules.prints(dir, local, |print| {
            let number = numbers.next();
            if unmatched.next_if(|&&at| Some(at) == number).is_none() {
                total = total.wrapping_add(print);
            }
            Ok(())
        })?;
        Ok(total.to_le_bytes())
    }

    /// Makes a directory that the target lacks, and of which an interrupted push has left
    /// something. `false` if that fails for it alone.
    fn make_left(&mut self, path: &RelPath) -> Result<bool, Error> {
        let begun = self.new_dirs.begin(&mut self.site, path)?;
        let place = |begun: Begun| begun.place(&mut self.site, path);
        Ok(begun.map(place).transpose()?.is_some())
    }
}

/// Keeps the entries whose prints are none of the sender's.
fn keep(dir: DirIndex, local: &mut EntryList, unmatched: &[u32]) -> Result<(), Error> {
    let kept = local.keep(unmatched);
    kept.map_err(|print| Error::peer(Refusal::Unmatched { dir, print }))
}
