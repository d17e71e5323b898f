//! `hasync init`: from nothing to a pair that mirrors. Asks what a first configuration needs, or
//! takes it from options, writes one file that is right on both nodes, pairs them if wanted, and
//! ends with what is left to type.

mod steps;
mod text;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::args::{self, InitArgs, Manager};
use crate::config::{self, Config};
use crate::exit::{Exit, Failure};
use crate::out::Out;
use crate::pair;
use crate::questions;
use crate::target;

use text::Wanted;

/// Writes a first configuration.
pub(crate) fn run(args: &InitArgs) -> Result<Exit, Failure> {
    let out = Out::stdout();
    let manager = manager(args)?;
    let wanted = wanted(args, manager)?;
    let text = wanted.text();
    let file = args.config.config.clone();
    let file = file.unwrap_or_else(|| config::DEFAULT_FILE.into());
    // What makes no sense is told before anything is written.
    Config::parse(&file, &text)?;
    if args.print {
        out.write(text.as_bytes());
        out.finish()?;
        return Ok(Exit::Ok);
    }
    out.say(&match pair::make_file(&file, &text)? {
        true => format!("configuration: written, {}", file.display()),
        false => format!("configuration: is there already, {}", file.display()),
    });
    let exit = pair_or_tell(args, &file, &text, &out)?;
    let first = &wanted.nodes[0].0;
    let address = wanted.address.map_or_else(String::new, |ip| ip.to_string());
    out.say("");
    out.write(steps::of(manager, first, &address, wanted.interval).as_bytes());
    out.finish()?;
    Ok(exit)
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
        return pair::share(args, text, out);
    }
    out.say("check-config here:");
    out.say_all(&config::report(&config));
    let shown = file.display().to_string();
    let login = config.peer.user.as_ref();
    let login = login.map_or_else(|| peer.clone(), |user| format!("{user}@{peer}"));
    out.say("Then let the other node have the same file, and pair them:");
    let scp = target::scp(&login, config.peer.port, &shown, &shown);
    out.say(&format!("  {scp}"));
    out.say("  hasync check-config");
    out.say("  hasync pair");
    Ok(Exit::Ok)
}

fn manager(args: &InitArgs) -> Result<Manager, Failure> {
    if let Some(manager) = args.manager {
        return Ok(manager);
    }
    let answer = questions::ask(
        "What moves the service: heartbeat, keepalived, pacemaker, or cron alone?",
        "--manager",
    )?;
    Manager::from_str(&answer, true)
        .map_err(|_| Failure::usage(format!("\"{answer}\" is none of these")))
}

fn wanted(args: &InitArgs, manager: Manager) -> Result<Wanted, Failure> {
    let nodes = match &args.node[..] {
        [one, other] if one.0 != other.0 => [one.clone(), other.clone()],
        [] => ask_nodes()?,
        _ => return Err(Failure::usage("--node is given twice, for two nodes")),
    };
    let address = match (args.address, manager) {
        // Pacemaker promotes and demotes by itself.
        (_, Manager::Pacemaker) | (None, Manager::Cron) => None,
        (Some(address), _) => Some(address),
        (None, _) => Some(ask_address()?),
    };
    let (mut trees, groups) = (args.tree.clone(), args.group.clone());
    if trees.is_empty() && groups.is_empty() {
        trees = ask_trees()?;
    }
    Ok(Wanted {
        nodes,
        user: args.user.clone(),
        port: args.port,
        address,
        interval: args.interval,
        groups,
        trees,
    })
}

fn ask_nodes() -> Result<[(String, String); 2], Failure> {
    const OPTION: &str = "--node NAME=HOST for each node";
    let here = Config::parse(Path::new(""), "")?.node.name;
    let question = format!("Where is this node, {here}, reached on the private link?");
    let host = read(&question, OPTION, config::host)?;
    let there = read("What is the name of the other node?", OPTION, config::host)?;
    let question = format!("Where is {there} reached on the private link?");
    let its_host = read(&question, OPTION, config::host)?;
    Ok([(here, host), (there, its_host)])
}

fn ask_address() -> Result<IpAddr, Failure> {
    let parse = |word: &str| {
        let address = word.parse();
        address.map_err(|_| format!("\"{word}\" is no address such as 10.0.0.100"))
    };
    read(
        "Which service address does the primary have?",
        "--address",
        parse,
    )
}

fn ask_trees() -> Result<Vec<(String, PathBuf)>, Failure> {
    let question =
        "Which trees? NAME=DIR, one after another, such as html=/srv/html mail=/srv/mail";
    read(question, "--tree NAME=DIR", |line| {
        line.split_whitespace().map(args::tree_word).collect()
    })
}

/// An answer that makes sense.
fn read<T>(
    question: &str,
    option: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Failure> {
    let answer = questions::ask(question, option)?;
    parse(&answer).map_err(Failure::usage)
}
