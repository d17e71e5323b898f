//! The other node, at the end of one login by the program ssh: it may ask for a password, and knows
//! agents and jump hosts. There `hasync pair --far-half` answers requests, one line each.

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use hasync_transport::ssh::{PublicHalf, quoted};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::files::Admission;
use super::node::{Introduction, Node, Terms, Tried, checked};
use crate::args::PairArgs;
use crate::exit::{Exit, Failure, cause};
use crate::target;

/// What each answer begins with: a shell's start files may print lines of their own.
const MARK: &str = "hasync-pair: ";

/// What is asked of the other node.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Greet,
    Configure { file: Option<PathBuf>, text: String },
    Report,
    Introduce(Terms),
    Look,
    Knows(String),
    Believe(String),
    Admit { key: String, node: String },
    Attempt,
}

/// An answer, or the exit code and the words of what failed.
type Answer<T> = Result<T, (u8, String)>;

/// The other node.
pub(super) struct Far {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    host: String,
    program: String,
    /// The command that copies this program there.
    scp: String,
}

impl Far {
    /// Begins to log in.
    pub(super) fn login(node: &Node, args: &PairArgs) -> Result<Self, Failure> {
        let (host, port) = node.login()?;
        let program = args.remote_bin.as_deref().unwrap_or(node.remote_bin());
        let mut ssh = Command::new("ssh");
        if let Some(file) = node.known_hosts().and_then(|file| file.to_str())
            && !file.contains(char::is_whitespace)
        {
            let known = format!("UserKnownHostsFile={file} ~/.ssh/known_hosts");
            ssh.args(["-o", &known]);
        }
        if let Some(port) = port {
            ssh.args(["-p", &port.to_string()]);
        }
        let started = ssh
            .args(["-T", "--", &host])
            .arg(format!("{} pair --far-half", quoted(program)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = started.map_err(|e| {
            let why = cause(&e);
            let message = format!("cannot start the program ssh for the login: {why}; install it");
            Failure::new(Exit::Unreachable, message)
        })?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new(Exit::FileIo, "ssh has no input and output"));
        };
        Ok(Far {
            child,
            requests: Some(requests),
            answers: BufReader::new(answers),
            scp: target::scp(&host, port, &own_program(), "/usr/local/bin/hasync"),
            host,
            program: program.to_owned(),
        })
    }

    /// Sees that the login has come to the program there.
    pub(super) fn greet(&mut self) -> Result<(), Failure> {
        self.ask(&Request::Greet)
    }

    /// As it was reached.
    pub(super) fn name(&self) -> &str {
        &self.host
    }

    /// Gives it a configuration, in the place of the one here.
    pub(super) fn configure(&mut self, node: &Node, text: &str) -> Result<bool, Failure> {
        let (file, text) = (node.terms().config, text.to_owned());
        self.ask(&Request::Configure { file, text })
    }

    pub(super) fn report(&mut self) -> Result<String, Failure> {
        self.ask(&Request::Report)
    }

    pub(super) fn introduce(&mut self, terms: &Terms) -> Result<Introduction, Failure> {
        self.ask(&Request::Introduce(terms.clone()))
    }

    pub(super) fn look(&mut self) -> Result<PublicHalf, Failure> {
        let line: String = self.ask(&Request::Look)?;
        checked(&line)
    }

    pub(super) fn knows(&mut self, key: &PublicHalf) -> Result<bool, Failure> {
        self.ask(&Request::Knows(key.line()))
    }

    pub(super) fn believe(&mut self, key: &PublicHalf) -> Result<Option<String>, Failure> {
        self.ask(&Request::Believe(key.line()))
    }

    pub(super) fn admit(&mut self, key: &str, node: &str) -> Result<Admission, Failure> {
        let (key, node) = (key.to_owned(), node.to_owned());
        self.ask(&Request::Admit { key, node })
    }

    pub(super) fn attempt(&mut self) -> Result<Vec<Tried>, Failure> {
        let told: Vec<(String, Option<(u8, String)>)> = self.ask(&Request::Attempt)?;
        let tried = told.into_iter().map(|(what, failure)| Tried {
            what,
            failure: failure.map(failed),
        });
        Ok(tried.collect())
    }

