//! Walking the source tree: one directory after another in canonical order (a directory's own
//! entries first, then each subdirectory), each with the digest that the receiver compares.
//!
//! Memory is one directory, the names of directories seen but not entered yet, and what is read
//! ahead.

mod below;
mod layers;
mod led;
mod prune;
mod told_ids;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::attributes::Attributes;
use crate::digest::{DirDigest, Fields, IdView};
use crate::entries::{EntryList, Revised};
use crate::entry::Body;
use crate::error::describe;
use crate::filter::{Filter, Half};
use crate::first_names::FirstNames;
use crate::fs::{Alike, Follow, Inodes, Listed};
use crate::ids::IdKind;
use crate::links::{LinkRules, is_unsafe};
use crate::names::Names;
use crate::not_mirrored::NotMirrored;
use crate::observer::{Kind, Warning};
use crate::options::{Options, Summed};
use crate::path::{PATH_LEN_MAX, RelPath};
use crate::read_ahead::ReadAhead;
use crate::reader::Reader;
use crate::recast::Recast;
use crate::selection::Part;
use crate::since::{Accesses, Meta, OTHER_DIRS_MAX};
use crate::source::{Layer, Source};
use crate::wire::DirIndex;

use below::{Below, NextDir};
use layers::{Origin, sum_listed};
use led::Led;
use told_ids::ToldIds;

/// One directory of the source.
#[derive(Debug)]
pub(crate) struct ScannedDir {
    pub(crate) index: DirIndex,
    pub(crate) parent: DirIndex,
    pub(crate) path: RelPath,
    /// In canonical order.
    pub(crate) entries: EntryList,
    /// For each entry where it comes from; empty if there is only one layer.
    origins: Vec<Origin>,
    /// Positions of files with several names of which this is the first, under `-H`; ascending.
    pub(crate) firsts: Vec<u32>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) digest: DirDigest,
    /// Nothing of the directory is missing here.
    pub(crate) complete: bool,
    /// The first line about what could not be listed, though it is there: nothing is deleted then.
    pub(crate) not_listed: Option<String>,
    /// What the directory was when it was read, if that is not what the one above lists.
    pub(crate) other: Option<(Meta, Attributes)>,
    /// Ids that appear here for the first time, and who they are.
    pub(crate) new_ids: Vec<(IdKind, u32, NewId)>,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) left_out: LeftOut,
    /// What the entries have besides what is mirrored.
    pub(crate) passed_over: NotMirrored,
    pub(crate) warnings: Vec<Warning>,
}

/// An entry that is left out, which is told.
#[derive(Debug)]
pub(crate) enum Skipped {
    /// The options, or a receiver that is not root, leave out its type.
    NonRegular(RelPath),
    /// A symlink that may lead out of the tree, and what it says.
    Unsafe(RelPath, Vec<u8>),
    /// A directory on another file system.
    Mount(RelPath),
}

/// Who an id is to the receiver.
#[derive(Debug)]
pub(crate) enum NewId {
    /// Who has this name there.
    Named(Vec<u8>),
    /// Who has this number there.
    Mapped(u32),
}

/// What the receiver takes from nobody with these rights, as far as there is any of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LeftOut {
    pub(crate) devices: bool,
    pub(crate) setuid: bool,
}

impl ScannedDir {
    /// A directory in which nothing has been found yet.
    fn empty(index: DirIndex, parent: DirIndex, path: RelPath) -> Self {
        ScannedDir {
            index,
            parent,
            path,
            entries: EntryList::default(),
            origins: Vec::new(),
            firsts: Vec::new(),
            layers: Vec::new(),
            digest: DirDigest::default(),
            complete: false,
            not_listed: None,
            other: None,
            new_ids: Vec::new(),
            skipped: Vec::new(),
            left_out: LeftOut::default(),
            passed_over: NotMirrored::default(),
            warnings: Vec::new(),
        }
    }

    /// A directory as if it had no more than these entries, and they came from one layer.
    pub(crate) fn part(index: DirIndex, path: RelPath, layer: Layer, entries: EntryList) -> Self {
        ScannedDir {
            entries,
            layers: vec![layer],
            ..ScannedDir::empty(index, 0, path)
        }
    }

