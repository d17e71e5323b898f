//! The receiver of one push: what the sender says goes in, answers come out, entries are staged and
//! committed. Its parts own what they are about; it passes on to each what concerns it.

mod announced;
mod apart;
mod arrived;
mod awaited;
mod backups;
mod begun;
mod brake;
mod compare;
mod content;
mod deltas;
mod dir;
mod dirs;
mod door;
mod ending;
mod full;
mod going;
mod held;
mod judging;
mod links;
mod local;
mod named;
mod new_dirs;
mod one_name;
mod other_dirs;
mod private;
mod push;
mod removals;
mod request;
mod resume;
mod rules;
mod seal;
mod serve;
mod shelf;
mod site;
mod spared;
mod standing;
mod start;
mod threshold;
mod told;
mod unnamed;
mod voice;
mod wanted;

#[cfg(test)]
pub(super) use push::{Push, Said};
pub use serve::{HELLO_TIME, serve};

use super::place::{Place, Trail};
use crate::change::Over;
use crate::entry::Entry;
use crate::error::Error;
use crate::history::Interrupted;
use crate::lineage::generation::Partial;
use crate::refusal::Refusal;
use crate::wire::{DirIndex, ExchangePiece, Frame, FrameKind, ToReceiver};

use content::{Begin, Content};
use dir::{Dir, New, not_awaited};
use dirs::Dirs;
use ending::Ending;
use links::{Links, Pending};
use local::Locals;
use named::Named;
use new_dirs::NewDirs;
use removals::{Removals, Replacement};
use site::Site;

/// The receiver of one push.
struct Receiver {
    site: Site,
    /// The tree's name and lineage, if it has one.
    named: Option<Named>,
    /// Where the directories announced so far are.
    trail: Trail,
    locals: Locals,
    dirs: Dirs,
    new_dirs: NewDirs,
    links: Links,
    removals: Removals,
    content: Content,
    /// What interrupted pushes have left.
    left: Interrupted,
}

impl Receiver {
    /// Handles one message.
    fn message(&mut self, message: ToReceiver) -> Result<(), Error> {
        use ToReceiver as Said;
        match message {
            Said::Hello(_) | Said::Ask(_) => return Err(Error::peer(Refusal::SecondHello)),
            Said::Ping(_) => {}
            Said::Id { kind, id, name } => self.site.rules.ids.announce(kind, id, &name)?,
            Said::MappedId { kind, id, becomes } => {
                self.site.rules.ids.mapped(kind, id, becomes)?;
            }
            Said::RootEntry(entry) => self.root_entry(&entry)?,
            Said::Dir {
                skipped,
                up,
                shared,
                rest,
                digest,
                complete,
            } => {
                let place = Place {
                    skipped,
                    up,
                    shared,
                    rest: &rest,
                };
                self.dir(place, digest, complete)?;
            }
            Said::OtherDir {
                dir,
                meta,
                attributes,
            } => self.other_dir(dir, meta, attributes)?,
            Said::Entries {
                dir,
                entries,
                last,
                unmatched,
                matched,
            } => self.entries(dir, entries, last, &unmatched, matched)?,
            of_content => {
                self.site.door.real()?;
                self.about_content(of_content)?;
            }
        }
        Ok(())
    }

    /// Handles a message that no dry run has.
    fn about_content(&mut self, message: ToReceiver) -> Result<(), Error> {
        use ToReceiver as Said;
        match message {
            Said::NewDir {
                dir,
                parent,
                name,
                entries,
                last,
            } => {
                let new = match self.dirs.take_new(dir)? {
                    Some(new) => new,
                    None => self.new_dirs.open(&mut self.site, dir, parent, &name)?,
                };
                self.new_entries(dir, new, entries, last)
            }
            Said::NewDirDone { dir } => {
                let new = self.dirs.take_new(dir)?.ok_or_else(|| not_awaited(dir))?;
                self.new_dirs.close(&mut self.site, dir, new)
            }
            Said::Later { dir, entries } => self.dirs.put_aside(dir, &entries),
            Said::LinkFirst { dir, entry, to } => self.link_first(dir, entry, &to),
            Said::FileBegin {
                dir,
                entry,
                len,
                since,
            } => {
                let file = (dir, entry);
                let begin = Begin { file, len, since };
                let (site, dirs) = (&mut self.site, &mut self.dirs);
                self.content.begin(site, dirs, &self.left, begin)
            }
            Said::FileEnd { sum } => {
                let (site, dirs) = (&mut self.site, &mut self.dirs);
                self.content.end(site, dirs, &mut self.removals, sum)
            }
            Said::FileSkipped { dir, entry } => self.content.skipped(&mut self.dirs, (dir, entry)),
            // Handled before.
            _ => Ok(()),
        }
    }

