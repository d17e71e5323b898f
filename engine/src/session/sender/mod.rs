//! The sender: announces the directories that a scan finds, answers what the receiver asks, and
//! reports. What handling makes it say is put at once, since it is little; entries and content are
//! put piece by piece, when there is room for them.

mod answer;
mod asked;
mod bare;
mod content;
mod deletions;
mod deltas;
mod dirs;
mod entering;
mod event;
mod files;
mod jobs;
mod leases;
mod links;
mod long_file;
mod new_dir;
mod not_sent;
mod packs;
mod patience;
mod reading;
mod report;
mod scanning;
mod siblings;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Instant;

pub(super) use event::Event;
pub(super) use jobs::Job;

use self::not_sent::Terms;
use super::drive::{Machine, Poll, Pool};
use super::outbox::Outbox;
use super::window::Window;
use crate::attributes::Attributes;
use crate::digest::Fields;
use crate::entry::Entry;
use crate::error::Error;
use crate::filter::Filter;
use crate::fs::attributes_of;
use crate::generation::Sending;
use crate::observer::{Note, Observer, Summary, Warning};
use crate::options::Options;
use crate::path::Shown;
use crate::recast::Recast;
use crate::refusal::Refusal;
use crate::scan::Scanner;
use crate::source::Source;
use crate::spill;
use crate::wire::{DirIndex, ExchangePiece, HelloReply, ToReceiver, ToSender};

use content::{Content, Work};
use deletions::{Deletions, check_told};
use deltas::{Deltas, Next};
use dirs::Dirs;
use event::JobEvent;
use leases::Leased;
use links::LinkGroups;
use patience::Patience;
use reading::FileSource;
use report::{Listing, Telling};
use scanning::Scan;

/// One push, ready to run.
pub(super) struct Push<'a> {
    pub(super) options: &'a Options,
    pub(super) filter: Filter,
    pub(super) source: Source,
    pub(super) observer: &'a mut dyn Observer,
    /// The lineage of the tree, if it has a name.
    pub(super) lineage: Option<&'a mut Sending>,
}

/// State of the sender half.
pub(super) struct Sender<'a> {
    outbox: Outbox,
    jobs: Pool<Job>,
    options: &'a Options,
    lineage: Option<&'a mut Sending>,
    fields: Fields,
    terms: Terms,
    source: Source,
    telling: Telling<'a>,
    stage: Stage,
    scan: Scanning,
    patience: Patience,
    dirs: Dirs,
    content: Content,
    deltas: Deltas,
    links: LinkGroups,
    /// Files that somebody has a lease on.
    leased: Leased,
}

/// How far a push is.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The source is being scanned, compared with the target, and sent as far as it differs.
    Comparing,
    /// The receiver says how deltas came out.
    Settling,
    /// What was held back for the sake of links is sent.
    Linking,
    /// The receiver has everything, and finishes.
    Ending(Deletions),
    Over,
}

/// How far the scan is.
enum Scanning {
    Running,
    /// Too much of what it has found is not dealt with.
    Paused(Box<Scan>),
    Ended,
}

impl<'a> Sender<'a> {
    /// Begins a push with the answer to its hello.
    pub(super) fn start(
        push: Push<'a>,
        outbox: &Outbox,
        jobs: Pool<Job>,
        reply: &HelloReply,
        fields: Fields,
        now: Instant,
    ) -> Result<Self, Error> {
        let Push {
            options,
            filter,
            mut source,
            observer,
            mut lineage,
        } = push;
        let scope = fields.attributes();
        let alike = lineage
            .as_deref_mut()
            .and_then(|lineage| lineage.remembered(scope, options));
        let recast = Arc::new(Recast::new(options, reply.powers, &reply.accounts));
        if let Some(root) = &mut source.root_entry {
            let layer = source.layers.first();
            let read = layer.map(|layer| attributes_of(&*layer.root, scope));
            let read = read.unwrap_or_else(|| Ok(Attributes::default()));
            root.attributes =
                read.map_err(|e| Error::file("read the ACLs and attributes of the source", &e))?;
            recast.entry(root);
        }
        jobs.start(Job::Scan(Box::new(Scan {
            scanner: Scanner::new(
                &source,
                options.clone(),
                filter,
                fields.clone(),
                Arc::clone(&recast),
                alike,
            ),
            window: Window::default(),
        })));
        let renamed_from = source.renamed_from().map(<[u8]>::to_vec);
        let written_before = outbox.written_bytes();
        let mut sender = Sender {
            outbox: outbox.clone(),
            jobs,
            options,
            lineage,
            terms: Terms {
                recast,
                attributes: scope,
                hard_links: options.hard_links,
                len_max: reply.len_max,
            },
            fields,
            source,
            telling: Telling::new(observer, options, renamed_from, written_before),
            stage: Stage::Comparing,
            scan: Scanning::Running,
            patience: Patience::new(now),
            dirs: Dirs::default(),
            content: Content::default(),
            deltas: Deltas::default(),
            links: LinkGroups::default(),
            leased: Leased::default(),
        };
        sender.begin(reply)?;
        Ok(sender)
    }

