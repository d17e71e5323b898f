//! The primary's end of a byte stream to a standby: opened once, then good for any number of
//! pushes, one after another, with any time between them. Between pushes both halves say that they
//! are alive, so that silence means that the other is gone.

mod compare;
mod lossy;
mod reconcile;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use compare::Comparison;

use lossy::{refuse_lossy, refuse_without_rights};

use super::drive::{Pool, drive};
use super::hearing::{Heard, Hearing, gone};
use super::inbox::Next;
use super::outbox::Outbox;
use super::sender::{Event, Push, Sender, not_opened};
use super::writer::WhenFull;
use super::{Duplex, PING_MS, ping_ms};
use crate::digest::Fields;
use crate::error::{Error, ErrorKind, Fault};
use crate::filter::Filter;
use crate::generation::{Sending, Tree};
use crate::ids::{check_accounts, groups_here};
use crate::observer::{Note, Observer, Summary};
use crate::options::{Compression, Options};
use crate::overlap::Whereabouts;
use crate::refusal::Refusal;
use crate::source::Source;
use crate::spill;
use crate::target::names_dir;
use crate::wire::{FrameReader, Hello, HelloReply, ToReceiver, ToSender, message_frame, preamble};

/// Threads for jobs: the scan takes one for most of a push.
const WORKERS_MAX: usize = 3;

