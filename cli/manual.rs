//! `hasync man DIR`: the manual pages. Those of the verbs and of the configuration file are made
//! from what `--help` says and from the commented example, so that they cannot say anything else;
//! the others are written by hand.

mod roff;

use std::borrow::Cow;
use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use hasync_engine::{Existing, make_dirs, put_file};

use crate::args::{self, CompletionsArgs, ManArgs};
use crate::exit::{Exit, Failure, cause};
use crate::out;

const EXAMPLE: &str = include_str!("examples/hasync.toml");

/// Pages that are written, by name: in Markdown but for one.
const WRITTEN: [(&str, &str); 9] = [
    ("hasync-ha", include_str!("manual/hasync-ha.md")),
    ("hasync-trees", include_str!("manual/hasync-trees.md")),
    ("hasync-rsync", include_str!("manual/hasync-rsync.md")),
    ("hasync-state", include_str!("manual/hasync-state.md")),
    ("hasync-exit", include_str!("manual/hasync-exit.md")),
    ("hasync-delta", include_str!("manual/hasync-delta.md")),
    ("hasync-speed", include_str!("manual/hasync-speed.md")),
    (
        "hasync-internals",
        include_str!("manual/hasync-internals.md"),
    ),
    ("hasync-security", include_str!("manual/hasync-security.7")),
];

/// What is written about a verb, behind what its help says.
const ABOUT: [(&str, &str); 2] = [
    ("pair", include_str!("manual/pair.md")),
    ("init", include_str!("manual/init.md")),
];

/// Of what only an administrator runs.
const SECTION: &str = "8";

/// Writes the pages.
pub(crate) fn run(args: &ManArgs) -> Result<Exit, Failure> {
    for (name, page) in pages() {
        let section = name.rsplit('.').next().unwrap_or(SECTION);
        let dir = args.dir.join(format!("man{section}"));
        let path = dir.join(&name);
        let made = make_dirs(&dir, 0o755).map_err(io::Error::from);
        let written = made.and_then(|()| put_file(&path, &page, 0o644, Existing::IsReplaced));
        written.map_err(|e| {
            let (path, why) = (path.display(), cause(&e));
            Failure::new(Exit::FileIo, format!("cannot write {path}: {why}"))
        })?;
    }
    Ok(Exit::Ok)
}

/// Prints what completes words in a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(), "hasync", &mut script);
    out::help(&String::from_utf8_lossy(&script), Exit::Ok)
}

/// The name of each page and what is in it.
fn pages() -> Vec<(String, Vec<u8>)> {
    let whole = args::command();
    let mut pages = vec![page("hasync", whole.clone(), &[])];
    for verb in whole.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let word = verb.get_name();
        let typed = verb.clone().bin_name(format!("hasync {word}"));
        let sections: &[_] = if word == "push" {
            &args::sections()
        } else {
            &[]
        };
        let (name, mut page) = page(&format!("hasync-{word}"), typed, sections);
        if let Some((_, about)) = ABOUT.iter().find(|(verb, _)| *verb == word) {
            page.extend_from_slice(roff::from_markdown(about).as_bytes());
        }
        pages.push((name, page));
    }
    pages.push(("hasync.toml.5".to_owned(), configuration()));
    pages.extend(WRITTEN.map(|(name, text)| {
        let source = match text.starts_with('#') {
            true => Cow::Owned(roff::from_markdown(text)),
            false => Cow::Borrowed(text),
        };
        (format!("{name}.7"), source.into_owned().into_bytes())
    }));
    pages
}

/// One page, with lists of options behind what the command says of itself.
fn page(title: &str, command: Command, lists: &[args::Section]) -> (String, Vec<u8>) {
    let mut page = Vec::new();
    let man = Man::new(command.display_name(title.to_owned())).section(SECTION);
    // Writing to memory does not fail.
    let _ = man.render(&mut page);
    for (heading, rows) in lists {
        let mut roff = Roff::new();
        roff.control("SH", [heading.to_uppercase().as_str()]);
        for (names, why) in rows {
            roff.control("TP", []);
            roff.text([bold(*names)]);
            roff.text([roman(why.as_str())]);
        }
        page.extend_from_slice(roff.render().as_bytes());
    }
    (format!("{title}.{SECTION}"), page)
}

fn configuration() -> Vec<u8> {
    let mut roff = Roff::new();
    roff.control("TH", ["hasync.toml", "5"]);
    let sections = [
        (
            "NAME",
            "hasync.toml - which trees are mirrored, and how the peer is reached",
        ),
        (
            "DESCRIPTION",
            "/etc/hasync/hasync.toml, or what --config names, is the same file on both nodes. An \
             unknown key, a value that cannot be meant, a path that climbs and two trees over one \
             file end with exit 78 and the line; hasync check-config prints what was understood. \
             Whoever can write it decides what runs as root.",
        ),
    ];
    for (title, text) in sections {
        roff.control("SH", [title]);
        roff.text([roman(text)]);
    }
    roff.control("SH", ["EXAMPLE"]);
    roff.control("nf", []);
    for line in EXAMPLE.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(
        "hasync(8), hasync-check-config(8), hasync-security(7)",
    )]);
    roff.render().into_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_verb_and_option_has_its_place() {
        let pages = pages();
        let whole = args::command();
        for verb in whole.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = format!("hasync-{}.8", verb.get_name());
            let (_, page) = pages.iter().find(|(at, _)| *at == name).unwrap();
            let page = String::from_utf8(page.clone()).unwrap().replace('\\', "");
            for option in verb.get_arguments().filter(|option| !option.is_hide_set()) {
                if let Some(long) = option.get_long() {
                    assert!(page.contains(&format!("--{long}")), "{name}: --{long}");
                }
            }
        }
        let (_, toml) = pages
            .iter()
            .find(|(name, _)| name == "hasync.toml.5")
            .unwrap();
        let toml = String::from_utf8(toml.clone()).unwrap();
        assert!(toml.contains("last_push = "), "{toml}");
    }
}
