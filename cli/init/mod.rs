//! `hasync init`: from nothing to a pair that mirrors. Asks what a first configuration needs, or
//! takes it from options, writes one file that is right on both nodes, pairs them if wanted, and
//! ends with what is left to type.

mod steps;
mod text;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use hasync_transport::ssh::quoted;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::args::{self, InitArgs, Manager};
use crate::config::{self, Config};
use crate::exit::{self, Exit, Failure};
use crate::out::Out;
use crate::pair;
use crate::questions;
use crate::target;

use steps::Steps;
use text::Wanted;

/// Writes a first configuration.
pub(crate) fn run(args: &InitArgs) -> Result<Exit, Failure> {
    let out = Out::stdout();
    let file = args.config.config.as_deref();
    let file = file.unwrap_or(Path::new(config::DEFAULT_FILE));
    // What is printed is typed in other directories, and on the other node.
    let file = std::path::absolute(file)
        .map_err(|e| Failure::cannot(format!("find {}", file.display()), &e))?;
    if !args.print {
        must_be_writable(args, &file)?;
    }
    let manager = manager(args)?;
    let wanted = wanted(args, manager, &file)?;
    let text = wanted.text();
    if args.print {
        out.write(text.as_bytes());
        out.finish()?;
        return Ok(Exit::Ok);
    }
    out.say(&match pair::make_file(&file, &text)? {
        true => format!("configuration: written, {}", file.display()),
        false => format!("configuration: is there already, {}", file.display()),
    });
    let paired = pair_or_tell(args, &file, &text, &out);
    let first = &wanted.nodes[0].0;
    let address = wanted.address.map_or_else(String::new, |ip| ip.to_string());
    out.say("");
    let steps = Steps {
        manager,
        first,
        address: &address,
        interval: wanted.interval,
        config: &config_option(&file),
    };
    out.write(steps.text().as_bytes());
    out.finish()?;
    paired
}

/// Pairs the nodes, and checks the configuration on both; or says how.
fn pair_or_tell(args: &InitArgs, file: &Path, text: &str, out: &Out) -> Result<Exit, Failure> {
    let config = Config::load(Some(file))?;
    let peer = config.peer.host.clone().unwrap_or_default();
    let question = format!("Pair with {peer} now, and write the same file there? [y/N]");
    let is_asked = !args.yes && questions::can_ask();
    let pairs = args.pair || is_asked && questions::confirm(&question, "--pair")?;
    if pairs {
        out.flush();
        let paired = pair::share(args, text, out);
        if paired.is_err() {
            out.say("");
            out.say("The nodes are not paired yet. Mend what failed, and type the same again; or:");
            tell_how_to_pair(&config, file, out);
        }
        return paired;
    }
    out.say("check-config here:");
    out.say_all(&config::report(&config));
    out.say("Then let the other node have the same file, and pair them:");
    tell_how_to_pair(&config, file, out);
    Ok(Exit::Ok)
}

/// The lines that end as `--pair` does.
fn tell_how_to_pair(config: &Config, file: &Path, out: &Out) {
    let peer = config.peer.host.clone().unwrap_or_default();
    let shown = file.display().to_string();
    let login = config.peer.user.as_ref();
    let login = login.map_or_else(|| peer.clone(), |user| format!("{user}@{peer}"));
    let scp = target::scp(&login, config.peer.port, &shown, &shown);
    out.say(&format!("  {scp}"));
    let option = config_option(file);
    out.say(&format!("  hasync check-config{option}"));
    out.say(&format!("  hasync pair{option}"));
}

/// What names the file in a line that is typed, unless it is where every verb looks.
fn config_option(file: &Path) -> String {
    match file == Path::new(config::DEFAULT_FILE) {
        true => String::new(),
        false => format!("{}{}", steps::OPTION, quoted(&file.to_string_lossy())),
    }
}

/// What would keep the file from being written is told before anybody has answered for it.
fn must_be_writable(args: &InitArgs, file: &Path) -> Result<(), Failure> {
    let shown = file.display();
    if file.exists() {
        // A file that says the same is as good as written, where options say all of it.
        return match asks(args) {
            false => Ok(()),
            true => Err(Failure::new(
                Exit::Config,
                format!(
                    "{shown} is there, and nothing is written over it: edit it and go on with \
                     hasync pair, or move it away"
                ),
            )),
        };
    }
    let above = file.ancestors().skip(1).find(|above| above.exists());
    let above = above.unwrap_or(Path::new("/"));
    let may = match above.is_dir() {
        true => accessat(CWD, above, Access::WRITE_OK, AtFlags::EACCESS),
        false => Err(rustix::io::Errno::NOTDIR),
    };
    may.map_err(|e| {
        let (e, dir) = (std::io::Error::from(e), above.display());
        let why = exit::cause(&e);
        let what = format!("cannot write {shown}: {dir}: {why}");
        Failure::new(exit::of_io(&e), what)
    })
}