    /// Notes that something that is there could not be listed, or was gone when it was to be.
    fn not_listed(&mut self, what: &str, shown: &str, e: &io::Error) {
        let warning = unreadable(what, shown, e);
        if warning.vanished {
            self.complete = false;
            self.warnings.push(warning);
        } else {
            self.not_read(warning.message);
        }
    }

    fn not_read(&mut self, message: String) {
        self.complete = false;
        self.not_listed.get_or_insert_with(|| message.clone());
        let vanished = false;
        self.warnings.push(Warning { vanished, message });
    }

    /// Something in it has a path that is too long to be carried: it is neither sent nor deleted.
    fn goes_deeper(&mut self) {
        self.complete = false;
        let shown = self.layers.first().map(|layer| layer.shown(b""));
        let shown = shown.unwrap_or_default();
        let message = format!(
            "cannot mirror all that is in directory {shown} on the source: \
             its path has more than 64 KiB"
        );
        let vanished = false;
        self.warnings.push(Warning { vanished, message });
    }

    /// The layer that entry number `at` comes from.
    pub(crate) fn layer_of(&self, at: usize) -> usize {
        self.origins.get(at).map_or(0, |origin| origin.layer)
    }

    /// Last component of the path; empty for the root.
    pub(crate) fn name(&self) -> &[u8] {
        self.path.name()
    }
}

/// The walk. Each call of [`next`](Self::next) reads one directory.
pub(crate) struct Scanner {
    options: Options,
    led: Led,
    /// Symlinks that are followed on the way to what was named.
    on_the_way: Option<Follow>,
    filter: Filter,
    fields: Arc<Fields>,
    recast: Arc<Recast>,
    /// The root, until it is entered.
    root: Option<Vec<Layer>>,
    below: Vec<Below>,
    ahead: ReadAhead,
    /// Looks into directories that are not announced yet.
    probe: Reader,
    /// Where, under `-m`, something was found last that is worth all above it.
    found_below: RelPath,
    next_index: DirIndex,
    first_names: FirstNames,
    told_ids: ToldIds,
    root_complete: bool,
    /// How many directories were others than those listed.
    other_dirs: usize,
}

impl Scanner {
    pub(crate) fn new(
        source: &Source,
        options: Options,
        filter: Filter,
        fields: Fields,
        recast: Arc<Recast>,
        alike: Option<Arc<Alike>>,
    ) -> Self {
        // What an argument stands for that could not be opened is not known.
        let root_complete = source.failed.is_empty() || options.ignore_errors;
        let links = LinkRules::of(&options);
        let reader = Reader {
            filter: filter.clone(),
            half: Half::Sender,
            inodes: match options.hard_links || options.one_file_system || links.any() {
                true => Inodes::All,
                false => Inodes::None,
            },
            links,
            scope: fields.attributes(),
            alike,
            with_atimes: options.atimes,
            is_quiet: options.reads_quietly(),
            summed: options.summed(),
        };
        Scanner {
            led: Led::new(links),
            on_the_way: source.layers.first().and_then(|layer| layer.root.follow()),
            options,
            filter,
            fields: Arc::new(fields),
            recast,
            root: Some(source.layers.clone()),
            below: Vec::new(),
            probe: Reader {
                summed: Summed::default(),
                ..reader.clone()
            },
            found_below: RelPath::root(),
            ahead: ReadAhead::new(reader),
            next_index: 0,
            first_names: FirstNames::default(),
            told_ids: ToldIds::besides(source.root_entry.as_ref()),
            root_complete,
            other_dirs: 0,
        }
    }

