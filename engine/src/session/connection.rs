//! The primary's end of a byte stream to a standby: opened once, then good for any number of
//! pushes, one after another, with any time between them. A thread reads what the standby says and
//! queues it for the push that runs; between pushes both halves say that they are alive, so that
//! silence means that the other is gone.

mod compare;

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender as Queue, TryRecvError, channel};
use std::time::Duration;

pub use compare::Comparison;

use super::backlog::Backlog;
use super::outbox::{Outbox, Ticker};
use super::sender::{self, Event, Push, Streams};
use super::{Duplex, PING_MS, ping_ms};
use crate::digest::Fields;
use crate::error::{Error, ErrorKind, Fault};
use crate::filter::Filter;
use crate::generation::{Sending, Tree};
use crate::ids::groups_here;
use crate::observer::{Note, Observer, Summary, Warning};
use crate::options::{Compression, Options};
use crate::path::Shown;
use crate::refusal::Refusal;
use crate::source::Source;
use crate::wire::{
    ExchangePiece, FrameKind, FrameReader, FrameWriter, Hello, HelloReply, PREAMBLE_LEN,
    ToReceiver, ToSender, check_preamble, decode, preamble,
};

/// How long to wait, after the link broke while writing, for the reason that the peer gave.
const REASON_WAIT: Duration = Duration::from_secs(2);

/// Bytes of the receiver's answers that may wait to be handled. An honest one is far below: what
/// it may answer is bounded by the window, and by its own limit on described bases.
const QUEUED_BYTES_MAX: u64 = 512 << 20;

