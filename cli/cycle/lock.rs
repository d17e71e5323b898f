//! One cycle at a time: a lock in the node's state, with a note of who has it since when. It goes
//! with the process that holds it, however that ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hasync_engine::escape;
use rustix::fs::{FlockOperation, flock};

use crate::exit::{self, Exit, Failure};
use crate::memory;

/// How often a lock that somebody has is tried again.
const POLL: Duration = Duration::from_millis(50);

/// The right to run a cycle, until it is dropped.
#[derive(Debug)]
pub(crate) struct CycleLock(#[expect(dead_code, reason = "held")] File);

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
        take_in(state, "cycle.lock")
    }

    /// Takes the one place in the queue behind it, or says who has that.
    pub(crate) fn queue(state: &Path) -> Result<Result<Self, Holder>, Failure> {
        take_in(state, "cycle.queue")
    }

    /// Waits for the lock until `deadline`, without one for as long as it takes.
    pub(crate) fn wait(
        state: &Path,
        deadline: Option<Instant>,
    ) -> Result<Result<Self, Holder>, Failure> {
        loop {
            match CycleLock::take(state)? {
                Ok(lock) => return Ok(Ok(lock)),
                Err(holder) if deadline.is_some_and(|at| Instant::now() >= at) => {
                    return Ok(Err(holder));
                }
                Err(_) => thread::sleep(POLL),
            }
        }
    }
}

fn take_in(state: &Path, name: &str) -> Result<Result<CycleLock, Holder>, Failure> {
    let path = state.join(name);
    let cannot = |cause: std::io::Error| {
        let (name, cause) = (
            escape(path.as_os_str().as_encoded_bytes()),
            exit::cause(&cause),
        );
        Failure::new(Exit::FileIo, format!("cannot lock {name}: {cause}"))
    };
    std::fs::create_dir_all(state).map_err(cannot)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&path).map_err(cannot)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            let note = format!("{} {}\n", std::process::id(), memory::now());
            let noted = file.rewind().and_then(|()| file.set_len(0));
            noted
                .and_then(|()| file.write_all(note.as_bytes()))
                .map_err(cannot)?;
            Ok(Ok(CycleLock(file)))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Err(holder(&mut file))),
        Err(cause) => Err(cannot(cause.into())),
    }
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
