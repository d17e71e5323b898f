//! What a confined receiver asks of its node: whether it is ready, and who bears a name. Both may
//! take programs, sockets and libraries that the receiver cannot reach, so a process of its own
//! answers, started before: this very binary. It knows a few fixed questions, one line each, and
//! takes no path from anybody. It ends when the receiver does.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hasync_engine::{Accounts, IdKind, OwnAccounts, Ready, ServePolicy};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;

use super::check::{CHECK_TIME, run_check};
use crate::{exit, itself};

/// The verb that makes a process the helper. Not for people, so the parser does not know it.
const VERB: &str = "serve-helper";

/// Longest question and answer, in bytes with the end of the line. A name in a question is the
/// peer's.
const LINE_LEN_MAX: u64 = 4096;
const NAME_LEN_MAX: usize = 256;

/// How long a look-up may take: directory services are slow when they cannot reach their server.
const LOOK_UP_TIME: Duration = Duration::from_secs(60);
/// What the check may take besides its own time: it is ended in two steps.
const CHECK_GRACE: Duration = Duration::from_secs(5);

/// The receiver's end.
#[derive(Debug)]
pub(super) struct Helper {
    way: Mutex<Way>,
}

#[derive(Debug)]
enum Way {
    Open(ChildStdin, ChildStdout),
    /// It could not be started, left, or did not answer in time; a late answer must not be taken
    /// for that to the next question.
    Lost(String),
}

impl Helper {
    /// Starts it, and waits for nothing. `check` is the command of `[peer] check`.
    pub(super) fn start(check: Option<&str>) -> Self {
        let way = itself::command()
            .map_err(|failure| failure.message)
            .and_then(|command| launch(command, check))
            .unwrap_or_else(|why| {
                Way::Lost(format!("the helper process cannot be started: {why}"))
            });
        Helper {
            way: Mutex::new(way),
        }
    }

    /// Has it answer whatever a receiver by this policy asks of its node.
    pub(super) fn answer_for(self, policy: &mut ServePolicy) {
        let helper = Arc::new(self);
        let asked = Arc::clone(&helper);
        policy.ready = policy
            .ready
            .take()
            .map(|_| Ready(Arc::new(move || asked.check())));
        policy.accounts = helper;
    }

    /// Whether the check of `[peer]` lets this node receive.
    pub(super) fn check(&self) -> Result<(), String> {
        self.ask("check", CHECK_TIME + CHECK_GRACE).map(|_| ())
    }

    /// The answer to one question; `None` for nobody.
    fn ask(&self, question: &str, limit: Duration) -> Result<Option<String>, String> {
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        let Way::Open(to, from) = &mut *way else {
            let Way::Lost(why) = &*way else {
                return Ok(None);
            };
            return Err(why.clone());
        };
        match exchange(to, from, question, limit) {
            Ok(answer) => match answer.split_at_checked(1) {
                Some(("=", found)) => Ok(Some(found.to_owned())),
                Some(("!", why)) => Err(why.to_owned()),
                _ => Ok(None),
            },
            Err(why) => {
                let why = format!("the helper process {why}");
                *way = Way::Lost(why.clone());
                Err(why)
            }
        }
    }
}

fn launch(mut command: Command, check: Option<&str>) -> Result<Way, String> {
    let child = command
        .arg0("hasync")
        .arg(VERB)
        .args(check)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // What the receiver was given is held open by nobody else.
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.map_err(|cause| exit::cause(&cause))?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(to), Some(from)) => Ok(Way::Open(to, from)),
        _ => Err("it has no pipes".to_owned()),
    }
}

impl Accounts for Helper {
    fn id(&self, kind: IdKind, name: &[u8]) -> Result<Option<u32>, String> {
        let verb = match kind {
            IdKind::User => "uid",
            IdKind::Group => "gid",
        };
        let Some(name) = askable(name) else {
            return Ok(None);
        };
        let found = self.ask(&format!("{verb} {name}"), LOOK_UP_TIME)?;
        Ok(found.and_then(|id| id.parse().ok()))
    }

    fn name(&self, kind: IdKind, id: u32) -> Result<Option<Vec<u8>>, String> {
        let verb = match kind {
            IdKind::User => "user",
            IdKind::Group => "group",
        };
        let found = self.ask(&format!("{verb} {id}"), LOOK_UP_TIME)?;
        Ok(found.map(String::into_bytes))
    }
}

/// A name that somebody on this node can bear: no other is asked for.
fn askable(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let is_fit = (1..=NAME_LEN_MAX).contains(&name.len()) && !name.contains(char::is_control);
    is_fit.then_some(name)
}

