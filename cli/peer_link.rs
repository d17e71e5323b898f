//! The connection to the peer that pushes of named trees share: opened at the first push, kept
//! while pushes go well, opened again after one that did not.

use hasync_engine::{self as engine, Connection, Duplex, escape};
use hasync_transport::{Control, Throttle};

use crate::args::PushArgs;
use crate::config::{self, Config};
use crate::exit::{Exit, Failure};
use crate::reach::{self, Reach};
use crate::target::{self, Target};

/// The way to the peer, and the connection if there is one.
pub(crate) struct PeerLink {
    target: Target,
    /// What says that this is the peer, for a message that it is not.
    said_by: String,
    reach: Reach,
    bytes_per_s: Option<u64>,
    open: Option<(Connection, Box<dyn Control>)>,
}

impl PeerLink {
    /// The way that the configuration gives.
    pub(crate) fn configured(config: &Config) -> Result<Self, Failure> {
        Ok(PeerLink {
            target: configured_host(config)?,
            said_by: said_by(config),
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
        let (target, said_by) = match host {
            Some(word) => {
                let typed = escape(word.as_encoded_bytes());
                (target::host(word)?, format!("HOST \"{typed}\""))
            }
            None => (configured_host(config)?, said_by(config)),
        };
        Ok(PeerLink {
            target,
            said_by,
            reach: Reach::of_peer(args, &config.peer)?,
            bytes_per_s: args.bwlimit.map_or(config.peer.bwlimit, |rate| rate.0),
            open: None,
        })
    }

    /// Whether a connection is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The peer's host.
    pub(crate) fn host(&self) -> Option<&str> {
        self.target.host()
    }

    /// Runs `push` over the connection. If it fails, the reason is the better one of ours and the
    /// peer's, and the next push gets a new connection where that has ended this one.
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
            Err(error) if connection.goes_on() => {
                self.open = Some((connection, control));
                Err(error.into())
            }
            Err(error) => {
                drop(connection);
                let is_own_node = error.kind == engine::ErrorKind::OwnNode;
                let mut failure = reach::explain(error, control, &self.target);
                if is_own_node {
                    failure.message = format!("{}: {}", self.said_by, failure.message);
                }
                Err(failure)
            }
        }
    }

    /// Where the peer's configuration is another one than this.
    pub(crate) fn differences(&mut self, config: &Config) -> Result<Vec<String>, Failure> {
        // It tells whoever shares a tree with it: the first that it knows.
        for tree in &config.trees {
            let tree = tree.on(&config.node);
            match self.push(|connection| connection.ask_terms(&tree)) {
                Ok(there) => return Ok(config::differences(&config.terms, &there)),
                Err(failure) if !self.is_open() => return Err(failure),
                Err(_) => {}
            }
        }
        Ok(Vec::new())
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

/// Where the configuration says who the peer is, or what it does not say.
fn said_by(config: &Config) -> String {
    let file = config.shown_file();
    let host = escape(config.peer.host.as_deref().unwrap_or_default().as_bytes());
    match config.peer.host_line {
        Some(line) => format!("{file}:{line}: [peer] host \"{host}\" is wrong here"),
        None => format!(
            "{file}: [peer] host is missing, and \"{host}\", which follows from the name {} of \
             this node, is wrong",
            escape(config.node.name.as_bytes())
        ),
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
