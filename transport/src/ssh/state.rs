//! What the blocking side and the SSH session of one connection know about each other: whether the
//! channel lives, how the far end ended, and how much the blocking side still has to read.
//!
//! russh opens the receive window when data arrives, not when it is read, so a reader that falls
//! behind has to slow the session down. But the session must go on: it has keepalives to answer,
//! or a standby busy flushing its disk would be taken for dead, and it has to send what the reader
//! may be waiting to get rid of before it reads again. So beyond [`BACKLOG_LEN`] each packet waits
//! up to [`BACKLOG_WAIT`], or until there is something to send; beyond [`BACKLOG_MAX_LEN`] it waits
//! until the reader has made room for it, and a peer that pushes that much at an end which is only
//! sending, and has read nothing for that long, is cut off.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use russh::Sig;
use tokio::sync::{Notify, watch};

use super::WINDOW_LEN;
use crate::link::{failed_start, late, push_tail};
use crate::{Error, ErrorKind, Finish};

/// How the channel stands.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Both directions may still carry data.
    Open,
    /// The far end closed the channel in good order.
    Closed,
    /// The connection is gone, and why.
    Lost(Error),
}

impl Phase {
    /// Why the connection is gone.
    pub(crate) fn error(&self) -> Option<Error> {
        match self {
            Phase::Lost(error) => Some(error.clone()),
            Phase::Open | Phase::Closed => None,
        }
    }
}

/// Shared by the session's callbacks, the reader, the writer and the control of one channel.
pub(crate) struct ChannelState {
    pub(crate) peer: String,
    /// The far end runs a command for us, and will tell how it ended.
    runs_for_us: bool,
    phase: watch::Sender<Phase>,
    end: Mutex<Finish>,
    /// Data bytes received over the channel.
    received: AtomicU64,
    /// Negative for a moment when the reader is faster than the account.
    backlog: AtomicI64,
    /// Something changed that a waiting packet may go on for.
    changed: Notify,
    /// Writers that are handing data over.
    sending: AtomicUsize,
    /// Packets that may pass because something was handed over.
    turns: AtomicU32,
    reader_gone: AtomicBool,
    io_timeout_ms: AtomicU64,
    deadline: Mutex<Option<Instant>>,
}