    /// Handles a frame that is no message.
    fn content(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        self.site.door.real()?;
        let (site, dirs) = (&mut self.site, &mut self.dirs);
        match frame.kind {
            FrameKind::Pack => content::pack(site, dirs, &mut self.removals, frame.payload)?,
            FrameKind::Data => self.content.data(site, dirs, frame.payload)?,
            FrameKind::Exchange => {
                let piece = ExchangePiece::parse(frame.payload)?;
                self.content.exchanges.asked(site, dirs, &piece)?;
            }
            FrameKind::Message => {}
        }
        Ok(())
    }

    /// Another part of the entries of a new directory.
    fn new_entries(
        &mut self,
        dir: DirIndex,
        mut new: New,
        entries: Vec<Entry>,
        last: bool,
    ) -> Result<(), Error> {
        if std::mem::replace(&mut new.all_announced, last) {
            return Err(Error::peer(Refusal::EntriesAfterLast { dir }));
        }
        self.removals.toll.announced(&entries);
        let powers = self.site.rules.fields.powers;
        let first = new.list.add(dir, entries, powers)?;
        let (site, links) = (&mut self.site, &mut self.links);
        self.new_dirs.fill(site, links, &mut new, first)?;
        self.dirs.put(dir, Dir::New(new))
    }

    /// The target has the content of this file under another name.
    fn link_first(&mut self, dir: DirIndex, number: u32, to: &[u8]) -> Result<(), Error> {
        let mut state = self.dirs.take_for_content(dir)?;
        let is_dropped = state.drops();
        let list = state.list_mut();
        let entry = list.file(dir, number)?;
        let wanted = list.wanted.remove(number);
        let wanted = wanted.ok_or_else(|| not_awaited(dir))?;
        let first = links::parse(to)?;
        let path = list.path.clone();
        self.dirs.put(dir, state)?;
        if is_dropped {
            return Ok(());
        }
        let at = path.join(&entry.name);
        if !self.links.is_present(&first, &at) {
            let entry = number;
            return Err(Error::peer(Refusal::LinkFirst { dir, entry }));
        }
        let link = Pending {
            judged: self.links.judge(&self.site, &first, &entry),
            first,
            dir: path,
            name: entry.name,
        };
        if wanted.in_the_way {
            // Made with the other links, once the directory is gone; those lead to this one.
            self.removals.arrived(&at, Replacement::Link);
            self.links.pend_first(link);
            return Ok(());
        }
        link.make(&mut self.site.door, Over::default())
    }

    /// Says what has not been said yet, before the receiver waits.
    fn catch_up(&mut self) -> Result<(), Error> {
        self.site.voice.compared(self.trail.next())?;
        self.site.tell_warnings()
    }

    /// Describes the bases that there is room for now.
    fn describe(&mut self) -> Result<(), Error> {
        self.content.exchanges.describe(&self.dirs, &self.left)
    }

    /// The sender says that it has sent everything, but for these problems.
    fn is_complete(&mut self, problems: &Partial) -> Result<(), Error> {
        self.site.voice.problems.add(problems);
        self.nothing_awaited()?;
        self.catch_up()
    }

    /// The sender has sent everything: what is left to be done.
    fn into_ending(self, deletable: bool) -> Ending {
        Ending {
            site: self.site,
            named: self.named,
            new_dirs: self.new_dirs,
            links: self.links,
            removals: self.removals,
            left: self.left,
            deletable,
        }
    }
}