    #[cfg(test)]
    pub(super) fn jobs(&self) -> &Pool<Job> {
        &self.jobs
    }

    /// What has come of the push.
    pub(super) fn into_summary(self) -> Summary {
        self.telling.summary
    }

    fn begin(&mut self, reply: &HelloReply) -> Result<(), Error> {
        for (argument, why) in std::mem::take(&mut self.source.failed) {
            self.telling.warn_not_listed(&not_opened(&argument, &why));
        }
        if reply.created_root {
            self.telling.observer.created_root();
        }
        if self.options.owner && !reply.powers.owners {
            self.telling.observer.note(&Note::OwnersNotKept);
        }
        let names = self.options.owner_maps.names();
        for ((kind, name), number) in names.iter().zip(&reply.accounts) {
            if number.is_none() {
                self.telling
                    .observer
                    .note(&Note::NoSuchAccount(*kind, name));
            }
        }
        let root = self.source.root_entry.take();
        if root.as_ref().is_some_and(|root| !root.has_owners()) {
            let message = format!(
                "cannot mirror the metadata of the source itself: the number {} of its owner or \
                 group stands for none; chown it",
                u32::MAX
            );
            let vanished = false;
            self.telling.warn(&Warning { vanished, message });
        }
        self.source.root_entry = root.filter(Entry::has_owners);
        if let Some(entry) = self.source.root_entry.clone() {
            self.dirs.root_verdict_due = true;
            self.telling.summary.entries.add(entry.kind());
            self.announce_ids(entry.uid, entry.gid, &entry.attributes)?;
            self.say(&ToReceiver::RootEntry(Entry {
                name: b"root".to_vec(),
                ..entry
            }))?;
        }
        Ok(())
    }
}

impl Machine for Sender<'_> {
    type Event<'e> = Event;

    fn handle(&mut self, event: Event, now: Instant) -> Result<(), Error> {
        match event {
            Event::Message(message) => self.message(message),
            Event::Exchange {
                dir,
                entry,
                last,
                bytes,
            } => self.deltas.told(&ExchangePiece {
                dir,
                entry,
                last,
                bytes: &bytes,
            }),
            Event::LinkEnd(e) | Event::LinkBroken(e) => Err(e),
            Event::Job(event) => self.done(event, now),
        }
    }

    fn poll(&mut self, now: Instant) -> Result<Poll, Error> {
        self.go_on_scanning();
        while let Some(task) = self.deltas.pop_ready() {
            self.jobs.start(Job::Prepare(task));
        }
        if self.answer_first()? || self.send_content()? || self.advance(now)? {
            return Ok(Poll::Again);
        }
        if matches!(self.scan, Scanning::Running)
            && let Some(left) = self.patience.left(now)
        {
            let until = now + left;
            return Ok(Poll::Gather { until });
        }
        self.patience.flushed();
        let until = self.leased.until();
        Ok(Poll::Wait { until })
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    #[expect(
        clippy::misnamed_getters,
        reason = "what is seen of the peer is what it has checked"
    )]
    fn seen(&self) -> u64 {
        self.telling.checked
    }
}

