//! Reading directories before they are asked for, on threads of their own. Both sides of a push
//! go through their tree in the same order, so what comes next is known as soon as a directory has
//! been read; and nearly all the time that a scan takes is the kernel's, whose work on one
//! directory does not wait for that on another.
//!
//! Memory: the names of directories expected, and [`HELD_MAX`] entries besides the directory that
//! comes next, however large it is.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::fs::{Listing, Root, take_own_place};
use crate::names::Names;
use crate::path::RelPath;
use crate::reader::Reader;

/// Entries read and not taken beyond which nothing more is begun.
const HELD_MAX: usize = 65_536;

/// What a directory counts besides its entries.
const DIR_COST: usize = 16;

/// Directories on one level that are read and not taken.
const AHEAD_MAX: usize = 16;

/// Threads at most: file systems gain little from more, and disks on which everything must be
/// looked for are kept busy by these.
const THREADS_MAX: usize = 4;

/// Directories in the order of the walk through a tree, some of them read already.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    threads_max: usize,
}

#[derive(Debug)]
struct Shared {
    reader: Reader,
    state: Mutex<State>,
    /// There may be something to do for a thread.
    work: Condvar,
    /// A directory that is waited for may have been read.
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What is expected, the next on top. Only the top may be empty.
    levels: Vec<Level>,
    readings: HashMap<u64, Reading>,
    next_id: u64,
    /// Entries in all readings, and [`DIR_COST`] for each.
    held: usize,
    /// The reading that is waited for.
    wanted: Option<u64>,
    idle: usize,
    /// Threads in mid-directory that wait for room.
    stalled: usize,
    closed: bool,
}

/// Subdirectories of one directory that have not been taken.
#[derive(Debug)]
struct Level {
    root: Arc<Root>,
    on_disk: RelPath,
    path: RelPath,
    /// The first of them: being read, or read.
    begun: VecDeque<(Vec<u8>, u64)>,
    names: Names,
}

/// A directory in the hands of a thread, or read. Once it is not expected any more, it is gone.
#[derive(Debug)]
struct Reading {
    held: usize,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Pending,
    /// `None` if it could not be read: whoever takes it sees why.
    Read(Option<Box<Listing>>),
}

/// What a thread is to read.
struct Task {
    id: u64,
    root: Arc<Root>,
    on_disk: RelPath,
    path: RelPath,
}

impl ReadAhead {
    pub(crate) fn new(reader: Reader) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut ahead = ReadAhead::without_threads(reader);
        ahead.threads_max = cores.min(THREADS_MAX);
        ahead
    }

    /// Everything is read by whoever asks.
    pub(crate) fn without_threads(reader: Reader) -> Self {
        ReadAhead {
            shared: Arc::new(Shared {
                reader,
                state: Mutex::default(),
                work: Condvar::new(),
                news: Condvar::new(),
            }),
            threads: Vec::new(),
            threads_max: 0,
        }
    }

    /// The directory at `path` will be asked for before anything that is below those expected so
    /// far: its subdirectories of these names will, in this order.
    pub(crate) fn expect(
        &mut self,
        root: &Arc<Root>,
        on_disk: &RelPath,
        path: &RelPath,
        names: Names,
    ) {
        if names.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        state.drop_spent();
        state.levels.push(Level {
            root: Arc::clone(root),
            on_disk: on_disk.clone(),
            path: path.clone(),
            begun: VecDeque::new(),
            names,
        });
        let needs_thread = self.shared.nudge(&state, AHEAD_MAX);
        drop(state);
        if needs_thread {
            self.add_thread();
        }
    }

    fn add_thread(&mut self) {
        if self.threads.len() < self.threads_max {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().spawn(move || shared.run());
            // Without it everything is read by whoever asks.
            self.threads.extend(thread);
        }
    }

    /// The entries of the directory at `on_disk`, which the filter knows as `path`. What was
    /// expected before it is expected no longer.
    pub(crate) fn read(
        &mut self,
        root: &Root,
        on_disk: &RelPath,
        path: &RelPath,
    ) -> io::Result<Listing> {
        match self.take(path) {
            Some(listing) => Ok(listing),
            None => {
                let reader = &self.shared.reader;
                reader.read(root, on_disk, path, &mut |_| true)
            }
        }
    }

    /// The entries of a directory that has been asked for before. What is expected stays so.
    pub(crate) fn read_again(&self, root: &Root, path: &RelPath) -> io::Result<Listing> {
        self.shared.reader.read(root, path, path, &mut |_| true)
    }

    fn take(&mut self, path: &RelPath) -> Option<Listing> {
        let mut state = self.shared.lock();
        state.wanted = state.reach(path);
        // Not for each directory: waking a thread costs as much as reading a small one.
        if self.shared.nudge(&state, AHEAD_MAX / 2) {
            drop(state);
            self.add_thread();
            state = self.shared.lock();
        }
        let id = state.wanted?;
        let is_pending = |state: &mut State| {
            let reading = state.readings.get(&id);
            reading.is_some_and(|reading| matches!(reading.outcome, Outcome::Pending))
        };
        let waited = self.shared.news.wait_while(state, is_pending);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.wanted = None;
        let reading = state.forget(id)?;
        if state.stalled > 0 {
            self.shared.work.notify_all();
        }
        match reading.outcome {
            Outcome::Read(listing) => listing.map(|listing| *listing),
            Outcome::Pending => None,
        }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.shared.lock().close();
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // It says nothing.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.work.wait(state);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever has something to do, if what is less than `ahead` away is to be begun.
    /// `true` if there is nobody.
    fn nudge(&self, state: &State, ahead: usize) -> bool {
        if state.stalled > 0 {
            self.work.notify_all();
        } else if state.has_due(ahead) {
            self.work.notify_one();
            return state.idle == 0;
        }
        false
    }

    /// What a thread does.
    fn run(&self) {
        take_own_place();
        while let Some(task) = self.next_task() {
            let mut go_on = |len| self.may_go_on(task.id, len);
            let listing = self
                .reader
                .read(&task.root, &task.on_disk, &task.path, &mut go_on)
                .ok();
            let mut state = self.lock();
            state.finish(task.id, listing);
            if state.wanted == Some(task.id) {
                self.news.notify_one();
            }
        }
    }

    fn next_task(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(task) = state.begin() {
                return Some(task);
            }
            state.idle += 1;
            state = self.wait(state);
            state.idle -= 1;
        }
    }

    /// Counts `len` more entries of a reading; waits until there is room for them. `false` if
    /// nobody expects it any more.
    fn may_go_on(&self, id: u64, len: usize) -> bool {
        let mut state = self.lock();
        let Some(reading) = state.readings.get_mut(&id) else {
            return false;
        };
        reading.held += len;
        state.held += len;
        while state.held > HELD_MAX && state.readings.contains_key(&id) && !state.is_next(id) {
            state.stalled += 1;
            state = self.wait(state);
            state.stalled -= 1;
        }
        state.readings.contains_key(&id)
    }
}

