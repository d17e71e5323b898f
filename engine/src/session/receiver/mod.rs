//! The receiver: reads what the sender says, answers, stages, commits. One thread, driven by the
//! incoming frames; answers are flushed before it waits for more.

mod announced;
mod apart;
mod awaited;
mod brake;
mod content;
mod deltas;
mod dirs;
mod finish;
mod held;
mod local;
mod named;
mod new_dirs;
mod other_dirs;
mod pending_links;
mod private;
mod request;
mod resume;
mod seal;
mod shelf;
mod standing;
mod threshold;
mod told;
mod unnamed;
mod verdicts;
mod wanted;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Duplex;
use super::bases::Bases;
use super::headway::{Headway, standstill};
use super::outbox::Outbox;
use super::place::{Place, Trail};
use crate::change::{Commit, Staged};
use crate::compare::Judge;
use crate::delete::Extraneous;
use crate::digest::Fields;
use crate::error::{Error, ErrorKind};
use crate::filter::Filter;
use crate::first_names::FirstNames;
use crate::fs::{Abilities, Listed, Root, len_max};
use crate::generation::Partial;
use crate::history::Interrupted;
use crate::ids::{IdMap, settable_groups};
use crate::mounted::MountedBelow;
use crate::names::Names;
use crate::observer::Warning;
use crate::options::Options;
use crate::path::{PATH_LEN_MAX, RelPath, Shown, check_name};
use crate::policy::{Greeted, Powers, Rights, ServePolicy};
use crate::read_ahead::ReadAhead;
use crate::reader::Reader;
use crate::refusal::Refusal;
use crate::since::Meta;
use crate::spill::{self, SpillMap};
use crate::target::{Found, names_dir, root_listed};
use crate::wire::{
    DirIndex, ExchangePiece, FrameKind, FrameReader, Hello, HelloReply, ToReceiver, ToSender,
    check_preamble, decode, preamble,
};
use crate::work;

use announced::NewDirs;
use apart::refuse_shared;
use brake::Toll;
use content::Incoming;
use dirs::DirState;
use held::ByDir;
use local::Held;
use named::Named;
use pending_links::PendingLinks;
use private::refuse_not_private;
use request::{Request, next_request, no_hello};
use shelf::Shelf;
use threshold::Threshold;
use unnamed::{recover_unnamed, refuse_kept};

/// How long a sender may take until it has said what it wants, whatever it says meanwhile. A link
/// that is silent altogether has to see to that itself.
pub const HELLO_TIME: Duration = Duration::from_secs(30);

/// Runs the receiver half: one push after another, until the sender ends the stream between two.
///
/// # Errors
///
/// Everything that ends a push early, which ends the connection; the sender has been told the
/// reason when it could be. A stream that ends before the first push has begun.
pub fn serve(link: Duplex, policy: &ServePolicy) -> Result<(), Error> {
    let mut reader = FrameReader::with_runs(link.reader);
    let outbox = Outbox::new(link.writer);
    {
        let mut writer = outbox.lock();
        writer.raw(&preamble());
        writer.flush()?;
    }
    let result = serve_pushes(&mut reader, &outbox, policy);
    if let Err(e) = &result {
        let fatal = ToSender::Fatal {
            kind: e.kind,
            message: e.message.clone(),
        };
        let mut writer = outbox.lock();
        // If the sender is gone, there is nobody to tell.
        let _ = writer.put_to_sender(&fatal);
    }
    let ended = outbox.end();
    result.and(ended)
}

fn serve_pushes(
    reader: &mut FrameReader,
    outbox: &Outbox,
    policy: &ServePolicy,
) -> Result<(), Error> {
    reader.expect_by(Instant::now().checked_add(HELLO_TIME), no_hello);
    check_preamble(reader.preamble()?)?;
    let mut threshold = Threshold::new(outbox, policy);
    while let Some(request) = next_request(reader)? {
        reader.expect_by(None, no_hello);
        if let Some(Greeted(greeted)) = &policy.greeted {
            greeted();
        }
        match request {
            Request::Push(hello) => {
                threshold.approach(&hello)?;
                let receiver = Receiver::start(*hello, outbox, policy, &mut threshold)?;
                run(reader, outbox, receiver, policy.stall)?;
            }
            Request::Ask(ask) => {
                threshold.approach_names()?;
                standing::tell(&ask, policy, outbox)?;
            }
        }
    }
    if !threshold.is_crossed() {
        return Err(Error::peer(Refusal::NoHello));
    }
    Ok(())
}

/// Runs one push to its end.
fn run(
    reader: &mut FrameReader,
    outbox: &Outbox,
    mut receiver: Receiver,
    stall: Duration,
) -> Result<(), Error> {
    let mut headway = Headway::new(stall, Instant::now());
    let result = receive(reader, outbox, &mut receiver, &mut headway);
    reader.expect_by(None, standstill);
    // What follows from bytes that could not be kept is nobody else's fault.
    let result = spill::check().and(result);
    if let Err(e) = &result {
        receiver.leave_staged(e);
    }
    result
}

