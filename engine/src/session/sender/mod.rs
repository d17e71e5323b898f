//! The sender: scans the source ahead, announces directories, answers what the receiver asks, and
//! reports. A scanning thread and a reading thread feed one inbox. The main thread handles what is
//! in there before anything else, and never waits for the link: what handling makes it say is put
//! at once, since it is little; entries and content are put when there is room for them.

mod answer;
mod asked;
mod content;
mod deltas;
mod dirs;
mod leases;
mod links;
mod patience;
mod reading;
mod report;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::connection::not_opened;
use super::hearing::Hearing;
use super::inbox::Next;
use super::outbox::Outbox;
use super::window::{Credit, Window};
use crate::digest::Fields;
use crate::entry::Entry;
use crate::error::Error;
use crate::filter::Filter;
use crate::generation::{Partial, Sending};
use crate::observer::{Note, Observer, Summary};
use crate::options::Options;
use crate::path::RelPath;
use crate::policy::Powers;
use crate::refusal::Refusal;
use crate::scan::{LeftOut, ScannedDir, Scanner};
use crate::source::Source;
use crate::spill;
use crate::wire::{DirIndex, ExchangePiece, HelloReply, ToReceiver, ToSender, Want};

use asked::AskedFiles;
use deltas::DeltaTask;
use dirs::{Lacking, PendingDir};
use leases::Leased;
use links::LinkGroups;
use patience::Patience;
use reading::FileSource;

/// Events that are handled before a piece of work is done, if there are that many: whoever says
/// more without end does not keep the push from its end.
const HANDLED_MAX: u32 = 4096;

/// One push, ready to run.
pub(super) struct Push<'a> {
    pub(super) options: &'a Options,
    pub(super) filter: Filter,
    pub(super) source: Source,
    pub(super) observer: &'a mut dyn Observer,
    /// The lineage of the tree, if it has a name.
    pub(super) lineage: Option<&'a mut Sending>,
}

impl Push<'_> {
    /// Runs the push, from the answer to the hello to `Done`. After it has gone well nothing that
    /// belongs to it is in the queue any more.
    pub(super) fn run(
        self,
        outbox: &Outbox,
        hearing: &Arc<Hearing>,
        reply: &HelloReply,
        fields: Fields,
    ) -> Result<Summary, Error> {
        let Push {
            options,
            filter,
            source,
            observer,
            lineage,
        } = self;
        let window = Arc::new(Window::default());
        start_scan(
            &source,
            options,
            filter,
            fields.clone(),
            reply.powers,
            &window,
            hearing,
        );
        let mut sender = Sender {
            written_before: outbox.written_bytes(),
            outbox: outbox.clone(),
            hearing: Arc::clone(hearing),
            options,
            observer,
            lineage,
            problems: Partial::default(),
            fields,
            summary: Summary::default(),
            source,
            root_verdict_due: false,
            announced: None,
            patience: Patience::new(Instant::now()),
            window: VecDeque::new(),
            lacking: None,
            answers: VecDeque::new(),
            held_prints: 0,
            pushes: VecDeque::new(),
            waiting: HashMap::new(),
            links: LinkGroups::default(),
            files: AskedFiles::default(),
            deltas: HashMap::new(),
            deltas_ready: VecDeque::new(),
            delta_sources: HashMap::new(),
            received_bytes: 0,
            open_exchanges: 0,
            scanning: true,
            leased: Leased::default(),
            len_max: reply.len_max,
            listing: Listing::Complete,
            left_out: LeftOut::default(),
            replacements: Vec::new(),
            replacements_stopped: false,
            content_done_sent: false,
            seen: 0,
            checked: 0,
            moved_bytes: 0,
            moved_files: 0,
        };
        let result = sender.begin(reply).and_then(|()| sender.run());
        window.close();
        // What follows from bytes that could not be kept is nobody else's fault.
        spill::check().and(result).map(|()| sender.summary)
    }
}

