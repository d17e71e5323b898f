//! What was typed: every option of every verb with its help, and what a wrong word is answered.
//! What the options mean for a run is decided by the verb's own module.

mod compress;
mod config;
mod cycle;
mod filter_words;
mod generations;
mod info;
mod plumbing;
pub(crate) mod rate;
mod refusal;
mod role;
mod serve;
mod trees;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use hasync_engine::Compression;

use crate::exit::{Exit, Failure};

pub(crate) use config::{CheckConfigArgs, ConfigArgs, NotifyArgs};
pub(crate) use cycle::{Action, CycleArgs, MirrorArgs, PlanArgs};
pub(crate) use filter_words::FilterWord;
pub(crate) use generations::{
    AdoptArgs, AnyTrees, CheckArgs, DivergedArgs, LogArgs, PromoteArgs, SomeTrees, StatusArgs,
    UndoArgs,
};
pub(crate) use plumbing::{DeltaArgs, PatchArgs, SignatureArgs, named};
use refusal::{answer, usage};
pub(crate) use role::{RoleArgs, WantedRole};
pub(crate) use serve::{DemoArgs, ManArgs, ServeArgs};
pub(crate) use trees::TreeArgs;

/// One parsed command line.
#[derive(Debug)]
pub(crate) enum Typed {
    /// `hasync push`
    Push(Box<PushArgs>),
    /// `hasync serve`
    Serve(ServeArgs),
    /// `hasync demo`
    Demo(DemoArgs),
    /// `hasync signature`
    Signature(SignatureArgs),
    /// `hasync delta`
    Delta(DeltaArgs),
    /// `hasync patch`
    Patch(PatchArgs),
    /// `hasync check-config`
    CheckConfig(CheckConfigArgs),
    /// `hasync role`
    Role(RoleArgs),
    /// `hasync promote`
    Promote(PromoteArgs),
    /// `hasync demote`
    Demote(SomeTrees),
    /// `hasync status`
    Status(StatusArgs),
    /// `hasync log`
    Log(LogArgs),
    /// `hasync undo`
    Undo(UndoArgs),
    /// `hasync recover`
    Recover(AnyTrees),
    /// `hasync diverged`
    Diverged(DivergedArgs),
    /// `hasync adopt`
    Adopt(AdoptArgs),
    /// `hasync check`
    Check(CheckArgs),
    /// `hasync cycle`
    Cycle(CycleArgs),
    /// `hasync plan`
    Plan(PlanArgs),
    /// `hasync mirror`
    Mirror(MirrorArgs),
    /// `hasync man`
    Man(ManArgs),
    /// `hasync notify`
    Notify(NotifyArgs),
    /// Text to print, and the code to leave with: 0 when it was asked for.
    Help(String, Exit),
}

/// Reads a command line, the program's name first.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Typed, Failure> {
    let words = cycle::as_resource(words.into_iter().collect());
    let matches = match command().try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(error) => return answer(&error, &words),
    };
    let verb = Cli::from_arg_matches(&matches)
        .map_err(|error| usage(&error))?
        .verb;
    Ok(match verb {
        Verb::Push(mut args) => {
            if let Some(matches) = matches.subcommand_matches("push") {
                args.settle(matches);
            }
            Typed::Push(args)
        }
        Verb::Serve(args) => Typed::Serve(args),
        Verb::Demo(args) => Typed::Demo(args),
        Verb::Signature(args) => Typed::Signature(args),
        Verb::Delta(args) => Typed::Delta(args),
        Verb::Patch(args) => Typed::Patch(args),
        Verb::CheckConfig(args) => Typed::CheckConfig(args),
        Verb::Role(args) => Typed::Role(args),
        Verb::Promote(args) => Typed::Promote(args),
        Verb::Demote(args) => Typed::Demote(args),
        Verb::Status(args) => Typed::Status(args),
        Verb::Log(args) => Typed::Log(args),
        Verb::Undo(args) => Typed::Undo(args),
        Verb::Recover(args) => Typed::Recover(args),
        Verb::Diverged(args) => Typed::Diverged(args),
        Verb::Adopt(args) => Typed::Adopt(args),
        Verb::Check(args) => Typed::Check(args),
        Verb::Cycle(args) => Typed::Cycle(args),
        Verb::Plan(args) => Typed::Plan(args),
        Verb::Mirror(args) => Typed::Mirror(args),
        Verb::Man(args) => Typed::Man(args),
        Verb::Notify(args) => Typed::Notify(args),
    })
}

