//! Every command line of ours that the help, the README and the manual pages show is one that is
//! understood.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::{command, parse};
use crate::reach::split_words;

/// A command line, and where it stands.
type Example = (String, String);

/// The texts, by name: the README, every page, every help.
fn texts() -> Vec<Example> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = vec![("README.md".to_owned(), root.join("README.md"))];
    for entry in fs::read_dir(root.join("cli/manual")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "md") {
            texts.push((path.file_name().unwrap().to_string_lossy().into(), path));
        }
    }
    let read = |(name, path)| (name, fs::read_to_string(path).unwrap());
    let mut texts: Vec<Example> = texts.into_iter().map(read).collect();
    let whole = command();
    for verb in [&whole].into_iter().chain(whole.get_subcommands()) {
        let help = verb.get_after_help().map(ToString::to_string);
        texts.push((verb.get_name().to_owned(), help.unwrap_or_default()));
    }
    texts
}

/// The lines of a text that are code: fenced on a page, indented by two in a help.
fn code(name: &str, text: &str) -> Vec<String> {
    let is_page = name.ends_with(".md");
    let joined = text.replace("\\\n", " ");
    let mut is_fenced = false;
    let mut lines = Vec::new();
    for line in joined.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced || !is_page && line.starts_with("  ") {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// The words behind `hasync` where a line of code runs it.
fn command_of(line: &str) -> Option<String> {
    let line = line.split("  #").next().unwrap_or(line).trim();
    let starts = |line: &str| {
        let (program, rest) = line.split_once(' ')?;
        let is_ours = program == "hasync" || program.ends_with("/bin/hasync");
        is_ours.then(|| rest.to_owned())
    };
    // A crontab has five fields and a user before it, a notice the key.
    let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest.trim());
    let quoted = |rest: &str| rest.split('"').next().unwrap_or_default().to_owned();
    starts(line)
        .or_else(|| after(" root ").and_then(starts))
        .or_else(|| {
            after("command=\"")
                .and_then(starts)
                .map(|rest| quoted(&rest))
        })
        .or_else(|| after("cargo run --release -- ").map(str::to_owned))
}

#[test]
fn every_example_is_understood() {
    let mut count = 0;
    for (name, text) in texts() {
        for line in code(&name, &text) {
            let Some(words) = command_of(&line) else {
                continue;
            };
            count += 1;
            let words = words.replace("[", "").replace("]", "");
            let words = split_words(words.as_bytes(), "-e").unwrap();
            let all = [OsString::from("hasync")].into_iter().chain(words);
            let parsed = parse(all);
            assert!(parsed.is_ok(), "{name}: {line}: {parsed:?}");
        }
    }
    assert!(count > 30, "{count} examples are found");
}

#[test]
fn every_verb_and_option_that_is_mentioned_is_there() {
    let (mut count, whole) = (0, command());
    for (name, text) in texts() {
        let spans = text.split('`').skip(1).step_by(2);
        for words in spans.filter_map(|span| span.strip_prefix("hasync ")) {
            let mut words = words.split_whitespace();
            let verb = words.next().unwrap();
            if verb.starts_with('-') || verb.chars().all(char::is_uppercase) {
                continue;
            }
            count += 1;
            let found = whole.find_subcommand(verb);
            let found = found.unwrap_or_else(|| unreachable!("{name}: hasync {verb}"));
            for option in words.filter_map(|word| word.strip_prefix("--")) {
                let option = option.split('=').next().unwrap();
                let option = option.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                let is_there = found.get_arguments().any(|arg| {
                    let names = arg.get_all_aliases().unwrap_or_default();
                    arg.get_long() == Some(option) || names.contains(&option)
                });
                let is_there = is_there || option == "help" || option.is_empty();
                assert!(is_there, "{name}: hasync {verb} --{option}");
            }
        }
    }
    assert!(count > 50, "{count} mentions are found");
}
