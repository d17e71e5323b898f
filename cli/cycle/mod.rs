//! `hasync cycle`: what cron or a timer starts on both nodes. The primary pushes all its groups and
//! trees, the standby does nothing. Never two at once; who has to be told is told.

mod hold;
mod lock;

use std::thread;
use std::time::{Duration, Instant};

use crate::aftermath;
use crate::args::CycleArgs;
use crate::config::{Command, Config, Event, Overlap, Tree};
use crate::exit::{self, Exit, Failure};
use crate::memory::{self, Course, Memory};
use crate::notify::{Notice, Teller};
use crate::out::{self, Out};
use crate::peer_link::PeerLink;
use crate::push_trees::{self, Plan, Pushed};
use crate::rejoin::{self, Back};
use crate::role::{self, Found, Role};
use crate::shell;
use crate::signals;
use crate::state::record::Doing;
use crate::state::{self, RoleLook};
use crate::times::long;

pub(crate) use hold::hold;
pub(crate) use lock::CycleLock;

/// Runs one cycle, or one each interval until it is ended.
pub(crate) fn run(args: &CycleArgs) -> Result<Exit, Failure> {
    let config = state::config(args.config.config.as_deref())?;
    let out = Out::stdout();
    let plan = Plan::of(&config, args.quiet);
    let (interrupted, how_far) = (out.clone(), plan.how_far.clone());
    signals::exit_on_signal(move |signal| {
        interrupted.flush();
        out::error(&format!(
            "cycle ended by {signal}: {}; a tree is as it was or as it should be, the next cycle \
             goes on (exit {})",
            how_far.shown(),
            Exit::Signal
        ));
    })?;
    let interval = args.every.unwrap_or(config.cycle.interval.0);
    let mut cycle = Cycle {
        link: PeerLink::configured(&config)?,
        plan,
        config: &config,
        teller: Teller::start(&config),
        interval,
        out: &out,
        args,
    };
    if args.every.is_none() {
        let exit = cycle.once()?;
        cycle.link.close();
        out.finish()?;
        return Ok(exit);
    }
    loop {
        let began = Instant::now();
        // What failed was told, and the next cycle tries again.
        if let Err(failure) = cycle.once() {
            out::error(&failure.message);
        }
        out.flush();
        let took = began.elapsed();
        if took > interval {
            let line = format!(
                "a cycle took {}, longer than its interval of {}",
                long(took),
                long(interval)
            );
            cycle.overrun(&line);
        }
        // The next one at its own time, however many were missed.
        let missed = u32::try_from(took.as_millis() / interval.as_millis().max(1));
        let due = interval.saturating_mul(missed.unwrap_or(0).saturating_add(1));
        thread::sleep(due.saturating_sub(began.elapsed()));
    }
}

/// How the pushes of a cycle ended.
struct PushedAll {
    exit: Exit,
    sent_bytes: u64,
    /// What was said about the worst that happened.
    line: Option<String>,
    /// A tree was held back, or is being handed over, so that not everything was pushed.
    is_held: bool,
}

impl PushedAll {
    /// What came of one part of it.
    fn note(&mut self, exit: Exit, line: String) {
        let worst = exit::worse(self.exit, exit);
        if self.exit != worst {
            self.line = Some(line);
        }
        self.exit = worst;
    }
}

/// Whether a cycle runs.
enum Turn {
    Taken(CycleLock),
    /// Another one does.
    Skipped,
    /// This node pushes a last time, and is primary no more after that.
    LastPush,
}

struct Cycle<'a> {
    config: &'a Config,
    /// Tells what has to be told, beside the work.
    teller: Teller,
    plan: Plan,
    link: PeerLink,
    interval: Duration,
    out: &'a Out,
    args: &'a CycleArgs,
}

