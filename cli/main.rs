//! `hasync` keeps the standby of a two-node HA cluster equal to its primary.
//!
//! This file is the table of contents of the command line: parse what was typed, do it, say in
//! one line what went wrong, leave with the code that `exit` decides.

#![forbid(unsafe_code)]

mod aftermath;
mod args;
mod backup;
mod bar;
mod brake;
mod check;
mod config;
mod cycle;
mod demo;
mod environment;
mod events;
mod exit;
mod filters;
mod format;
mod freshness;
mod generations;
mod how_far;
mod init;
mod itemize;
mod itself;
mod keepalived;
mod list_only;
mod log_file;
mod manual;
mod memory;
mod mirror;
mod notify;
mod numbers;
mod ocf;
mod origins;
mod out;
mod pair;
mod peer_link;
mod plan;
mod plumbing;
mod progress;
mod push;
mod push_trees;
mod questions;
mod reach;
mod rejoin;
mod report;
mod role;
mod selection;
mod serve;
mod shell;
mod signals;
mod state;
mod stats;
mod target;
mod times;
mod writable;

use std::path::PathBuf;
use std::process::ExitCode;

use args::{Typed, Verb};
use exit::Failure;

fn main() -> ExitCode {
    // Before there is a second thread.
    hasync_engine::umask();
    signals::outlive_long_files();
    if let Some(code) = serve::helper::run_if_asked(std::env::args_os()) {
        return code;
    }
    #[cfg(debug_assertions)]
    {
        end_where_told();
        let offset = std::env::var("HASYNC_CLOCK_OFFSET").unwrap_or_default();
        hasync_engine::generation::offset_clock(offset.parse().unwrap_or(0));
        let memory = std::env::var("HASYNC_SPILL_FROM").unwrap_or_default();
        memory
            .parse()
            .into_iter()
            .for_each(hasync_engine::spill_from);
    }
    let is_check = std::env::args_os()
        .nth(1)
        .is_some_and(|verb| verb == "check");
    let outcome = match args::parse(std::env::args_os()) {
        Err(failure) if is_check => Ok(check::misused(&failure)),
        Err(failure) => Err(failure),
        Ok(Typed::Help(text, exit)) => out::help(&text, exit).map(ExitCode::from),
        Ok(Typed::Verb(verb)) => run(verb),
    };
    signals::stop_if_leaving();
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            out::error(&failure.message);
            failure.exit.into()
        }
    }
}

/// Where what does not fit into memory goes.
fn spill_dirs() -> Vec<PathBuf> {
    let named = std::env::var_os("TMPDIR").map(PathBuf::from);
    let usual = ["/var/tmp", "/tmp"].map(PathBuf::from);
    let named = named.into_iter().filter(|dir| dir.is_absolute());
    named.chain(usual).collect()
}

fn run(verb: Verb) -> Result<ExitCode, Failure> {
    hasync_engine::spill_into(spill_dirs());
    let exit = match verb {
        Verb::Push(args) => push::run(&args),
        Verb::Serve(args) => serve::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Man(args) => manual::run(&args),
        Verb::Completions(args) => manual::completions(&args),
        Verb::Notify(args) => notify::run(&args),
        Verb::Signature(args) => plumbing::signature(&args),
        Verb::Delta(args) => plumbing::delta(&args),
        Verb::Patch(args) => plumbing::patch(&args),
        Verb::Init(args) => init::run(&args),
        Verb::Pair(args) => pair::run(&args),
        Verb::CheckConfig(args) => config::check_config(&args),
        Verb::Role(args) => role::run(&args),
        Verb::Promote(args) => generations::promote(&args),
        Verb::Demote(args) => generations::demote(&args),
        Verb::Status(args) => generations::status(&args),
        Verb::Log(args) => generations::log(&args),
        Verb::Undo(args) => generations::undo(&args),
        Verb::Kept(args) => generations::kept(&args),
        Verb::Recover(args) => generations::recover(&args),
        Verb::Diverged(args) => generations::diverged(&args),
        Verb::Adopt(args) => generations::adopt(&args),
        Verb::Help(args) => manual::help(&args),
        Verb::Plan(args) => plan::run(&args),
        Verb::Cycle(args) => cycle::run(&args),
        Verb::Keepalived(args) => keepalived::run(&args),
        // What calls these has exit codes of its own.
        Verb::Check(args) => return Ok(check::run(&args)),
        Verb::Mirror(args) => return Ok(mirror::run(&args)),
        Verb::Ocf(args) => return Ok(ocf::run(&args)),
    };
    exit.map(ExitCode::from)
}

/// Lets tests end a build with debug assertions at a step of its commit, as by `kill -9`:
/// `HASYNC_END_AT=POINT[:PASSES]`, with the points of [`hasync_engine::generation::end_at`].
#[cfg(debug_assertions)]
fn end_where_told() {
    let Ok(word) = std::env::var("HASYNC_END_AT") else {
        return;
    };
    let (point, passes) = word.split_once(':').unwrap_or((&word, "1"));
    hasync_engine::generation::end_at(point, passes.parse().unwrap_or(1));
}
