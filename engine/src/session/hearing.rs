//! What a sender hears of the receiver: a thread reads it and puts it into the inbox, where the
//! main thread finds it together with what its jobs have found. Pings go no further than here.

use std::mem::size_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::drive::{Events, Machine, Waiting};
use super::headway::Headway;
use super::inbox::{Inbox, Next};
use super::outbox::Outbox;
use super::sender::Event;
use crate::error::Error;
use crate::observer::Warning;
use crate::refusal::Refusal;
use crate::wire::{
    DECODE_LIMIT, ExchangePiece, FRAME_LEN_MAX, Frame, FrameKind, FrameReader, ToSender, Verdict,
    check_preamble, decode,
};

/// Shared by the threads of a sender.
pub(super) struct Hearing {
    pub(super) inbox: Arc<Inbox<Event>>,
    headway: Mutex<Headway>,
    read_bytes: AtomicU64,
}

impl Hearing {
    /// Starts the reading thread.
    pub(super) fn start(reader: FrameReader) -> Arc<Self> {
        let hearing = Arc::new(Hearing {
            inbox: Arc::default(),
            headway: Mutex::new(Headway::new(Duration::ZERO, Instant::now())),
            read_bytes: AtomicU64::new(0),
        });
        let shared = Arc::clone(&hearing);
        std::thread::spawn(move || {
            let mut reading = Reading {
                reader,
                is_greeted: false,
                hearing: shared,
            };
            let error = reading.read();
            let inbox = &reading.hearing.inbox;
            if let Err(e) = error {
                inbox.put_read(Event::LinkEnd(e), 0);
            }
            inbox.end();
        });
        hearing
    }

    /// A push begins, in which the receiver may stand still for that long.
    pub(super) fn begin(&self, stall: Duration) {
        *self.headway() = Headway::new(stall, Instant::now());
    }

    /// The next event; waits for one while `waits` says so, at most until then. `seen` counts what
    /// this side sees done.
    ///
    /// # Errors
    ///
    /// The receiver gets on with nothing, or is gone and nobody said why.
    pub(super) fn wait(
        &self,
        until: Option<Instant>,
        seen: impl Fn() -> u64,
        waits: impl Fn() -> bool,
    ) -> Result<Option<Event>, Error> {
        self.headway().waits(Instant::now());
        let next = self.wait_for_event(until, seen, waits);
        self.headway().is_busy(Instant::now());
        next
    }

    fn wait_for_event(
        &self,
        until: Option<Instant>,
        seen: impl Fn() -> u64,
        waits: impl Fn() -> bool,
    ) -> Result<Option<Event>, Error> {
        loop {
            let now = Instant::now();
            let left = {
                let mut headway = self.headway();
                headway.saw(seen(), now);
                headway.check(now)?
            };
            let until_stall = now.checked_add(left);
            let until_any = until.into_iter().chain(until_stall).min();
            match self.inbox.wait_while(until_any, &waits) {
                Next::Event(event) => return Ok(Some(event)),
                Next::Ended => return Err(gone()),
                Next::Nothing => {}
            }
            if !waits() || until.is_some_and(|until| until <= Instant::now()) {
                return Ok(None);
            }
        }
    }

    /// Bytes read from the link so far.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    fn headway(&self) -> MutexGuard<'_, Headway> {
        self.headway.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The peer is gone, and nobody said why.
pub(super) fn gone() -> Error {
    Error::stream(&std::io::ErrorKind::UnexpectedEof.into())
}

/// The events of a push, which has this to be written.
pub(super) struct Heard<'a> {
    pub(super) hearing: &'a Hearing,
    pub(super) outbox: &'a Outbox,
}

impl<M: for<'e> Machine<Event<'e> = Event>> Events<M> for Heard<'_> {
    fn take(&mut self) -> Result<Option<Event>, Error> {
        match self.hearing.inbox.take() {
            Next::Event(event) => Ok(Some(event)),
            Next::Nothing => Ok(None),
            Next::Ended => Err(gone()),
        }
    }

    fn wait(&mut self, waiting: Waiting, seen: u64) -> Result<Option<Event>, Error> {
        let state = self.outbox.state();
        // The receiver takes bytes meanwhile.
        let seen = || state.taken_bytes().wrapping_add(seen);
        match waiting {
            Waiting::For(until) => self.hearing.wait(until, seen, || true),
            Waiting::ForRoom => self.hearing.wait(None, seen, || {
                state.want_room();
                !state.has_room()
            }),
        }
    }
}

/// The thread.
struct Reading {
    reader: FrameReader,
    is_greeted: bool,
    hearing: Arc<Hearing>,
}

impl Reading {
    /// Reads until nobody wants it any more.
    fn read(&mut self) -> Result<(), Error> {
        loop {
            let (event, len) = self.next()?;
            if !self.hearing.inbox.put_read(event, len) {
                return Ok(());
            }
        }
    }

    /// The next event, and the bytes that it takes.
    fn next(&mut self) -> Result<(Event, usize), Error> {
        if !self.is_greeted {
            check_preamble(self.reader.preamble()?)?;
            self.is_greeted = true;
        }
        loop {
            let Some(frame) = self.reader.next()? else {
                return Err(gone());
            };
            let (event, frame_len) = (event_of(&frame)?, frame.payload.len());
            if let Event::Message(ToSender::Ping(pulse)) = event {
                // It has done its work: however long a connection idles, none pile up.
                self.hearing.headway().pinged(pulse, Instant::now());
                continue;
            }
            self.hearing.headway().spoke(Instant::now());
            let read_bytes = self.reader.read_bytes();
            self.hearing.read_bytes.store(read_bytes, Ordering::Relaxed);
            let len = held_len(&event, frame_len);
            return Ok((event, len));
        }
    }
}

/// What a frame of the receiver's says.
pub(super) fn event_of(frame: &Frame<'_>) -> Result<Event, Error> {
    match frame.kind {
        FrameKind::Message => Ok(Event::Message(decode(frame.payload)?)),
        FrameKind::Exchange => {
            let piece = ExchangePiece::parse(frame.payload)?;
            Ok(Event::Exchange {
                dir: piece.dir,
                entry: piece.entry,
                last: piece.last,
                bytes: piece.bytes.to_vec(),
            })
        }
        FrameKind::Pack | FrameKind::Data => Err(Error::peer(Refusal::ContentFromReceiver)),
    }
}

/// Bytes that an event takes in memory, which was in a frame of that length.
fn held_len(event: &Event, frame_len: usize) -> usize {
    let held = match event {
        Event::Message(message) => match message {
            ToSender::Differs { prints, .. } => prints.capacity(),
            ToSender::Verdicts { verdicts, .. } => verdicts.capacity() * size_of::<Verdict>(),
            ToSender::Deleted { path, .. } | ToSender::NotEmpty { path } => path.capacity(),
            ToSender::Warning(Warning { message, .. }) | ToSender::Fatal { message, .. } => {
                message.capacity()
            }
            // The rest is small, or comes once: counted as the most that it can be decoded to.
            _ => frame_len * (DECODE_LIMIT / FRAME_LEN_MAX),
        },
        Event::Exchange { bytes, .. } => bytes.capacity(),
        _ => 0,
    };
    size_of::<(Event, usize)>() + held
}
