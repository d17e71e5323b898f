//! `hasync serve --listen`: an SSH server of its own, for a standby without sshd.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hasync_engine::escape;
use hasync_transport::Link;
use hasync_transport::ssh::server::{self, PeerInfo, ServerOptions};

use super::Service;
use crate::exit::{Exit, Failure};
use crate::out::Out;

impl Service {
    /// Serves whoever logs in, one line on stdout per session's start and end, until it is killed.
    pub(super) fn listen(
        self,
        address: SocketAddr,
        authorized_keys: &Path,
        host_key: &Path,
    ) -> Result<Exit, Failure> {
        let out = Out::stdout();
        let (log, session_log) = (out.clone(), out.clone());
        let options = ServerOptions {
            log: Arc::new(move |line| say(&log, line)),
            ..ServerOptions::new(address, authorized_keys.to_owned(), host_key.to_owned())
        };
        let roots = shown_roots(&self.roots);
        let handler = move |link, peer| self.session(link, &peer, &session_log);
        let server = server::listen(options, handler)?;
        let key = escape(host_key.as_os_str().as_bytes());
        let address = server.local_addr();
        let fingerprint = server.host_key_fingerprints().join(" ");
        say(
            &out,
            &format!("listening on {address}, {roots}, host key {key} {fingerprint}"),
        );
        server.wait();
        Ok(Exit::Ok)
    }

    /// One push of a peer that logged in; gives the exit status that its side is told.
    fn session(&self, link: Link, peer: &PeerInfo, log: &Out) -> u32 {
        // Who it is, the log of the login has just said.
        let address = peer.address;
        say(log, &format!("{address}: push began"));
        match self.serve(link) {
            Ok(()) => {
                say(log, &format!("{address}: push ended"));
                Exit::Ok as u32
            }
            Err(Failure { exit, message }) => {
                say(
                    log,
                    &format!("{address}: push ended: {message} (exit {exit})"),
                );
                exit as u32
            }
        }
    }
}

/// One line of the log, at once: it may be read through a pipe.
fn say(out: &Out, line: &str) {
    out.say(line);
    out.flush();
}

fn shown_roots(roots: &[PathBuf]) -> String {
    let names: Vec<_> = roots
        .iter()
        .map(|root| escape(root.as_os_str().as_bytes()))
        .collect();
    let word = if names.len() == 1 { "root" } else { "roots" };
    format!("{word} {}", names.join(" "))
}