fn receive(
    reader: &mut FrameReader,
    outbox: &Outbox,
    receiver: &mut Receiver,
    headway: &mut Headway,
) -> Result<(), Error> {
    let mut frame_count = 0;
    loop {
        if !reader.has_frame() {
            receiver.catch_up()?;
            outbox.lock().flush()?;
            let now = Instant::now();
            headway.saw(frame_count, now);
            reader.expect_by(now.checked_add(headway.check(now)?), standstill);
        }
        let frame = reader.next()?;
        receiver.bases.as_ref().map_or(Ok(()), Bases::check)?;
        let Some(frame) = frame else {
            return Err(Error::stream(&std::io::ErrorKind::UnexpectedEof.into()));
        };
        let mut is_over = false;
        match frame.kind {
            FrameKind::Message => match decode(frame.payload)? {
                ToReceiver::Ping(pulse) => {
                    headway.pinged(pulse, Instant::now());
                    continue;
                }
                message => is_over = receiver.message(message)?,
            },
            FrameKind::Pack => receiver.pack(frame.payload)?,
            FrameKind::Data => receiver.data(frame.payload)?,
            FrameKind::Exchange => receiver.asked(&ExchangePiece::parse(frame.payload)?)?,
        }
        spill::check()?;
        if is_over {
            outbox.lock().flush()?;
            return Ok(());
        }
        frame_count += 1;
        work::did(1);
    }
}

/// What comes in place of a directory.
enum Replacement {
    /// Content that has not arrived. If it never does, the directory stays.
    Awaited,
    Staged(Staged),
    /// A hard link, made once the directory is gone.
    Link,
}

/// State of the receiver half.
pub(super) struct Receiver {
    outbox: Outbox,
    options: Options,
    filter: Filter,
    fields: Fields,
    ids: IdMap,
    rights: Rights,
    own_groups: Vec<u32>,
    umask: u32,
    /// `None` in a dry run whose target does not exist.
    root: Option<Arc<Root>>,
    created_root: bool,
    commit: Option<Commit>,
    /// The tree's name and lineage, if it has one.
    named: Option<Named>,
    /// What the push takes from the target.
    toll: Toll,
    /// What keeps the target from being equal to the source, as far as the receiver knows.
    problems: RefCell<Partial>,
    bases: Option<Bases>,

    trail: Trail,
    ahead: ReadAhead,
    /// Directories below this index have been answered, as far as the sender knows.
    told_below: DirIndex,
    /// Directories that the target lacks and the sender has not begun to send.
    lacking: ByDir<RelPath>,
    /// The last of these; nothing below it needs an answer.
    lacking_root: Option<RelPath>,
    /// The directories from a lacking one down to the one sent last.
    new_ancestors: Vec<(DirIndex, RelPath)>,
    /// Directories whose entries or content are still awaited.
    dirs: ByDir<DirState>,
    /// Entries of the target that are held together with these.
    held: Held,
    /// Directories that have been announced as entries and not been made.
    new_dirs: NewDirs,
    /// The one whose content is coming.
    open_new_dir: Option<DirIndex>,
    /// Directories whose metadata are not those of their entries.
    others: HashMap<RelPath, Meta>,

    first_names: FirstNames,
    /// First paths that keep other content than the source's: nothing may be linked to them.
    unlinkable: SpillMap,
    links: PendingLinks,
    /// Files whose content comes in the end.
    shelf: Shelf,
    /// Entries of the target that the source does not have.
    extraneous: Extraneous,
    /// Non-empty directories in the way of something else, which give way with the deletions.
    in_the_way: BTreeMap<RelPath, Replacement>,
    incoming: Option<Incoming>,
    /// What interrupted pushes have left.
    interrupted: Interrupted,
    /// A directory of the target could not be read: nothing is deleted.
    unread: bool,
    /// It has been said that something that was asked for cannot be kept.
    told_lost: bool,
}

