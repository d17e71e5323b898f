//! What was typed: every option of every verb with its help, and what a wrong word is answered.
//! What the options mean for a run is decided by the verb's own module.

mod compress;
mod config;
mod cycle;
mod filter_words;
mod generations;
mod groups;
mod help;
mod info;
mod init;
mod lists;
mod nearest;
mod ocf;
mod owners;
mod pair;
mod plumbing;
mod push;
pub(crate) mod rate;
mod reach;
mod refusal;
mod role;
mod selection;
mod serve;
mod size;
mod trees;

use std::ffi::OsString;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::exit::{Exit, Failure};

pub(crate) use config::{CheckConfigArgs, ConfigArgs, NotifyArgs};
pub(crate) use cycle::{Action, CycleArgs, MirrorArgs, PlanArgs};
pub(crate) use filter_words::FilterWord;
pub(crate) use generations::{
    AdoptArgs, AnyTrees, CheckArgs, DivergedArgs, KeptArgs, LogArgs, PromoteArgs, SomeTrees,
    StatusArgs, UndoArgs,
};
pub(crate) use help::help_of;
pub(crate) use init::{InitArgs, Manager, tree as tree_word};
pub(crate) use lists::{Section, sections};
pub(crate) use ocf::{KeepalivedArgs, OcfArgs};
pub(crate) use pair::PairArgs;
pub(crate) use plumbing::{DeltaArgs, PatchArgs, SignatureArgs, named};
pub(crate) use push::PushArgs;
use refusal::{answer, usage};
pub(crate) use role::{RoleArgs, WantedRole};
pub(crate) use selection::SelectionArgs;
pub(crate) use serve::{CompletionsArgs, DemoArgs, HelpArgs, ManArgs, ServeArgs};

/// One parsed command line.
#[derive(Debug)]
pub(crate) enum Typed {
    /// What is to be done.
    Verb(Verb),
    /// Text to print, and the code to leave with: 0 when it was asked for.
    Help(String, Exit),
}

/// Reads a command line, the program's name first.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Typed, Failure> {
    let is_resource = std::env::var_os("OCF_RESOURCE_INSTANCE").is_some();
    let words = ocf::as_agent(words.into_iter().collect(), is_resource);
    let words = cycle::as_resource(words);
    if let [_, verb, letter] = &*words
        && verb == "push"
        && letter == "-h"
    {
        return Ok(Typed::Help(help::of_push(false), Exit::Ok));
    }
    if let Some(typed) = parse_alone(&words) {
        return typed;
    }
    let matches = match command().try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(error) => return answer(&error, &words),
    };
    let verb = Cli::from_arg_matches(&matches)
        .map_err(|error| usage(&error, &words))?
        .verb;
    match (verb, matches.subcommand_matches("push")) {
        (Verb::Push(args), Some(matches)) => settled(args, matches),
        (verb, _) => Ok(Typed::Verb(verb)),
    }
}

/// Reads the command lines of the two halves of a push as those of programs of their own: the
/// options of all other verbs are not made then, which takes a tenth of a push of nothing. `None`
/// if it is another line, or a wrong one, which is then explained beside all verbs.
fn parse_alone(words: &[OsString]) -> Option<Result<Typed, Failure>> {
    let words = words.get(1..)?;
    match words.first()?.to_str()? {
        "push" => {
            let push = push::complete(PushArgs::augment_args(clap::Command::new("push")));
            let matches = push.try_get_matches_from(words).ok()?;
            let args = PushArgs::from_arg_matches(&matches).ok()?;
            Some(settled(Box::new(args), &matches))
        }
        "serve" => {
            let serve = ServeArgs::augment_args(clap::Command::new("serve"));
            let matches = serve.try_get_matches_from(words).ok()?;
            let args = ServeArgs::from_arg_matches(&matches).ok()?;
            Some(Ok(Typed::Verb(Verb::Serve(args))))
        }
        _ => None,
    }
}

