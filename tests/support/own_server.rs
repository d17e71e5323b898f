//! `hasync serve --listen` with throw-away keys; killed on drop.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::process::run_ok;
use super::{Hasync, TempTree};

pub(crate) struct OwnServer {
    pub(crate) dir: TempTree,
    child: Child,
    host: String,
    port: String,
    /// What it prints when it listens.
    pub(crate) greeting: String,
}

impl OwnServer {
    /// A server of everything.
    pub(crate) fn start() -> Self {
        Self::of_root("/")
    }

    pub(crate) fn of_root(root: &str) -> Self {
        Self::with(&["--root", root])
    }

    /// A server with these options.
    pub(crate) fn with(options: &[&str]) -> Self {
        Self::start_at(&["env"], "127.0.0.1", options)
    }

    /// `launcher` runs it where it is to listen; `host` stands in brackets if it is IPv6.
    pub(crate) fn start_at(launcher: &[&str], host: &str, options: &[&str]) -> Self {
        let dir = TempTree::within(Path::new("/tmp"));
        for key in ["host_key", "user_key"] {
            let path = dir.text(key);
            run_ok(
                "ssh-keygen",
                &["-q", "-t", "ed25519", "-N", "", "-f", &path],
            );
        }
        let mut child = Command::new(launcher[0])
            .args(&launcher[1..])
            .arg(Hasync::program())
            .args(["serve", "--listen", &format!("{host}:0")])
            .args(options)
            .args(["--authorized-keys", &dir.text("user_key.pub")])
            .args(["--host-key", &dir.text("host_key")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut greeting = String::new();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        log.read_line(&mut greeting).unwrap();
        // It goes on to log into a pipe that somebody has to read.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let address = greeting.split(',').next().unwrap();
        let port = address.rsplit(':').next().unwrap().to_owned();
        let host_key = String::from_utf8(dir.read("host_key.pub")).unwrap();
        let bare = host.trim_matches(&['[', ']'][..]);
        dir.write("known_hosts", format!("[{bare}]:{port} {host_key}"));
        Self {
            dir,
            child,
            host: host.to_owned(),
            port,
            greeting,
        }
    }

    pub(crate) fn port(&self) -> &str {
        &self.port
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.dir.text(name)
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
