//! What waits for the main thread of a sender: what the receiver has said and what the scan has
//! found, in the order in which it came. What the receiver has said is counted in bytes as it is
//! held in memory. With too much of it the reading thread waits; the main thread, which never waits
//! for the receiver to read, handles what there is meanwhile, so that two halves that both have
//! much to say never wait for each other.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that may wait while the main thread is busy.
const EASY_LEN_MAX: usize = 8 << 20;

/// Bytes that may wait at all. That much is taken in little by little while nothing is handled, as
/// at a terminal that was stopped: a receiver that cannot write for long takes this side for dead.
const LEN_MAX: usize = 48 << 20;
const TRICKLE_LEN: usize = 64 << 10;
const TRICKLE_TIME: Duration = Duration::from_secs(1);

/// Shared between the main thread, and those that read and scan.
#[derive(Debug)]
pub(super) struct Inbox<E> {
    state: Mutex<State<E>>,
    /// The main thread waits for this.
    filled: Condvar,
    /// The reading thread does.
    eased: Condvar,
}

#[derive(Debug)]
struct State<E> {
    /// Each with the bytes that it takes.
    events: VecDeque<(E, usize)>,
    len: usize,
    /// Bytes beyond [`EASY_LEN_MAX`] that may wait by now.
    trickled_len: usize,
    main_waits: bool,
    reader_waits: bool,
    /// Nothing comes from the link any more.
    ended: bool,
    /// Nothing is handled any more.
    closed: bool,
}

/// What came of waiting.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<E> {
    Event(E),
    /// There was nothing to wait for, or not for any longer.
    Nothing,
    /// Nothing will come any more.
    Ended,
}

impl<E> Default for Inbox<E> {
    fn default() -> Self {
        Inbox {
            state: Mutex::new(State::default()),
            filled: Condvar::new(),
            eased: Condvar::new(),
        }
    }
}

impl<E> Inbox<E> {
    /// Adds what was read from the link, which takes `len` bytes; waits while there is too much.
    /// `false` if nobody wants it.
    pub(super) fn put_read(&self, event: E, len: usize) -> bool {
        let mut state = self.lock();
        while !state.closed && !state.admits(len) {
            state.reader_waits = true;
            let waited = self.eased.wait_timeout(state, TRICKLE_TIME);
            let (after, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            if waited.timed_out() {
                state.trickle();
            }
        }
        state.reader_waits = false;
        self.put(state, event, len)
    }

    /// Adds what comes from this side, which bounds it by itself.
    pub(super) fn put_own(&self, event: E) -> bool {
        self.put(self.lock(), event, 0)
    }

    fn put(&self, mut state: MutexGuard<'_, State<E>>, event: E, len: usize) -> bool {
        if state.closed {
            return false;
        }
        state.events.push_back((event, len));
        state.len += len;
        self.wake_main(state);
        true
    }

    /// The next event if there is one.
    pub(super) fn take(&self) -> Next<E> {
        self.wait_while(None, || false)
    }

    /// The next event; waits for one while `waits` says so, at most until then. Whatever changes
    /// that must be followed by a [nudge](Self::nudge).
    pub(super) fn wait_while(&self, until: Option<Instant>, waits: impl Fn() -> bool) -> Next<E> {
        let mut state = self.lock();
        while state.events.is_empty() && !state.ended && waits() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            state.main_waits = true;
            state = match left {
                None => self.filled.wait(state),
                Some(left) => {
                    let waited = self.filled.wait_timeout(state, left);
                    waited
                        .map(|(state, _)| state)
                        .map_err(|e| PoisonError::new(e.into_inner().0))
                }
            }
            .unwrap_or_else(PoisonError::into_inner);
        }
        state.main_waits = false;
        let next = state.take();
        let eases = state.reader_waits && state.len <= EASY_LEN_MAX / 2;
        drop(state);
        if eases {
            self.eased.notify_one();
        }
        next
    }

    /// Has the main thread, if it waits, look again whether to.
    pub(super) fn nudge(&self) {
        self.wake_main(self.lock());
    }

    fn wake_main(&self, state: MutexGuard<'_, State<E>>) {
        let waits = state.main_waits;
        drop(state);
        if waits {
            self.filled.notify_one();
        }
    }

