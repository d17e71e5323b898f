//! The writing thread of one half: it owns the link and the pings. It is fed with batches of whole
//! frames, so that nobody who reads a disk or writes to a terminal keeps it from saying that the
//! half is alive. Buffers go round: what has been written comes back empty.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::Error;
use crate::wire::{Pulse, Sink, new_batch};
use crate::work;

/// With that many bytes waiting to be written, whoever puts more has to wait.
const WAITING_LEN_MAX: usize = 512 << 10;

/// Buffers kept for what comes next.
const SPARE_MAX: usize = 4;

/// Makes the frame that says that a half is alive.
pub(super) type Ping = fn(Pulse) -> Result<Vec<u8>, Error>;

/// What happens to whoever puts more than the link takes.
pub(super) enum WhenFull {
    /// It waits.
    Wait,
    /// It goes on, and looks for [room](State::has_room) by itself. This is called when there is
    /// some again that was [asked for](State::want_room), and when the link has broken.
    Tell(Box<dyn Fn(Option<Error>) + Send>),
}

/// What everybody may know of the writing.
#[derive(Debug, Default)]
pub(super) struct State {
    waiting_len: AtomicUsize,
    /// Bytes that the link has taken, without pings.
    taken_bytes: AtomicU64,
    /// Silence after which the half says that it is alive.
    ping_ms: AtomicU64,
    is_room_wanted: AtomicBool,
    broken: Mutex<Option<Error>>,
}

impl State {
    /// Whether more can be put without waiting for the link.
    pub(super) fn has_room(&self) -> bool {
        self.waiting_len.load(Ordering::SeqCst) < WAITING_LEN_MAX
    }

    /// Bytes that wait for the link.
    #[cfg(test)]
    pub(super) fn waiting_len(&self) -> usize {
        self.waiting_len.load(Ordering::SeqCst)
    }

    /// Asks to be told of room. To be called before it is looked for once more.
    pub(super) fn want_room(&self) {
        self.is_room_wanted.store(true, Ordering::SeqCst);
    }

    /// Bytes that the link has taken so far, pings not counted.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.taken_bytes.load(Ordering::Relaxed)
    }

    /// From the next batch on the half is silent for at most this long.
    pub(super) fn ping_every(&self, ping_ms: u64) {
        self.ping_ms.store(ping_ms, Ordering::Relaxed);
    }

    /// An error if nothing can be written any more.
    pub(super) fn check(&self) -> Result<(), Error> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.clone().map_or(Ok(()), Err)
    }

    fn set_broken(&self, error: &Error) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        *broken = Some(error.clone());
    }
}

struct Batch {
    frames: Vec<u8>,
    flush: bool,
}

/// Feeds the thread. When it is dropped, what was put is written, and then the stream ends.
pub(super) struct Feeder {
    batches: Sender<Batch>,
    written: Receiver<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    waits: bool,
    state: Arc<State>,
}

impl Sink for Feeder {
    fn put(&mut self, frames: &mut Vec<u8>, flush: bool) -> Result<(), Error> {
        let room = self.spare.pop().unwrap_or_else(new_batch);
        let frames = std::mem::replace(frames, room);
        self.state
            .waiting_len
            .fetch_add(frames.len(), Ordering::SeqCst);
        let sent = self.batches.send(Batch { frames, flush });
        while let Ok(spare) = self.written.try_recv() {
            self.keep(spare);
        }
        while self.waits && !self.state.has_room() {
            match self.written.recv() {
                Ok(spare) => self.keep(spare),
                Err(_) => break,
            }
        }
        match sent {
            Ok(()) => Ok(()),
            Err(_) => self.state.check(),
        }
    }
}

impl Feeder {
    fn keep(&mut self, spare: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(spare);
        }
    }
}

/// The thread.
pub(super) struct Writer {
    link: Box<dyn Write + Send>,
    batches: Receiver<Batch>,
    give_back: Sender<Vec<u8>>,
    state: Arc<State>,
    /// All bytes on the link, of which only the pings are added here.
    link_bytes: Arc<AtomicU64>,
    ping: Ping,
    when_full: WhenFull,
}

/// A thread that has not started, and what feeds it. `link_bytes` have been written already; pings
/// begin once something has.
pub(super) fn pair(
    link: Box<dyn Write + Send>,
    state: &Arc<State>,
    link_bytes: Arc<AtomicU64>,
    ping: Ping,
    when_full: WhenFull,
) -> (Feeder, Writer) {
    let (sender, batches) = channel();
    let (give_back, written) = channel();
    let feeder = Feeder {
        batches: sender,
        written,
        spare: Vec::new(),
        waits: matches!(when_full, WhenFull::Wait),
        state: Arc::clone(state),
    };
    let writer = Writer {
        link,
        batches,
        give_back,
        state: Arc::clone(state),
        link_bytes,
        ping,
        when_full,
    };
    (feeder, writer)
}

impl Writer {
    pub(super) fn start(mut self) -> JoinHandle<()> {
        std::thread::spawn(move || {
            if let Err(error) = self.run() {
                self.state.set_broken(&error);
                if let WhenFull::Tell(tell) = &self.when_full {
                    tell(Some(error));
                }
            }
        })
    }

    /// Writes one batch, if there is one.
    #[cfg(test)]
    pub(super) fn write_one(&mut self) -> Result<(), Error> {
        self.batches
            .try_recv()
            .map_or(Ok(()), |batch| self.write(batch))
    }

    fn run(&mut self) -> Result<(), Error> {
        loop {
            let silence = Duration::from_millis(self.state.ping_ms.load(Ordering::Relaxed));
            match self.batches.recv_timeout(silence) {
                Ok(batch) => self.write(batch)?,
                Err(RecvTimeoutError::Timeout) => self.say_alive()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn write(&mut self, Batch { mut frames, flush }: Batch) -> Result<(), Error> {
        self.put(&frames, flush)?;
        let len = frames.len();
        self.state
            .taken_bytes
            .fetch_add(len as u64, Ordering::Relaxed);
        self.state.waiting_len.fetch_sub(len, Ordering::SeqCst);
        frames.clear();
        // If nobody wants the buffer any more, it is just dropped.
        let _ = self.give_back.send(frames);
        if let WhenFull::Tell(tell) = &self.when_full
            && self.state.has_room()
            && self.state.is_room_wanted.swap(false, Ordering::SeqCst)
        {
            tell(None);
        }
        Ok(())
    }

    fn say_alive(&mut self) -> Result<(), Error> {
        // The preamble comes first.
        if self.link_bytes.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let pulse = Pulse {
            done: work::done(),
            flushing: work::is_flushing(),
        };
        let frame = (self.ping)(pulse)?;
        self.link_bytes
            .fetch_add(frame.len() as u64, Ordering::Relaxed);
        self.put(&frame, true)
    }

    fn put(&mut self, bytes: &[u8], flush: bool) -> Result<(), Error> {
        let written = self.link.write_all(bytes);
        let flushed = written.and_then(|()| if flush { self.link.flush() } else { Ok(()) });
        flushed.map_err(|e| Error::stream(&e))
    }
}
