//! Deltas arriving: what the sender asks about a basis, and how the file is made from it, in a
//! staged copy of the basis if there is one, front to back otherwise.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;

use super::dir::{Announced, Dir, not_awaited};
use super::dirs::Dirs;
use super::door::{self, Door};
use super::site::Site;
use super::wanted::Wanted;
use crate::apply::{FileSink, create_file};
use crate::change::Staged;
use crate::delta::exchange::asks_for_tree;
use crate::delta::{Basis, CopyPatcher, Op, PatchError, PatchSummary, Patcher};
use crate::entry::Entry;
use crate::error::{Error, ErrorKind};
use crate::fs::Listed;
use crate::history::Interrupted;
use crate::path::RelPath;
use crate::session::bases::{Bases, CopyOrder, CopySlot, EXCHANGE_LEN_MIN, FileKey, Job};
use crate::source::open_file;
use crate::wire::{DirIndex, EXCHANGES_MAX, ExchangePiece};

/// A staged copy of a basis, made or being made.
#[derive(Debug)]
pub(super) struct PreparedCopy {
    staged: Staged,
    slot: CopySlot,
}

/// A file being made from ops.
pub(super) enum Making {
    /// Front to back, into an empty file.
    Streamed(Box<Patcher<MaybeBasis, FileSink>>),
    /// In a copy of its basis.
    Copied(Box<CopyPatcher>),
}

impl Making {
    /// Refuses an op that would make the file longer than it may be.
    pub(super) fn check(&self, op: Op<'_>) -> Result<(), PatchError> {
        let grown = match self {
            Making::Streamed(patcher) => patcher.grown(op.output_len()),
            Making::Copied(patcher) => patcher.grown(op.output_len()),
        };
        grown.map(drop)
    }

    pub(super) fn apply(&mut self, op: Op<'_>) -> Result<(), PatchError> {
        match self {
            Making::Streamed(patcher) => patcher.apply(op),
            Making::Copied(patcher) => patcher.apply(op),
        }
    }

    pub(super) fn finish(self) -> Result<(PatchSummary, File), PatchError> {
        match self {
            Making::Streamed(patcher) => {
                let (made, sink) = patcher.finish()?;
                Ok((made, sink.finish().map_err(PatchError::Output)?))
            }
            Making::Copied(patcher) => patcher.finish(),
        }
    }
}

/// The basis of a delta; without one no copy can succeed.
pub(super) struct MaybeBasis(pub(super) Option<File>);

impl Basis for MaybeBasis {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        match &self.0 {
            Some(file) => Basis::read_exact_at(file, buffer, offset),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The longest that interrupted pushes have left of a file, if that is more than it replaces and
/// worth an exchange.
pub(super) fn left_of(left: &Interrupted, path: &RelPath, wanted: &Wanted) -> Option<File> {
    let least = wanted.replaced.map_or(0, |replaced| replaced.len);
    let is_more = |found: &Listed| found.entry.len() >= EXCHANGE_LEN_MIN.max(least);
    Some(left.find(path, is_more)?.file)
}

/// What a file is made from, if that can be read: its present content, or what an interrupted push
/// has left of it.
pub(super) fn open_basis(
    door: &Door,
    left: &Interrupted,
    list: &Announced,
    entry: &Entry,
    wanted: &Wanted,
) -> Option<File> {
    if wanted.is_left {
        return left_of(left, &list.path.join(&entry.name), wanted);
    }
    open_file(&door.open_dir(&list.path).ok()?, &entry.name).ok()
}

/// What the sender is told, and asks, about bases.
pub(super) struct Exchanges {
    bases: Option<Bases>,
    /// Files whose bases are to be described, of each directory the last one first.
    waiting: VecDeque<(DirIndex, Vec<u32>)>,
    /// Files whose bases have been, and with which the sender has not finished.
    described: HashSet<FileKey>,
    /// Staged copies of bases.
    copies: HashMap<FileKey, PreparedCopy>,
}

impl Exchanges {
    pub(super) fn new(bases: Option<Bases>) -> Self {
        Exchanges {
            bases,
            waiting: VecDeque::new(),
            described: HashSet::new(),
            copies: HashMap::new(),
        }
    }

    /// Whether something that was asked has been refused meanwhile.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.bases.as_ref().map_or(Ok(()), Bases::check)
    }

    /// Describes the bases of these files, as soon as there is room.
    pub(super) fn queue(&mut self, dir: DirIndex, mut numbers: Vec<u32>) {
        if !numbers.is_empty() {
            numbers.reverse();
            self.waiting.push_back((dir, numbers));
        }
    }

