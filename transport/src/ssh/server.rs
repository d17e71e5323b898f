//! The SSH server, for nodes without sshd. It offers one thing: `hasync serve` for the keys of an
//! authorized_keys file. There is no shell, no pty, no forwarding, no sftp, and the environment a
//! client sends is ignored.
//!
//! A [`Listener`] takes connections in and has each served by a process of its own, which makes a
//! [`Connection`] of what it was handed.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::{MethodKind, MethodSet, SshId};
use tokio::runtime::Builder;

use super::authorized_keys::AuthorizedKeys;
use super::hostkey::fingerprint;
use super::server_session::{self, RunCommand};
use super::{PACKET_LEN, QUEUE_PACKETS, WINDOW_LEN, algorithms, keys::read_host_key, limits};
use crate::{Error, ErrorKind, Link};

pub use super::listener::{Listener, Process, Stopper};
pub use super::report::Report;

/// Whether the arguments of a forced command make sense; if not, why.
pub type JudgeForced = Arc<dyn Fn(&[String]) -> Result<(), String> + Send + Sync>;

/// Whom to admit, and with which identity.
#[derive(Clone)]
pub struct ServerOptions {
    /// In the syntax of sshd. Read anew for each connection.
    pub authorized_keys: PathBuf,
    /// Private keys in OpenSSH or PEM format; at least one.
    pub host_keys: Vec<PathBuf>,
    /// What one client or many can use up.
    pub limits: ServerLimits,
    /// Refuses a key whose forced `hasync serve` has arguments that make no sense, and says why.
    pub judge_forced: JudgeForced,
}

impl ServerOptions {
    /// Default limits, one host key, and any arguments of a forced command.
    pub fn new(authorized_keys: PathBuf, host_key: PathBuf) -> ServerOptions {
        ServerOptions {
            authorized_keys,
            host_keys: vec![host_key],
            limits: ServerLimits::default(),
            judge_forced: Arc::new(|_| Ok(())),
        }
    }
}

/// Bounds of the server.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Connections that have no process yet.
    pub waiting_max: usize,
    /// Processes whose clients are not logged in yet.
    pub logins_max: usize,
    /// Processes whose clients are.
    pub sessions_max: usize,
    /// Login attempts on one connection.
    pub auth_attempts_max: usize,
    /// From the connection to the end of the login.
    pub login_timeout: Duration,
    /// After this silence a client gets a process although it has not spoken, if there is room.
    pub patience: Duration,
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
            waiting_max: 256,
            logins_max: 16,
            sessions_max: 16,
            auth_attempts_max: 6,
            login_timeout: Duration::from_secs(30),
            patience: Duration::from_millis(500),
            alive_interval: Duration::from_secs(15),
            alive_count_max: 2,
            rekey_len: None,
        }
    }
}

impl ServerLimits {
    /// How long a client may be silent.
    pub(crate) fn stall_limit(&self) -> Duration {
        self.alive_interval * u32::try_from(self.alive_count_max + 1).unwrap_or(u32::MAX)
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

/// One client, in the process that serves nobody else.
pub struct Connection {
    pub(crate) tcp: TcpStream,
    pub(crate) address: SocketAddr,
    pub(crate) listener: UnixStream,
    pub(crate) report: Report,
    pub(crate) options: ServerOptions,
    pub(crate) config: Arc<russh::server::Config>,
    pub(crate) keys: AuthorizedKeys,
}

impl Connection {
    /// From what the listener hands on. Reads all keys, and nothing of the client's. No
    /// thread is started before [`Connection::serve`].
    pub fn new(
        tcp: TcpStream,
        listener: UnixStream,
        options: ServerOptions,
    ) -> Result<Connection, Error> {
        let setting_up = |e: io::Error| Error::io("setting up the connection", &e);
        let address = tcp.peer_addr().map_err(setting_up)?;
        tcp.set_nonblocking(true).map_err(setting_up)?;
        tcp.set_nodelay(true).map_err(setting_up)?;
        listener.set_nonblocking(true).map_err(setting_up)?;
        Ok(Connection {
            address,
            tcp,
            report: Report::new(listener.try_clone().map_err(setting_up)?),
            listener,
            config: Arc::new(session_config(&options)?),
            keys: AuthorizedKeys::read(&options.authorized_keys),
            options,
        })
    }

    /// Writes into the listener's log.
    pub fn report(&self) -> Report {
        self.report.clone()
    }

    /// Serves the client to its end, and says in the log how it came. `handler` gets each started
    /// command as a link, in a thread of its own, and returns its exit status; one connection runs
    /// one command at a time. When the listener is gone, what runs has a few seconds to end.
    pub fn serve(self, handler: impl Fn(Link, PeerInfo) -> u32 + Send + Sync + 'static) {
        let report = self.report.clone();
        // Not in the main thread, whose heap goes back to the kernel, page by page, whenever its
        // end is free: packets come and go there, and would be a fifth slower.
        let serve = move || self.serve_here(Box::new(handler));
        let thread = thread::Builder::new().name("ssh connection".to_owned());
        match thread.spawn(serve) {
            // A panic has been reported.
            Ok(thread) => drop(thread.join()),
            Err(e) => report.log(format_args!("not served: {e}")),
        }
    }

    fn serve_here(self, handler: RunCommand) {
        let report = self.report.clone();
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(e) => return report.log(format_args!("not served: {e}")),
        };
        match runtime.block_on(server_session::serve(self, handler)) {
            Ok(()) => report.log("connection closed"),
            Err(error) => report.log(error),
        }
        runtime.shutdown_background();
    }
}

/// `SHA256:…` of each host key.
pub(crate) fn host_key_fingerprints(options: &ServerOptions) -> Result<Vec<String>, Error> {
    let shown = |key: PrivateKey| fingerprint(key.public_key()).to_string();
    Ok(host_keys(options)?.into_iter().map(shown).collect())
}

fn host_keys(options: &ServerOptions) -> Result<Vec<PrivateKey>, Error> {
    let uid = rustix::process::geteuid().as_raw();
    let read = |path: &PathBuf| read_host_key(path, uid);
    let keys: Vec<PrivateKey> = options
        .host_keys
        .iter()
        .map(read)
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(Error::new(ErrorKind::Config, "the server needs a host key"));
    }
    Ok(keys)
}

fn session_config(options: &ServerOptions) -> Result<russh::server::Config, Error> {
    let limits = &options.limits;
    Ok(russh::server::Config {
        server_id: SshId::Standard(concat!("SSH-2.0-hasync_", env!("CARGO_PKG_VERSION")).into()),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // Guessing a key is hopeless at any speed, so a refusal need not be slow.
        auth_rejection_time: Duration::ZERO,
        keys: host_keys(options)?,
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

const INACTIVITY_LIMIT: Duration = Duration::from_secs(600);
