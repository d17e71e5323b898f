//! The connection to the peer that pushes of named trees share: opened at the first push, kept
//! while pushes go well, opened again after one that did not.

use hasync_engine::{self as engine, Connection, Duplex};
use hasync_transport::{Control, Throttle};

use crate::args::PushArgs;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::reach::{self, Reach};
use crate::target::{self, Target};

/// The way to the peer, and the connection if there is one.
pub(crate) struct PeerLink {
    target: Target,
    reach: Reach,
    bytes_per_s: Option<u64>,
    open: Option<(Connection, Box<dyn Control>)>,
}

impl PeerLink {
    /// The way that the configuration gives.
    pub(crate) fn configured(config: &Config) -> Result<Self, Failure> {
        Ok(PeerLink {
            target: configured_host(config)?,
            reach: Reach::from_peer(&config.peer),
            bytes_per_s: config.peer.bwlimit,
            open: None,
        })
    }

    /// The way that the command line and the configuration give. `host` is `[USER@]HOST` as typed.
    pub(crate) fn typed(
        args: &PushArgs,
        host: Option<&std::ffi::OsStr>,
        config: &Config,
    ) -> Result<Self, Failure> {
        let target = match host {
            Some(word) => target::host(word)?,
            None => configured_host(config)?,
        };
        Ok(PeerLink {
            target,
            reach: Reach::of_peer(args, &config.peer)?,
            bytes_per_s: args.bwlimit.map_or(config.peer.bwlimit, |rate| rate.0),
            open: None,
        })
    }

    /// Runs `push` over the connection. If it fails, the reason is the better one of ours and the
    /// peer's, and the next push gets a new connection.
    pub(crate) fn push<T>(
        &mut self,
        push: impl FnOnce(&mut Connection) -> Result<T, engine::Error>,
    ) -> Result<T, Failure> {
        let (mut connection, control) = match self.open.take() {
            Some((mut connection, control)) => match connection.check() {
                Ok(()) => (connection, control),
                // It died while nothing was asked of it: nothing is lost.
                Err(_) => self.connect()?,
            },
            None => self.connect()?,
        };
        match push(&mut connection) {
            Ok(result) => {
                self.open = Some((connection, control));
                Ok(result)
            }
            Err(error) => {
                drop(connection);
                Err(reach::explain(error, control, &self.target))
            }
        }
    }

    /// Lets the peer's half leave.
    pub(crate) fn close(&mut self) {
        if let Some((connection, control)) = self.open.take() {
            drop(connection);
            reach::close(control);
        }
    }

    fn connect(&self) -> Result<(Connection, Box<dyn Control>), Failure> {
        let link = reach::open(&self.target, &self.reach)?;
        let duplex = Duplex {
            reader: link.reader,
            writer: match self.bytes_per_s {
                Some(bytes_per_s) => Box::new(Throttle::new(link.writer, bytes_per_s)),
                None => link.writer,
            },
        };
        Ok((Connection::open(duplex), link.control))
    }
}

fn configured_host(config: &Config) -> Result<Target, Failure> {
    let Some(host) = config.peer.host.clone() else {
        return Err(Failure::new(
            Exit::Config,
            format!(
                "{} does not say who the peer of {} is; give [peer] host, or HOST behind \
                 the options",
                config.shown_file(),
                config.node.name
            ),
        ));
    };
    Ok(Target::Remote {
        user: config.peer.user.clone(),
        host,
        path: Vec::new(),
    })
}
