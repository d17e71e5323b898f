//! Telling people: one notice, by every way that the configuration names. A notice says in one
//! line what happened and in a second what to do. A way that fails is told on standard error and
//! holds up neither the others nor the run.

mod letter;
mod limit;
mod mail;
mod syslog;

use std::io::Write;
use std::time::{Duration, SystemTime};

use hasync_engine::{Place, escape};

use crate::config::{Config, Event};
use crate::exit;
use crate::out;
use crate::shell;
use crate::times;

use letter::Letter;

/// How long the pager, sendmail and the smarthost may each take.
const WAY_TIME: Duration = Duration::from_secs(30);

/// What is told.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) event: Event,
    /// The tree that it is about; `None` for the node.
    pub(crate) tree: Option<String>,
    /// What happened, in one line.
    pub(crate) line: String,
    /// What to do now.
    pub(crate) next: String,
}

/// Tells `notice` to whoever wants to know, unless they were told the same a short while ago.
pub(crate) fn tell(config: &Config, notice: &Notice) {
    let notify = &config.notify;
    if !notify.on.contains(&notice.event) {
        return;
    }
    let key = match &notice.tree {
        Some(tree) => format!("{} {tree}", notice.event.name()),
        None => notice.event.name().to_owned(),
    };
    let repeat = match notice.event {
        // Each of these is news.
        Event::Promotion | Event::Demotion | Event::Recovery => Duration::ZERO,
        _ => notify.repeat.0,
    };
    let Some(held_back) = limit::pass(&config.node.state, &key, repeat) else {
        return;
    };
    if notice.event == Event::Recovery {
        // What goes wrong from now on goes wrong anew.
        limit::forget(&config.node.state);
    }
    for failure in send(config, notice, held_back) {
        out::error(&failure);
    }
}

/// Sends `notice` every way, whatever was told before; gives what went wrong, a line each.
pub(crate) fn send(config: &Config, notice: &Notice, held_back: u64) -> Vec<String> {
    let letter = Letter::new(notice, &config.node.name, held_back);
    let notify = &config.notify;
    let mut failures = Vec::new();
    let mut fail = |way: &str, outcome: Result<(), String>| {
        if let Err(why) = outcome {
            failures.push(format!("cannot send a notice by {way}: {why}"));
        }
    };
    if let Some(file) = &notify.log {
        let way = format!("log {}", escape(file.0.as_os_str().as_encoded_bytes()));
        fail(&way, append(&file.0, &letter));
    }
    if notify.syslog {
        fail("syslog", syslog::send(&letter, syslog::SOCKET.as_ref()));
    }
    if let Some(command) = &notify.command {
        let way = format!("command \"{}\"", escape(command.0.as_bytes()));
        fail(&way, page(&command.0, &letter));
    }
    if let Some(way) = &notify.mail {
        fail("mail", mail::send(way, &letter, WAY_TIME));
    }
    failures
}

/// Runs the pager: the text on its standard input, the parts in variables.
fn page(command: &str, letter: &Letter<'_>) -> Result<(), String> {
    let place = Place::Variable;
    let variables = [
        ("HASYNC_EVENT", letter.event().name()),
        ("HASYNC_NODE", &letter.node(place)),
        ("HASYNC_TREE", letter.tree()),
        ("HASYNC_LINE", &letter.line(place)),
        ("HASYNC_NEXT", &letter.next(place)),
    ];
    let text = letter.text(Place::Line);
    let ended = shell::run(command, &variables, text.as_bytes(), WAY_TIME)?;
    if ended.code == 0 {
        Ok(())
    } else {
        Err(ended.shown())
    }
}

/// One line of the log file, in one write, so that two writers do not mix.
fn append(file: &std::path::Path, letter: &Letter<'_>) -> Result<(), String> {
    let time = times::rfc3339(SystemTime::now());
    let (subject, next) = (letter.subject(Place::Line), letter.next(Place::Line));
    let line = format!("{time} {subject}; {next}\n");
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    let written = options
        .open(file)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    written.map_err(|cause| exit::cause(&cause))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_pager_is_started_however_long_and_odd_the_words_are() {
        let dir = tempfile::tempdir().unwrap();
        let got = dir.path().join("got");
        let command = format!(
            "printf %s \"$HASYNC_LINE\" > {}; cat > /dev/null",
            got.display()
        );
        // More than one word of an environment may hold, as it is and escaped.
        for words in ["\0", "-n \x1b[2J", "why not ", "\u{202e}"].map(|word| word.repeat(50_000)) {
            let notice = Notice {
                event: Event::Failure,
                tree: None,
                line: format!("{words}: refused"),
                next: words.clone(),
            };
            page(&command, &Letter::new(&notice, "foo0", 0)).unwrap();
            let got = std::fs::read_to_string(&got).unwrap();
            assert!(got.ends_with(": refused") && !got.starts_with('-'), "{got}");
            assert!(
                !got.contains(|c: char| c.is_control() || c == '\u{202e}'),
                "{got}"
            );
        }
    }
}