/// What the main thread waits for.
pub(super) enum Event {
    Scanned(Box<HeldDir>),
    ScanDone,
    Message(ToSender),
    /// A piece of what the receiver says about a basis.
    Exchange {
        dir: DirIndex,
        entry: u32,
        last: bool,
        bytes: Vec<u8>,
    },
    /// Nothing more can be read, and why.
    LinkEnd(Error),
    /// Nothing more can be written. What the receiver said before may still be read.
    LinkBroken(Error),
}

/// A scanned directory together with its place in the window.
pub(super) struct HeldDir {
    dir: ScannedDir,
    _credit: Option<Credit>,
}

fn start_scan(
    source: &Source,
    options: &Options,
    filter: Filter,
    fields: Fields,
    powers: Powers,
    window: &Arc<Window>,
    hearing: &Arc<Hearing>,
) {
    let options = options.clone();
    let (window, hearing) = (Arc::clone(window), Arc::clone(hearing));
    let mut scanner = Scanner::new(source, options, filter, fields, powers);
    std::thread::spawn(move || {
        while let Some(dir) = scanner.next() {
            let Some(credit) = window.take(dir.entries.len()) else {
                return;
            };
            let held = HeldDir {
                dir,
                _credit: Some(credit),
            };
            if !hearing.inbox.put_own(Event::Scanned(Box::new(held))) {
                return;
            }
        }
        // If nobody listens any more, nobody needs to know.
        let _ = hearing.inbox.put_own(Event::ScanDone);
    });
}

/// How much of the source is listed.
enum Listing {
    Complete,
    /// Something could not be read: what is missing may be there, and nothing is deleted.
    Incomplete,
}

