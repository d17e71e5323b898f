//! One cycle at a time: a lock in the node's state, with a note of who has it since when. It goes
//! with the process that holds it, however that ends.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use hasync_engine::{Attempt, Lock, StateDir};

use crate::exit::Failure;
use crate::memory;

/// The right to run a cycle, until it is dropped.
#[derive(Debug)]
pub(crate) struct CycleLock(#[expect(dead_code, reason = "held")] Lock<File>);

/// Who has the lock.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    /// Its process; 0 if it has not said yet.
    pub(crate) pid: u32,
    /// For how long it has had it.
    pub(crate) age: Duration,
    /// It pushes a last time before this node is no primary any more.
    pub(crate) is_last_push: bool,
}

/// What the lock is taken for, in the note about it.
const CYCLE: &str = "cycle";
const LAST_PUSH: &str = "last-push";

impl CycleLock {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(state: &Path) -> Result<Result<Self, Holder>, Failure> {
        take_in(state, "cycle.lock", Instant::now(), CYCLE)
    }

    /// Takes the one place in the queue behind it, or says who has that.
    pub(crate) fn queue(state: &Path) -> Result<Result<Self, Holder>, Failure> {
        take_in(state, "cycle.queue", Instant::now(), CYCLE)
    }

    /// Waits for the lock until `deadline`.
    pub(crate) fn wait(state: &Path, deadline: Instant) -> Result<Result<Self, Holder>, Failure> {
        take_in(state, "cycle.lock", deadline, CYCLE)
    }

    /// The same for the last push.
    pub(crate) fn wait_for_last_push(
        state: &Path,
        deadline: Instant,
    ) -> Result<Result<Self, Holder>, Failure> {
        take_in(state, "cycle.lock", deadline, LAST_PUSH)
    }
}

fn take_in(
    state: &Path,
    name: &str,
    deadline: Instant,
    purpose: &str,
) -> Result<Result<CycleLock, Holder>, Failure> {
    let mut file = match StateDir::open(state)?.lock(name, deadline)? {
        Attempt::Taken(file) => file,
        Attempt::Held(mut file) => return Ok(Err(holder(&mut file))),
    };
    let note = format!("{} {} {purpose}\n", std::process::id(), memory::now());
    let noted = file.rewind().and_then(|()| file.set_len(0));
    let noted = noted.and_then(|()| file.write_all(note.as_bytes()));
    noted.map_err(|cause| {
        let state = state.display();
        Failure::cannot(format!("write {state}/{name}"), &cause)
    })?;
    Ok(Ok(CycleLock(file)))
}

fn holder(file: &mut File) -> Holder {
    let mut note = String::new();
    // Who cannot be read is somebody all the same.
    let _ = file.take(100).read_to_string(&mut note);
    let mut words = note.split_whitespace();
    let pid = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let since: Option<u64> = words.next().and_then(|word| word.parse().ok());
    let is_last_push = words.next() == Some(LAST_PUSH);
    let age = since.map_or(0, |since| memory::now().saturating_sub(since));
    Holder {
        pid,
        age: Duration::from_secs(age),
        is_last_push,
    }
}
