//! `hasync` keeps the standby of a two-node HA cluster equal to its primary.
//!
//! This file is the table of contents of the command line: parse what was typed, do it, say in
//! one line what went wrong, leave with the code that `exit` decides.

#![forbid(unsafe_code)]

mod args;
mod config;
mod demo;
mod exit;
mod filters;
mod itemize;
mod notify;
mod numbers;
mod out;
mod plumbing;
mod progress;
mod push;
mod reach;
mod report;
mod role;
mod serve;
mod shell;
mod signals;
mod stats;
mod target;
mod times;

use std::process::ExitCode;

use args::Typed;

fn main() -> ExitCode {
    #[cfg(debug_assertions)]
    end_where_told();
    let outcome = args::parse(std::env::args_os()).and_then(|typed| match typed {
        Typed::Push(args) => push::run(&args),
        Typed::Serve(args) => serve::run(&args),
        Typed::Demo(args) => demo::run(&args),
        Typed::Signature(args) => plumbing::signature(&args),
        Typed::Delta(args) => plumbing::delta(&args),
        Typed::Patch(args) => plumbing::patch(&args),
        Typed::CheckConfig(args) => config::check_config(&args),
        Typed::Role(args) => role::run(&args),
        Typed::Help(text, exit) => out::help(&text, exit),
    });
    signals::stop_if_leaving();
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out::error(&failure.message);
            failure.exit.into()
        }
    }
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
