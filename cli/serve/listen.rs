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

use super::{Service, sandbox};
use crate::exit::{Exit, Failure};
use crate::itself;
use crate::out::Out;
use crate::signals;

impl Service {
    /// Has whoever connects served by a process of its own, one line on stdout per session's start
    /// and end, until it is told to stop. Then what runs has a few seconds to end.
    pub(super) fn listen(
        &self,
        address: SocketAddr,
        options: ServerOptions,
    ) -> Result<Exit, Failure> {
        let keys = options.host_keys.iter();
        let keys = shown(keys);
        let out = Out::stdout();
        let log = out.clone();
        let listener = Listener::bind(address, options, move |line| say(&log, line))?;
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
        say(
            &out,
            &format!("listening on {address}, {limits}, host key {keys} {fingerprint}"),
        );
        for gap in sandbox::gaps() {
            say(&out, &format!("note: {gap}"));
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

/// One line of the log, at once: it may be read through a pipe.
fn say(out: &Out, line: &str) {
    out.say(line);
    out.flush();
}

fn shown<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> String {
    let names: Vec<_> = paths
        .map(|path| escape(path.as_os_str().as_bytes()))
        .collect();
    names.join(" ")
}
