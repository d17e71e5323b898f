//! The sender: scans the source ahead, announces directories, answers what the receiver asks, and
//! reports. A scanning thread and a reading thread feed one queue of events; the main thread alone
//! writes to the link.

mod content;
mod deltas;
mod dirs;
mod links;
mod report;

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender as Queue, TryRecvError, channel};
use std::time::Duration;

use super::outbox::Outbox;
use super::window::{Credit, Window};
use super::{Duplex, ping_ms};
use crate::digest::Fields;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, describe};
use crate::filter::Filter;
use crate::ids::groups_here;
use crate::observer::{Note, Observer, Summary, Warning};
use crate::options::Options;
use crate::path::{RelPath, Shown};
use crate::scan::{ScannedDir, Scanner};
use crate::source::Source;
use crate::wire::{
    DirIndex, EXCHANGE_HEADER_LEN, ExchangePiece, FrameKind, FrameReader, FrameWriter, Hello,
    HelloReply, PREAMBLE_LEN, ToReceiver, ToSender, Want, check_preamble, decode, preamble,
};

use content::FileSource;
use deltas::DeltaTask;
use dirs::PendingDir;
use links::LinkGroups;

/// How long to wait, after the link broke while writing, for the reason that the peer gave.
const REASON_MS: u64 = 2_000;

/// Bytes of the receiver's answers that may wait to be handled. An honest one is far below: what
/// it may answer is bounded by the window, and by its own limit on described bases.
const QUEUED_BYTES_MAX: u64 = 512 << 20;

/// Runs the sender half of one push: makes `destination` on the peer equal to `sources`.
///
/// `sources` and `destination` are as the user typed them; a trailing slash matters as in rsync.
/// What happens to single entries, and what went wrong with them, goes to `observer`.
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
    let filter = Filter::from_rules(options.filters.clone())
        .map_err(|e| Error::new(ErrorKind::Usage, e.to_string()))?;
    let mut source = Source::open(sources, options, &filter);
    for name in &source.skipped_dirs {
        observer.note(&Note::SkippedDir(name));
    }
    if source.layers.is_empty() {
        // Nothing to push: the target is not touched, not even made.
        for (argument, e) in &source.failed {
            observer.warn(&not_opened(argument, e));
        }
        return Ok(Summary {
            partial: !source.failed.is_empty(),
            ..Summary::default()
        });
    }
    let mut reader = FrameReader::new(link.reader);
    let outbox = Outbox::new(FrameWriter::new(link.writer));
    let (reply, fields) = greet(&mut reader, &outbox, destination, options, source.single)?;
    outbox.lock().compress(options.compression)?;
    if let Some(name) = reply.rename.clone() {
        source.rename_single(name);
    }
    let read_bytes = Arc::new(AtomicU64::new(0));
    let handled_bytes = Arc::new(AtomicU64::new(0));
    let window = Arc::new(Window::default());
    let (queue, events) = channel();
    let _alive = outbox.keep_alive(ping_ms(options.timeout_ms), |writer| {
        writer.put_to_receiver(&ToReceiver::Ping)
    });
    start_reading(
        reader,
        queue.clone(),
        Arc::clone(&read_bytes),
        Arc::clone(&handled_bytes),
    );
    start_scan(
        &source,
        options,
        filter,
        fields.clone(),
        reply.privileged,
        &window,
        queue,
    );
    let mut sender = Sender {
        outbox,
        options,
        observer,
        fields,
        summary: Summary::default(),
        source,
        root_verdict_due: false,
        window: VecDeque::new(),
        lacking_root: None,
        pushes: VecDeque::new(),
        links: LinkGroups::default(),
        files: VecDeque::new(),
        deltas: HashMap::new(),
        deltas_ready: VecDeque::new(),
        delta_sources: HashMap::new(),
        received_bytes: 0,
        open_exchanges: 0,
        handled_bytes,
        scanning: true,
        deletable: true,
        replacements: Vec::new(),
        replacements_stopped: false,
        content_done_sent: false,
        seen: 0,
        checked: 0,
        moved_bytes: 0,
        moved_files: 0,
    };
    let result = sender.begin(&reply).and_then(|()| sender.run(&events));
    window.close();
    match result {
        Ok(()) => {
            sender.summary.received_bytes = read_bytes.load(Ordering::Relaxed);
            let writer = sender.outbox.lock();
            sender.summary.sent_bytes = writer.written_bytes();
            sender.summary.sent_plain_bytes = writer.plain_bytes();
            drop(writer);
            Ok(sender.summary)
        }
        Err(e) if e.kind == ErrorKind::Stream => Err(reason(&events).unwrap_or(e)),
        Err(e) => Err(e),
    }
}

