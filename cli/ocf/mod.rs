//! The resource agent ocf:hasync:mirror of Pacemaker, for a promotable clone: `hasync ocf ACTION`,
//! or this program under the name of the agent.
//!
//! Running is what the cluster has started here, which a mark tells that a boot removes; a start
//! completes what was cut off and lets a former primary follow, and makes no generation. Promotion
//! and demotion are those of `hasync mirror`. A stop never fails, whatever stands in its way: that
//! would have this node shot. Each action ends before the cluster loses its patience.

mod in_time;
mod mark;
mod meta_data;
mod score;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hasync_engine::generation::Serves;
use hasync_engine::{Place, harmless};

use crate::args::OcfArgs;
use crate::config::{self, Config, RoleTest};
use crate::exit::Exit;
use crate::mirror::{self, Failed, Stop};
use crate::out::{self, Out};
use crate::state::record::RoleWord;
use crate::state::{self, Level, NodeState, RoleLook, TreeState};
use crate::times::long;

use in_time::in_time;
use mark::{Mark, Part, Place as MarkPlace};

/// What is left of the cluster's timeout when an action, or a last push, has to be over.
const RESERVE: Duration = Duration::from_secs(5);
/// How long a stop tries once more to demote what could not be demoted.
const ONCE_MORE: Duration = Duration::from_secs(10);
/// What is to be left of it for a look at the peer and for the cluster's own programs.
const RANKING: Duration = Duration::from_secs(10);
/// The share of what is left that taking the score away may take.
const FORGET_SHARE: u32 = 4;

/// How an action ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Code {
    Success = 0,
    /// It failed; the cluster recovers the resource.
    Failed = 1,
    /// There is no such action.
    Unimplemented = 3,
    /// Something is missing on this node: the cluster tries another.
    Installed = 5,
    /// The configuration makes no sense.
    Configured = 6,
    NotRunning = 7,
    RunningPromoted = 8,
    /// The cluster promoted it, and it is not primary.
    FailedPromoted = 9,
    /// It runs, and people should look at it.
    Degraded = 190,
    DegradedPromoted = 191,
}

/// The resource as Pacemaker describes it in the environment.
#[derive(Clone)]
struct Resource {
    /// The configuration, if it is not the default file.
    config: Option<PathBuf>,
    /// Or why it makes no sense: that is said, and lets nobody's data be left behind.
    max_lag: Result<Option<Duration>, String>,
    began: Instant,
    /// How long the action may take.
    timeout: Option<Duration>,
    instance: String,
    place: MarkPlace,
}

/// Carries an action out.
pub(crate) fn run(args: &OcfArgs) -> ExitCode {
    if args.action == "meta-data" {
        let out = Out::stdout();
        out.write(meta_data::TEXT.as_bytes());
        let _ = out.finish();
        return ExitCode::SUCCESS;
    }
    let out = Out::stdout();
    let resource = Resource::from_environment(args);
    let code = resource.act_in_time(&args.action, &out);
    let _ = out.finish();
    ExitCode::from(code as u8)
}

/// The line that crm_mon shows.
fn reason(why: &str) {
    // With standard error closed there is nobody left to tell.
    let why = harmless(why, Place::Line);
    let _ = writeln!(std::io::stderr(), "ocf-exit-reason:{why}");
}

/// The answer of an action that failed for this reason.
fn failed(why: impl AsRef<str>) -> Code {
    reason(why.as_ref());
    Code::Failed
}

impl Resource {
    fn from_environment(args: &OcfArgs) -> Self {
        let word = |name: &str| {
            let word = std::env::var_os(name).filter(|word| !word.is_empty());
            word.map(|word| word.to_string_lossy().into_owned())
        };
        let config = std::env::var_os("OCF_RESKEY_config").filter(|file| !file.is_empty());
        let max_lag = word("OCF_RESKEY_max_lag").map(|typed| {
            let seconds = typed.parse().map(Duration::from_secs);
            let time = seconds.or_else(|_| config::time(&typed));
            time.map_err(|why| format!("the parameter max_lag is no time: {why}"))
        });
        let timeout = word("OCF_RESKEY_CRM_meta_timeout").and_then(|ms| ms.parse().ok());
        // None, in some clusters' words.
        let timeout = timeout.filter(|ms| *ms > 0);
        let instance = word("OCF_RESOURCE_INSTANCE").unwrap_or_else(|| "mirror".to_owned());
        let temp = std::env::var_os("HA_RSCTMP").filter(|dir| !dir.is_empty());
        Resource {
            config: args.config.clone().or(config.map(PathBuf::from)),
            max_lag: max_lag.transpose(),
            began: Instant::now(),
            timeout: timeout.map(Duration::from_millis),
            place: MarkPlace::new(temp.map(PathBuf::from), &instance),
            instance,
        }
    }

