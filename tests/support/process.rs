//! Running a program to its end under a deadline, with both outputs collected.
//! A program that outlives its deadline is killed and the test fails: a hang is a result.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::soak;

/// Far beyond what any single command of the tests takes on a slow machine.
pub(crate) const HANG_SECONDS: u64 = 120;

/// What a finished program left behind. `code` is 128 + n after signal n.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) command: String,
}

impl Finished {
    /// Checks the exit code and shows everything when it is another one.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert!(self.code == code, "exit {code} expected, got\n{self}");
        assert!(!self.stderr.contains("panicked"), "it panicked\n{self}");
        self
    }

    /// Checks code and wording of an error: one line (and at most one hint line after it).
    #[track_caller]
    pub(crate) fn expect_error(self, code: i32, words: &[&str]) -> Self {
        let done = self.expect(code);
        let lines: Vec<&str> = done.stderr.lines().collect();
        assert!(!lines.is_empty(), "a failure must say why\n{done}");
        assert!(
            lines.len() <= 2,
            "an error is one line and at most one hint\n{done}"
        );
        let said = done.stderr.to_lowercase();
        for word in words {
            assert!(
                said.contains(&word.to_lowercase()),
                "the error must name {word:?}\n{done}"
            );
        }
        done
    }

    pub(crate) fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as lines, without their newlines.
    pub(crate) fn lines(&self) -> Vec<Vec<u8>> {
        let mut lines: Vec<Vec<u8>> = self
            .stdout
            .split(|b| *b == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        if lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        lines
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "command: {}\nexit: {}", self.command, self.code)?;
        writeln!(f, "stdout:\n{}", self.stdout_text())?;
        writeln!(f, "stderr:\n{}", self.stderr)
    }
}

/// A started program whose outputs are being collected.
pub(crate) struct Running {
    child: Child,
    command: String,
    stdout: thread::JoinHandle<Vec<u8>>,
    stderr: thread::JoinHandle<Vec<u8>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        Self {
            child,
            command: shown,
            stdout,
            stderr,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, as a crash would end it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end; `None` when it had to be killed after `seconds`.
    pub(crate) fn finish_within(mut self, seconds: u64) -> Option<Finished> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        };
        use std::os::unix::process::ExitStatusExt;
        Some(Finished {
            code: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: self.stdout.join().unwrap(),
            stderr: String::from_utf8_lossy(&self.stderr.join().unwrap()).into_owned(),
            command: self.command,
        })
    }

    #[track_caller]
    pub(crate) fn finish(self) -> Finished {
        let command = self.command.clone();
        // The soak mirrors whole systems.
        let seconds = if soak() {
            20 * HANG_SECONDS
        } else {
            HANG_SECONDS
        };
        self.finish_within(seconds)
            .unwrap_or_else(|| panic!("still running after {seconds} s: {command}"))
    }
}

/// Runs a tool of the fixture and fails the test when it fails.
#[track_caller]
pub(crate) fn run_ok(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args);
    Running::start(command).finish().expect(0).stdout_text()
}

/// All living descendants of `ancestor` whose executable is `program`.
pub(crate) fn descendants_running(ancestor: u32, program: &std::path::Path) -> Vec<u32> {
    let mut parents = std::collections::HashMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((_, after)) = stat.rsplit_once(") ") else {
            continue;
        };
        let parent = after
            .split(' ')
            .nth(1)
            .and_then(|field| field.parse::<u32>().ok());
        parents.insert(pid, parent.unwrap_or(0));
    }
    let descends = |mut pid: u32| {
        while let Some(parent) = parents.get(&pid) {
            if *parent == ancestor {
                return true;
            }
            pid = *parent;
        }
        false
    };
    let runs =
        |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
    parents
        .keys()
        .copied()
        .filter(|pid| runs(*pid) && descends(*pid))
        .collect()
}

fn collect(mut source: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut out = Vec::new();
        let _ = source.read_to_end(&mut out);
        out
    })
}
