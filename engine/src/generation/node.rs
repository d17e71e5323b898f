//! A node's record about a tree, in `<state directory>/trees/<tree>/`: on another file system than
//! the data where the admin likes.
//!
//! Locks are taken in this order, and whoever needs a later one alone takes that alone: the session
//! lock (one push or undo of a tree at a time), the lock on the files themselves, the commit lock
//! (the record, and from journal to head), the lock of the store beside the data. Which verb takes
//! which:
//!
//! | verb | session | files | commit and store |
//! |---|---|---|---|
//! | push, on the sender | from begin to end | while it reads, if there is one | for each step |
//! | push, on the receiver | from begin to end | during the commit | at the begin, then the same |
//! | undo, restore | from begin to end | from begin to end | from begin to end |
//! | promote, demote, adopt, rejoin, recover | | if a commit was cut off | throughout |
//! | compare, dry run | a dry run of a push | while it reads | at the begin |
//! | status, log | | | |

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::record::{self, RecordKind};
use crate::error::{Error, ErrorKind};
use crate::fs::{Lock, Memory};
use crate::history::store::{log_once, read_log};
use crate::lineage::generation::Generation;
use crate::lineage::record::NodeRecord;
use crate::state::{Attempt, StateDir};

const NODE: RecordKind = RecordKind {
    letters: *b"ND",
    name: "node",
};

const ALIKE: RecordKind = RecordKind {
    letters: *b"AL",
    name: "attributes",
};

/// How long a commit is waited for: whoever takes over has to get on.
pub(crate) const COMMIT_WAIT: Duration = Duration::from_secs(60);

/// The place of a node's record about one tree.
#[derive(Debug)]
pub(crate) struct Node {
    /// Missing where nothing has been written yet, and only looked at.
    dir: Option<StateDir>,
    tree: String,
}

/// The record, while nobody else can change it.
#[derive(Debug)]
pub(crate) struct Locked {
    node: Node,
    record: NodeRecord,
    _lock: Lock<File>,
}

/// Held by a push, so that a tree is pushed, or received, by one at a time.
#[derive(Debug)]
pub(crate) struct SessionLock(#[expect(dead_code, reason = "held")] Lock<File>);

impl Node {
    /// Opens the place of `tree` in the state directory, making what is missing.
    pub(crate) fn open(state_dir: &Path, tree: &str) -> Result<Self, Error> {
        let dir = StateDir::open(state_dir)?.sub("trees")?.sub(tree)?;
        Ok(Node {
            dir: Some(dir),
            tree: tree.to_owned(),
        })
    }

    /// Opens it without making or locking anything.
    pub(crate) fn look(state_dir: &Path, tree: &str) -> Result<Self, Error> {
        let trees = match StateDir::look(state_dir)? {
            Some(top) => top.look_sub("trees")?,
            None => None,
        };
        Ok(Node {
            dir: trees.map_or(Ok(None), |trees| trees.look_sub(tree))?,
            tree: tree.to_owned(),
        })
    }

    /// What the record says at this moment.
    pub(crate) fn read(&self) -> Result<NodeRecord, Error> {
        let Some(dir) = &self.dir else {
            return Ok(NodeRecord::default());
        };
        let record = record::read(dir, NODE).map_err(|e| self.cannot("read", &e))?;
        Ok(record.unwrap_or_default())
    }

    /// Waits for the commit lock, as long as a commit may take, and reads the record.
    pub(crate) fn lock(self) -> Result<Locked, Error> {
        let lock = self.take("commit.lock", COMMIT_WAIT)?.ok_or_else(|| {
            let (tree, seconds) = (&self.tree, COMMIT_WAIT.as_secs());
            let message = format!(
                "another process has been changing the records of tree {tree} for {seconds} s; \
                 try again when it is done"
            );
            Error::new(ErrorKind::Locked, message)
        })?;
        Ok(Locked {
            record: self.read()?,
            node: self,
            _lock: lock,
        })
    }

    /// Takes the session lock, if nobody has it.
    pub(crate) fn lock_session(&self) -> Result<SessionLock, Error> {
        let lock = self.take("session.lock", Duration::ZERO)?;
        lock.map(SessionLock).ok_or_else(|| {
            let message = format!(
                "another push of tree {} is running on this node; try again when it is done",
                self.tree
            );
            Error::new(ErrorKind::Locked, message)
        })
    }

    /// The generations that this node made as primary or sent, oldest first.
    pub(crate) fn log(&self) -> Result<Vec<Generation>, Error> {
        let Some(dir) = &self.dir else {
            return Ok(Vec::new());
        };
        read_log(dir.as_fd()).map_err(|e| self.cannot("read the log in", &e))
    }

    /// What is remembered of the tree's attributes. It can be found again: a damaged record is as
    /// good as none.
    pub(super) fn remembered(&self) -> Memory {
        let dir = self.dir.as_ref();
        let read = dir.and_then(|dir| record::read(dir, ALIKE).ok().flatten());
        read.unwrap_or_default()
    }

    /// Keeps it for the next push.
    pub(super) fn remember(&self, memory: &Memory) -> io::Result<()> {
        let dir = self.dir.as_ref();
        dir.map_or(Ok(()), |dir| record::write(dir, ALIKE, memory))
    }

    fn take(&self, name: &str, wait: Duration) -> Result<Option<Lock<File>>, Error> {
        Ok(match self.dir()?.lock(name, Instant::now() + wait)? {
            Attempt::Taken(lock) => Some(lock),
            Attempt::Held(_) => None,
        })
    }

    fn dir(&self) -> Result<&StateDir, Error> {
        let missing = || self.cannot("use", &io::ErrorKind::NotFound.into());
        self.dir.as_ref().ok_or_else(missing)
    }

    fn cannot(&self, verb: &str, e: &io::Error) -> Error {
        Error::file(format_args!("{verb} the state of tree {}", self.tree), e)
    }
}

impl Locked {
    pub(crate) fn record(&self) -> &NodeRecord {
        &self.record
    }

    /// Changes the record by one step. It is on disk when this returns, if it changed.
    pub(crate) fn step<T>(&mut self, step: impl FnOnce(&mut NodeRecord) -> T) -> Result<T, Error> {
        let mut next = self.record.clone();
        let outcome = step(&mut next);
        if next != self.record {
            let node = &self.node;
            record::write(node.dir()?, NODE, &next).map_err(|e| node.cannot("write", &e))?;
            self.record = next;
        }
        Ok(outcome)
    }

    /// Adds to the log what this node made as primary or sent.
    pub(crate) fn log_once(&self, generation: &Generation) -> Result<(), Error> {
        let node = &self.node;
        log_once(node.dir()?.as_fd(), generation).map_err(|e| node.cannot("write the log of", &e))
    }

    pub(crate) fn log(&self) -> Result<Vec<Generation>, Error> {
        self.node.log()
    }
}
