//! Content arriving: packs of small files and ops of large ones. Each file is staged and its sum
//! checked before it is handed to the commit.

use std::fs::File;
use std::sync::Arc;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::arrived::{Arrived, Place};
use super::deltas::{Exchanges, Making, MaybeBasis, open_basis};
use super::dir::{Dir, Goes, New, not_awaited};
use super::dirs::Dirs;
use super::door;
use super::removals::Removals;
use super::site::Site;
use crate::apply::{FileSink, create_file};
use crate::change::Slot;
use crate::delta::{OpDecoder, PatchError, Patcher};
use crate::entry::{Entry, Sum};
use crate::error::{Error, is_no_space};
use crate::history::Interrupted;
use crate::path::RelPath;
use crate::refusal::Refusal;
use crate::session::bases::{Bases, FileKey};
use crate::since::Since;
use crate::source::open_file;
use crate::wire::{DirIndex, PackedFile, ToSender, parse_pack};
use crate::work;

/// Bytes of the result that are made at once, by ops that say much in few bytes.
const SLICE_LEN: u64 = 64 << 20;

/// Content on its way, and the bases that it may be made from.
pub(super) struct Content {
    pub(super) exchanges: Exchanges,
    incoming: Option<Incoming>,
}

/// A large file that begins.
pub(super) struct Begin {
    pub(super) file: FileKey,
    pub(super) len: u64,
    pub(super) since: Since,
}

/// A large file on its way.
pub(super) struct Incoming {
    file: FileKey,
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
    /// It cannot be made here; its ops are dropped.
    Dropped,
    /// Its basis is not what it was; its ops are dropped, and the whole is asked for.
    Astray,
}

/// How a file ended.
enum Outcome {
    /// Nothing more is to be said of it.
    Settled,
    /// Its content came out wrong.
    Wrong,
}

impl Content {
    pub(super) fn new(bases: Option<Bases>) -> Self {
        Content {
            exchanges: Exchanges::new(bases),
            incoming: None,
        }
    }

    /// A large file begins.
    pub(super) fn begin(
        &mut self,
        site: &mut Site,
        dirs: &mut Dirs,
        left: &Interrupted,
        Begin { file, len, since }: Begin,
    ) -> Result<(), Error> {
        if self.incoming.is_some() {
            return Err(Error::peer(Refusal::FileInFile));
        }
        since.check(site.rules.fields.powers).map_err(Error::peer)?;
        let (dir, number) = file;
        let state = dirs.take_for_content(dir)?;
        let entry = state.list().file(dir, number)?;
        let wanted = state.list().wanted.get(number);
        let wanted = wanted.filter(|wanted| wanted.delta);
        let basis = wanted.and_then(|wanted| {
            self.exchanges.used(file);
            open_basis(&site.door, left, state.list(), &entry, &wanted)
        });
        let writing = match self.exchanges.take_copy(file, basis.as_ref(), len) {
            Some((making, staged)) => {
                let place = Place::Alone(staged);
                FileState::Writing { making, place }
            }
            None => begin_anew(site, &state, file, &entry, basis, len)?,
        };
        dirs.put(dir, state)?;
        self.incoming = Some(Incoming {
            file,
            since,
            delta: wanted.is_some(),
            decoder: OpDecoder::default(),
            unheard_len: 0,
            state: writing,
        });
        Ok(())
    }

