//! One connection of the SSH server: its login, and the commands it runs, one after the other.

use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::keys::{Algorithm, ssh_key::PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey, run_stream,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Pty};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::authorized_keys::{Grant, look_up};
use super::client::lost;
use super::command_line::serve_arguments;
use super::hostkey::fingerprint;
use super::runner::Runtime;
use super::server::{PeerInfo, Place, Shared};
use super::socket::{Counters, Socket};
use super::state::{Arrival, ChannelState, Phase};
use super::stream::{ChannelReader, ChannelWriter};
use crate::{Control, Error, ErrorKind, Finish, Link, Traffic};

/// Serves a connection to its end, in the calling thread.
pub(crate) fn serve_connection(
    tcp: TcpStream,
    address: SocketAddr,
    shared: &Arc<Shared>,
    login_place: Place,
) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return shared.log(address, format_args!("not served: {e}")),
    };
    let ended = runtime.block_on(serve(tcp, address, shared, login_place));
    match ended {
        Ok(()) => shared.log(address, "connection closed"),
        Err(error) => shared.log(address, error),
    }
    runtime.shutdown_background();
}

async fn serve(
    tcp: TcpStream,
    address: SocketAddr,
    shared: &Arc<Shared>,
    login_place: Place,
) -> Result<(), Error> {
    let setting_up = |e: std::io::Error| Error::io("setting up the connection", &e);
    tcp.set_nonblocking(true).map_err(setting_up)?;
    let tcp = tokio::net::TcpStream::from_std(tcp).map_err(setting_up)?;
    tcp.set_nodelay(true).map_err(setting_up)?;
    let stall_limit = shared.stall_limit();
    let (socket, counters) = Socket::new(tcp, stall_limit);

    let (logged_in, mut login) = watch::channel(false);
    let (workers, mut all_done) = mpsc::channel(1);
    let current = Arc::new(Mutex::new(None));
    let callbacks = Callbacks {
        address,
        shared: Arc::clone(shared),
        counters,
        runtime: Handle::current(),
        logged_in,
        grant: None,
        login_place: Some(login_place),
        session_place: None,
        busy: Arc::default(),
        slot: None,
        current: Arc::clone(&current),
        workers: workers.downgrade(),
    };

    let limit = shared.options.limits.login_timeout;
    let deadline = Instant::now() + limit;
    let too_late = || {
        let what = format!("not logged in within {} s: dropped", limit.as_secs_f32());
        Error::new(ErrorKind::Timeout, what)
    };
    let name = address.to_string();
    let broken = |failure: Failure| match failure {
        Failure::Own(what) => Error::new(ErrorKind::Closed, what),
        Failure::Ssh(error) => lost(&name, "by the client", &error, stall_limit),
    };
    let config = Arc::clone(&shared.config);
    let mut session = timeout_at(deadline, run_stream(config, socket, callbacks))
        .await
        .map_err(|_| too_late())?
        .map_err(&broken)?;
    let mut stopped = shared.stopped.clone();
    let ended = tokio::select! {
        ended = &mut session => ended.map_err(&broken),
        () = logged_in_or_late(&mut login, deadline) => Err(too_late()),
        _ = stopped.wait_for(|stopped| *stopped) => {
            Err(Error::new(ErrorKind::Closed, "dropped: the server stops"))
        }
    };

    let why = match &ended {
        Ok(()) => Error::new(
            ErrorKind::Closed,
            format!("{name}: the client disconnected"),
        ),
        Err(error) => error.clone(),
    };
    let running: Option<Arc<ChannelState>> = current
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(state) = running {
        state.end(Phase::Lost(why));
    }
    if ended.is_err() {
        let handle = session.handle();
        let why = (
            russh::Disconnect::ByApplication,
            String::new(),
            String::new(),
        );
        let _ = timeout(GOODBYE_WAIT, handle.disconnect(why.0, why.1, why.2)).await;
    }
    // What still runs may take its time: it needs this runtime to the end.
    drop(workers);
    while all_done.recv().await.is_some() {}
    ended
}

/// Returns when the deadline passes without a login; never after a login.
async fn logged_in_or_late(login: &mut watch::Receiver<bool>, deadline: Instant) {
    if timeout_at(deadline, login.wait_for(|logged_in| *logged_in))
        .await
        .is_ok()
    {
        std::future::pending::<()>().await;
    }
}