impl State {
    /// Begins the first directory that nobody has begun, if there is room.
    fn begin(&mut self) -> Option<Task> {
        if self.held > HELD_MAX {
            return None;
        }
        let level = self.due(AHEAD_MAX)?;
        let (id, level) = (self.next_id, self.levels.get_mut(level)?);
        let name = level.names.pop()?;
        let task = Task {
            id,
            root: Arc::clone(&level.root),
            on_disk: level.on_disk.join(&name),
            path: level.path.join(&name),
        };
        level.begun.push_back((name, id));
        self.next_id += 1;
        self.held += DIR_COST;
        let reading = Reading {
            held: DIR_COST,
            outcome: Outcome::Pending,
        };
        self.readings.insert(id, reading);
        Some(task)
    }

    /// The level of the next directory that nobody has begun, if it is less than `ahead` away.
    fn due(&self, ahead: usize) -> Option<usize> {
        let mut begun = 0;
        for (at, level) in self.levels.iter().enumerate().rev() {
            begun += level.begun.len();
            if begun >= ahead {
                return None;
            }
            if !level.names.is_empty() {
                return Some(at);
            }
        }
        None
    }

    fn has_due(&self, ahead: usize) -> bool {
        self.held <= HELD_MAX && self.due(ahead).is_some()
    }

    /// Whether that reading is waited for, or will be before any other.
    fn is_next(&self, id: u64) -> bool {
        let first = self
            .levels
            .iter()
            .rev()
            .find_map(|level| level.begun.front());
        self.wanted == Some(id) || first.is_some_and(|&(_, first)| first == id)
    }

    fn finish(&mut self, id: u64, listing: Option<Listing>) {
        let Some(reading) = self.readings.get_mut(&id) else {
            return;
        };
        let held = DIR_COST + listing.as_ref().map_or(0, |listing| listing.entries.len());
        self.held = self.held - reading.held + held;
        *reading = Reading {
            held,
            outcome: Outcome::Read(listing.map(Box::new)),
        };
    }

    fn forget(&mut self, id: u64) -> Option<Reading> {
        let reading = self.readings.remove(&id)?;
        self.held -= reading.held;
        Some(reading)
    }

    /// Drops everything that is expected before `path`, and `path` itself. If that has been begun,
    /// this is its reading.
    fn reach(&mut self, path: &RelPath) -> Option<u64> {
        let (parent, name) = path.split().unwrap_or((RelPath::root(), b""));
        loop {
            let level = self.levels.last_mut()?;
            if level.path == parent {
                while let Some((begun, id)) = level.begun.front() {
                    let (order, id) = (begun.as_slice().cmp(name), *id);
                    if order == Ordering::Greater {
                        return None;
                    }
                    level.begun.pop_front();
                    if order == Ordering::Equal {
                        return Some(id);
                    }
                    // As in `forget`, while the level is at hand.
                    let reading = self.readings.remove(&id);
                    self.held -= reading.map_or(0, |reading| reading.held);
                }
                level.names.pass(name);
                return None;
            }
            if !level.is_over_before(path) {
                return None;
            }
            self.drop_top();
        }
    }

    /// Drops the top if everything there has been taken.
    fn drop_spent(&mut self) {
        let is_spent = |level: &Level| level.begun.is_empty() && level.names.is_empty();
        if self.levels.last().is_some_and(is_spent) {
            self.levels.pop();
        }
    }

    fn drop_top(&mut self) {
        let level = self.levels.pop();
        for (_, id) in level.into_iter().flat_map(|level| level.begun) {
            self.forget(id);
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.levels.clear();
        self.readings.clear();
    }
}

impl Level {
    /// Whether the walk has left this directory when it comes to `path`: that comes after all that
    /// is below here, or is this very directory or above it, where the walk begins anew.
    fn is_over_before(&self, path: &RelPath) -> bool {
        if self.path.is_within(path) {
            return true;
        }
        !path.is_within(&self.path) && self.path < *path
    }
}

#[cfg(test)]
mod tests;
