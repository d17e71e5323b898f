//! Each of rsync's options is in exactly one of the three lists.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::Command;

use super::*;
use crate::args::{Typed, Verb, command, parse};

/// What a push with these words before its operands is answered.
fn push(words: &[&str]) -> Result<Typed, Failure> {
    let line = ["hasync", "push"]
        .iter()
        .chain(words)
        .chain(&["src/", "host:dst"]);
    parse(line.map(OsString::from))
}

/// rsync's options as its help spells them, with whether each takes a value; empty where there is
/// no rsync.
fn of_rsync() -> Vec<(String, bool)> {
    let Ok(help) = Command::new("rsync").arg("--help").output() else {
        // Not by a print macro: the test harness would swallow the words of a test that passes.
        writeln!(std::io::stderr(), "skipped: rsync is not installed").unwrap();
        return Vec::new();
    };
    let help = String::from_utf8(help.stdout).unwrap();
    let options = help.lines().filter(|line| line.starts_with('-'));
    let mut found = Vec::new();
    for line in options {
        let names = line.split("  ").next().unwrap().trim_end_matches(" (*)");
        let takes = names.contains('=');
        found.extend(names.split(", ").map(|name| {
            let name = name.split('=').next().unwrap();
            (name.to_owned(), takes)
        }));
    }
    found
}

/// For each spelling the lists that it is in.
fn lists() -> BTreeMap<String, Vec<&'static str>> {
    let accepted: Vec<String> = ACCEPTED
        .iter()
        .map(|row| Names::of(row.names).id())
        .collect();
    let refused: Vec<String> = REFUSED
        .iter()
        .map(|row| Names::of(row.names).id())
        .collect();
    let mut lists: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let whole = command();
    for arg in whole.find_subcommand("push").unwrap().get_arguments() {
        let id = arg.get_id().to_string();
        let plain = id.strip_prefix("no_").unwrap_or(&id).to_owned();
        let list = if accepted.contains(&id) || accepted.contains(&plain) {
            "accepted"
        } else if refused.contains(&id) {
            "refused"
        } else {
            "implemented"
        };
        let long = arg.get_long().into_iter();
        let long = long.chain(arg.get_all_aliases().unwrap_or_default());
        let mut names: Vec<String> = long.map(|name| format!("--{name}")).collect();
        names.extend(arg.get_short().map(|letter| format!("-{letter}")));
        for name in names {
            lists.entry(name).or_default().push(list);
        }
    }
    lists
}

#[test]
fn each_option_of_rsync_is_in_exactly_one_list() {
    let (options, lists) = (of_rsync(), lists());
    assert!(
        options.is_empty() || options.len() > 200,
        "{}",
        options.len()
    );
    for (name, _) in options {
        // The form of all negations, and what the program itself answers.
        if ["--no-OPTION", "--version", "-V"].contains(&&*name) {
            continue;
        }
        let found = lists.get(&name).map_or(&[][..], |found| &found[..]);
        assert_eq!(found.len(), 1, "{name} is in {found:?}");
    }
}

#[test]
fn options_of_rsync_take_values_where_rsync_takes_them() {
    let whole = command();
    let verb = whole.find_subcommand("push").unwrap();
    for (name, takes) in of_rsync().into_iter().filter(|(name, _)| name.len() > 2) {
        let name = name.trim_start_matches("--");
        let arg = verb.get_arguments().find(|arg| {
            arg.get_long() == Some(name)
                || arg.get_all_aliases().unwrap_or_default().contains(&name)
        });
        // Help has a value that may be left out.
        if let Some(arg) = arg.filter(|arg| arg.get_id() != "help") {
            assert_eq!(arg.get_action().takes_values(), takes, "--{name}");
        }
    }
}

