//! Telling people: one notice, by every way that the configuration names. A notice says in one
//! line what happened and in a second what to do. A way that fails is told on standard error and
//! holds up neither the others nor the run.

mod apart;
mod letter;
mod limit;
mod mail;
mod smtp;
mod syslog;
mod teller;

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use hasync_engine::{Place, escape};

use serde::{Deserialize, Serialize};

use crate::config::{Config, Event, Notify};
use crate::exit;
use crate::shell;
use crate::times;

use letter::Letter;

pub(crate) use apart::{run, tell_apart};
pub(crate) use mail::SENDMAIL;
pub(crate) use teller::Teller;

/// How long the pager, sendmail and the smarthost may each take.
const WAY_TIME: Duration = Duration::from_secs(30);
/// How long any way is waited for: a log on a dead file server, a name that nobody resolves.
const LONGEST_WAIT: Duration = Duration::from_secs(35);

/// What is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Notice {
    pub(crate) event: Event,
    /// The tree that it is about; `None` for the node.
    pub(crate) tree: Option<String>,
    /// The exit code that it has.
    pub(crate) exit: u8,
    /// What happened, in one line.
    pub(crate) line: String,
    /// What to do now.
    pub(crate) next: String,
}

/// Tells `notice` to whoever wants to know, unless they were told the same a short while ago; gives
/// what went wrong, a line each.
pub(crate) fn tell(config: &Config, notice: &Notice) -> Vec<String> {
    let notify = &config.notify;
    if !notify.on.contains(&notice.event) {
        return Vec::new();
    }
    let key = limit::key(notice);
    let repeat = match notice.event {
        // Each of these is news.
        Event::Promotion | Event::Demotion | Event::Recovery => Duration::ZERO,
        _ => notify.repeat.0,
    };
    let Some(held_back) = limit::pass(&config.node.state, &key, repeat) else {
        return Vec::new();
    };
    if notice.event == Event::Recovery {
        // What goes wrong from now on goes wrong anew.
        limit::forget(&config.node.state);
    }
    send(config, notice, held_back)
}

/// Sends `notice` every way, whatever was told before; gives what went wrong, a line each. No way
/// waits for another, and none for longer than its time.
pub(crate) fn send(config: &Config, notice: &Notice, held_back: u64) -> Vec<String> {
    let letter = Arc::new(Letter::new(notice, &config.node.name, held_back));
    let deadline = Instant::now() + LONGEST_WAIT;
    let start = |way: Way| {
        let (sender, receiver) = channel();
        let letter = Arc::clone(&letter);
        thread::spawn(move || sender.send((way.send)(&letter)));
        (way.name, receiver)
    };
    let started: Vec<(String, Receiver<_>)> = ways(&config.notify).into_iter().map(start).collect();
    let mut failures = Vec::new();
    for (way, outcome) in started {
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = outcome.recv_timeout(left);
        let seconds = LONGEST_WAIT.as_secs();
        if let Err(why) = outcome.unwrap_or_else(|_| Err(format!("it hung for {seconds} s"))) {
            failures.push(format!("cannot send a notice by {way}: {why}"));
        }
    }
    failures
}

/// One way to tell people something.
struct Way {
    name: String,
    send: SendLetter,
}

type SendLetter = Box<dyn FnOnce(&Letter) -> Result<(), String> + Send>;

/// The ways of the configuration.
fn ways(notify: &Notify) -> Vec<Way> {
    let mut ways = Vec::new();
    let mut add = |name: String, send: SendLetter| ways.push(Way { name, send });
    if let Some(file) = notify.log.clone() {
        let name = format!("log {}", escape(file.0.as_os_str().as_encoded_bytes()));
        add(
            name,
            Box::new(move |letter: &Letter| append(&file.0, letter)),
        );
    }
    if notify.syslog {
        let send = |letter: &Letter| syslog::send(letter, syslog::SOCKET.as_ref());
        add("syslog".to_owned(), Box::new(send));
    }
    if let Some(command) = notify.command.clone() {
        let name = format!("command \"{}\"", escape(command.0.as_bytes()));
        add(
            name,
            Box::new(move |letter: &Letter| page(&command.0, letter)),
        );
    }
    if let Some(way) = notify.mail.clone() {
        let send = move |letter: &Letter| mail::send(&way, letter, WAY_TIME);
        add("mail".to_owned(), Box::new(send));
    }
    ways
}

/// Runs the pager: the text on its standard input, the parts in variables.
fn page(command: &str, letter: &Letter) -> Result<(), String> {
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
fn append(file: &std::path::Path, letter: &Letter) -> Result<(), String> {
    let time = times::rfc3339(SystemTime::now());
    let (subject, next) = (letter.subject(Place::Line), letter.next(Place::Line));
    let line = format!("{time} {subject}; {next}\n");
    let mut log = hasync_engine::open_log(file, 0o640).map_err(|fault| fault.to_string())?;
    log.write_all(line.as_bytes())
        .map_err(|cause| exit::cause(&cause))
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
                exit: 0,
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
