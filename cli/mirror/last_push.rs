//! The last push before this node is a standby: everything once more, in a process of its own that
//! can be ended in time. What it had not committed by then is not visible on the other node.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use hasync_engine::generation::Tree;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::config::Config;
use crate::exit::{self, Exit};
use crate::itself;
use crate::out;

/// How often the end of the push is looked for.
const POLL: Duration = Duration::from_millis(20);
/// How long its death is waited for.
const DYING: Duration = Duration::from_millis(300);
/// How long its last words are waited for: what it started may have inherited its outputs.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// When it is tried again if another push of the same tree is running.
const AGAIN: Duration = Duration::from_millis(500);

/// How it went.
pub(super) struct Ended {
    /// Why it is not complete.
    pub(super) all: Result<(), String>,
    /// Trees of which another push is running.
    locked: BTreeSet<String>,
    /// What was said last about each tree that went wrong.
    pub(super) lines: BTreeMap<String, String>,
}

impl Ended {
    pub(super) fn not_begun(why: String) -> Self {
        Ended {
            all: Err(why),
            locked: BTreeSet::new(),
            lines: BTreeMap::new(),
        }
    }

    /// How it went, once those that were locked have been tried `again`.
    fn and_then(mut self, again: Ended) -> Ended {
        self.lines.retain(|tree, _| !self.locked.contains(tree));
        let others_failed = !self.lines.is_empty();
        self.lines.extend(again.lines);
        Ended {
            all: if others_failed { self.all } else { again.all },
            locked: again.locked,
            lines: self.lines,
        }
    }
}

/// Pushes these trees; asks the push to end at `deadline`, and makes it at `killed`. A push that
/// somebody else has begun is waited for: what changed since is not in it.
pub(super) fn last_push(
    config: &Config,
    trees: &[Tree],
    deadline: Instant,
    killed: Instant,
) -> Ended {
    if trees.is_empty() {
        return Ended::not_begun("no tree can be read".to_owned());
    }
    let mut ended = push(config, trees, deadline, killed);
    while !ended.locked.is_empty() && Instant::now() + AGAIN < deadline {
        thread::sleep(AGAIN);
        let is_locked = |tree: &&Tree| ended.locked.contains(&tree.name);
        let locked: Vec<Tree> = trees.iter().filter(is_locked).cloned().collect();
        ended = ended.and_then(push(config, &locked, deadline, killed));
    }
    for tree in &ended.locked {
        if let Some(why) = ended.lines.get(tree) {
            out::error(&format!("tree {tree}: {why}"));
        }
    }
    let line = ended.lines.values().next_back();
    ended.all = ended.all.map_err(|why| match line {
        Some(line) => format!("{why}: {line}"),
        None => why,
    });
    ended
}

/// One try. That a tree is locked is not said, since it may not stay so.
fn push(config: &Config, trees: &[Tree], deadline: Instant, killed: Instant) -> Ended {
    let names = trees.iter().flat_map(|tree| ["--tree", &tree.name]);
    let started = itself::command().map_err(|failure| failure.message);
    let started = started.and_then(|mut command| {
        command
            .args(["push", "-q", "--config"])
            .arg(&config.file)
            .args(names)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|cause| format!("it cannot be started: {}", exit::cause(&cause)))
    });
    let mut child = match started {
        Ok(child) => child,
        Err(why) => return Ended::not_begun(why),
    };
    let words = child.stderr.take().map(read_lines);
    let all = wait(&mut child, deadline, killed);
    let mut lines = BTreeMap::new();
    while let Some(line) = words
        .as_ref()
        .and_then(|words| words.recv_timeout(LAST_WORDS).ok())
    {
        if let Some((tree, why)) = about_a_tree(&line) {
            lines.insert(tree.to_owned(), why.to_owned());
        }
    }
    let locked = lines.iter().filter(|(_, why)| is_locked(why));
    Ended {
        all,
        locked: locked.map(|(tree, _)| tree.clone()).collect(),
        lines,
    }
}

/// Whether a line says that another push of the same tree is running.
fn is_locked(line: &str) -> bool {
    line.ends_with(&format!("(exit {})", Exit::Locked))
}

/// The lines of its standard error, which are shown as they come.
fn read_lines(stderr: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if !is_locked(&line) {
                out::error(line.strip_prefix(OURS).unwrap_or(&line));
            }
            // Whoever waits for it may have had no time left.
            let _ = tell.send(line);
        }
    });
    told
}

/// What stands before each line of this program's.
const OURS: &str = "hasync: ";

/// The tree that a line is about, and what it says.
fn about_a_tree(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix(OURS)?
        .strip_prefix("tree ")?
        .split_once(": ")
}

fn wait(child: &mut Child, deadline: Instant, killed: Instant) -> Result<(), String> {
    let pid = i32::try_from(child.id()).ok().map(Pid::from_raw);
    let mut is_asked = false;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if is_asked => return Err(format!("its time was up ({status})")),
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("it ended with {status}")),
            Ok(None) => {}
            Err(cause) => return Err(format!("it cannot be waited for: {}", exit::cause(&cause))),
        }
        let now = Instant::now();
        if now >= killed {
            let _ = child.kill();
            // A file server that hangs may keep it from dying: then it does nothing more either.
            while Instant::now() < killed + DYING && matches!(child.try_wait(), Ok(None)) {
                thread::sleep(POLL);
            }
            return Err("its time was up".to_owned());
        }
        if now >= deadline && !is_asked {
            is_asked = true;
            if let Some(pid) = pid {
                let _ = kill(pid, Signal::SIGTERM);
            }
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_about_a_tree_or_not() {
        let cases = [
            ("hasync: tree html: full: 82", Some(("html", "full: 82"))),
            ("hasync: cannot read", None),
            ("tree html: x", None),
            ("hasync: tree html", None),
        ];
        for (line, expected) in cases {
            assert_eq!(about_a_tree(line), expected, "{line}");
        }
    }
}
