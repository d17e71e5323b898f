//! `hasync man DIR` and `hasync help TOPIC`: the manual. The pages of the verbs are made from what
//! `--help` says, so that they cannot say anything else; the others are written, in Markdown.

mod markdown;
mod roff;
mod text;

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use hasync_engine::{Existing, make_dirs, put_file};

use crate::args::{self, CompletionsArgs, HelpArgs, ManArgs};
use crate::exit::{Exit, Failure};
use crate::out;

/// Pages that are written. The first line of each has its name.
const WRITTEN: [&str; 10] = [
    include_str!("manual/hasync-ha.md"),
    include_str!("manual/hasync-trees.md"),
    concat!(
        include_str!("manual/hasync.toml.md"),
        "\n```toml\n",
        include_str!("examples/hasync.toml"),
        "```\n"
    ),
    include_str!("manual/hasync-rsync.md"),
    include_str!("manual/hasync-state.md"),
    include_str!("manual/hasync-exit.md"),
    include_str!("manual/hasync-security.md"),
    include_str!("manual/hasync-internals.md"),
    include_str!("manual/hasync-speed.md"),
    include_str!("manual/hasync-delta.md"),
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
        written.map_err(|e| Failure::cannot(format!("write {}", path.display()), &e))?;
    }
    Ok(Exit::Ok)
}

/// Prints what completes words in a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(), "hasync", &mut script);
    out::help(&String::from_utf8_lossy(&script), Exit::Ok)
}

/// Prints a page of the manual as text, or which pages there are.
pub(crate) fn help(args: &HelpArgs) -> Result<Exit, Failure> {
    let Some(topic) = &args.topic else {
        return out::help(&contents(), Exit::Ok);
    };
    let word = plain_topic(topic);
    let word = word.as_str();
    let verb = args::help_of(word).into_iter();
    let about = ABOUT.iter().filter(|(verb, _)| *verb == word);
    let about = about.map(|(_, about)| text::from_markdown(about));
    let written = WRITTEN.iter().filter(|page| topic_of(page) == word);
    let written = written.map(|page| text::from_markdown(page));
    let found: Vec<String> = verb.chain(about).chain(written).collect();
    match (found.is_empty(), word.is_empty()) {
        (false, _) => out::help(&found.join("\n"), Exit::Ok),
        (true, true) => out::help(&contents(), Exit::Ok),
        (true, false) => {
            let topics: Vec<&str> = WRITTEN.iter().map(|page| topic_of(page)).collect();
            let topics = topics.join(", ");
            Err(Failure::usage(format!(
                "no page is about '{topic}'; there is one about each verb, and about {topics}"
            )))
        }
    }
}

/// Whoever types `hasync-ha(7)`, `hasync-ha.7` or `HA` means `ha`.
fn plain_topic(topic: &str) -> String {
    let word = topic.to_lowercase();
    let word = word.split('(').next().unwrap_or(&word);
    let word = match word.rsplit_once('.') {
        Some((name, section)) if section.parse::<u8>().is_ok() => name,
        _ => word,
    };
    let word = word.strip_prefix("hasync").unwrap_or(word);
    word.trim_start_matches(['-', '.', ' ']).to_owned()
}

/// The verbs, and behind them the other pages.
fn contents() -> String {
    let mut text = args::command().render_help().to_string();
    text.push_str("\nPages of the manual, by hasync help TOPIC:\n");
    for page in WRITTEN {
        let (_, about) = title_of(page);
        text.push_str(&format!("  {:9}  {about}\n", topic_of(page)));
    }
    text
}

/// `hasync-ha(7)` and what the page is about.
fn title_of(page: &str) -> (&str, &str) {
    let title = page.lines().next().unwrap_or_default();
    title
        .trim_start_matches("# ")
        .split_once(": ")
        .unwrap_or((title, ""))
}

/// `ha` of `hasync-ha(7)`.
fn topic_of(page: &str) -> &str {
    let (name, _) = title_of(page);
    let name = name.split('(').next().unwrap_or(name);
    name.get("hasync-".len()..).unwrap_or(name)
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
    pages.extend(WRITTEN.map(|text| {
        let (name, _) = title_of(text);
        let file = name.replace('(', ".").replace(')', "");
        (file, roff::from_markdown(text).into_bytes())
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
    #[test]
    fn a_page_is_found_by_any_of_its_names() {
        for (typed, topic) in [
            ("ha", "ha"),
            ("HA", "ha"),
            ("ha.7", "ha"),
            ("ha(7)", "ha"),
            ("hasync-ha", "ha"),
            ("hasync-ha.7", "ha"),
            ("Hasync-HA(7)", "ha"),
            ("hasync.toml", "toml"),
            ("hasync.toml.5", "toml"),
            ("hasync.toml(5)", "toml"),
            ("toml", "toml"),
            ("hasync-pair.8", "pair"),
            ("check-config", "check-config"),
            ("hasync check-config", "check-config"),
            ("hasync", ""),
            ("hasync.8", ""),
        ] {
            assert_eq!(plain_topic(typed), topic, "{typed}");
        }
    }

    #[test]
    fn every_page_is_one_of_the_contents_and_fits_a_terminal() {
        let contents = contents();
        for page in WRITTEN {
            let (topic, (name, about)) = (topic_of(page), title_of(page));
            assert!(contents.contains(&format!("  {topic}")), "{contents}");
            assert!(name.starts_with("hasync") && name.ends_with(')'), "{name}");
            assert!(!about.is_empty());
            let text = text::from_markdown(page);
            for line in text.lines().filter(|_| topic != "toml") {
                assert!(line.chars().count() <= 80, "{name}: {line}");
            }
        }
        for line in contents.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
