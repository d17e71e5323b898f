//! Reading the layers of a directory: as far as they are pushed, and as one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::fstat;

use super::{ScannedDir, Scanner};
use crate::entries::{EntryList, EntrySorter};
use crate::entry::{Body, Entry};
use crate::filter::Half;
use crate::fs::{Listed, attributes_of, follow_listed};
use crate::reader::summed;
use crate::selection::{Chosen, OnlyName, Part, Picked};
use crate::since::Meta;
use crate::source::{Layer, stat_name, stat_name_with_atime, sum_file};
use crate::spill::Room;

/// Where an entry of several layers comes from.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    pub(super) layer: usize,
    /// Further layers in which the name is a directory.
    merged: Vec<usize>,
}

impl Origin {
    fn layer(layer: usize) -> Self {
        let merged = Vec::new();
        Origin { layer, merged }
    }

    /// All layers in which the name is a directory.
    pub(super) fn dirs(&self) -> Vec<usize> {
        let mut layers = vec![self.layer];
        layers.extend(&self.merged);
        layers
    }
}

/// A directory without what is its own.
fn way(dir: &Entry) -> Entry {
    let mut way = Listed::blank().entry;
    way.name.clone_from(&dir.name);
    (way.mode, way.body) = (0o777, Body::Way);
    way
}

impl Scanner {
    /// The entries of several layers, and in `dir` where each comes from: the first that has a
    /// name gives it, but a directory goes before anything else, and anything before what was
    /// named and is not there.
    pub(super) fn read_layers(&mut self, dir: &mut ScannedDir, layers: &mut [Layer]) -> EntryList {
        let mut found: HashMap<Vec<u8>, (Listed, Origin)> = HashMap::new();
        for (number, layer) in layers.iter_mut().enumerate() {
            for listed in self.read_layer(dir, layer).iter_listed() {
                match found.get_mut(&listed.entry.name) {
                    Some((first, origin)) if listed.entry.is_dir() => {
                        if first.entry.is_dir() {
                            origin.merged.push(number);
                        } else {
                            (*first, *origin) = (listed, Origin::layer(number));
                        }
                    }
                    Some((first, origin)) if first.entry.body == Body::Gone => {
                        (*first, *origin) = (listed, Origin::layer(number));
                    }
                    Some(_) => {}
                    None => {
                        let name = listed.entry.name.clone();
                        found.insert(name, (listed, Origin::layer(number)));
                    }
                }
            }
        }
        let mut found: Vec<(Listed, Origin)> = found.into_values().collect();
        found.sort_unstable_by(|(a, _), (b, _)| a.entry.canonical_cmp(&b.entry));
        let mut entries = EntryList::default();
        for (listed, origin) in found {
            entries.push_listed(&listed);
            dir.origins.push(origin);
        }
        entries
    }

    /// The entries of one layer; what cannot be read is told in `dir`.
    pub(super) fn read_layer(&mut self, dir: &mut ScannedDir, layer: &mut Layer) -> EntryList {
        self.try_read_layer(dir, layer, false).unwrap_or_else(|e| {
            dir.not_listed("read directory", &layer.shown(b""), &e);
            EntryList::default()
        })
    }

    /// The same, without help from what was read ahead if it comes out of turn.
    pub(super) fn try_read_layer(
        &mut self,
        dir: &mut ScannedDir,
        layer: &mut Layer,
        probes: bool,
    ) -> io::Result<EntryList> {
        match layer.part.clone() {
            Part::Only(only) => self.read_only(dir, layer, &only),
            Part::Nothing => Ok(EntryList::default()),
            Part::Chosen(chosen) if !layer.part.is_whole() => {
                self.read_chosen(dir, layer, &chosen, EntrySorter::new(Room::of_directory()))
            }
            part => {
                let listing = match probes {
                    true => {
                        let (root, on_disk) = (&layer.root, &layer.path);
                        self.probe.read(root, on_disk, &dir.path, &mut |_| true)?
                    }
                    false => self.ahead.read(&layer.root, &layer.path, &dir.path)?,
                };
                for (name, e) in &listing.failed {
                    dir.not_listed("examine", &layer.shown(name), e);
                }
                layer.own = Some((listing.own, listing.own_attributes));
                self.led.enter(layer, listing.id);
                if !probes {
                    dir.passed_over += listing.passed_over;
                }
                let entries = self.without_loops(dir, layer, listing.entries);
                match part {
                    Part::Chosen(chosen) => self.add_chosen(dir, layer, &chosen, &entries),
                    _ => Ok(entries),
                }
            }
        }
    }

