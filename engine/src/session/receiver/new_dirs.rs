//! Directories that the target lacks: made in staging with everything directly in them, and put in
//! place when complete. Their subdirectories follow the same way, into the directory then in place.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, mkdirat, openat};

use super::content::file_entry;
use super::dirs::{DirState, Phase};
use super::pending_links::PendingLink;
use super::verdicts::not_awaited;
use super::wanted::Wanted;
use super::{Receiver, ends_push};
use crate::apply::create_node;
use crate::change::{Link, Over, Staged};
use crate::entry::{Body, Entry};
use crate::error::{Error, ErrorKind};
use crate::fs::{Attrs, set_fd_attrs};
use crate::path::RelPath;
use crate::refusal::Refusal;
use crate::wire::DirIndex;

impl Receiver {
    /// A directory that the target lacks, or another part of its entries.
    pub(super) fn new_dir(
        &mut self,
        dir: DirIndex,
        parent: DirIndex,
        name: &[u8],
        entries: Vec<Entry>,
        last: bool,
    ) -> Result<(), Error> {
        let mut state = match self.dirs.remove(dir) {
            Some(state) => state,
            None => {
                if self.open_new_dir.replace(dir).is_some() {
                    return Err(Error::peer(Refusal::NewDirInNewDir { dir }));
                }
                let path = match self.lacking.remove(dir) {
                    Some(path) => {
                        self.new_ancestors = vec![(dir, path.clone())];
                        path
                    }
                    None => Self::path_below(&mut self.new_ancestors, dir, parent, name)?,
                };
                self.begin_new_dir(path)?
            }
        };
        self.toll.announced(&entries);
        let first = state.announce(dir, entries, last, self.fields.powers)?;
        let announced = std::mem::take(&mut state.entries);
        let mut fresh = announced.walk_from(first);
        let mut numbers = u32::try_from(first).unwrap_or(u32::MAX)..;
        while let Some((entry, number)) = fresh.next().zip(numbers.next()) {
            self.new_entry(&mut state, entry, number)?;
        }
        state.entries = announced;
        self.dirs.insert(dir, state)?;
        Ok(())
    }

    fn begin_new_dir(&mut self, path: RelPath) -> Result<DirState, Error> {
        let Some((staged, fd, attrs)) = self.stage_announced(&path)? else {
            return Ok(DirState::new(path, Phase::Failed));
        };
        let mut state = DirState::new(path, Phase::New { staged, fd, attrs });
        let setgid = attrs.mode.is_some_and(|mode| mode & 0o2000 != 0);
        if setgid {
            state.inherited_gid = attrs
                .gid
                .or_else(|| Some(rustix::process::getegid().as_raw()));
        }
        Ok(state)
    }

    /// Stages the directory at `path` as it was announced. `None` if that fails for it alone.
    pub(super) fn stage_announced(
        &mut self,
        path: &RelPath,
    ) -> Result<Option<(Staged, OwnedFd, Attrs)>, Error> {
        let Some(entry) = self.new_dirs.take(path) else {
            return self.dir_vanished(path).map(|()| None);
        };
        match self.stage_dir(path, &entry) {
            Err(e) if ends_push(&e) => Err(e),
            Err(e) => {
                self.warn(e.message)?;
                Ok(None)
            }
            Ok(staged) => Ok(Some(staged)),
        }
    }

    fn dir_vanished(&self, path: &RelPath) -> Result<(), Error> {
        let shown = self.shown(path);
        self.warn(format!(
            "directory {shown} vanished on the target while it was compared; push again"
        ))
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
        let inherited = self.inherited_gid(&parent)?;
        let judge = self.judge_in(&parent);
        let attrs = judge.made_attrs(&self.ids, entry, None, inherited);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = mkdirat(&*staged.stage, &*staged.name, Mode::RWXU)
            .and_then(|()| openat(&*staged.stage, &*staged.name, flags, Mode::empty()))
            .map_err(|e| {
                let what = format_args!("make directory {} on the target", self.shown(path));
                Error::file(what, &e.into())
            })?;
        Ok((staged, fd, attrs))
    }