struct Callbacks {
    address: SocketAddr,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    runtime: Handle,
    logged_in: watch::Sender<bool>,
    /// Set by the login.
    grant: Option<(Grant, PeerInfo)>,
    login_place: Option<Place>,
    session_place: Option<Place>,
    /// A channel is open.
    busy: Arc<AtomicBool>,
    slot: Option<Slot>,
    /// The state of the open channel, for whoever learns that the connection broke.
    current: Arc<Mutex<Option<Arc<ChannelState>>>>,
    /// A sender is held by every running command and both ends of its stream.
    workers: mpsc::WeakSender<()>,
}

/// The open channel.
struct Slot {
    id: ChannelId,
    /// Until a command takes it.
    channel: Option<Channel<Msg>>,
    state: Arc<ChannelState>,
    requests: usize,
}

/// An error of russh, or a reason of ours to end the connection.
#[derive(Debug)]
pub(crate) enum Failure {
    Ssh(russh::Error),
    Own(&'static str),
}

impl From<russh::Error> for Failure {
    fn from(error: russh::Error) -> Failure {
        Failure::Ssh(error)
    }
}

impl Callbacks {
    fn admits(&self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Option<Grant> {
        let refuse = |why: &str| {
            let key = fingerprint(key);
            self.shared.log(
                self.address,
                format_args!("key {key} of {user:?} refused: {why}"),
            );
        };
        if matches!(algorithm, Algorithm::Rsa { hash: None }) {
            refuse("it signs with SHA-1");
            return None;
        }
        let blob = key.to_bytes().ok()?;
        match look_up(
            &self.shared.options.authorized_keys,
            &blob,
            self.address.ip(),
            &*self.shared.options.judge_forced,
        ) {
            Ok(grant) => Some(grant),
            Err(why) => {
                refuse(&why);
                None
            }
        }
    }

    /// Says no to a channel request, and ends a connection that keeps asking: each request takes
    /// memory in the channel's queue.
    fn refuse(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Failure> {
        session.channel_failure(id)?;
        self.count_request()
    }

    fn count_request(&mut self) -> Result<(), Failure> {
        if let Some(slot) = &mut self.slot {
            slot.requests += 1;
            if slot.requests > REQUESTS_MAX {
                return Err(Failure::Own("dropped: too many channel requests"));
            }
        }
        Ok(())
    }

    fn state(&self, id: ChannelId) -> Option<&Arc<ChannelState>> {
        self.slot
            .as_ref()
            .filter(|slot| slot.id == id)
            .map(|slot| &slot.state)
    }

    /// Starts the command in a thread of its own.
    fn start(
        &self,
        channel: Channel<Msg>,
        state: Arc<ChannelState>,
        peer: PeerInfo,
    ) -> std::io::Result<()> {
        let (read_half, write_half) = channel.split();
        let write_half = Arc::new(write_half);
        let runtime = Runtime::Of {
            handle: self.runtime.clone(),
            _alive: self.workers.upgrade(),
        };
        let link = Link {
            reader: Box::new(ChannelReader::new(
                read_half,
                Arc::clone(&state),
                runtime.clone(),
            )),
            writer: Box::new(ChannelWriter::new(
                Arc::clone(&write_half),
                Arc::clone(&state),
                runtime.clone(),
            )),
            peer: state.peer.clone(),
            control: Box::new(ServerControl {
                counters: Arc::clone(&self.counters),
                state,
            }),
        };
        let (shared, busy) = (Arc::clone(&self.shared), Arc::clone(&self.busy));
        let run = move || {
            let run = AssertUnwindSafe(|| (shared.handler)(link, peer));
            let code = catch_unwind(run).unwrap_or(EXIT_PANICKED);
            runtime.handle().block_on(end(&write_half, code, &busy));
        };
        std::thread::Builder::new()
            .name("serve".to_owned())
            .spawn(run)?;
        Ok(())
    }
}

fn admit(arrival: Arrival, session: &mut Session) -> Result<(), Failure> {
    match arrival {
        Arrival::Admitted => Ok(()),
        Arrival::Late => Ok(session.keepalive_request()?),
        Arrival::TooMuch => Err(Failure::Own("sends more than is read: cut off")),
    }
}

/// Tells the client how the command ended, and closes its channel.
async fn end(channel: &ChannelWriteHalf<Msg>, code: u32, busy: &AtomicBool) {
    let goodbye = async {
        let _ = channel.exit_status(code).await;
        // Before the client can know of the end and ask for the next channel.
        busy.store(false, Ordering::Release);
        let _ = channel.close().await;
    };
    let _ = timeout(END_WAIT, goodbye).await;
}

impl Handler for Callbacks {
    type Error = Failure;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Failure> {
        Ok(match self.admits(user, offer.public_key, offer.algorithm) {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Failure> {
        let Some(grant) = self.admits(user, key.public_key, key.algorithm) else {
            return Ok(Auth::reject());
        };
        let Some(place) = self.shared.enter_session() else {
            self.shared.log(self.address, "refused: too many sessions");
            return Ok(Auth::reject());
        };
        let peer = PeerInfo {
            address: self.address,
            user: user.to_owned(),
            key_fingerprint: fingerprint(key.public_key).to_string(),
            key_comment: grant.comment.clone(),
            forced: grant.forced.clone(),
            arguments: Vec::new(),
        };
        let (key, comment) = (&peer.key_fingerprint, &peer.key_comment);
        let what = format_args!("logged in as {user:?} with key {key} {comment:?}");
        self.shared.log(self.address, what);
        self.grant = Some((grant, peer));
        self.session_place = Some(place);
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), Failure> {
        self.login_place = None;
        let _ = self.logged_in.send(true);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Failure> {
        if self.busy.swap(true, Ordering::AcqRel) {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        let state = ChannelState::new(&self.address.ip().to_canonical().to_string(), false);
        let current = Some(Arc::clone(&state));
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
        self.slot = Some(Slot {
            id: channel.id(),
            channel: Some(channel),
            state,
            requests: 0,
        });
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Failure> {
        let arguments = match serve_arguments(command) {
            Ok(arguments) => arguments,
            Err(why) => {
                let command: String = String::from_utf8_lossy(command).chars().take(200).collect();
                self.shared.log(
                    self.address,
                    format_args!("refused to run {command:?}: {why}"),
                );
                return self.refuse(id, session);
            }
        };
        let Some((_, peer)) = &self.grant else {
            return self.refuse(id, session);
        };
        let peer = PeerInfo {
            arguments,
            ..peer.clone()
        };
        let slot = self.slot.as_mut().filter(|slot| slot.id == id);
        let Some((channel, state)) =
            slot.and_then(|slot| Some((slot.channel.take()?, Arc::clone(&slot.state))))
        else {
            return self.refuse(id, session);
        };
        session.channel_success(id)?;
        if let Err(e) = self.start(channel, state, peer) {
            self.shared
                .log(self.address, format_args!("cannot start a thread: {e}"));
            return Err(Failure::Own("dropped: out of threads"));
        }
        Ok(())
    }

    async fn data(
        &mut self,
        id: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Failure> {
        match self.state(id) {
            Some(state) => admit(state.arrived(data.len()).await, session),
            None => Ok(()),
        }
    }

    async fn extended_data(
        &mut self,
        id: ChannelId,
        _: u32,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Failure> {
        match self.state(id) {
            Some(state) => admit(state.queued(data.len()).await, session),
            None => Ok(()),
        }
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Failure> {
        if let Some(slot) = self.slot.take_if(|slot| slot.id == id) {
            slot.state.end(Phase::Closed);
            // A channel on which nothing was started has nobody else to give its place back.
            if slot.channel.is_some() {
                self.busy.store(false, Ordering::Release);
            }
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Failure> {
        self.refuse(id, session)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Failure> {
        self.refuse(id, session)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Failure> {
        self.refuse(id, session)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Failure> {
        self.refuse(id, session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Failure> {
        self.refuse(id, session)
    }

    async fn agent_request(&mut self, _: ChannelId, _: &mut Session) -> Result<bool, Failure> {
        self.count_request().map(|()| false)
    }

    async fn window_change_request(
        &mut self,
        _: ChannelId,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.count_request()
    }

    async fn signal(
        &mut self,
        _: ChannelId,
        _: russh::Sig,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.count_request()
    }
}

struct ServerControl {
    counters: Arc<Counters>,
    state: Arc<ChannelState>,
}

impl Control for ServerControl {
    /// A client has no exit status; it goes when it likes.
    fn finish(self: Box<Self>) -> Result<Finish, Error> {
        Ok(Finish {
            traffic: self.counters.traffic(),
            ..Finish::default()
        })
    }

    fn set_io_timeout(&self, limit: Option<Duration>) {
        self.state.set_io_timeout(limit);
    }

    fn traffic(&self) -> Traffic {
        self.counters.traffic()
    }
}

/// Channel requests of one channel; an OpenSSH client sends one for each variable of `SendEnv`.
const REQUESTS_MAX: usize = 256;
/// Exit status of a command whose handler panicked: "internal software error".
const EXIT_PANICKED: u32 = 70;
/// How long telling a client that it is dropped may take.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);
/// How long the last messages of a command may take.
const END_WAIT: Duration = Duration::from_secs(10);
