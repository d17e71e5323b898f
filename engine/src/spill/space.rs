//! The file that bytes are spilled to: in extents that are given out, taken back and used again.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind};
use crate::path::Shown;

/// Where the file goes if nobody says otherwise.
const DIR: &str = "/var/tmp";

/// One file without a name, opened when it is needed first.
#[derive(Debug)]
pub(crate) struct Space {
    len_max: u64,
    extent_len: usize,
    state: Mutex<State>,
    /// There is something to be said.
    has_failed: AtomicBool,
}

#[derive(Debug)]
struct State {
    dirs: Vec<PathBuf>,
    file: Option<Arc<File>>,
    /// The directory in which it is, or should be.
    dir: Option<PathBuf>,
    /// Extents that have been in use.
    len: u32,
    /// Those of them that are not.
    free: Vec<u32>,
    failure: Option<Error>,
}

impl Space {
    pub(crate) const fn new(len_max: u64, extent_len: usize) -> Self {
        Space {
            len_max,
            extent_len,
            state: Mutex::new(State {
                dirs: Vec::new(),
                file: None,
                dir: None,
                len: 0,
                free: Vec::new(),
                failure: None,
            }),
            has_failed: AtomicBool::new(false),
        }
    }

    /// The unit in which bytes go to the file.
    pub(super) fn extent_len(&self) -> usize {
        self.extent_len
    }

    pub(super) fn set_dirs(&self, dirs: Vec<PathBuf>) {
        self.lock().dirs = dirs;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self) -> io::Result<Arc<File>> {
        self.lock().open()
    }

    /// What has gone wrong since this was asked last.
    pub(super) fn check(&self) -> Result<(), Error> {
        if !self.has_failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut state = self.lock();
        // Under the lock: another failure may be about to be kept.
        self.has_failed.store(false, Ordering::Release);
        state.failure.take().map_or(Ok(()), Err)
    }

    /// Keeps an extent. `None` if that fails, which [`check`](Self::check) tells.
    pub(super) fn put(&self, bytes: &[u8]) -> Option<u32> {
        let (file, extent) = self.take()?;
        let at = u64::from(extent) * self.extent_len as u64;
        match file.write_all_at(bytes, at) {
            Ok(()) => Some(extent),
            Err(e) => {
                self.fail("write", &e);
                self.give_back(&[extent]);
                None
            }
        }
    }

    /// An extent that nobody uses.
    fn take(&self) -> Option<(Arc<File>, u32)> {
        let mut state = self.lock();
        let file = match state.open() {
            Ok(file) => file,
            Err(e) => {
                drop(state);
                self.fail("make", &e);
                return None;
            }
        };
        if let Some(extent) = state.free.pop() {
            return Some((file, extent));
        }
        let extent = state.len;
        if (u64::from(extent) + 1) * self.extent_len as u64 > self.len_max {
            let e = too_long(self.len_max, &state.dir.clone().unwrap_or_default());
            drop(state);
            self.keep(e);
            return None;
        }
        state.len += 1;
        Some((file, extent))
    }

    pub(super) fn give_back(&self, extents: &[u32]) {
        if extents.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.free.extend(extents);
        if state.free.len() == state.len as usize {
            state.free = Vec::new();
            state.len = 0;
            // The disk may well be needed by now. If it cannot be had back, it is in the end.
            let _ = state.file.as_ref().map(|file| file.set_len(0));
        }
    }

    /// Fills `buffer` from the file; `false` if that fails.
    pub(super) fn read(&self, at: u64, buffer: &mut [u8]) -> bool {
        self.with_file("read", |file| file.read_exact_at(buffer, at))
    }

    pub(super) fn change(&self, at: u64, bytes: &[u8]) -> bool {
        self.with_file("write", |file| file.write_all_at(bytes, at))
    }

    fn with_file(&self, verb: &str, act: impl FnOnce(&File) -> io::Result<()>) -> bool {
        let file = self.lock().file.clone();
        let done = file.ok_or_else(|| io::ErrorKind::NotFound.into());
        let done = done.and_then(|file| act(&file));
        done.map_err(|e| self.fail(verb, &e)).is_ok()
    }

    /// Length of the file.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        let file = self.lock().file.clone();
        file.map_or(0, |file| file.metadata().map_or(0, |found| found.len()))
    }

    #[cfg(test)]
    pub(super) fn use_file(&self, file: File) {
        self.lock().file = Some(Arc::new(file));
    }

    fn fail(&self, verb: &str, cause: &io::Error) {
        let dir = self.lock().dir.clone().unwrap_or_default();
        let shown = Shown(dir.as_os_str().as_bytes());
        let failure = Error::file(format_args!("{verb} a temporary file in {shown}"), cause);
        self.keep(Error {
            message: format!("{}; TMPDIR names another place", failure.message),
            ..failure
        });
    }

    /// The first failure is the one that is told.
    fn keep(&self, failure: Error) {
        let mut state = self.lock();
        state.failure.get_or_insert(failure);
        self.has_failed.store(true, Ordering::Release);
    }
}

impl State {
    fn open(&mut self) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        if self.dirs.is_empty() {
            self.dirs.push(DIR.into());
        }
        let mut failed = None;
        for dir in &self.dirs {
            match tempfile::tempfile_in(dir) {
                Ok(file) => {
                    self.dir = Some(dir.clone());
                    return Ok(Arc::clone(self.file.insert(Arc::new(file))));
                }
                Err(e) if failed.is_none() => {
                    self.dir = Some(dir.clone());
                    failed = Some(e);
                }
                // The place that was wished for is the one that is told.
                Err(_) => {}
            }
        }
        Err(failed.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }
}

fn too_long(len_max: u64, dir: &Path) -> Error {
    let (gib, shown) = (len_max >> 30, Shown(dir.as_os_str().as_bytes()));
    let message = format!(
        "cannot write more than {gib} GiB to the temporary file in {shown}: push fewer files at \
         once"
    );
    Error::new(ErrorKind::NoSpace, message)
}