/// Asks, and reads one line. The error has no subject.
fn exchange(
    to: &mut ChildStdin,
    from: &mut ChildStdout,
    question: &str,
    limit: Duration,
) -> Result<String, String> {
    let failed = |cause: std::io::Error| format!("cannot be asked: {}", exit::cause(&cause));
    to.write_all(format!("{question}\n").as_bytes())
        .map_err(failed)?;
    let end = Instant::now() + limit;
    let mut line = Vec::new();
    // It says nothing that it was not asked: there is one line at most to be read.
    while line.last() != Some(&b'\n') {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now()));
        let mut fds = [PollFd::new(from, PollFlags::IN)];
        match poll(&mut fds, left.ok().as_ref()) {
            Ok(0) => return Err(format!("did not answer within {} s", limit.as_secs())),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(failed(e.into())),
        }
        let mut piece = [0; 512];
        let len = from.read(&mut piece).map_err(failed)?;
        if len == 0 {
            return Err("has left".to_owned());
        }
        line.extend_from_slice(piece.get(..len).unwrap_or_default());
        if line.len() as u64 > LINE_LEN_MAX {
            return Err("says more than it may".to_owned());
        }
    }
    line.pop();
    String::from_utf8(line).map_err(|_| "says what is no text".to_owned())
}

/// Is the helper, if that is what this process was started for: answers until it is asked no more.
pub(crate) fn run_if_asked(words: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut words = words.into_iter().skip(1);
    if words.next()? != VERB {
        return None;
    }
    let check = words.next().map(OsString::into_vec);
    let check = check.map(|check| String::from_utf8_lossy(&check).into_owned());
    let mut questions = BufReader::new(std::io::stdin().lock());
    let mut answers = std::io::stdout().lock();
    loop {
        let mut line = Vec::new();
        let read = (&mut questions)
            .take(LINE_LEN_MAX)
            .read_until(b'\n', &mut line);
        if read.is_err() || line.pop() != Some(b'\n') {
            return Some(ExitCode::SUCCESS);
        }
        let mut answer = answer(&String::from_utf8_lossy(&line), check.as_deref());
        answer.push('\n');
        if answers.write_all(answer.as_bytes()).is_err() {
            return Some(ExitCode::SUCCESS);
        }
        let _ = answers.flush();
    }
}

/// `=` and what was found, `-` for nobody, `!` and why there is no answer.
fn answer(question: &str, check: Option<&str>) -> String {
    let (verb, who) = question.split_once(' ').unwrap_or((question, ""));
    let found = match verb {
        "check" if who.is_empty() => match check.map_or(Ok(()), run_check) {
            Ok(()) => Ok(Some(String::new())),
            Err(why) => Err(why),
        },
        "uid" => id(IdKind::User, who),
        "gid" => id(IdKind::Group, who),
        "user" => name(IdKind::User, who),
        "group" => name(IdKind::Group, who),
        _ => Err("it is not asked that".to_owned()),
    };
    match found {
        Ok(Some(found)) => format!("={found}"),
        Ok(None) => "-".to_owned(),
        Err(why) => format!("!{why}"),
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

    #[test]
    fn names_that_nobody_can_bear_are_not_asked_for() {
        for name in [&b""[..], b"a\nb", b"a\0b", b"\x1b[m", b"\xff", &[b'x'; 257]] {
            assert_eq!(askable(name), None, "{name:?}");
        }
        for name in ["root", "Domain Users", "j\u{fc}rgen", "a.b-c_d$"] {
            assert_eq!(askable(name.as_bytes()), Some(name));
        }
    }

    #[test]
    fn a_helper_that_is_late_or_leaves_is_asked_no_more() {
        for (script, reason) in [
            ("read line; sleep 60; echo =1", "did not answer within 0 s"),
            ("read line", "has left"),
            (
                "read line; yes | head -c 10000 | tr -d '\\n'",
                "more than it may",
            ),
            ("read line; printf '=\\377\\n'", "no text"),
        ] {
            let mut child = Command::new("sh")
                .args(["-c", script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let (to, from) = (child.stdin.take(), child.stdout.take());
            let way = Way::Open(to.unwrap(), from.unwrap());
            let helper = Helper {
                way: Mutex::new(way),
            };
            let limit = Duration::from_millis(if script.contains("sleep") { 50 } else { 60_000 });
            let first = helper.ask("uid root", limit);
            assert!(
                first.as_ref().is_err_and(|why| why.contains(reason)),
                "{first:?}"
            );
            assert_eq!(helper.ask("uid root", limit), first);
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
