//! The SSH client: from a destination to the open stream of a command there. Every step has a
//! deadline, and each says for itself what failed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hasync_engine::describe;
use russh::client::{DisconnectReason, Handle, Handler, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Sig, SshId};
use tokio::time::{Instant, timeout, timeout_at};

use super::auth::authenticate;
use super::config::{self, Family, Settings};
use super::destination::{Destination, Environment};
use super::dial::{Target, connect_tcp};
use super::hostkey::HostKeys;
use super::runner::{Running, Runtime};
use super::socket::{Counters, Socket};
use super::state::{Arrival, ChannelState, Phase};
use super::stream::{ChannelReader, ChannelWriter};
use super::{PACKET_LEN, QUEUE_PACKETS, WINDOW_LEN, algorithms, limits};
use crate::{Control, Error, ErrorKind, Finish, Link, Traffic};

/// What the caller decides, before the configuration files are asked.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Read instead of `~/.ssh/config` and `/etc/ssh/ssh_config`.
    pub config_file: Option<PathBuf>,
    /// Used instead of the user's and the global known_hosts files.
    pub known_hosts: Option<PathBuf>,
    /// Private keys to try, and no others.
    pub identities: Vec<PathBuf>,
    /// For the TCP connection; 10 s unless `ConnectTimeout` says otherwise.
    pub connect_timeout: Option<Duration>,
    /// Addresses that are tried, in place of `AddressFamily`.
    pub family: Option<Family>,
    /// For key exchange, authentication and the start of the command together.
    pub handshake_timeout: Duration,
    /// Renew keys after this many bytes each way instead of 1 GiB.
    pub rekey_len: Option<u64>,
    /// The local user.
    pub environment: Environment,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            config_file: None,
            known_hosts: None,
            identities: Vec::new(),
            connect_timeout: None,
            family: None,
            handshake_timeout: Duration::from_secs(30),
            rekey_len: None,
            environment: Environment::default(),
        }
    }
}

/// Connects to `destination`, logs in, and starts `command` there: its standard input and output
/// are the link. The command is one string, for the login shell of the user there.
pub fn connect(
    destination: &Destination,
    command: &str,
    options: &ClientOptions,
) -> Result<Link, Error> {
    config::check_host(destination)?;
    let settings = config::settings(destination, options)?;
    let running = Arc::new(Running::start("ssh client")?);
    let state = ChannelState::new(&destination.host, true);
    let work = open(
        Target::new(destination, &settings),
        settings,
        options.clone(),
        command.to_owned(),
        Arc::clone(&state),
    );
    let gone = || Error::new(ErrorKind::Io, "the ssh thread ended");
    let opened = running.run(work).ok_or_else(gone)??;

    let write_half = Arc::new(opened.write_half);
    let runtime = Runtime::Own(Arc::clone(&running));
    Ok(Link {
        reader: Box::new(ChannelReader::new(
            opened.read_half,
            Arc::clone(&state),
            runtime.clone(),
        )),
        writer: Box::new(ChannelWriter::new(write_half, Arc::clone(&state), runtime)),
        peer: destination.host.clone(),
        control: Box::new(ClientControl {
            session: opened.session,
            counters: opened.counters,
            state,
            running,
        }),
    })
}

struct Opened {
    session: Handle<Callbacks>,
    read_half: ChannelReadHalf,
    write_half: ChannelWriteHalf<russh::client::Msg>,
    counters: Arc<Counters>,
}

async fn open(
    target: Target,
    settings: Settings,
    options: ClientOptions,
    command: String,
    state: Arc<ChannelState>,
) -> Result<Opened, Error> {
    let tcp = connect_tcp(&target, &settings).await?;
    let address = tcp.peer_addr();
    let address = address.map_err(|e| target.error(ErrorKind::Closed, describe(&e)))?;
    let host_keys = HostKeys::load(&settings, Some(&address))?;
    let deadline = Instant::now() + options.handshake_timeout;
    let limit_s = options.handshake_timeout.as_secs();
    let late = |doing: &str| {
        target.error(
            ErrorKind::Timeout,
            format_args!("{doing} took longer than {limit_s} s"),
        )
    };

    let config = Arc::new(session_config(&settings, &host_keys));
    let alive = settings.alive_interval.unwrap_or(Duration::from_secs(15));
    let stall_limit = alive * (settings.alive_count_max as u32).saturating_add(1);
    let (socket, counters) = Socket::new(tcp, stall_limit);
    let callbacks = Callbacks {
        host_keys,
        state: Arc::clone(&state),
        name: target.name.clone(),
        stall_limit,
    };
    let mut session = timeout_at(
        deadline,
        russh::client::connect_stream(config, socket, callbacks),
    )
    .await
    .map_err(|_| late("the key exchange"))?
    .map_err(|failure| failure.into_error(&target.name, "during key exchange", stall_limit))?;

    let login = authenticate(&mut session, &settings, options.environment.uid);
    timeout_at(deadline, login)
        .await
        .map_err(|_| late("authentication"))?
        .map_err(|e| {
            let user = &settings.user;
            target.error(e.kind(), format_args!("login as {user} failed: {e}"))
        })?;

    let started = start(&session, &target, &command, &state);
    let (read_half, write_half) = timeout_at(deadline, started)
        .await
        .map_err(|_| late("starting the command"))??;
    Ok(Opened {
        session,
        read_half,
        write_half,
        counters,
    })
}

