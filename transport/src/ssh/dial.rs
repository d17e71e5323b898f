//! From a name to a TCP connection: resolving, and trying each address with its share of the time.

use std::net::SocketAddr;

use hasync_engine::describe;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::config::{Family, Settings};
use super::destination::Destination;
use crate::{Error, ErrorKind};

/// How messages name what is being connected to.
#[derive(Clone)]
pub(crate) struct Target {
    /// `b`, or `b (10.0.0.2 port 2222)` where the configuration makes a difference.
    pub(crate) name: String,
    host: String,
    port: u16,
}

impl Target {
    pub(crate) fn new(destination: &Destination, settings: &Settings) -> Target {
        let (host, port) = (&settings.host_name, settings.port);
        let name = if *host == destination.host {
            format!("{host} port {port}")
        } else {
            format!("{} ({host} port {port})", destination.host)
        };
        Target {
            name,
            host: host.clone(),
            port,
        }
    }

    pub(crate) fn error(&self, kind: ErrorKind, what: impl std::fmt::Display) -> Error {
        Error::new(kind, format!("{}: {what}", self.name))
    }
}

/// Resolves and connects, all within the connect timeout.
pub(crate) async fn connect_tcp(target: &Target, settings: &Settings) -> Result<TcpStream, Error> {
    let limit = settings.connect_timeout;
    let deadline = Instant::now() + limit;
    let limit_s = limit.as_secs_f32();
    let addresses = timeout_at(deadline, resolve(target, settings.family))
        .await
        .map_err(|_| {
            let what = format_args!("resolving the name took longer than {limit_s} s");
            target.error(ErrorKind::Timeout, what)
        })??;
    let mut last = target.error(ErrorKind::NameNotResolved, "no address to connect to");
    let count = addresses.len();
    for (index, address) in addresses.into_iter().enumerate() {
        // Each address gets its share of what time is left.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (count - index).min(u32::MAX as usize) as u32;
        match timeout(share, dial(address, settings.bind_address)).await {
            Ok(Ok(tcp)) => {
                tcp.set_nodelay(true)
                    .map_err(|e| Error::io(format_args!("{address}"), &e))?;
                return Ok(tcp);
            }
            Ok(Err(e)) => {
                let hint = match e.kind() {
                    std::io::ErrorKind::ConnectionRefused => {
                        " (is sshd running there, and on this port?)"
                    }
                    _ => "",
                };
                let what = format_args!("connecting to {address} failed: {}{hint}", describe(&e));
                last = target.error(kind_of(&e), what);
            }
            Err(_) => {
                let what = format_args!("no answer from {address} within {limit_s} s");
                last = target.error(ErrorKind::Timeout, what);
            }
        }
    }
    Err(last)
}

fn kind_of(error: &std::io::Error) -> ErrorKind {
    match error.kind() {
        std::io::ErrorKind::TimedOut => ErrorKind::Timeout,
        _ => ErrorKind::Unreachable,
    }
}

async fn dial(to: SocketAddr, from: Option<SocketAddr>) -> std::io::Result<TcpStream> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(from) = from.filter(|from| from.is_ipv4() == to.is_ipv4()) {
        socket.bind(from)?;
    }
    socket.connect(to).await
}

pub(super) async fn resolve(target: &Target, family: Family) -> Result<Vec<SocketAddr>, Error> {
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
    let mut addresses: Vec<SocketAddr> = found
        .map_err(|e| {
            let why = e.to_string();
            let why = why.trim_start_matches("failed to lookup address information: ");
            let what = format_args!("the name could not be resolved: {}", why.to_lowercase());
            target.error(ErrorKind::NameNotResolved, what)
        })?
        .filter(|address| match family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        })
        .collect();
    addresses.dedup();
    if addresses.is_empty() {
        let what = "it has no address of the family that -4, -6 or AddressFamily asks for";
        return Err(target.error(ErrorKind::NameNotResolved, what));
    }
    Ok(addresses)
}
