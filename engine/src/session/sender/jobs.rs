//! What a sender has done beside it, because it can take long.

use super::deltas::{Compared, DeltaTask};
use super::event::{Event, JobEvent};
use super::reading::{DirCache, FileSource, Key};
use super::scanning::{Found, Scan};
use crate::session::drive;

pub(in crate::session) enum Job {
    Scan(Box<Scan>),
    /// Opens a file that somebody has a lease on.
    Open(FileSource),
    /// Takes in what has been said about a basis.
    Prepare(Box<DeltaTask>),
    /// Sums a source, while the receiver sums its basis.
    Sum(Key, Box<Compared>),
}

impl drive::Job for Job {
    type Event = Event;

    fn step(self) -> (Event, Option<Self>) {
        let (event, rest) = match self {
            Job::Scan(mut scan) => match scan.step() {
                Found::Dir(held) => (JobEvent::Scanned(held), Some(Job::Scan(scan))),
                Found::Full => (JobEvent::ScanPaused(scan), None),
                Found::All => (JobEvent::ScanDone, None),
            },
            Job::Open(file) => {
                let opened = DirCache::default().open_waiting(&file);
                (JobEvent::Opened(opened), None)
            }
            Job::Prepare(task) => (JobEvent::Prepared(Box::new(task.next())), None),
            Job::Sum(file, mut compared) => {
                compared.sum_ahead();
                (JobEvent::Summed(file, compared), None)
            }
        };
        (Event::Job(event), rest)
    }
}
