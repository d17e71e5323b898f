//! The SSH server, for nodes without sshd. It offers one thing: `hasync serve` for the keys of an
//! authorized_keys file. There is no shell, no child process, no pty, no forwarding, no sftp, and
//! the environment a client sends is ignored.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use russh::{MethodKind, MethodSet, SshId};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::hostkey::fingerprint;
use super::runner::Running;
use super::server_session::serve_connection;
use super::{
    PACKET_LEN, QUEUE_PACKETS, WINDOW_LEN, algorithms, authorized_keys, keys::read_host_key, limits,
};
use crate::error::Plain;
use crate::{Error, ErrorKind, Link};

/// Whether the arguments of a forced command make sense; if not, why.
pub type JudgeForced = Arc<dyn Fn(&[String]) -> Result<(), String> + Send + Sync>;

/// Where to listen, whom to admit, and with which identity.
#[derive(Clone)]
pub struct ServerOptions {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// In the syntax of sshd. Read anew at each login.
    pub authorized_keys: PathBuf,
    /// Private keys in OpenSSH or PEM format; at least one.
    pub host_keys: Vec<PathBuf>,
    /// What one client or many can use up.
    pub limits: ServerLimits,
    /// Refuses a key whose forced `hasync serve` has arguments that make no sense, and says why.
    pub judge_forced: JudgeForced,
    /// Gets one line about each login, refusal and end of a connection.
    pub log: Arc<dyn Fn(&str) + Send + Sync>,
}

impl ServerOptions {
    /// Default limits, one host key, no log, and any arguments of a forced command.
    pub fn new(address: SocketAddr, authorized_keys: PathBuf, host_key: PathBuf) -> ServerOptions {
        ServerOptions {
            address,
            authorized_keys,
            host_keys: vec![host_key],
            limits: ServerLimits::default(),
            judge_forced: Arc::new(|_| Ok(())),
            log: Arc::new(|_| ()),
        }
    }
}

/// Bounds of the server.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Connections that are not logged in yet.
    pub logins_max: usize,
    /// Connections that are.
    pub sessions_max: usize,
    /// Login attempts on one connection.
    pub auth_attempts_max: usize,
    /// From the connection to the end of the login.
    pub login_timeout: Duration,
    /// A client silent for this long is asked for a sign of life …
    pub alive_interval: Duration,
    /// … this many times, and then dropped.
    pub alive_count_max: usize,
    /// Renew keys after this many bytes each way instead of 1 GiB.
    pub rekey_len: Option<u64>,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            logins_max: 16,
            sessions_max: 16,
            auth_attempts_max: 6,
            login_timeout: Duration::from_secs(30),
            alive_interval: Duration::from_secs(15),
            alive_count_max: 2,
            rekey_len: None,
        }
    }
}

/// Who runs a command, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// The user name the client gave: any is accepted, the key decides.
    pub user: String,
    /// `SHA256:…` of the key.
    pub key_fingerprint: String,
    /// What authorized_keys says behind the key.
    pub key_comment: String,
    /// What stands behind `hasync serve` in the `command="…"` of its line, if there is one. It is
    /// to be heeded in place of `arguments`, and `judge_forced` has found nothing wrong with it.
    pub forced: Option<Vec<String>>,
    /// What the client wrote after `hasync serve`. Not to be trusted.
    pub arguments: Vec<String>,
}

/// Starts listening. `handler` gets each started command as a link, in a thread of its own, and
/// returns its exit status; one connection runs one command at a time.
pub fn listen(
    options: ServerOptions,
    handler: impl Fn(Link, PeerInfo) -> u32 + Send + Sync + 'static,
) -> Result<Server, Error> {
    let config = Arc::new(session_config(&options)?);
    authorized_keys::read(&options.authorized_keys)
        .map_err(|why| Error::new(ErrorKind::Config, format!("authorized keys: {why}")))?;
    let running = Running::start("ssh server")?;
    let address = options.address;
    let cannot = |e: std::io::Error| {
        Error::new(
            ErrorKind::Io,
            format!("listening on {address}: {}", Plain(&e)),
        )
    };
    let listener = running
        .handle()
        .block_on(TcpListener::bind(address))
        .map_err(cannot)?;
    let local_address = listener.local_addr().map_err(cannot)?;
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new(Shared {
        options,
        config,
        handler: Box::new(handler),
        stopped,
        logins: AtomicUsize::new(0),
        sessions: AtomicUsize::new(0),
        connections: AtomicUsize::new(0),
    });
    running
        .handle()
        .spawn(accept(listener, Arc::clone(&shared)));
    Ok(Server {
        local_address,
        stop,
        shared,
        _running: running,
    })
}

/// A listening server. Dropped, it stops as by [`Server::shutdown`].
pub struct Server {
    local_address: SocketAddr,
    stop: watch::Sender<bool>,
    shared: Arc<Shared>,
    _running: Running,
}