impl Receiver {
    fn start(
        hello: Hello,
        outbox: &Outbox,
        policy: &ServePolicy,
        threshold: &mut Threshold,
    ) -> Result<Self, Error> {
        let Hello {
            options,
            destination,
            single,
            digest_key,
            claim,
            whereabouts,
        } = hello;
        let filter = Filter::from_rules(options.filters.clone())
            .map_err(|error| Error::peer(Refusal::Filter { error }))?;
        if !options.dry_run && claim.as_ref().is_some_and(|claim| claim.compares) {
            return Err(Error::peer(Refusal::ComparesForReal));
        }
        let tree = claim.as_ref().map(|claim| claim.tree.as_str());
        policy.allow(&options, tree)?;
        let (named, found, names_dir) = match claim {
            Some(claim) => {
                threshold.cross(None)?;
                let (named, found) = Named::begin(claim, options.dry_run, policy, outbox)?;
                (Some(named), found, true)
            }
            None => {
                let found = Found::destination(&destination, policy)?;
                refuse_kept(&found, single, policy)?;
                (None, found, names_dir(&destination))
            }
        };
        if named.is_some() && !options.atomic {
            return Err(Error::peer(Refusal::NamedNotAtomic));
        }
        let led = (&found, single && !names_dir);
        refuse_shared(&whereabouts, led, (&options, &filter), named.is_some())?;
        let target = found.into_target(single, names_dir, options.dry_run)?;
        let root = target.root;
        threshold.cross(root.as_deref())?;
        if let Some(root) = root
            .as_ref()
            .filter(|_| named.is_none() && !options.dry_run)
        {
            recover_unnamed(root, options.atomic)?;
        }
        let of_root = root.as_deref().and_then(Abilities::of).unwrap_or_default();
        let find = |root: &Arc<Root>| MountedBelow::find(root, of_root);
        let mounted = root.as_ref().map(find).unwrap_or_default();
        if let Some(root) = root.as_deref().filter(|_| options.atomic) {
            refuse_not_private(root, of_root, &mounted, named.is_some())?;
        }
        let privileged = rustix::process::geteuid().is_root();
        let powers = Powers::new(privileged, policy.rights);
        let settable = settable_groups(&*policy.accounts)?;
        let settable_ids: Vec<u32> = settable.iter().map(|&(id, _)| id).collect();
        let mut own_groups = settable_ids.clone();
        own_groups.push(rustix::process::getegid().as_raw());
        let reply = HelloReply {
            powers,
            settable_groups: settable,
            keeps: of_root.keeps,
            mounted: mounted.clone(),
            len_max: root.as_deref().map_or(u64::MAX, len_max),
            rename: target.rename,
            created_root: target.created,
            ping_ms: threshold.ping_ms(),
            runs: true,
        };
        {
            let mut writer = outbox.lock();
            writer.put_to_sender(&ToSender::HelloReply(Box::new(reply)))?;
            writer.flush()?;
        }
        let interrupted = match &root {
            // If it cannot be found, it is sent again.
            Some(root) if options.atomic && !options.dry_run => {
                Interrupted::claim(root).unwrap_or_default()
            }
            _ => Interrupted::default(),
        };
        let mut ahead = ReadAhead::new(Reader {
            filter: filter.clone(),
            with_inodes: options.hard_links,
            summed: options.summed(),
        });
        if let Some(root) = &root {
            let (top, only_root) = (RelPath::root(), Names::from_iter([&b""[..]]));
            ahead.expect(root, &top, &top, only_root);
        }
        let commit = root
            .as_ref()
            .filter(|_| !options.dry_run)
            .map(|root| Commit::new(Arc::clone(root), &options, privileged));
        Ok(Receiver {
            outbox: outbox.clone(),
            fields: Fields::new(&options, powers, settable_ids, of_root.keeps, digest_key)
                .with_mounted(mounted),
            bases: root
                .as_ref()
                .map(|root| Bases::start(Arc::clone(root), outbox.clone())),
            toll: Toll::new(&options, named.as_ref()),
            options,
            filter,
            ids: IdMap::new(Arc::clone(&policy.accounts)),
            rights: policy.rights,
            own_groups,
            umask: crate::umask::umask(),
            root,
            created_root: target.created,
            commit,
            trail: Trail::default(),
            ahead,
            named,
            problems: RefCell::default(),
            told_below: 0,
            lacking: ByDir::default(),
            lacking_root: None,
            new_ancestors: Vec::new(),
            dirs: ByDir::default(),
            held: Held::new(policy.held_entries),
            new_dirs: NewDirs::default(),
            open_new_dir: None,
            others: HashMap::new(),
            first_names: FirstNames::default(),
            unlinkable: SpillMap::default(),
            links: PendingLinks::default(),
            shelf: Shelf::default(),
            extraneous: Extraneous::default(),
            in_the_way: BTreeMap::new(),
            incoming: None,
            interrupted,
            unread: false,
            told_lost: false,
        })
    }

