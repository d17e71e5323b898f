//! rsync's options that `hasync push` knows without doing anything about them: those that it
//! accepts because it always does as much or more, and those that it refuses, each with the reason
//! and with a way to what was wanted. All others of rsync are implemented, in `push`.
//!
//! A row names an option as help does, `--long=VALUE, --other, -s`.

use clap::{Arg, ArgAction, ArgMatches};

use super::push::last_index;
use crate::exit::Failure;

/// An option that changes nothing, and why that is as good or better.
pub(super) struct Accepted {
    names: &'static str,
    why: &'static str,
}

/// An option that ends the run, why it does, and what to use in its place.
pub(super) struct Refused {
    names: &'static str,
    why: &'static str,
    instead: &'static str,
}

const fn accepted(names: &'static str, why: &'static str) -> Accepted {
    Accepted { names, why }
}

const fn refused(names: &'static str, why: &'static str, instead: &'static str) -> Refused {
    Refused {
        names,
        why,
        instead,
    }
}

/// What is accepted. Deletion at another moment than the end switches `--delete` on as well.
pub(super) const ACCEPTED: &[Accepted] = &[
    accepted("--delete-before", LAST),
    accepted("--delete-during, --del", LAST),
    accepted("--delete-delay", LAST),
    accepted("--delete-after", LAST),
    accepted("--partial", RESUMED),
    accepted("--partial-dir=DIR", RESUMED),
    accepted(
        "--temp-dir=DIR, -T",
        "files are staged in DST itself, where one rename puts them in place",
    ),
    accepted(
        "--fsync",
        "all of DST is flushed, directories too, before a push ends",
    ),
    accepted("--inc-recursive, --i-r", STREAMS),
    accepted("--secluded-args, --protect-args, -s", NO_SHELL),
    accepted("--old-args", NO_SHELL),
    accepted(
        "--trust-sender",
        "nothing is fetched: no file list of another host is believed",
    ),
    accepted(
        "--block-size=SIZE, -B",
        "blocks follow the length of the file, and are cut finer where it differs",
    ),
    accepted(
        "--checksum-choice=NAME, --cc",
        "all sums are BLAKE3, which nobody can forge",
    ),
    accepted(
        "--checksum-seed=N",
        "each push draws a key for its sums that nobody knows before",
    ),
    accepted(
        "--compress-threads=N, --zt",
        "compression takes what the link leaves idle",
    ),
    accepted(
        "--skip-compress=LIST",
        "data that does not get shorter is noticed, and sent as it is",
    ),
    accepted(
        "--max-alloc=SIZE",
        "memory is bounded, however large the tree is",
    ),
    accepted(
        "--outbuf=MODE",
        "lines appear at once on a terminal, and within 0.2 s elsewhere",
    ),
    accepted(
        "--8-bit-output, -8",
        "names in UTF-8 are printed as they are, and any other byte could move a cursor",
    ),
    accepted(
        "--stderr=MODE",
        "errors go to standard error and lists to standard output",
    ),
    accepted(
        "--msgs2stderr",
        "errors go to standard error and lists to standard output",
    ),
    accepted("--debug=FLAGS", "an error says what failed, where and why"),
    accepted("--no-motd, --motd", "there is no daemon that would greet"),
    accepted(
        "--blocking-io",
        "the program of -e has pipes that may block",
    ),
    accepted(
        "--qsort",
        "names are sorted in one order, whichever way they get into it",
    ),
    accepted("--no-iconv", "names are bytes, and equal on both sides"),
    accepted(
        "--sockopts=OPTIONS",
        "nothing is held back to fill a packet, and windows are large",
    ),
];

const LAST: &str = "implies --delete; all deletions happen at the end, when all is compared";
const RESUMED: &str = "a push that is cut off leaves what it has staged to the next one";
const STREAMS: &str = "the scan streams in bounded memory, and deletions wait for its end";
const NO_SHELL: &str = "no name passes through a shell on the way";