impl Cycle<'_> {
    fn once(&mut self) -> Result<Exit, Failure> {
        let found = role::find(self.config);
        let ended = match &found {
            Ok(found) => self.by_role(found).inspect_err(|failure| {
                let next = "mend that; the next cycle tries again";
                self.notice(Event::Failure, None, failure, next);
            }),
            Err(failure) => {
                self.notice(Event::Failure, None, failure, "nothing was pushed");
                self.try_to(self.remember(Course {
                    began: memory::now(),
                    took_ms: 0,
                    exit: failure.exit as u8,
                    sent_bytes: 0,
                    line: Some(failure.message.clone()),
                }));
                Err(failure.clone())
            }
        };
        state::note_role(self.config, RoleLook::Known(found));
        ended
    }

    fn by_role(&mut self, found: &Found) -> Result<Exit, Failure> {
        if found.role == Role::Standby {
            self.link.close();
            if self.args.verbose {
                let line = format!("nothing to do, this node is standby: {}", found.why);
                self.out.say(&line);
            }
            self.come_back()?;
            return Ok(Exit::Ok);
        }
        for tree in &self.config.trees {
            // Where it cannot be noted, the push of that tree fails as well, and no other.
            let _ = tree.on(&self.config.node).serves();
        }
        let _lock = match self.lock()? {
            Turn::Taken(lock) => lock,
            Turn::Skipped => return Ok(Exit::Locked),
            Turn::LastPush => return Ok(Exit::Ok),
        };
        let (began, began_at) = (Instant::now(), memory::now());
        let PushedAll {
            exit,
            sent_bytes,
            line,
            is_held,
        } = self.push_all();
        let took = began.elapsed();
        if !exit::is_about_the_way(exit) {
            aftermath::hear(self.config, &mut self.link);
        }
        self.tell_lag();
        self.tell_differences(exit);
        if is_held && exit == Exit::Ok {
            return Ok(exit);
        }
        self.remember(Course {
            began: began_at,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            exit: exit as u8,
            sent_bytes,
            line,
        })?;
        if !self.args.quiet {
            let share = took.as_secs_f64() / self.interval.as_secs_f64().max(0.001) * 100.0;
            let line = format!(
                "cycle: {} trees in {:.2} s, {share:.0} % of the interval of {}",
                self.config.trees.len(),
                took.as_secs_f64(),
                long(self.interval)
            );
            self.out.say(&line);
        }
        Ok(exit)
    }

    /// This node does not serve: of a tree that it is recorded as primary of, it follows a peer
    /// that was promoted since, or tells why it does not.
    fn come_back(&self) -> Result<(), Failure> {
        for back in rejoin::rejoin(self.config, &self.config.in_push_order())? {
            match back {
                Back::Stays(tree) => {
                    self.try_to(state::clear(self.config, tree, Some(Doing::Rejoining)));
                }
                Back::Follows(tree, peer) => {
                    let line = rejoin::follows(tree, &peer);
                    if !self.args.quiet {
                        self.out.say(&line);
                    }
                    let next = "nothing needs to be done; hasync status tells what is kept";
                    let line = Failure::new(Exit::Ok, line);
                    self.notice(Event::Demotion, Some(tree), &line, next);
                }
                Back::Asks(tree, line) => {
                    if !self.args.quiet {
                        self.out.say(&format!("{}: {line}", tree.name));
                    }
                    let next = state::advice_after(self.config, Some(tree), Exit::Diverged);
                    let asks = Failure::new(Exit::Diverged, line);
                    self.notice(Event::Diverged, Some(tree), &asks, &next);
                    self.try_to(state::put(self.config, tree, Doing::Rejoining, &asks, next));
                }
            }
        }
        Ok(())
    }

    /// The right to run, if this cycle does not give way.
    fn lock(&self) -> Result<Turn, Failure> {
        let state = &self.config.node.state;
        let holder = match CycleLock::take(state)? {
            Ok(lock) => return Ok(Turn::Taken(lock)),
            Err(holder) => holder,
        };
        if holder.is_last_push {
            if self.args.verbose {
                self.out
                    .say("nothing to do, the last push of this node is running");
            }
            return Ok(Turn::LastPush);
        }
        let running = format!(
            "a cycle was due and the one before is running for {} (process {})",
            long(holder.age),
            holder.pid
        );
        if self.config.cycle.overlap == Overlap::QueueOne
            && let Ok(_place) = CycleLock::queue(state)?
        {
            self.overrun(&format!("{running}: it waits for that one"));
            // By then the next is due, and takes this one's place.
            if let Ok(lock) = CycleLock::wait(state, Instant::now() + self.interval)? {
                return Ok(Turn::Taken(lock));
            }
        }
        let line = format!("{running}: it is skipped");
        self.overrun(&line);
        if !self.args.quiet {
            out::error(&format!("{line} (exit {})", Exit::Locked));
        }
        Ok(Turn::Skipped)
    }

    fn overrun(&self, line: &str) {
        let next =
            "see hasync status; if it stays so, make the interval longer or the trees smaller";
        self.notice(
            Event::Overlap,
            None,
            &Failure::new(Exit::Locked, line),
            next,
        );
        let hook = self.config.hooks.on_overrun.as_ref();
        // That it failed was told.
        let _ = self.hook("on_overrun", hook, Exit::Locked);
    }

    /// Pushes everything, and tells about each tree that did not go well.
    fn push_all(&mut self) -> PushedAll {
        let hooks = &self.config.hooks;
        if self
            .hook("before", hooks.before.as_ref(), Exit::Ok)
            .is_err()
        {
            let _ = self.hook("on_failure", hooks.on_failure.as_ref(), Exit::FileIo);
            return PushedAll {
                exit: Exit::FileIo,
                sent_bytes: 0,
                line: Some("the hook before failed, nothing was pushed".to_owned()),
                is_held: false,
            };
        }
        let mut all = PushedAll {
            exit: Exit::Ok,
            sent_bytes: 0,
            line: None,
            is_held: false,
        };
        self.plan.how_far.begin(self.config.trees.len());
        for tree in self.config.in_push_order() {
            if state::is_just_demoted(self.config, tree).unwrap_or(false) {
                all.is_held = true;
                continue;
            }
            let pushed = push_trees::push(tree, &self.plan, &mut self.link, self.out);
            let failure = match pushed {
                Ok(pushed) => {
                    all.sent_bytes += pushed.sent_bytes;
                    self.pushed(tree, &pushed);
                    let line = pushed.line.unwrap_or_default();
                    all.note(pushed.exit, format!("tree {}: {line}", tree.name));
                    continue;
                }
                Err(failure) => failure,
            };
            self.out.flush();
            let is_about_the_way = exit::is_about_the_way(failure.exit);
            if let Some(left) = hold::left(self.config, self.interval, tree, failure.exit) {
                all.is_held = true;
                if !self.args.quiet {
                    self.out.say(&hold::line(tree, left, &failure));
                }
            } else {
                let line = format!("{} (exit {})", failure.message, failure.exit);
                out::error(&format!("tree {}: {line}", tree.name));
                all.note(failure.exit, format!("tree {}: {line}", tree.name));
                // The others would fail in the same way as this one: one notice for all.
                let about = Some(tree).filter(|_| !is_about_the_way);
                let failure = Failure::new(failure.exit, line);
                self.look_after(tree, about, Err(&failure));
            }
            if is_about_the_way {
                break;
            }
        }
        let (name, hook) = match all.exit {
            Exit::Ok | Exit::Vanished => ("after", &hooks.after),
            _ => ("on_failure", &hooks.on_failure),
        };
        if self.hook(name, hook.as_ref(), all.exit).is_err() {
            all.note(Exit::FileIo, format!("the hook {name} failed"));
        }
        all
    }

    /// A tree was pushed: it is held back no longer.
    fn pushed(&mut self, tree: &Tree, pushed: &Pushed) {
        self.try_to(hold::release(self.config, tree));
        if let Some(kept) = &pushed.kept {
            let next = "see hasync status there; what is not needed of it can go";
            let kept = Failure::new(Exit::Ok, kept);
            self.notice(Event::Promotion, Some(tree), &kept, next);
        }
        if let Some(written) = &pushed.written {
            let next = "find out what writes there; hasync kept there lists what was replaced";
            let written = Failure::new(Exit::NotEqual, written);
            self.notice(Event::Failure, Some(tree), &written, next);
        }
        self.look_after(tree, Some(tree), Ok(pushed));
    }

    /// Remembers how the push of a tree ended, and tells what did not end well.
    fn look_after(&mut self, tree: &Tree, about: Option<&Tree>, ended: Result<&Pushed, &Failure>) {
        let remembered = aftermath::remember(self.config, tree, &mut self.link, ended);
        let Some((failure, next)) = remembered else {
            return;
        };
        let event = match failure.exit {
            Exit::Fenced => Event::Fenced,
            Exit::Diverged => Event::Diverged,
            Exit::DeleteLimit => Event::Brake,
            _ => Event::Failure,
        };
        self.notice(event, about, &failure, &next);
    }

    /// Two nodes that mirror different things are found out before a failover.
    fn tell_differences(&mut self, exit: Exit) {
        if exit::is_about_the_way(exit) {
            return;
        }
        // What keeps the peer from saying so has been told, or is by the next push.
        let found = self.link.differences(self.config).unwrap_or_default();
        if found.is_empty() {
            return;
        }
        let host = self.link.host().unwrap_or_default();
        let line = format!(
            "the configuration of {host} differs from that here: {}",
            found.join("; ")
        );
        if !self.args.quiet {
            self.out.say(&format!("note: {line}"));
        }
        let next = "make the file the same on both nodes; hasync check-config --peer compares them";
        self.notice(
            Event::Differs,
            None,
            &Failure::new(Exit::Config, line),
            next,
        );
    }

    fn tell_lag(&self) {
        let Some(limit) = self.config.cycle.max_lag else {
            return;
        };
        for tree in &self.config.trees {
            let Ok(found) = state::of_tree(self.config, tree) else {
                continue;
            };
            let lag = found.facts.data.lag_seconds.map(Duration::from_secs);
            if let Some(lag) = lag.filter(|lag| *lag > limit.0) {
                let line = format!("the standby is {} behind, more than {limit}", long(lag));
                let next = format!("see hasync status {}", tree.name);
                self.notice(
                    Event::Lag,
                    Some(tree),
                    &Failure::new(Exit::NotEqual, line),
                    &next,
                );
            }
        }
    }

    /// Notes how it went; the first good cycle after a bad one is worth a notice.
    fn remember(&self, course: Course) -> Result<(), Failure> {
        let (mut was_bad, is_whole) = (false, course.exit == 0);
        Memory::change(&self.config.node.state, |memory| {
            was_bad = memory.cycles.last().is_some_and(|last| !last.is_good());
            memory.cycles.push(course);
        })?;
        if was_bad && is_whole {
            let line = "all trees were pushed again after a cycle that failed";
            self.notice(
                Event::Recovery,
                None,
                &Failure::new(Exit::Ok, line),
                state::NOTHING,
            );
        }
        Ok(())
    }

    fn notice(&self, event: Event, tree: Option<&Tree>, what: &Failure, next: &str) {
        let notice = Notice {
            event,
            tree: tree.map(|tree| tree.name.clone()),
            exit: what.exit as u8,
            line: what.message.clone(),
            next: next.to_owned(),
        };
        self.teller.tell(notice);
    }

    /// Runs a hook; a failure is told.
    fn hook(&self, name: &str, hook: Option<&Command>, exit: Exit) -> Result<(), ()> {
        let Some(hook) = hook else { return Ok(()) };
        let code = exit.to_string();
        let variables = [
            ("HASYNC_NODE", self.config.node.name.as_str()),
            ("HASYNC_EXIT", code.as_str()),
        ];
        let why = match shell::run(&hook.0, &variables, b"", self.config.hooks.time()) {
            Ok(ended) if ended.code == 0 => return Ok(()),
            Ok(ended) => ended.shown(),
            Err(why) => why,
        };
        let line = format!("the hook {name} failed: {why}");
        out::error(&line);
        let next = match name {
            "before" => "nothing was pushed; mend the hook",
            _ => "mend the hook",
        };
        self.notice(
            Event::Failure,
            None,
            &Failure::new(Exit::FileIo, line),
            next,
        );
        Err(())
    }

    /// Something whose failure is no reason to stop.
    fn try_to(&self, outcome: Result<(), Failure>) {
        if let Err(failure) = outcome {
            self.out.flush();
            out::error(&failure.message);
        }
    }
}