    /// Acts, and answers in time though a disk or a name service does not.
    fn act_in_time(&self, action: &str, out: &Out) -> Code {
        // A stop and a demotion look after their time themselves, and hand over as long as there is
        // some.
        let limit = self.time().filter(|_| !matches!(action, "stop" | "demote"));
        let Some(limit) = limit else {
            return self.act(action, out);
        };
        let (resource, named, lines) = (self.clone(), action.to_owned(), out.clone());
        let acted = in_time(limit, move || resource.act(&named, &lines));
        acted.unwrap_or_else(|| self.late(action, limit))
    }

    /// The answer of an action that hangs.
    fn late(&self, action: &str, limit: Duration) -> Code {
        if action == "notify" {
            return Code::Success;
        }
        reason(&format!(
            "{action} did not end within {}: what it looks at, a disk or a name service, does not \
             answer",
            long(limit)
        ));
        match (action, self.place.read()) {
            // A restart makes no disk answer; whoever serves from it had better move.
            ("monitor" | "status", Ok(Some(mark))) if mark.part == Part::Unpromoted => {
                score::forget(RESERVE / 2);
                Code::Degraded
            }
            ("monitor" | "status", Ok(Some(_))) => Code::FailedPromoted,
            _ => Code::Failed,
        }
    }

    fn act(&self, action: &str, out: &Out) -> Code {
        if let ("start" | "promote" | "validate-all", Err(why)) = (action, &self.max_lag) {
            reason(why);
            return Code::Configured;
        }
        match (action, self.place.read()) {
            ("validate-all", _) => self.validate(out),
            ("start", Ok(mark)) => {
                let mark = mark.map(|mark| self.settled(mark));
                self.start(mark.unwrap_or_else(Mark::of_a_start), out)
            }
            ("stop", Ok(mark)) => self.stop(mark, out),
            // What cannot be read may say that it is promoted.
            ("stop" | "demote", Err(failure)) => {
                out::error(&failure.message);
                match action {
                    "stop" => self.stop(Some(Mark::default()), out),
                    _ => self.demote(Mark::default(), out),
                }
            }
            ("demote", Ok(None)) => {
                // Whatever took the mark away, the records tell who is primary.
                self.step_down(self.time(), out)
                    .map_or(Code::NotRunning, failed)
            }
            ("monitor" | "status" | "promote" | "reload" | "reload-agent", Ok(None)) => {
                Code::NotRunning
            }
            ("monitor" | "status", Ok(Some(mark))) => self.monitor(self.settled(mark)),
            ("promote", Ok(Some(mark))) => self.promote(mark, out),
            ("demote", Ok(Some(mark))) => self.demote(mark, out),
            ("reload" | "reload-agent", Ok(Some(_))) => self.reload(),
            ("notify", Ok(Some(mark))) => self.notify(self.settled(mark)),
            ("notify", _) => Code::Success,
            ("start" | "monitor" | "status" | "promote" | "reload" | "reload-agent", Err(why)) => {
                failed(why.message)
            }
            _ => Code::Unimplemented,
        }
    }

    /// With a part in any case. Where the mark is damaged the records of this node tell: who is
    /// primary of anything hands over.
    fn settled(&self, mut mark: Mark) -> Mark {
        if mark.part != Part::Unknown {
            return mark;
        }
        let file = self.config.as_deref();
        let config = Config::load(file).ok().or_else(|| Config::last_good(file));
        let may_be_primary = config.is_none_or(|config| {
            let node = state::look(&config, &config.in_push_order(), RoleLook::Recall);
            let mut trees = node.trees.iter().map(|tree| &tree.facts);
            trees.any(|facts| facts.unreadable.is_some() || facts.part.role == RoleWord::Primary)
        });
        mark.part = match may_be_primary {
            true => Part::Promoted,
            false => Part::Unpromoted,
        };
        mark
    }

    fn load(&self) -> Result<Config, Code> {
        state::config(self.config.as_deref()).map_err(|failure| {
            reason(&failure.message);
            // The other node may have a good one.
            Code::Installed
        })
    }

