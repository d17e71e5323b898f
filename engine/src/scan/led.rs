//! The symlinks that a walk follows. One that leads to a directory that it is in would lead there
//! again and again: it is named, and left alone.

use rustix::fs::{AtFlags, FileType, statat};

use super::{ScannedDir, Scanner};
use crate::entries::{EntryList, EntrySorter};
use crate::entry::Body;
use crate::fs::Listed;
use crate::links::LinkRules;
use crate::observer::{Kind, Warning};
use crate::source::Layer;
use crate::spill::Room;

/// Which symlinks are followed, and the directories that the walk has come through.
pub(super) struct Led {
    pub(super) rules: LinkRules,
    passed: Vec<Passed>,
}

/// A directory that the walk has entered.
struct Passed {
    /// Its device and inode.
    id: (u64, u64),
    /// Where the one that it was entered from is.
    from: Option<usize>,
}

impl Led {
    pub(super) fn new(rules: LinkRules) -> Self {
        let passed = Vec::new();
        Led { rules, passed }
    }

    /// The layer is that directory.
    pub(super) fn enter(&mut self, layer: &mut Layer, id: (u64, u64)) {
        if self.rules.any() {
            let from = layer.passed.replace(self.passed.len());
            self.passed.push(Passed { id, from });
        }
    }

    /// How many directories the walk has come through, to go [`back_to`](Self::back_to).
    pub(super) fn len(&self) -> usize {
        self.passed.len()
    }

    /// What was entered since is left.
    pub(super) fn back_to(&mut self, len: usize) {
        self.passed.truncate(len);
    }

    /// Whether the directory is the layer's, or one that this is in.
    fn leads_back(&self, layer: &Layer, listed: &Listed) -> bool {
        let passed = |at: usize| self.passed.get(at);
        let last = layer.passed.and_then(passed);
        let mut way = std::iter::successors(last, |here| here.from.and_then(passed));
        way.any(|here| here.id == (listed.dev, listed.ino))
    }
}

impl Scanner {
    /// The entries of a layer, without what symlinks that lead back would have them be.
    pub(super) fn without_loops(
        &self,
        dir: &mut ScannedDir,
        layer: &Layer,
        entries: EntryList,
    ) -> EntryList {
        if !self.led.rules.any() {
            return entries;
        }
        // Directories come last.
        let listed = (0..entries.len()).rev().map(|at| entries.get_listed(at));
        let dirs = listed.map_while(|listed| listed.filter(|listed| listed.entry.is_dir()));
        let mut looping = dirs.filter(|listed| self.loops(layer, listed)).peekable();
        if looping.peek().is_none() {
            return entries;
        }
        let looping: Vec<Vec<u8>> = looping.map(|listed| listed.entry.name).collect();
        let mut sorter = EntrySorter::new(Room::of_directory());
        for mut listed in entries.iter_listed() {
            let name = &listed.entry.name;
            // The last of them is the first here.
            if listed.entry.is_dir() && looping.binary_search_by(|at| name.cmp(at)).is_ok() {
                let message = format!(
                    "cannot mirror {} from the source: it is a symlink to a directory that it is \
                     in; exclude it",
                    layer.shown(name)
                );
                let vanished = false;
                dir.warnings.push(Warning { vanished, message });
                listed.entry.body = Body::Unmirrored(Kind::Symlink);
            }
            sorter.push(&listed, true);
        }
        sorter.finish()
    }

    /// Whether a directory is one that it is in. Only a symlink leads back for ever: what is
    /// mounted there ends where it is mounted.
    fn loops(&self, layer: &Layer, listed: &Listed) -> bool {
        let is_symlink = || {
            let name = layer.on_disk(&listed.entry.name);
            let found = layer
                .open()
                .and_then(|dir| Ok(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?));
            found.map_or(true, |found| {
                FileType::from_raw_mode(found.st_mode) == FileType::Symlink
            })
        };
        self.led.leads_back(layer, listed) && is_symlink()
    }
}