/// Whether something is left to be asked.
fn asks(args: &InitArgs) -> bool {
    let lacks_address = |manager| needs_address(manager) && args.address.is_none();
    args.manager.is_none_or(lacks_address)
        || args.node.is_empty()
        || args.tree.is_empty() && args.group.is_empty()
}

/// Whether it moves a service address.
fn needs_address(manager: Manager) -> bool {
    matches!(manager, Manager::Heartbeat | Manager::Keepalived)
}

fn manager(args: &InitArgs) -> Result<Manager, Failure> {
    if let Some(manager) = args.manager {
        return Ok(manager);
    }
    questions::ask_until(
        "What moves the service: heartbeat, keepalived, pacemaker, or cron alone?",
        "--manager",
        |word| Manager::from_str(word, true).map_err(|_| format!("\"{word}\" is none of these")),
    )
}

fn wanted(args: &InitArgs, manager: Manager, file: &Path) -> Result<Wanted, Failure> {
    let nodes = match &args.node[..] {
        [one, other] if one.0 != other.0 => [one.clone(), other.clone()],
        [] => ask_nodes()?,
        _ => return Err(Failure::usage("--node is given twice, for two nodes")),
    };
    let mut wanted = Wanted {
        nodes,
        user: args.user.clone(),
        port: args.port,
        // Pacemaker promotes and demotes by itself.
        address: args.address.filter(|_| manager != Manager::Pacemaker),
        interval: args.interval,
        groups: args.group.clone(),
        trees: args.tree.clone(),
    };
    // What the options say makes sense by itself, or no answer to what is left would help.
    let makes_sense = |wanted: &Wanted| Config::foresee(file, &wanted.text());
    makes_sense(&wanted).map_err(|why| {
        let what = format!("nothing is written, for it would be refused: {why}");
        Failure::new(Exit::Config, what)
    })?;
    if needs_address(manager) && wanted.address.is_none() {
        wanted = ask_address(|address| {
            let with = Wanted {
                address: Some(address),
                ..wanted.clone()
            };
            makes_sense(&with).map(|()| with)
        })?;
    }
    if wanted.trees.is_empty() && wanted.groups.is_empty() {
        wanted = ask_trees(|trees| {
            let with = Wanted {
                trees,
                ..wanted.clone()
            };
            makes_sense(&with).map(|()| with)
        })?;
    }
    Ok(wanted)
}

fn ask_nodes() -> Result<[(String, String); 2], Failure> {
    const OPTION: &str = "--node NAME=HOST for each node";
    let here = Config::parse(Path::new(""), "")?.node.name;
    let question = format!("Where is this node, {here}, reached on the private link?");
    let host = questions::ask_until(&question, OPTION, config::host)?;
    let there = questions::ask_until("What is the name of the other node?", OPTION, |word| {
        let name = config::node_name(word)?;
        match name == here {
            true => Err(format!("\"{name}\" is the name of this node")),
            false => Ok(name),
        }
    })?;
    let question = format!("Where is {there} reached on the private link?");
    let its_host = questions::ask_until(&question, OPTION, |word| {
        let its_host = config::host(word)?;
        match config::Host::is_same(&its_host, &host) {
            true => Err(format!("\"{its_host}\" is the host of this node")),
            false => Ok(its_host),
        }
    })?;
    Ok([(here, host), (there, its_host)])
}

fn ask_address<T>(makes_sense: impl Fn(IpAddr) -> Result<T, String>) -> Result<T, Failure> {
    questions::ask_until(
        "Which service address does the primary have?",
        "--address",
        |word| {
            let address = word.parse();
            let refuse = |_| format!("\"{word}\" is no address such as 10.0.0.100");
            makes_sense(address.map_err(refuse)?)
        },
    )
}

fn ask_trees<T>(
    makes_sense: impl Fn(Vec<(String, PathBuf)>) -> Result<T, String>,
) -> Result<T, Failure> {
    let question =
        "Which trees? NAME=DIR, one after another, such as html=/srv/html mail=/srv/mail";
    questions::ask_until(question, "--tree NAME=DIR", |line| {
        let trees: Result<Vec<_>, _> = line.split_whitespace().map(args::tree_word).collect();
        match trees? {
            none if none.is_empty() => Err("a pair mirrors at least one tree".to_owned()),
            trees => makes_sense(trees),
        }
    })
}
