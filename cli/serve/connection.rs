//! `hasync serve --listen … --connection`: the process that serves one client of the listener. Its
//! standard input is the client's socket, its standard output a socket to the listener.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use hasync_engine::ServePolicy;
use hasync_transport::ssh::server::{Connection, PeerInfo, Report, ServerOptions};
use hasync_transport::{self as transport, Link};
use rustix::io::Errno;

use super::limits::Limits;
use super::{Service, serve};
use crate::exit::{Exit, Failure};

impl Service {
    /// Serves one client, in this thread until it runs a command.
    pub(super) fn connection(self, options: ServerOptions) -> Result<Exit, Failure> {
        // Started by /proc/self/exe, it would be shown as "exe".
        let _ = rustix::thread::set_name(c"hasync");
        let (client, listener) = descriptors()?;
        let connection = Connection::new(client, listener, options)?;
        let report = connection.report();
        let policy = self.enter()?;
        connection.serve(move |link, peer| self.session(link, &peer, &policy, &report));
        Ok(Exit::Ok)
    }

    /// What the peer is confined to, by its key too.
    fn limits_of(&self, peer: &PeerInfo) -> Result<Limits, Failure> {
        let Some(words) = &peer.forced else {
            return Ok(self.limits.clone());
        };
        let narrowed = self.limits.narrowed(words, self.config.as_deref());
        narrowed.map_err(|why| Failure::usage(format!("the command= of its key: {why}")))
    }

    /// One push of a peer that logged in; gives the exit status that its side is told.
    fn session(&self, link: Link, peer: &PeerInfo, policy: &ServePolicy, report: &Report) -> u32 {
        // Who it is, the log of the login has just said.
        let served = self.limits_of(peer).and_then(|limits| {
            report.log(format_args!("push began, {}", limits.shown()));
            serve(link, &limits, &limits.applied_to(policy.clone()))
        });
        match served {
            Ok(()) => {
                report.log("push ended");
                Exit::Ok as u32
            }
            Err(Failure { exit, message }) => {
                report.log(format_args!("push ended: {message} (exit {exit})"));
                exit as u32
            }
        }
    }
}

/// The client's socket and the listener's.
fn descriptors() -> Result<(TcpStream, UnixStream), Failure> {
    let (client, listener) = transport::take_stdio()?;
    let is_socket = |fd: &OwnedFd| rustix::net::getsockname(fd) != Err(Errno::NOTSOCK);
    if !is_socket(&client) || !is_socket(&listener) {
        return Err(Failure::usage(
            "--connection is for the processes that hasync serve --listen starts",
        ));
    }
    Ok((client.into(), listener.into()))
}
