//! `hasync serve --listen` with throw-away keys, and the options with which a push reaches it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use super::hasync::Reachable;
use super::process::run_ok;
use super::{Hasync, TempTree, await_that};

/// A running server; killed on drop.
pub(crate) struct OwnServer {
    pub(crate) dir: TempTree,
    child: Child,
    host: String,
    port: String,
    /// What it prints when it listens.
    pub(crate) greeting: String,
    log: Arc<Mutex<String>>,
}

impl OwnServer {
    /// One that serves everything to one key.
    pub(crate) fn start() -> Self {
        Self::with(&["--root", "/"])
    }

    /// The same with other options.
    pub(crate) fn with(options: &[&str]) -> Self {
        Self::run("127.0.0.1", options, |hasync| hasync)
    }

    /// `launcher` runs it where it is to listen; `host` stands in brackets if it is IPv6.
    pub(crate) fn start_at(launcher: &[&str], host: &str, options: &[&str]) -> Self {
        Self::run(host, options, |hasync| hasync.under(launcher))
    }

    /// One that runs as the user `nobody`.
    pub(crate) fn by_nobody(options: &[&str], reachable: &Reachable) -> Self {
        Self::run("127.0.0.1", options, |hasync| hasync.by_nobody(reachable))
    }

    pub(crate) fn run(host: &str, options: &[&str], who: impl FnOnce(Hasync) -> Hasync) -> Self {
        let dir = TempTree::within(Path::new("/tmp"));
        for key in ["host_key", "user_key"] {
            let path = dir.text(key);
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-f", &path];
            run_ok("ssh-keygen", &arguments);
        }
        let serve = Hasync::new()
            .args(["serve", "--listen", &format!("{host}:0")])
            .args(["--authorized-keys", &dir.text("authorized_keys")])
            .args(["--host-key", &dir.text("host_key")])
            .args(options);
        authorize(&dir, "KEY\n");
        let serve = who(serve);
        if serve.is_by_nobody() {
            dir.chown("host_key", 65534, 65534);
        }
        let mut child = serve.command().stdout(Stdio::piped()).spawn().unwrap();
        let mut greeting = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut greeting).unwrap();
        let address = greeting.split(',').next().unwrap();
        let port = address.rsplit(':').next().unwrap().to_owned();
        let log: Arc<Mutex<String>> = Arc::default();
        let lines = Arc::clone(&log);
        // It goes on to log into a pipe that somebody has to read.
        std::thread::spawn(move || collect(out, &lines));
        Self {
            dir,
            child,
            host: host.to_owned(),
            port,
            greeting,
            log,
        }
        .reached_by(host)
    }

    /// The same server, of whose addresses pushes go to this one.
    pub(crate) fn reached_by(mut self, host: &str) -> Self {
        let host_key = String::from_utf8(self.dir.read("host_key.pub")).unwrap();
        let (bare, port) = (host.trim_matches(&['[', ']'][..]), &self.port);
        let known = format!("[{bare}]:{port} {host_key}");
        self.dir.write("known_hosts", known);
        self.host = host.to_owned();
        self
    }

    pub(crate) fn port(&self) -> &str {
        &self.port
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.dir.text(name)
    }

    /// Writes the list of keys that may log in, in which `KEY` stands for the one that pushes.
    pub(crate) fn authorize(&self, lines: &str) {
        authorize(&self.dir, lines);
    }

    /// Waits for a line of the log.
    pub(crate) fn await_logged(&self, words: &str) {
        await_that(&format!("{words:?} in the log"), || {
            self.log.lock().unwrap().contains(words)
        });
    }

    /// What it has logged so far, behind its greeting.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.lines().map(str::to_owned).collect()
    }

    /// The process that listens. A launcher becomes what it starts.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processes that serve connections: not those that these start.
    pub(crate) fn connections(&self) -> Vec<u32> {
        let id = self.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let words = children.unwrap();
        let ids = words.split_whitespace().map(|id| id.parse().unwrap());
        ids.collect()
    }

    /// Waits until so many processes serve connections.
    pub(crate) fn await_connections(&self, count: usize) -> Vec<u32> {
        await_that("the processes of connections", || {
            self.connections().len() == count
        });
        self.connections()
    }

    /// Sends the listener a signal, and gives its exit code; that of a shell for a signal.
    pub(crate) fn end_by(&mut self, signal: &str) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        run_ok("kill", &[signal, &self.id().to_string()]);
        await_that("the listener is gone", || {
            self.child.try_wait().unwrap().is_some()
        });
        let status = self.child.wait().unwrap();
        let by_signal = || 128 + status.signal().unwrap();
        status.code().unwrap_or_else(by_signal)
    }

    pub(crate) fn push(&self, options: &[&str], source: &str, target: &Path) -> Hasync {
        Hasync::push(&["--ssh-config", "none"])
            .args(options)
            .args(["--port", &self.port])
            .args(["--identity", &self.text("user_key")])
            .args(["--known-hosts", &self.text("known_hosts"), source])
            .arg(format!("{}:{}", self.host, target.display()))
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn authorize(dir: &TempTree, lines: &str) {
    let public = String::from_utf8(dir.read("user_key.pub")).unwrap();
    dir.write("authorized_keys.new", lines.replace("KEY", public.trim()));
    let new = dir.path("authorized_keys.new");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::rename(new, dir.path("authorized_keys")).unwrap();
}

fn collect(mut out: impl Read, log: &Mutex<String>) {
    let mut piece = [0; 4096];
    while let Ok(len @ 1..) = out.read(&mut piece) {
        let text = String::from_utf8_lossy(&piece[..len]).into_owned();
        log.lock().unwrap().push_str(&text);
    }
}