    fn stat(&self, dir: &OwnedFd, name: &[u8]) -> io::Result<Listed> {
        let scope = self.fields.attributes();
        match self.options.atimes {
            true => stat_name_with_atime(dir, name, scope),
            false => stat_name(dir, name, scope),
        }
    }

    /// The entry of that name alone.
    fn read_only(
        &mut self,
        dir: &ScannedDir,
        layer: &Layer,
        only: &OnlyName,
    ) -> io::Result<EntryList> {
        let mut listed = match only.picked {
            Picked::Gone => Listed::gone(),
            _ => {
                let parent = layer.open()?;
                let mut listed = self.stat(&parent, &only.on_disk)?;
                let scope = self.fields.attributes();
                self.led.rules.look_through(
                    parent.as_fd(),
                    &mut listed,
                    dir.path.depth(),
                    scope,
                )?;
                listed
            }
        };
        listed.entry.name.clone_from(&only.shown);
        let mut entries = EntryList::default();
        let path = dir.path.join(&only.shown);
        let rules = self.filter.for_names_in(&layer.root);
        if !rules.passes_over(Half::Sender, &path.as_bytes(), listed.entry.is_dir()) {
            entries.push_listed(&listed);
        }
        Ok(entries)
    }

    /// All entries of a directory, of which some were chosen besides: these are taken as such.
    fn add_chosen(
        &mut self,
        dir: &mut ScannedDir,
        layer: &mut Layer,
        chosen: &Chosen,
        entries: &EntryList,
    ) -> io::Result<EntryList> {
        let names: HashSet<&[u8]> = chosen.names().map(|(name, _)| name).collect();
        let mut sorter = EntrySorter::new(Room::of_directory());
        let mut both = BTreeSet::new();
        for listed in entries.iter_listed() {
            match names.contains(&*listed.entry.name) {
                true => drop(both.insert(listed.entry.name)),
                false => sorter.push(&listed, true),
            }
        }
        let chosen = chosen.clone().with_listed(&both);
        layer.part = Part::Chosen(chosen.clone());
        self.read_chosen(dir, layer, &chosen, sorter)
    }

    /// The entries that were chosen of a directory, whatever the filters say of what leads to them,
    /// and those in `sorter`.
    fn read_chosen(
        &mut self,
        dir: &mut ScannedDir,
        layer: &mut Layer,
        chosen: &Chosen,
        mut sorter: EntrySorter,
    ) -> io::Result<EntryList> {
        let fd = layer.open()?;
        if layer.own.is_none() {
            let attributes = attributes_of(&fd, self.fields.attributes())?;
            layer.own = Some((Meta::of_dir(&fstat(&fd)?), attributes));
        }
        for (name, picked) in chosen.names() {
            let found = match picked {
                Some(Picked::Gone) => Ok(Listed::gone()),
                _ => self.examine_chosen(&fd, name, chosen.enters(name), dir.path.depth()),
            };
            match found {
                Ok(mut listed) => {
                    listed.entry.name = name.to_vec();
                    let is_way = layer.part.below(name).is_way() && listed.entry.is_dir();
                    if is_way && !self.options.implied_dirs {
                        listed.entry = way(&listed.entry);
                    }
                    sorter.push(&listed, true);
                }
                Err(e) => dir.not_listed("examine", &layer.shown(name), &e),
            }
        }
        Ok(sorter.finish())
    }

    /// Examines a name that was chosen, and what a symlink leads to if it `enters` there.
    fn examine_chosen(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        enters: bool,
        depth: usize,
    ) -> io::Result<Listed> {
        let mut listed = self.stat(dir, name)?;
        let scope = self.fields.attributes();
        match self.on_the_way.filter(|_| enters && !listed.entry.is_dir()) {
            Some(follow) => follow_listed(dir.as_fd(), &mut listed, follow, scope)?,
            None => self
                .led
                .rules
                .look_through(dir.as_fd(), &mut listed, depth, scope)?,
        }
        match enters && !listed.entry.is_dir() {
            true => Err(io::ErrorKind::NotADirectory.into()),
            false => Ok(listed),
        }
    }
}

/// Adds the sum of a file that the tree may show by another name.
pub(super) fn sum_listed(layer: &Layer, listed: &mut Listed) -> io::Result<()> {
    let shown = std::mem::take(&mut listed.entry.name);
    listed.entry.name = layer.on_disk(&shown).to_vec();
    let dir = layer.open_files();
    let result = dir.and_then(|dir| summed(&dir, listed, sum_file));
    listed.entry.name = shown;
    result
}
