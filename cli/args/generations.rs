//! The options of the verbs about the generations of named trees.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::ConfigArgs;

/// Which trees a verb is about: those named, or all.
#[derive(Args, Clone, Debug)]
pub(crate) struct SomeTrees {
    /// Trees of the configuration
    #[arg(value_name = "TREE", required_unless_present = "all")]
    pub(crate) trees: Vec<String>,
    /// All trees of the configuration
    #[arg(long, conflicts_with = "trees")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// The options of `hasync promote`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PromoteArgs {
    #[command(flatten)]
    pub(crate) which: SomeTrees,
    /// Above this epoch of the peer's, as hasync diverged prints it
    #[arg(long, value_name = "EPOCH")]
    pub(crate) above: Option<u64>,
    /// Although the peer has the service or newer data
    #[arg(long)]
    pub(crate) force: bool,
}

/// The same for verbs that harm nothing: without a name they are about all.
#[derive(Args, Clone, Debug)]
pub(crate) struct AnyTrees {
    /// Trees of the configuration (default: all)
    #[arg(value_name = "TREE")]
    pub(crate) trees: Vec<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// The options of `hasync status`.
#[derive(Args, Clone, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) which: AnyTrees,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `hasync log`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogArgs {
    /// A tree of the configuration
    #[arg(value_name = "TREE")]
    pub(crate) tree: String,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `hasync diverged`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DivergedArgs {
    #[command(flatten)]
    pub(crate) which: AnyTrees,
    /// Compare content, not size and time
    #[arg(short = 'c', long)]
    pub(crate) checksum: bool,
}

/// The options of `hasync adopt`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  hasync adopt --all --from foo1")]
pub(crate) struct AdoptArgs {
    /// A tree of the configuration; need not be named if it is the only one
    #[arg(value_name = "TREE", conflicts_with = "all")]
    pub(crate) tree: Option<String>,
    /// All trees, for the generations that the peer has now, where the nodes have diverged
    #[arg(long, conflicts_with = "generation")]
    pub(crate) all: bool,
    /// The name of the node whose data is kept
    #[arg(long, value_name = "PEER")]
    pub(crate) from: String,
    /// The identity of the generation that it has, as hasync diverged prints it
    #[arg(long, value_name = "ID", required_unless_present = "all")]
    pub(crate) generation: Option<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// The options of `hasync undo`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  hasync undo html -nv
  hasync undo html
  hasync undo html --path news/today.html --to 41")]
pub(crate) struct UndoArgs {
    /// A tree of the configuration
    #[arg(value_name = "TREE")]
    pub(crate) tree: String,
    /// Back to this generation, by number or identity (default: the one before)
    #[arg(long, value_name = "GENERATION")]
    pub(crate) to: Option<String>,
    /// Undo nothing: remove what this generation replaced, which is kept until then
    #[arg(long, value_name = "GENERATION")]
    #[arg(conflicts_with_all = ["to", "paths", "dry_run", "verbose"])]
    pub(crate) forget: Option<String>,
    /// Only this, with everything below it; below the root of the tree, or absolute. May be
    /// repeated
    #[arg(long = "path", value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Change nothing, say what would change
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Name every path that changes
    #[arg(short = 'v', long)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// The options of `hasync kept`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  hasync kept html
  hasync kept html --extract 41 /tmp/html-41")]
pub(crate) struct KeptArgs {
    /// A tree of the configuration
    #[arg(value_name = "TREE")]
    pub(crate) tree: String,
    /// List what each generation replaced (the default)
    #[arg(long, conflicts_with = "extract")]
    pub(crate) list: bool,
    /// Copy what this generation replaced, by number or identity, into DIR, which is made or empty
    #[arg(long, num_args = 2, value_names = ["GENERATION", "DIR"])]
    pub(crate) extract: Vec<OsString>,
    /// Only this, with everything below it; below the root of the tree, or absolute. May be
    /// repeated
    #[arg(long = "path", value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// The options of `hasync check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  hasync check --max-lag 30m")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) which: AnyTrees,
    /// Critical beyond this lag, in seconds or as 90s, 5m (default: max_lag of [cycle], or
    /// three intervals)
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) max_lag: Option<Duration>,
    /// Warn beyond this lag
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) warn_lag: Option<Duration>,
}

/// A time in seconds, or with a unit.
pub(super) fn seconds(typed: &str) -> Result<Duration, String> {
    match typed.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => crate::config::time(typed),
    }
}
