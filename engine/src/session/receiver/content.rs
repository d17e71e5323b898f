//! Content arriving: packs of small files, ops of large ones, and whole new directories. Each file
//! is staged and its sum checked before it is handed to the commit.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};

use super::dirs::{DirState, Phase, Wanted};
use super::verdicts::not_awaited;
use super::{Receiver, ends_push};
use crate::apply::{FileSink, create_file, create_node};
use crate::commit::{Intent, Staged};
use crate::delta::{Basis, OpDecoder, PatchError, Patcher};
use crate::entry::{Body, Entry, Sum, Time};
use crate::error::{Error, ErrorKind};
use crate::fs::{Attrs, set_fd_attrs};
use crate::path::{RelPath, Shown};
use crate::source::open_file;
use crate::wire::{DirIndex, PackedFile, ToSender, parse_pack};

/// A large file on its way.
pub(super) struct Incoming {
    dir: DirIndex,
    entry: u32,
    mtime: Option<Time>,
    /// It is being made from a basis: the sender waits to hear how it ended.
    delta: bool,
    decoder: OpDecoder,
    state: FileState,
}

enum FileState {
    Writing {
        patcher: Box<Patcher<MaybeBasis, FileSink>>,
        place: Place,
    },
    /// It cannot become right any more; its ops are dropped. With `retry`, the whole is asked for.
    Spoiled { retry: bool },
}

/// Where a file is being made.
enum Place {
    /// In staging, to be put under its name by itself.
    Alone(Staged),
    /// In a staged directory, under its own name already.
    InNewDir,
}

/// The basis of a delta; without one no copy can succeed.
struct MaybeBasis(Option<File>);

