//! A real sshd on loopback with its own configuration, host keys and user keys.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hasync_transport::ssh::{self, ClientOptions, Destination, Environment};
use hasync_transport::{Error, ErrorKind, Link};
use tempfile::TempDir;

/// An sshd that admits the key `user` as whoever runs the tests.
pub(crate) struct Sshd {
    pub(crate) dir: TempDir,
    pub(crate) port: u16,
    process: Child,
}

impl Sshd {
    pub(crate) fn start() -> Sshd {
        Sshd::with(&["ed25519"], "")
    }

    /// `host_keys` are key types; `extra` are lines of sshd_config.
    pub(crate) fn with(host_keys: &[&str], extra: &str) -> Sshd {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let port = free_port();
        keygen(dir.path(), "user", "ed25519", &[]);
        std::fs::copy(at("user.pub"), at("authorized_keys")).unwrap();
        let mut config = format!(
            "ListenAddress 127.0.0.1:{port}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitRootLogin yes\nMaxStartups 100\n{extra}\n",
            at("authorized_keys")
        );
        let mut known = String::new();
        for key_type in host_keys {
            let public = keygen(dir.path(), &format!("host_{key_type}"), key_type, &[]);
            config += &format!("HostKey {}\n", at(&format!("host_{key_type}")));
            known += &format!("[127.0.0.1]:{port} {public}\n");
        }
        std::fs::write(at("known_hosts"), known).unwrap();
        std::fs::write(at("sshd_config"), config).unwrap();
        std::fs::write(at("ssh_config"), "").unwrap();
        // Where sshd separates privileges; only root can and has to make it.
        let _ = std::fs::create_dir("/run/sshd");
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &at("sshd_config")])
            .stderr(Stdio::null())
            .spawn()
            .expect("sshd is installed");
        wait_until("sshd listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Sshd { dir, port, process }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn destination(&self) -> Destination {
        Destination {
            host: "127.0.0.1".into(),
            port: Some(self.port),
            user: None,
        }
    }

    /// The user's key, the right known_hosts, an empty configuration, no agent.
    pub(crate) fn options(&self) -> ClientOptions {
        options(self.dir.path())
    }

    pub(crate) fn connect(&self, command: &str) -> Link {
        ssh::connect(&self.destination(), command, &self.options()).unwrap()
    }

    /// The error of a connection that has to fail.
    pub(crate) fn refusal(&self, options: &ClientOptions) -> Error {
        refusal(&self.destination(), options)
    }

    /// Kills the processes that serve connections, not the one that listens.
    pub(crate) fn kill_sessions(&self) {
        let pid = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        assert!(!children.trim().is_empty(), "no session to kill");
        for child in children.split_whitespace() {
            kill_tree(child);
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // Sessions outlive the process that listens, above all those a test has stopped.
        kill_tree(&self.process.id().to_string());
        let _ = self.process.wait();
    }
}

fn kill_tree(pid: &str) {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    // Parent first: it could still report the death of its child.
    let kill = Command::new("kill")
        .args(["-9", pid])
        .stderr(Stdio::null())
        .status();
    assert!(kill.is_ok());
    for child in children.unwrap_or_default().split_whitespace() {
        kill_tree(child);
    }
}

pub(crate) fn options(dir: &Path) -> ClientOptions {
    ClientOptions {
        config_file: Some(dir.join("ssh_config")),
        known_hosts: Some(dir.join("known_hosts")),
        identities: vec![dir.join("user")],
        environment: Environment {
            home: Some(dir.to_owned()),
            agent_socket: None,
            ..Environment::current()
        },
        ..ClientOptions::default()
    }
}

pub(crate) fn refusal(to: &Destination, options: &ClientOptions) -> Error {
    match ssh::connect(to, "true", options) {
        Ok(_) => panic!("the connection succeeded"),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n'), "more than one line: {text}");
            error
        }
    }
}

/// Makes a key pair and gives its public half as `TYPE BASE64`.
pub(crate) fn keygen(dir: &Path, name: &str, key_type: &str, extra: &[&str]) -> String {
    let path = dir.join(name);
    let passphrase: &[&str] = if extra.contains(&"-N") {
        &[]
    } else {
        &["-N", ""]
    };
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", key_type, "-C", "", "-f", path.to_str().unwrap()])
        .args(passphrase)
        .args(extra)
        .status()
        .expect("ssh-keygen is installed");
    assert!(status.success());
    std::fs::read_to_string(dir.join(format!("{name}.pub")))
        .unwrap()
        .trim()
        .to_owned()
}

/// Lets a key log in.
pub(crate) fn authorize(sshd: &Sshd, public: &str) {
    let mut file = std::fs::File::options()
        .append(true)
        .open(sshd.path("authorized_keys"))
        .unwrap();
    writeln!(file, "{public}").unwrap();
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Waits for something that has to happen; the limit only ends a test that has already failed.
pub(crate) fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(60), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reproducible bytes without a period that block sizes could hide.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut data = Vec::with_capacity(len + 8);
    while data.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(len);
    data
}

/// Sends `data` and reads to the end at the same time, and gives what came back.
pub(crate) fn exchange(link: Link, data: &[u8]) -> (Vec<u8>, hasync_transport::Finish) {
    let (mut reader, mut writer) = (link.reader, link.writer);
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for piece in data.chunks(77_777) {
                writer.write_all(piece).unwrap();
            }
        });
        reader.read_to_end(&mut back).unwrap();
    });
    drop(reader);
    (back, link.control.finish().unwrap())
}

/// Reads all that `command` says.
pub(crate) fn output_of(link: Link) -> String {
    let (back, finish) = exchange(link, b"");
    assert_eq!(finish.exit_code, Some(0));
    String::from_utf8(back).unwrap()
}

pub(crate) fn assert_kind(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}
