//! The options of `hasync push`: each is defined here, or in `lists` if it is one of rsync's that
//! changes nothing or is refused. Help, manual pages, completions and the three lists are made from
//! these definitions.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args};

use super::compress::CompressArgs;
use super::filter_words::FilterArgs;
use super::owners::OwnersArgs;
use super::reach::ReachArgs;
use super::selection::{self, SelectionArgs};
use super::trees::TreeArgs;
use super::{info, lists, rate, size};
use crate::exit::Failure;
use crate::format::Format;
use crate::numbers::Human;

pub(super) const NAMED: &str = "Trees of the configuration";
pub(super) const WHAT: &str = "What is mirrored and removed";
pub(super) const CHOICE: &str = "Which files are looked at";
const REPORT: &str = "What is reported";
pub(super) const HOW: &str = "How it is done";

/// The options of `hasync push`.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true, args_override_self = true)]
#[command(
    override_usage = "hasync push [OPTIONS] SRC... [USER@]HOST:DST\n       \
                            hasync push [OPTIONS] SRC... DST\n       \
                            hasync push [OPTIONS] --tree NAME|--all [[USER@]HOST]"
)]
#[command(after_help = "\
SRC/ means what is in it, SRC the directory itself.
Switches combine (-aurvn); a later --no-OPTION takes one back: -a --no-o.")]
pub(crate) struct PushArgs {
    /// Local files and directories, then the destination
    #[arg(value_name = "SRC... DST", hide_short_help = true)]
    #[arg(required_unless_present_any = ["tree", "all", "help", "info", "debug", "daemon"])]
    pub(crate) operands: Vec<OsString>,

    #[command(flatten)]
    pub(crate) trees: TreeArgs,

    /// Archive: -rlptgoD
    #[arg(short = 'a', long, help_heading = WHAT)]
    pub(crate) archive: bool,
    /// Descend into directories
    #[arg(short = 'r', long, help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) recursive: bool,
    /// Symlinks as symlinks
    #[arg(short = 'l', long, help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) links: bool,
    /// Permissions, with setuid, setgid and sticky bits
    #[arg(short = 'p', long, help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) perms: bool,
    #[command(flatten)]
    pub(crate) given: OwnersArgs,
    /// Without -p, whether a file can be executed
    #[arg(short = 'E', long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) executability: bool,
    /// Modification times, to the nanosecond
    #[arg(short = 't', long, help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) times: bool,
    /// Times of the last access, but not of directories; reading leaves them where it can
    #[arg(short = 'U', long, action = ArgAction::Count, help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) atimes: u8,
    /// Leave those of the source as they are, where that can be
    #[arg(long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) open_noatime: bool,
    /// No modification times of directories
    #[arg(short = 'O', long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) omit_dir_times: bool,
    /// No modification times of symlinks
    #[arg(short = 'J', long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) omit_link_times: bool,
    /// Group
    #[arg(short = 'g', long, help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) group: bool,
    /// Owner (the receiving side must run as root)
    #[arg(short = 'o', long, help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) owner: bool,
    /// Same as --devices --specials
    #[arg(short = 'D', help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) devices_and_specials: bool,
    /// Character and block devices (the receiving side must run as root)
    #[arg(long, help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) devices: bool,
    /// Fifos and sockets
    #[arg(long, help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) specials: bool,
    /// All that a standby needs: -aHAXS --delete --numeric-ids
    #[arg(long, help_heading = WHAT)]
    pub(crate) ha: bool,
    /// ACLs, and so permissions
    #[arg(short = 'A', long, help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) acls: bool,
    /// Extended attributes, with file capabilities
    #[arg(short = 'X', long, help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) xattrs: bool,
    /// Hard links between mirrored names
    #[arg(short = 'H', long, help_heading = WHAT)]
    pub(crate) hard_links: bool,
    /// Long runs of zeros become holes
    #[arg(short = 'S', long, help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) sparse: bool,
    /// Owner and group as numbers, names are not looked up
    #[arg(long, help_heading = WHAT)]
    #[arg(hide_short_help = true)]
    pub(crate) numeric_ids: bool,

