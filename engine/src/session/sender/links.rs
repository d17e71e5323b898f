//! Content of hard-linked files, held back until the whole source has been compared: if the target
//! turns out to have the same file under another name of the group, a link makes it, and nothing
//! has to travel. A backup tree whose newest snapshot links to the older ones lives on this.

use std::sync::Arc;

use super::Sender;
use super::files::{Files, Rest};
use super::reading::{DirCache, FileSource};
use crate::attributes::Attributes;
use crate::entries::EntryList;
use crate::entry::Time;
use crate::error::Error;
use crate::observer::Action;
use crate::path::RelPath;
use crate::scan::ScannedDir;
use crate::session::MESSAGE_LEN;
use crate::session::window::HeldDir;
use crate::since::Meta;
use crate::source::Layer;
use crate::spill::{SpillList, SpillMap, put_number, take_number};
use crate::wire::{DirIndex, ToReceiver, Verdict};

/// Bytes of the number of an entry on the wire at most.
const NUMBER_LEN_MAX: usize = 5;

/// Files that are taken up again at once.
const TAKEN_MAX: usize = 512;

/// First files of link groups that the receiver lacks, and what it has of their groups.
#[derive(Default)]
pub(super) struct LinkGroups {
    held_back: HeldBack,
    /// For the path of a first entry, one of its group that the target has as it should be.
    present: SpillMap,
}

/// Files in the order in which they were held back, independent of their directories: those must
/// not stay in the window.
#[derive(Default)]
struct HeldBack {
    /// Of a directory and a layer of it their paths and numbers; then, of each file in there, its
    /// number and its entry.
    records: SpillList,
    /// The directory that was added last, and the layer.
    last: Option<(DirIndex, usize)>,
    /// Layers, with the path of the directory last seen in each.
    layers: Vec<Layer>,
}

const DIR: u64 = 0;
const FILE: u64 = 1;

impl LinkGroups {
    pub(super) fn is_empty(&self) -> bool {
        self.held_back.records.len() == 0
    }

    /// Holds any file back.
    pub(super) fn hold(&mut self, file: &FileSource) {
        let (held, at) = file.place();
        // An entry that is there can be held.
        let _ = self.held_back.push(&held.dir, at, file.number());
    }
}

impl HeldBack {
    fn push(&mut self, dir: &ScannedDir, at: usize, number: u32) -> Option<()> {
        let layer_number = dir.layer_of(at);
        let mut record = Vec::new();
        if self.last != Some((dir.index, layer_number)) {
            self.last = Some((dir.index, layer_number));
            let layer = dir.layers.get(layer_number)?;
            let of_root = |known: &Layer| known.is_like(layer);
            let known = self.layers.iter().position(of_root);
            let known = known.unwrap_or_else(|| {
                self.layers.push(layer.clone());
                self.layers.len() - 1
            });
            // Whose it is, if that is known.
            let own = layer.own.as_ref().map(|(own, _)| own.access());
            let (mode, uid, gid) = own.unwrap_or((u32::MAX, 0, 0));
            let own = [mode, uid, gid].map(u64::from);
            for number in [DIR, dir.index, known as u64].into_iter().chain(own) {
                put_number(&mut record, number);
            }
            put_number(&mut record, layer.path.len() as u64);
            record.extend_from_slice(&layer.path.as_bytes());
            record.extend_from_slice(&dir.path.as_bytes());
            self.records.push(&record);
            record.clear();
        }
        put_number(&mut record, FILE);
        put_number(&mut record, number.into());
        record.extend_from_slice(&dir.entries.packed(at)?);
        self.records.push(&record);
        Some(())
    }
}

/// A way through what is held back, directory by directory.
pub(super) struct HeldWalk {
    links: LinkGroups,
    /// How many of the records have been taken.
    taken: usize,
    dir: Option<(DirIndex, RelPath, Layer)>,
    /// Those under way.
    files: Option<Files>,
}