    /// Ops of the file that has begun.
    pub(super) fn data(
        &mut self,
        site: &mut Site,
        dirs: &Dirs,
        mut payload: &[u8],
    ) -> Result<(), Error> {
        let incoming = self.incoming.as_mut();
        let incoming = incoming.ok_or_else(|| Error::peer(Refusal::OpsWithoutFile))?;
        let FileState::Writing { making, .. } = &mut incoming.state else {
            return Ok(());
        };
        let failure = 'ops: loop {
            let op = incoming.decoder.next(&mut payload);
            let Some(op) = op.map_err(|error| Error::peer(Refusal::Ops { error }))? else {
                return Ok(());
            };
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
                    site.voice.outbox.state().check()?;
                }
            }
        };
        incoming.spoil(site, dirs, failure)
    }

    /// The file is complete, or was given up by the sender.
    pub(super) fn end(
        &mut self,
        site: &mut Site,
        dirs: &mut Dirs,
        removals: &mut Removals,
        sum: Option<Sum>,
    ) -> Result<(), Error> {
        let incoming = self.incoming.take();
        let incoming = incoming.ok_or_else(|| Error::peer(Refusal::EndWithoutFile))?;
        let ((dir, entry), delta) = (incoming.file, incoming.delta);
        let mut state = dirs.take_for_content(dir)?;
        let Some(sum) = sum else {
            incoming.give_up(&state)?;
            return dirs.put(dir, state);
        };
        match incoming.end(site, &mut state, removals, sum)? {
            Outcome::Settled if delta => site.say(&ToSender::Settled { dir, entry })?,
            Outcome::Settled => {}
            Outcome::Wrong if delta => {
                // The basis changed meanwhile, or sums collided: now it is sent whole.
                state.list_mut().wanted.ask_for_whole(entry);
                site.say(&ToSender::Again { dir, entry })?;
            }
            Outcome::Wrong => {
                let list = state.list();
                let name = list.file(dir, entry)?.name;
                let path = site.door.shown(&list.path.join(&name));
                let sum = blake3::Hash::from(sum).to_string();
                return Err(Error::peer(Refusal::FileSum { path, sum }));
            }
        }
        dirs.put(dir, state)
    }

    /// The sender cannot read this file: whatever the target has stays.
    pub(super) fn skipped(&mut self, dirs: &mut Dirs, file: FileKey) -> Result<(), Error> {
        let (dir, number) = file;
        let mut state = dirs.take_for_content(dir)?;
        match state.list_mut().wanted.remove(number) {
            None if matches!(&state, Dir::New(New { begun: None, .. })) => {}
            None => return Err(not_awaited(dir)),
            Some(wanted) => {
                if wanted.delta {
                    self.exchanges.used(file);
                }
                self.exchanges.drop_copy(file);
            }
        }
        dirs.put(dir, state)
    }

    /// Ends the file that is arriving, which will not become whole. Where it is, and where it
    /// belongs, if that is not in a new directory and `keeps` lets it stay.
    pub(super) fn break_off(
        &mut self,
        dirs: &Dirs,
        keeps: impl Fn(&File, &Entry) -> bool,
    ) -> Option<(Slot, RelPath)> {
        let Incoming {
            file: (dir, number),
            state: FileState::Writing { place, making },
            ..
        } = self.incoming.take()?
        else {
            return None;
        };
        // What it holds back is written, or lost.
        drop(making);
        let state = dirs.get(dir)?;
        let entry = state.list().file(dir, number).ok()?;
        let file = match (&place, state) {
            (Place::Alone(staged), _) => open_file(staged.stage.fd(), &staged.name),
            (
                Place::Within,
                Dir::New(New {
                    begun: Some(begun), ..
                }),
            ) => open_file(&begun.fd, &entry.name),
            (Place::Within, _) => return None,
        };
        if !file.is_ok_and(|file| keeps(&file, &entry)) {
            discard(state, &entry, &place);
            return None;
        }
        match place {
            Place::Alone(staged) => Some((staged.slot(), state.list().path.join(&entry.name))),
            Place::Within => None,
        }
    }
}

impl Incoming {
    /// It cannot become right any more.
    fn spoil(&mut self, site: &mut Site, dirs: &Dirs, failure: PatchError) -> Result<(), Error> {
        // The whole may find room, where something gives way to it.
        let gives_way = self.delta && site.rules.options.atomic;
        let is_full = gives_way && matches!(&failure, PatchError::Output(e) if is_no_space(e));
        let spoiled = match failure {
            // A basis that was truncated or replaced after it was signed: not the sender's fault.
            PatchError::Basis { .. } | PatchError::CopyOutOfBasis { .. } => FileState::Astray,
            _ if is_full => FileState::Astray,
            _ => FileState::Dropped,
        };
        let (dir, number) = self.file;
        let state = dirs.get(dir).ok_or_else(|| not_awaited(dir))?;
        let entry = state.list().file(dir, number)?;
        if let FileState::Writing { place, .. } = std::mem::replace(&mut self.state, spoiled) {
            discard(state, &entry, &place);
        }
        match failure {
            _ if is_full => Ok(()),
            PatchError::Output(e) => {
                let path = state.list().path.join(&entry.name);
                site.not_written(&path, entry.len(), &e)
            }
            PatchError::OutputTooLong { len, more, max } => {
                Err(Error::peer(Refusal::FileLen { len, more, max }))
            }
            PatchError::HoleInCopy => Err(Error::peer(Refusal::HoleInCopy)),
            PatchError::Basis { .. } | PatchError::CopyOutOfBasis { .. } => Ok(()),
        }
    }

    /// The sender has given it up, or begins it again.
    fn give_up(self, state: &Dir) -> Result<(), Error> {
        let (dir, number) = self.file;
        let entry = state.list().file(dir, number)?;
        if let FileState::Writing { place, .. } = self.state {
            discard(state, &entry, &place);
        }
        Ok(())
    }

    /// All its ops have come.
    fn end(
        self,
        site: &mut Site,
        state: &mut Dir,
        removals: &mut Removals,
        sum: Sum,
    ) -> Result<Outcome, Error> {
        let (dir, number) = self.file;
        let entry = state.list().file(dir, number)?;
        let (making, place) = match self.state {
            FileState::Writing { making, place } => (making, place),
            FileState::Dropped => {
                state.list_mut().wanted.remove(number);
                return Ok(Outcome::Settled);
            }
            FileState::Astray => return Ok(Outcome::Wrong),
        };
        match making.finish() {
            Ok((made, file)) if *made.sum.as_bytes() == sum => {
                let wanted = state.list_mut().wanted.remove(number);
                let list = state.list();
                let arrived = Arrived {
                    wanted: wanted.unwrap_or_default(),
                    dir: &list.path,
                    inherited: list.inherited,
                    entry: &entry,
                    file,
                    since: self.since,
                    place,
                };
                arrived.settle(site, removals, |place| discard(state, &entry, place))?;
            }
            Err(PatchError::Output(e)) => {
                state.list_mut().wanted.remove(number);
                discard(state, &entry, &place);
                site.not_written(&state.list().path.join(&entry.name), entry.len(), &e)?;
            }
            Ok(_) | Err(_) => {
                discard(state, &entry, &place);
                return Ok(Outcome::Wrong);
            }
        }
        Ok(Outcome::Settled)
    }
}