impl ChannelState {
    pub(crate) fn new(peer: &str, runs_for_us: bool) -> Arc<ChannelState> {
        Arc::new(ChannelState {
            peer: peer.to_owned(),
            runs_for_us,
            phase: watch::Sender::new(Phase::Open),
            end: Mutex::default(),
            received: AtomicU64::new(0),
            backlog: AtomicI64::new(0),
            changed: Notify::new(),
            sending: AtomicUsize::new(0),
            turns: AtomicU32::new(0),
            reader_gone: AtomicBool::new(false),
            io_timeout_ms: AtomicU64::new(0),
            deadline: Mutex::default(),
        })
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// The first end counts; a connection that breaks after the channel closed is no news.
    pub(crate) fn end(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let first = matches!(now, Phase::Open);
            if first {
                *now = phase;
            }
            first
        });
    }

    pub(crate) fn exit_status(&self, code: u32) {
        self.lock_end().exit_code = Some(code);
    }

    pub(crate) fn exit_signal(&self, signal: &Sig) {
        let name = match signal {
            Sig::Custom(name) => name.clone(),
            known => format!("{known:?}"),
        };
        self.lock_end().signal = Some(name);
    }

    pub(crate) fn stderr(&self, data: &[u8]) {
        push_tail(&mut self.lock_end().stderr_tail, data);
    }

    /// Accounts for a data packet that was put before the reader, and waits as described above.
    pub(crate) async fn arrived(&self, data_len: usize) -> Arrival {
        self.received.fetch_add(data_len as u64, Ordering::Relaxed);
        self.queued(data_len).await
    }

    /// The same for a packet of another stream: the reader passes over it.
    pub(crate) async fn queued(&self, data_len: usize) -> Arrival {
        let cost = packet_cost(data_len);
        let backlog = self.backlog.fetch_add(cost, Ordering::AcqRel) + cost;
        if backlog <= BACKLOG_LEN {
            return Arrival::Admitted;
        }
        let over_max = backlog > BACKLOG_MAX_LEN;
        let change = || async {
            loop {
                let changed = self.changed.notified();
                let backlog = self.backlog.load(Ordering::Acquire);
                let is_read = self.reader_gone.load(Ordering::Acquire) || backlog <= BACKLOG_LEN;
                let may_pass = if over_max {
                    backlog <= BACKLOG_MAX_LEN
                } else {
                    self.has_to_send()
                };
                if is_read || may_pass {
                    return Arrival::Admitted;
                }
                changed.await;
            }
        };
        loop {
            match tokio::time::timeout(BACKLOG_WAIT, change()).await {
                Ok(arrival) => return arrival,
                Err(_) if !over_max => return Arrival::Late,
                Err(_) if self.sending.load(Ordering::Acquire) > 0 => return Arrival::TooMuch,
                Err(_) => {}
            }
        }
    }

    /// A sender waits, or just handed over something; the session may need a few turns to see it.
    fn has_to_send(&self) -> bool {
        let one_less = |turns: u32| turns.checked_sub(1);
        self.sending.load(Ordering::Acquire) > 0
            || self
                .turns
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less)
                .is_ok()
    }

    /// To be held while data is handed over to the session.
    pub(crate) fn sending(&self) -> Sending<'_> {
        self.sending.fetch_add(1, Ordering::AcqRel);
        self.turns.store(TURNS, Ordering::Release);
        self.changed.notify_one();
        Sending(self)
    }

    pub(crate) fn consumed(&self, data_len: usize) {
        let cost = packet_cost(data_len);
        let before = self.backlog.fetch_sub(cost, Ordering::AcqRel);
        if before > BACKLOG_LEN {
            self.changed.notify_one();
        }
    }

    pub(crate) fn reader_gone(&self) {
        self.reader_gone.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// How long the far end may take to exit after both directions are finished: no longer than
    /// it may be silent.
    pub(crate) fn finish_wait(&self) -> Duration {
        match self.io_timeout_ms.load(Ordering::Relaxed) {
            0 => FINISH_WAIT,
            limit_ms => FINISH_WAIT.min(Duration::from_millis(limit_ms)),
        }
    }

    pub(crate) fn set_io_timeout(&self, limit: Option<Duration>) {
        let limit_ms = limit.map_or(0, |limit| {
            limit.as_millis().clamp(1, u64::MAX.into()) as u64
        });
        self.io_timeout_ms.store(limit_ms, Ordering::Relaxed);
    }

    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    /// `wait`, unless the deadline passes, or the time set with `set_io_timeout` while nothing is
    /// received in it.
    pub(crate) async fn limited<T>(&self, wait: impl Future<Output = T>) -> Result<T, Error> {
        let limit_ms = self.io_timeout_ms.load(Ordering::Relaxed);
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        let silence = (limit_ms > 0).then(|| Duration::from_millis(limit_ms));
        let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        tokio::pin!(wait);
        loop {
            let heard = self.received.load(Ordering::Relaxed);
            let Some(limit) = silence.into_iter().chain(left()).min() else {
                return Ok(wait.await);
            };
            if let Ok(done) = tokio::time::timeout(limit, &mut wait).await {
                return Ok(done);
            }
            if left().is_some_and(|left| left.is_zero()) {
                return Err(late(&self.peer));
            }
            if self.received.load(Ordering::Relaxed) == heard {
                let message = format!("{}: no data for {} s", self.peer, limit_ms.div_ceil(1000));
                return Err(Error::new(ErrorKind::Timeout, message));
            }
        }
    }

    pub(crate) fn finish(&self) -> Finish {
        self.lock_end().clone()
    }

    /// Whether an end of file now is an end, and not the mark of a command that never started.
    pub(crate) fn has_started(&self) -> bool {
        !self.runs_for_us || self.received.load(Ordering::Relaxed) > 0
    }

    /// The far end closed: is that an answer, or did its program never start? Nothing received and
    /// a failure status means the latter.
    pub(crate) fn failed_start(&self) -> Option<Error> {
        if self.has_started() {
            return None;
        }
        let end = self.lock_end();
        failed_start(&self.peer, &end)
    }

    fn lock_end(&self) -> MutexGuard<'_, Finish> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of a packet that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Admitted,
    /// Admitted though the reader is behind: the peer heard nothing from us meanwhile, since russh
    /// takes data that arrives for a reason to send no keepalive. It needs a sign of life.
    Late,
    /// The peer is to be cut off.
    TooMuch,
}