/// Reads the words behind a `hasync serve` that is forced on a key.
pub(crate) fn parse_serve(words: &[String]) -> Result<ServeArgs, Failure> {
    let line = ["hasync", "serve"]
        .into_iter()
        .chain(words.iter().map(String::as_str));
    let matches = command()
        .try_get_matches_from(line)
        .map_err(|error| usage(&error))?;
    match Cli::from_arg_matches(&matches)
        .map_err(|error| usage(&error))?
        .verb
    {
        Verb::Serve(args) => Ok(args),
        _ => Err(Failure::usage("it is not hasync serve")),
    }
}

/// Keep the standby of a two-node HA cluster equal to its primary
#[derive(Debug, Parser)]
#[command(
    name = "hasync",
    version,
    max_term_width = 100,
    subcommand_required = true
)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  hasync push -a --delete /srv/html/ standby:/srv/html
  hasync push -naiH --delete /etc /srv root@[fd00::2]:/mirror/
  hasync push --all
  hasync status
  hasync demo

`hasync VERB --help` shows the options of a verb.")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a directory tree on another host equal to one here
    Push(Box<PushArgs>),
    /// Receive pushes: started by sshd on stdin and stdout, or as an SSH server of its own
    Serve(ServeArgs),
    /// Tell what the trees are on this node, and as of when the standby is equal
    Status(StatusArgs),
    /// Tell it to a monitoring system, as a Nagios plugin does
    Check(CheckArgs),
    /// List the generations of a tree
    Log(LogArgs),
    /// Bring a tree back to an earlier generation
    Undo(UndoArgs),
    /// Bring commits to their end that were cut off
    Recover(AnyTrees),
    /// Make this node the primary of trees, in a new epoch
    Promote(PromoteArgs),
    /// Make this node a standby of trees
    Demote(SomeTrees),
    /// List what differs between the trees of the two nodes, whichever is primary
    Diverged(DivergedArgs),
    /// Give the data here up for a generation of the peer's, after the two have diverged
    Adopt(AdoptArgs),
    /// Push all trees if this node is primary: for cron or a timer, on both nodes
    Cycle(CycleArgs),
    /// Tell whether cycles fit into an interval
    Plan(PlanArgs),
    /// Start, stop and tell the primary role, as a resource script of heartbeat v1 or LSB
    Mirror(MirrorArgs),
    /// Tell whether this node is the primary, and what shows it
    Role(RoleArgs),
    /// Print what the configuration file is understood to say
    CheckConfig(CheckConfigArgs),
    /// Show a push through real SSH between two temporary trees on this machine
    Demo(DemoArgs),
    /// Sum a file block by block, for a delta made elsewhere
    Signature(SignatureArgs),
    /// Write what turns a signed file into a new one
    Delta(DeltaArgs),
    /// Make the new file from the old one and a delta
    Patch(PatchArgs),
    /// Write the manual pages into a directory
    Man(ManArgs),
    /// Tell a notice of a run that does not wait for it
    #[command(hide = true)]
    Notify(NotifyArgs),
}

const NAMED: &str = "Trees of the configuration";
const WHAT: &str = "What is mirrored";
const DELETE: &str = "What is removed";
const CHOICE: &str = "Which files are looked at";
const REPORT: &str = "What is reported";
const HOW: &str = "How it is done";
const REACH: &str = "How the other host is reached";

