//! The writing end of a session, shared by the threads of one half. What they put is collected, and
//! written by a thread of its own, which also says that the half is alive: a slow disk, a slow
//! terminal or a slow peer keep nobody from that.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::MESSAGE_LEN;
use super::writer::{self, Ping, State, WhenFull};
use crate::error::Error;
use crate::wire::{DirIndex, ExchangePiece, FrameKind, FrameWriter};

/// A shared [`FrameWriter`] and the thread that it feeds.
#[derive(Clone)]
pub(super) struct Outbox {
    frames: Arc<Mutex<FrameWriter>>,
    state: Arc<State>,
    link_bytes: Arc<AtomicU64>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Outbox {
    /// Writes to the link as it is called, until the [thread](Self::start) is there.
    pub(super) fn new(link: Box<dyn Write + Send>) -> Self {
        let frames = FrameWriter::new(link);
        Outbox {
            link_bytes: frames.written(),
            frames: Arc::new(Mutex::new(frames)),
            state: Arc::default(),
            thread: Arc::default(),
        }
    }

    /// Starts the writing thread. From now on the half is never silent for longer than `ping_ms`
    /// once it has said something.
    pub(super) fn start(&self, ping_ms: u64, ping: Ping, when_full: WhenFull) {
        self.state.ping_every(ping_ms);
        let link_bytes = Arc::clone(&self.link_bytes);
        self.lock().write_by(|link| {
            let (feeder, writer) = writer::pair(link, &self.state, link_bytes, ping, when_full);
            *self.lock_thread() = Some(writer.start());
            Box::new(feeder)
        });
    }

    /// The same for somebody who writes one batch after another by hand.
    #[cfg(test)]
    #[expect(clippy::unwrap_used, reason = "it was just set")]
    pub(super) fn start_by_hand(&self, ping: Ping, when_full: WhenFull) -> writer::Writer {
        let link_bytes = Arc::clone(&self.link_bytes);
        let mut by_hand = None;
        self.lock().write_by(|link| {
            let (feeder, writer) = writer::pair(link, &self.state, link_bytes, ping, when_full);
            by_hand = Some(writer);
            Box::new(feeder)
        });
        by_hand.unwrap()
    }

    /// Bytes passed on to be written so far. Does not wait for whoever puts some.
    pub(super) fn written_bytes(&self) -> u64 {
        self.link_bytes.load(Ordering::Relaxed)
    }

    /// What is known of the writing.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The frames that are collected, for as long as the guard lives; they must be complete when
    /// it goes.
    pub(super) fn lock(&self) -> MutexGuard<'_, FrameWriter> {
        // A thread that panicked may have left half a frame: the peer will refuse the stream.
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one message of a delta exchange about the file of this directory and position.
    pub(super) fn put_exchange(
        &self,
        (dir, entry): (DirIndex, u32),
        message: &[u8],
    ) -> Result<(), Error> {
        let mut rest = message;
        loop {
            let (bytes, tail) = rest.split_at(rest.len().min(MESSAGE_LEN));
            rest = tail;
            let last = rest.is_empty();
            let piece = ExchangePiece {
                dir,
                entry,
                last,
                bytes,
            };
            let mut frames = self.lock();
            frames.begin(FrameKind::Exchange);
            piece.put(frames.payload());
            frames.finish()?;
            if last {
                return Ok(());
            }
        }
    }

    /// Ends the stream when everything that was put has been written, and waits for that.
    pub(super) fn end(&self) -> Result<(), Error> {
        let flushed = self.lock().flush();
        let thread = self.lock_thread().take();
        // Others may hold this for a moment longer; they have nothing to say any more.
        *self.lock() = FrameWriter::new(Box::new(std::io::sink()));
        // A thread that panicked has written what it could.
        let _ = thread.map(JoinHandle::join);
        flushed.and_then(|()| self.state.check())
    }

    fn lock_thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
