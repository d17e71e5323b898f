//! `hasync serve --listen` in the place of sshd: a server of a given build, and pushes into it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::support::process::run_ok;
use crate::support::{Sshd, TempTree};

/// A running server; killed on drop.
pub(crate) struct Listener {
    program: PathBuf,
    dir: TempTree,
    port: String,
    child: Child,
}

impl Listener {
    /// Serves everything below `root` on a free loopback port, to the key of `sshd`'s user.
    pub(crate) fn start(program: &Path, root: &Path, sshd: &Sshd) -> Self {
        let dir = TempTree::within(Path::new("/tmp"));
        for name in ["host_key", "user_key", "authorized_keys"] {
            let from = sshd.file(name).display().to_string();
            run_ok("cp", &["-p", &from, &dir.text(name)]);
        }
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--root"])
            .arg(root)
            .args(["--authorized-keys", &dir.text("authorized_keys")])
            .args(["--host-key", &dir.text("host_key")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let address = first.split_whitespace().nth(2).unwrap();
        let port = address.trim_end_matches(',').rsplit(':').next().unwrap();
        let host_key = String::from_utf8(std::fs::read(sshd.file("host_key.pub")).unwrap());
        dir.write(
            "known_hosts",
            format!("[127.0.0.1]:{port} {}", host_key.unwrap()),
        );
        let port = port.to_owned();
        // Its log is read to the end, or it would wait for a reader.
        std::thread::spawn(move || lines.lines().for_each(drop));
        Listener {
            program: program.to_owned(),
            dir,
            port,
            child,
        }
    }

    /// How long one push takes, in seconds.
    pub(crate) fn push(&self, source: &str, target: &Path) -> f64 {
        let mut command = Command::new(&self.program);
        command
            .args(["push", "-a", "--delete", "--port", &self.port])
            .args(["--ssh-config", "none"])
            .args(["--identity", &self.dir.text("user_key")])
            .args(["--known-hosts", &self.dir.text("known_hosts")])
            .arg(source)
            .arg(format!("127.0.0.1:{}", target.display()));
        let start = Instant::now();
        let status = command.status().unwrap();
        let wall_s = start.elapsed().as_secs_f64();
        assert!(status.success(), "{command:?}: {status}");
        wall_s
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