impl Basis for MaybeBasis {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        match &self.0 {
            Some(file) => Basis::read_exact_at(file, buffer, offset),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Receiver {
    /// Whole small files of one directory.
    pub(super) fn pack(&mut self, payload: &[u8]) -> Result<(), Error> {
        let (dir, files) = parse_pack(payload)?;
        let mut state = self.dirs.remove(&dir).ok_or_else(|| not_awaited(dir))?;
        for file in files {
            self.packed_file(dir, &mut state, &file?)?;
        }
        self.keep_if_awaited(dir, state);
        Ok(())
    }

    fn packed_file(
        &mut self,
        dir: DirIndex,
        state: &mut DirState,
        file: &PackedFile<'_>,
    ) -> Result<(), Error> {
        let entry = file_entry(state, dir, file.entry)?.clone();
        if *blake3::hash(file.content).as_bytes() != file.sum {
            let path = state.path.join(&entry.name);
            return Err(Error::peer(format_args!(
                "a wrong sum for {}",
                Shown(path.shown())
            )));
        }
        let path = state.path.join(&entry.name);
        let Some((sink, place, wanted)) = self.open_sink(dir, state, file.entry, &entry)? else {
            return Ok(());
        };
        let mut sink = sink;
        let written = sink
            .write_content(file.content)
            .and_then(|()| sink.finish());
        match written {
            Ok(made) => self.complete(state, &entry, made, file.mtime, &place, wanted),
            Err(e) => self.failed(state, &entry, &place, &path, &e),
        }
    }

    /// Makes the file that content goes to. `None` if that fails for this entry alone.
    fn open_sink(
        &mut self,
        dir: DirIndex,
        state: &mut DirState,
        number: u32,
        entry: &Entry,
    ) -> Result<Option<(FileSink, Place, Option<Wanted>)>, Error> {
        let sparse = self.options.sparse;
        let made = match &state.phase {
            Phase::Failed => return Ok(None),
            Phase::Differs { .. } => return Err(not_awaited(dir)),
            Phase::New { fd, .. } => create_file(fd, &entry.name)
                .map(|file| (file, Place::InNewDir, None))
                .map_err(|e| (e, "make")),
            Phase::Judged => {
                let wanted = state
                    .wanted
                    .remove(&number)
                    .ok_or_else(|| not_awaited(dir))?;
                if wanted.delta
                    && let Some(signer) = &self.signer
                {
                    signer.used(dir, number);
                }
                let staged = match self.commit()?.stage_for(&state.path) {
                    Err(e) if ends_push(&e) => return Err(e),
                    Err(e) => {
                        self.warn(e.message)?;
                        return Ok(None);
                    }
                    Ok(staged) => staged,
                };
                create_file(&*staged.stage, &staged.name)
                    .map(|file| (file, Place::Alone(staged), Some(wanted)))
                    .map_err(|e| (e, "stage"))
            }
        };
        match made {
            Ok((file, place, wanted)) => Ok(Some((FileSink::new(file, sparse), place, wanted))),
            Err((e, what)) => {
                let path = state.path.join(&entry.name);
                let e = Error::file(
                    format_args!("{what} {} on the target", Shown(path.shown())),
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

    /// The content is right: set the metadata, and hand the file to the commit.
    fn complete(
        &mut self,
        state: &DirState,
        entry: &Entry,
        file: File,
        mtime: Option<Time>,
        place: &Place,
        wanted: Option<Wanted>,
    ) -> Result<(), Error> {
        let (local, in_the_way) = wanted.map_or((None, false), |w| (w.local, w.in_the_way));
        let mut attrs =
            self.judge()
                .made_attrs(&self.ids, entry, local.as_ref(), state.inherited_gid);
        if let (Some(time), Some(changed)) = (&mut attrs.mtime, mtime) {
            *time = changed;
        }
        let path = state.path.join(&entry.name);
        if let Err(e) = set_fd_attrs(&file, &attrs) {
            let what = format_args!("set the metadata of {} on the target", Shown(path.shown()));
            self.warn(Error::file(what, &e).message)?;
        }
        drop(file);
        let Place::Alone(staged) = place else {
            return Ok(());
        };
        let staged = staged.clone();
        if in_the_way {
            self.in_the_way.push((path, Some(staged)));
            return Ok(());
        }
        let (dir, name) = (state.path.clone(), entry.name.clone());
        let place = Intent::Place {
            staged,
            dir,
            name,
            is_dir: false,
            over_tree: false,
        };
        self.commit()?.add(place)
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
        let e = Error::file(
            format_args!("write {} on the target", Shown(path.shown())),
            e,
        );
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
        mtime: Option<Time>,
    ) -> Result<(), Error> {
        if self.incoming.is_some() {
            return Err(Error::peer("a file within another"));
        }
        let mut state = self.dirs.remove(&dir).ok_or_else(|| not_awaited(dir))?;
        let announced = file_entry(&state, dir, entry)?.clone();
        let delta = state.wanted.get(&entry).is_some_and(|wanted| wanted.delta);
        let opened = self.open_sink(dir, &mut state, entry, &announced)?;
        let file_state = match opened {
            None => FileState::Spoiled { retry: false },
            Some((sink, place, wanted)) => {
                let basis = wanted.as_ref().filter(|wanted| wanted.delta).and_then(|_| {
                    let dir = self.root.as_ref()?.open_dir(&state.path).ok()?;
                    open_file(&dir, &announced.name).ok()
                });
                let basis_len = basis
                    .as_ref()
                    .and_then(|file| file.metadata().ok())
                    .map_or(0, |m| m.len());
                if let Some(wanted) = wanted {
                    state.wanted.insert(
                        entry,
                        Wanted {
                            delta: false,
                            ..wanted
                        },
                    );
                }
                let patcher = Patcher::new(MaybeBasis(basis), basis_len, sink, len);
                FileState::Writing {
                    patcher: Box::new(patcher),
                    place,
                }
            }
        };
        self.dirs.insert(dir, state);
        let decoder = OpDecoder::default();
        self.incoming = Some(Incoming {
            dir,
            entry,
            mtime,
            delta,
            decoder,
            state: file_state,
        });
        Ok(())
    }

    /// Ops of the file that has begun.
    pub(super) fn data(&mut self, mut payload: &[u8]) -> Result<(), Error> {
        let incoming = self
            .incoming
            .as_mut()
            .ok_or_else(|| Error::peer("ops without a file"))?;
        let FileState::Writing { patcher, .. } = &mut incoming.state else {
            return Ok(());
        };
        let failure = loop {
            match incoming.decoder.next(&mut payload).map_err(Error::peer)? {
                None => return Ok(()),
                Some(op) => {
                    if let Err(failure) = patcher.apply(op) {
                        break failure;
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
        let state = self.dirs.remove(&dir).ok_or_else(|| not_awaited(dir))?;
        let entry = file_entry(&state, dir, number)?.clone();
        let result = match failure {
            PatchError::Output(e) => {
                let path = state.path.join(&entry.name);
                self.failed(&state, &entry, &place, &path, &e)
            }
            PatchError::OutputTooLong { .. } => Err(Error::peer(failure)),
            PatchError::Basis { .. } | PatchError::CopyOutOfBasis { .. } => {
                discard(&state, &entry, &place);
                Ok(())
            }
        };
        self.dirs.insert(dir, state);
        result
    }

    /// The file is complete, or was given up by the sender.
    pub(super) fn file_end(&mut self, sum: Option<Sum>) -> Result<(), Error> {
        let incoming = self
            .incoming
            .take()
            .ok_or_else(|| Error::peer("the end of no file"))?;
        let (dir, number, delta) = (incoming.dir, incoming.entry, incoming.delta);
        let mut state = self.dirs.remove(&dir).ok_or_else(|| not_awaited(dir))?;
        let right = self.end_file(&mut state, incoming, sum)?;
        if let Some(sum) = sum {
            if !right && !delta {
                let name = file_entry(&state, dir, number)?.name.clone();
                let path = state.path.join(&name);
                let sum = blake3::Hash::from(sum).to_hex();
                return Err(Error::peer(format_args!(
                    "{} has not the sum {sum}",
                    Shown(path.shown())
                )));
            }
            if delta {
                let (entry, settled) = (number, right);
                self.say(&if settled {
                    ToSender::Settled { dir, entry }
                } else {
                    // The basis changed meanwhile, or sums collided.
                    ToSender::Again { dir, entry }
                })?;
            }
        }
        self.keep_if_awaited(dir, state);
        Ok(())
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
            mtime,
            state: file_state,
            ..
        } = incoming;
        let entry = file_entry(state, dir, number)?.clone();
        let path = state.path.join(&entry.name);
        let (patcher, place) = match file_state {
            FileState::Writing { patcher, place } => (patcher, place),
            FileState::Spoiled { retry } => {
                if !retry {
                    state.wanted.remove(&number);
                }
                return Ok(!retry);
            }
        };
        let Some(sum) = sum else {
            // The sender has given it up, or begins it again.
            discard(state, &entry, &place);
            return Ok(true);
        };
        match patcher.finish() {
            Ok((made, sink)) if *made.sum.as_bytes() == sum => {
                let wanted = state.wanted.remove(&number);
                match sink.finish() {
                    Ok(file) => self.complete(state, &entry, file, mtime, &place, wanted)?,
                    Err(e) => self.failed(state, &entry, &place, &path, &e)?,
                }
                Ok(true)
            }
            Err(PatchError::Output(e)) => {
                state.wanted.remove(&number);
                self.failed(state, &entry, &place, &path, &e)?;
                Ok(true)
            }
            Ok(_) | Err(_) => {
                discard(state, &entry, &place);
                Ok(false)
            }
        }
    }

    /// The sender cannot read this file: whatever the target has stays.
    pub(super) fn file_skipped(&mut self, dir: DirIndex, entry: u32) -> Result<(), Error> {
        let mut state = self.dirs.remove(&dir).ok_or_else(|| not_awaited(dir))?;
        if state
            .wanted
            .remove(&entry)
            .is_some_and(|wanted| wanted.delta)
            && let Some(signer) = &self.signer
        {
            signer.used(dir, entry);
        }
        self.keep_if_awaited(dir, state);
        Ok(())
    }

    /// A directory that the target lacks, or another part of its entries.
    pub(super) fn new_dir(
        &mut self,
        dir: DirIndex,
        parent: DirIndex,
        name: &[u8],
        entries: Vec<Entry>,
        last: bool,
    ) -> Result<(), Error> {
        let mut state = match self.dirs.remove(&dir) {
            Some(state) => state,
            None => {
                let path = match self.lacking.remove(&dir) {
                    Some(path) => {
                        self.new_ancestors = vec![(dir, path.clone())];
                        path
                    }
                    None => Self::path_below(&mut self.new_ancestors, dir, parent, name)?,
                };
                self.begin_new_dir(path)?
            }
        };
        let first = state.announce(entries)?;
        let announced = std::mem::take(&mut state.entries);
        for entry in announced.get(first..).unwrap_or_default() {
            self.new_entry(&state, entry)?;
        }
        state.entries = announced;
        let _ = last;
        self.dirs.insert(dir, state);
        Ok(())
    }

    fn begin_new_dir(&mut self, path: RelPath) -> Result<DirState, Error> {
        let Some(entry) = self.new_dirs.remove(&path) else {
            let shown = Shown(path.shown());
            self.warn(format!(
                "directory {shown} vanished on the target while it was compared; push again"
            ))?;
            return Ok(DirState::new(path, Phase::Failed));
        };
        match self.stage_dir(&path, &entry) {
            Err(e) if ends_push(&e) => Err(e),
            Err(e) => {
                self.warn(e.message)?;
                Ok(DirState::new(path, Phase::Failed))
            }
            Ok((staged, fd, attrs)) => {
                let mut state = DirState::new(path, Phase::New { staged, fd, attrs });
                let setgid = attrs.mode.is_some_and(|mode| mode & 0o2000 != 0);
                if setgid && !self.options.group {
                    state.inherited_gid = attrs
                        .gid
                        .or_else(|| Some(rustix::process::getegid().as_raw()));
                }
                Ok(state)
            }
        }
    }

    /// Makes an empty directory in staging, private for now, and says what metadata it is to get.
    fn stage_dir(
        &mut self,
        path: &RelPath,
        entry: &Entry,
    ) -> Result<(Staged, OwnedFd, Attrs), Error> {
        let parent = path
            .split()
            .map_or_else(RelPath::root, |(parent, _)| parent);
        let staged = self.commit()?.stage_for(&parent)?;
        let inherited = self.inherited_gid(&parent);
        let attrs = self.judge().made_attrs(&self.ids, entry, None, inherited);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = mkdirat(&*staged.stage, &*staged.name, Mode::RWXU)
            .and_then(|()| openat(&*staged.stage, &*staged.name, flags, Mode::empty()))
            .map_err(|e| {
                let what = format_args!("make directory {} on the target", Shown(path.shown()));
                Error::file(what, &e.into())
            })?;
        Ok((staged, fd, attrs))
    }

    /// An entry of a new directory: what has no content is made at once.
    fn new_entry(&mut self, state: &DirState, entry: &Entry) -> Result<(), Error> {
        let Phase::New { fd, .. } = &state.phase else {
            return Ok(());
        };
        if entry.link_to.is_some() {
            self.pend_link(&state.path, entry);
            return Ok(());
        }
        match entry.body {
            Body::File { .. } | Body::Unmirrored(_) => Ok(()),
            Body::Dir => {
                self.new_dirs
                    .insert(state.path.join(&entry.name), entry.clone());
                Ok(())
            }
            _ => {
                let attrs = self
                    .judge()
                    .made_attrs(&self.ids, entry, None, state.inherited_gid);
                let Err(e) = create_node(fd, &entry.name, entry, &attrs) else {
                    return Ok(());
                };
                let path = state.path.join(&entry.name);
                let e = Error::file(
                    format_args!("make {} on the target", Shown(path.shown())),
                    &e,
                );
                if ends_push(&e) {
                    Err(e)
                } else {
                    self.warn(e.message)
                }
            }
        }
    }

    /// All content of a new directory has arrived: it can be seen.
    pub(super) fn new_dir_done(&mut self, dir: DirIndex) -> Result<(), Error> {
        let state = self.dirs.remove(&dir).ok_or_else(|| not_awaited(dir))?;
        match state.phase {
            Phase::New { staged, fd, attrs } => self.place_dir(state.path, staged, fd, attrs),
            Phase::Failed => Ok(()),
            Phase::Differs { .. } | Phase::Judged => Err(not_awaited(dir)),
        }
    }

    fn place_dir(
        &mut self,
        path: RelPath,
        staged: Staged,
        fd: OwnedFd,
        attrs: Attrs,
    ) -> Result<(), Error> {
        let mut now = Attrs {
            mtime: None,
            ..attrs
        };
        let privileged = self.privileged;
        let commit = self.commit()?;
        if let Some(time) = attrs.mtime {
            commit.set_dir_time(path.clone(), time);
        }
        if let Some(mode) = attrs
            .mode
            .filter(|mode| !privileged && mode & 0o700 != 0o700)
        {
            // Its own subdirectories have still to be put into it.
            commit.set_dir_mode(path.clone(), mode);
            now.mode = Some(mode | 0o700);
        }
        let Some((dir, name)) = path.split().map(|(dir, name)| (dir, name.to_vec())) else {
            return Err(Error::peer("a new root"));
        };
        if let Err(e) = set_fd_attrs(&File::from(fd), &now) {
            let what = format_args!("set the metadata of {} on the target", Shown(path.shown()));
            self.warn(Error::file(what, &e).message)?;
        }
        let place = Intent::Place {
            staged,
            dir,
            name,
            is_dir: true,
            over_tree: false,
        };
        self.commit()?.add(place)
    }

    /// Makes the directories that were announced and whose entries never came: mount points under
    /// `-x`, and those that the sender could not read.
    pub(super) fn make_bare_dirs(&mut self) -> Result<(), Error> {
        for (path, entry) in std::mem::take(&mut self.new_dirs) {
            self.commit()?.run()?;
            match self.stage_dir(&path, &entry) {
                Ok((staged, fd, attrs)) => self.place_dir(path, staged, fd, attrs)?,
                Err(e) if e.kind == ErrorKind::FileIo => self.warn(e.message)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn keep_if_awaited(&mut self, dir: DirIndex, state: DirState) {
        if !matches!(state.phase, Phase::Judged) || !state.wanted.is_empty() {
            self.dirs.insert(dir, state);
        }
    }
}

/// The announced entry of that position, which must be a regular file.
fn file_entry(state: &DirState, dir: DirIndex, number: u32) -> Result<&Entry, Error> {
    let entry = state.entries.get(number as usize);
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