    fn validate(&self, out: &Out) -> Code {
        let config = match Config::load(self.config.as_deref()) {
            Ok(config) => config,
            Err(failure) => {
                reason(&failure.message);
                return Code::Configured;
            }
        };
        if config.trees.is_empty() {
            reason(&format!("{} names no tree", config.shown_file()));
            return Code::Configured;
        }
        if config.role != RoleTest::Recorded {
            out.say(&format!(
                "warning: {} has a [role] of its own; under Pacemaker the cluster decides, so \
                 take it out",
                config.shown_file()
            ));
        }
        Code::Success
    }

    fn start(&self, mut mark: Mark, out: &Out) -> Code {
        let config = match self.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        let mut failed = Failed::default();
        let trees = mirror::recover_all(&config, &mut failed, out);
        // Whatever is started is no primary yet, and what a cluster has stopped does not serve.
        if mark.part == Part::Unpromoted
            && let Err(failure) = mirror::come_back(&config, &trees, || Serves::No, out)
        {
            out::error(&failure.message);
        }
        state::note(&config);
        let unfit = self.rank(&config, &mut mark);
        score::show(&self.instance, &mut mark, unfit.as_ref());
        self.leave(Code::Success, &mark)
    }

    fn stop(&self, mark: Option<Mark>, out: &Out) -> Code {
        match mark.map(|mark| mark.part) {
            None | Some(Part::Unpromoted) => {}
            // Whoever takes over has waited for the last push already.
            Some(Part::Demoting) => {
                let within = self.time().unwrap_or(ONCE_MORE).min(ONCE_MORE);
                self.step_down(Some(within), out);
            }
            Some(Part::Promoted | Part::Unknown) => {
                self.step_down(self.time(), out);
            }
        }
        score::forget(self.left() / FORGET_SHARE);
        if let Err(why) = self.place.remove() {
            out::error(&why);
        }
        Code::Success
    }

    fn monitor(&self, mut mark: Mark) -> Code {
        let (config, mut trouble) = match Config::load(self.config.as_deref()) {
            Ok(config) => (Some(config), None),
            Err(failure) => (
                Config::last_good(self.config.as_deref()),
                Some(failure.message),
            ),
        };
        trouble = trouble.or(self.max_lag.clone().err());
        let (is_promoted, mut lost) = (mark.part != Part::Unpromoted, None);
        if let Some(config) = &config {
            let node = state::look(config, &config.in_push_order(), RoleLook::Recall);
            let trees = || node.trees.iter();
            let is_lost = |tree: &&TreeState| tree.facts.part.role != RoleWord::Primary;
            lost = trees().find(is_lost).filter(|_| is_promoted).map(told);
            let mut ill = trees().filter(|tree| !self.is_well(&node, tree)).map(told);
            trouble = trouble.or_else(|| ill.next());
            trouble = unsent(&node).or(trouble);
            // Nobody is to be promoted where a demotion is under way.
            let unfit = match mark.part {
                Part::Demoting => None,
                _ => self.rank(config, &mut mark),
            };
            score::show(
                &self.instance,
                &mut mark,
                trouble.as_ref().or(unfit.as_ref()),
            );
        }
        let code = match (is_promoted, &lost, &trouble) {
            (true, Some(why), _) => {
                reason(&format!("{why}, although the cluster has promoted it"));
                Code::FailedPromoted
            }
            (is_promoted, None, Some(why)) | (is_promoted @ false, _, Some(why)) => {
                reason(why);
                match is_promoted {
                    true => Code::DegradedPromoted,
                    false => Code::Degraded,
                }
            }
            (true, None, None) => Code::RunningPromoted,
            (false, _, None) => Code::Success,
        };
        self.leave(code, &mark)
    }

    fn promote(&self, mut mark: Mark, out: &Out) -> Code {
        let mut config = match self.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        if let Some(time) = self.time() {
            // The promotion itself takes some of it.
            config.cycle.last_push.0 = config.cycle.last_push.0.min(time / 2);
        }
        let mut refused = Failed::default();
        let mut trees = mirror::recover_all(&config, &mut refused, out);
        let heard = mirror::hear_promotable(&config, &mut trees, true, &mut refused, out);
        let heard = match heard {
            Ok(heard) => heard,
            Err(failure) => return failed(failure.message),
        };
        // The service needs all of them.
        if refused.first().is_none() {
            // Whatever cuts this off: a stop hands over.
            mark.part = Part::Promoted;
            if let code @ (Code::Failed | Code::Installed) = self.leave(Code::Success, &mark) {
                return code;
            }
            mirror::promote_all(&config, trees, &heard, &mut refused, out);
        }
        if let Some(failure) = refused.first() {
            return failed(&failure.message);
        }
        state::note(&config);
        self.rank(&config, &mut mark);
        self.leave(Code::Success, &mark)
    }

