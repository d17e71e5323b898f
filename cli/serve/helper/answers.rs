//! The helper's end: a process that answers until it is asked no more.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use hasync_engine::{Accounts, IdKind, OwnAccounts, Rights};

use super::hands::Hands;
use super::message::{receive, send};
use super::{VERB, askable};
use crate::serve::check::run_check;

/// Words that take a right away, before the command of the check.
const NO_DEVICES: &str = "--no-devices";
const NO_SETUID: &str = "--no-setuid";
const END: &str = "--";

/// The words after the verb.
pub(super) fn words(rights: Rights, check: Option<&str>) -> Vec<&str> {
    let refused = [(rights.devices, NO_DEVICES), (rights.setuid, NO_SETUID)];
    let refused = refused.iter().filter(|(is_allowed, _)| !is_allowed);
    let refused = refused.map(|(_, word)| *word);
    refused.chain([END]).chain(check).collect()
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
    let check = words.next().map(OsString::into_vec);
    let check = check.map(|check| String::from_utf8_lossy(&check).into_owned());
    let mut node = Node {
        check,
        hands: Hands::new(rights),
    };
    let end = io::stdin();
    loop {
        let Ok((question, dir)) = receive(&end) else {
            return Some(ExitCode::SUCCESS);
        };
        if question.is_empty() {
            return Some(ExitCode::SUCCESS);
        }
        if let Some(answer) = node.answer(&question, dir)
            && send(&end, answer.as_bytes(), None).is_err()
        {
            return Some(ExitCode::SUCCESS);
        }
    }
}

/// What is asked.
struct Node {
    /// The command of `[peer] check`.
    check: Option<String>,
    hands: Hands,
}

impl Node {
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

    fn found(&mut self, question: &str) -> Result<Option<String>, String> {
        let (verb, who) = question.split_once(' ').unwrap_or((question, ""));
        match verb {
            "check" if who.is_empty() => {
                let check = self.check.as_deref().map_or(Ok(()), run_check);
                check.map(|()| Some(String::new()))
            }
            "uid" => id(IdKind::User, who),
            "gid" => id(IdKind::Group, who),
            "user" => name(IdKind::User, who),
            "group" => name(IdKind::Group, who),
            _ => Err("it is not asked that".to_owned()),
        }
    }
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

    fn answer(question: &str, check: Option<&str>) -> String {
        let mut node = Node {
            check: check.map(str::to_owned),
            hands: Hands::new(Rights::default()),
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
        ] {
            assert_eq!(answer(question, None), expected, "{question:?}");
        }
        for question in [
            "",
            "sh -c id",
            "check /bin/sh",
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
            let answer = answer(question, None);
            assert!(answer.starts_with('!'), "{question:?}: {answer}");
        }
    }

    #[test]
    fn the_check_is_the_one_that_it_was_started_with() {
        assert_eq!(answer("check", Some("true")), "=");
        let refusal = answer("check", Some("echo is full >&2; exit 3"));
        assert!(
            refusal.starts_with('!') && refusal.contains("is full"),
            "{refusal}"
        );
        assert!(!refusal.contains('\n'));
    }
}
