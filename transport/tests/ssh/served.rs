//! The embedded server with throw-away keys, and the clients that reach it.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use hasync_transport::Link;
use hasync_transport::ssh::server::{PeerInfo, ServerOptions};
use hasync_transport::ssh::{self, Destination};
use tempfile::TempDir;

use crate::fixture::options;
use crate::in_threads::Server;

pub(crate) struct Served {
    pub(crate) dir: TempDir,
    pub(crate) server: Server,
    pub(crate) log: Arc<Mutex<Vec<String>>>,
}

impl Served {
    pub(crate) fn start(handler: impl Fn(Link, PeerInfo) -> u32 + Send + Sync + 'static) -> Served {
        Served::with(|_| (), handler)
    }

    pub(crate) fn with(
        adjust: impl FnOnce(&mut ServerOptions),
        handler: impl Fn(Link, PeerInfo) -> u32 + Send + Sync + 'static,
    ) -> Served {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let host_key = ssh::generate_host_key(&at("host")).unwrap();
        let user_key = ssh::generate_key_pair(&at("user"), "me").unwrap();
        std::fs::write(at("authorized_keys"), format!("restrict {user_key}\n")).unwrap();
        std::fs::write(at("ssh_config"), "").unwrap();
        let mut options = ServerOptions::new(at("authorized_keys"), at("host"));
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let write = {
            let log = Arc::clone(&log);
            move |line: &str| log.lock().unwrap().push(line.to_owned())
        };
        adjust(&mut options);
        let server = Server::start(options, write, handler).unwrap();
        let port = server.address.port();
        std::fs::write(
            at("known_hosts"),
            format!("[127.0.0.1]:{port} {host_key}\n"),
        )
        .unwrap();
        Served { dir, server, log }
    }

    pub(crate) fn destination(&self) -> Destination {
        let port = Some(self.server.address.port());
        Destination {
            host: "127.0.0.1".into(),
            port,
            user: Some("anybody".into()),
        }
    }

    pub(crate) fn connect(&self, command: &str) -> Link {
        ssh::connect(&self.destination(), command, &options(self.dir.path())).unwrap()
    }

    /// OpenSSH's client, with options before and a command behind the host.
    pub(crate) fn ssh(&self, before: &[&str], command: &[&str]) -> Command {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentityAgent=none",
        ])
        .args(["-o", "IdentitiesOnly=yes", "-i", &at("user")])
        .args(["-o", &format!("UserKnownHostsFile={}", at("known_hosts"))])
        .args(["-p", &self.server.address.port().to_string()])
        .args(before)
        .arg("x@127.0.0.1")
        .args(command)
        .stdin(Stdio::null());
        ssh
    }

    pub(crate) fn logged(&self, words: &str) -> bool {
        self.log
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains(words))
    }
}

/// Sends back what comes.
pub(crate) fn echo(link: Link, _: PeerInfo) -> u32 {
    let (mut reader, mut writer) = (link.reader, link.writer);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return 0,
            Ok(len) => {
                let sent = writer
                    .write_all(&buffer[..len])
                    .and_then(|()| writer.flush());
                if sent.is_err() {
                    return 12;
                }
            }
            Err(_) => return 12,
        }
    }
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.output().expect("ssh is installed")
}