    /// Remove from DST what SRC does not have
    #[arg(long, help_heading = WHAT)]
    pub(crate) delete: bool,
    /// Delete although not everything could be listed
    #[arg(long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) ignore_errors: bool,
    /// A directory gives way to what is none, with all that is in it
    #[arg(long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) force: bool,
    /// Keep what is replaced or removed, under its name and a suffix
    #[arg(short = 'b', long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) backup: bool,
    /// Keep it in DIR, a path from DST or from / (implies -b)
    #[arg(long, value_name = "DIR", help_heading = WHAT, hide_short_help = true)]
    pub(crate) backup_dir: Option<OsString>,
    /// The suffix: ~, or none with --backup-dir, unless told
    #[arg(long, value_name = "SUFFIX", help_heading = WHAT, hide_short_help = true)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) suffix: Option<OsString>,
    /// Remove nothing if more than N entries would go (exit 25)
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = WHAT)]
    pub(crate) max_delete: Option<i64>,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Files of equal length are equal
    #[arg(long, help_heading = CHOICE, hide_short_help = true)]
    pub(crate) size_only: bool,
    /// Files of equal length and time are different too
    #[arg(short = 'I', long, help_heading = CHOICE, hide_short_help = true)]
    pub(crate) ignore_times: bool,
    /// Times within so many seconds are equal; unless told, they are compared to the nanosecond
    #[arg(short = '@', long, value_name = "SECONDS", help_heading = CHOICE)]
    #[arg(allow_negative_numbers = true, hide_short_help = true)]
    pub(crate) modify_window: Option<i64>,
    /// Make nothing that DST does not have
    #[arg(long, alias = "ignore-non-existing", help_heading = CHOICE, hide_short_help = true)]
    pub(crate) existing: bool,
    /// Leave alone what DST has
    #[arg(long, help_heading = CHOICE, hide_short_help = true)]
    pub(crate) ignore_existing: bool,
    /// Leave files alone that are longer
    #[arg(long, value_name = "SIZE", value_parser = size::parse, help_heading = CHOICE)]
    #[arg(hide_short_help = true)]
    pub(crate) max_size: Option<u64>,
    /// Leave files alone that are shorter
    #[arg(long, value_name = "SIZE", value_parser = size::parse, help_heading = CHOICE)]
    #[arg(hide_short_help = true)]
    pub(crate) min_size: Option<u64>,
    /// A SRC that is not there is none
    #[arg(long, help_heading = CHOICE, hide_short_help = true)]
    pub(crate) ignore_missing_args: bool,
    /// Compare content, not size and time
    #[arg(short = 'c', long, help_heading = CHOICE)]
    pub(crate) checksum: bool,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Leave files alone that are newer in DST
    #[arg(short = 'u', long, help_heading = CHOICE)]
    pub(crate) update: bool,
    /// Stay on the file system of each SRC, -xx: no mounts
    #[arg(short = 'x', long, action = ArgAction::Count, help_heading = CHOICE)]
    pub(crate) one_file_system: u8,
    /// Follow symlinks of other users on the way to SRC
    #[arg(long, visible_alias = "insecure-links", help_heading = CHOICE)]
    #[arg(hide_short_help = true)]
    pub(crate) follow_untrusted: bool,

    /// Change nothing, report what would change
    #[arg(short = 'n', long, help_heading = REPORT)]
    pub(crate) dry_run: bool,
    /// List what SRC has, and push nothing
    #[arg(long, help_heading = REPORT, hide_short_help = true)]
    pub(crate) list_only: bool,
    /// Name what changes, and sum up
    #[arg(short = 'v', long, action = ArgAction::Count, help_heading = REPORT)]
    pub(crate) verbose: u8,
    /// Report nothing but errors
    #[arg(short = 'q', long, help_heading = REPORT)]
    pub(crate) quiet: bool,
    /// One line a change, saying what differs; -ii: all
    #[arg(short = 'i', long, action = ArgAction::Count, help_heading = REPORT)]
    pub(crate) itemize_changes: u8,
    /// One line a change in this FORMAT: %i %n %L %f %l %o %B %U %G %M %t %p
    #[arg(long, value_name = "FORMAT", alias = "log-format", value_parser = Format::parse)]
    #[arg(help_heading = REPORT, hide_short_help = true)]
    pub(crate) out_format: Option<Format>,
    /// Append what happens to FILE
    #[arg(long, value_name = "FILE", help_heading = REPORT, hide_short_help = true)]
    pub(crate) log_file: Option<PathBuf>,
    /// Changes in the log have this FORMAT, usually "%i %n%L"
    #[arg(long, value_name = "FORMAT", value_parser = Format::parse, help_heading = REPORT)]
    #[arg(hide_short_help = true)]
    pub(crate) log_file_format: Option<Format>,
    /// Objects for programs, one a line, in place of all other lines
    #[arg(long, help_heading = REPORT, hide_short_help = true)]
    pub(crate) json: bool,
    /// Bytes in units of 1000, -hh of 1024
    #[arg(short = 'h', long, action = ArgAction::Count, help_heading = REPORT)]
    pub(super) human_readable: u8,
    /// Whatever the environment says.
    #[arg(skip)]
    pub(crate) no_iconv: bool,
    /// What the words about numbers come to.
    #[arg(skip)]
    pub(crate) human: Human,
    /// Counts of entries and bytes at the end
    #[arg(long, help_heading = REPORT)]
    pub(crate) stats: bool,
    /// Show how each file gets on
    #[arg(long, help_heading = REPORT)]
    pub(crate) progress: bool,
    /// Same as --partial --progress
    #[arg(short = 'P', help_heading = REPORT, hide_short_help = true)]
    pub(super) partial_progress: bool,
    /// progress2 for all files at once, name, del, skip, stats2, ..., or one with 0
    #[arg(long, value_name = "FLAGS", value_delimiter = ',', value_parser = info::parse,
        help_heading = REPORT)]
    #[arg(hide_short_help = true)]
    pub(crate) info: Vec<info::Word>,

    /// No deltas: changed files go whole (the default for a local DST)
    #[arg(short = 'W', long, help_heading = HOW)]
    #[arg(hide_short_help = true)]
    pub(crate) whole_file: bool,
    /// Send deltas for a local DST too
    #[arg(long, help_heading = HOW)]
    #[arg(hide_short_help = true)]
    pub(crate) no_whole_file: bool,
    /// Change everything at the end, all of it or none
    #[arg(long, alias = "delay-updates", conflicts_with = "no_fsync", help_heading = HOW)]
    pub(crate) atomic: bool,
    /// Do not flush DST to its disk before success is reported
    #[arg(long, help_heading = HOW)]
    #[arg(hide_short_help = true)]
    pub(crate) no_fsync: bool,
    /// Longest silence of the other side (usually 120)
    #[arg(long, value_name = "SECONDS", help_heading = HOW)]
    pub(crate) timeout: Option<u32>,
    #[command(flatten)]
    pub(crate) compress: CompressArgs,
    /// Send at most RATE KiB per second, or 1.5M, 500KB
    #[arg(long, value_name = "RATE", value_parser = rate::parse, help_heading = HOW)]
    pub(crate) bwlimit: Option<rate::Rate>,

    /// Make all directories that lead to DST
    #[arg(long, help_heading = HOW, hide_short_help = true)]
    pub(crate) mkpath: bool,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,

    /// Print this help; --help=all tells of all options
    #[arg(long, value_name = "all", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "", value_parser = ["", "all"], hide_possible_values = true)]
    #[arg(help_heading = REPORT)]
    pub(super) help: Option<String>,
}