    /// Ends the login.
    pub(super) fn leave(mut self) {
        drop(self.requests.take());
        // Everything has been answered.
        let _ = self.child.wait();
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, Failure> {
        let said = self.requests.as_mut().map(|to| say(to, request));
        if !matches!(said, Some(Ok(()))) {
            return Err(self.lost());
        }
        loop {
            let mut line = String::new();
            match self.answers.read_line(&mut line) {
                Ok(1..) => {}
                _ => return Err(self.lost()),
            }
            let Some(answer) = line.trim_end().strip_prefix(MARK) else {
                continue;
            };
            let answer: Answer<T> = serde_json::from_str(answer).map_err(|_| {
                let what = format!(
                    "cannot understand the answer of {}; install the same hasync on both nodes",
                    self.host
                );
                Failure::new(Exit::Incompatible, what)
            })?;
            return answer.map_err(failed).map_err(|failure| Failure {
                message: format!("{}: {}", self.host, failure.message),
                ..failure
            });
        }
    }

    /// Why there is no answer. What ssh and the other node said about it stands above.
    fn lost(&mut self) -> Failure {
        drop(self.requests.take());
        let (host, program) = (&self.host, &self.program);
        let code = self
            .child
            .wait()
            .ok()
            .and_then(|status: ExitStatus| status.code());
        match code {
            Some(127) => Failure::new(
                Exit::NotFound,
                format!(
                    "hasync not found on {host}, as `{program}`; install it there, as with `{}`, \
                     and type this again",
                    self.scp
                ),
            ),
            Some(255) => Failure::new(
                Exit::Unreachable,
                format!("the login on {host} by the program ssh failed, see above"),
            ),
            Some(code) => Failure::new(
                Exit::of_code(code).unwrap_or(Exit::Stream),
                format!("`{program} pair` on {host} left with exit code {code}, see above"),
            ),
            None => Failure::new(Exit::Stream, format!("the login on {host} broke")),
        }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn own_program() -> String {
    let program = std::env::current_exe().ok();
    program.map_or_else(
        || "hasync".to_owned(),
        |file| file.to_string_lossy().into_owned(),
    )
}

fn failed((code, message): (u8, String)) -> Failure {
    Failure::new(Exit::of_code(code.into()).unwrap_or(Exit::Stream), message)
}

fn say(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let line = serde_json::to_string(what).map_err(io::Error::other)?;
    to.write_all(format!("{line}\n").as_bytes())?;
    to.flush()
}

/// Answers what the node that has logged in asks, until it leaves.
pub(super) fn serve(args: &PairArgs) -> Result<Exit, Failure> {
    let mut node = Node::new(args.config.config.as_deref(), Terms::default())?;
    // By default the other node is where the login comes from.
    let client = std::env::var("SSH_CONNECTION").unwrap_or_default();
    node.meet_at(client.split(' ').next().map(str::to_owned));
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let answer = match serde_json::from_str(&line) {
            Ok(request) => answer(&mut node, request),
            Err(_) => Err(Failure::new(
                Exit::Incompatible,
                "cannot understand the other node; install the same hasync on both nodes",
            )),
        };
        let answer: Answer<serde_json::Value> =
            answer.map_err(|failure| (failure.exit as u8, failure.message));
        let mut out = io::stdout().lock();
        if out.write_all(MARK.as_bytes()).is_err() || say(&mut out, &answer).is_err() {
            break;
        }
    }
    Ok(Exit::Ok)
}

fn answer(node: &mut Node, request: Request) -> Result<serde_json::Value, Failure> {
    fn value(answer: impl Serialize) -> Result<serde_json::Value, Failure> {
        serde_json::to_value(answer)
            .map_err(|e| Failure::new(Exit::Stream, format!("no answer can be given: {e}")))
    }
    match request {
        Request::Greet => value(()),
        Request::Configure { file, text } => value(node.configure(file.as_deref(), &text)?),
        Request::Report => value(node.report()),
        Request::Introduce(terms) => {
            node.agree(terms)?;
            value(node.introduce()?)
        }
        Request::Look => value(node.look()?.line()),
        Request::Knows(key) => value(node.knows(&checked(&key)?)?),
        Request::Believe(key) => value(node.believe(&checked(&key)?)?),
        Request::Admit { key, node: name } => value(node.admit(&key, &name)?),
        Request::Attempt => {
            let tried = node.attempt().into_iter();
            let told = tried.map(|one| {
                let why = one.failure.map(|why| (why.exit as u8, why.message));
                (one.what, why)
            });
            value(told.collect::<Vec<_>>())
        }
    }
}
