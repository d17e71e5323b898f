//! A real OpenSSH sshd of our own: throw-away keys, one port, one directory, and the
//! client configuration that reaches it as the host `standby`.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::process::{descendants_running, run_ok};
use super::{Hasync, TempTree, await_or_tell};

/// A running sshd; killed on drop.
pub(crate) struct Sshd {
    dir: TempTree,
    address: String,
    port: u16,
    child: Child,
}

impl Sshd {
    /// Starts one on a free loopback port.
    pub(crate) fn start() -> Self {
        let port = free_port();
        Self::start_at(&[], "127.0.0.1", port)
    }

    /// Starts one whose configuration begins with these lines.
    pub(crate) fn start_with(lines: &str) -> Self {
        let port = free_port();
        Self::start_configured(&[], "127.0.0.1", port, lines)
    }

    /// Starts one under a launcher (`ip netns exec NS`) on an address that exists there.
    pub(crate) fn start_at(launcher: &[&str], address: &str, port: u16) -> Self {
        Self::start_configured(launcher, address, port, "")
    }

    fn start_configured(launcher: &[&str], address: &str, port: u16, lines: &str) -> Self {
        std::fs::create_dir_all("/run/sshd").unwrap();
        let dir = TempTree::within(Path::new("/tmp"));
        for key in ["host_key", "user_key", "other_key"] {
            let path = dir.text(key);
            run_ok(
                "ssh-keygen",
                &["-q", "-t", "ed25519", "-N", "", "-C", key, "-f", &path],
            );
        }
        std::fs::copy(dir.path("user_key.pub"), dir.path("authorized_keys")).unwrap();
        let config = format!("{lines}{}", server_config(&dir, address, port));
        dir.write("sshd_config", config);
        let host_key = String::from_utf8(dir.read("host_key.pub")).unwrap();
        dir.write("known_hosts", format!("[{address}]:{port} {host_key}"));
        dir.write("ssh_config", client_config(&dir, address, port));

        let child = spawn(&dir, launcher);
        let sshd = Self {
            dir,
            address: address.to_owned(),
            port,
            child,
        };
        sshd.await_listening(launcher);
        sshd
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path(name)
    }

    /// The options that make hasync reach this server; the target is `standby:DST`.
    pub(crate) fn options(&self) -> Vec<String> {
        self.options_with(&Hasync::program())
    }

    /// The same, with this program on the far side.
    fn options_with(&self, program: &Path) -> Vec<String> {
        vec![
            "--ssh-config".into(),
            self.dir.text("ssh_config"),
            "--remote-bin".into(),
            program.display().to_string(),
        ]
    }

    /// A push of `source` to `target` on the far side.
    pub(crate) fn push(&self, options: &[&str], source: &str, target: &Path) -> Hasync {
        self.push_with(&Hasync::program(), options, source, target)
    }

    /// The same, with this program on the far side.
    pub(crate) fn push_with(
        &self,
        program: &Path,
        options: &[&str],
        source: &str,
        target: &Path,
    ) -> Hasync {
        Hasync::push(options)
            .args(self.options_with(program))
            .arg(source)
            .arg(format!("standby:{}", target.display()))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// As when its host goes down: whoever is connected breaks off, nobody can connect.
    pub(crate) fn stop(&mut self) {
        let far_halves = self.far_halves();
        self.child.kill().unwrap();
        for id in far_halves {
            let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        }
        self.child.wait().unwrap();
    }

    /// The host is up again. Not for one under a launcher.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.dir, &[]);
        self.await_listening(&[]);
    }

    /// The far halves of hasync that this server has started and that still live.
    pub(crate) fn far_halves(&self) -> Vec<u32> {
        descendants_running(self.id(), &Hasync::program())
    }

    fn await_listening(&self, launcher: &[&str]) {
        let log = || std::fs::read_to_string(self.dir.path("log")).unwrap_or_default();
        let told = || format!("sshd listens; its log:\n{}", log());
        await_or_tell(told, || self.listens(launcher));
    }

    fn listens(&self, launcher: &[&str]) -> bool {
        if launcher.is_empty() {
            return TcpStream::connect((self.address.as_str(), self.port)).is_ok();
        }
        let log = std::fs::read_to_string(self.dir.path("log")).unwrap_or_default();
        log.contains("Server listening on")
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &TempTree, launcher: &[&str]) -> Child {
    let config = dir.text("sshd_config");
    let words = [launcher, &["/usr/sbin/sshd", "-D", "-e", "-f", &config]].concat();
    let log = std::fs::File::create(dir.path("log")).unwrap();
    Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn server_config(dir: &TempTree, address: &str, port: u16) -> String {
    // A bash that believes itself inside another does not read the user's `.bashrc`, which may
    // take its time, or wait for a lock.
    format!(
        "Port {port}\nListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n\
         MaxStartups 100\nLogLevel VERBOSE\nSetEnv SHLVL=1\n",
        dir.text("host_key"),
        dir.text("authorized_keys"),
    )
}

fn client_config(dir: &TempTree, address: &str, port: u16) -> String {
    format!(
        "Host standby\n  HostName {address}\n  Port {port}\n  User {}\n  IdentityFile {}\n  \
         IdentitiesOnly yes\n  UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n",
        user_name(),
        dir.text("user_key"),
        dir.text("known_hosts"),
    )
}

fn user_name() -> String {
    run_ok("id", &["-un"]).trim().to_owned()
}