/// The options of `hasync push`.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true, args_override_self = true)]
#[command(
    override_usage = "hasync push [OPTIONS] SRC... [USER@]HOST:DST\n       \
                            hasync push [OPTIONS] SRC... DST\n       \
                            hasync push [OPTIONS] --tree NAME|--all [[USER@]HOST]"
)]
#[command(after_help = "\
A SRC with a trailing slash means what is in it, without one the directory itself.
Short options combine (-aurvn). Each letter of -a, and most other switches, can be taken back
by a later --no-OPTION: -a --no-o, --no-owner, --no-D, --no-whole-file.")]
pub(crate) struct PushArgs {
    /// Local files and directories, then the destination
    #[arg(value_name = "SRC... DST", required_unless_present_any = ["tree", "all"])]
    pub(crate) operands: Vec<OsString>,

    #[command(flatten)]
    pub(crate) trees: TreeArgs,

    /// Archive: -rlptgoD
    #[arg(short = 'a', long, help_heading = WHAT)]
    pub(crate) archive: bool,
    /// Descend into directories
    #[arg(short = 'r', long, help_heading = WHAT)]
    pub(crate) recursive: bool,
    /// Symlinks as symlinks
    #[arg(short = 'l', long, help_heading = WHAT)]
    pub(crate) links: bool,
    /// Permissions, with setuid, setgid and sticky bits
    #[arg(short = 'p', long, help_heading = WHAT)]
    pub(crate) perms: bool,
    /// Modification times, to the nanosecond
    #[arg(short = 't', long, help_heading = WHAT)]
    pub(crate) times: bool,
    /// Group
    #[arg(short = 'g', long, help_heading = WHAT)]
    pub(crate) group: bool,
    /// Owner (the receiving side must run as root)
    #[arg(short = 'o', long, help_heading = WHAT)]
    pub(crate) owner: bool,
    /// Same as --devices --specials
    #[arg(short = 'D', help_heading = WHAT)]
    pub(crate) devices_and_specials: bool,
    /// Character and block devices (the receiving side must run as root)
    #[arg(long, help_heading = WHAT)]
    pub(crate) devices: bool,
    /// Fifos and sockets
    #[arg(long, help_heading = WHAT)]
    pub(crate) specials: bool,
    /// Hard links between mirrored names
    #[arg(short = 'H', long, help_heading = WHAT)]
    pub(crate) hard_links: bool,
    /// Long runs of zeros become holes
    #[arg(short = 'S', long, help_heading = WHAT)]
    pub(crate) sparse: bool,
    /// Owner and group as numbers, names are not looked up
    #[arg(long, help_heading = WHAT)]
    pub(crate) numeric_ids: bool,

