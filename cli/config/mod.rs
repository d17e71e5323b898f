//! The configuration file: who this node and its peer are, which trees are mirrored, and what is
//! to happen around that.
//!
//! It is read as strictly as possible: an unknown key, a value that cannot be meant and two trees
//! over one file are all refused with the line where they stand, because a mirror that runs with
//! half of its rules is found out at the wrong moment. `tree` checks the trees, and `own` that
//! none takes what is each node's alone; `sections` reads the two nodes, `around` the rest, `units`
//! single words; `show` prints what was understood, `last_good` keeps it, and `terms` is what both
//! nodes are to have alike.

mod around;
mod last_good;
mod own;
mod sections;
mod show;
mod terms;
#[cfg(test)]
mod tests;
mod tree;
mod trust;
mod units;

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hasync_engine::{PathCause, Term, escape, open_trusted};
use serde::Deserialize;
use toml::Spanned;

use crate::exit::{self, Exit, Failure};

pub(crate) use around::{
    AfterCrash, Brake, Cycle, DEFAULT_LAST_PUSH, Event, Hooks, Lineage, Mail, MailAddress, Notify,
    Overlap, RoleTest, Stale,
};
pub(crate) use own::{DIR, HOST_KEY_PREFIX, SSHD_DIR, real};
pub(crate) use sections::{Compress, Node, Peer};
pub(crate) use show::{check_config, report};
pub(crate) use terms::differences;
pub(crate) use tree::{Content, Tree};
pub(crate) use units::{Command, Host};

/// Where the file is unless `--config` names another.
pub(crate) const DEFAULT_FILE: &str = "/etc/hasync/hasync.toml";

/// The longest file that is read, in bytes.
const MAX_FILE_LEN: u64 = 4 << 20;

/// A configuration that makes sense.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where it was read.
    pub(crate) file: PathBuf,
    /// This node.
    pub(crate) node: Node,
    /// The other one.
    pub(crate) peer: Peer,
    /// How this node knows whether it is primary.
    pub(crate) role: RoleTest,
    /// Who is told what.
    pub(crate) notify: Notify,
    /// What runs around a cycle.
    pub(crate) hooks: Hooks,
    /// How often, and what when it takes longer.
    pub(crate) cycle: Cycle,
    /// What happens where the records leave a choice.
    pub(crate) lineage: Lineage,
    /// What stops a push that would delete too much.
    pub(crate) brake: Brake,
    /// In the order of the file.
    pub(crate) trees: Vec<Tree>,
    /// What is to be the same on both nodes.
    pub(crate) terms: Vec<Term>,
}

impl Config {
    /// Reads the file that was named, or else the default one.
    pub(crate) fn load(named: Option<&Path>) -> Result<Self, Failure> {
        Config::read(named).map(|(config, _)| config)
    }

    /// The same for a verb that acts: what it goes by is kept, for a `mirror stop` that finds the
    /// file broken.
    pub(crate) fn load_to_act(named: Option<&Path>) -> Result<Self, Failure> {
        let (config, text) = Config::read(named)?;
        // One without a tree is what a full disk leaves of a file, and says nothing.
        if !config.trees.is_empty() {
            last_good::keep(&config.file, &text);
        }
        Ok(config)
    }

    /// What the last verb that acted went by, if that is kept, with where it is. Where others have
    /// a hand in what it names by now, nothing of that decides who serves or who the peer is.
    pub(crate) fn last_good(named: Option<&Path>) -> Option<Self> {
        let (file, text) = last_good::find(named.unwrap_or(Path::new(DEFAULT_FILE)))?;
        let mut config = Config::parse(&file, &text).ok()?;
        if trust::check(&config).is_err() {
            config.disarm();
        }
        Some(config)
    }

    /// Leaves the records as the one thing to go by.
    fn disarm(&mut self) {
        self.role = RoleTest::Recorded;
        let peer = &mut self.peer;
        (peer.identity, peer.known_hosts, peer.ssh_config) = (None, None, None);
        peer.check = None;
    }

    fn read(named: Option<&Path>) -> Result<(Self, String), Failure> {
        let file = named.unwrap_or(Path::new(DEFAULT_FILE));
        let text = read(file).map_err(|why| {
            let hint = if named.is_none() && !file.exists() {
                "; write it, or name another with --config"
            } else {
                ""
            };
            let file = shown_file(file);
            Failure::new(
                Exit::Config,
                format!("cannot read the configuration {file}: {why}{hint}"),
            )
        })?;
        let config = Config::parse(file, &text)?;
        trust::check(&config)?;
        Ok((config, text))
    }

    /// The same for who can do without: the default file counts only if it is there.
    pub(crate) fn load_if_there(named: Option<&Path>) -> Result<Option<Self>, Failure> {
        match named {
            None if !Path::new(DEFAULT_FILE).exists() => Ok(None),
            _ => Config::load(named).map(Some),
        }
    }