    /// Reads the next directory; `None` when all have been read.
    pub(crate) fn next(&mut self) -> Option<ScannedDir> {
        let NextDir {
            parent,
            path,
            mut layers,
            listed,
        } = self.next_place()?;
        let is_whole = layers.iter().any(|layer| layer.part.is_whole());
        let complete = is_whole && (!path.is_root() || self.root_complete);
        let mut dir = ScannedDir {
            complete,
            ..ScannedDir::empty(self.next_index, parent, path)
        };
        self.next_index += 1;
        let mut entries = match &mut *layers {
            [layer] => self.read_layer(&mut dir, layer),
            layers => self.read_layers(&mut dir, layers),
        };
        // Of several the first gives the metadata.
        let own = layers.first().and_then(|layer| layer.own.clone());
        let mut parts = layers.iter().map(|layer| &layer.part);
        let has_own = self.options.implied_dirs || !parts.next().is_some_and(Part::is_way);
        if let Some(((own, attributes), listed)) = own.zip(listed)
            && (own.access(), attributes.fingerprint()) != listed
            && has_own
        {
            self.found_other(&mut dir, (own, attributes), &mut entries, layers.first());
        }
        dir.layers = layers;
        let mut below = Below {
            parent: dir.index,
            path: dir.path.clone(),
            layers: dir.layers.clone(),
            passed: self.led.len(),
            names: Names::default(),
            accesses: Accesses::default(),
            merged: VecDeque::new(),
        };
        let origins = std::mem::take(&mut dir.origins);
        let (mut from, mut at) = (origins.into_iter(), 0);
        let name_len_max = PATH_LEN_MAX.saturating_sub(dir.path.len() + 1);
        let mut goes_deeper = false;
        let fields = Arc::clone(&self.fields);
        let fields = fields.at(&dir.path);
        let mut digester = fields.digester();
        entries.revise(|listed| {
            let origin = from.next();
            if listed.entry.name.len() > name_len_max {
                goes_deeper = true;
                return Revised::Dropped;
            }
            let revised = self.admit(&mut dir, at, listed, origin.as_ref(), &mut below);
            if !matches!(revised, Revised::Dropped) {
                at += 1;
                dir.origins.extend(origin);
                digester.add(&listed.entry, &IdView::Sender);
            }
            revised
        });
        entries.shrink();
        dir.entries = entries;
        if goes_deeper {
            dir.goes_deeper();
        }
        self.go_below(below);
        dir.digest = digester.finish();
        Some(dir)
    }

    /// The directory that was read is another than the one that was listed, or somebody else's
    /// since: it is announced as what it is, or if that goes on and on, not at all.
    fn found_other(
        &mut self,
        dir: &mut ScannedDir,
        own: (Meta, Attributes),
        entries: &mut EntryList,
        layer: Option<&Layer>,
    ) {
        self.other_dirs += 1;
        if self.other_dirs <= OTHER_DIRS_MAX && own.0.check_owners().is_ok() {
            let meta = self.recast.meta(own.0, Kind::Dir);
            let own = (meta, self.recast.attributes(own.1));
            self.announce_ids(own.0.uid, own.0.gid, &own.1, dir);
            dir.other = Some(own);
            return;
        }
        *entries = EntryList::default();
        dir.origins.clear();
        let shown = layer.map_or_else(String::new, |layer| layer.shown(b""));
        let message = format!(
            "{shown} is another directory than the one that was listed, like {OTHER_DIRS_MAX} \
             before it; the target keeps what it has, push again"
        );
        dir.not_read(message);
    }

    fn next_place(&mut self) -> Option<NextDir> {
        if let Some(layers) = self.root.take() {
            return Some(NextDir {
                parent: 0,
                path: RelPath::root(),
                layers,
                listed: None,
            });
        }
        loop {
            let below = self.below.last_mut()?;
            if let Some(next) = below.pop() {
                self.led.back_to(below.passed);
                return Some(next);
            }
            self.below.pop();
        }
    }

    /// Lets the walk go on with these directories, and has them read meanwhile.
    fn go_below(&mut self, below: Below) {
        if let [layer] = &*below.layers
            && matches!(layer.part, Part::All)
        {
            let names = below.names.clone();
            self.ahead
                .expect(&layer.root, &layer.path, &below.path, names);
        }
        if !below.names.is_empty() {
            self.below.push(below);
        }
    }

