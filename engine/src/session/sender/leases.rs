//! Files that somebody has a lease on, as Samba and knfsd take them. To open one asks for the lease
//! to be given up, within a time that the system sets: such files come last, when most are free,
//! and the rest is waited for, once for all of them together. Whatever is free after that is sent.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::Sender;
use super::deltas::Means;
use super::jobs::Job;
use super::long_file::LongFile;
use super::not_sent::NotSent;
use super::reading::{DirCache, FileSource, Opened};
use crate::error::Error;

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
    files: VecDeque<FileSource>,
    /// How much longer they are waited for, once that has begun.
    left: Option<Duration>,
    wait: Wait,
}

/// What is being done about the first of them.
#[derive(Default)]
enum Wait {
    #[default]
    Nothing,
    Opening {
        since: Instant,
        until: Instant,
    },
    /// There is no time left: what cannot be opened at once is not waited for.
    Over,
}

impl Leased {
    pub(super) fn count(&self) -> usize {
        self.files.len()
    }

    /// Until when one is waited for.
    pub(super) fn until(&self) -> Option<Instant> {
        match self.wait {
            Wait::Opening { until, .. } => Some(until),
            Wait::Nothing | Wait::Over => None,
        }
    }
}

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

    /// Everything else has been sent: sends the files that were put off, as far as they can be had
    /// in time. `false` if there is nothing to be done, or nothing but to wait.
    pub(super) fn send_leased(&mut self, now: Instant) -> Result<bool, Error> {
        match self.leased.wait {
            _ if self.leased.files.is_empty() => return Ok(false),
            Wait::Opening { until, .. } if now < until => return Ok(false),
            Wait::Nothing => {
                let left = *self.leased.left.get_or_insert_with(|| break_time() + GRACE);
                let until = now.checked_add(left).unwrap_or(now);
                self.leased.wait = Wait::Opening { since: now, until };
                let first = self.leased.files.front().cloned();
                first
                    .into_iter()
                    .for_each(|file| self.jobs.start(Job::Open(file)));
            }
            // That attempt goes on, and is nobody's any more.
            Wait::Opening { .. } => self.leased.wait = Wait::Over,
            Wait::Over => {
                let first = self.leased.files.front();
                let opened = first.map(|file| DirCache::default().open(file));
                opened.map_or(Ok(()), |opened| self.had(opened))?;
            }
        }
        Ok(true)
    }

    /// The first of them has been opened, or cannot be.
    pub(super) fn opened(&mut self, opened: io::Result<Opened>, now: Instant) -> Result<(), Error> {
        let Wait::Opening { since, .. } = self.leased.wait else {
            return Ok(());
        };
        let left = self.leased.left.unwrap_or_default();
        let waited = now.saturating_duration_since(since);
        self.leased.left = Some(left.saturating_sub(waited));
        self.leased.wait = Wait::Nothing;
        self.had(opened)
    }

    /// Sends the first of them, if it could be opened.
    fn had(&mut self, opened: io::Result<Opened>) -> Result<(), Error> {
        let Some(file) = self.leased.files.pop_front() else {
            return Ok(());
        };
        match opened {
            Ok(opened) => {
                self.content.opened = Some(LongFile::new(file, Means::Opened(opened)));
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.sent(&file, Err(NotSent::not_given_up(&file)))
            }
            Err(e) => {
                let unreadable = NotSent::Source(file.unreadable(&e));
                self.sent(&file, Err(unreadable))
            }
        }
    }
}

impl NotSent {
    pub(super) fn not_given_up(file: &FileSource) -> Self {
        NotSent::Source(file.warning(format_args!(
            "is under a lease that another program does not give up; the target keeps what it \
             has, push again later"
        )))
    }
}

fn break_time() -> Duration {
    let text = std::fs::read_to_string(BREAK_TIME).unwrap_or_default();
    let secs = text.trim().parse().ok().map(Duration::from_secs);
    secs.unwrap_or(BREAK_TIME_USUAL).min(BREAK_TIME_MAX)
}