/// What is refused.
pub(super) const REFUSED: &[Refused] = &[
    refused("--link-dest=DIR", ONE_TREE, GENERATIONS),
    refused("--copy-dest=DIR", ONE_TREE, GENERATIONS),
    refused("--compare-dest=DIR", ONE_TREE, GENERATIONS),
    refused(
        "--inplace",
        "a reader would see half of a file",
        "leave it out: unchanged blocks are not sent, and share their space where the file system \
         can",
    ),
    refused("--append", GROWS, "leave it out: only what is new is sent"),
    refused(
        "--append-verify",
        GROWS,
        "leave it out: only what is new is sent",
    ),
    refused(
        "--remove-source-files, --remove-sent-files",
        "a mirror does not empty what it mirrors",
        "remove the files after exit 0, with find -delete",
    ),
    refused("--write-batch=FILE", NO_BATCH, BY_HAND),
    refused("--only-write-batch=FILE", NO_BATCH, BY_HAND),
    refused("--read-batch=FILE", NO_BATCH, BY_HAND),
    refused("--daemon, --detach", NO_DAEMON, "use hasync serve --listen"),
    refused("--dparam=OVERRIDE", NO_DAEMON, "use hasync serve --listen"),
    refused("--server", STARTED, "use hasync serve"),
    refused(
        "--sender",
        STARTED,
        "run hasync push on the host that has the data",
    ),
    refused(
        "--password-file=FILE",
        NO_DAEMON,
        "log in by key: --identity FILE",
    ),
    refused("--early-input=FILE", NO_DAEMON, "leave it out"),
    refused("--address=ADDRESS", NO_DAEMON, "use -e 'ssh -b ADDRESS'"),
    refused(
        "--remote-option=OPTION, -M",
        "the other side is told all options anyway",
        "restrict it there, with the options of hasync serve",
    ),
    refused(
        "--protocol=N",
        "both sides agree on the version by themselves",
        "leave it out",
    ),
    refused(
        "--iconv=CHARSETS",
        "names are bytes, and equal on both sides",
        "rename with convmv before",
    ),
    refused(
        "--fuzzy, -y",
        "a file of a similar name is no basis that anybody vouches for",
        "leave it out: new content is compressed where the link is slow",
    ),
    refused(
        "--munge-links",
        "a standby with changed symlinks cannot take over",
        "leave it out",
    ),
    refused("--stop-after=MINUTES, --time-limit", HALF, "use timeout(1)"),
    refused("--stop-at=TIME", HALF, "use timeout(1)"),
    refused(
        "--write-devices",
        "it overwrites a whole disk for a name that leads there",
        "use dd",
    ),
    refused(
        "--copy-devices",
        "a device has no length and no time that tell whether it changed",
        "use dd, or push a snapshot of it as a file",
    ),
    refused(
        "--fake-super",
        "what stands in attributes is not in force after a failover",
        "receive as root, confined by hasync serve --root",
    ),
    refused(
        "--copy-as=USER",
        "users of both sides are those who log in",
        "use USER@HOST",
    ),
    refused(
        "--confine-root=DIR",
        "the receiving side decides what it opens",
        "use hasync serve --root DIR there",
    ),
    refused(
        "--drop-D",
        "the receiving side decides what it takes",
        "use --no-D, or hasync serve --no-devices there",
    ),
    refused(
        "--crtimes, -N",
        "no program can set that time",
        "leave it out",
    ),
    refused(
        "--preallocate",
        "file systems that delay allocation lay a flushed file out in one piece anyway",
        "leave it out",
    ),
];

const ONE_TREE: &str = "a mirror is one tree, not a row of trees that share files";
const GENERATIONS: &str = "name the tree in hasync.toml, for generations and hasync undo";
const GROWS: &str = "a file that grew may have changed in front as well";
const NO_BATCH: &str = "a batch fits one state of one tree, and nothing vouches for that";
const BY_HAND: &str = "use hasync signature, delta and patch for files, push for trees";
const NO_DAEMON: &str = "there is no daemon and no password: all goes through SSH";
const STARTED: &str = "it is what rsync says to itself";
const HALF: &str = "half of a mirror is not equal to anything";

/// The arguments of both lists, for the parser: help does not show them.
pub(super) fn arguments() -> impl Iterator<Item = Arg> {
    let accepted = ACCEPTED.iter().map(|row| row.names);
    let names = accepted.chain(REFUSED.iter().map(|row| row.names));
    names.flat_map(|names| {
        // Those that are taken back elsewhere, or never were in rsync.
        let has_none = ["--no-", "--delete-", "--fsync"];
        let is_switch = !names.contains('=') && !has_none.iter().any(|n| names.starts_with(n));
        let negated = is_switch.then(|| Names::of(names).negation());
        std::iter::once(Names::of(names).argument()).chain(negated)
    })
}

