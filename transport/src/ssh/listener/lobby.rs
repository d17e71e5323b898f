//! Everybody who is connected, from the first packet to the end of the process that serves them.
//! The listener reads eight bytes of a client and no more: whoever speaks SSH is handed to a
//! process of its own, so that what breaks there breaks one connection. Who gets a process, and
//! who gives way, is the [`Gate`]'s to say.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hasync_engine::describe;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::damper::{Damper, STRETCH};
use super::gate::{Gate, Id, Start};
use super::named::Named;
use super::{Log, Process};
use crate::ssh::report::{Reports, Said};
use crate::ssh::server::ServerLimits;

/// All connections. Times count from when the server started.
pub(crate) struct Lobby<L> {
    gate: Gate,
    named: Named,
    login_timeout: Duration,
    epoll: OwnedFd,
    launch: L,
    guests: BTreeMap<Id, Guest>,
    leaving: Vec<Leaving>,
    log: Log,
    strangers: Damper,
}

struct Guest {
    address: SocketAddr,
    state: State,
    /// Of what it has logged since its client is known.
    lines: Damper,
}

enum State {
    /// Without a process.
    Waiting(TcpStream),
    Served {
        reports: Reports,
        process: Box<dyn Process>,
    },
}

/// A process that has said its last word, or was killed.
struct Leaving {
    address: SocketAddr,
    process: Box<dyn Process>,
    logged_in: bool,
    /// When it is killed; `None` if it was.
    kill_at: Option<Duration>,
}