impl Sender<'_> {
    /// A job has got on.
    fn done(&mut self, event: JobEvent, now: Instant) -> Result<(), Error> {
        match event {
            JobEvent::Scanned(held) => self.scanned(*held)?,
            JobEvent::ScanPaused(scan) => self.scan = Scanning::Paused(scan),
            JobEvent::ScanDone => {
                self.scan = Scanning::Ended;
                self.telling.scanned();
            }
            JobEvent::Opened(opened) => self.opened(opened, now)?,
            JobEvent::Prepared(prepared) => {
                let (file, next) = *prepared;
                self.prepared(file, next?)?;
            }
            JobEvent::Summed(file, compared) => self.deltas.summed(file, compared),
        }
        Ok(())
    }

    /// It is known what follows from what was said about the basis of a file.
    fn prepared(&mut self, file: FileSource, next: Next) -> Result<(), Error> {
        let key = file.key();
        if let Some((ask, compared)) = self.deltas.prepared(file, next)? {
            self.outbox.put_exchange(key, &ask)?;
            if let Some(compared) = compared {
                self.outbox.lock().flush()?;
                self.jobs.start(Job::Sum(key, compared));
            }
        }
        Ok(())
    }

    fn go_on_scanning(&mut self) {
        if let Scanning::Paused(scan) = &self.scan
            && scan.window.is_half_empty()
            && let Scanning::Paused(scan) = std::mem::replace(&mut self.scan, Scanning::Running)
        {
            self.jobs.start(Job::Scan(scan));
        }
    }

    /// What was under way has been sent: goes on to what is due then. `false` if it is not known
    /// yet what that is.
    fn advance(&mut self, now: Instant) -> Result<bool, Error> {
        self.stage = match self.stage {
            Stage::Comparing
                if matches!(self.scan, Scanning::Ended) && self.dirs.are_compared() =>
            {
                self.telling.compared();
                let is_named = self.lineage.is_some();
                self.telling.tell_passed_over(self.options, is_named);
                Stage::Settling
            }
            Stage::Comparing | Stage::Ending(_) | Stage::Over => return Ok(false),
            Stage::Settling | Stage::Linking if !self.deltas.are_sent() => return Ok(false),
            Stage::Settling | Stage::Linking if self.leased.count() > 0 => {
                return self.send_leased(now);
            }
            Stage::Linking if self.content.held.is_some() => {
                self.content.under_way = self.content.held.take().map(Work::Held);
                Stage::Linking
            }
            Stage::Settling | Stage::Linking if !self.deltas.are_settled() => return Ok(false),
            Stage::Settling | Stage::Linking if !self.links.is_empty() => {
                self.content.under_way = Some(Work::Held(self.links.take()));
                Stage::Linking
            }
            Stage::Settling | Stage::Linking => Stage::Ending(self.say_content_done()?),
        };
        Ok(true)
    }

    fn say_content_done(&mut self) -> Result<Deletions, Error> {
        if let Some(lineage) = &mut self.lineage {
            // Should the acknowledgement get lost, this node must know what it asked for.
            lineage.intend()?;
        }
        let problems = std::mem::take(&mut self.telling.problems);
        let deletable = self.telling.listing == Listing::Complete || self.options.ignore_errors;
        self.say(&ToReceiver::ContentDone {
            deletable,
            problems,
        })?;
        Ok(Deletions::due(self.options, deletable))
    }

    fn message(&mut self, message: ToSender) -> Result<(), Error> {
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
                self.telling.summary.resent_files += 1;
                self.content.asked.push_back(&file);
            }
            ToSender::Settled { dir, entry } => {
                self.settled(dir, entry)?;
            }
            ToSender::Deleted { path, kind } => {
                let Stage::Ending(deletions) = &mut self.stage else {
                    return Err(Error::peer(Refusal::DeletedUnasked));
                };
                deletions.deleted(self.options)?;
                check_told(&path)?;
                self.telling.deleted(&path, kind);
            }
            ToSender::DeletionsStopped { count } => {
                let Stage::Ending(deletions) = &mut self.stage else {
                    return Err(Error::peer(Refusal::StoppedUnasked { count }));
                };
                deletions.stop(count, self.telling.awaits_deletions(), self.options)?;
                self.telling.deletions_stopped(count);
            }
            ToSender::Warning(warning) => self.telling.pass_on(&warning),
            ToSender::NotEmpty { path } => {
                match &self.stage {
                    Stage::Ending(deletions) => deletions.stays()?,
                    // What its SRC was not there for is judged with its directory.
                    _ if self.options.delete_missing => {}
                    _ => return Err(Error::peer(Refusal::NotEmptyUnasked)),
                }
                check_told(&path)?;
                self.telling.observer.note(&Note::NotEmpty(&path));
            }
            ToSender::Fatal { kind, message } => return Err(Error::told(kind, message)),
            ToSender::Standing(_) | ToSender::Told { .. } => {
                return Err(Error::peer(Refusal::LateStanding));
            }
            ToSender::Done {
                durable,
                sealed,
                starved,
            } => {
                self.check_done(durable, sealed.is_some(), starved)?;
                self.telling.report_replacements();
                self.telling.summary.durable = durable;
                self.telling.summary.starved = starved;
                self.telling.summary.sealed = sealed;
                self.stage = Stage::Over;
            }
            ToSender::Ping(_) => {}
        }
        Ok(())
    }

    /// The receiver knows how a delta came out.
    fn settled(&mut self, dir: DirIndex, entry: u32) -> Result<FileSource, Error> {
        let file = self.deltas.settle(dir, entry);
        file.ok_or_else(|| Error::peer(Refusal::NoDelta { dir, entry }))
    }

    /// Refuses an end that comes too early, or is not the one that was asked for.
    fn check_done(&self, durable: bool, sealed: bool, starved: u64) -> Result<(), Error> {
        let Stage::Ending(deletions) = &self.stage else {
            return Err(Error::peer(Refusal::EarlyDone));
        };
        let is_real = !self.options.dry_run;
        // An atomic push ends where there is no room, and only deletions make some.
        let may_starve = is_real && !self.options.atomic && deletions.are_told();
        let refusal = match is_real && self.lineage.is_some() {
            _ if starved > 0 && !may_starve => Refusal::StarvedUnasked { starved },
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

/// A missing argument is an error, not a file that vanished.
pub(super) fn not_opened(argument: &OsString, why: &str) -> Warning {
    let shown = Shown(argument.as_encoded_bytes());
    let message = format!("cannot open the source {shown}: {why}");
    Warning {
        vanished: false,
        message,
    }
}