/// A switch that a later word can take back: its id, the ids that turn it on too, and the
/// letters for which `--no-LETTER` works as well.
const SWITCHES: &[(&str, &[&str], &[&str])] = &[
    ("recursive", &["archive", "ha"], &["r"]),
    ("links", &["archive", "ha"], &["l"]),
    ("perms", &["archive", "ha", "acls"], &["p"]),
    ("times", &["archive", "ha"], &["t"]),
    ("group", &["archive", "ha", "groupmap"], &["g"]),
    ("owner", &["archive", "ha", "usermap"], &["o"]),
    ("devices", &["archive", "ha", "devices_and_specials"], &[]),
    ("specials", &["archive", "ha", "devices_and_specials"], &[]),
    ("acls", &["ha"], &["A"]),
    ("xattrs", &["ha"], &["X"]),
    ("hard_links", &["ha"], &["H"]),
    ("sparse", &["ha"], &["S"]),
    ("numeric_ids", &["ha"], &[]),
    ("cvs_exclude", &[], &["C"]),
    ("from0", &[], &[]),
    ("omit_dir_times", &[], &["O"]),
    ("omit_link_times", &[], &["J"]),
    ("executability", &[], &["E"]),
    ("atimes", &[], &["U"]),
    ("open_noatime", &[], &[]),
    ("super_user", &[], &["super"]),
    ("human_readable", &[], &["h"]),
    ("force", &[], &[]),
    ("ignore_errors", &[], &[]),
    ("mkpath", &[], &[]),
    ("backup", &[], &[]),
    ("atomic", &[], &["delay-updates"]),
    ("follow_untrusted", &[], &["insecure-links"]),
    ("timeout", &[], &[]),
    ("contimeout", &[], &[]),
    ("bwlimit", &[], &[]),
    ("size_only", &[], &[]),
    ("ignore_times", &[], &["I"]),
    ("checksum", &[], &["c"]),
    ("one_file_system", &[], &["x"]),
    ("verbose", &[], &["v"]),
    ("itemize_changes", &[], &["i"]),
    ("progress", &["partial_progress"], &[]),
    ("whole_file", &[], &["W"]),
];

fn negation(id: &str) -> clap::Arg {
    clap::Arg::new(format!("no_{id}"))
        .action(ArgAction::SetTrue)
        .hide(true)
}

