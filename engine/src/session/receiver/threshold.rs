//! The step from reading a hello to acting on it. A process that is to be confined is so before it
//! acts, and before its first thread: the one that writes, and says that this half is alive. From
//! then on the connection is bound to where its first push led, and sets no trusted attributes if
//! that push set none.

use std::os::fd::AsFd;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::fs::Root;
use crate::policy::{Confinement, ServePolicy};
use crate::session::outbox::Outbox;
use crate::session::ping_ms;
use crate::session::writer::WhenFull;
use crate::wire::{Hello, ToSender, message_frame};

/// How far a connection has come.
enum State {
    /// The process stays as it is, and pushes may lead anywhere.
    Open,
    Pending(Arc<dyn Confinement>),
    /// What the first hello names is being opened.
    Opening(Arc<dyn Confinement>, Bound),
    Confined(Bound, Trusted),
}

/// Where the pushes of a connection may lead.
#[derive(PartialEq, Eq)]
enum Bound {
    /// Wherever the process was confined to beforehand.
    Served,
    ToNames,
    ToDestination(Vec<u8>),
}

/// Whether attributes that are trusted can be set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trusted {
    Settable,
    Forgone,
}

impl Bound {
    fn of(hello: &Hello) -> Self {
        match &hello.claim {
            Some(_) => Bound::ToNames,
            None => Bound::ToDestination(hello.destination.clone()),
        }
    }

    /// Whether a push may lead there.
    fn allows(&self, other: &Bound) -> bool {
        matches!(self, Bound::Served) || self == other
    }
}

impl Trusted {
    /// By what a push asks for; with a name it may always have to set them.
    pub(super) fn of(hello: &Hello) -> Self {
        match hello.options.xattrs || hello.claim.is_some() {
            true => Trusted::Settable,
            false => Trusted::Forgone,
        }
    }
}

pub(super) struct Threshold {
    outbox: Outbox,
    state: State,
    /// It goes on between two pushes, as often as the last one wanted.
    ping_ms: u64,
    is_crossed: bool,
}

impl Threshold {
    pub(super) fn new(outbox: &Outbox, policy: &ServePolicy) -> Self {
        let pending = policy.confinement.clone().map(State::Pending);
        Threshold {
            outbox: outbox.clone(),
            state: pending.unwrap_or(State::Open),
            ping_ms: 0,
            is_crossed: false,
        }
    }

    /// A hello has been read.
    pub(super) fn approach(&mut self, hello: &Hello) -> Result<(), Error> {
        self.ping_ms = ping_ms(hello.options.timeout_ms);
        match &self.state {
            State::Pending(confinement) => {
                let confinement = Arc::clone(confinement);
                let bound = if confinement.is_bound() {
                    Bound::Served
                } else {
                    let opens = confinement.about_to_open();
                    opens.map_err(|why| not_confined(&why))?;
                    Bound::of(hello)
                };
                self.state = State::Opening(confinement, bound);
            }
            State::Confined(bound, _) if !bound.allows(&Bound::of(hello)) => {
                return Err(elsewhere());
            }
            State::Confined(_, Trusted::Forgone) if Trusted::of(hello) == Trusted::Settable => {
                return Err(forgone());
            }
            _ => self.say_alive(),
        }
        Ok(())
    }

    /// A question about a named tree has been read: what is served by name is all there is to
    /// reach, and it is answered sooner than anybody wonders whether this half is alive.
    pub(super) fn approach_names(&mut self) -> Result<(), Error> {
        match &self.state {
            State::Pending(confinement) if !confinement.is_bound() => {
                let confined = confinement.about_to_open();
                let confined = confined.and_then(|()| confinement.confine(&[]));
                confined.map_err(|why| not_confined(&why))?;
                self.state = State::Confined(Bound::ToNames, Trusted::Settable);
            }
            State::Confined(Bound::ToDestination(_), _) => return Err(elsewhere()),
            _ => {}
        }
        self.is_crossed = true;
        Ok(())
    }

    /// What the hello names is at hand: these directories, or what is served by name.
    pub(super) fn cross(&mut self, dirs: &[&Root], trusted: Trusted) -> Result<(), Error> {
        self.state = match std::mem::replace(&mut self.state, State::Open) {
            State::Opening(confinement, bound) => {
                let dirs: Vec<_> = dirs.iter().map(|dir| dir.as_fd()).collect();
                let forgone = match trusted {
                    Trusted::Forgone => confinement.forgo_trusted(),
                    Trusted::Settable => Ok(()),
                };
                let confined = forgone.and_then(|()| match bound {
                    Bound::Served => Ok(()),
                    _ => confinement.confine(&dirs),
                });
                confined.map_err(|why| not_confined(&why))?;
                self.say_alive();
                State::Confined(bound, trusted)
            }
            state => state,
        };
        Ok(())
    }

    /// Whether a push has begun, or a question has been taken up.
    pub(super) fn is_crossed(&self) -> bool {
        self.is_crossed
    }

    fn say_alive(&mut self) {
        let ping = |pulse| message_frame(&ToSender::Ping(pulse));
        self.outbox.start(self.ping_ms, ping, WhenFull::Wait);
        self.is_crossed = true;
    }
}

fn not_confined(why: &str) -> Error {
    let message = format!(
        "the receiver cannot give up the rights that it does not need: {why}; nothing was changed"
    );
    Error::new(ErrorKind::FileIo, message)
}

fn elsewhere() -> Error {
    let message = "this connection receives where its first push led, and nothing elsewhere: open \
                   another one, or serve with --root";
    Error::new(ErrorKind::Usage, message)
}

fn forgone() -> Error {
    let message = "this connection has given up the right to set trusted attributes, which its \
                   first push did not need: open another one";
    Error::new(ErrorKind::Usage, message)
}