/// Refuses the first option of a command line that is to be refused, unless it is taken back.
pub(super) fn check(matches: &ArgMatches) -> Result<(), Failure> {
    let typed = REFUSED.iter().filter_map(|row| {
        let id = Names::of(row.names).id();
        let index = last_index(matches, &id)?;
        let off = match id.as_str() {
            "iconv" if takes_no_charsets(matches) => return None,
            id => Some(format!("no_{id}"))
                .filter(|off| matches.try_contains_id(off).is_ok())
                .and_then(|off| last_index(matches, &off)),
        };
        (off < Some(index)).then_some((index, row))
    });
    let Some((_, row)) = typed.min_by_key(|(index, _)| *index) else {
        return Ok(());
    };
    let (names, why, instead) = (Names::of(row.names).shown(), row.why, row.instead);
    Err(Failure::usage(format!(
        "{names} is refused: {why}; {instead}"
    )))
}

/// Whether the last word about `--iconv` is that names stay as they are.
pub(super) fn takes_no_charsets(matches: &ArgMatches) -> bool {
    let off = last_index(matches, "no_iconv");
    let asked = matches
        .get_many::<String>("iconv")
        .and_then(|mut all| all.next_back());
    let is_none = asked.is_some_and(|charsets| charsets == "-");
    is_none || off > last_index(matches, "iconv")
}

/// Whether the argument of this id is accepted, or takes back what has no effect.
pub(super) fn changes_nothing(id: &str) -> bool {
    let plain = id.strip_prefix("no_").unwrap_or(id);
    let is_accepted = |row: &Accepted| {
        let its = Names::of(row.names).id();
        its == id || its == plain
    };
    let is_refused = |row: &Refused| plain != id && Names::of(row.names).id() == plain;
    !id.starts_with("delete_")
        && id != "no_fsync"
        && (ACCEPTED.iter().any(is_accepted) || REFUSED.iter().any(is_refused))
}

/// Whether the long option `name` is refused.
pub(super) fn is_refused(name: &str) -> bool {
    REFUSED
        .iter()
        .any(|row| Names::of(row.names).long.contains(&name))
}

/// A heading, and options with what is to be said of them.
pub(crate) type Section = (&'static str, Vec<(&'static str, String)>);

/// The rows of both lists under their headings, as help and the manual page show them.
pub(crate) fn sections() -> [Section; 2] {
    let accepted = ACCEPTED.iter().map(|row| (row.names, row.why.to_owned()));
    let refused = REFUSED
        .iter()
        .map(|row| (row.names, format!("{}; {}", row.why, row.instead)));
    [
        ("Accepted, and changes nothing", accepted.collect()),
        ("Refused", refused.collect()),
    ]
}

/// The names in a row.
struct Names {
    long: Vec<&'static str>,
    short: Option<char>,
    value: Option<&'static str>,
}

impl Names {
    fn of(row: &'static str) -> Self {
        let (mut long, mut short, mut value) = (Vec::new(), None, None);
        for word in row.split(", ") {
            if let Some(name) = word.strip_prefix("--") {
                let (name, kind) = name
                    .split_once('=')
                    .map_or((name, None), |(name, kind)| (name, Some(kind)));
                long.push(name);
                value = value.or(kind);
            } else {
                short = word.chars().nth(1);
            }
        }
        Names { long, short, value }
    }

    fn id(&self) -> String {
        match (self.long.first(), self.short) {
            (Some(long), _) => long.replace('-', "_"),
            (None, letter) => letter.map_or_else(String::new, String::from),
        }
    }

    fn shown(&self) -> String {
        match (self.long.first(), self.short) {
            (Some(long), Some(letter)) => format!("--{long} (-{letter})"),
            (Some(long), None) => format!("--{long}"),
            (None, letter) => format!("-{}", letter.unwrap_or_default()),
        }
    }

    fn argument(self) -> Arg {
        let id = self.id();
        let mut names = self.long.into_iter();
        let mut arg = Arg::new(id).hide(true);
        if let Some(name) = names.next() {
            arg = arg.long(name).aliases(names);
        }
        if let Some(letter) = self.short {
            arg = arg.short(letter);
        }
        match self.value {
            None => arg.action(ArgAction::Count),
            Some(value) => {
                let arg = arg.action(ArgAction::Append).value_name(value);
                arg.allow_hyphen_values(true)
            }
        }
    }

    /// Takes back what has no effect.
    fn negation(self) -> Arg {
        let short = self.short.map(|letter| format!("no-{letter}"));
        let long = self.long.iter().map(|name| format!("no-{name}"));
        let mut names = long.chain(short);
        let arg = Arg::new(format!("no_{}", self.id())).hide(true);
        let arg = arg.long(names.next().unwrap_or_default());
        arg.aliases(names).action(ArgAction::Count)
    }
}

#[cfg(test)]
#[path = "lists_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "recipes_tests.rs"]
mod recipes;