    /// An entry of a new directory: what has no content is made at once.
    fn new_entry(&mut self, state: &mut DirState, entry: &Entry, number: u32) -> Result<(), Error> {
        let Phase::New { fd, .. } = &state.phase else {
            return Ok(());
        };
        if entry.link_to.is_some() {
            self.pend_link(&state.path, entry);
            return Ok(());
        }
        match entry.body {
            Body::Unmirrored(_) => Ok(()),
            Body::File { .. } => {
                state.wanted.insert(number, Wanted::default());
                Ok(())
            }
            Body::Dir => self.new_dirs.add(&state.path, entry, true),
            _ => {
                let attrs = self.judge_in(&state.path).made_attrs(
                    &self.ids,
                    entry,
                    None,
                    state.inherited_gid,
                );
                let Err(e) = create_node(fd, &entry.name, entry, &attrs) else {
                    return Ok(());
                };
                let path = state.path.join(&entry.name);
                let e = Error::file(format_args!("make {} on the target", self.shown(&path)), &e);
                if ends_push(&e) {
                    Err(e)
                } else {
                    self.warn(e.message)
                }
            }
        }
    }

    /// All content of a new directory has arrived, apart from what comes later: it can be seen.
    pub(super) fn new_dir_done(&mut self, dir: DirIndex) -> Result<(), Error> {
        let state = self.dirs.remove(dir).ok_or_else(|| not_awaited(dir))?;
        let is_complete = state.all_announced;
        self.open_new_dir.take_if(|open| *open == dir);
        match state.phase {
            Phase::New { .. } if is_complete && !state.wanted.is_empty() => {
                let count = state.wanted.len();
                let first = format!("content of directory {}", self.shown(&state.path));
                Err(Error::peer(Refusal::Outstanding { count, first }))
            }
            Phase::New { staged, fd, attrs } if is_complete => {
                self.place_dir(&state.path, staged, fd, attrs)
            }
            Phase::Failed if is_complete => Ok(()),
            _ => Err(not_awaited(dir)),
        }
    }

    /// The target has the content of this file under another name.
    pub(super) fn link_first(&mut self, dir: DirIndex, entry: u32, to: &[u8]) -> Result<(), Error> {
        let mut state = self.take_dir(dir)?;
        let name = file_entry(&state, dir, entry)?.name;
        let wanted = state.wanted.remove(entry).ok_or_else(|| not_awaited(dir))?;
        let first = RelPath::parse(to).map_err(|error| Error::peer(Refusal::LinkTo { error }))?;
        let path = state.path.clone();
        let failed = matches!(state.phase, Phase::Failed | Phase::Dropped);
        self.keep_if_awaited(dir, state)?;
        if failed {
            return Ok(());
        }
        if wanted.in_the_way {
            // Made with the other links, once the directory is gone; those lead to this one.
            self.link_later(&path.join(&name));
            let link = PendingLink {
                first,
                dir: path,
                name,
            };
            self.links.push_first(link);
            return Ok(());
        }
        self.commit()?.link(Link {
            first,
            judged: None,
            dir: path,
            name,
            over: Over::default(),
        })
    }

    pub(super) fn place_dir(
        &mut self,
        path: &RelPath,
        staged: Staged,
        fd: OwnedFd,
        attrs: Attrs,
    ) -> Result<(), Error> {
        let mut now = Attrs {
            mtime: None,
            ..attrs
        };
        if let Some(mode) = attrs.mode
            && self.commit()?.needs_more(mode)
        {
            // Its own subdirectories have still to be put into it.
            now.mode = Some(mode | 0o700);
        }
        let fd = File::from(fd);
        if let Err(e) = set_fd_attrs(&fd, &now) {
            let what = format_args!("set the metadata of {} on the target", self.shown(path));
            self.warn(Error::file(what, &e).message)?;
        }
        let commit = self.commit()?;
        commit.place_dir(staged, &fd.into(), path, &attrs, Over::default())
    }

    /// Makes the directories that were announced and whose entries never came: mount points under
    /// `-x`, and those that were here when they were compared.
    pub(super) fn make_bare_dirs(&mut self) -> Result<(), Error> {
        while let Some((path, entry)) = self.new_dirs.pop() {
            if !self.options.one_file_system {
                self.dir_vanished(&path)?;
            }
            self.commit()?.run()?;
            match self.stage_dir(&path, &entry) {
                Ok((staged, fd, attrs)) => self.place_dir(&path, staged, fd, attrs)?,
                Err(e) if e.kind == ErrorKind::FileIo => self.warn(e.message)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
