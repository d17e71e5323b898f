//! Content arriving: packs of small files and ops of large ones. Each file is staged and its sum
//! checked before it is handed to the commit.

use std::borrow::Cow;
use std::fs::File;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::deltas::{Making, MaybeBasis};
use super::dirs::{DirState, Phase};
use super::verdicts::not_awaited;
use super::wanted::Wanted;
use super::{Receiver, ends_push};
use crate::apply::{FileSink, create_file};
use crate::change::{Over, Slot, Staged};
use crate::delta::{OpDecoder, PatchError, Patcher};
use crate::entry::{Body, Entry, Sum};
use crate::error::Error;
use crate::fs::set_new_attrs;
use crate::path::RelPath;
use crate::refusal::Refusal;
use crate::since::Since;
use crate::source::open_file;
use crate::wire::{DirIndex, PackedFile, ToSender, parse_pack};
use crate::work;

/// Bytes of the result that are made at once, by ops that say much in few bytes.
const SLICE_LEN: u64 = 64 << 20;

/// A large file on its way.
pub(super) struct Incoming {
    dir: DirIndex,
    entry: u32,
    since: Since,
    /// It is being made from a basis: the sender waits to hear how it ended.
    delta: bool,
    decoder: OpDecoder,
    /// Bytes made since it was last asked whether the sender is there.
    unheard_len: u64,
    state: FileState,
}

enum FileState {
    Writing {
        making: Making,
        place: Place,
    },
    /// It cannot become right any more; its ops are dropped. With `retry`, the whole is asked for.
    Spoiled {
        retry: bool,
    },
}

/// Where a file is being made.
pub(super) enum Place {
    /// In staging, to be put under its name by itself.
    Alone(Staged),
    /// In a staged directory, under its own name already.
    InNewDir,
}

impl Receiver {
    /// Whole small files of one directory.
    pub(super) fn pack(&mut self, payload: &[u8]) -> Result<(), Error> {
        let (dir, files) = parse_pack(payload)?;
        let mut state = self.take_dir(dir)?;
        for file in files {
            self.packed_file(dir, &mut state, &file?)?;
        }
        self.keep_if_awaited(dir, state)
    }

    fn packed_file(
        &mut self,
        dir: DirIndex,
        state: &mut DirState,
        file: &PackedFile<'_>,
    ) -> Result<(), Error> {
        let entry = file_entry(state, dir, file.entry)?;
        let path = state.path.join(&entry.name);
        let opened = self.open_sink(dir, state, file.entry, &entry)?;
        let wanted = state.wanted.remove(file.entry);
        let Some((mut sink, place)) = opened else {
            return Ok(());
        };
        let written = sink
            .write_content(file.content)
            .and_then(|()| sink.finish());
        match written {
            Ok(made) => {
                let since = file.mtime.map_or(Since::Same, Since::Touched);
                self.complete(state, &entry, made, since, &place, wanted)
            }
            Err(e) => self.failed(state, &entry, &place, &path, &e),
        }
    }

    /// Makes the file that content goes to. `None` if that fails for this entry alone.
    fn open_sink(
        &mut self,
        dir: DirIndex,
        state: &DirState,
        number: u32,
        entry: &Entry,
    ) -> Result<Option<(FileSink, Place)>, Error> {
        let sparse = self.options.sparse;
        let made = match &state.phase {
            Phase::Failed => return Ok(None),
            _ if !state.wanted.contains(number) => return Err(not_awaited(dir)),
            Phase::Dropped => return Ok(None),
            Phase::Differs { .. } | Phase::Resumed => return Err(not_awaited(dir)),
            Phase::New { fd, .. } => create_file(fd, &entry.name, entry.mode)
                .map(|file| (file, Place::InNewDir))
                .map_err(|e| (e, "make")),
            Phase::Judged => {
                let staged = match self.commit()?.stage_for(&state.path) {
                    Err(e) if ends_push(&e) => return Err(e),
                    Err(e) => {
                        self.warn(e.message)?;
                        return Ok(None);
                    }
                    Ok(staged) => staged,
                };
                create_file(&*staged.stage, &staged.name, entry.mode)
                    .map(|file| (file, Place::Alone(staged)))
                    .map_err(|e| (e, "stage"))
            }
        };
        match made {
            Ok((file, place)) => Ok(Some((FileSink::new(file, sparse), place))),
            Err((e, what)) => {
                let path = state.path.join(&entry.name);
                let e = Error::file(
                    format_args!("{what} {} on the target", self.shown(&path)),
                    &e,
                );
                if ends_push(&e) {
                    return Err(e);
                }
                self.warn(e.message)?;
                Ok(None)
            }
        }
    }

