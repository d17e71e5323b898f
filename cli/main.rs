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
