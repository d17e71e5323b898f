//! Opening directories deep down at the cost of any other. Those in which a piece of a path begins
//! are held open, some of them, and the next directory is opened from the closest one: whoever
//! walks through a tree passes over each component of its way a bounded number of times.
//!
//! What is held is the directory that was found by that path. If somebody moves it, it is still
//! that one, as any descriptor is.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::root::{DIR_FLAGS, PATH_FLAGS, open_beneath, open_itself};
use super::walk::{Follow, Led, PathCause, follow_from};
use crate::path::RelPath;

/// Descriptors that are held below one directory.
const HELD_MAX: usize = 16;

/// Directories below another that are held open, the one used last at the end.
#[derive(Debug, Default)]
pub(crate) struct DeepDirs {
    held: Mutex<VecDeque<(RelPath, Arc<OwnedFd>)>>,
    /// Symlinks that are followed, if any are.
    follow: OnceLock<Follow>,
}

impl DeepDirs {
    /// Opens those that symlinks lead to as well.
    pub(super) fn set_follow(&self, follow: Follow) {
        // It is said once, before anything is opened.
        let _ = self.follow.set(follow);
    }

    pub(super) fn follow(&self) -> Option<Follow> {
        self.follow.get().copied()
    }

    /// Opens the directory at `path` below `top` for reading.
    pub(crate) fn open(&self, top: &OwnedFd, path: &RelPath) -> io::Result<OwnedFd> {
        match path.last_piece() {
            (None, b"") => Ok(open_itself(top)?),
            (None, piece) => self.open_piece(top, piece, DIR_FLAGS),
            (Some(begin), piece) => {
                let dir = self.hold(top, begin)?;
                self.open_piece(&dir, piece, DIR_FLAGS)
            }
        }
    }

    fn open_piece(&self, at: &OwnedFd, piece: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        match (open_beneath(at, piece, flags), self.follow()) {
            // A kernel may say either of a symlink.
            (Err(e @ (Errno::LOOP | Errno::NOTDIR)), Some(follow)) => {
                match follow_from(at, piece, follow) {
                    Ok(Led::Dir(dir)) => Ok(dir),
                    Ok(Led::Other(..)) => Err(e.into()),
                    Err(why) => match (follow, &why.cause) {
                        (_, PathCause::Io(_)) | (Follow::Trusted | Follow::Any, _) => {
                            Err(why.into())
                        }
                        // It is in the way like any other symlink.
                        (Follow::Beneath | Follow::Never, _) => Err(e.into()),
                    },
                }
            }
            (opened, _) => Ok(opened?),
        }
    }

    /// What is at `path` and below is about to be another directory.
    pub(crate) fn forget(&self, path: &RelPath) {
        self.lock().retain(|(held, _)| !held.is_within(path));
    }

    fn hold(&self, top: &OwnedFd, path: &RelPath) -> io::Result<Arc<OwnedFd>> {
        let mut missing = Vec::new();
        let mut above = Some(path);
        let mut closest = None;
        while let Some(path) = above {
            closest = self.find(path);
            if closest.is_some() {
                break;
            }
            missing.push(path);
            above = path.last_piece().0;
        }
        for path in missing.into_iter().rev() {
            let at = closest.as_deref().unwrap_or(top);
            let dir = Arc::new(self.open_piece(at, path.last_piece().1, PATH_FLAGS)?);
            self.keep(path.clone(), Arc::clone(&dir));
            closest = Some(dir);
        }
        closest.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn find(&self, path: &RelPath) -> Option<Arc<OwnedFd>> {
        let mut held = self.lock();
        let at = held.iter().rposition(|(held, _)| held == path)?;
        let (path, dir) = held.remove(at)?;
        held.push_back((path, Arc::clone(&dir)));
        Some(dir)
    }

    fn keep(&self, path: RelPath, dir: Arc<OwnedFd>) {
        let mut held = self.lock();
        if held.len() >= HELD_MAX {
            held.pop_front();
        }
        held.push_back((path, dir));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(RelPath, Arc<OwnedFd>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