/// What a push was asked for, taken together.
fn settled(mut args: Box<PushArgs>, matches: &clap::ArgMatches) -> Result<Typed, Failure> {
    if let Some(which) = &args.help {
        return Ok(Typed::Help(help::of_push(which == "all"), Exit::Ok));
    }
    args.settle(matches)?;
    let debug = matches.get_many::<String>("debug").unwrap_or_default();
    if debug
        .into_iter()
        .any(|flags| flags.eq_ignore_ascii_case("help"))
    {
        let help =
            "--debug is accepted and prints nothing: each error says what failed, where and why\n";
        return Ok(Typed::Help(help.to_owned(), Exit::Ok));
    }
    if let Some(help) = info::help(&args.info) {
        return Ok(Typed::Help(help, Exit::Ok));
    }
    Ok(Typed::Verb(Verb::Push(args)))
}

/// Reads the words behind a `hasync serve` that is forced on a key.
pub(crate) fn parse_serve(words: &[String]) -> Result<ServeArgs, Failure> {
    let typed = words.iter().map(OsString::from);
    let line = ["hasync".into(), "serve".into()].into_iter().chain(typed);
    match parse(line)? {
        Typed::Verb(Verb::Serve(args)) => Ok(args),
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
  hasync demo
  hasync push -a --delete /srv/html/ standby:/srv/html
  hasync push -naiH --delete /etc /srv root@[fd00::2]:/mirror/
  hasync push --all
  hasync status

`hasync VERB --help` shows the options of a verb, and `hasync help` lists the
pages of the manual.")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What can be done, each with its options.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a directory on another host equal to one here
    Push(Box<PushArgs>),
    /// Receive pushes: started by sshd, or as an SSH server of its own
    Serve(ServeArgs),
    /// Show how each tree stands, and when the standby was last equal
    Status(StatusArgs),
    /// Report trouble and lag to monitoring, as a Nagios plugin
    Check(CheckArgs),
    /// List what has changed in a tree, push by push
    Log(LogArgs),
    /// Bring a tree, or one path in it, back to what it was
    Undo(UndoArgs),
    /// List what pushes replaced here, or copy it out
    Kept(KeptArgs),
    /// Complete what a crash cut off; units and scripts run it at boot
    Recover(AnyTrees),
    /// Make this node the primary of trees
    Promote(PromoteArgs),
    /// Make this node a standby of trees
    Demote(SomeTrees),
    /// List what differs between the two nodes, and the ways out
    Diverged(DivergedArgs),
    /// Give up the data here for the peer's, after the two diverged
    Adopt(AdoptArgs),
    /// Push all trees if this node is primary; for cron, on both nodes
    Cycle(CycleArgs),
    /// Measure whether cycles fit into an interval
    Plan(PlanArgs),
    /// Start or stop being primary; the cluster manager calls it
    Mirror(MirrorArgs),
    /// Act as Pacemaker's resource agent ocf:hasync:mirror
    Ocf(OcfArgs),
    /// Start and stop the mirror as keepalived moves the address
    Keepalived(KeepalivedArgs),
    /// Show whether this node is the primary, and why
    Role(RoleArgs),
    /// Write a first configuration that is right on both nodes
    Init(Box<InitArgs>),
    /// Let two nodes push to each other: keys on both, tested
    Pair(Box<PairArgs>),
    /// Print how hasync understands the configuration
    CheckConfig(CheckConfigArgs),
    /// Show what hasync does, with two temporary trees on this machine
    Demo(DemoArgs),
    /// Sum a file block by block, for a delta made elsewhere
    Signature(SignatureArgs),
    /// Write what turns a signed file into a new one
    Delta(DeltaArgs),
    /// Make the new file from the old one and a delta
    Patch(PatchArgs),
    /// Write the manual pages into a directory
    Man(ManArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Show a page of the manual, or list the pages
    Help(HelpArgs),
    /// Tell a notice of a run that does not wait for it
    #[command(hide = true)]
    Notify(NotifyArgs),
}

/// Every verb and option.
pub(crate) fn command() -> clap::Command {
    groups::by_group(Cli::command().mut_subcommand("push", push::complete))
}

#[cfg(test)]
mod examples_tests;
#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
