//! What a sender is told: by the receiver, and by the jobs that it has had done.

use std::io;

use super::deltas::{Compared, Next};
use super::reading::{FileSource, Key, Opened};
use super::scanning::Scan;
use crate::error::Error;
use crate::session::window::HeldDir;
use crate::wire::{DirIndex, ToSender};

pub(in crate::session) enum Event {
    Message(ToSender),
    /// A piece of what the receiver says about a basis.
    Exchange {
        dir: DirIndex,
        entry: u32,
        last: bool,
        bytes: Vec<u8>,
    },
    /// Nothing more can be read, and why.
    LinkEnd(Error),
    /// Nothing more can be written. What the receiver said before may still be read.
    LinkBroken(Error),
    Job(JobEvent),
}

/// What has come of a job.
pub(in crate::session) enum JobEvent {
    Scanned(Box<HeldDir>),
    /// There is no room for more, for the time being.
    ScanPaused(Box<Scan>),
    ScanDone,
    /// A file that somebody had a lease on.
    Opened(io::Result<Opened>),
    /// What is to be done about a basis.
    Prepared(Box<(FileSource, Result<Next, Error>)>),
    /// The source has been summed, to be compared with an answer.
    Summed(Key, Box<Compared>),
}