impl HeldWalk {
    /// The next files of one directory.
    fn take(&mut self) -> Option<Vec<FileSource>> {
        let (mut entries, mut numbers) = (EntryList::default(), Vec::new());
        let mut records = self.links.held_back.records.walk_from(self.taken);
        while numbers.len() < TAKEN_MAX
            && let Some(mut record) = records.next()
        {
            if take_number(&mut record) == FILE {
                numbers.push(take_number(&mut record) as u32);
                entries.push_packed(record);
            } else if numbers.is_empty() {
                self.dir = self.links.held_back.parse_dir(record);
            } else {
                break;
            }
            self.taken += 1;
        }
        let (index, path, layer) = self.dir.clone()?;
        let dir = ScannedDir::part(index, path, layer, entries);
        let held = Arc::new(HeldDir::uncounted(dir));
        let files = numbers.iter().enumerate();
        let files = files.filter_map(|(at, &number)| FileSource::new(&held, at, number));
        let files: Vec<_> = files.collect();
        (!files.is_empty()).then_some(files)
    }
}

impl HeldBack {
    fn parse_dir(&self, mut record: &[u8]) -> Option<(DirIndex, RelPath, Layer)> {
        let index = take_number(&mut record);
        let layer = self.layers.get(take_number(&mut record) as usize)?;
        let [mode, uid, gid] = [0; 3].map(|_: u8| take_number(&mut record) as u32);
        let own = Meta {
            mode,
            uid,
            gid,
            mtime: Time::default(),
        };
        let on_disk_len = take_number(&mut record) as usize;
        let (on_disk, path) = record.split_at_checked(on_disk_len)?;
        let layer = Layer {
            path: RelPath::of(on_disk),
            own: (mode != u32::MAX).then(|| (own, Attributes::default())),
            ..layer.clone()
        };
        Some((index, RelPath::of(path), layer))
    }
}

impl LinkGroups {
    /// Holds a file back. Returns whether it is the first of a link group at all.
    pub(super) fn hold_back(&mut self, held: &HeldDir, at: usize, number: u32) -> bool {
        let dir = &held.dir;
        dir.firsts.binary_search(&(at as u32)).is_ok()
            && self.held_back.push(dir, at, number).is_some()
    }

    /// Notes an entry that is to be linked to the first of its group and needs nothing else.
    pub(super) fn note_present(&mut self, held: &HeldDir, at: usize, verdict: &Verdict) {
        if verdict.action != Action::HardLink || verdict.differences.any() {
            return;
        }
        let dir = &held.dir;
        let entry = dir.entries.get(at);
        if let Some(entry) = entry
            && let Some(first) = &entry.link_to
        {
            let path = dir.path.join(&entry.name);
            self.present.insert(first, &path.as_bytes());
        }
    }

    /// What is held back, to be released.
    pub(super) fn take(&mut self) -> HeldWalk {
        HeldWalk {
            links: std::mem::take(self),
            taken: 0,
            dir: None,
            files: None,
        }
    }
}

impl Sender<'_> {
    /// Tells the receiver that the content of these entries comes in the end.
    pub(super) fn say_later(&self, dir: DirIndex, entries: &[u32]) -> Result<(), Error> {
        for part in entries.chunks(MESSAGE_LEN / NUMBER_LEN_MAX) {
            let entries = part.to_vec();
            self.say(&ToReceiver::Later { dir, entries })?;
        }
        Ok(())
    }

    /// Everything has been compared: links what can be linked of the next directory, and sends the
    /// rest, piece by piece.
    pub(super) fn release(&mut self, mut walk: HeldWalk) -> Result<Option<HeldWalk>, Error> {
        if let Some(files) = walk.files.take() {
            walk.files = self.send_files(files)?;
            return Ok(Some(walk));
        }
        if self.leased.count() > 0 {
            self.content.held = Some(walk);
            return Ok(None);
        }
        let Some(files) = walk.take() else {
            return Ok(None);
        };
        // Files of one directory may come from several layers.
        self.content.cache = DirCache::default();
        let mut rest = Vec::new();
        for file in files {
            match walk.links.present.get(&file.path().as_bytes()) {
                Some(to) => self.say(&ToReceiver::LinkFirst {
                    dir: file.dir(),
                    entry: file.number(),
                    to,
                })?,
                None => rest.push(file),
            }
        }
        walk.files = Some(Files::new(Rest::Asked(rest.into_iter())));
        Ok(Some(walk))
    }
}