/// Whole small files of one directory.
pub(super) fn pack(
    site: &mut Site,
    dirs: &mut Dirs,
    removals: &mut Removals,
    payload: &[u8],
) -> Result<(), Error> {
    let (dir, files) = parse_pack(payload)?;
    let mut state = dirs.take_for_content(dir)?;
    for file in files {
        packed_file(site, removals, dir, &mut state, &file?)?;
    }
    dirs.put(dir, state)
}

fn packed_file(
    site: &mut Site,
    removals: &mut Removals,
    dir: DirIndex,
    state: &mut Dir,
    file: &PackedFile<'_>,
) -> Result<(), Error> {
    let entry = state.list().file(dir, file.entry)?;
    let opened = open_sink(site, state, (dir, file.entry), &entry)?;
    let wanted = state.list_mut().wanted.remove(file.entry);
    let Some((mut sink, place)) = opened else {
        return Ok(());
    };
    let written = sink.write_content(file.content);
    match written.and_then(|()| sink.finish()) {
        Ok(made) => {
            let list = state.list();
            let arrived = Arrived {
                dir: &list.path,
                inherited: list.inherited,
                entry: &entry,
                file: made,
                since: file.mtime.map_or(Since::Same, Since::Touched),
                place,
                wanted: wanted.unwrap_or_default(),
            };
            arrived.settle(site, removals, |place| discard(state, &entry, place))
        }
        Err(e) => {
            discard(state, &entry, &place);
            site.not_written(&state.list().path.join(&entry.name), entry.len(), &e)
        }
    }
}

/// Begins to make a file front to back.
fn begin_anew(
    site: &mut Site,
    state: &Dir,
    file: FileKey,
    entry: &Entry,
    basis: Option<File>,
    len: u64,
) -> Result<FileState, Error> {
    match open_sink(site, state, file, entry)? {
        None => Ok(FileState::Dropped),
        Some((sink, place)) if !sink.can_hold(len) => {
            discard(state, entry, &place);
            let path = state.list().path.join(&entry.name);
            site.failed("write", &path, &Errno::FBIG.into())?;
            Ok(FileState::Dropped)
        }
        Some((sink, place)) => {
            let metadata = basis.as_ref().and_then(|file| file.metadata().ok());
            let basis_len = metadata.map_or(0, |metadata| metadata.len());
            let patcher = Patcher::new(MaybeBasis(basis), basis_len, sink, len);
            let making = Making::Streamed(Box::new(patcher));
            Ok(FileState::Writing { making, place })
        }
    }
}

/// Makes the file that content goes to. `None` if that fails for this entry alone.
fn open_sink(
    site: &mut Site,
    state: &Dir,
    (dir, number): FileKey,
    entry: &Entry,
) -> Result<Option<(FileSink, Place)>, Error> {
    let room = Arc::clone(&site.door.real()?.room);
    let (made, doing) = match state.goes(dir, number)? {
        Goes::Dropped => return Ok(None),
        Goes::Within(fd) => {
            let file = room.with(|| create_file(fd, &entry.name, entry.mode));
            (file.map(|file| (file, Place::Within)), "make")
        }
        Goes::Alone => {
            let staged = site.door.real()?.commit.stage_for(&state.list().path);
            let Some(staged) = site.unless_fatal(staged)? else {
                return Ok(None);
            };
            let make = || create_file(&*staged.stage, &staged.name, entry.mode);
            let file = room.with(make);
            (file.map(|file| (file, Place::Alone(staged))), "stage")
        }
    };
    match made {
        Ok((file, place)) => {
            let sink = FileSink::new(file, site.rules.options.sparse, room);
            Ok(Some((sink, place)))
        }
        Err(e) => {
            site.failed(doing, &state.list().path.join(&entry.name), &e)?;
            Ok(None)
        }
    }
}

/// Removes what was written of a file; staging is cleaned at the end anyway.
fn discard(state: &Dir, entry: &Entry, place: &Place) {
    match (place, state) {
        (Place::Alone(staged), _) => door::remove(staged),
        (
            Place::Within,
            Dir::New(New {
                begun: Some(begun), ..
            }),
        ) => {
            let _ = unlinkat(&begun.fd, &*entry.name, AtFlags::empty());
        }
        (Place::Within, _) => {}
    }
}