/// The command of `hasync push` with what the options above do not say: how switches are taken
/// back, and the options of rsync that change nothing or are refused.
pub(super) fn complete(push: clap::Command) -> clap::Command {
    // Takes back both halves of -D.
    let mut negations = vec![negation("devices_and_specials").long("no-D")];
    for (id, _, letters) in SWITCHES {
        if *id != "whole_file" {
            let aliases = letters.iter().map(|letter| format!("no-{letter}"));
            let arg = negation(id).long(format!("no-{}", id.replace('_', "-")));
            negations.push(arg.aliases(aliases));
        }
    }
    let version = clap::Arg::new("version").short('V').long("version");
    let version = version.action(ArgAction::Version).help("Print the version");
    push.disable_version_flag(true)
        .version(env!("CARGO_PKG_VERSION"))
        .arg(version.help_heading(REPORT).hide_short_help(true))
        .args(negations)
        .args(selection::negations())
        .args(lists::arguments())
        .mut_arg("no_whole_file", |arg| arg.alias("no-W"))
}

/// Options that say when to delete, and so that it is wanted.
const IMPLY_DELETE: &[&str] = &[
    "delete_excluded",
    "delete_before",
    "delete_during",
    "delete_delay",
    "delete_after",
    "ha",
];

impl PushArgs {
    /// Lets the last word count among those that turn a switch on and off, and puts the filters
    /// into one row.
    ///
    /// # Errors
    ///
    /// An option was typed that is refused.
    pub(super) fn settle(&mut self, matches: &ArgMatches) -> Result<(), Failure> {
        lists::check(matches)?;
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
        self.recursive = self.selection.settle(matches, on("recursive"));
        self.links = on("links");
        self.perms = on("perms");
        self.times = on("times");
        self.group = on("group");
        self.owner = on("owner");
        self.given.settle(matches)?;
        // --chown means one of them, or both.
        let after = |no: &str| last_index(matches, "chown") > last_index(matches, no);
        self.owner |=
            self.given.chown.iter().any(|maps| !maps.users.is_empty()) && after("no_owner");
        self.group |=
            self.given.chown.iter().any(|maps| !maps.groups.is_empty()) && after("no_group");
        self.devices = on("devices");
        self.specials = on("specials");
        self.acls = on("acls");
        // An ACL has the permissions in it: --no-p takes nothing back.
        self.perms |= self.acls;
        self.xattrs = on("xattrs");
        self.hard_links = on("hard_links");
        self.sparse = on("sparse");
        self.numeric_ids = on("numeric_ids");
        self.checksum = on("checksum");
        if !on("one_file_system") {
            self.one_file_system = 0;
        }
        self.omit_dir_times = on("omit_dir_times");
        self.omit_link_times = on("omit_link_times");
        self.executability = on("executability");
        if !on("atimes") {
            self.atimes = 0;
        }
        self.open_noatime = on("open_noatime");
        self.force = on("force");
        self.ignore_errors = on("ignore_errors");
        self.mkpath = on("mkpath");
        self.backup = on("backup");
        self.atomic = on("atomic");
        self.follow_untrusted = on("follow_untrusted");
        self.timeout = self.timeout.filter(|_| on("timeout"));
        self.reach.contimeout = self.reach.contimeout.filter(|_| on("contimeout"));
        self.bwlimit = self.bwlimit.filter(|_| on("bwlimit"));
        self.size_only = on("size_only");
        self.ignore_times = on("ignore_times");
        if !on("itemize_changes") {
            self.itemize_changes = 0;
        }
        self.no_iconv = lists::takes_no_charsets(matches);
        self.progress = on("progress");
        self.human = match (
            on("human_readable"),
            last_index(matches, "no_human_readable"),
        ) {
            (true, _) => Human::of_level(self.human_readable),
            (false, Some(_)) => Human::Plain,
            (false, None) => Human::default(),
        };
        self.whole_file = on("whole_file");
        self.no_whole_file &= !self.whole_file;
        self.no_fsync = last_index(matches, "no_fsync") > last_index(matches, "fsync");
        self.verbose = if on("verbose") { self.verbose } else { 0 };
        self.filter.settle(matches, on);
        self.compress.settle(matches);
        self.delete |= IMPLY_DELETE
            .iter()
            .any(|id| last_index(matches, id).is_some());
        self.trees.settle(matches);
        Ok(())
    }
}

/// The place of the last time that an option was typed; `None` if it was not.
pub(super) fn last_index(matches: &ArgMatches, id: &str) -> Option<usize> {
    (matches.value_source(id) == Some(ValueSource::CommandLine))
        .then(|| matches.indices_of(id).and_then(Iterator::max))
        .flatten()
}