/// Runs one push over a link of its own; see [`Connection::push`].
///
/// # Errors
///
/// What ended the push early. What it had changed by then stays, each entry complete.
pub fn push(
    link: Duplex,
    sources: &[OsString],
    destination: &[u8],
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Summary, Error> {
    Connection::open(link).push(sources, destination, options, observer)
}

/// An open connection to the receiving half. Dropping it ends the stream, which is how the
/// receiver learns that no push follows.
pub struct Connection {
    outbox: Outbox,
    alive: Ticker,
    /// `None` once the connection has ended: a push failed, or the peer is gone.
    queue: Option<Queue<Event>>,
    events: Receiver<Event>,
    read_bytes: Arc<AtomicU64>,
    backlog: Arc<Backlog>,
    /// No push has run yet.
    is_new: bool,
    /// What the pushes before have been charged with.
    charged: Bytes,
}

/// Bytes on the link.
#[derive(Clone, Copy, Default)]
struct Bytes {
    sent: u64,
    sent_plain: u64,
    received: u64,
}

impl Connection {
    /// Takes over a link to a receiver that has just started. Nothing is waited for; what the peer
    /// says first is checked by the first push.
    #[must_use]
    pub fn open(link: Duplex) -> Self {
        let outbox = Outbox::new(FrameWriter::new(link.writer));
        // It travels together with the first hello.
        outbox.lock().raw(&preamble());
        let (queue, events) = channel();
        let read_bytes = Arc::new(AtomicU64::new(0));
        let backlog = Arc::new(Backlog::default());
        start_reading(
            FrameReader::new(link.reader),
            queue.clone(),
            Arc::clone(&read_bytes),
            Arc::clone(&backlog),
        );
        Connection {
            alive: say_alive(&outbox, PING_MS),
            outbox,
            queue: Some(queue),
            events,
            read_bytes,
            backlog,
            is_new: true,
            charged: Bytes::default(),
        }
    }

    /// Runs one push: makes `destination` on the peer equal to `sources`.
    ///
    /// `sources` and `destination` are as the user typed them; a trailing slash matters as in
    /// rsync. What happens to single entries, and what went wrong with them, goes to `observer`.
    /// The summary counts the bytes since the last push ended.
    ///
    /// # Errors
    ///
    /// What ended the push early. What it had changed by then stays, each entry complete. Unless it
    /// is the options that make no sense, the connection has ended too: every later push fails.
    pub fn push(
        &mut self,
        sources: &[OsString],
        destination: &[u8],
        options: &Options,
        observer: &mut dyn Observer,
    ) -> Result<Summary, Error> {
        self.push_from(sources, destination, options, observer, None)
    }

    /// Runs one push of a tree with a name: atomic, and with its lineage. Where the tree is on the
    /// peer, the peer's own configuration says.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push). Besides: fenced if this node is not the primary of the tree, or the
    /// peer does not take it for that; diverged if the peer's data did not lead to this node's;
    /// locked if the tree is being pushed already. In all of these nothing has changed.
    pub fn push_tree(
        &mut self,
        sources: &[OsString],
        tree: &Tree,
        options: &Options,
        observer: &mut dyn Observer,
    ) -> Result<Summary, Error> {
        if options.update {
            let message = "-u leaves newer files on the standby as they are, so that it would not \
                           be equal: it is not for trees with a name";
            return Err(Error::new(ErrorKind::Usage, message));
        }
        let mut sending = Sending::begin(tree, options.dry_run)?;
        let options = Options {
            atomic: true,
            fsync: true,
            recheck: sending.recheck(),
            ..options.clone()
        };
        let mut summary = self.push_from(sources, b"", &options, observer, Some(&mut sending))?;
        if let Some(sealed) = &mut summary.sealed {
            sending.acknowledged(sealed, summary.partial)?;
        }
        Ok(summary)
    }

    fn push_from(
        &mut self,
        sources: &[OsString],
        destination: &[u8],
        options: &Options,
        observer: &mut dyn Observer,
        lineage: Option<&mut Sending>,
    ) -> Result<Summary, Error> {
        let filter = Filter::from_rules(options.filters.clone())
            .map_err(|e| Error::new(ErrorKind::Usage, e.to_string()))?;
        let source = Source::open(sources, options, &filter);
        for name in &source.skipped_dirs {
            observer.note(&Note::SkippedDir(name));
        }
        if source.layers.is_empty() {
            // Nothing to push: the target is not touched, not even made.
            for (argument, why) in &source.failed {
                observer.warn(&not_opened(argument, why));
            }
            return Ok(Summary {
                partial: !source.failed.is_empty(),
                ..Summary::default()
            });
        }
        self.check()?;
        let push = Push {
            options,
            filter,
            source,
            observer,
            lineage,
        };
        let mut summary = self.run(push, destination)?;
        self.is_new = false;
        self.charge(&mut summary);
        Ok(summary)
    }

    /// Whether another push can run, as far as is known without asking the peer. Costs nothing.
    ///
    /// # Errors
    ///
    /// Why the connection has ended: an earlier push failed, or the peer left, broke off or was
    /// silent for longer than the link allows.
    pub fn check(&mut self) -> Result<(), Error> {
        if self.queue.is_none() {
            return Err(ended());
        }
        let error = match self.events.try_recv() {
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => sender::gone(),
            Ok(Event::LinkEnd(e)) => e,
            Ok(Event::Message(ToSender::Fatal { kind, message }, _)) => Error::told(kind, message),
            Ok(_) => Error::peer(Refusal::IdleMessage),
        };
        self.queue = None;
        if self.is_new {
            return Err(error);
        }
        let message = format!("the connection ended between two pushes: {}", error.message);
        Err(Error { message, ..error })
    }

    fn run(&mut self, mut push: Push<'_>, destination: &[u8]) -> Result<Summary, Error> {
        // It comes back when the push has gone well. Once it is dropped, the end of the reading
        // ends every wait for events.
        let queue = self.queue.take().ok_or_else(ended)?;
        let options = push.options;
        let single = push.source.single;
        let lineage = push.lineage.as_deref_mut();
        let (reply, fields) = self.greet(destination, options, single, lineage)?;
        if reply.runs {
            self.outbox.lock().compress(options.compression)?;
        }
        self.alive = say_alive(&self.outbox, ping_ms(options.timeout_ms));
        if let Some(name) = reply.rename.clone() {
            push.source.rename_single(name);
        }
        let streams = Streams {
            outbox: &self.outbox,
            queue: queue.clone(),
            events: &self.events,
            backlog: &self.backlog,
        };
        match push.run(streams, &reply, fields) {
            Ok(summary) => {
                self.queue = Some(queue);
                Ok(summary)
            }
            Err(e) if matches!(e.fault, Fault::Link(_)) => {
                drop(queue);
                Err(self.reason(false).unwrap_or(e))
            }
            Err(e) => Err(e),
        }
    }

    /// Hello and its answer.
    fn greet(
        &self,
        destination: &[u8],
        options: &Options,
        single: bool,
        mut lineage: Option<&mut Sending>,
    ) -> Result<(Box<HelloReply>, Fields), Error> {
        let mut digest_key = [0; 32];
        rustix::rand::getrandom(&mut digest_key, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::file("get random numbers", &e.into()))?;
        let hello = Hello {
            options: options.clone(),
            destination: destination.to_vec(),
            single,
            digest_key,
            claim: lineage.as_deref().map(Sending::claim),
        };
        let said = {
            let mut writer = self.outbox.lock();
            // Each push has a compressed stream of its own, which begins after its hello.
            writer.compress(Compression::Never)?;
            writer
                .put_to_receiver(&ToReceiver::Hello(Box::new(hello)))
                .and_then(|()| writer.flush())
        };
        // If the peer is not hasync, what it sent says more than the failure to write to it.
        if let Err(e) = said {
            return Err(self.reason(true).unwrap_or(e));
        }
        let mut event = self.events.recv().map_err(|_| sender::gone())?;
        if let Event::Message(ToSender::Standing(standing), len) = &event
            && let Some(lineage) = &mut lineage
        {
            self.backlog.handled(*len);
            lineage.heard(standing)?;
            event = self.events.recv().map_err(|_| sender::gone())?;
        }
        let (reply, len) = match event {
            Event::Message(ToSender::HelloReply(reply), len) => (reply, len),
            Event::Message(ToSender::Fatal { kind, message }, _) => {
                return Err(Error::told(kind, message));
            }
            Event::LinkEnd(e) => return Err(e),
            _ => return Err(Error::peer(Refusal::NotReply)),
        };
        self.backlog.handled(len);
        reply.time_store.check()?;
        reply.mounted.check()?;
        if let Some(lineage) = &mut lineage {
            lineage.accepted()?;
        }
        if let Some(name) = &reply.rename {
            crate::path::check_name(name)
                .map_err(|error| Error::peer(Refusal::TargetName { error }))?;
        }
        let settable = groups_here(&reply.settable_groups, options.numeric_ids);
        let fields = Fields::new(
            options,
            reply.powers,
            settable,
            reply.time_store,
            digest_key,
        );
        let fields = fields.with_mounted(reply.mounted.clone());
        Ok((reply, fields))
    }

    /// The better reason for a link that broke while it was written to: the one that the peer gave
    /// before, its silence, or with `any_end` whatever ended the reading.
    fn reason(&self, any_end: bool) -> Option<Error> {
        self.backlog.close();
        loop {
            match self.events.recv_timeout(REASON_WAIT) {
                Ok(Event::Message(ToSender::Fatal { kind, message }, _)) => {
                    return Some(Error::told(kind, message));
                }
                Ok(Event::LinkEnd(e)) => {
                    return (any_end || e.kind == ErrorKind::Timeout).then_some(e);
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Enters what has crossed the link since the last push into `summary`.
    fn charge(&mut self, summary: &mut Summary) {
        let writer = self.outbox.lock();
        let now = Bytes {
            sent: writer.written_bytes(),
            sent_plain: writer.plain_bytes(),
            received: self.read_bytes.load(Ordering::Relaxed),
        };
        drop(writer);
        summary.sent_bytes = now.sent - self.charged.sent;
        summary.sent_plain_bytes = now.sent_plain - self.charged.sent_plain;
        summary.received_bytes = now.received - self.charged.received;
        self.charged = now;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.backlog.close();
    }
}

fn ended() -> Error {
    let message = "this connection has ended; open another one";
    Error::new(ErrorKind::Stream, message)
}

fn say_alive(outbox: &Outbox, interval_ms: u64) -> Ticker {
    outbox.keep_alive(interval_ms, |writer| {
        writer.put_to_receiver(&ToReceiver::Ping)
    })
}

/// Until everything has been said, the reading thread never waits for the main thread, which may
/// itself be waiting for the peer to read. What it may have to hold is bounded all the same.
fn start_reading(
    mut reader: FrameReader,
    queue: Queue<Event>,
    read_bytes: Arc<AtomicU64>,
    backlog: Arc<Backlog>,
) {
    let mut is_greeted = false;
    let mut next = move || -> Result<Event, Error> {
        if !is_greeted {
            check_preamble(reader.raw(PREAMBLE_LEN)?)?;
            is_greeted = true;
        }
        loop {
            let Some(frame) = reader.next()? else {
                return Err(sender::gone());
            };
            let len = frame.payload.len() as u64;
            let event = match frame.kind {
                FrameKind::Message => match decode(frame.payload)? {
                    // It has done its work: however long a connection idles, none pile up.
                    ToSender::Ping => continue,
                    message => Event::Message(message, len),
                },
                FrameKind::Exchange => {
                    let ExchangePiece {
                        dir,
                        entry,
                        last,
                        bytes,
                    } = ExchangePiece::parse(frame.payload)?;
                    Event::Exchange {
                        dir,
                        entry,
                        last,
                        bytes: bytes.to_vec(),
                    }
                }
                FrameKind::Pack | FrameKind::Data => {
                    return Err(Error::peer(Refusal::ContentFromReceiver));
                }
            };
            read_bytes.store(reader.read_bytes(), Ordering::Relaxed);
            if matches!(event, Event::Message(ToSender::Deleted { .. }, _)) {
                backlog.ease();
            }
            if backlog.add(len) > QUEUED_BYTES_MAX {
                let max = QUEUED_BYTES_MAX;
                return Err(Error::peer(Refusal::TooManyAnswers { max }));
            }
            return Ok(event);
        }
    };
    std::thread::spawn(move || {
        loop {
            let event = next().unwrap_or_else(Event::LinkEnd);
            let last = matches!(event, Event::LinkEnd(_));
            if queue.send(event).is_err() || last {
                return;
            }
        }
    });
}

/// A missing argument is an error, not a file that vanished.
pub(super) fn not_opened(argument: &OsString, why: &str) -> Warning {
    let shown = Shown(argument.as_encoded_bytes());
    let message = format!("cannot open the source {shown}: {why}");
    Warning {
        vanished: false,
        message,
    }
}
