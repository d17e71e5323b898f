//! `hasync check-config`: what the file is understood to say, defaults included, and what of it
//! this node cannot use yet.

use std::fmt::Write as _;
use std::path::Path;

use hasync_engine::filter::Sense;

use super::units::{Size, shown};
use super::{Compress, Config, Content, Peer, Tree};
use crate::args::ConfigArgs;
use crate::exit::{Exit, Failure};
use crate::out::Out;

/// Reads the file and prints it. What is wrong with it is the failure.
pub(crate) fn check_config(args: &ConfigArgs) -> Result<Exit, Failure> {
    let config = Config::load(args.config.as_deref())?;
    let out = Out::stdout();
    out.write(understood(&config).as_bytes());
    for line in missing(&config) {
        out.write(format!("note: {line}\n").as_bytes());
    }
    out.finish()?;
    Ok(Exit::Ok)
}

/// The whole configuration, one line for each fact.
pub(super) fn understood(config: &Config) -> String {
    let mut text = format!("{} is right.\n", path(&config.file));
    let mut say = |what: &str, value: String| {
        let _ = writeln!(text, "{what:<8} {value}");
    };
    let node = &config.node;
    say(
        "node",
        format!("{}, state in {}", shown(&node.name), path(&node.state)),
    );
    say("peer", peer(&config.peer));
    if config.trees.is_empty() {
        say("trees", "none".to_owned());
    }
    for tree in config.in_push_order() {
        say("tree", tree_line(tree));
        for rule in &tree.options.filters {
            let sense = if rule.sense() == Sense::Exclude {
                '-'
            } else {
                '+'
            };
            let pattern = hasync_engine::escape(rule.pattern());
            say("", format!("  filter {sense} {pattern}"));
        }
    }
    text
}

fn peer(peer: &Peer) -> String {
    let mut words = Vec::new();
    words.push(match (&peer.user, &peer.host) {
        (Some(user), Some(host)) => format!("{}@{}", shown(user), shown(host)),
        (None, Some(host)) => shown(host),
        (_, None) => "no host: give it here, or as HOST on the command line".to_owned(),
    });
    if peer.is_derived && peer.host.is_some() {
        words.push("by this node's name".to_owned());
    }
    let mut add = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("{name} {value}")));
    };
    add("port", peer.port.map(|port| port.to_string()));
    add("identity", peer.identity.as_deref().map(path));
    add("known_hosts", peer.known_hosts.as_deref().map(path));
    add("ssh_config", peer.ssh_config.as_deref().map(path));
    add("remote_bin", peer.remote_bin.as_deref().map(shown));
    add(
        "bwlimit",
        peer.bwlimit.map(|bytes| format!("{}/s", Size(bytes))),
    );
    add("timeout", peer.timeout.map(|time| time.to_string()));
    words.push(match peer.compress {
        Compress::Auto => "compressed where it pays".to_owned(),
        Compress::Zstd => "compressed".to_owned(),
        Compress::None => "not compressed".to_owned(),
    });
    words.join(", ")
}

fn tree_line(tree: &Tree) -> String {
    let options = &tree.options;
    let mut words = vec![match &tree.content {
        Content::Dir(dir) => format!("{}: {}", tree.name, path(dir)),
        Content::Group { dir, names } => {
            let files: Vec<_> = names.iter().map(|name| path(&dir.join(name))).collect();
            format!("{}: files {}", tree.name, files.join(" "))
        }
    }];
    if !tree.is_group() {
        words.push(match (options.delete, options.max_delete) {
            (false, _) => "nothing is deleted".to_owned(),
            (true, None) => "deletes".to_owned(),
            (true, Some(limit)) => format!("deletes at most {limit}"),
        });
    }
    for (is_set, word) in [
        (!options.hard_links, "no hard links"),
        (options.numeric_ids, "numeric ids"),
        (options.one_file_system, "one file system"),
        (options.checksum, "compared by content"),
        (options.sparse, "sparse"),
    ] {
        if is_set {
            words.push(word.to_owned());
        }
    }
    if let Some(sentinel) = &tree.sentinel {
        words.push(format!("sentinel {}", path(sentinel)));
    }
    let undo = &tree.undo;
    words.push(match undo.keep {
        0 => "no undo".to_owned(),
        1 => "undo 1 generation".to_owned(),
        keep => format!("undo {keep} generations"),
    });
    if let Some(age) = undo.max_age {
        words.push(format!("of {age} at most"));
    }
    if let Some(size) = undo.max_bytes {
        words.push(format!("in {size} at most"));
    }
    words.join(", ")
}

/// What the file names and this node does not have: right, perhaps, on the other one.
fn missing(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    for tree in &config.trees {
        if !tree.dir().is_dir() {
            let (name, dir) = (&tree.name, path(tree.dir()));
            lines.push(format!(
                "tree {name}: {dir} is not a directory on this node"
            ));
        }
    }
    let peer = &config.peer;
    for (key, file) in [
        ("identity", &peer.identity),
        ("known_hosts", &peer.known_hosts),
        ("ssh_config", &peer.ssh_config),
    ] {
        if let Some(file) = file.as_deref().filter(|file| !file.exists()) {
            lines.push(format!(
                "peer: {key} {} does not exist on this node",
                path(file)
            ));
        }
    }
    lines
}

fn path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}
