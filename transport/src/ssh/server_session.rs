//! One connection of the SSH server: its login, and the commands it runs, one after the other.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use russh::keys::{Algorithm, ssh_key::PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey, run_stream,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Disconnect, Pty};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::authorized_keys::{AuthorizedKeys, Grant};
use super::client::lost;
use super::command_line::serve_arguments;
use super::hostkey::fingerprint;
use super::report::{LET_IN, Report, Said};
use super::runner::Runtime;
use super::server::{Connection, JudgeForced, PeerInfo};
use super::socket::{Counters, Socket};
use super::state::{Arrival, ChannelState, Phase};
use super::stream::{ChannelReader, ChannelWriter};
use crate::{Control, Error, ErrorKind, Finish, Link, Traffic};

/// What runs a command: gives its exit status.
pub(crate) type RunCommand = Box<dyn Fn(Link, PeerInfo) -> u32 + Send + Sync>;

/// Serves a connection to its end.
pub(crate) async fn serve(connection: Connection, handler: RunCommand) -> Result<(), Error> {
    let Connection {
        tcp,
        address,
        listener,
        report,
        options,
        config,
        keys,
    } = connection;
    let setting_up = |e: std::io::Error| Error::io("setting up the connection", &e);
    let tcp = tokio::net::TcpStream::from_std(tcp).map_err(setting_up)?;
    let listener = tokio::net::UnixStream::from_std(listener).map_err(setting_up)?;
    let stall_limit = options.limits.stall_limit();
    let (socket, counters) = Socket::new(tcp, stall_limit);
    let (answer, answers) = mpsc::channel(1);
    let (gone, mut listener_gone) = watch::channel(false);
    tokio::spawn(hear(listener, answer, gone));

    let (workers, mut all_done) = mpsc::channel(1);
    let current = Arc::new(Mutex::new(None));
    let busy: Arc<AtomicBool> = Arc::default();
    let callbacks = Callbacks {
        address,
        keys,
        judge_forced: options.judge_forced,
        handler: Arc::new(handler),
        report,
        answers,
        counters,
        runtime: Handle::current(),
        grant: None,
        busy: Arc::clone(&busy),
        slot: None,
        current: Arc::clone(&current),
        workers: workers.downgrade(),
    };

    let broken = |failure: Failure| match failure {
        // With nothing running, however a client goes is its own affair.
        Failure::Ssh(error) if is_farewell(&error) && !busy.load(Ordering::Acquire) => Ok(()),
        Failure::Ssh(error) => Err(lost("by the client", &error, stall_limit)),
        Failure::Own(what) => Err(Error::new(ErrorKind::Closed, what)),
    };
    let stopped = || Error::new(ErrorKind::Closed, "dropped: the server stops");
    let mut session = tokio::select! {
        session = run_stream(config, socket, callbacks) => match session {
            Ok(session) => session,
            Err(failure) => return broken(failure),
        },
        _ = listener_gone.wait_for(|gone| *gone) => return Err(stopped()),
    };
    let ended = tokio::select! {
        ended = &mut session => ended.or_else(broken),
        _ = listener_gone.wait_for(|gone| *gone) => Err(stopped()),
    };

    let running: Option<Arc<ChannelState>> = current
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(state) = running {
        let left = || Error::new(ErrorKind::Closed, "the client disconnected");
        state.end(Phase::Lost(ended.clone().err().unwrap_or_else(left)));
    }
    if ended.is_err() {
        let handle = session.handle();
        let goodbye = handle.disconnect(Disconnect::ByApplication, String::new(), String::new());
        let _ = timeout(GOODBYE_WAIT, goodbye).await;
    }
    // What still runs may take its time, unless the server stops: it needs this runtime.
    drop(workers);
    let all_done = async { while all_done.recv().await.is_some() {} };
    let too_long = async {
        let _ = listener_gone.wait_for(|gone| *gone).await;
        sleep(STOP_WAIT).await;
    };
    tokio::select! {
        () = all_done => {}
        () = too_long => {}
    }
    ended
}

/// Hands on the listener's answers, and then its end.
async fn hear(mut listener: UnixStream, answer: mpsc::Sender<bool>, gone: watch::Sender<bool>) {
    while let Ok(byte) = listener.read_u8().await {
        if answer.send(byte == LET_IN).await.is_err() {
            break;
        }
    }
    drop(answer);
    let _ = gone.send(true);
}

/// The client has gone, in whatever way clients go.
fn is_farewell(error: &russh::Error) -> bool {
    match error {
        russh::Error::Disconnect | russh::Error::HUP => true,
        russh::Error::IO(e) => e.kind() != std::io::ErrorKind::TimedOut,
        _ => false,
    }
}

struct Callbacks {
    address: SocketAddr,
    keys: AuthorizedKeys,
    judge_forced: JudgeForced,
    handler: Arc<RunCommand>,
    report: Report,
    /// Of the listener, to [`Said::ProvedKey`].
    answers: mpsc::Receiver<bool>,
    counters: Arc<Counters>,
    runtime: Handle,
    /// Set by the login.
    grant: Option<(Grant, PeerInfo)>,
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
            self.report
                .log(format_args!("key {key} of {user:?} refused: {why}"));
        };
        if matches!(algorithm, Algorithm::Rsa { hash: None }) {
            refuse("it signs with SHA-1");
            return None;
        }
        let blob = key.to_bytes().ok()?;
        let address = self.address.ip();
        match self.keys.look_up(&blob, address, &*self.judge_forced) {
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
        let (handler, busy) = (Arc::clone(&self.handler), Arc::clone(&self.busy));
        let run = move || {
            let run = AssertUnwindSafe(|| handler(link, peer));
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
        let peer = PeerInfo {
            address: self.address,
            user: user.to_owned(),
            key_fingerprint: fingerprint(key.public_key).to_string(),
            key_comment: grant.comment.clone(),
            forced: grant.forced.clone(),
            arguments: Vec::new(),
        };
        let (key, comment) = (&peer.key_fingerprint, &peer.key_comment);
        let what = format!("logged in as {user:?} with key {key} {comment:?}");
        self.report.say(&Said::ProvedKey(what));
        match self.answers.recv().await {
            Some(true) => {
                self.grant = Some((grant, peer));
                Ok(Auth::Accept)
            }
            Some(false) => Ok(Auth::reject()),
            None => Err(Failure::Own("dropped: the server stops")),
        }
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
                self.report
                    .log(format_args!("refused to run {command:?}: {why}"));
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
            self.report.log(format_args!("cannot start a thread: {e}"));
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

    fn set_deadline(&self, deadline: Option<Instant>) {
        self.state.set_deadline(deadline);
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
/// How long what runs may go on when the server stops.
const STOP_WAIT: Duration = Duration::from_secs(8);
/// How long the last messages of a command may take.
const END_WAIT: Duration = Duration::from_secs(10);
