//! The two halves, the link between them, and who goes on next.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::link::{Way, Weather};
use super::trees;
use crate::error::Error;
use crate::filter::Filter;
use crate::observer::{Change, Note, Observer, Summary, Warning};
use crate::options::Options;
use crate::overlap::Whereabouts;
use crate::policy::ServePolicy;
use crate::session::connection::agreed;
use crate::session::drive::{Machine, Poll, Pool};
use crate::session::hearing::event_of;
use crate::session::inbox::Inbox;
use crate::session::outbox::Outbox;
use crate::session::receiver::{self, Said};
use crate::session::sender::{Event, Push, Sender};
use crate::session::writer::{WhenFull, Writer};
use crate::source::Source;
use crate::wire::{FrameReader, Hello, ToReceiver, ToSender, message_frame};

/// Steps of a push, and the time that it takes, at most.
const STEPS_MAX: usize = 200_000;
const TIME_MAX: Duration = Duration::from_secs(3600);

/// Bytes that may wait for a link that takes none: half a MiB, and what one piece of work puts.
const WAITING_LEN_MAX: usize = 2 << 20;

const ALL: [Step; 6] = [
    Step::Sender,
    Step::Receiver,
    Step::Job,
    Step::Take,
    Step::ToSender,
    Step::ToReceiver,
];

/// One in so many steps may be the one that is slow.
const SLOWNESS: usize = 40;

/// Bytes that are on the link at once.
const LINK_LEN: usize = 256 << 10;

struct Silent;

impl Observer for Silent {
    fn change(&mut self, _change: &Change<'_>) {}
    fn warn(&mut self, _warning: &Warning) {}
    fn note(&mut self, _note: &Note<'_>) {}
}

/// How a push ended.
#[expect(clippy::large_enum_variant, reason = "there is one of it at a time")]
pub(super) enum Ended {
    Done(Summary),
    Cut,
}

/// What can be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Sender,
    Receiver,
    Job,
    /// The link takes a batch of the sender's.
    Take,
    /// A frame arrives at the sender, or at the receiver.
    ToSender,
    ToReceiver,
}

/// Somebody else who changes files meanwhile.
pub(super) enum Meddling {
    /// One of a tree, after so many steps.
    One { tree: PathBuf, after_steps: usize },
    /// All of the target, once the sender has heard so many pieces about what they are a basis for.
    Bases {
        target: PathBuf,
        after_pieces: usize,
    },
}

pub(super) struct World<'a> {
    now: Instant,
    start: Instant,
    sender: Sender<'a>,
    outbox: Outbox,
    writer: Writer,
    events: VecDeque<Event>,
    hears: FrameReader,
    /// What is done seldom while there is anything else to be done, and who changes files when.
    slow: Step,
    meddling: Option<Meddling>,
    /// Pieces about bases that the sender has heard.
    pieces: usize,
    /// The sender waits for an event, or for this moment.
    waits: Option<Option<Instant>>,
    receiver: receiver::Push,
    answers: Outbox,
    receives: FrameReader,
    /// The receiver has heard something since it last said everything.
    heard: bool,
    up: Way,
    down: Way,
}

impl<'a> World<'a> {
    pub(super) fn run(
        source: &Path,
        target: &Path,
        options: &Options,
        weather: [Weather; 2],
        meddling: Option<Meddling>,
        chance: &mut Chance,
    ) -> Ended {
        let mut silent = Silent;
        let filter = Filter::from_rules(options.filters.clone()).unwrap();
        let source = OsString::from(format!("{}/", source.display()));
        let push = Push {
            options,
            source: Source::open(&[source], options, &filter).unwrap(),
            filter,
            observer: &mut silent,
            lineage: None,
        };
        let mut world = World::meet(push, target, weather);
        world.slow = chance.of(&ALL);
        world.meddling = meddling;
        world.play(chance)
    }

    fn meet(push: Push<'a>, target: &Path, [up, down]: [Weather; 2]) -> Self {
        let now = Instant::now();
        let (up, down, options) = (Way::new(up), Way::new(down), push.options);
        let hello = Hello {
            options: options.clone(),
            destination: target.as_os_str().as_bytes().to_vec(),
            single: push.source.single,
            digest_key: [7; 32],
            claim: None,
            whereabouts: Whereabouts::default(),
            readable: crate::namespaces::Namespaces::ALL,
            accounts: Vec::new(),
        };
        let said = Outbox::new(Box::new(down.written.clone()));
        let receiver = receiver::Push::by_hand(hello, &said, &ServePolicy::default()).unwrap();
        // The answer to the hello arrives in any case.
        let mut hears = FrameReader::new(Box::new(down.written.clone()));
        let reply = event_of(&hears.next().unwrap().unwrap()).unwrap();
        let Event::Message(ToSender::HelloReply(reply)) = reply else {
            panic!("no answer to the hello");
        };
        let fields = agreed(&reply, options, [7; 32]);

        let outbox = Outbox::new(Box::new(up.written.clone()));
        let ping = |pulse| message_frame(&ToReceiver::Ping(pulse));
        let writer = outbox.start_by_hand(ping, WhenFull::Tell(Box::new(|_| {})));
        outbox.lock().compress(options.compression).unwrap();
        let jobs = Pool::new(&Arc::<Inbox<Event>>::default(), 0);
        let sender = Sender::start(push, &outbox, jobs, &reply, fields, now).unwrap();
        World {
            now,
            start: now,
            sender,
            outbox,
            writer,
            events: VecDeque::new(),
            hears: FrameReader::new(Box::new(down.arrived.clone())),
            slow: Step::Sender,
            meddling: None,
            pieces: 0,
            waits: None,
            receiver,
            answers: said,
            receives: FrameReader::with_runs(Box::new(up.arrived.clone())),
            heard: false,
            up,
            down,
        }
    }

