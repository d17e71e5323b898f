//! `hasync check-config`: what the file is understood to say, defaults included, and what of it
//! this node cannot use yet.

use std::fmt::Write as _;
use std::path::Path;

use hasync_engine::overlaps;

use super::units::{Size, Time, shown};
use super::{
    AfterCrash, Compress, Config, Content, Event, Notify, Overlap, Peer, RoleTest, Stale, Tree,
};
use crate::args::CheckConfigArgs;
use crate::exit::{Exit, Failure};
use crate::notify::{self, Notice};
use crate::out::{self, Out};
use crate::peer_link::PeerLink;

/// Reads the file and prints it. What is wrong with it is the failure.
pub(crate) fn check_config(args: &CheckConfigArgs) -> Result<Exit, Failure> {
    let config = Config::load(args.config.config.as_deref())?;
    let out = Out::stdout();
    out.say_all(&report(&config));
    let exit = if args.peer {
        compare(&config, &out)?
    } else {
        Exit::Ok
    };
    out.finish()?;
    if args.notify {
        return test_notices(&config);
    }
    Ok(exit)
}

/// Says where the peer's configuration is another one.
fn compare(config: &Config, out: &Out) -> Result<Exit, Failure> {
    let mut link = PeerLink::configured(config)?;
    let found = link.differences(config)?;
    link.close();
    let host = link.host().unwrap_or_default();
    if found.is_empty() {
        out.say(&format!("peer     {host} has the same configuration"));
        return Ok(Exit::Ok);
    }
    for line in found {
        out.say(&format!("differs  from that of {host}: {line}"));
    }
    Ok(Exit::NotEqual)
}

/// What is understood, and what of it this node cannot use yet.
pub(crate) fn report(config: &Config) -> String {
    let mut text = understood(config);
    let lines = missing(config).into_iter().chain(shared(config));
    let gaps = crate::serve::sandbox::gaps().into_iter().map(str::to_owned);
    for line in lines.chain(gaps) {
        let _ = writeln!(text, "note: {line}");
    }
    text
}

/// Sends a notice every way, so that it is known beforehand that it arrives.
fn test_notices(config: &Config) -> Result<Exit, Failure> {
    let notice = Notice {
        event: Event::Recovery,
        tree: None,
        exit: 0,
        line: "this is a test, nothing has happened".to_owned(),
        next: "nothing needs to be done: notices of this node arrive here".to_owned(),
    };
    let failures = notify::send(config, &notice, 0);
    for failure in &failures {
        out::error(failure);
    }
    match failures.len() {
        0 => Ok(Exit::Ok),
        count => Err(Failure::new(
            Exit::FileIo,
            format!("{count} of the ways of [notify] failed, see above; correct them"),
        )),
    }
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
    say("role", role(&config.role));
    say("notify", notify(&config.notify));
    for (hook, command) in [
        ("before", &config.hooks.before),
        ("after", &config.hooks.after),
        ("on_failure", &config.hooks.on_failure),
        ("on_overrun", &config.hooks.on_overrun),
    ] {
        if let Some(command) = command {
            let time = Time(config.hooks.time());
            say(
                "hook",
                format!("{hook}: {}, within {time}", shown(&command.0)),
            );
        }
    }
    let cycle = &config.cycle;
    let overlap = match cycle.overlap {
        Overlap::Skip => "skipped",
        Overlap::QueueOne => "queued once",
    };
    let lag = cycle
        .max_lag
        .map_or("never".to_owned(), |lag| format!("above {lag}"));
    say(
        "cycle",
        format!(
            "every {}, {overlap} on overlap, {} for the last push, lag is told {lag}",
            cycle.interval, cycle.last_push
        ),
    );
    let stale = match config.lineage.stale {
        Stale::Refuse => "is not promoted without --force",
        Stale::Warn => "is promoted, and says so",
    };
    let rejoin = match config.lineage.rejoin {
        AfterCrash::Auto => "follows by itself",
        AfterCrash::Ask => "waits for hasync demote",
    };
    let line = format!("who is behind its peer {stale}; who comes back after a crash {rejoin}");
    say("lineage", line);
    let brake = &config.brake;
    say(
        "brake",
        format!(
            "at more than {} % and more than {} entries to delete",
            brake.percent.0, brake.entries
        ),
    );
    if config.trees.is_empty() {
        say("trees", "none".to_owned());
    }
    for tree in config.in_push_order() {
        say("tree", tree_line(tree));
        for rule in &tree.options.filters {
            say("", format!("  filter {rule}"));
        }
    }
    text
}