    /// Nothing follows what has come from the link.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        self.wake_main(state);
    }

    /// Forgets the events of which this does not hold.
    pub(super) fn retain(&self, keeps: impl Fn(&E) -> bool) {
        let mut state = self.lock();
        state.events.retain(|(event, _)| keeps(event));
        state.len = state.events.iter().map(|(_, len)| len).sum();
    }

    /// Ends every wait of the reading thread: nothing is handled any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.eased.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> State<E> {
    /// Whether that much more may wait: what is too long by itself, alone.
    fn admits(&self, len: usize) -> bool {
        self.events.is_empty() || self.len + len <= EASY_LEN_MAX + self.trickled_len
    }

    /// Nothing has been handled for a while.
    fn trickle(&mut self) {
        self.trickled_len = (self.trickled_len + TRICKLE_LEN).min(LEN_MAX - EASY_LEN_MAX);
    }

    fn take(&mut self) -> Next<E> {
        match self.events.pop_front() {
            Some((event, len)) => {
                self.len -= len;
                if self.len <= EASY_LEN_MAX {
                    self.trickled_len = 0;
                }
                Next::Event(event)
            }
            None if self.ended => Next::Ended,
            None => Next::Nothing,
        }
    }
}

impl<E> Default for State<E> {
    fn default() -> Self {
        State {
            events: VecDeque::new(),
            len: 0,
            trickled_len: 0,
            main_waits: false,
            reader_waits: false,
            ended: false,
            closed: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn events_come_in_order_and_then_the_end() {
        let inbox = Inbox::default();
        assert_eq!(inbox.take(), Next::Nothing);
        assert!(inbox.put_read(1, 10) && inbox.put_own(2) && inbox.put_read(3, 0));
        inbox.end();
        for event in [1, 2, 3] {
            assert_eq!(inbox.take(), Next::Event(event));
        }
        assert_eq!(inbox.wait_while(None, || true), Next::Ended);
        inbox.close();
        assert!(!inbox.put_read(4, 0) && !inbox.put_own(4));
    }

    #[test]
    fn a_flood_waits_for_what_is_handled() {
        const LEN: usize = 1 << 20;
        let inbox = Arc::new(Inbox::default());
        let flood = Arc::clone(&inbox);
        let reader =
            thread::spawn(move || (0..200).take_while(|&at| flood.put_read(at, LEN)).count());
        for at in 0..150 {
            assert_eq!(inbox.wait_while(None, || true), Next::Event(at));
            assert!(inbox.lock().len <= EASY_LEN_MAX);
        }
        inbox.close();
        assert!((150..200).contains(&reader.join().unwrap_or_default()));
    }

    #[test]
    fn a_little_more_is_taken_in_while_nothing_is_handled_and_never_too_much() {
        let mut state = State::default();
        let fill = |state: &mut State<()>| {
            while state.admits(TRICKLE_LEN) {
                state.events.push_back(((), TRICKLE_LEN));
                state.len += TRICKLE_LEN;
            }
        };
        fill(&mut state);
        assert_eq!(state.len, EASY_LEN_MAX);
        for _ in 0..10_000 {
            let before = state.len;
            state.trickle();
            fill(&mut state);
            assert!(state.len <= before + TRICKLE_LEN);
        }
        assert_eq!(state.len, LEN_MAX);
        while state.take() == Next::Event(()) {}
        fill(&mut state);
        assert_eq!(state.len, EASY_LEN_MAX);
    }

    #[test]
    fn what_is_longer_than_may_wait_comes_alone() {
        let mut state = State::default();
        assert!(state.admits(2 * LEN_MAX));
        state.events.push_back(((), 2 * LEN_MAX));
        state.len = 2 * LEN_MAX;
        assert!(!state.admits(0));
    }

    #[test]
    fn waiting_ends_by_a_nudge_and_by_time() {
        let inbox = Arc::new(Inbox::<()>::default());
        assert_eq!(
            inbox.wait_while(Some(Instant::now()), || true),
            Next::Nothing
        );
        let waits = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let (other, stop) = (Arc::clone(&inbox), Arc::clone(&waits));
        let nudger = thread::spawn(move || {
            stop.store(false, std::sync::atomic::Ordering::SeqCst);
            other.nudge();
        });
        let waits = || waits.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(inbox.wait_while(None, waits), Next::Nothing);
        assert!(nudger.join().is_ok());
    }
}