    fn demote(&self, mut mark: Mark, out: &Out) -> Code {
        let still = self.step_down(self.time(), out);
        mark.part = match still {
            Some(_) => Part::Demoting,
            None => Part::Unpromoted,
        };
        // Whatever of the rest takes too long: the next action is to know it.
        let code = self.leave(Code::Success, &mark);
        if let Some(why) = still {
            score::forget(self.left() / FORGET_SHARE);
            return failed(why);
        }
        let left = self.left();
        if code != Code::Success || left < RANKING {
            score::forget(left / FORGET_SHARE);
            return code;
        }
        let resource = self.clone();
        in_time(left - RESERVE, move || resource.demoted(mark)).unwrap_or(code)
    }

    /// How a node ranks that has just been demoted, and what the cluster's status shows of it.
    fn demoted(&self, mut mark: Mark) -> Code {
        let file = self.config.as_deref();
        if let Some(config) = Config::load(file).ok().or_else(|| Config::last_good(file)) {
            self.rank(&config, &mut mark);
            let node = state::look(&config, &config.in_push_order(), RoleLook::Recall);
            score::show(&self.instance, &mut mark, unsent(&node).as_ref());
        }
        self.leave(Code::Success, &mark)
    }

    /// The last push, and the demotion, within that time; why this node may be primary all the
    /// same. What could not be sent was told, and the next monitor tells it again.
    fn step_down(&self, within: Option<Duration>, out: &Out) -> Option<String> {
        let how = Stop {
            file: self.config.as_deref(),
            within,
            unless_serving: false,
        };
        mirror::stop(how, out)
    }

    /// The time for the action itself.
    fn time(&self) -> Option<Duration> {
        let of = |timeout: Duration| timeout.saturating_sub(RESERVE).max(timeout / 2);
        self.timeout.map(of)
    }

    /// What is left of the time.
    fn left(&self) -> Duration {
        let timeout = self.timeout.unwrap_or(Duration::MAX);
        timeout.saturating_sub(self.began.elapsed())
    }

    fn reload(&self) -> Code {
        if let Err(why) = &self.max_lag {
            return failed(why);
        }
        match self.load() {
            Ok(_) => Code::Success,
            Err(_) => Code::Failed,
        }
    }

    /// Whether nothing about a tree is known to be wrong. That nothing is known is no trouble yet.
    fn is_well(&self, node: &NodeState, tree: &TreeState) -> bool {
        let limit = self.max_lag.as_ref().ok().copied().flatten();
        let limit = limit.unwrap_or(Duration::from_secs(node.max_lag_seconds));
        let lag = tree.facts.data.lag_seconds.map(Duration::from_secs);
        let is_late = lag.is_some_and(|lag| lag > limit);
        !is_late && matches!(tree.told.level, Level::Ok | Level::Unknown)
    }

    /// Whatever has happened to the other instance may have changed how this one ranks.
    fn notify(&self, mut mark: Mark) -> Code {
        let is_over = std::env::var("OCF_RESKEY_CRM_meta_notify_type").is_ok_and(|at| at == "post");
        if is_over && let Ok(config) = Config::load(self.config.as_deref()) {
            self.rank(&config, &mut mark);
            return self.leave(Code::Success, &mark);
        }
        Code::Success
    }

    /// Sets the promotion score; why there is none.
    fn rank(&self, config: &Config, mark: &mut Mark) -> Option<String> {
        match score::update(config, mark) {
            Ok(unfit) => unfit,
            Err(failure) => {
                score::forget(self.left());
                Some(failure.message)
            }
        }
    }

    /// Leaves with the mark that tells the next action how things stand.
    fn leave(&self, code: Code, mark: &Mark) -> Code {
        match self.place.write(mark) {
            Ok(()) => code,
            Err(failure) => {
                reason(&failure.message);
                if failure.exit == Exit::Config {
                    Code::Installed
                } else {
                    Code::Failed
                }
            }
        }
    }
}

/// A tree in the words of `hasync status`.
fn told(tree: &TreeState) -> String {
    format!("{}: {}", tree.facts.name, tree.told.sentence)
}

/// What this node, primary last, could not send, if it is here alone.
fn unsent(node: &NodeState) -> Option<String> {
    let last_stop = node.last_stop.as_ref()?;
    node.trees.iter().find_map(|tree| {
        let why = last_stop.unsent.get(&tree.facts.name)?;
        let is_alone =
            tree.facts.part.handed_over == Some(false) && tree.facts.data.as_of.is_some();
        is_alone.then(|| format!("{}; the last push is not complete: {why}", told(tree)))
    })
}