fn role(role: &RoleTest) -> String {
    match role {
        RoleTest::Address { address, interface } => match interface {
            Some(interface) => format!("primary is who has {address} on {}", shown(interface)),
            None => format!("primary is who has {address}"),
        },
        RoleTest::Haresources { file, resource } => format!(
            "primary is who has the address of {} in {}",
            shown(resource),
            path(file)
        ),
        RoleTest::Command {
            command,
            expect,
            timeout,
        } => {
            let says = expect.as_ref().map_or("succeeds".to_owned(), |expect| {
                format!("says \"{}\"", shown(expect))
            });
            let time = Time(*timeout);
            format!(
                "primary is where \"{}\" {says} within {time}",
                shown(command)
            )
        }
        RoleTest::Recorded => "as promote and demote recorded it".to_owned(),
    }
}

fn notify(notify: &Notify) -> String {
    let mut ways = Vec::new();
    if let Some(command) = &notify.command {
        ways.push(format!("command {}", shown(&command.0)));
    }
    if let Some(file) = &notify.log {
        ways.push(format!("log {}", path(&file.0)));
    }
    if notify.syslog {
        ways.push("syslog".to_owned());
    }
    if let Some(mail) = &notify.mail {
        let to: Vec<_> = mail.to.iter().map(|to| to.0.as_str()).collect();
        let by = match (&mail.smtp, &mail.sendmail) {
            (Some(host), _) => shown(&host.0),
            (None, Some(program)) => path(&program.0),
            (None, None) => "sendmail".to_owned(),
        };
        ways.push(format!("mail to {} by {by}", to.join(" ")));
    }
    if ways.is_empty() {
        return "nobody".to_owned();
    }
    let on: Vec<_> = notify.on.iter().map(|event| event.name()).collect();
    let (ways, on, repeat) = (ways.join(", "), on.join(" "), notify.repeat);
    format!("{ways}; about {on}; the same again after {repeat}")
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
    add("stall", peer.stall.map(|stall| stall.0.to_string()));
    if let Some(check) = &peer.check {
        words.push(format!(
            "receives while \"{}\" succeeds there",
            shown(&check.0)
        ));
    }
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
        (!options.acls, "no ACLs"),
        (!options.xattrs, "no extended attributes"),
        (options.numeric_ids, "numeric ids"),
        (options.one_file_system, "one file system"),
        (options.checksum, "compared by content"),
        (options.sparse, "sparse"),
        (options.lossy.owner, "owners may be lost"),
        (options.lossy.perms, "modes may be lost"),
        (options.lossy.acl, "ACLs may be lost"),
        (options.lossy.xattr, "extended attributes may be lost"),
        (options.lossy.links, "hard links may be lost"),
    ] {
        if is_set {
            words.push(word.to_owned());
        }
    }
    if let Some(sentinel) = &tree.sentinel {
        words.push(format!("sentinel {}", path(sentinel)));
    }
    if let Some(lock) = &tree.lock {
        words.push(format!("under the lock {}", path(lock)));
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
        let name = &tree.name;
        if !tree.dir().is_dir() {
            let dir = path(tree.dir());
            lines.push(format!(
                "tree {name}: {dir} is not a directory on this node"
            ));
        } else if let Err(e) = tree.on(&config.node).check_root() {
            lines.push(format!("tree {name}: {e}"));
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

/// Trees that hold the same entries by different paths, or what hasync itself keeps: one push would
/// undo the other's work.
fn shared(config: &Config) -> Vec<String> {
    let trees = config.trees.iter().filter(|tree| !tree.is_group());
    let mut named: Vec<_> = trees
        .map(|tree| (format!("tree {}", tree.name), tree.dir()))
        .collect();
    let state = &config.node.state;
    named.push((format!("the state directory {}", path(state)), state));
    let dirs: Vec<&Path> = named.iter().map(|(_, dir)| *dir).collect();
    let line = |(one, other): (usize, usize)| {
        let name = |at: usize| named.get(at).map_or("", |(name, _)| name);
        let (one, other) = (name(one), name(other));
        format!("{one} and {other} share entries on this node; leave them to one of the two")
    };
    overlaps(&dirs).into_iter().map(line).collect()
}

fn path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}