impl Server {
    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_address
    }

    /// `SHA256:…` of each host key, as `ssh-keygen -l` and a client's question show it; in the
    /// order of [`ServerOptions::host_keys`].
    pub fn host_key_fingerprints(&self) -> Vec<String> {
        let keys = self.shared.config.keys.iter();
        keys.map(|key| fingerprint(key.public_key()).to_string())
            .collect()
    }

    /// Serves until another thread or a signal ends the process.
    pub fn wait(&self) {
        loop {
            std::thread::park();
        }
    }

    /// Stops listening, closes all connections, and waits up to ten seconds for what runs on them.
    pub fn shutdown(self) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        let deadline = Instant::now() + SHUTDOWN_WAIT;
        while self.shared.connections.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What runs a command: gives its exit status.
type RunCommand = Box<dyn Fn(Link, PeerInfo) -> u32 + Send + Sync>;

/// What all connections of a server share.
pub(crate) struct Shared {
    pub(crate) options: ServerOptions,
    pub(crate) config: Arc<russh::server::Config>,
    pub(crate) handler: RunCommand,
    /// True when the server stops.
    pub(crate) stopped: watch::Receiver<bool>,
    logins: AtomicUsize,
    sessions: AtomicUsize,
    connections: AtomicUsize,
}

impl Shared {
    pub(crate) fn log(&self, address: SocketAddr, what: impl std::fmt::Display) {
        (self.options.log)(&format!("{address}: {what}"));
    }

    /// How long a client may be silent.
    pub(crate) fn stall_limit(&self) -> Duration {
        let limits = &self.options.limits;
        limits.alive_interval * u32::try_from(limits.alive_count_max + 1).unwrap_or(u32::MAX)
    }

    /// A place among the connections that are logging in.
    fn enter(self: &Arc<Shared>) -> Option<Place> {
        Place::take(
            self,
            |shared| &shared.logins,
            self.options.limits.logins_max,
        )
    }

    /// A place among the sessions.
    pub(crate) fn enter_session(self: &Arc<Shared>) -> Option<Place> {
        Place::take(
            self,
            |shared| &shared.sessions,
            self.options.limits.sessions_max,
        )
    }
}

/// One of a limited number of places; given back when dropped.
pub(crate) struct Place {
    shared: Arc<Shared>,
    count: fn(&Shared) -> &AtomicUsize,
}

impl Place {
    fn take(shared: &Arc<Shared>, count: fn(&Shared) -> &AtomicUsize, max: usize) -> Option<Place> {
        let one_more = |now: usize| (now < max).then_some(now + 1);
        count(shared)
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .ok()?;
        Some(Place {
            shared: Arc::clone(shared),
            count,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.count)(&self.shared).fetch_sub(1, Ordering::AcqRel);
    }
}

fn session_config(options: &ServerOptions) -> Result<russh::server::Config, Error> {
    let uid = rustix::process::geteuid().as_raw();
    let keys: Result<Vec<_>, Error> = options
        .host_keys
        .iter()
        .map(|path| read_host_key(path, uid))
        .collect();
    let keys = keys?;
    if keys.is_empty() {
        return Err(Error::new(ErrorKind::Config, "the server needs a host key"));
    }
    let limits = &options.limits;
    Ok(russh::server::Config {
        server_id: SshId::Standard(concat!("SSH-2.0-hasync_", env!("CARGO_PKG_VERSION")).into()),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // Guessing a key is hopeless at any speed, so a refusal need not be slow.
        auth_rejection_time: Duration::ZERO,
        keys,
        limits: self::limits(limits.rekey_len),
        window_size: WINDOW_LEN,
        maximum_packet_size: PACKET_LEN,
        channel_buffer_size: QUEUE_PACKETS,
        preferred: algorithms::preferred(),
        max_auth_attempts: limits.auth_attempts_max,
        // For what keepalives do not see: a client that never closes after saying goodbye.
        inactivity_timeout: Some(INACTIVITY_LIMIT),
        keepalive_interval: Some(limits.alive_interval),
        keepalive_max: limits.alive_count_max.max(1),
        nodelay: true,
        ..russh::server::Config::default()
    })
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut stopped = shared.stopped.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        match accepted {
            Ok((tcp, address)) => {
                let tcp = tcp.into_std();
                if let Err(e) = tcp.and_then(|tcp| start(tcp, address, &shared)) {
                    shared.log(address, format_args!("not served: {}", Plain(&e)));
                }
            }
            // Out of descriptors, most likely: wait for some to come back.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Gives the connection a thread, if there is a place for it.
fn start(tcp: TcpStream, address: SocketAddr, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(place) = shared.enter() else {
        shared.log(address, "refused: too many connections are logging in");
        return Ok(());
    };
    let Some(connection) = Place::take(shared, |shared| &shared.connections, usize::MAX) else {
        return Ok(());
    };
    let shared = Arc::clone(shared);
    let serve = move || {
        serve_connection(tcp, address, &shared, place);
        drop(connection);
    };
    std::thread::Builder::new()
        .name("ssh connection".to_owned())
        .spawn(serve)?;
    Ok(())
}

const INACTIVITY_LIMIT: Duration = Duration::from_secs(600);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const SHUTDOWN_WAIT: Duration = Duration::from_secs(10);
