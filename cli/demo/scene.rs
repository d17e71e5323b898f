//! Where the demo plays: a temporary directory with both trees and throw-away keys, and the
//! standby's SSH server as a child process. Nothing of it stays, however the demo ends.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hasync_transport::ssh;

use super::file_error;
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
}

impl Scene {
    /// Makes the directory, with an empty tree on each side.
    pub(super) fn set(keep: bool) -> Result<Self, Failure> {
        let dir = make_dir().map_err(|cause| file_error("make a temporary directory", &cause))?;
        let props = Arc::new(Mutex::new(Props {
            dir,
            keep,
            server: None,
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
            fs::create_dir(scene.path(tree)).map_err(|cause| file_error("make a tree", &cause))?;
        }
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

    /// Starts `hasync serve --listen` for `root` on a free loopback port, with keys made for it;
    /// gives how it is reached.
    pub(super) fn start_server(&mut self, root: &Path) -> Result<Reach, Failure> {
        let (host_key, login_key) = (self.path("host_key"), self.path("login_key"));
        let (authorized_keys, known_hosts) =
            (self.path("authorized_keys"), self.path("known_hosts"));
        let host_line = ssh::generate_host_key(&host_key)?;
        let login_line = ssh::generate_key_pair(&login_key, "hasync-demo")?;
        write(
            &authorized_keys,
            &format!("restrict {}\n", login_line.trim()),
        )?;

        let mut server = itself::command()?
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--receive-only",
                "--root",
            ])
            .arg(root)
            .arg("--authorized-keys")
            .arg(&authorized_keys)
            .arg("--host-key")
            .arg(&host_key)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|cause| file_error("start the standby's server", &cause))?;
        let stdout = server.stdout.take();
        self.with(|props| props.server = Some(server));

        let mut lines = BufReader::new(stdout.ok_or_else(no_port)?);
        let mut first = String::new();
        lines
            .read_line(&mut first)
            .map_err(|cause| file_error("read the port", &cause))?;
        let port = port_in(&first).ok_or_else(no_port)?;
        // The server goes on talking; somebody has to listen.
        std::thread::spawn(move || io::copy(&mut lines, &mut io::sink()));

        write(
            &known_hosts,
            &format!("[127.0.0.1]:{port} {}\n", host_line.trim()),
        )?;
        Ok(Reach {
            port: Some(port),
            identity: Some(login_key),
            ssh_config: Some(PathBuf::from("/dev/null")),
            known_hosts: Some(known_hosts),
            remote_bin: "hasync".into(),
            rsh: None,
            silence: Duration::from_secs(60),
            connecting: None,
            family: None,
        })
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
    fn clear(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
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

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|cause| file_error(&format!("write {}", path.display()), &cause))
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
