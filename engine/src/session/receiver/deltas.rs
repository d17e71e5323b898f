//! Deltas arriving: what the sender asks about a basis, and how the file is made from it, in a
//! staged copy of the basis if there is one, front to back otherwise.

use std::fs::File;

use rustix::fs::{AtFlags, unlinkat};

use super::content::file_entry;
use super::dirs::DirState;
use super::verdicts::not_awaited;
use super::{Receiver, ends_push};
use crate::apply::{FileSink, create_file};
use crate::change::Staged;
use crate::delta::exchange::asks_for_tree;
use crate::delta::{Basis, CopyPatcher, Op, PatchError, PatchSummary, Patcher};
use crate::entry::Entry;
use crate::error::Error;
use crate::session::bases::{CopyOrder, CopySlot};
use crate::source::open_file;
use crate::wire::{DirIndex, ExchangePiece};

/// A staged copy of a basis, made or being made.
#[derive(Debug)]
pub(super) struct PreparedCopy {
    staged: Staged,
    slot: CopySlot,
}

impl PreparedCopy {
    /// Takes it away again; staging is cleaned at the end anyway.
    pub(super) fn discard(self) {
        let _ = unlinkat(&*self.staged.stage, &*self.staged.name, AtFlags::empty());
    }
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

impl Receiver {
    /// A piece of what the sender asks about a basis.
    pub(super) fn asked(&mut self, piece: &ExchangePiece<'_>) -> Result<(), Error> {
        let &ExchangePiece {
            dir,
            entry,
            last,
            bytes,
        } = piece;
        let mut state = self.take_dir(dir)?;
        let wanted = state.wanted.known(entry).filter(|wanted| wanted.delta);
        let is_first = wanted.ok_or_else(|| not_awaited(dir))?.copy.is_none();
        let copy = if last && is_first && asks_for_tree(bytes) {
            self.prepare_copy(&mut state, entry)?
        } else {
            None
        };
        self.dirs.insert(dir, state)?;
        match &self.bases {
            Some(bases) => bases.ask((dir, entry), last, bytes, copy),
            None => Err(not_awaited(dir)),
        }
    }

    /// Makes the file for a copy. If it cannot be made, the file is staged later, when the same
    /// error will be met and reported.
    fn prepare_copy(
        &mut self,
        state: &mut DirState,
        number: u32,
    ) -> Result<Option<CopyOrder>, Error> {
        let staged = match self.commit()?.stage_for(&state.path) {
            Err(e) if ends_push(&e) => return Err(e),
            Err(_) => return Ok(None),
            Ok(staged) => staged,
        };
        let Ok(file) = create_file(&*staged.stage, &staged.name, 0o600) else {
            return Ok(None);
        };
        let slot = CopySlot::default();
        if let Some(wanted) = state.wanted.known_mut(number) {
            let slot = slot.clone();
            wanted.copy = Some(Box::new(PreparedCopy { staged, slot }));
        }
        let sparse = self.options.sparse;
        Ok(Some(CopyOrder { file, sparse, slot }))
    }

    /// What an announced file is made from, if that can be read: its present content, or what an
    /// interrupted push has left of it.
    pub(super) fn open_basis(&self, state: &DirState, number: u32, entry: &Entry) -> Option<File> {
        let wanted = state.wanted.known(number);
        if let Some(left) = wanted.and_then(|wanted| wanted.basis.as_ref()) {
            return left.try_clone().ok();
        }
        let dir = self.root.as_ref()?.open_dir(&state.path).ok()?;
        open_file(&dir, &entry.name).ok()
    }

    /// Takes the staged copy of a file's basis, if it was made and can become `len` bytes long.
    pub(super) fn take_copy(
        &self,
        (dir, number): (DirIndex, u32),
        state: &mut DirState,
        len: u64,
    ) -> Result<Option<(Making, Staged)>, Error> {
        let wanted = state.wanted.known_mut(number);
        let Some(prepared) = wanted.and_then(|wanted| wanted.copy.take()) else {
            return Ok(None);
        };
        let entry = file_entry(state, dir, number)?;
        let basis = self.open_basis(state, number, &entry);
        let patcher = prepared
            .slot
            .take()
            .zip(basis)
            .and_then(|(copy, basis)| CopyPatcher::new(copy, basis, len));
        match patcher {
            Some(patcher) => Ok(Some((Making::Copied(Box::new(patcher)), prepared.staged))),
            None => {
                prepared.discard();
                Ok(None)
            }
        }
    }
}