    /// Remove from DST what SRC does not have
    #[arg(long, help_heading = DELETE)]
    pub(crate) delete: bool,
    /// Remove nothing if more than N entries would go (exit 25)
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = DELETE)]
    pub(crate) max_delete: Option<i64>,

    /// Leave out what matches PATTERN
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append)]
    #[arg(allow_hyphen_values = true, help_heading = CHOICE)]
    pub(crate) exclude: Vec<OsString>,
    /// Keep what matches PATTERN, whatever a later --exclude says
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append)]
    #[arg(allow_hyphen_values = true, help_heading = CHOICE)]
    pub(crate) include: Vec<OsString>,
    /// Read exclude patterns from FILE, one a line; - is stdin
    #[arg(long, value_name = "FILE", action = ArgAction::Append, help_heading = CHOICE)]
    pub(crate) exclude_from: Vec<PathBuf>,
    /// Read include patterns from FILE, one a line; - is stdin
    #[arg(long, value_name = "FILE", action = ArgAction::Append, help_heading = CHOICE)]
    pub(crate) include_from: Vec<PathBuf>,
    /// Compare content, not size and time
    #[arg(short = 'c', long, help_heading = CHOICE)]
    pub(crate) checksum: bool,
    /// Leave files alone that are newer in DST
    #[arg(short = 'u', long, help_heading = CHOICE)]
    pub(crate) update: bool,
    /// Stay on the file system of each SRC
    #[arg(short = 'x', long, help_heading = CHOICE)]
    pub(crate) one_file_system: bool,
    /// Follow symlinks of other users on the way to SRC
    #[arg(long, help_heading = CHOICE)]
    pub(crate) follow_untrusted: bool,

    /// Change nothing, report what would change
    #[arg(short = 'n', long, help_heading = REPORT)]
    pub(crate) dry_run: bool,
    /// Name what changes, and sum up
    #[arg(short = 'v', long, action = ArgAction::Count, help_heading = REPORT)]
    pub(crate) verbose: u8,
    /// Report nothing but errors
    #[arg(short = 'q', long, help_heading = REPORT)]
    pub(crate) quiet: bool,
    /// One line a change, saying what differs
    #[arg(short = 'i', long, help_heading = REPORT)]
    pub(crate) itemize_changes: bool,
    /// Counts of entries and bytes at the end
    #[arg(long, help_heading = REPORT)]
    pub(crate) stats: bool,
    /// Show how each file gets on
    #[arg(long, help_heading = REPORT)]
    pub(crate) progress: bool,
    /// progress2 shows how the whole push gets on; progress and stats are the options
    #[arg(long, value_name = "FLAGS", value_delimiter = ',', value_parser = info::parse,
        help_heading = REPORT)]
    pub(crate) info: Vec<info::Word>,
    /// What `--info=progress2` comes to.
    #[arg(skip)]
    pub(crate) total_progress: bool,

    /// Send changed files whole, no deltas (the default for a local DST)
    #[arg(short = 'W', long, help_heading = HOW)]
    pub(crate) whole_file: bool,
    /// Send deltas for a local DST too
    #[arg(long, help_heading = HOW)]
    pub(crate) no_whole_file: bool,
    /// Change nothing in DST before all of it is there, then all of it; safe against crashes
    #[arg(long, conflicts_with = "no_fsync", help_heading = HOW)]
    pub(crate) atomic: bool,
    /// Do not flush DST to its disk before success is reported
    #[arg(long, help_heading = HOW)]
    pub(crate) no_fsync: bool,
    /// Longest silence of the other side; 0 is the built-in limit
    #[arg(long, value_name = "SECONDS", help_heading = HOW)]
    pub(crate) timeout: Option<u32>,
    /// Compress, however fast the link (unless told, only while the link is what is waited for)
    #[arg(short = 'z', long, help_heading = HOW)]
    compress: bool,
    /// Never compress
    #[arg(long, alias = "no-z", help_heading = HOW)]
    no_compress: bool,
    /// zstd is -z, none is --no-compress
    #[arg(long, value_name = "NAME", visible_alias = "zc", help_heading = HOW)]
    #[arg(value_parser = ["zstd", "auto", "none"])]
    compress_choice: Option<String>,
    /// -z at this level of zstd, up to 22; below 1 is faster still (unless told, 3 to 6)
    #[arg(long, value_name = "N", visible_alias = "zl", help_heading = HOW)]
    #[arg(allow_negative_numbers = true)]
    compress_level: Option<i64>,
    /// Send at most RATE: KiB per second, or with a suffix such as 1.5M, 500KB
    #[arg(long, value_name = "RATE", value_parser = rate::parse, help_heading = HOW)]
    pub(crate) bwlimit: Option<rate::Rate>,

    /// Port of the SSH server (not handed on to the program of -e)
    #[arg(long, value_name = "PORT", help_heading = REACH)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Private key to log in with
    #[arg(long, value_name = "FILE", help_heading = REACH)]
    pub(crate) identity: Option<PathBuf>,
    /// Read this in place of the two usual files; none reads no file
    #[arg(long, value_name = "FILE", help_heading = REACH)]
    pub(crate) ssh_config: Option<PathBuf>,
    /// Host keys to trust, in place of ~/.ssh/known_hosts
    #[arg(long, value_name = "FILE", help_heading = REACH)]
    pub(crate) known_hosts: Option<PathBuf>,
    /// The hasync program there, if it is not found by that name
    #[arg(long, value_name = "PATH", visible_alias = "rsync-path", help_heading = REACH)]
    pub(crate) remote_bin: Option<OsString>,
    /// Run COMMAND [-l USER] HOST hasync serve, not the built-in SSH
    #[arg(short = 'e', long, value_name = "COMMAND", help_heading = REACH)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) rsh: Option<OsString>,

    /// Print this help
    #[arg(long, action = ArgAction::Help, help_heading = REPORT)]
    help: Option<bool>,

    /// The filter options in the order in which they were typed.
    #[arg(skip)]
    pub(crate) filters: Vec<FilterWord>,
    /// What the words about compression come to.
    #[arg(skip)]
    pub(crate) compression: Compression,
}

