//! What a confined receiver asks of its node: whether it is ready, whether it has the service, who
//! bears a name, and that the metadata of a symlink or device be set. The first three may take
//! programs, sockets and libraries that the receiver cannot reach, the last a call that it has
//! given up, so a process of its own answers, started before: this very binary. It knows a few
//! fixed questions, and takes no path from anybody. It ends when the receiver does.
//!
//! This file is the receiver's end.

mod answers;
mod hands;
mod last_push;
mod message;

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hasync_engine::{
    self as engine, Accounts, Attrs, ByName, IdKind, Inode, Over, Ready, Rights, ServePolicy,
    Service, Wish,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::io::Errno;

use self::message::{ANSWER_LEN_MAX, MESSAGE_LEN_MAX, ends, receive, send};
use super::check::CHECK_TIME;
use crate::config::Config;
use crate::exit::Failure;
use crate::{exit, itself};

pub(crate) use self::answers::run_if_asked;

/// The verb that makes a process the helper. Not for people, so the parser does not know it.
const VERB: &str = "serve-helper";

/// Longest name that is looked up, in bytes.
const NAME_LEN_MAX: usize = 256;

/// As much as is told of how a push ended, in bytes.
const OVER_LEN_MAX: usize = 1000;

/// How long a look-up may take: directory services are slow when they cannot reach their server.
const LOOK_UP_TIME: Duration = Duration::from_secs(60);
/// How long a change may take: its file system may be on another host.
const CHANGE_TIME: Duration = Duration::from_secs(60);
/// How long the test of the role may take: whoever asks does not wait that long.
const SERVICE_TIME: Duration = Duration::from_secs(60);
/// The answer of a node that has the service.
const HAS_SERVICE: &str = "yes";
/// What the check may take besides its own time: it is ended in two steps.
const CHECK_GRACE: Duration = Duration::from_secs(5);

/// The receiver's end.
#[derive(Debug)]
pub(super) struct Helper {
    way: Mutex<Way>,
}

#[derive(Debug)]
enum Way {
    Open(OwnedFd),
    /// It could not be started, left, or did not answer in time; a late answer must not be taken
    /// for that to the next question.
    Lost(String),
}

impl Helper {
    /// Starts it, and waits for nothing. It goes by this configuration; no peer has more than these
    /// rights.
    pub(super) fn start(config: Option<&Config>, rights: Rights) -> Self {
        let way = itself::command()
            .map_err(|failure| failure.message)
            .and_then(|command| launch(command, config, rights))
            .unwrap_or_else(|why| {
                Way::Lost(format!("the helper process cannot be started: {why}"))
            });
        Helper {
            way: Mutex::new(way),
        }
    }

    /// Has it answer whatever a receiver by this policy asks of its node.
    pub(super) fn answer_for(self: &Arc<Self>, policy: &mut ServePolicy) {
        let asked = Arc::clone(self);
        policy.ready = policy
            .ready
            .take()
            .map(|_| Ready(Arc::new(move || asked.check())));
        let asked = Arc::clone(self);
        policy.service = Some(Service(Arc::new(move |wish| asked.service(wish))));
        policy.accounts = Arc::clone(self) as Arc<dyn Accounts>;
        let told = Arc::clone(self);
        policy.over = Some(Over(Arc::new(move |tree, why| told.over(tree, why))));
    }

    /// Has it change metadata below these directories from now on, and nowhere else for good.
    /// Should it be lost, each change will say so.
    ///
    /// There is no answer to wait for, while it may still be starting: it hears this before
    /// anything that is asked later.
    pub(super) fn settle<'a>(&self, places: impl Iterator<Item = BorrowedFd<'a>>) {
        for place in places {
            self.tell(b"place", Some(place));
        }
        self.tell(b"settle", None);
    }

    /// Says how the push of a tree ended, for the state of this node.
    fn over(&self, tree: &str, why: Option<&engine::Error>) {
        let failure = why.cloned().map(Failure::from);
        let (code, line) = failure.map_or((0, String::new()), |failure| {
            (failure.exit as u8, failure.message)
        });
        let mut message = format!("over {tree} {code} {line}");
        let end = (0..=OVER_LEN_MAX)
            .rev()
            .find(|at| message.is_char_boundary(*at));
        message.truncate(end.unwrap_or(0));
        self.tell(message.as_bytes(), None);
    }

    fn tell(&self, message: &[u8], dir: Option<BorrowedFd<'_>>) {
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Way::Open(end) = &*way
            && let Err(why) = put(end, message, dir, Instant::now() + CHANGE_TIME)
        {
            *way = Way::Lost(format!("the helper process {why}"));
        }
    }

    /// Whether the check of `[peer]` lets this node receive.
    pub(super) fn check(&self) -> Result<(), String> {
        self.ask("check", CHECK_TIME + CHECK_GRACE).map(|_| ())
    }

    /// Whether this node has the service, by `[role]`; `None` if that does not tell.
    fn service(&self, wish: Wish) -> Option<bool> {
        let question = match wish {
            Wish::Nothing | Wish::Terms => return None,
            Wish::Service => "service",
            Wish::LastPush => "last-push",
        };
        let answer = self.ask(question, SERVICE_TIME).ok().flatten()?;
        Some(answer == HAS_SERVICE)
    }

    /// The answer to one question; `None` for nobody.
    fn ask(&self, question: &str, limit: Duration) -> Result<Option<String>, String> {
        self.ask_with(question.as_bytes(), None, limit)
    }

    fn ask_with(
        &self,
        question: &[u8],
        dir: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> Result<Option<String>, String> {
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        let end = match &*way {
            Way::Open(end) => end,
            Way::Lost(why) => return Err(why.clone()),
        };
        match exchange(end, question, dir, limit) {
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

fn launch(mut command: Command, config: Option<&Config>, rights: Rights) -> Result<Way, String> {
    let (own, its) = ends().map_err(|e| exit::cause(&e.into()))?;
    let child = command
        .arg0("hasync")
        .arg(VERB)
        .args(answers::words(rights, config))
        .stdin(its)
        // What the receiver was given is held open by nobody else.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child.map_err(|cause| exit::cause(&cause))?;
    Ok(Way::Open(own))
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

impl ByName for Helper {
    fn set_attrs(
        &self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        judged: &Inode,
        attrs: &Attrs,
    ) -> io::Result<()> {
        let question = [b"set ", &*hands::encode(name, judged, attrs)].concat();
        if question.len() > MESSAGE_LEN_MAX {
            let max = MESSAGE_LEN_MAX / 1024;
            return Err(io::Error::other(format!(
                "its attributes have more than {max} KiB, too many for what is no file"
            )));
        }
        let answer = self.ask_with(&question, Some(dir), CHANGE_TIME);
        match answer.map_err(io::Error::other)?.as_deref() {
            None | Some("") => Ok(()),
            Some(errno) => Err(errno.parse().map_or(
                io::ErrorKind::InvalidData.into(),
                io::Error::from_raw_os_error,
            )),
        }
    }
}

/// Asks, and waits for the answer. The error has no subject.
fn exchange(
    end: &OwnedFd,
    question: &[u8],
    dir: Option<BorrowedFd<'_>>,
    limit: Duration,
) -> Result<String, String> {
    let deadline = Instant::now() + limit;
    put(end, question, dir, deadline)?;
    if !wait_for(end, PollFlags::IN, deadline).map_err(failed)? {
        return Err(format!("did not answer within {} s", limit.as_secs()));
    }
    // It says nothing that it was not asked: there is one message at most to be read.
    let mut answer = Vec::new();
    match receive(end, &mut answer, ANSWER_LEN_MAX) {
        Ok(_) if answer.is_empty() => Err("has left".to_owned()),
        Ok(_) => String::from_utf8(answer).map_err(|_| "says what is no text".to_owned()),
        Err(Errno::MSGSIZE) => Err("says more than it may".to_owned()),
        Err(e) => Err(failed(e)),
    }
}

/// Sends a message. The error has no subject.
fn put(
    end: &OwnedFd,
    message: &[u8],
    dir: Option<BorrowedFd<'_>>,
    deadline: Instant,
) -> Result<(), String> {
    if !wait_for(end, PollFlags::OUT, deadline).map_err(failed)? {
        return Err("does not listen".to_owned());
    }
    send(end, message, dir).map_err(failed)
}

fn wait_for(end: &OwnedFd, event: PollFlags, deadline: Instant) -> Result<bool, Errno> {
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()));
        match poll(&mut [PollFd::new(end, event)], left.ok().as_ref()) {
            Err(Errno::INTR) => {}
            result => return result.map(|ready| ready > 0),
        }
    }
}

fn failed(e: Errno) -> String {
    format!("cannot be asked: {}", exit::cause(&e.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::fd::AsFd;

    use super::*;

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
        const TOO_LONG: &[u8] = &[b'='; 5000];
        for (says, reason) in [
            (None, "did not answer within 0 s"),
            (Some(&b""[..]), "has left"),
            (Some(TOO_LONG), "more than it may"),
            (Some(b"=\xff"), "no text"),
        ] {
            let (own, its) = ends().unwrap();
            let helper = Helper {
                way: Mutex::new(Way::Open(own)),
            };
            let answers = std::thread::spawn(move || {
                let mut question = Vec::new();
                receive(&its, &mut question, ANSWER_LEN_MAX).unwrap();
                match says {
                    Some(b"") => drop(its),
                    Some(says) => drop(rustix::io::write(&its, says).unwrap()),
                    // Until the receiver has given up.
                    None => {
                        receive(&its, &mut question, ANSWER_LEN_MAX).unwrap();
                        assert_eq!(question, b"");
                    }
                }
            });
            let limit = Duration::from_millis(if says.is_none() { 50 } else { 60_000 });
            let first = helper.ask("uid root", limit);
            assert!(
                first.as_ref().is_err_and(|why| why.contains(reason)),
                "{first:?}"
            );
            assert_eq!(helper.ask("uid root", limit), first);
            let inode = Inode::held(std::io::stdin()).unwrap();
            let attrs = Attrs::default();
            let lost = helper.set_attrs(std::io::stdin().as_fd(), c"x", &inode, &attrs);
            assert!(lost.is_err_and(|e| e.to_string().contains(reason)));
            answers.join().unwrap();
        }
    }
}