    /// Describes as many bases as there is room for.
    pub(super) fn describe(&mut self, dirs: &Dirs, left: &Interrupted) -> Result<(), Error> {
        while self.described.len() < EXCHANGES_MAX
            && let Some((dir, numbers)) = self.waiting.front_mut()
        {
            let (dir, number) = (*dir, numbers.pop());
            let Some(number) = number else {
                self.waiting.pop_front();
                continue;
            };
            let list = dirs.get(dir).map(Dir::list);
            let wanted = list.and_then(|list| list.wanted.get(number));
            let Some((list, wanted)) = list.zip(wanted.filter(|wanted| wanted.delta)) else {
                continue;
            };
            let file = list.file(dir, number)?;
            let path = list.path.join(&file.name);
            let basis = wanted.is_left.then(|| left_of(left, &path, &wanted));
            let file_key = (dir, number);
            self.described.insert(file_key);
            if let Some(bases) = &mut self.bases {
                bases.describe(Job {
                    file: file_key,
                    path,
                    basis: basis.flatten(),
                    result_len: file.len(),
                })?;
            }
        }
        Ok(())
    }

    /// A piece of what the sender asks about a basis.
    pub(super) fn asked(
        &mut self,
        site: &mut Site,
        dirs: &mut Dirs,
        piece: &ExchangePiece<'_>,
    ) -> Result<(), Error> {
        let &ExchangePiece {
            dir,
            entry,
            last,
            bytes,
        } = piece;
        let file = (dir, entry);
        let state = dirs.take_for_content(dir)?;
        let wanted = state.list().wanted.get(entry);
        wanted
            .filter(|wanted| wanted.delta)
            .ok_or_else(|| not_awaited(dir))?;
        let copy = if last && asks_for_tree(bytes) && !self.copies.contains_key(&file) {
            let prepared = prepare_copy(site, &state.list().path)?;
            prepared.map(|(prepared, order)| {
                self.copies.insert(file, prepared);
                order
            })
        } else {
            None
        };
        dirs.put(dir, state)?;
        match &mut self.bases {
            Some(bases) => bases.ask(file, last, bytes, copy),
            None => Err(not_awaited(dir)),
        }
    }

    /// The sender asks no more about this basis.
    pub(super) fn used(&mut self, file: FileKey) {
        if self.described.remove(&file)
            && let Some(bases) = &mut self.bases
        {
            bases.used(file);
        }
    }

    /// The staged copy of a file's basis is of no use.
    pub(super) fn drop_copy(&mut self, file: FileKey) {
        if let Some(prepared) = self.copies.remove(&file) {
            door::remove(&prepared.staged);
        }
    }

    /// Takes the staged copy of a file's basis, if it was made and can become `len` bytes long.
    pub(super) fn take_copy(
        &mut self,
        file: FileKey,
        basis: Option<&File>,
        len: u64,
    ) -> Option<(Making, Staged)> {
        let prepared = self.copies.remove(&file)?;
        let basis = basis.and_then(|basis| basis.try_clone().ok());
        let copy = prepared.slot.take().zip(basis);
        match copy.and_then(|(copy, basis)| CopyPatcher::new(copy, basis, len)) {
            Some(patcher) => Some((Making::Copied(Box::new(patcher)), prepared.staged)),
            None => {
                door::remove(&prepared.staged);
                None
            }
        }
    }
}

/// Makes the file for a copy. If it cannot be made, the file is staged later, when the same error
/// will be met and reported.
fn prepare_copy(
    site: &mut Site,
    dir: &RelPath,
) -> Result<Option<(PreparedCopy, CopyOrder)>, Error> {
    let staged = match site.door.real()?.commit.stage_for(dir) {
        Err(e) if e.kind == ErrorKind::NoSpace => {
            return site.unless_fatal::<()>(Err(e)).map(|_| None);
        }
        Err(e) if e.kind != ErrorKind::FileIo => return Err(e),
        Err(_) => return Ok(None),
        Ok(staged) => staged,
    };
    let Ok(file) = create_file(&*staged.stage, &staged.name, 0o600) else {
        return Ok(None);
    };
    let slot = CopySlot::default();
    let order = CopyOrder {
        file,
        sparse: site.rules.options.sparse,
        slot: slot.clone(),
    };
    Ok(Some((PreparedCopy { staged, slot }, order)))
}
