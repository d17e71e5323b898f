//! The writing end of a session, shared by the threads of one half. While the half is busy with
//! other things, a ticker says that it is alive.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::MESSAGE_LEN;
use crate::error::Error;
use crate::wire::{DirIndex, ExchangePiece, FrameKind, FrameWriter};

/// A shared [`FrameWriter`].
#[derive(Clone)]
pub(super) struct Outbox(Arc<Mutex<FrameWriter>>);

impl Outbox {
    pub(super) fn new(writer: FrameWriter) -> Self {
        Outbox(Arc::new(Mutex::new(writer)))
    }

    /// The writer, for as long as the guard lives; frames must be finished by then.
    pub(super) fn lock(&self) -> MutexGuard<'_, FrameWriter> {
        // A thread that panicked may have left half a frame: the peer will refuse the stream.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let outbox = Arc::downgrade(&self.0);
        let mut seen = self.lock().written_bytes();
        std::thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(interval_ms))
                == Err(RecvTimeoutError::Timeout)
            {
                let Some(outbox) = outbox.upgrade().map(Outbox) else {
                    return;
                };
                let mut writer = outbox.lock();
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