    /// The content is right: set the metadata that it came with, and hand the file to the commit.
    pub(super) fn complete(
        &mut self,
        state: &DirState,
        entry: &Entry,
        file: File,
        since: Since,
        place: &Place,
        wanted: Option<Wanted>,
    ) -> Result<(), Error> {
        let (replaced, in_the_way) = wanted.map_or((None, false), |w| (w.replaced, w.in_the_way));
        let old_len = replaced.map_or(0, |replaced| replaced.len);
        let mut found = Cow::Borrowed(entry);
        if since != Since::Same {
            since.put_into(found.to_mut());
        }
        let attrs =
            self.judge_in(&state.path)
                .made_attrs(&self.ids, &found, replaced, state.inherited_gid);
        let path = state.path.join(&entry.name);
        if let Err(e) = set_new_attrs(&file, attrs) {
            let what = format_args!("set the metadata of {} on the target", self.shown(&path));
            self.warn(Error::file(what, &e).message)?;
        }
        drop(file);
        let Place::Alone(staged) = place else {
            return Ok(());
        };
        if in_the_way {
            self.replace_later(&path, staged.clone());
            return Ok(());
        }
        let (dir, name) = (state.path.clone(), entry.name.clone());
        let over = Over {
            tree: false,
            len: old_len,
        };
        self.commit()?.place(staged, dir, name, over)
    }

    /// The content could not be written: drop what there is of it.
    fn failed(
        &mut self,
        state: &DirState,
        entry: &Entry,
        place: &Place,
        path: &RelPath,
        e: &std::io::Error,
    ) -> Result<(), Error> {
        discard(state, entry, place);
        let e = Error::file(format_args!("write {} on the target", self.shown(path)), e);
        if ends_push(&e) {
            Err(e)
        } else {
            self.warn(e.message)
        }
    }

    /// A large file begins.
    pub(super) fn file_begin(
        &mut self,
        dir: DirIndex,
        entry: u32,
        len: u64,
        since: Since,
    ) -> Result<(), Error> {
        if self.incoming.is_some() {
            return Err(Error::peer(Refusal::FileInFile));
        }
        since.check(self.fields.powers).map_err(Error::peer)?;
        let mut state = self.take_dir(dir)?;
        let announced = file_entry(&state, dir, entry)?;
        let delta = state.wanted.known(entry).is_some_and(|wanted| wanted.delta);
        if delta && let Some(bases) = &self.bases {
            bases.used((dir, entry));
        }
        let file_state =
            if let Some((making, staged)) = self.take_copy((dir, entry), &mut state, len)? {
                let place = Place::Alone(staged);
                FileState::Writing { making, place }
            } else {
                let basis = delta.then(|| self.open_basis(&state, entry, &announced));
                let basis = basis.flatten();
                match self.open_sink(dir, &state, entry, &announced)? {
                    None => FileState::Spoiled { retry: false },
                    Some((sink, place)) if !sink.can_hold(len) => {
                        let path = state.path.join(&announced.name);
                        let e = Errno::FBIG.into();
                        self.failed(&state, &announced, &place, &path, &e)?;
                        FileState::Spoiled { retry: false }
                    }
                    Some((sink, place)) => {
                        let basis_len = basis
                            .as_ref()
                            .and_then(|file| file.metadata().ok())
                            .map_or(0, |metadata| metadata.len());
                        let patcher = Patcher::new(MaybeBasis(basis), basis_len, sink, len);
                        let making = Making::Streamed(Box::new(patcher));
                        FileState::Writing { making, place }
                    }
                }
            };
        self.dirs.insert(dir, state)?;
        let decoder = OpDecoder::default();
        self.incoming = Some(Incoming {
            dir,
            entry,
            since,
            delta,
            decoder,
            unheard_len: 0,
            state: file_state,
        });
        Ok(())
    }

