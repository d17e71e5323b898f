//! `hasync serve --listen`: an SSH server of its own, for a standby without sshd.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::sync::mpsc;

use hasync_engine::escape;
use hasync_transport::ssh::server::{Listener, Process, ServerOptions};

use super::log::Log;
use super::{Service, sandbox};
use crate::exit::{Exit, Failure};
use crate::itself;
use crate::signals;

impl Service {
    /// Has whoever connects served by a process of its own, one line on stdout per session's start
    /// and end, until it is told to stop. Then what runs has a few seconds to end.
    pub(super) fn listen(
        &self,
        address: SocketAddr,
        options: ServerOptions,
    ) -> Result<Exit, Failure> {
        let keys = shown(&options.host_keys);
        let cannot = |e: io::Error| Failure::cannot("log to standard output", &e);
        let greeting = Log::stdout().map_err(cannot)?;
        let log = Log::stdout().map_err(cannot)?;
        let listener = Listener::bind(address, options, move |line| log.say(line))?;
        let stopper = listener.stopper()?;
        let (running, ended) = mpsc::channel::<()>();
        signals::exit_on_signal(move |_| {
            stopper.stop();
            // Nothing is ever sent: it returns when the listener is done.
            let _ = ended.recv();
        })?;
        let address = listener.local_addr();
        let limits = self.limits.shown();
        let fingerprint = listener.host_key_fingerprints().join(" ");
        greeting.say(&format!(
            "listening on {address}, {limits}, host key {keys} {fingerprint}"
        ));
        for gap in sandbox::gaps() {
            greeting.say(&format!("note: {gap}"));
        }
        listener.run(launch)?;
        drop(running);
        Ok(Exit::Ok)
    }
}

/// Starts this program for one client, with the words that it was started with itself.
fn launch(client: TcpStream, listener: UnixStream) -> io::Result<Box<dyn Process>> {
    let mut command = itself::command().map_err(|failure| io::Error::other(failure.message))?;
    command
        .arg0("hasync")
        .args(std::env::args_os().skip(1))
        .arg("--connection")
        .stdin(OwnedFd::from(client))
        .stdout(OwnedFd::from(listener));
    Ok(Box::new(command.spawn()?))
}

fn shown(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths
        .iter()
        .map(|path| escape(path.as_os_str().as_bytes()))
        .collect();
    names.join(" ")
}