#[test]
fn what_is_accepted_is_taken_and_what_is_refused_says_why_and_what_instead() {
    for row in ACCEPTED {
        for word in spellings(row.names) {
            let words: Vec<&str> = word.split(' ').chain(["-r"]).collect();
            assert!(
                matches!(push(&words), Ok(Typed::Verb(Verb::Push(_)))),
                "{word}"
            );
        }
    }
    for row in REFUSED {
        for word in spellings(row.names) {
            let words: Vec<&str> = ["-a"].into_iter().chain(word.split(' ')).collect();
            let failure = push(&words).unwrap_err();
            let told = [row.why, row.instead].map(|part| failure.message.contains(part));
            assert_eq!(told, [true; 2], "{word}: {}", failure.message);
            assert!(!failure.message.contains('\n'), "{word}");
        }
    }
}

/// The ways to type an option, with a value where it takes one, joined and apart.
fn spellings(row: &'static str) -> Vec<String> {
    let names = Names::of(row);
    let long = names.long.iter().map(|name| format!("--{name}"));
    let mut words: Vec<String> = match names.value {
        None => long.collect(),
        Some(_) => long
            .flat_map(|name| [format!("{name}=7"), format!("{name} 7")])
            .collect(),
    };
    let letter = names.short.map(|letter| format!("-{letter}"));
    words.extend(letter.map(|letter| match names.value {
        None => letter,
        Some(_) => letter + "7",
    }));
    words
}

/// What rsync takes and its help does not show: `--no-` for a part of its options, and other names.
#[test]
fn spellings_that_help_does_not_show_are_known() {
    for name in [
        "i-r",
        "i-d",
        "old-d",
        "motd",
        "qsort",
        "msgs2stderr",
        "log-format=%n",
        "protect-args",
        "cc=md5",
        "zc=zlib",
        "zl=3",
        "zt=2",
        "old-compress",
        "new-compress",
        "insecure-links",
        "ignore-non-existing",
    ] {
        let word = format!("--{name}");
        assert!(push(&["-r", &word]).is_ok(), "{word}");
    }
    let names = "8 8-bit-output A acls D devices H hard-links I J N crtimes O R relative S U W X \
         append backup blocking-io bwlimit c checksum compress contimeout d detach \
         delay-updates drop-D force from0 fuzzy g group h human-readable i i-d i-r iconv \
         ignore-errors implied-dirs inc-recursive inplace insecure-links itemize-changes l \
         links m mkpath motd msgs2stderr munge-links numeric-ids o old-args omit-dir-times \
         omit-link-times one-file-system open-noatime owner p partial perms progress \
         protect-args prune-empty-dirs r recursive s secluded-args sparse specials super t \
         timeout times v verbose whole-file write-devices x xattrs y z";
    for name in names.split(' ') {
        let word = format!("--no-{name}");
        assert!(push(&["-r", &word]).is_ok(), "{word}");
    }
}

#[test]
fn what_never_was_on_can_be_taken_back() {
    for word in [
        "--no-inplace",
        "--no-A",
        "--no-partial",
        "--no-inc-recursive",
        "--no-i-r",
    ] {
        assert!(
            matches!(push(&[word]), Ok(Typed::Verb(Verb::Push(_)))),
            "{word}"
        );
    }
}

#[test]
fn deleting_at_another_moment_is_deleting() {
    for word in [
        "--del",
        "--delete-before",
        "--delete-during",
        "--delete-delay",
        "--delete-after",
    ] {
        let Ok(Typed::Verb(Verb::Push(args))) = push(&["-r", word]) else {
            panic!("not a push: {word}");
        };
        assert!(args.delete, "{word}");
    }
}

#[test]
fn names_are_read_from_a_row() {
    let names = Names::of("--block-size=SIZE, --bs, -B");
    assert_eq!(names.long, ["block-size", "bs"]);
    assert_eq!((names.short, names.value), (Some('B'), Some("SIZE")));
}

#[test]
fn every_row_gives_a_reason() {
    for (_, rows) in sections() {
        for (names, text) in rows {
            assert!(text.len() > 20 && !text.ends_with('.'), "{names}: {text}");
        }
    }
}