pub(crate) fn session_config(settings: &Settings, host_keys: &HostKeys) -> russh::client::Config {
    let mut preferred = settings.preferred.clone();
    algorithms::prefer_known_host_keys(&mut preferred, &host_keys.key_types());
    russh::client::Config {
        client_id: SshId::Standard(concat!("SSH-2.0-hasync_", env!("CARGO_PKG_VERSION")).into()),
        limits: limits(settings.rekey_len),
        window_size: WINDOW_LEN,
        maximum_packet_size: PACKET_LEN,
        channel_buffer_size: QUEUE_PACKETS,
        preferred,
        keepalive_interval: settings.alive_interval,
        keepalive_max: settings.alive_count_max,
        nodelay: true,
        ..russh::client::Config::default()
    }
}

/// Opens the one channel and starts the command on it.
async fn start(
    session: &Handle<Callbacks>,
    target: &Target,
    command: &str,
    state: &ChannelState,
) -> Result<(ChannelReadHalf, ChannelWriteHalf<russh::client::Msg>), Error> {
    let failed = |e: russh::Error| match &*state.phase().borrow() {
        Phase::Lost(error) => error.clone(),
        _ => target.error(
            ErrorKind::Closed,
            format_args!("opening a session failed: {e}"),
        ),
    };
    let channel = session.channel_open_session().await.map_err(failed)?;
    let (mut read_half, write_half) = channel.split();
    write_half.exec(true, command).await.map_err(failed)?;
    loop {
        match read_half.wait().await {
            Some(ChannelMsg::Success) => return Ok((read_half, write_half)),
            Some(ChannelMsg::Failure) => {
                let what = format_args!("the server refused to run: {command}");
                return Err(target.error(ErrorKind::Closed, what));
            }
            Some(ChannelMsg::Close) | None => return Err(failed(russh::Error::Disconnect)),
            Some(_) => {}
        }
    }
}

/// What russh calls while the session runs.
pub(crate) struct Callbacks {
    host_keys: HostKeys,
    state: Arc<ChannelState>,
    name: String,
    stall_limit: Duration,
}

/// An error of russh, or one of ours on its way through russh.
#[derive(Debug)]
pub(crate) enum Failure {
    Ssh(russh::Error),
    Own(Error),
}

impl From<russh::Error> for Failure {
    fn from(error: russh::Error) -> Failure {
        Failure::Ssh(error)
    }
}

impl Failure {
    fn into_error(self, name: &str, when: &str, stall_limit: Duration) -> Error {
        match self {
            Failure::Own(error) => error,
            Failure::Ssh(error) => {
                let error = lost(when, &error, stall_limit);
                Error::new(error.kind(), format!("{name}: {error}"))
            }
        }
    }
}

