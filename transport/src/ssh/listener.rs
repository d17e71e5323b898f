//! The listening half of the SSH server: one thread that waits for everything with epoll, and for
//! none of its connections alone. What it knows of each is in the [`Lobby`].

mod damper;
mod gate;
mod lobby;
mod named;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hasync_engine::describe;
use nix::sys::resource::{Resource, getrlimit};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use self::gate::FIRST_ID;
use self::lobby::Lobby;
use super::authorized_keys;
use super::server::{ServerLimits, ServerOptions, host_key_fingerprints};
use crate::{Error, ErrorKind};

/// A bound address, before [`Listener::run`] also while nobody is served.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    options: ServerOptions,
    host_key_fingerprints: Vec<String>,
    log: Log,
    stopper: Stopper,
    stopped: UnixStream,
}

/// Gets one line about each login, refusal and end of a connection.
pub(crate) type Log = Box<dyn Fn(&str) + Send>;

/// What serves one connection, as a listener sees it.
pub trait Process: Send {
    /// Ends it at once.
    fn kill(&mut self);

    /// Whether it has ended, and if by failure, by which. Never waits.
    fn ended(&mut self) -> Option<Result<(), String>>;
}

impl Process for std::process::Child {
    fn kill(&mut self) {
        let _ = std::process::Child::kill(self);
    }

    fn ended(&mut self) -> Option<Result<(), String>> {
        match self.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) if status.success() => Some(Ok(())),
            Ok(Some(status)) => Some(Err(status.to_string())),
            Err(e) => Some(Err(describe(&e))),
        }
    }
}

/// Stops a listener from another thread.
pub struct Stopper(UnixStream);

impl Stopper {
    /// [`Listener::run`] will return.
    pub fn stop(&self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

impl Listener {
    /// Takes the address, once the files that `options` names have proved usable.
    pub fn bind(
        address: SocketAddr,
        options: ServerOptions,
        log: impl Fn(&str) + Send + 'static,
    ) -> Result<Listener, Error> {
        let host_key_fingerprints = host_key_fingerprints(&options)?;
        authorized_keys::read(&options.authorized_keys)
            .map_err(|why| Error::new(ErrorKind::Config, format!("authorized keys: {why}")))?;
        let cannot = |e: io::Error| Error::io(format_args!("listening on {address}"), &e);
        let socket = TcpListener::bind(address).map_err(cannot)?;
        // The standard library's queue is short for a flood.
        rustix::net::listen(&socket, BACKLOG).map_err(|e| cannot(e.into()))?;
        socket.set_nonblocking(true).map_err(cannot)?;
        let (stopper, stopped) = UnixStream::pair().map_err(cannot)?;
        Ok(Listener {
            address: socket.local_addr().map_err(cannot)?,
            socket,
            options,
            host_key_fingerprints,
            log: Box::new(log),
            stopper: Stopper(stopper),
            stopped,
        })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// `SHA256:…` of each host key, as `ssh-keygen -l` and a client's question show it; in the
    /// order of [`ServerOptions::host_keys`].
    pub fn host_key_fingerprints(&self) -> &[String] {
        &self.host_key_fingerprints
    }

    /// What stops it.
    pub fn stopper(&self) -> Result<Stopper, Error> {
        let cannot = |e: io::Error| Error::io("duplicating a socket", &e);
        self.stopper.0.try_clone().map(Stopper).map_err(cannot)
    }

    /// Serves until it is stopped, then ends what still runs. `launch` starts what serves one
    /// client: a process that calls [`Connection::serve`](super::server::Connection::serve) with
    /// the client's socket and its end of a socket pair.
    pub fn run(
        self,
        launch: impl FnMut(TcpStream, UnixStream) -> io::Result<Box<dyn Process>>,
    ) -> Result<(), Error> {
        let cannot = |e: Errno| Error::io("waiting for connections", &e.into());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(cannot)?;
        watch(&epoll, &self.stopped, STOP).map_err(cannot)?;
        watch(&epoll, &self.socket, ARRIVAL).map_err(cannot)?;
        let limits = within_descriptors(self.options.limits);
        let mut lobby = Lobby::new(
            limits,
            self.options.authorized_keys,
            epoll,
            self.log,
            launch,
        );
        let started = Instant::now();
        // Not watching for arrivals, until then: nothing is left to receive one with.
        let mut paused_until = None;
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        loop {
            let now = started.elapsed();
            let wake_at = [lobby.wake_at(now), paused_until]
                .into_iter()
                .flatten()
                .min();
            let wait = wake_at.map(|at| timespec(at.saturating_sub(now)));
            events.clear();
            match epoll::wait(lobby.epoll(), spare_capacity(&mut events), wait.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(cannot(e)),
            }
            let now = started.elapsed();
            if paused_until.is_some_and(|until| until <= now) {
                paused_until = None;
                watch(lobby.epoll(), &self.socket, ARRIVAL).map_err(cannot)?;
            }
            for event in &events {
                match event.data.u64() {
                    STOP => {
                        drop(self.socket);
                        lobby.close();
                        return Ok(());
                    }
                    ARRIVAL if !accept(&self.socket, &mut lobby, now) => {
                        epoll::delete(lobby.epoll(), &self.socket).map_err(cannot)?;
                        paused_until = Some(now + ACCEPT_PAUSE);
                    }
                    ARRIVAL => {}
                    id => lobby.heard_from(id, event.flags, now),
                }
            }
            lobby.keep_house(now);
        }
    }
}

/// Takes in some of those who wait outside; false if there is nothing left to do it with.
fn accept<L>(socket: &TcpListener, lobby: &mut Lobby<L>, now: Duration) -> bool
where
    L: FnMut(TcpStream, UnixStream) -> io::Result<Box<dyn Process>>,
{
    for _ in 0..ARRIVALS_MAX {
        match socket.accept() {
            Ok((tcp, address)) => lobby.arrived(tcp, address, now),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) if is_shortage(&e) && !lobby.make_room(now) => return false,
            // There is room again, or the client has gone, or its network has.
            Err(_) => {}
        }
    }
    true
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

fn watch(epoll: &OwnedFd, what: &impl std::os::fd::AsFd, data: u64) -> Result<(), Errno> {
    epoll::add(epoll, what, EventData::new_u64(data), EventFlags::IN)
}

/// Each connection takes a descriptor, and starting a process takes some for a moment.
fn within_descriptors(mut limits: ServerLimits) -> ServerLimits {
    if let Ok((files_max, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let files_max = usize::try_from(files_max).unwrap_or(usize::MAX);
        let others = limits.logins_max + limits.sessions_max + SPARE_DESCRIPTORS;
        let room = files_max.saturating_sub(others).max(1);
        limits.waiting_max = limits.waiting_max.min(room);
    }
    limits
}

fn timespec(time: Duration) -> Timespec {
    // A timer that fires early would find nothing to do.
    let time = time + Duration::from_millis(1);
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

const STOP: u64 = 0;
const ARRIVAL: u64 = 1;
const _: () = assert!(STOP < FIRST_ID && ARRIVAL < FIRST_ID);
const BACKLOG: i32 = 1024;
/// Others have their turn after so many.
const ARRIVALS_MAX: usize = 64;
const EVENTS_MAX: usize = 128;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const SPARE_DESCRIPTORS: usize = 32;
