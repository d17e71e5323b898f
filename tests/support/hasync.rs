//! The program under test, as its users call it: `hasync push` with options and paths.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::process::{Finished, Running, run_ok};

/// Where a debug build writes its state for everybody, in place of /run/hasync.
pub(crate) const RUN_DIR: &str = "HASYNC_RUN_DIR";

/// Where a debug build keeps the last good configuration, in place of /var/lib/hasync.
pub(crate) const LAST_GOOD_DIR: &str = "HASYNC_LAST_GOOD_DIR";

/// A command line of `hasync` in the making.
#[derive(Debug, Clone)]
pub(crate) struct Hasync {
    /// What stands before the program: `ip netns exec`, `setpriv`, ...
    prefix: Vec<String>,
    program: PathBuf,
    args: Vec<std::ffi::OsString>,
    envs: Vec<(String, std::ffi::OsString)>,
}

impl Hasync {
    /// The binary that cargo built for these tests.
    pub(crate) fn program() -> PathBuf {
        PathBuf::from(env!("CARGO_BIN_EXE_hasync"))
    }

    pub(crate) fn new() -> Self {
        Self {
            prefix: Vec::new(),
            program: Self::program(),
            args: Vec::new(),
            // A test leaves nothing on this host.
            envs: vec![
                (LAST_GOOD_DIR.to_owned(), "/dev/null/none".into()),
                (RUN_DIR.to_owned(), "/dev/null/none".into()),
            ],
        }
    }

    /// `hasync push OPTIONS`.
    pub(crate) fn push(options: &[&str]) -> Self {
        Self::new().arg("push").args(options)
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs another copy of the program.
    pub(crate) fn from(mut self, reachable: &Reachable) -> Self {
        self.program = reachable.program();
        self
    }

    /// Puts a launcher before the program.
    pub(crate) fn under<S: AsRef<str>>(mut self, prefix: &[S]) -> Self {
        self.prefix = prefix.iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Runs as the user `nobody`, with the program from a place that user can reach.
    pub(crate) fn by_nobody(mut self, reachable: &Reachable) -> Self {
        self.program = reachable.program();
        self.under(&[
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ])
    }

    pub(crate) fn is_by_nobody(&self) -> bool {
        self.prefix.iter().any(|word| word == "--reuid=65534")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = match self.prefix.split_first() {
            None => Command::new(&self.program),
            Some((launcher, rest)) => {
                let mut command = Command::new(launcher);
                command.args(rest).arg(&self.program);
                command
            }
        };
        command.args(&self.args);
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn start(&self) -> Running {
        Running::start(self.command())
    }

    #[track_caller]
    pub(crate) fn run(&self) -> Finished {
        self.start().finish()
    }
}

/// A copy of the program outside the build directory, which other users may not enter.
pub(crate) struct Reachable {
    dir: tempfile::TempDir,
}

impl Reachable {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hasync-bin-")
            .tempdir_in("/tmp")
            .unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        // By another process: a program that this one has open for writing while another thread
        // starts a child cannot be executed ("text file busy").
        let (from, to) = (Hasync::program(), dir.path().join("hasync"));
        run_ok(
            "cp",
            &[&from.display().to_string(), &to.display().to_string()],
        );
        Self { dir }
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.dir.path().join("hasync")
    }
}

/// A stand-in for ssh, for `-e`: drops the host and runs the rest as sshd's shell would.
pub(crate) struct FakeRsh {
    dir: tempfile::TempDir,
}

impl FakeRsh {
    /// Runs the remote command as it is.
    pub(crate) fn plain() -> Self {
        Self::with_script("exec sh -c \"$*\"")
    }

    /// `script` sees the remote command as `$*`.
    pub(crate) fn with_script(script: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hasync-rsh-")
            .tempdir()
            .unwrap();
        let text = format!("#!/bin/sh\n[ \"$1\" = -l ] && shift 2\nshift\n{script}\n");
        let path = dir.path().join("rsh");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> String {
        self.dir.path().join("rsh").display().to_string()
    }

    /// The options that make a push to `host:DST` run through this stand-in.
    pub(crate) fn options(&self) -> Vec<String> {
        let program = Hasync::program().display().to_string();
        vec!["-e".into(), self.path(), "--remote-bin".into(), program]
    }
}