/// What a broken connection is called.
pub(crate) fn lost(when: &str, error: &russh::Error, stall_limit: Duration) -> Error {
    match error {
        russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout => silent(stall_limit),
        russh::Error::IO(e) if e.kind() == std::io::ErrorKind::TimedOut => silent(stall_limit),
        russh::Error::IO(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => {
            let what = format!("the connection broke {when}: {}", describe(e));
            Error::new(ErrorKind::Closed, what)
        }
        russh::Error::IO(_) | russh::Error::Disconnect | russh::Error::HUP => Error::new(
            ErrorKind::Closed,
            format!("the connection was closed {when}"),
        ),
        russh::Error::NoCommonAlgo { kind, ours, theirs } => {
            let (kind, ours, theirs) = (format!("{kind:?}"), ours.join(","), theirs.join(","));
            let what = format!(
                "no common {} algorithm: offered {ours}, the server has {theirs}",
                kind.to_lowercase()
            );
            Error::new(ErrorKind::Closed, what)
        }
        other => {
            let what = format!("the ssh connection failed {when}: {other}");
            Error::new(ErrorKind::Closed, what)
        }
    }
}

fn silent(stall_limit: Duration) -> Error {
    let what = format!("no sign of life for {} s", stall_limit.as_secs());
    Error::new(ErrorKind::Timeout, what)
}

impl Callbacks {
    fn admit(&self, arrival: Arrival, session: &mut Session) -> Result<(), Failure> {
        match arrival {
            Arrival::Admitted => Ok(()),
            Arrival::Late => Ok(session.send_keepalive(true)?),
            Arrival::TooMuch => {
                let what = format!("{}: sends more than is read: cut off", self.name);
                Err(Failure::Own(Error::new(ErrorKind::Closed, what)))
            }
        }
    }
}

impl Handler for Callbacks {
    type Error = Failure;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Failure> {
        match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => self
                .host_keys
                .check(key)
                .map(|()| true)
                .map_err(Failure::Own),
            // Never asked for, so never shown by an honest server.
            PublicKeyOrCertificate::Certificate(_) => Ok(false),
        }
    }

    async fn data(
        &mut self,
        _: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Failure> {
        let arrival = self.state.arrived(data.len()).await;
        self.admit(arrival, session)
    }

    async fn extended_data(
        &mut self,
        _: ChannelId,
        code: u32,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Failure> {
        if code == 1 {
            self.state.stderr(data);
        }
        let arrival = self.state.queued(data.len()).await;
        self.admit(arrival, session)
    }

    async fn exit_status(
        &mut self,
        _: ChannelId,
        code: u32,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.state.exit_status(code);
        Ok(())
    }

    async fn exit_signal(
        &mut self,
        _: ChannelId,
        signal: Sig,
        _: bool,
        _: &str,
        _: &str,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.state.exit_signal(&signal);
        Ok(())
    }

    async fn channel_close(&mut self, _: ChannelId, _: &mut Session) -> Result<(), Failure> {
        self.state.end(Phase::Closed);
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Failure>) -> Result<(), Failure> {
        let error = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                let said: String = info
                    .message
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(200)
                    .collect();
                let what = format!("{}: the server disconnected: {said}", self.name);
                Error::new(ErrorKind::Closed, what)
            }
            DisconnectReason::Error(failure) => {
                failure.into_error(&self.name, "in mid-stream", self.stall_limit)
            }
        };
        self.state.end(Phase::Lost(error));
        Ok(())
    }
}

struct ClientControl {
    session: Handle<Callbacks>,
    counters: Arc<Counters>,
    state: Arc<ChannelState>,
    running: Arc<Running>,
}

impl Control for ClientControl {
    fn finish(self: Box<Self>) -> Result<Finish, Error> {
        let mut phase = self.state.phase();
        let limit = self.state.finish_wait();
        let ended = self.running.handle().block_on(async {
            let ended = timeout(limit, phase.wait_for(|now| !matches!(now, Phase::Open)));
            let ended = ended.await.map(|phase| phase.map(|phase| phase.clone()));
            self.say_goodbye().await;
            ended
        });
        match ended {
            Ok(Ok(Phase::Lost(error))) => Err(error),
            Ok(_) => Ok(Finish {
                traffic: self.counters.traffic(),
                ..self.state.finish()
            }),
            Err(_) => {
                let peer = &self.state.peer;
                let what = format!("{peer}: did not end within {} s", limit.as_secs());
                Err(Error::new(ErrorKind::Timeout, what))
            }
        }
    }

    fn leave(self: Box<Self>) -> Traffic {
        self.running.handle().block_on(self.say_goodbye());
        self.counters.traffic()
    }

    fn set_io_timeout(&self, limit: Option<Duration>) {
        self.state.set_io_timeout(limit);
    }

    fn set_deadline(&self, deadline: Option<std::time::Instant>) {
        self.state.set_deadline(deadline);
    }

    fn traffic(&self) -> Traffic {
        self.counters.traffic()
    }
}

impl ClientControl {
    async fn say_goodbye(&self) {
        let goodbye = self.session.disconnect(Disconnect::ByApplication, "", "en");
        let _ = timeout(GOODBYE_WAIT, goodbye).await;
        // The session closes its end of the queue when the message is out.
        let _ = timeout(GOODBYE_WAIT, closed(&self.session)).await;
    }
}

async fn closed(session: &Handle<Callbacks>) {
    while !session.is_closed() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// How long saying goodbye may take.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);
