//! What drives a half of a push: its state is a [`Machine`], which touches no link, no thread and
//! no clock; here is the loop that feeds it, and the workers that do beside it what takes long.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::inbox::Inbox;
use super::outbox::Outbox;
use crate::error::Error;

/// Events that are handled before a piece of work is done, if there are that many: whoever says
/// more without end does not keep the push from its end.
const HANDLED_MAX: u32 = 4096;

/// One half of a push.
///
/// To drive one by hand: [`handle`](Self::handle) each event in the order in which they come. When
/// there is none, and the outbox has room, [`poll`](Self::poll), and do as the answer says. All
/// output is in the outbox, all long work in the pool that the machine was given. After an error,
/// or when it [is over](Self::is_over), neither is called any more: what comes then is for others.
pub(super) trait Machine {
    /// What it is told: by its peer, and by its own jobs.
    type Event<'a>;

    /// Takes in one event. It may wait for one bounded operation on this node, never for the peer.
    fn handle(&mut self, event: Self::Event<'_>, now: Instant) -> Result<(), Error>;

    /// Does one bounded piece of work.
    fn poll(&mut self, now: Instant) -> Result<Poll, Error>;

    /// Whether the push has come to its end.
    fn is_over(&self) -> bool;

    /// What it has itself seen its peer do, as a number that grows.
    fn seen(&self) -> u64;
}

/// What a machine is to be given next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poll {
    /// There may be more work: poll again.
    Again,
    /// An event, or another poll at that time. What is in the outbox may gather until then.
    Gather { until: Instant },
    /// The same, but what is in the outbox is to be on its way before.
    Wait { until: Option<Instant> },
}

/// What is waited for besides an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    For(Option<Instant>),
    /// Room in the outbox.
    ForRoom,
}

/// Where the events of a machine come from.
pub(super) trait Events<M: Machine> {
    /// The next event, if there is one.
    fn take(&mut self) -> Result<Option<M::Event<'_>>, Error>;

    /// The next event, or `None` when the other thing that was waited for has come. It is an error
    /// if the peer gets on with nothing meanwhile; `seen` counts what the machine has seen it do.
    fn wait(&mut self, waiting: Waiting, seen: u64) -> Result<Option<M::Event<'_>>, Error>;
}

/// Runs a machine to its end. Whatever has come is handled before anything else is done, so that a
/// half always gets rid of what it has to say, whatever the other does.
pub(super) fn drive<M: Machine>(
    machine: &mut M,
    events: &mut impl Events<M>,
    outbox: &Outbox,
) -> Result<(), Error> {
    let mut handled = 0;
    while !machine.is_over() {
        if handled < HANDLED_MAX
            && let Some(event) = events.take()?
        {
            handled += 1;
            machine.handle(event, Instant::now())?;
            continue;
        }
        handled = 0;
        let waiting = if outbox.state().has_room() {
            match machine.poll(Instant::now())? {
                Poll::Again => continue,
                Poll::Gather { until } => Waiting::For(Some(until)),
                Poll::Wait { until } => {
                    outbox.lock().flush()?;
                    Waiting::For(until)
                }
            }
        } else {
            Waiting::ForRoom
        };
        let start = Instant::now();
        let seen = machine.seen();
        if let Some(event) = events.wait(waiting, seen)? {
            machine.handle(event, Instant::now())?;
        }
        if matches!(waiting, Waiting::ForRoom) {
            outbox.lock().waited(start);
        }
    }
    outbox.lock().flush()
}

/// A piece of long work, as a value.
pub(super) trait Job: Sized + Send + 'static {
    /// What the machine is told of it.
    type Event: Send + 'static;

    /// Does a part of it, and leaves the rest.
    fn step(self) -> (Self::Event, Option<Self>);
}

/// Threads that do jobs, and put what comes of them into an inbox. When the pool is dropped, what
/// has not been done is not done any more, and nothing more is put.
pub(super) struct Pool<J: Job> {
    shared: Arc<Shared<J>>,
    workers_max: usize,
}

struct Shared<J: Job> {
    queue: Mutex<Queue<J>>,
    filled: Condvar,
    inbox: Arc<Inbox<J::Event>>,
}

struct Queue<J> {
    jobs: VecDeque<J>,
    workers: usize,
    idle: usize,
    closed: bool,
}

impl<J: Job> Pool<J> {
    /// With at most that many threads. Without any, the jobs wait until they are
    /// [done by hand](Self::step_any).
    pub(super) fn new(inbox: &Arc<Inbox<J::Event>>, workers_max: usize) -> Self {
        let queue = Queue {
            jobs: VecDeque::new(),
            workers: 0,
            idle: 0,
            closed: false,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            filled: Condvar::new(),
            inbox: Arc::clone(inbox),
        });
        Pool {
            shared,
            workers_max,
        }
    }

    /// Has a job done as soon as a thread is free.
    pub(super) fn start(&self, job: J) {
        let mut queue = self.shared.lock();
        queue.jobs.push_back(job);
        if queue.idle >= queue.jobs.len() {
            self.shared.filled.notify_one();
        } else if queue.workers < self.workers_max {
            queue.workers += 1;
            drop(queue);
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().spawn(move || shared.run());
            if thread.is_err() {
                self.shared.run_here();
            }
        }
    }

    /// Does a part of one of the jobs that wait, chosen by this number; `None` if there is none.
    #[cfg(test)]
    pub(super) fn step_any(&self, choice: usize) -> Option<J::Event> {
        let mut queue = self.shared.lock();
        let at = choice % queue.jobs.len().max(1);
        let (event, rest) = queue.jobs.remove(at)?.step();
        queue.jobs.extend(rest);
        Some(event)
    }

    /// How many jobs wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.shared.lock().jobs.len()
    }
}

impl<J: Job> Drop for Pool<J> {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.jobs.clear();
        self.shared.filled.notify_all();
    }
}

impl<J: Job> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does.
    fn run(&self) {
        let mut queue = self.lock();
        while !queue.closed {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                self.run_job(job);
                queue = self.lock();
                continue;
            }
            queue.idle += 1;
            let waited = self.filled.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    /// No thread can be had: if there is none at all, whoever has a job does it.
    fn run_here(&self) {
        let mut queue = self.lock();
        queue.workers -= 1;
        if queue.workers == 0
            && let Some(job) = queue.jobs.pop_back()
        {
            drop(queue);
            self.run_job(job);
        }
    }

    fn run_job(&self, job: J) {
        let mut rest = Some(job);
        while let Some(job) = rest {
            let (event, left) = job.step();
            // Under the lock, so that nothing is put once the pool is gone.
            let queue = self.lock();
            if queue.closed || !self.inbox.put_own(event) {
                return;
            }
            rest = left;
        }
    }
}