impl<L> Lobby<L>
where
    L: FnMut(TcpStream, UnixStream) -> io::Result<Box<dyn Process>>,
{
    pub(crate) fn new(
        limits: ServerLimits,
        authorized_keys: PathBuf,
        epoll: OwnedFd,
        log: Log,
        launch: L,
    ) -> Lobby<L> {
        Lobby {
            login_timeout: limits.login_timeout,
            gate: Gate::new(limits),
            named: Named::new(authorized_keys),
            epoll,
            launch,
            guests: BTreeMap::new(),
            leaving: Vec::new(),
            log,
            strangers: Damper::new(STRANGERS_LINES_MAX),
        }
    }

    pub(crate) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// A client has connected.
    pub(crate) fn arrived(&mut self, tcp: TcpStream, address: SocketAddr, now: Duration) {
        let named = self.named.holds(address.ip(), now);
        let (id, gives_way) = self.gate.arrive(address.ip(), named, now);
        // Edge-triggered: what was looked at stays in the socket.
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        if let Err(e) = epoll::add(&self.epoll, &tcp, EventData::new_u64(id), flags) {
            self.gate.leave(id);
            self.log_stranger(
                address,
                format_args!("not served: {}", describe(&e.into())),
                now,
            );
        } else {
            let guest = Guest {
                address,
                state: State::Waiting(tcp),
                lines: Damper::new(GUEST_LINES_MAX),
            };
            self.guests.insert(id, guest);
        }
        if let Some(id) = gives_way {
            self.dismiss(id, GAVE_WAY, now);
        }
    }

    /// Gives up a waiting connection for its descriptor, if there is one.
    pub(crate) fn make_room(&mut self, now: Duration) -> bool {
        let Some(id) = self.gate.give_way() else {
            return false;
        };
        self.dismiss(id, "gave way: out of descriptors", now);
        true
    }

    /// The client of a waiting connection or the process of another has something to say.
    pub(crate) fn heard_from(&mut self, id: Id, flags: EventFlags, now: Duration) {
        match self.guests.get_mut(&id).map(|guest| &mut guest.state) {
            Some(State::Waiting(tcp)) => {
                let gone = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
                match first_words(tcp) {
                    _ if gone => self.dismiss(id, "gone before it logged in", now),
                    FirstWords::Ssh => self.gate.spoke(id),
                    FirstWords::Incomplete => {}
                    FirstWords::Other => self.dismiss(id, "dropped: does not speak SSH", now),
                }
            }
            Some(State::Served { reports, .. }) => {
                let heard = reports.hear();
                for said in heard.said {
                    self.told(id, said, now);
                }
                if !heard.open {
                    self.ended(id, now);
                }
            }
            None => {}
        }
    }

    /// Does what is due by now: ends late logins, starts processes, buries dead ones.
    pub(crate) fn keep_house(&mut self, now: Duration) {
        while let Some(id) = self.gate.late(now) {
            let limit = self.login_timeout.as_secs_f32();
            self.dismiss(
                id,
                format_args!("not logged in within {limit} s: dropped"),
                now,
            );
        }
        while self.leaving.len() < LEAVING_MAX
            && let Some(Start { id, gives_way }) = self.gate.start(now)
        {
            if let Some(id) = gives_way {
                self.dismiss(id, GAVE_WAY, now);
            }
            self.serve(id, now);
        }
        self.bury(now);
        self.count_lines(now);
    }

    /// Says how many lines were kept back.
    fn count_lines(&mut self, now: Duration) {
        if let Some(count) = self.strangers.kept_back(now) {
            say_left_out(&self.log, "connections that did not log in", count);
        }
        for guest in self.guests.values_mut() {
            if let Some(count) = guest.lines.kept_back(now) {
                say_left_out(&self.log, guest.address, count);
            }
        }
    }

    /// When to keep house though nothing was heard.
    pub(crate) fn wake_at(&self, now: Duration) -> Option<Duration> {
        let bury = (!self.leaving.is_empty()).then_some(now + BURY_INTERVAL);
        let gate = self
            .gate
            .wake_at()
            .filter(|_| self.leaving.len() < LEAVING_MAX);
        let guests = self.guests.values().map(|guest| guest.lines.wake_at());
        let others = [bury, gate, self.strangers.wake_at()];
        guests.chain(others).flatten().min()
    }

    /// Ends everything, and waits for it within a limit.
    pub(crate) fn close(mut self) {
        let started = Instant::now();
        for (id, guest) in std::mem::take(&mut self.guests) {
            // Without a listener a process drops its client, and tidies up.
            if let State::Served { process, .. } = guest.state {
                self.leaving.push(Leaving {
                    address: guest.address,
                    process,
                    logged_in: self.gate.is_session(id),
                    kill_at: Some(CLOSE_WAIT),
                });
            }
        }
        while !self.leaving.is_empty() && started.elapsed() < CLOSE_WAIT + KILL_WAIT {
            std::thread::sleep(BURY_INTERVAL);
            self.bury(started.elapsed());
        }
    }

    /// Gives a waiting connection its process.
    fn serve(&mut self, id: Id, now: Duration) {
        let Some(guest) = self.guests.remove(&id) else {
            return self.gate.leave(id);
        };
        let address = guest.address;
        let State::Waiting(tcp) = guest.state else {
            return;
        };
        match self.launch(tcp, id) {
            Ok(state) => {
                self.guests.insert(id, Guest { state, ..guest });
            }
            Err(e) => {
                self.gate.leave(id);
                let why = describe(&e);
                self.log_stranger(address, format_args!("no process for it: {why}"), now);
            }
        }
    }

    fn launch(&mut self, tcp: TcpStream, id: Id) -> io::Result<State> {
        // The process keeps the socket open, so that closing it here would not end the watch.
        epoll::delete(&self.epoll, &tcp)?;
        let (listener, process) = UnixStream::pair()?;
        listener.set_nonblocking(true)?;
        epoll::add(
            &self.epoll,
            &listener,
            EventData::new_u64(id),
            EventFlags::IN,
        )?;
        Ok(State::Served {
            reports: Reports::new(listener),
            process: (self.launch)(tcp, process)?,
        })
    }

    fn told(&mut self, id: Id, said: Said, now: Duration) {
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        let (address, State::Served { reports, .. }) = (guest.address, &mut guest.state) else {
            return;
        };
        match said {
            Said::Log(text) if !self.gate.is_session(id) => self.log_stranger(address, text, now),
            Said::Log(text) => {
                if guest.lines.admits(now) {
                    self.log(address, text);
                }
            }
            Said::ProvedKey(text) => {
                let let_in = self.gate.log_in(id);
                reports.answer(let_in);
                if let_in {
                    self.log(address, text);
                } else {
                    self.log_stranger(address, "refused: too many sessions", now);
                }
            }
        }
    }

    /// Ends a connection that has not logged in.
    fn dismiss(&mut self, id: Id, why: impl Display, now: Duration) {
        self.gate.leave(id);
        let Some(guest) = self.guests.remove(&id) else {
            return;
        };
        self.log_stranger(guest.address, why, now);
        if let State::Served { mut process, .. } = guest.state {
            process.kill();
            self.leaving.push(Leaving {
                address: guest.address,
                process,
                logged_in: false,
                kill_at: None,
            });
        }
    }

    /// A process has said its last word.
    fn ended(&mut self, id: Id, now: Duration) {
        let logged_in = self.gate.is_session(id);
        self.gate.leave(id);
        if let Some(mut guest) = self.guests.remove(&id)
            && let State::Served { process, .. } = guest.state
        {
            if let Some(count) = guest.lines.kept_back(Duration::MAX) {
                say_left_out(&self.log, guest.address, count);
            }
            self.leaving.push(Leaving {
                address: guest.address,
                process,
                logged_in,
                kill_at: Some(now + LEAVING_WAIT),
            });
        }
    }

    /// Takes leave of processes that have ended, and ends those that take too long.
    fn bury(&mut self, now: Duration) {
        for mut leaving in std::mem::take(&mut self.leaving) {
            match leaving.process.ended() {
                None => {
                    if leaving.kill_at.is_some_and(|at| at <= now) {
                        leaving.process.kill();
                        leaving.kill_at = None;
                    }
                    self.leaving.push(leaving);
                }
                Some(Err(how)) if leaving.kill_at.is_some() => {
                    let what = format!("its process failed: {how}");
                    if leaving.logged_in {
                        self.log(leaving.address, what);
                    } else {
                        self.log_stranger(leaving.address, what, now);
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn log(&self, address: SocketAddr, what: impl Display) {
        (self.log)(&format!("{address}: {what}"));
    }

    /// The same about somebody who has shown no key: only so much of it.
    fn log_stranger(&mut self, address: SocketAddr, what: impl Display, now: Duration) {
        if self.strangers.admits(now) {
            self.log(address, what);
        }
    }
}

fn say_left_out(log: &Log, whom: impl Display, count: u64) {
    let seconds = STRETCH.as_secs();
    log(&format!(
        "{whom}: {count} more lines of {seconds} s are left out"
    ));
}

enum FirstWords {
    /// None yet, or too few.
    Incomplete,
    Ssh,
    Other,
}

/// Looks at what a client said first, and leaves it for the process.
fn first_words(tcp: &TcpStream) -> FirstWords {
    let mut words = [0; SSH_WORDS.len()];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match rustix::net::recv(tcp, &mut words, flags) {
        Ok((len, _)) if len > 0 && words.get(..len) == SSH_WORDS.get(..len) => {
            if len == SSH_WORDS.len() {
                FirstWords::Ssh
            } else {
                FirstWords::Incomplete
            }
        }
        Err(Errno::AGAIN | Errno::INTR) => FirstWords::Incomplete,
        Ok(_) | Err(_) => FirstWords::Other,
    }
}

/// How each client begins.
const SSH_WORDS: &[u8; 8] = b"SSH-2.0-";
const GAVE_WAY: &str = "gave way to others before it logged in";
/// Lines of a stretch about all connections that have not logged in …
const STRANGERS_LINES_MAX: u64 = 20;
/// … and of each that has.
const GUEST_LINES_MAX: u64 = 100;
/// Dead processes that are not buried; the kernel takes its time if it must.
const LEAVING_MAX: usize = 64;
const BURY_INTERVAL: Duration = Duration::from_millis(20);
/// From the last word of a process to its end.
const LEAVING_WAIT: Duration = Duration::from_secs(15);
/// When the server stops: what runs may come to an end, for longer than it takes itself …
const CLOSE_WAIT: Duration = Duration::from_secs(9);
/// … and what was killed must, before the program's own limit for leaving.
const KILL_WAIT: Duration = Duration::from_millis(500);
