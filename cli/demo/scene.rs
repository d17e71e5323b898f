//! Where the demo plays: a temporary directory with both trees, a configuration for each node and
//! throw-away keys, and the standby's SSH server as a child process. Nothing of it stays, however
//! the demo ends.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hasync_transport::ssh;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::exit::{Exit, Failure};
use crate::itself;
use crate::out;
use crate::reach::Reach;
use crate::signals;

/// The directory and the server; both go when this is dropped.
pub(super) struct Scene(Arc<Mutex<Props>>);

struct Props {
    dir: PathBuf,
    keep: bool,
    server: Option<Child>,
    /// Where it listened.
    port: u16,
}

impl Scene {
    /// Makes the directory, with an empty tree on each side.
    pub(super) fn set(keep: bool) -> Result<Self, Failure> {
        let dir =
            make_dir().map_err(|cause| Failure::cannot("make a temporary directory", &cause))?;
        let props = Arc::new(Mutex::new(Props {
            dir,
            keep,
            server: None,
            port: 0,
        }));
        let on_signal = Arc::clone(&props);
        let scene = Scene(props);
        signals::exit_on_signal(move |signal| {
            on_signal
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            out::error(&format!(
                "demo interrupted by {signal} (exit {})",
                Exit::Signal
            ));
        })?;
        for tree in ["primary", "standby"] {
            fs::create_dir(scene.path(tree))
                .map_err(|cause| Failure::cannot("make a tree", &cause))?;
        }
        let host_line = ssh::generate_host_key(&scene.path("host_key"))?;
        let login_line = ssh::generate_key_pair(&scene.path("login_key"), "hasync-demo")?;
        scene.write("authorized_keys", &format!("restrict {login_line}\n"))?;
        scene.write("host_key.line", &host_line)?;
        scene.write("standby.toml", &scene.node("standby"))?;
        Ok(scene)
    }

    /// The directory that holds everything.
    pub(super) fn dir(&self) -> PathBuf {
        self.with(|props| props.dir.clone())
    }

    /// A path in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Starts `hasync serve --listen` on a loopback port, the same each time; gives how it is
    /// reached.
    pub(super) fn start_server(&mut self) -> Result<Reach, Failure> {
        let mut server = itself::command()?
            .args(self.server_words())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // With all that it starts.
            .process_group(0)
            .spawn()
            .map_err(|cause| Failure::cannot("start the standby's server", &cause))?;
        let stdout = server.stdout.take();
        self.with(|props| props.server = Some(server));

        let mut lines = BufReader::new(stdout.ok_or_else(no_port)?);
        let mut first = String::new();
        lines
            .read_line(&mut first)
            .map_err(|cause| Failure::cannot("read the port", &cause))?;
        let port = port_in(&first).ok_or_else(no_port)?;
        self.with(|props| props.port = port);
        // The server goes on talking; somebody has to listen.
        std::thread::spawn(move || io::copy(&mut lines, &mut io::sink()));

        let host_line = fs::read_to_string(self.path("host_key.line"))
            .map_err(|cause| Failure::cannot("read the host key", &cause))?;
        self.write("known_hosts", &format!("[127.0.0.1]:{port} {host_line}\n"))?;
        Ok(Reach {
            port: Some(port),
            identity: Some(self.path("login_key")),
            ssh_config: Some(PathBuf::from("/dev/null")),
            known_hosts: Some(self.path("known_hosts")),
            remote_bin: "hasync".into(),
            rsh: None,
            silence: Duration::from_secs(60),
            connecting: None,
            family: None,
        })
    }

    /// What `hasync` is started with to be the standby's server.
    pub(super) fn server_words(&self) -> Vec<String> {
        let file = |name: &str| self.path(name).display().to_string();
        let listen = format!("127.0.0.1:{}", self.with(|props| props.port));
        let options = [
            ("--listen", listen),
            ("--root", file("standby")),
            ("--config", file("standby.toml")),
            ("--authorized-keys", file("authorized_keys")),
            ("--host-key", file("host_key")),
        ];
        let words = ["serve", "--receive-only"].map(str::to_owned);
        let options = options.map(|(option, value)| [option.to_owned(), value]);
        words
            .into_iter()
            .chain(options.into_iter().flatten())
            .collect()
    }

    /// The standby's plug is pulled: whatever runs there ends at once.
    pub(super) fn cut_power(&mut self) {
        self.with(Props::kill);
    }

    /// Gives the tree a name on both nodes.
    pub(super) fn name_the_tree(&self) -> Result<(), Failure> {
        for node in ["primary", "standby"] {
            let tree = format!("\n[[tree]]\nname = \"web\"\npath = {:?}\n", self.path(node));
            self.write(&format!("{node}.toml"), &(self.node(node) + &tree))?;
        }
        Ok(())
    }

    /// The configuration of a node, which knows no tree yet. Nobody reaches the primary.
    fn node(&self, name: &str) -> String {
        let port = match name {
            "primary" => self.with(|props| props.port),
            _ => 1,
        };
        let [state, key, known] = [
            format!("state.{name}"),
            "login_key".into(),
            "known_hosts".into(),
        ]
        .map(|file: String| self.path(&file));
        format!(
            "[node]\nname = \"{name}\"\nstate = {state:?}\n[peer]\nhost = \"127.0.0.1\"\nport = \
             {port}\nidentity = {key:?}\nknown_hosts = {known:?}\nssh_config = \"/dev/null\"\n"
        )
    }

    /// Writes a file that can be run.
    pub(super) fn write_program(&self, name: &str, text: &str) -> Result<(), Failure> {
        self.write_with(name, text, 0o700)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        self.write_with(name, text, 0o600)
    }

    fn write_with(&self, name: &str, text: &str, mode: u32) -> Result<(), Failure> {
        let mut file = fs::File::options();
        let file = file.write(true).create(true).truncate(true).mode(mode);
        let written = file
            .open(self.path(name))
            .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
        written.map_err(|cause| Failure::cannot(format!("write {name}"), &cause))
    }

    fn with<T>(&self, use_props: impl FnOnce(&mut Props) -> T) -> T {
        use_props(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.with(Props::clear);
    }
}

impl Props {
    /// Ends the server and what it has started.
    fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            if let Ok(group) = i32::try_from(server.id()) {
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            let _ = server.wait();
        }
    }

    fn clear(&mut self) {
        self.kill();
        if !self.keep {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// The port in `listening on 127.0.0.1:40123, ...`.
fn port_in(line: &str) -> Option<u16> {
    let address = line.strip_prefix("listening on ")?.split(',').next()?;
    address.rsplit_once(':')?.1.parse().ok()
}

fn no_port() -> Failure {
    Failure::new(Exit::Unreachable, "the standby's server did not start")
}

/// A new directory for this user alone.
fn make_dir() -> io::Result<PathBuf> {
    let base = std::env::temp_dir();
    let id = std::process::id();
    let mut attempt = 0;
    loop {
        let dir = base.join(format!("hasync-demo-{id}-{attempt}"));
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => {
                attempt += 1;
            }
            Err(cause) => return Err(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_first_line() {
        assert_eq!(
            port_in("listening on 127.0.0.1:40123, root /x, host key SHA256:a\n"),
            Some(40123)
        );
        assert_eq!(port_in("hasync: cannot listen"), None);
    }
}