/// A switch that a later word can take back: its id, the ids that turn it on too, and the
/// letters for which `--no-LETTER` works as well.
const SWITCHES: &[(&str, &[&str], &[&str])] = &[
    ("recursive", &["archive"], &["r"]),
    ("links", &["archive"], &["l"]),
    ("perms", &["archive"], &["p"]),
    ("times", &["archive"], &["t"]),
    ("group", &["archive"], &["g"]),
    ("owner", &["archive"], &["o"]),
    ("devices", &["archive", "devices_and_specials"], &[]),
    ("specials", &["archive", "devices_and_specials"], &[]),
    ("hard_links", &[], &["H"]),
    ("sparse", &[], &["S"]),
    ("numeric_ids", &[], &[]),
    ("checksum", &[], &["c"]),
    ("one_file_system", &[], &["x"]),
    ("verbose", &[], &["v"]),
    ("itemize_changes", &[], &["i"]),
    ("progress", &[], &[]),
    ("whole_file", &[], &["W"]),
];

/// Every verb and option.
pub(crate) fn command() -> clap::Command {
    let mut negations = vec![
        // Takes back both halves of -D.
        negation("devices_and_specials").long("no-D"),
        // rsync's spelling of what is the default here.
        clap::Arg::new("fsync")
            .long("fsync")
            .action(ArgAction::SetTrue)
            .hide(true),
    ];
    for (id, _, letters) in SWITCHES {
        if *id != "whole_file" {
            let aliases = letters.iter().map(|letter| format!("no-{letter}"));
            let arg = negation(id).long(format!("no-{}", id.replace('_', "-")));
            negations.push(arg.aliases(aliases));
        }
    }
    Cli::command().mut_subcommand("push", |push| {
        push.args(negations)
            .mut_arg("no_whole_file", |arg| arg.alias("no-W"))
    })
}

fn negation(id: &str) -> clap::Arg {
    clap::Arg::new(format!("no_{id}"))
        .action(ArgAction::SetTrue)
        .hide(true)
}

impl PushArgs {
    /// Lets the last word count among those that turn a switch on and off, and puts the filters
    /// into one row.
    fn settle(&mut self, matches: &ArgMatches) {
        let on = |id: &str| {
            let (_, also_on, _) =
                SWITCHES
                    .iter()
                    .find(|(name, ..)| *name == id)
                    .unwrap_or(&("", &[], &[]));
            let latest = |id: &str| last_index(matches, id);
            let mut off = latest(&format!("no_{id}"));
            if also_on.contains(&"devices_and_specials") {
                off = off.max(latest("no_devices_and_specials"));
            }
            also_on.iter().copied().chain([id]).filter_map(latest).max() > off
        };
        self.recursive = on("recursive");
        self.links = on("links");
        self.perms = on("perms");
        self.times = on("times");
        self.group = on("group");
        self.owner = on("owner");
        self.devices = on("devices");
        self.specials = on("specials");
        self.hard_links = on("hard_links");
        self.sparse = on("sparse");
        self.numeric_ids = on("numeric_ids");
        self.checksum = on("checksum");
        self.one_file_system = on("one_file_system");
        self.itemize_changes = on("itemize_changes");
        self.progress = on("progress");
        info::apply(self);
        self.whole_file = on("whole_file");
        self.no_whole_file &= !self.whole_file;
        self.no_fsync = last_index(matches, "no_fsync") > last_index(matches, "fsync");
        self.verbose = if on("verbose") { self.verbose } else { 0 };
        self.filters = filter_words::in_order(matches);
        self.compression = compress::wish(self, matches);
        self.trees.settle(matches);
    }
}

/// The place of the last time that an option was typed; `None` if it was not.
fn last_index(matches: &ArgMatches, id: &str) -> Option<usize> {
    (matches.value_source(id) == Some(ValueSource::CommandLine))
        .then(|| matches.indices_of(id).and_then(Iterator::max))
        .flatten()
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