/// Preamble and hello, both ways.
fn greet(
    reader: &mut FrameReader,
    outbox: &Outbox,
    destination: &[u8],
    options: &Options,
    single: bool,
) -> Result<(Box<HelloReply>, Fields), Error> {
    let mut digest_key = [0; 32];
    rustix::rand::getrandom(&mut digest_key, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::file("get random numbers", &e.into()))?;
    let hello = Hello {
        options: options.clone(),
        destination: destination.to_vec(),
        single,
        digest_key,
    };
    let said = {
        let mut writer = outbox.lock();
        writer.raw(&preamble());
        writer
            .put_to_receiver(&ToReceiver::Hello(Box::new(hello)))
            .and_then(|()| writer.flush())
    };
    // If the peer is not hasync, what it sent says more than the failure to write to it.
    check_preamble(reader.raw(PREAMBLE_LEN)?)?;
    said?;
    loop {
        let Some(frame) = reader.next()? else {
            return Err(Error::stream(&std::io::ErrorKind::UnexpectedEof.into()));
        };
        if frame.kind != FrameKind::Message {
            return Err(Error::peer(
                "something else where the answer to the hello is due",
            ));
        }
        match decode(frame.payload)? {
            ToSender::HelloReply(reply) => {
                if let Some(name) = &reply.rename {
                    crate::path::check_name(name)
                        .map_err(|e| Error::peer(format_args!("{e} as the target's name")))?;
                }
                let settable = groups_here(&reply.settable_groups, options.numeric_ids);
                let fields = Fields::new(
                    options,
                    reply.privileged,
                    settable,
                    reply.time_store,
                    digest_key,
                );
                return Ok((reply, fields));
            }
            ToSender::Fatal { kind, message } => return Err(Error::new(kind, message)),
            ToSender::Ping => {}
            _ => {
                return Err(Error::peer(
                    "another message where the answer to the hello is due",
                ));
            }
        }
    }
}

/// What the main thread waits for.
enum Event {
    Scanned(Box<HeldDir>),
    ScanDone,
    /// With the length that it had on the wire.
    Message(ToSender, u64),
    /// A piece of what the receiver says about a basis.
    Exchange {
        dir: DirIndex,
        entry: u32,
        last: bool,
        bytes: Vec<u8>,
    },
    LinkEnd(Error),
}

/// A scanned directory together with its place in the window.
struct HeldDir {
    dir: ScannedDir,
    _credit: Option<Credit>,
}

