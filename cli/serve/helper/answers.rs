//! The helper's end: a process that answers until it is asked no more.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use hasync_engine::{Accounts, IdKind, OwnAccounts, Rights};

use super::hands::Hands;
use super::message::{MESSAGE_LEN_MAX, receive, send};
use super::{HAS_SERVICE, VERB, askable, last_push};
use crate::config::{Config, RoleTest};
use crate::exit::{Exit, Failure};
use crate::role::{self, Role};
use crate::serve::check::run_check;
use crate::serve::check_of;
use crate::state;
use crate::state::record::Doing;

/// Words that take a right away, before the file of the configuration.
const NO_DEVICES: &str = "--no-devices";
const NO_SETUID: &str = "--no-setuid";
const END: &str = "--";

/// The words after the verb.
pub(super) fn words(rights: Rights, config: Option<&Config>) -> Vec<OsString> {
    let refused = [(rights.devices, NO_DEVICES), (rights.setuid, NO_SETUID)];
    let refused = refused.iter().filter(|(is_allowed, _)| !is_allowed);
    let words = refused.map(|(_, word)| *word).chain([END]);
    let file = config.map(|config| config.file.clone().into_os_string());
    words.map(OsString::from).chain(file).collect()
}

/// Is the helper, if that is what this process was started for: answers until it is asked no more.
pub(crate) fn run_if_asked(words: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut words = words.into_iter().skip(1);
    if words.next()? != VERB {
        return None;
    }
    let mut rights = Rights::default();
    for word in words.by_ref().take_while(|word| word != END) {
        match word.to_str() {
            Some(NO_DEVICES) => rights.devices = false,
            Some(NO_SETUID) => rights.setuid = false,
            _ => return Some(ExitCode::FAILURE),
        }
    }
    let config = match words
        .next()
        .map(|file| Config::load(Some(Path::new(&file))))
    {
        None => None,
        Some(Ok(config)) => Some(config),
        // A check that cannot be read is not passed.
        Some(Err(_)) => return Some(ExitCode::FAILURE),
    };
    let hands = Hands::new(rights);
    let mut node = Node {
        config,
        hands,
        is_told: false,
    };
    node.answer_all(&io::stdin());
    // A receiver that has left without a word may have left a commit half done.
    if let Some(config) = node.config.as_ref().filter(|_| !node.is_told) {
        state::note(config);
    }
    Some(ExitCode::SUCCESS)
}

/// What is asked.
struct Node {
    /// The configuration, read when the receiver read it.
    config: Option<Config>,
    hands: Hands,
    /// How the last push ended has been told.
    is_told: bool,
}

impl Node {
    /// Until it is asked no more.
    fn answer_all(&mut self, end: &io::Stdin) {
        let mut question = Vec::new();
        while let Ok(dir) = receive(end, &mut question, MESSAGE_LEN_MAX) {
            if question.is_empty() {
                return;
            }
            if let Some(answer) = self.answer(&question, dir)
                && send(end, answer.as_bytes(), None).is_err()
            {
                return;
            }
        }
    }

    /// `=` and what was found, `-` for nobody, `!` and why there is no answer; nothing to what is
    /// only told. Whatever came along with the question is let go again.
    fn answer(&mut self, question: &[u8], dir: Option<OwnedFd>) -> Option<String> {
        let found = match (question, dir, question.strip_prefix(b"set ")) {
            (b"place", Some(dir), _) => {
                // Where it is none, each change in it will say so.
                let _ = self.hands.add(dir);
                return None;
            }
            (b"settle", None, _) => {
                self.hands.settle();
                return None;
            }
            (question, None, _) if question.starts_with(b"over ") => {
                self.over(&String::from_utf8_lossy(question));
                return None;
            }
            (_, Some(dir), Some(change)) => done(self.hands.set(&dir, change)),
            (_, None, _) => self.found(&String::from_utf8_lossy(question)),
            _ => Err("it is not asked that".to_owned()),
        };
        Some(match found {
            Ok(Some(found)) => format!("={found}"),
            Ok(None) => "-".to_owned(),
            Err(why) => format!("!{why}"),
        })
    }

    /// Whether this node has the service; nobody knows by what is recorded alone. Without it, the
    /// last push may be `wanted`, and a process that this one does not wait for looks after that.
    fn service(&self, wanted: bool) -> Result<Option<String>, String> {
        let Some(config) = &self.config else {
            return Ok(None);
        };
        if config.role == RoleTest::Recorded {
            return Ok(None);
        }
        let found = role::find(config).map_err(|failure| failure.message)?;
        if found.role == Role::Primary {
            return Ok(Some(HAS_SERVICE.to_owned()));
        }
        if wanted {
            last_push::grant(config).map_err(|failure| failure.message)?;
        }
        Ok(Some("no".to_owned()))
    }

