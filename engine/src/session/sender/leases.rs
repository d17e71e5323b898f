//! Files that somebody has a lease on, as Samba and knfsd take them. To open one asks for the lease
//! to be given up, within a time that the system sets: such files come last, when most are free,
//! and the rest is waited for, once for all of them together.

use std::fs::{File, Metadata};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::Sender;
use super::content::NotSent;
use super::deltas::Means;
use super::reading::{DirCache, FileSource};
use crate::error::Error;
use crate::observer::Warning;

/// Where the system says after how many seconds it takes a lease away.
const BREAK_TIME: &str = "/proc/sys/fs/lease-break-time";

/// What it is unless somebody has changed it, and the most that is waited for.
const BREAK_TIME_USUAL: Duration = Duration::from_secs(45);
const BREAK_TIME_MAX: Duration = Duration::from_secs(120);

/// A lease that is taken away by the system is free a little later than that.
const GRACE: Duration = Duration::from_secs(5);

/// Files that are put off.
#[derive(Default)]
pub(super) struct Leased {
    files: Vec<FileSource>,
    /// How much longer they are waited for, once that has begun.
    left: Option<Duration>,
}

impl Leased {
    pub(super) fn count(&self) -> usize {
        self.files.len()
    }
}

type Opened = io::Result<(File, Metadata)>;

impl Sender<'_> {
    /// Puts a file off until everything else has been sent.
    pub(super) fn put_off(&mut self, file: &FileSource) {
        // By itself, so that it does not keep the rest of its directory in the window.
        self.leased.files.extend(file.alone());
    }

    /// Holds the files that were put off since then back like first files of link groups, for a
    /// directory that is to be placed without them. Which entries are so in all, ascending.
    pub(super) fn put_aside(&mut self, since: usize, firsts: &[u32]) -> Vec<u32> {
        let mut later = firsts.to_vec();
        for file in self.leased.files.split_off(since) {
            later.push(file.number());
            self.links.hold(&file);
        }
        later.sort_unstable();
        later
    }

    /// Sends the files that were put off since then, as far as they can be had in time.
    pub(super) fn send_leased(&mut self, since: usize) -> Result<(), Error> {
        let files = self.leased.files.split_off(since);
        if files.is_empty() {
            return Ok(());
        }
        self.outbox.lock().flush()?;
        let opened = open_all(files.clone());
        for file in files {
            let left = self.leased.left.unwrap_or_else(|| break_time() + GRACE);
            let began = Instant::now();
            let next = opened.recv_timeout(left);
            self.leased.left = Some(left.saturating_sub(began.elapsed()));
            let result = match next {
                Ok(Ok((source, before))) => {
                    let means = Means::Opened(source, before);
                    self.try_send(&mut DirCache::default(), &file, &means)
                }
                Ok(Err(e)) => Err(NotSent::Source(file.unreadable(&e))),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    Err(NotSent::Leased)
                }
            };
            // Who takes a lease again and again is not waited for again and again.
            let result = result.map_err(|not_sent| match not_sent {
                NotSent::Leased => NotSent::Source(not_given_up(&file)),
                not_sent => not_sent,
            });
            self.sent(&file, result)?;
        }
        Ok(())
    }
}

fn not_given_up(file: &FileSource) -> Warning {
    file.warning(format_args!(
        "is under a lease that another program does not give up; the target keeps what it has, \
         push again later"
    ))
}

/// Opens all of them in a thread of its own, each when the one before has been taken.
fn open_all(files: Vec<FileSource>) -> Receiver<Opened> {
    let (opened, results) = sync_channel(0);
    std::thread::spawn(move || {
        let mut cache = DirCache::default();
        for file in &files {
            if opened.send(cache.open_waiting(file)).is_err() {
                return;
            }
        }
    });
    results
}

fn break_time() -> Duration {
    let text = std::fs::read_to_string(BREAK_TIME).unwrap_or_default();
    let secs = text.trim().parse().ok().map(Duration::from_secs);
    secs.unwrap_or(BREAK_TIME_USUAL).min(BREAK_TIME_MAX)
}