/// The reading thread never waits for the main thread, which may itself be waiting for the peer
/// to read. What it may have to hold is bounded all the same.
fn start_reading(
    mut reader: FrameReader,
    queue: Queue<Event>,
    read_bytes: Arc<AtomicU64>,
    handled_bytes: Arc<AtomicU64>,
) {
    let mut queued_bytes = 0;
    let mut next = move || -> Result<Event, Error> {
        let Some(frame) = reader.next()? else {
            return Err(Error::stream(&std::io::ErrorKind::UnexpectedEof.into()));
        };
        let len = frame.payload.len() as u64;
        let event = match frame.kind {
            FrameKind::Message => Event::Message(decode(frame.payload)?, len),
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
                return Err(Error::peer("file content from the receiver"));
            }
        };
        read_bytes.store(reader.read_bytes(), Ordering::Relaxed);
        queued_bytes += len;
        if queued_bytes - handled_bytes.load(Ordering::Relaxed) > QUEUED_BYTES_MAX {
            return Err(Error::peer("more answers than can be held"));
        }
        Ok(event)
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

fn start_scan(
    source: &Source,
    options: &Options,
    filter: Filter,
    fields: Fields,
    privileged: bool,
    window: &Arc<Window>,
    queue: Queue<Event>,
) {
    let options = options.clone();
    let window = Arc::clone(window);
    let mut scanner = Scanner::new(source, options, filter, fields, privileged);
    std::thread::spawn(move || {
        while let Some(dir) = scanner.next() {
            let Some(credit) = window.take(dir.entries.len()) else {
                return;
            };
            let held = HeldDir {
                dir,
                _credit: Some(credit),
            };
            if queue.send(Event::Scanned(Box::new(held))).is_err() {
                return;
            }
        }
        // If nobody listens any more, nobody needs to know.
        let _ = queue.send(Event::ScanDone);
    });
}

/// The error that the peer reported before the link broke, if it did.
fn reason(events: &Receiver<Event>) -> Option<Error> {
    loop {
        match events.recv_timeout(Duration::from_millis(REASON_MS)) {
            Ok(Event::Message(ToSender::Fatal { kind, message }, _)) => {
                return Some(Error::new(kind, message));
            }
            Ok(Event::LinkEnd(e)) => return (e.kind == ErrorKind::Timeout).then_some(e),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// State of the sender half.
struct Sender<'a> {
    outbox: Outbox,
    options: &'a Options,
    observer: &'a mut dyn Observer,
    fields: Fields,
    summary: Summary,
    source: Source,
    root_verdict_due: bool,
    /// Directories announced or scanned, in order, whose outcome is not reported yet.
    window: VecDeque<PendingDir>,
    /// The last directory that the receiver lacks: everything below goes unasked.
    lacking_root: Option<RelPath>,
    /// Directories to be sent whole.
    pushes: VecDeque<Arc<HeldDir>>,
    links: LinkGroups,
    /// Files to be sent whole.
    files: VecDeque<FileSource>,
    /// Files about whose basis something is awaited, with what has come of it.
    deltas: HashMap<(DirIndex, u32), DeltaTask>,
    deltas_ready: VecDeque<DeltaTask>,
    /// Files sent as deltas and not settled: the receiver may ask for the whole.
    delta_sources: HashMap<(DirIndex, u32), FileSource>,
    /// Bytes about bases that wait to be used.
    received_bytes: usize,
    /// Comparisons that have asked something, each with an open file.
    open_exchanges: usize,
    /// Of the receiver's frames; shared with the reading thread.
    handled_bytes: Arc<AtomicU64>,
    scanning: bool,
    deletable: bool,
    /// Entries that take the place of full directories, if the deletions are not stopped.
    replacements: Vec<(RelPath, Entry, Want)>,
    replacements_stopped: bool,
    content_done_sent: bool,
    /// Entries scanned, and of those the ones whose outcome is known.
    seen: u64,
    checked: u64,
    /// Content bytes and files sent, for progress.
    moved_bytes: u64,
    moved_files: u64,
}

impl Sender<'_> {
    fn begin(&mut self, reply: &HelloReply) -> Result<(), Error> {
        for (argument, e) in std::mem::take(&mut self.source.failed) {
            let shown = Shown(argument.as_encoded_bytes());
            // A missing argument is an error, not a file that vanished.
            let message = format!("cannot open the source {shown}: {}", describe(&e));
            self.warn(&Warning {
                vanished: false,
                message,
            });
            self.deletable = false;
        }
        if reply.created_root {
            self.observer.created_root();
        }
        if self.options.owner && !reply.privileged {
            self.observer.note(&Note::OwnersNotKept);
        }
        if let Some(entry) = self.source.root_entry.clone() {
            self.root_verdict_due = true;
            self.summary.entries.add(entry.kind());
            self.announce_root_ids(&entry)?;
            self.say(&ToReceiver::RootEntry(Entry {
                name: b"root".to_vec(),
                ..entry
            }))?;
        }
        Ok(())
    }

    fn run(&mut self, events: &Receiver<Event>) -> Result<(), Error> {
        loop {
            let event = if self.has_work() {
                match events.try_recv() {
                    Ok(event) => Some(event),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) => return Err(gone()),
                }
            } else {
                self.finish_if_done()?;
                self.outbox.lock().flush()?;
                Some(events.recv().map_err(|_| gone())?)
            };
            match event {
                None => self.work()?,
                Some(Event::Scanned(held)) => self.scanned(*held)?,
                Some(Event::ScanDone) => self.scanning = false,
                Some(Event::Message(message, len)) => {
                    self.handled_bytes.fetch_add(len, Ordering::Relaxed);
                    if self.message(message)? {
                        return Ok(());
                    }
                }
                Some(Event::Exchange {
                    dir,
                    entry,
                    last,
                    bytes,
                }) => {
                    let len = EXCHANGE_HEADER_LEN + bytes.len() as u64;
                    self.handled_bytes.fetch_add(len, Ordering::Relaxed);
                    self.told(&ExchangePiece {
                        dir,
                        entry,
                        last,
                        bytes: &bytes,
                    })?;
                }
                Some(Event::LinkEnd(e)) => return Err(e),
            }
        }
    }

    fn has_work(&self) -> bool {
        !self.pushes.is_empty() || !self.files.is_empty() || !self.deltas_ready.is_empty()
    }

    /// Sends one directory or one file.
    fn work(&mut self) -> Result<(), Error> {
        if let Some(held) = self.pushes.pop_front() {
            return self.push_dir(&held);
        }
        if let Some(task) = self.deltas_ready.pop_front() {
            return self.go_on(task);
        }
        self.send_asked()
    }

    fn finish_if_done(&mut self) -> Result<(), Error> {
        let compared = !self.scanning && self.window.is_empty() && !self.root_verdict_due;
        if compared && !self.links.is_empty() {
            self.release_links()?;
            while self.has_work() {
                self.work()?;
            }
        }
        let settled = self.deltas.is_empty() && self.delta_sources.is_empty();
        if compared && settled && !self.content_done_sent {
            self.content_done_sent = true;
            self.say(&ToReceiver::ContentDone {
                deletable: self.deletable,
            })?;
        }
        Ok(())
    }

    /// Handles one message; `true` when the push is finished.
    fn message(&mut self, message: ToSender) -> Result<bool, Error> {
        match message {
            ToSender::HelloReply(_) => return Err(Error::peer("a second answer to the hello")),
            ToSender::Differs { dir, prints, last } => self.differs(dir, prints, last)?,
            ToSender::Lacks { dir } => self.lacks(dir)?,
            ToSender::Compared { below } => self.compared(below)?,
            ToSender::Verdicts {
                dir,
                verdicts,
                last,
            } => self.verdicts(dir, verdicts, last)?,
            ToSender::Again { dir, entry } => {
                let again = self.delta_sources.remove(&(dir, entry));
                let file = again
                    .ok_or_else(|| Error::peer("a file asked for again that was not a delta"))?;
                self.summary.resent_files += 1;
                self.files.push_back(file);
            }
            ToSender::Settled { dir, entry } => {
                self.delta_sources.remove(&(dir, entry));
            }
            ToSender::Deleted { path, kind } => self.deleted(&path, kind)?,
            ToSender::DeletionsStopped { count } => {
                self.summary.deletions_stopped += count;
                self.replacements_stopped = true;
            }
            ToSender::Warning(warning) => self.warn(&warning),
            ToSender::NotEmpty { path } => self.observer.note(&Note::NotEmpty(&path)),
            ToSender::Fatal { kind, message } => return Err(Error::new(kind, message)),
            ToSender::Done { durable } => {
                if !self.content_done_sent {
                    return Err(Error::peer("the end before everything was sent"));
                }
                self.report_replacements();
                self.summary.durable = durable;
                return Ok(true);
            }
            ToSender::Ping => {}
        }
        Ok(false)
    }

    fn say(&self, message: &ToReceiver) -> Result<(), Error> {
        self.outbox.lock().put_to_receiver(message)
    }
}

/// A missing argument is an error, not a file that vanished.
fn not_opened(argument: &OsString, e: &std::io::Error) -> Warning {
    let shown = Shown(argument.as_encoded_bytes());
    let message = format!("cannot open the source {shown}: {}", describe(e));
    Warning {
        vanished: false,
        message,
    }
}

fn gone() -> Error {
    Error::stream(&std::io::ErrorKind::UnexpectedEof.into())
}