    /// Ops of the file that has begun.
    pub(super) fn data(&mut self, mut payload: &[u8]) -> Result<(), Error> {
        let incoming = self
            .incoming
            .as_mut()
            .ok_or_else(|| Error::peer(Refusal::OpsWithoutFile))?;
        let FileState::Writing { making, .. } = &mut incoming.state else {
            return Ok(());
        };
        let failure = 'ops: loop {
            let op = incoming.decoder.next(&mut payload);
            match op.map_err(|error| Error::peer(Refusal::Ops { error }))? {
                None => return Ok(()),
                Some(op) => {
                    if let Err(failure) = making.check(op) {
                        break failure;
                    }
                    for slice in op.slices(SLICE_LEN) {
                        if let Err(failure) = making.apply(slice) {
                            break 'ops failure;
                        }
                        incoming.unheard_len += slice.output_len();
                        if incoming.unheard_len >= SLICE_LEN {
                            incoming.unheard_len = 0;
                            work::did(SLICE_LEN);
                            // Nothing is read meanwhile, but pings reach a sender that is there.
                            self.outbox.state().check()?;
                        }
                    }
                }
            }
        };
        self.spoil(failure)
    }

    fn spoil(&mut self, failure: PatchError) -> Result<(), Error> {
        let Some(incoming) = &mut self.incoming else {
            return Ok(());
        };
        // A basis that was truncated or replaced after it was signed: not the sender's fault.
        let retry = matches!(
            failure,
            PatchError::Basis { .. } | PatchError::CopyOutOfBasis { .. }
        );
        let spoiled = FileState::Spoiled { retry };
        let FileState::Writing { place, .. } = std::mem::replace(&mut incoming.state, spoiled)
        else {
            return Ok(());
        };
        let (dir, number) = (incoming.dir, incoming.entry);
        let state = self.take_dir(dir)?;
        let entry = file_entry(&state, dir, number)?;
        let result = match failure {
            PatchError::Output(e) => {
                let path = state.path.join(&entry.name);
                self.failed(&state, &entry, &place, &path, &e)
            }
            PatchError::OutputTooLong { len, more, max } => {
                Err(Error::peer(Refusal::FileLen { len, more, max }))
            }
            PatchError::HoleInCopy => Err(Error::peer(Refusal::HoleInCopy)),
            PatchError::Basis { .. } | PatchError::CopyOutOfBasis { .. } => {
                discard(&state, &entry, &place);
                Ok(())
            }
        };
        self.dirs.insert(dir, state)?;
        result
    }

    /// The file is complete, or was given up by the sender.
    pub(super) fn file_end(&mut self, sum: Option<Sum>) -> Result<(), Error> {
        let incoming = self
            .incoming
            .take()
            .ok_or_else(|| Error::peer(Refusal::EndWithoutFile))?;
        let (dir, number, delta) = (incoming.dir, incoming.entry, incoming.delta);
        let mut state = self.take_dir(dir)?;
        let right = self.end_file(&mut state, incoming, sum)?;
        if let Some(sum) = sum {
            if !right && !delta {
                let name = file_entry(&state, dir, number)?.name;
                let path = self.shown(&state.path.join(&name));
                let sum = blake3::Hash::from(sum).to_string();
                return Err(Error::peer(Refusal::FileSum { path, sum }));
            }
            if delta {
                let (entry, settled) = (number, right);
                self.say(&if settled {
                    ToSender::Settled { dir, entry }
                } else {
                    // The basis changed meanwhile, or sums collided: now it is sent whole.
                    if let Some(wanted) = state.wanted.known_mut(entry) {
                        wanted.delta = false;
                    }
                    ToSender::Again { dir, entry }
                })?;
            }
        }
        self.keep_if_awaited(dir, state)
    }

    /// Completes or drops the file. `false` if its content came out wrong.
    fn end_file(
        &mut self,
        state: &mut DirState,
        incoming: Incoming,
        sum: Option<Sum>,
    ) -> Result<bool, Error> {
        let Incoming {
            dir,
            entry: number,
            since,
            state: file_state,
            ..
        } = incoming;
        let entry = file_entry(state, dir, number)?;
        let path = state.path.join(&entry.name);
        let (making, place) = match file_state {
            FileState::Writing { making, place } => (making, place),
            FileState::Spoiled { retry } => {
                if !retry && sum.is_some() {
                    state.wanted.remove(number);
                }
                return Ok(!retry);
            }
        };
        let Some(sum) = sum else {
            // The sender has given it up, or begins it again.
            discard(state, &entry, &place);
            return Ok(true);
        };
        match making.finish() {
            Ok((made, file)) if *made.sum.as_bytes() == sum => {
                let wanted = state.wanted.remove(number);
                self.complete(state, &entry, file, since, &place, wanted)?;
                Ok(true)
            }
            Err(PatchError::Output(e)) => {
                state.wanted.remove(number);
                self.failed(state, &entry, &place, &path, &e)?;
                Ok(true)
            }
            Ok(_) | Err(_) => {
                discard(state, &entry, &place);
                Ok(false)
            }
        }
    }

    /// Ends the file that is arriving, which will not become whole. Where it is, and where it
    /// belongs, if that is not in a new directory and `keeps` lets it stay.
    pub(super) fn end_incoming(
        &mut self,
        keeps: impl Fn(&File, &Entry) -> bool,
    ) -> Option<(Slot, RelPath)> {
        let Incoming {
            dir, entry, state, ..
        } = self.incoming.take()?;
        let FileState::Writing { place, making } = state else {
            return None;
        };
        // What it holds back is written, or lost.
        drop(making);
        let state = self.dirs.get(dir)?;
        let entry = file_entry(state, dir, entry).ok()?;
        let file = match (&place, &state.phase) {
            (Place::Alone(staged), _) => open_file(staged.stage.fd(), &staged.name),
            (Place::InNewDir, Phase::New { fd, .. }) => open_file(fd, &entry.name),
            (Place::InNewDir, _) => return None,
        };
        if !file.is_ok_and(|file| keeps(&file, &entry)) {
            discard(state, &entry, &place);
            return None;
        }
        match place {
            Place::Alone(staged) => Some((staged.slot(), state.path.join(&entry.name))),
            Place::InNewDir => None,
        }
    }

    /// The sender cannot read this file: whatever the target has stays.
    pub(super) fn file_skipped(&mut self, dir: DirIndex, entry: u32) -> Result<(), Error> {
        let mut state = self.take_dir(dir)?;
        let wanted = state.wanted.remove(entry);
        if wanted.is_none() && !matches!(state.phase, Phase::Failed) {
            return Err(not_awaited(dir));
        }
        if wanted.as_ref().is_some_and(|wanted| wanted.delta)
            && let Some(bases) = &self.bases
        {
            bases.used((dir, entry));
        }
        if let Some(copy) = wanted.and_then(|wanted| wanted.copy) {
            copy.discard();
        }
        self.keep_if_awaited(dir, state)
    }

    pub(super) fn keep_if_awaited(&mut self, dir: DirIndex, state: DirState) -> Result<(), Error> {
        let is_judged = matches!(state.phase, Phase::Judged | Phase::Dropped);
        if !is_judged || !state.wanted.is_empty() {
            self.dirs.insert(dir, state)?;
        }
        Ok(())
    }
}

/// The announced entry of that position, which must be a regular file.
pub(super) fn file_entry(state: &DirState, dir: DirIndex, number: u32) -> Result<Entry, Error> {
    let entry = state.position(number).and_then(|at| state.entries.get(at));
    entry
        .filter(|entry| matches!(entry.body, Body::File { .. }))
        .ok_or_else(|| not_awaited(dir))
}

/// Removes what was written of a file; staging is cleaned at the end anyway.
fn discard(state: &DirState, entry: &Entry, place: &Place) {
    let _ = match (place, &state.phase) {
        (Place::Alone(staged), _) => unlinkat(&*staged.stage, &*staged.name, AtFlags::empty()),
        (Place::InNewDir, Phase::New { fd, .. }) => unlinkat(fd, &*entry.name, AtFlags::empty()),
        (Place::InNewDir, _) => Ok(()),
    };
}
