//! One cycle at a time: a lock in the node's state, with a note of who has it since when. It goes
//! with the process that holds it, however that ends.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use hasync_engine::{Attempt, Lock, StateDir};

use crate::exit::{self, Exit, Failure};
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
}

impl CycleLock {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(state: &Path) -> Result<Result<Self, Holder>, Failure> {
        take_in(state, "cycle.lock", Instant::now())
    }

    /// Takes the one place in the queue behind it, or says who has that.
    pub(crate) fn queue(state: &Path) -> Result<Result<Self, Holder>, Failure> {
        take_in(state, "cycle.queue", Instant::now())
    }

    /// Waits for the lock until `deadline`.
    pub(crate) fn wait(state: &Path, deadline: Instant) -> Result<Result<Self, Holder>, Failure> {
        take_in(state, "cycle.lock", deadline)
    }
}

fn take_in(
    state: &Path,
    name: &str,
    deadline: Instant,
) -> Result<Result<CycleLock, Holder>, Failure> {
    let mut file = match StateDir::open(state)?.lock(name, deadline)? {
        Attempt::Taken(file) => file,
        Attempt::Held(mut file) => return Ok(Err(holder(&mut file))),
    };
    let note = format!("{} {}\n", std::process::id(), memory::now());
    let noted = file.rewind().and_then(|()| file.set_len(0));
    let noted = noted.and_then(|()| file.write_all(note.as_bytes()));
    noted.map_err(|cause| {
        let (state, cause) = (state.display(), exit::cause(&cause));
        Failure::new(
            Exit::FileIo,
            format!("cannot write {state}/{name}: {cause}"),
        )
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
    let age = since.map_or(0, |since| memory::now().saturating_sub(since));
    Holder {
        pid,
        age: Duration::from_secs(age),
    }
}