    /// Goes on, step by step, to the end.
    fn play(mut self, chance: &mut Chance) -> Ended {
        for number in 0..STEPS_MAX {
            self.meddle(number, chance);
            self.up.carry(self.now, chance);
            self.down.carry(self.now, chance);
            let steps = self.steps();
            let quick = |step: &&Step| **step != self.slow;
            let quick: Vec<_> = steps.iter().filter(quick).copied().collect();
            let is_seldom = chance.one_in(SLOWNESS);
            // What is slow may take longer than anything is on its way.
            let waits = quick.is_empty() && !is_seldom && self.next_moment().is_some();
            if steps.is_empty() || waits {
                self.pass_time();
                continue;
            }
            let is_slow = quick.is_empty() || is_seldom;
            let step = chance.of(if is_slow { &steps } else { &quick });
            let goes_on = self.go_on(step, chance);
            match goes_on.unwrap_or_else(|e| panic!("{step:?}: {}", e.message)) {
                Some(true) => return Ended::Done(self.sender.into_summary()),
                Some(false) => return self.cut(),
                None => {}
            }
            let waiting_len = self.outbox.state().waiting_len();
            assert!(waiting_len <= WAITING_LEN_MAX, "{waiting_len} bytes wait");
        }
        panic!("no end after {STEPS_MAX} steps: {:?}", self.steps());
    }

    /// Lets others change files, if it is time.
    fn meddle(&mut self, step: usize, chance: &mut Chance) {
        let is_due = |meddling: &mut Meddling| match meddling {
            Meddling::One { after_steps, .. } => *after_steps == step,
            Meddling::Bases { after_pieces, .. } => *after_pieces < self.pieces,
        };
        match self.meddling.take_if(is_due) {
            Some(Meddling::One { tree, .. }) => trees::meddle(&tree, chance),
            Some(Meddling::Bases { target, .. }) => trees::spoil(&target),
            None => {}
        }
    }

    /// All that can be done at this moment.
    fn steps(&self) -> Vec<Step> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        let may_poll = self.outbox.state().has_room() && self.waits.is_none_or(is_due);
        let can = [
            (Step::Sender, !self.events.is_empty() || may_poll),
            (Step::Job, self.sender.jobs().waiting() > 0),
            (
                Step::Take,
                self.outbox.state().waiting_len() > 0 && self.up.carried_len() < LINK_LEN,
            ),
            (Step::ToSender, is_due(self.down.next())),
            (
                Step::ToReceiver,
                is_due(self.up.next()) && !self.receiver.is_over(),
            ),
            (
                Step::Receiver,
                self.heard && !self.receiver.is_over() && !is_due(self.up.next()),
            ),
        ];
        let can = can.into_iter().filter(|(_, can)| *can);
        can.map(|(step, _)| step).collect()
    }

    /// When something happens that has not yet.
    fn next_moment(&self) -> Option<Instant> {
        let moments = [self.up.next(), self.down.next(), self.waits.flatten()];
        let moments = moments.into_iter().flatten();
        moments.filter(|at| *at > self.now).min()
    }

    /// Nothing is done until something happens.
    fn pass_time(&mut self) {
        let next = self.next_moment();
        self.now = next.unwrap_or_else(|| panic!("both halves wait for ever"));
        assert!(self.now - self.start <= TIME_MAX, "it takes too long");
    }

    /// Whether the push is over, or the link cut.
    fn go_on(&mut self, step: Step, chance: &mut Chance) -> Result<Option<bool>, Error> {
        match step {
            Step::Sender => return self.sender_goes_on(),
            Step::Job => {
                let choice = chance.below(usize::MAX);
                self.events.extend(self.sender.jobs().step_any(choice));
            }
            Step::Take => self.writer.write_one()?,
            Step::ToSender => {
                if !self.down.arrive() {
                    return Ok(Some(false));
                }
                let event = event_of(&self.hears.next()?.unwrap())?;
                self.pieces += usize::from(matches!(event, Event::Exchange { .. }));
                self.events.push_back(event);
            }
            Step::ToReceiver => {
                if !self.up.arrive() {
                    return Ok(Some(false));
                }
                self.heard = true;
                self.receiver_hears()?;
            }
            Step::Receiver => {
                self.heard = false;
                self.receiver.poll(self.now)?;
                self.answers.lock().flush()?;
            }
        }
        Ok(None)
    }

    /// The receiver takes in the frame that has arrived, and those in it.
    fn receiver_hears(&mut self) -> Result<(), Error> {
        loop {
            let Some(frame) = self.receives.next()? else {
                return Ok(());
            };
            self.receiver.handle(Said::by(Some(frame))?, self.now)?;
            if !self.receives.has_frame() {
                return Ok(());
            }
        }
    }

    fn sender_goes_on(&mut self) -> Result<Option<bool>, Error> {
        self.waits = None;
        if let Some(event) = self.events.pop_front() {
            self.sender.handle(event, self.now)?;
            return Ok(self.sender.is_over().then_some(true));
        }
        match self.sender.poll(self.now)? {
            Poll::Again => {}
            Poll::Gather { until } => self.waits = Some(Some(until)),
            Poll::Wait { until } => {
                self.outbox.lock().flush()?;
                self.waits = Some(until);
            }
        }
        Ok(None)
    }

    /// The link is cut: both halves come to an end by themselves.
    fn cut(mut self) -> Ended {
        let cut = Error::stream(&std::io::ErrorKind::ConnectionReset.into());
        let ended = self.sender.handle(Event::LinkEnd(cut.clone()), self.now);
        assert!(ended.is_err());
        self.receiver.fail(&cut);
        Ended::Cut
    }
}