    /// Handles one message; `true` when the push is finished.
    fn message(&mut self, message: ToReceiver) -> Result<bool, Error> {
        match message {
            ToReceiver::Hello(_) | ToReceiver::Ask(_) => {
                return Err(Error::peer(Refusal::SecondHello));
            }
            ToReceiver::Id { kind, id, name } => self.ids.announce(kind, id, &name)?,
            ToReceiver::RootEntry(entry) => self.root_entry(&entry)?,
            ToReceiver::Dir {
                skipped,
                up,
                shared,
                rest,
                digest,
                complete,
            } => {
                let place = Place {
                    skipped,
                    up,
                    shared,
                    rest: &rest,
                };
                self.dir(place, digest, complete)?;
            }
            ToReceiver::OtherDir { dir, meta } => self.other_dir(dir, meta)?,
            ToReceiver::Entries {
                dir,
                entries,
                last,
                unmatched,
                matched,
            } => {
                self.entries(dir, entries, last, &unmatched, matched)?;
            }
            ToReceiver::NewDir {
                dir,
                parent,
                name,
                entries,
                last,
            } => {
                self.new_dir(dir, parent, &name, entries, last)?;
            }
            ToReceiver::Later { dir, entries } => self.later(dir, &entries)?,
            ToReceiver::NewDirDone { dir } => self.new_dir_done(dir)?,
            ToReceiver::LinkFirst { dir, entry, to } => self.link_first(dir, entry, &to)?,
            ToReceiver::FileBegin {
                dir,
                entry,
                len,
                since,
            } => {
                self.file_begin(dir, entry, len, since)?;
            }
            ToReceiver::FileEnd { sum } => self.file_end(sum)?,
            ToReceiver::FileSkipped { dir, entry } => self.file_skipped(dir, entry)?,
            ToReceiver::ContentDone {
                deletable,
                problems,
            } => {
                self.problems.borrow_mut().add(&problems);
                return self.content_done(deletable);
            }
            ToReceiver::Ping(_) => {}
        }
        Ok(false)
    }

    /// Says what has not been said yet, before the receiver waits.
    fn catch_up(&mut self) -> Result<(), Error> {
        let below = self.trail.next();
        if self.told_below != below {
            self.told_below = below;
            self.say(&ToSender::Compared { below })?;
        }
        let warnings = self
            .commit
            .as_mut()
            .map(Commit::take_warnings)
            .unwrap_or_default();
        for warning in &warnings {
            self.problems.borrow_mut().add_line(&warning.message);
        }
        warnings
            .into_iter()
            .try_for_each(|warning| self.say(&ToSender::Warning(warning)))
    }

    fn say(&self, message: &ToSender) -> Result<(), Error> {
        self.outbox.lock().put_to_sender(message)
    }

    fn warn(&self, message: String) -> Result<(), Error> {
        self.problems.borrow_mut().add_line(&message);
        self.say(&ToSender::Warning(Warning {
            vanished: false,
            message,
        }))
    }

    /// The full path of what is at `rel` in the target, quoted for a message.
    fn shown(&self, rel: &RelPath) -> String {
        self.root
            .as_ref()
            .map_or_else(|| Shown(&rel.shown()).to_string(), |root| root.shown(rel))
    }

    fn judge(&self) -> Judge<'_> {
        self.judge_by(Cow::Borrowed(&self.fields))
    }

    /// Judges the entries of `dir`.
    fn judge_in(&self, dir: &RelPath) -> Judge<'_> {
        self.judge_by(self.fields.at(dir))
    }

    fn judge_by<'a>(&'a self, fields: Cow<'a, Fields>) -> Judge<'a> {
        Judge {
            options: &self.options,
            fields,
            own_groups: &self.own_groups,
            umask: self.umask,
        }
    }

    /// The door to the target; there is none in a dry run, which must not come this far.
    fn commit(&mut self) -> Result<&mut Commit, Error> {
        self.commit
            .as_mut()
            .ok_or_else(|| Error::peer(Refusal::DryContent))
    }

    /// The path of the directory `name` in `parent`, which must be among `ancestors`.
    pub(super) fn path_below(
        ancestors: &mut Vec<(DirIndex, RelPath)>,
        dir: DirIndex,
        parent: DirIndex,
        name: &[u8],
    ) -> Result<RelPath, Error> {
        check_name(name).map_err(|error| Error::peer(Refusal::DirName { dir, error }))?;
        while ancestors.last().is_some_and(|&(index, _)| index != parent) {
            ancestors.pop();
        }
        let Some((_, above)) = ancestors.last() else {
            return Err(Error::peer(Refusal::DirParent { dir, parent }));
        };
        let path = above.join(name);
        if path.len() > PATH_LEN_MAX {
            let max = PATH_LEN_MAX;
            return Err(Error::peer(Refusal::PathLen { max }));
        }
        ancestors.push((dir, path.clone()));
        Ok(path)
    }

    /// The target root's own metadata.
    fn root_listed(&self) -> Option<Listed> {
        self.root.as_deref().and_then(|root| root_listed(root).ok())
    }
}

/// An error kind that ends the push rather than concern one entry.
fn ends_push(error: &Error) -> bool {
    error.kind != ErrorKind::FileIo
}

#[cfg(test)]
mod alone;

#[cfg(test)]
pub(super) use alone::Alone;
