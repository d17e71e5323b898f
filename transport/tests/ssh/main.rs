//! The SSH client and server against OpenSSH: a real sshd and a real ssh on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// Places at the embedded server, and the log of those who get none.
mod admission;
/// ECDSA numbers that begin with zeros.
mod ecdsa;
/// What a connection that fails says, and that it fails at all.
mod failures;
/// A real sshd, keys, and what the tests share.
mod fixture;
/// Keys, agents and host keys.
mod identity;
/// The embedded server with threads for processes.
mod in_threads;
/// What configuration demands of keys on either side.
mod key_limits;
/// The embedded server with throw-away keys.
mod served;
/// The embedded server, for OpenSSH's client and for ours.
mod server;
/// Data, rekeying, ends and exit statuses.
mod streams;