    /// Turns what was found at position `at` into the entry that is announced; directories are
    /// queued.
    fn admit(
        &mut self,
        dir: &mut ScannedDir,
        at: usize,
        listed: &mut Listed,
        origin: Option<&Origin>,
        below: &mut Below,
    ) -> Revised {
        let layer_number = origin.map_or(0, |origin| origin.layer);
        let is_left_out = dir.is_owned_by_none(&listed.entry, origin);
        let Some(layer) = dir.layers.get(layer_number).filter(|_| !is_left_out) else {
            return Revised::Dropped;
        };
        let mut revised = Revised::Kept;
        if self.options.summed().lacks(&listed.entry) {
            // It could not be read before, and should say why, or has never been tried.
            revised = Revised::Changed;
            if let Err(e) = sum_listed(layer, listed) {
                let shown = layer.shown(&listed.entry.name);
                dir.warnings.push(unreadable("read", &shown, &e));
                listed.entry.body = Body::Unmirrored(Kind::File);
                return revised;
            }
        }
        let &mut Listed {
            ref mut entry,
            dev,
            ino,
            nlink,
        } = listed;
        let kind = entry.kind();
        let is_in = |&(least, most): &(u64, u64)| (least..=most).contains(&entry.len());
        if kind == Kind::File && !self.options.lengths.as_ref().is_none_or(is_in) {
            entry.body = Body::Unmirrored(kind);
            return Revised::Changed;
        }
        if entry.is_unmirrored() {
            return Revised::Changed;
        }
        let leads_out = |target: &&[u8]| is_unsafe(target, dir.path.depth());
        let keeps_safe = self.options.safe_links && self.options.links;
        let leading_out = entry.symlink_target().filter(leads_out);
        if let Some(target) = leading_out.filter(|_| keeps_safe) {
            let path = dir.path.join(&entry.name);
            dir.skipped.push(Skipped::Unsafe(path, target.to_vec()));
            entry.body = Body::Unmirrored(kind);
            return Revised::Changed;
        }
        let mirrored = match kind {
            Kind::File => true,
            // Without `-r` no directory is among the sources, and none below them is read.
            Kind::Dir => true,
            Kind::Symlink => self.options.links,
            Kind::Device => self.options.devices && self.fields.powers.devices,
            Kind::Special => self.options.specials,
        };
        if !mirrored {
            // One without root takes no device from anybody.
            if kind == Kind::Device && self.options.devices && self.fields.powers.owners {
                dir.left_out.devices = true;
            } else {
                let path = dir.path.join(&entry.name);
                dir.skipped.push(Skipped::NonRegular(path));
            }
            entry.body = Body::Unmirrored(kind);
            return Revised::Changed;
        }
        let layer = dir.layers.get(layer_number);
        let of_source = layer.and_then(|layer| layer.dev);
        let is_elsewhere = of_source.is_some_and(|of_source| of_source != dev);
        if kind == Kind::Dir && is_elsewhere && self.options.omit_mounts {
            dir.skipped.push(Skipped::Mount(dir.path.join(&entry.name)));
            return Revised::Dropped;
        }
        let found = Meta::of_entry(entry);
        let fingerprint = entry.attributes.fingerprint();
        dir.left_out.setuid |= self.options.perms && self.recast.loses_bits(found.mode, kind);
        if self.recast.entry(entry) {
            revised = Revised::Changed;
        }
        if kind == Kind::Dir {
            let prunes = self.options.prune_empty_dirs;
            if prunes && let Err(unlisted) = self.is_worth_it(dir, &entry.name, origin) {
                let first = unlisted.first().map(|warning| warning.message.clone());
                dir.not_listed = dir.not_listed.take().or(first);
                dir.warnings.extend(unlisted);
                return Revised::Dropped;
            }
            if !(self.options.one_file_system && is_elsewhere) {
                below.names.push(&entry.name);
                below.accesses.push((found.access(), fingerprint));
                below.merged.extend(origin.map(Origin::dirs));
            }
        } else if self.options.hard_links && nlink > 1 {
            let path = dir.path.join(&entry.name);
            let on_target = self.fields.file_system_of(&dir.path);
            entry.link_to = self.first_names.other_than(&path, [on_target, dev, ino]);
            if entry.link_to.is_some() {
                revised = Revised::Changed;
            } else if kind == Kind::File {
                dir.firsts.push(at as u32);
            }
        }
        self.announce_ids(entry.uid, entry.gid, &entry.attributes, dir);
        revised
    }
}

/// A path of the source that could not be read: exit 24 if it is gone, 23 otherwise.
pub(crate) fn unreadable(what: &str, shown: &str, e: &io::Error) -> Warning {
    let vanished = e.kind() == io::ErrorKind::NotFound;
    let message = if vanished {
        format!("file has vanished: {shown}")
    } else {
        format!("cannot {what} {shown} on the source: {}", describe(e))
    };
    Warning { vanished, message }
}