/// State of the sender half.
struct Sender<'a> {
    outbox: Outbox,
    hearing: Arc<Hearing>,
    /// Bytes that had been written to the link before this push.
    written_before: u64,
    options: &'a Options,
    observer: &'a mut dyn Observer,
    lineage: Option<&'a mut Sending>,
    /// What keeps the target from becoming equal to the source, as far as it is known here.
    problems: Partial,
    fields: Fields,
    summary: Summary,
    source: Source,
    root_verdict_due: bool,
    /// The directory announced last.
    announced: Option<(DirIndex, RelPath)>,
    patience: Patience,
    /// Directories announced or scanned, in order, whose outcome is not reported yet.
    window: VecDeque<PendingDir>,
    /// The last directory that the receiver lacks: everything below goes unasked.
    lacking: Option<Lacking>,
    /// Directories about which the receiver has said what it has, and waits for the rest.
    answers: VecDeque<DirIndex>,
    /// What is held of the receiver's prints for these and for others.
    held_prints: usize,
    /// Directories to be sent whole.
    pushes: VecDeque<Arc<HeldDir>>,
    /// The same, as long as they have to wait for the directory above all that is lacking there.
    waiting: HashMap<DirIndex, Vec<Arc<HeldDir>>>,
    links: LinkGroups,
    /// Files to be sent whole.
    files: AskedFiles,
    /// Files about whose basis something is awaited, with what has come of it.
    deltas: HashMap<(DirIndex, u32), DeltaTask>,
    deltas_ready: VecDeque<DeltaTask>,
    /// Files sent as deltas and not settled: the receiver may ask for the whole.
    delta_sources: HashMap<(DirIndex, u32), FileSource>,
    /// Bytes about bases that wait to be used.
    received_bytes: usize,
    /// Comparisons that have asked something, each with an open file.
    open_exchanges: usize,
    scanning: bool,
    /// Files that somebody has a lease on.
    leased: Leased,
    /// The most bytes that a file can have on the target.
    len_max: u64,
    listing: Listing,
    /// Entries that take the place of full directories, if the deletions are not stopped.
    replacements: Vec<(RelPath, Entry, Want)>,
    replacements_stopped: bool,
    /// What the observer has been told that the receiver takes from nobody with these rights.
    left_out: LeftOut,
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
        for (argument, why) in std::mem::take(&mut self.source.failed) {
            self.warn_not_listed(&not_opened(&argument, &why));
        }
        if reply.created_root {
            self.observer.created_root();
        }
        if self.options.owner && !reply.powers.owners {
            self.observer.note(&Note::OwnersNotKept);
        }
        if let Some(entry) = self.source.root_entry.clone() {
            self.root_verdict_due = true;
            self.summary.entries.add(entry.kind());
            self.announce_ids(entry.uid, entry.gid)?;
            self.say(&ToReceiver::RootEntry(Entry {
                name: b"root".to_vec(),
                ..entry
            }))?;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), Error> {
        let mut handled = 0;
        loop {
            let event = if self.has_work() {
                handled += 1;
                let next = match handled {
                    0..=HANDLED_MAX => self.hearing.inbox.take(),
                    _ => Next::Nothing,
                };
                match next {
                    Next::Event(event) => event,
                    Next::Nothing => {
                        handled = 0;
                        self.make_room()?;
                        self.work()?;
                        continue;
                    }
                    Next::Ended => return Err(gone()),
                }
            } else {
                self.finish_if_done()?;
                self.wait()?
            };
            if self.handle(event)? {
                return Ok(());
            }
        }
    }

    /// The next event. What has been put for the receiver is on its way before anything is waited
    /// for, but while there is more to come it may gather for a little.
    fn wait(&mut self) -> Result<Event, Error> {
        if self.scanning
            && let Some(left) = self.patience.left(Instant::now())
            && let Some(event) = self.wait_until(Some(Instant::now() + left))?
        {
            return Ok(event);
        }
        self.patience.flushed();
        self.outbox.lock().flush()?;
        self.wait_until(None)?.ok_or_else(gone)
    }

    fn wait_until(&self, until: Option<Instant>) -> Result<Option<Event>, Error> {
        self.hearing.wait(until, || self.seen_done(), || true)
    }

    /// Handles what there is until the link takes more: to be called before anything long is put.
    /// So each half always gets rid of what it has to say, whatever the other does.
    pub(super) fn make_room(&mut self) -> Result<(), Error> {
        if self.outbox.state().has_room() {
            return Ok(());
        }
        let start = Instant::now();
        let (outbox, hearing) = (self.outbox.clone(), Arc::clone(&self.hearing));
        let is_full = || {
            outbox.state().want_room();
            !outbox.state().has_room()
        };
        while is_full() {
            if let Some(event) = hearing.wait(None, || self.seen_done(), is_full)?
                && self.handle(event)?
            {
                return Err(Error::peer(Refusal::EarlyDone));
            }
        }
        outbox.lock().waited(start);
        Ok(())
    }

    /// What this side itself sees the receiver do, as a number that grows: it takes bytes, and
    /// answers for entries.
    fn seen_done(&self) -> u64 {
        let taken_bytes = self.outbox.state().taken_bytes();
        taken_bytes.wrapping_add(self.checked)
    }

    /// Handles one event; `true` when the push is finished.
    fn handle(&mut self, event: Event) -> Result<bool, Error> {
        match event {
            Event::Scanned(held) => self.scanned(*held)?,
            Event::ScanDone => self.scanning = false,
            Event::Message(message) => return self.message(message),
            Event::Exchange {
                dir,
                entry,
                last,
                bytes,
            } => {
                self.told(&ExchangePiece {
                    dir,
                    entry,
                    last,
                    bytes: &bytes,
                })?;
            }
            Event::LinkEnd(e) | Event::LinkBroken(e) => return Err(e),
        }
        Ok(false)
    }

    fn has_work(&self) -> bool {
        !self.answers.is_empty()
            || !self.pushes.is_empty()
            || !self.files.is_empty()
            || !self.deltas_ready.is_empty()
    }

    /// Sends one directory or one file, or a part of an answer.
    fn work(&mut self) -> Result<(), Error> {
        if let Some(&dir) = self.answers.front() {
            return self.answer(dir);
        }
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
        if compared && self.deltas.is_empty() {
            self.send_leased(0)?;
        }
        let settled = self.deltas.is_empty() && self.delta_sources.is_empty();
        if compared && settled && !self.links.is_empty() {
            self.release_links()?;
            while self.has_work() {
                self.make_room()?;
                self.work()?;
            }
        }
        let settled = self.deltas.is_empty() && self.delta_sources.is_empty();
        if compared && settled && !self.content_done_sent {
            self.content_done_sent = true;
            if let Some(lineage) = &mut self.lineage {
                // Should the acknowledgement get lost, this node must know what it asked for.
                lineage.intend()?;
            }
            let problems = std::mem::take(&mut self.problems);
            self.say(&ToReceiver::ContentDone {
                deletable: matches!(self.listing, Listing::Complete),
                problems,
            })?;
        }
        Ok(())
    }

    /// Handles one message; `true` when the push is finished.
    fn message(&mut self, message: ToSender) -> Result<bool, Error> {
        match message {
            ToSender::HelloReply(_) => return Err(Error::peer(Refusal::SecondReply)),
            ToSender::Differs {
                dir,
                print_len,
                prints,
                last,
            } => self.differs(dir, print_len, &prints, last)?,
            ToSender::Lacks { dir } => self.lacks(dir)?,
            ToSender::Compared { below } => self.compared(below)?,
            ToSender::Verdicts {
                dir,
                verdicts,
                last,
            } => self.verdicts(dir, &verdicts, last)?,
            ToSender::Again { dir, entry } => {
                let file = self.settled(dir, entry)?;
                self.summary.resent_files += 1;
                self.files.push_back(&file);
            }
            ToSender::Settled { dir, entry } => {
                self.settled(dir, entry)?;
            }
            ToSender::Deleted { path, kind } => self.deleted(&path, kind)?,
            ToSender::DeletionsStopped { count } => {
                let stopped = &mut self.summary.deletions_stopped;
                *stopped = stopped.saturating_add(count);
                self.replacements_stopped = true;
            }
            ToSender::Warning(warning) => self.pass_on(&warning),
            ToSender::NotEmpty { path } => self.observer.note(&Note::NotEmpty(&path)),
            ToSender::Fatal { kind, message } => return Err(Error::told(kind, message)),
            ToSender::Standing(_) => {
                return Err(Error::peer(Refusal::LateStanding));
            }
            ToSender::Done { durable, sealed } => {
                self.check_done(durable, sealed.is_some())?;
                self.report_replacements();
                self.summary.durable = durable;
                self.summary.sealed = sealed;
                return Ok(true);
            }
            ToSender::Ping(_) => {}
        }
        Ok(false)
    }

    /// The receiver knows how a delta came out.
    fn settled(&mut self, dir: DirIndex, entry: u32) -> Result<FileSource, Error> {
        let file = self.delta_sources.remove(&(dir, entry));
        file.ok_or_else(|| Error::peer(Refusal::NoDelta { dir, entry }))
    }

    /// Refuses an end that comes too early, or is not the one that was asked for.
    fn check_done(&self, durable: bool, sealed: bool) -> Result<(), Error> {
        let is_real = !self.options.dry_run;
        let refusal = match is_real && self.lineage.is_some() {
            _ if !self.content_done_sent => Refusal::EarlyDone,
            true if !sealed => Refusal::NotSealed,
            false if sealed => Refusal::SealedUnasked,
            _ if is_real && self.options.fsync && !durable => Refusal::NotDurable,
            _ => return Ok(()),
        };
        Err(Error::peer(refusal))
    }

    fn say(&self, message: &ToReceiver) -> Result<(), Error> {
        spill::check()?;
        self.outbox.lock().put_to_receiver(message)
    }
}

/// The peer is gone, and nobody said why.
pub(super) fn gone() -> Error {
    Error::stream(&std::io::ErrorKind::UnexpectedEof.into())
}