/// See [`ChannelState::sending`].
pub(crate) struct Sending<'a>(&'a ChannelState);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.sending.fetch_sub(1, Ordering::AcqRel);
    }
}

fn packet_cost(data_len: usize) -> i64 {
    i64::try_from(data_len).unwrap_or(i64::MAX / 2) + PACKET_COST
}

/// How long the far end may take to exit where no limit of silence is set.
const FINISH_WAIT: Duration = Duration::from_secs(30);
/// A reader this far behind slows the session down.
const BACKLOG_LEN: i64 = WINDOW_LEN as i64;
/// How long one packet waits for a slow reader before the session looks after itself again.
const BACKLOG_WAIT: Duration = Duration::from_secs(2);
/// A reader this far behind stops the session.
const BACKLOG_MAX_LEN: i64 = 64 * 1024 * 1024;
/// The session takes what comes in and what goes out in random order: it overlooks something to
/// send this many times in a row once in sixteen.
const TURNS: u32 = 4;
/// What a packet costs beside its data, so that a flood of tiny ones is bounded as well.
const PACKET_COST: i64 = 256;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_end_counts() {
        let state = ChannelState::new("b", true);
        state.end(Phase::Closed);
        state.end(Phase::Lost(Error::new(ErrorKind::Timeout, "late")));
        assert!(matches!(*state.phase().borrow(), Phase::Closed));
    }

    #[test]
    fn a_full_backlog_waits_for_the_reader() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let state = ChannelState::new("b", true);
            let full = BACKLOG_MAX_LEN as usize;
            let arriving = |len: usize| {
                let state = Arc::clone(&state);
                tokio::spawn(async move { state.arrived(len).await })
            };
            let waiting = arriving(full);
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            state.consumed(full);
            assert_eq!(waiting.await.unwrap(), Arrival::Admitted);

            assert_eq!(arriving_while_sending(&state, full).await, Arrival::TooMuch);
            state.consumed(full);
            let few = BACKLOG_LEN as usize;
            assert_eq!(arriving_while_sending(&state, few).await, Arrival::Admitted);
        });
    }

    #[test]
    fn a_peer_that_speaks_may_let_a_write_wait() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let limit = Duration::from_millis(50);
        runtime.block_on(async {
            let state = ChannelState::new("b", true);
            state.set_io_timeout(Some(limit));
            let heard_meanwhile = async {
                for _ in 0..5 {
                    state.received.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(limit * 2 / 3).await;
                }
            };
            state.limited(heard_meanwhile).await.unwrap();
            let silent = state.limited(std::future::pending::<()>()).await;
            assert_eq!(silent.unwrap_err().kind(), ErrorKind::Timeout);
        });
    }

    #[test]
    fn a_deadline_holds_whatever_comes_before_it() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let state = ChannelState::new("b", true);
            let deadline = Instant::now() + Duration::from_millis(50);
            state.set_deadline(Some(deadline));
            for limit in [None, Some(Duration::from_millis(20))] {
                state.set_io_timeout(limit);
                let drips = async {
                    loop {
                        state.received.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                let late = state.limited::<()>(drips).await;
                assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
                assert!(Instant::now() >= deadline);
            }
            state.set_deadline(None);
            state.limited(async {}).await.unwrap();
        });
    }

    async fn arriving_while_sending(state: &ChannelState, len: usize) -> Arrival {
        let _sending = state.sending();
        state.arrived(len).await
    }
}
