//! Content of hard-linked files, held back until the whole source has been compared: if the target
//! turns out to have the same file under another name of the group, a link makes it, and nothing
//! has to travel. A backup tree whose newest snapshot links to the older ones lives on this.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::content::FileSource;
use super::{HeldDir, Sender};
use crate::error::Error;
use crate::observer::Action;
use crate::path::RelPath;
use crate::wire::{ToReceiver, Verdict};

/// First files of link groups that the receiver lacks, and what it has of their groups.
#[derive(Default)]
pub(super) struct LinkGroups {
    /// By path of the first entry.
    held_back: BTreeMap<RelPath, FileSource>,
    /// For the path of a first entry, one of its group that the target has as it should be.
    present: HashMap<RelPath, RelPath>,
}

impl LinkGroups {
    pub(super) fn is_empty(&self) -> bool {
        self.held_back.is_empty()
    }
}

impl Sender<'_> {
    /// Holds a file back. Returns whether it is the first of a link group at all.
    pub(super) fn hold_back(&mut self, held: &Arc<HeldDir>, at: usize, number: u32) -> bool {
        let dir = &held.dir;
        if dir.firsts.binary_search(&at).is_err() {
            return false;
        }
        // By itself, so that it does not keep the rest of its directory in the window.
        let Some(file) = FileSource::detached(held, at, number) else {
            return false;
        };
        self.links.held_back.insert(file.path(), file);
        true
    }

    /// Notes an entry that is to be linked to the first of its group and needs nothing else.
    pub(super) fn note_present(&mut self, held: &Arc<HeldDir>, at: usize, verdict: &Verdict) {
        if verdict.action != Action::HardLink || verdict.differences.any() {
            return;
        }
        let dir = &held.dir;
        let entry = dir.entries.get(at);
        if let Some(entry) = entry
            && let Some(first) = &entry.link_to
            && let Ok(first) = RelPath::parse(first)
        {
            self.links.present.insert(first, dir.path.join(&entry.name));
        }
    }

    /// Everything has been compared: link what can be linked, and queue the rest.
    pub(super) fn release_links(&mut self) -> Result<(), Error> {
        for (first, file) in std::mem::take(&mut self.links.held_back) {
            match self.links.present.get(&first) {
                Some(to) => self.say(&ToReceiver::LinkFirst {
                    dir: file.dir(),
                    entry: file.number(),
                    to: to.as_bytes().into_owned(),
                })?,
                None => self.files.push_back(file),
            }
        }
        Ok(())
    }
}
