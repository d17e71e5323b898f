//! The help of a verb. That of `hasync push` is two screens of what most need, or all, with the
//! lists of what is accepted and refused of rsync.

use std::ffi::OsString;

use super::{Typed, command, parse, sections};
use crate::exit::Exit;

/// What `hasync VERB --help` prints; `None` if there is no such verb.
pub(crate) fn help_of(verb: &str) -> Option<String> {
    match parse(["hasync", verb, "--help"].map(OsString::from)) {
        Ok(Typed::Help(text, Exit::Ok)) => Some(text),
        _ => None,
    }
}

/// The help text of `hasync push`.
pub(super) fn of_push(all: bool) -> String {
    let mut command = command();
    command.build();
    let Some(push) = command.find_subcommand("push") else {
        return String::new();
    };
    if !all {
        return push.clone().render_help().to_string();
    }
    let mut shown = push.clone().mut_args(|arg| arg.hide_short_help(false));
    let mut text = shown.render_help().to_string();
    for (heading, rows) in sections() {
        text.push_str(&format!("\n{heading}:\n"));
        for (names, why) in rows {
            text.push_str(&format!("  {names}\n      {why}\n"));
        }
    }
    text
}