/// How long to wait, after the link broke while writing, for the reason that the peer gave.
const REASON_WAIT: Duration = Duration::from_secs(2);

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
    hearing: Arc<Hearing>,
    /// A push failed, or the peer is gone.
    has_ended: bool,
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
        let hearing = Hearing::start(FrameReader::new(link.reader));
        let outbox = Outbox::new(link.writer);
        // It travels together with the first hello.
        outbox.lock().raw(&preamble());
        let ping = |pulse| message_frame(&ToReceiver::Ping(pulse));
        let heard = Arc::clone(&hearing);
        let tell = move |broken| match broken {
            None => heard.inbox.nudge(),
            Some(error) => drop(heard.inbox.put_own(Event::LinkBroken(error))),
        };
        outbox.start(PING_MS, ping, WhenFull::Tell(Box::new(tell)));
        Connection {
            outbox,
            hearing,
            has_ended: false,
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
        mut lineage: Option<&mut Sending>,
    ) -> Result<Summary, Error> {
        let lineage = &mut lineage;
        let mut push = |observer: &mut dyn Observer| {
            self.push_once(
                sources,
                destination,
                options,
                observer,
                lineage.as_deref_mut(),
            )
        };
        let mut summary = push(observer)?;
        if summary.starved > 0 {
            observer.note(&Note::DeletedFirst(summary.starved));
            let again = push(observer)?;
            if again.starved > 0 {
                let starved = again.starved;
                let message = format!(
                    "{starved} entries had no room on the target, though the deletions went \
                     first; push again"
                );
                return Err(Error::new(ErrorKind::NoSpace, message));
            }
            summary = Summary {
                vanished: summary.vanished | again.vanished,
                partial: summary.partial | again.partial,
                durable: again.durable,
                ..summary
            };
        }
        self.charge(&mut summary);
        Ok(summary)
    }

    fn push_once(
        &mut self,
        sources: &[OsString],
        destination: &[u8],
        options: &Options,
        observer: &mut dyn Observer,
        lineage: Option<&mut Sending>,
    ) -> Result<Summary, Error> {
        let filter = Filter::from_rules(options.filters.clone())
            .map_err(|e| Error::new(ErrorKind::Usage, e.to_string()))?;
        let source = Source::open(sources, options, &filter)?;
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
        let summary = self.run(push, destination)?;
        self.is_new = false;
        Ok(summary)
    }

    /// Whether another push can run, as far as is known without asking the peer. Costs nothing.
    ///
    /// # Errors
    ///
    /// Why the connection has ended: an earlier push failed, or the peer left, broke off or was
    /// silent for longer than the link allows.
    pub fn check(&mut self) -> Result<(), Error> {
        if self.has_ended {
            return Err(ended());
        }
        let error = match self.hearing.inbox.take() {
            Next::Nothing => return Ok(()),
            Next::Ended => gone(),
            Next::Event(Event::LinkEnd(e) | Event::LinkBroken(e)) => e,
            Next::Event(Event::Message(ToSender::Fatal { kind, message })) => {
                Error::told(kind, message)
            }
            Next::Event(_) => Error::peer(Refusal::IdleMessage),
        };
        self.has_ended = true;
        if self.is_new {
            return Err(error);
        }
        let message = format!("the connection ended between two pushes: {}", error.message);
        Err(Error { message, ..error })
    }

    /// Whether more can be asked of the peer: what failed last has not ended the connection.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        !self.has_ended
    }

    fn run(&mut self, mut push: Push<'_>, destination: &[u8]) -> Result<Summary, Error> {
        self.has_ended = true;
        let options = push.options;
        let source = (push.source.single, Whereabouts::of(&push.source));
        let lineage = push.lineage.as_deref_mut();
        let (reply, fields) = self.greet(destination, options, source, lineage)?;
        if reply.runs {
            self.outbox.lock().compress(options.compression)?;
        }
        let ping_ms = ping_ms(options.timeout_ms);
        self.outbox.state().ping_every(ping_ms);
        if let Some(name) = reply.rename.clone() {
            push.source.rename_single(name);
        }
        match self.drive(push, &reply, fields) {
            Ok(summary) => {
                self.has_ended = false;
                Ok(summary)
            }
            Err(e) if matches!(e.fault, Fault::Link(_)) => Err(self.reason(false).unwrap_or(e)),
            Err(e) => Err(e),
        }
    }

    /// Runs the push, from the answer to the hello to `Done`. After it has gone well nothing that
    /// belongs to it is in the queue any more.
    fn drive(&self, push: Push<'_>, reply: &HelloReply, fields: Fields) -> Result<Summary, Error> {
        let (outbox, inbox) = (&self.outbox, &self.hearing.inbox);
        let jobs = Pool::new(inbox, WORKERS_MAX);
        let mut sender = Sender::start(push, outbox, jobs, reply, fields, Instant::now())?;
        let hearing = &*self.hearing;
        let result = drive(&mut sender, &mut Heard { hearing, outbox }, outbox);
        // With the sender its jobs end.
        let summary = sender.into_summary();
        inbox.retain(|event| !matches!(event, Event::Job(_)));
        // What follows from bytes that could not be kept is nobody else's fault.
        spill::check().and(result).map(|()| summary)
    }

    /// Hello and its answer.
    fn greet(
        &self,
        destination: &[u8],
        options: &Options,
        (single, whereabouts): (bool, Whereabouts),
        mut lineage: Option<&mut Sending>,
    ) -> Result<(Box<HelloReply>, Fields), Error> {
        let mut digest_key = [0; 32];
        rustix::rand::getrandom(&mut digest_key, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::file("get random numbers", &e.into()))?;
        let accounts = options.owner_maps.names();
        check_accounts(&accounts)?;
        let asked = accounts.len();
        let hello = Hello {
            options: options.clone(),
            destination: destination.to_vec(),
            single,
            digest_key,
            claim: lineage.as_deref().map(Sending::claim),
            whereabouts,
            readable: crate::fs::readable(),
            accounts,
        };
        self.say_first(&ToReceiver::Hello(Box::new(hello)))?;
        self.hearing.begin(options.stall);
        let mut event = self.next_event()?;
        if let Event::Message(ToSender::Standing(standing)) = &event
            && let Some(lineage) = &mut lineage
        {
            lineage.heard(standing)?;
            event = self.next_event()?;
        }
        let reply = match event {
            Event::Message(ToSender::HelloReply(reply)) => reply,
            Event::Message(ToSender::Fatal { kind, message }) => {
                return Err(Error::told(kind, message));
            }
            Event::LinkEnd(e) => return Err(e),
            _ => return Err(Error::peer(Refusal::NotReply)),
        };
        // Where the tree with a name is, the receiver knows by itself: a directory.
        let may_rename = single && lineage.is_none() && !names_dir(destination);
        reply.check(asked, may_rename)?;
        let fields = agreed(&reply, options, digest_key);
        let tree = lineage.as_deref().map(Sending::name);
        if tree.is_some() || options.lossless {
            refuse_lossy(&fields, options.lossy, tree)?;
        }
        if options.lossless && options.owner {
            refuse_without_rights(&fields)?;
        }
        if let Some(lineage) = &mut lineage {
            lineage.accepted()?;
        }
        Ok((reply, fields))
    }

    /// Says what a push, or a question, begins with.
    fn say_first(&self, message: &ToReceiver) -> Result<(), Error> {
        let said = {
            let mut writer = self.outbox.lock();
            // Each push has a compressed stream of its own, which begins after its hello.
            writer.compress(Compression::Never)?;
            let put = writer.put_to_receiver(message);
            put.and_then(|()| writer.flush())
        };
        // If the peer is not hasync, what it sent says more than the failure to write to it.
        said.map_err(|e| self.reason(true).unwrap_or(e))
    }

    /// What the peer says next, while nothing else is to be done.
    fn next_event(&self) -> Result<Event, Error> {
        let seen = || self.outbox.state().taken_bytes();
        match self.hearing.wait(None, seen, || true)? {
            Some(Event::LinkBroken(e)) => Err(self.reason(true).unwrap_or(e)),
            event => event.ok_or_else(gone),
        }
    }

    /// The better reason for a link that broke while it was written to: the one that the peer gave
    /// before, its silence, or with `any_end` whatever ended the reading.
    fn reason(&self, any_end: bool) -> Option<Error> {
        let until = Instant::now() + REASON_WAIT;
        loop {
            match self.hearing.inbox.wait_while(Some(until), || true) {
                Next::Event(Event::Message(ToSender::Fatal { kind, message })) => {
                    return Some(Error::told(kind, message));
                }
                Next::Event(Event::LinkEnd(e)) => {
                    return (any_end || e.kind == ErrorKind::Timeout).then_some(e);
                }
                Next::Event(_) => {}
                Next::Nothing | Next::Ended => return None,
            }
        }
    }

    /// Enters what has crossed the link since the last push into `summary`.
    fn charge(&mut self, summary: &mut Summary) {
        let writer = self.outbox.lock();
        let now = Bytes {
            sent: writer.written_bytes(),
            sent_plain: writer.plain_bytes(),
            received: self.hearing.read_bytes(),
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
        self.hearing.inbox.close();
    }
}

/// What both halves compare, after the answer to the hello.
pub(super) fn agreed(reply: &HelloReply, options: &Options, digest_key: [u8; 32]) -> Fields {
    let settable = groups_here(&reply.settable_groups, options.numeric_ids);
    let fields = Fields::new(options, reply.powers, settable, reply.keeps, digest_key);
    fields.with_mounted(reply.mounted.clone())
}

fn ended() -> Error {
    let message = "this connection has ended; open another one";
    Error::new(ErrorKind::Stream, message)
}
