//! The writing end of a session, shared by the threads of one half. While the half is busy with
//! other things, a ticker says that it is alive.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::MESSAGE_LEN;
use crate::error::Error;
use crate::wire::{DirIndex, ExchangePiece, FrameKind, FrameWriter};

/// A shared [`FrameWriter`].
#[derive(Clone)]
pub(super) struct Outbox {
    writer: Arc<Mutex<FrameWriter>>,
    written_bytes: Arc<AtomicU64>,
}

impl Outbox {
    pub(super) fn new(writer: FrameWriter) -> Self {
        Outbox {
            written_bytes: writer.written(),
            writer: Arc::new(Mutex::new(writer)),
        }
    }

    /// Bytes written to the link so far. Does not wait for whoever is writing.
    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// The writer, for as long as the guard lives; frames must be finished by then.
    pub(super) fn lock(&self) -> MutexGuard<'_, FrameWriter> {
        // A thread that panicked may have left half a frame: the peer will refuse the stream.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
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
            let mut writer = self.lock();
            writer.begin(FrameKind::Exchange);
            piece.put(writer.payload());
            writer.finish()?;
            if last {
                return Ok(());
            }
        }
    }

    /// Has `ping` put a message whenever nothing has been written for `interval_ms`, until the
    /// returned handle is dropped.
    pub(super) fn keep_alive(
        &self,
        interval_ms: u64,
        ping: fn(&mut FrameWriter) -> Result<(), Error>,
    ) -> Ticker {
        let (stop, stopped) = channel();
        // The end of the stream must not wait for the ticker.
        let writer = Arc::downgrade(&self.writer);
        let mut seen = self.lock().written_bytes();
        std::thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(interval_ms))
                == Err(RecvTimeoutError::Timeout)
            {
                let Some(writer) = writer.upgrade() else {
                    return;
                };
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                if writer.written_bytes() == seen
                    && ping(&mut writer).and_then(|()| writer.flush()).is_err()
                {
                    // The half itself will meet the same error.
                    return;
                }
                seen = writer.written_bytes();
            }
        });
        Ticker { _stop: stop }
    }
}

/// Stops the ticker when dropped.
pub(super) struct Ticker {
    _stop: Sender<()>,
}