    /// Understands `text`, which stands in `file`.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, Failure> {
        understand(file, text).map_err(|fault| {
            let line = line_number(text, fault.offset);
            let file = shown_file(file);
            Failure::new(Exit::Config, format!("{file}:{line}: {}", fault.message))
        })
    }

    /// Why a text would be refused if it stood in `file`, where it does not stand yet.
    pub(crate) fn foresee(file: &Path, text: &str) -> Result<(), String> {
        understand(file, text)
            .map(drop)
            .map_err(|fault| fault.message)
    }

    /// The file, for messages.
    pub(crate) fn shown_file(&self) -> String {
        shown_file(&self.file)
    }

    /// The tree of this name.
    pub(crate) fn tree(&self, name: &str) -> Result<&Tree, Failure> {
        let found = self.trees.iter().find(|tree| tree.name == name);
        found.ok_or_else(|| {
            let names: Vec<_> = self.trees.iter().map(|tree| tree.name.as_str()).collect();
            let known = if names.is_empty() {
                "it names no tree".to_owned()
            } else {
                format!("its trees are {}", names.join(", "))
            };
            let (name, file) = (escape(name.as_bytes()), self.shown_file());
            Failure::new(
                Exit::Config,
                format!("no tree \"{name}\" in {file}; {known}"),
            )
        })
    }

    /// The lag beyond which `check` is critical unless it is told.
    pub(crate) fn max_lag(&self) -> std::time::Duration {
        let interval = self.cycle.interval.0;
        self.cycle.max_lag.map_or(interval * 3, |time| time.0)
    }

    /// All trees in the order in which they are pushed: groups first, since they may hold the
    /// names that the owners of the trees' files go by, then in the order of the file.
    pub(crate) fn in_push_order(&self) -> Vec<&Tree> {
        let (mut order, dirs): (Vec<&Tree>, Vec<&Tree>) =
            self.trees.iter().partition(|tree| tree.is_group());
        order.extend(dirs);
        order
    }
}

/// The path of a tree or file, as the file has it.
pub(crate) fn path(word: &str) -> Result<PathBuf, String> {
    units::Word::read(word).map(|path: units::AbsPath| path.0)
}

/// The name of a tree, as the file has it.
pub(crate) fn tree_name(word: &str) -> Result<String, String> {
    units::Word::read(word).map(|name: units::TreeName| name.0)
}

/// A host, as the file has it.
pub(crate) fn host(word: &str) -> Result<String, String> {
    units::Word::read(word).map(|host: units::Host| host.0)
}

/// The name of a node, as the file has it.
pub(crate) fn node_name(word: &str) -> Result<String, String> {
    units::Word::read(word).map(|name: units::NodeName| name.0)
}

/// Who logs in, as the file has it.
pub(crate) fn user(word: &str) -> Result<String, String> {
    units::Word::read(word).map(|user: units::User| user.0)
}

/// A mail address, as the file has it.
pub(crate) fn mail_address(word: &str) -> Result<String, String> {
    units::Word::read(word).map(|address: MailAddress| address.0)
}

/// The time between two cycles, as the file has it.
pub(crate) fn interval(word: &str) -> Result<std::time::Duration, String> {
    units::Word::read(word).map(|interval: units::Interval| interval.0.0)
}

/// A time as the file has it, such as `90s` or `5m`.
pub(crate) fn time(word: &str) -> Result<std::time::Duration, String> {
    units::Word::read(word).map(|time: units::Time| time.0)
}

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    node: sections::RawNode,
    #[serde(default)]
    peer: sections::RawPeer,
    #[serde(default)]
    role: around::RawRole,
    #[serde(default)]
    notify: Notify,
    #[serde(default)]
    hooks: Hooks,
    #[serde(default)]
    cycle: Cycle,
    #[serde(default)]
    lineage: Lineage,
    #[serde(default)]
    brake: Brake,
    #[serde(default)]
    tree: Vec<Spanned<tree::RawTree>>,
}

/// What is wrong, and where in the text.
#[derive(Debug)]
struct Fault {
    /// In bytes from the start.
    offset: usize,
    message: String,
}

impl Fault {
    fn new(offset: usize, message: impl Into<String>) -> Self {
        Fault {
            offset,
            message: message.into(),
        }
    }
}

fn understand(file: &Path, text: &str) -> Result<Config, Fault> {
    let raw: RawFile = toml::from_str(text).map_err(|error| Fault {
        offset: error.span().map_or(0, |span| span.start),
        message: one_line(error.message()),
    })?;
    let trees = tree::check(raw.tree)?;
    let address_at = raw.role.address_at();
    let role = raw.role.settle()?;
    let node = raw.node.settle();
    let line_of = |offset| line_number(text, offset);
    let peer = raw.peer.settle(&node.name, line_of)?;
    role.check_address(address_at, &peer)?;
    own::check(&trees, file, &node, &peer)?;
    let trees = trees.into_iter().map(|(tree, _)| tree).collect();
    Ok(Config {
        file: file.to_owned(),
        peer,
        node,
        role,
        notify: raw.notify,
        hooks: raw.hooks,
        cycle: raw.cycle,
        lineage: raw.lineage,
        brake: raw.brake,
        trees,
        terms: terms::of(text),
    })
}

/// The parser's words in ours.
fn one_line(message: &str) -> String {
    let message = escape(message.replace('\n', ", ").as_bytes()).into_owned();
    message
        .replace("unknown field", "unknown key")
        .replace("missing field", "missing key")
        .replace(", expected one of", "; the keys here are")
        .replace("unknown variant", "unknown word")
}

/// The number of the line that holds `offset`, from 1.
fn line_number(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}

fn shown_file(file: &Path) -> String {
    escape(file.as_os_str().as_bytes()).into_owned()
}

/// The text of the file, or why it is not read.
fn read(file: &Path) -> Result<String, String> {
    let io = |cause: std::io::Error| exit::cause(&cause);
    let opened = std::path::absolute(file).map_err(io)?;
    let opened = open_trusted(&opened).map_err(|fault| match fault.cause {
        PathCause::Io(cause) => exit::cause(&cause),
        _ => fault.to_string(),
    })?;
    let mut text = String::new();
    let len = opened.take(MAX_FILE_LEN + 1).read_to_string(&mut text);
    if len.map_err(io)? as u64 > MAX_FILE_LEN {
        return Err(format!("it is longer than {MAX_FILE_LEN} bytes"));
    }
    Ok(text)
}