    /// A push of a tree is over: that is a state of this node.
    fn over(&mut self, told: &str) {
        self.is_told = true;
        let mut words = told.splitn(4, ' ').skip(1);
        let (tree, code, line) = (words.next(), words.next(), words.next());
        let Some(config) = &self.config else { return };
        let Ok(tree) = config.tree(tree.unwrap_or_default()) else {
            return;
        };
        // Whatever cannot be remembered, the push itself is over.
        let _ = match code.and_then(|code| code.parse().ok()) {
            Some(0) => state::clear(config, tree, None),
            Some(code) => own_refusal(code).map_or(Ok(()), |exit| {
                let failure = Failure::new(exit, line.unwrap_or_default());
                let next = state::advice_on_standby(tree, exit);
                state::put(config, tree, Doing::Receiving, &failure, next)
            }),
            None => Ok(()),
        };
        state::note(config);
    }

    fn found(&mut self, question: &str) -> Result<Option<String>, String> {
        let (verb, who) = question.split_once(' ').unwrap_or((question, ""));
        match verb {
            "check" if who.is_empty() => {
                let check = check_of(self.config.as_ref()).map_or(Ok(()), run_check);
                check.map(|()| Some(String::new()))
            }
            "service" if who.is_empty() => self.service(false),
            "last-push" if who.is_empty() => self.service(true),
            "uid" => id(IdKind::User, who),
            "gid" => id(IdKind::Group, who),
            "user" => name(IdKind::User, who),
            "group" => name(IdKind::Group, who),
            _ => Err("it is not asked that".to_owned()),
        }
    }
}

/// What this node has refused by itself, by its exit code: the rest is the link's or the peer's.
fn own_refusal(code: u8) -> Option<Exit> {
    let own = [
        Exit::Fenced,
        Exit::Diverged,
        Exit::NoSpace,
        Exit::FileIo,
        Exit::Config,
        Exit::DeleteLimit,
    ];
    own.into_iter().find(|exit| *exit as u8 == code)
}

/// Nothing to be told, or the number of the error: it has a number for all but a few.
fn done(changed: io::Result<()>) -> Result<Option<String>, String> {
    match changed {
        Ok(()) => Ok(None),
        Err(e) => match e.raw_os_error() {
            Some(errno) => Ok(Some(errno.to_string())),
            None => Err(e.to_string()),
        },
    }
}

fn id(kind: IdKind, who: &str) -> Result<Option<String>, String> {
    let Some(who) = askable(who.as_bytes()) else {
        return Ok(None);
    };
    let found = OwnAccounts.id(kind, who.as_bytes())?;
    Ok(found.map(|id| id.to_string()))
}

fn name(kind: IdKind, who: &str) -> Result<Option<String>, String> {
    let Ok(id) = who.parse() else {
        return Err("that is no number".to_owned());
    };
    let found = OwnAccounts.name(kind, id)?;
    // One that would break the line is nobody's that could be meant.
    Ok(found.and_then(|name| askable(&name).map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(question: &str, lines: &str) -> String {
        let file = Path::new("/hasync.toml");
        let mut node = Node {
            config: Some(Config::parse(file, lines).unwrap()),
            hands: Hands::new(Rights::default()),
            is_told: false,
        };
        node.answer(question.as_bytes(), None).unwrap()
    }

    #[test]
    fn fixed_questions_alone_are_answered() {
        for (question, expected) in [
            ("uid root", "=0"),
            ("gid root", "=0"),
            ("user 0", "=root"),
            ("group 0", "=root"),
            ("uid nobody here", "-"),
            ("uid ", "-"),
            ("uid a\tb", "-"),
            ("check", "="),
            ("service", "-"),
            ("last-push", "-"),
        ] {
            assert_eq!(answer(question, ""), expected, "{question:?}");
        }
        for question in [
            "",
            "sh -c id",
            "check /bin/sh",
            "service now",
            "last-push --force",
            "user root",
            "user -1",
            "user 4294967296",
            "UID root",
            "uid\troot",
            "place",
            "place /",
            "settle now",
            "set - - 511 - x",
        ] {
            let answer = answer(question, "");
            assert!(answer.starts_with('!'), "{question:?}: {answer}");
        }
    }

    #[test]
    fn the_service_is_where_the_role_says() {
        for (role, expected) in [
            ("command = \"true\"", "=yes"),
            ("command = \"false\"", "=no"),
            ("command = \"true\"\nexpect = \"primary\"", "=no"),
        ] {
            assert_eq!(
                answer("service", &format!("[role]\n{role}")),
                expected,
                "{role}"
            );
        }
        let broken = answer(
            "service",
            "[role]\ncommand = \"exit 1\"\nexpect = \"primary\"",
        );
        assert!(broken.starts_with('!'), "{broken}");
    }

    #[test]
    fn the_check_is_the_one_that_it_was_started_with() {
        assert_eq!(answer("check", "[peer]\ncheck = \"true\""), "=");
        let refusal = answer("check", "[peer]\ncheck = \"echo is full >&2; exit 3\"");
        assert!(
            refusal.starts_with('!') && refusal.contains("is full"),
            "{refusal}"
        );
        assert!(!refusal.contains('\n'));
    }
}
