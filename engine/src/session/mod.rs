//! The two halves of a push: the sender on the primary, the receiver on the standby, over any pair
//! of byte streams.

mod bases;
mod connection;
mod drive;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod headway;
mod hearing;
mod inbox;
#[cfg(test)]
mod lies;
mod outbox;
mod place;
mod prefix;
mod prints;
mod receiver;
mod sender;
#[cfg(test)]
mod simulation;
mod window;
mod writer;

use std::io::{Read, Write};

pub use connection::{Comparison, Connection, push};
pub use receiver::{HELLO_TIME, serve};

/// The byte streams to and from the peer.
pub struct Duplex {
    /// From the peer.
    pub reader: Box<dyn Read + Send>,
    /// To the peer. Dropping it ends the stream.
    pub writer: Box<dyn Write + Send>,
}

/// A message with lists is split before it gets longer than about this, in bytes.
const MESSAGE_LEN: usize = 256 * 1024;

/// About shorter bases no signature is told: it and its answer cost more than they save.
const SIGNATURE_LEN_MIN: u64 = 4096;

/// Silence after which a half says that it is alive, unless a shorter timeout asks for more.
const PING_MS: u64 = 10_000;

/// How often a half must be heard, given the `--timeout` of the push (0: the default).
fn ping_ms(timeout_ms: u64) -> u64 {
    if timeout_ms == 0 {
        PING_MS
    } else {
        (timeout_ms / 3).clamp(100, PING_MS)
    }
}
