//! `hasync check`: the state of the trees for a monitoring system, in Nagios' form: one line, a
//! part behind `|` for graphs, and the exit codes 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.

use std::process::ExitCode;
use std::time::Duration;

use hasync_engine::generation::NodeRole;
use hasync_engine::{Place, harmless};

use crate::args::CheckArgs;
use crate::config::Config;
use crate::exit::Failure;
use crate::generations::{Look, State, any, look};
use crate::out::Out;
use crate::times::long;

/// What a monitoring system is told; a later one outranks an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Warning,
    Unknown,
    Critical,
}

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

/// Prints the one line. Whatever keeps it from knowing is UNKNOWN.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let (level, words, figures) = match judge_all(args) {
        Ok(judged) => judged,
        Err(failure) => (Level::Unknown, failure.message, String::new()),
    };
    let out = Out::stdout();
    let words = harmless(&words, Place::Plugin);
    out.write(format!("HASYNC {} - {words}{figures}\n", level.word()).as_bytes());
    match out.finish() {
        Ok(()) => ExitCode::from(level.code()),
        Err(_) => ExitCode::from(Level::Unknown.code()),
    }
}

/// The worst level, the words for people, and the figures with the bar before them.
fn judge_all(args: &CheckArgs) -> Result<(Level, String, String), Failure> {
    let config = Config::load(args.which.config.config.as_deref())?;
    let interval = config.cycle.interval.0;
    let configured = config.cycle.max_lag.map_or(interval * 3, |time| time.0);
    let critical = args.max_lag.unwrap_or(configured);
    let warning = args.warn_lag.unwrap_or(critical);
    let (mut worst, mut words, mut figures) = (Level::Ok, Vec::new(), Vec::new());
    for tree in any(&config, &args.which)? {
        let look = look(&config, tree)?;
        let (level, word) = judge(&look, warning, critical);
        if level > worst {
            // What is worst is said first.
            words.insert(0, format!("{}: {word}", tree.name));
        } else {
            words.push(format!("{}: {word}", tree.name));
        }
        worst = worst.max(level);
        let lag = look
            .lag
            .map_or("U".to_owned(), |lag| format!("{}s", lag.as_secs()));
        figures.push(format!(
            "{}_lag={lag};{};{};0",
            tree.name,
            warning.as_secs(),
            critical.as_secs()
        ));
    }
    let figures = format!(" | {}", figures.join(" "));
    Ok((worst, words.join(", "), figures))
}

fn judge(look: &Look, warning: Duration, critical: Duration) -> (Level, String) {
    let status = &look.status;
    let head = status.head.as_ref();
    let head = head.map_or_else(
        || "no generation".to_owned(),
        |head| format!("generation {}", head.number),
    );
    let behind = look.lag.map(|lag| format!("{head}, lag {}", long(lag)));
    match (look.state, &behind, look.lag) {
        (State::Interrupted, _, _) => (
            Level::Critical,
            "a commit was cut off, run hasync recover".to_owned(),
        ),
        _ if status.role == NodeRole::New => {
            (Level::Unknown, "nothing sent or received yet".to_owned())
        }
        (_, Some(behind), Some(lag)) if lag > critical => (
            Level::Critical,
            format!("{behind}, more than {}", long(critical)),
        ),
        (_, None, _) => (Level::Unknown, format!("{head}, lag unknown")),
        (State::Partial, Some(behind), _) => (
            Level::Warning,
            format!("{behind}, partial, see hasync status"),
        ),
        (_, Some(behind), Some(lag)) if lag > warning => (
            Level::Warning,
            format!("{behind}, more than {}", long(warning)),
        ),
        (_, Some(behind), _) => (Level::Ok, behind.clone()),
    }
}
