//! `hasync check`: the state of the trees for a monitoring system, in Nagios' form: one line, a
//! part behind `|` for graphs, and the exit codes 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. It runs
//! as root, or as anybody, who gets to see what was written for everybody.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use hasync_engine::{Place, harmless};

use crate::args::CheckArgs;
use crate::config::Config;
use crate::exit::Failure;
use crate::generations::any;
use crate::out::Out;
use crate::state::{self, Condition, Level, NodeState, RoleLook, TreeState};
use crate::times::long;

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Ok => "OK",
            Level::Warning => "WARNING",
            Level::Critical => "CRITICAL",
            Level::Unknown => "UNKNOWN",
        }
    }

    fn code(self) -> u8 {
        match self {
            Level::Ok => 0,
            Level::Warning => 1,
            Level::Critical => 2,
            Level::Unknown => 3,
        }
    }
}

/// Prints the one line.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let (level, words, figures) = judge_all(args).unwrap_or_else(|(level, failure)| {
        let figures = String::new();
        (level, failure.message, figures)
    });
    leave(level, &words, &figures)
}

/// What a command line that makes no sense is answered.
pub(crate) fn misused(failure: &Failure) -> ExitCode {
    leave(Level::Unknown, &failure.message, "")
}

fn leave(level: Level, words: &str, figures: &str) -> ExitCode {
    let out = Out::stdout();
    // Some monitoring systems pass the line to a shell.
    let words = words.replace('`', "'");
    let words = harmless(&words, Place::Plugin);
    out.write(format!("HASYNC {} - {words}{figures}\n", level.word()).as_bytes());
    match out.finish() {
        Ok(()) => ExitCode::from(level.code()),
        Err(_) => ExitCode::from(Level::Unknown.code()),
    }
}

/// The worst level, the words for people, and the figures with the bar before them.
fn judge_all(args: &CheckArgs) -> Result<(Level, String, String), (Level, Failure)> {
    let node = find(args)?;
    let critical = args
        .max_lag
        .unwrap_or(Duration::from_secs(node.max_lag_seconds));
    let limits = Limits {
        warning: args.warn_lag.unwrap_or(critical),
        critical,
    };
    let (mut worst, mut words, mut figures) = (Level::Ok, Vec::new(), Vec::new());
    let mut say = |level: Level, word: String| {
        if level > worst {
            // What is worst is said first.
            words.insert(0, word);
        } else {
            words.push(word);
        }
        worst = worst.max(level);
    };
    if let Some(fault) = &node.fault {
        say(state::level_of(fault), fault.line.clone());
    }
    for tree in &node.trees {
        let name = &tree.facts.name;
        let (level, word) = limits.judge(tree);
        say(level, format!("{name}: {word}"));
        let lag = tree.facts.data.lag_seconds;
        let lag = lag.map_or("U".to_owned(), |lag| format!("{lag}s"));
        figures.push(format!(
            "{name}_lag={lag};{};{};0",
            limits.warning.as_secs(),
            critical.as_secs()
        ));
    }
    let figures = match &*figures.join(" ") {
        "" => String::new(),
        figures => format!(" | {figures}"),
    };
    Ok((worst, words.join(", "), figures))
}

/// The state of this node. What the command line gets wrong is unknown, what the configuration
/// does is critical: nothing is mirrored by it.
fn find(args: &CheckArgs) -> Result<NodeState, (Level, Failure)> {
    let named = args.which.config.config.as_deref();
    let unknown = |failure| (Level::Unknown, failure);
    let config = match Config::load(named) {
        Ok(config) => config,
        Err(failure) if named.is_some_and(|file| !is_there(file)) => return Err(unknown(failure)),
        Err(failure) if rustix::process::geteuid().is_root() => {
            return Err((Level::Critical, failure));
        }
        // It may be for root's eyes alone.
        Err(_) => return by_file(args).map_err(unknown),
    };
    let trees = any(&config, &args.which).map_err(unknown)?;
    if state::ours(&config) {
        return Ok(state::look(&config, &trees, RoleLook::Test));
    }
    by_file(args).map_err(unknown)
}

fn is_there(file: &Path) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    // One that this user may not look at is there all the same.
    let looked = file.symlink_metadata().map_err(|cause| cause.kind());
    !matches!(looked, Err(NotFound | NotADirectory))
}

fn by_file(args: &CheckArgs) -> Result<NodeState, Failure> {
    let mut node = state::read_of(args.which.config.config.as_deref())?;
    node.age(&args.which.trees);
    let known = |name: &&String| node.trees.iter().all(|tree| tree.facts.name != **name);
    if let Some(name) = args.which.trees.iter().find(known) {
        return Err(Failure::usage(format!(
            "no tree \"{name}\" in the state of this node"
        )));
    }
    Ok(node)
}

/// How much lag is too much.
struct Limits {
    warning: Duration,
    critical: Duration,
}

impl Limits {
    fn judge(&self, tree: &TreeState) -> (Level, String) {
        let (facts, told) = (&tree.facts, &tree.told);
        let head = facts.data.head.as_ref();
        let head = head.map_or_else(
            || "no generation".to_owned(),
            |head| format!("generation {}", head.number),
        );
        let lag = facts.data.lag_seconds.map(Duration::from_secs);
        let behind = lag.map_or_else(
            || format!("{head}, lag unknown"),
            |lag| format!("{head}, lag {}", long(lag)),
        );
        let (lag_level, behind) = match lag {
            Some(lag) if lag > self.critical => {
                let limit = long(self.critical);
                (Level::Critical, format!("{behind}, more than {limit}"))
            }
            Some(lag) if lag > self.warning => {
                let limit = long(self.warning);
                (Level::Warning, format!("{behind}, more than {limit}"))
            }
            _ => (Level::Ok, behind),
        };
        let level = told.level.max(lag_level);
        let is_plain = matches!(
            told.condition,
            Condition::Equal
                | Condition::HandedOver
                | Condition::BrokeOff
                | Condition::Ageless
                | Condition::Unsent
        );
        if told.condition == Condition::New {
            (level, state::core(facts, told.condition))
        } else if is_plain {
            (level, behind)
        } else {
            let core = state::core(facts, told.condition);
            (level, format!("{core}; {}; {behind}", told.next))
        }
    }
}
