//! The one error of this crate: a kind to decide on, and one line to print.

use std::fmt;
use std::io;

use hasync_engine::describe;

/// What went wrong, coarse enough to choose an exit code by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The host name has no address.
    NameNotResolved,
    /// The connection was refused, or there is no route.
    Unreachable,
    /// A deadline passed: connecting, key exchange, authentication, or a peer that fell silent.
    Timeout,
    /// The host key is unknown, changed or revoked.
    HostKey,
    /// No key was accepted.
    Auth,
    /// The command does not exist on the peer.
    CommandNotFound,
    /// An ssh configuration, key or key list file cannot be used as it is.
    Config,
    /// The peer ended or broke the stream.
    Closed,
    /// Local input or output failed.
    Io,
}

/// A failure with a message for a person: one lower-case line that names the peer or the file.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of `kind` that prints as `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
        }
    }

    /// What to decide on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The error behind what a [`Link`](crate::Link)'s reader or writer returned, if it came from
    /// this crate.
    pub fn of(error: &io::Error) -> Option<&Error> {
        error.get_ref()?.downcast_ref()
    }

    pub(crate) fn io(what: impl fmt::Display, cause: &io::Error) -> Error {
        Error::new(ErrorKind::Io, format!("{what}: {}", describe(cause)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error.kind {
            ErrorKind::Timeout => io::ErrorKind::TimedOut,
            ErrorKind::Closed => io::ErrorKind::ConnectionAborted,
            ErrorKind::Unreachable => io::ErrorKind::HostUnreachable,
            ErrorKind::CommandNotFound => io::ErrorKind::NotFound,
            ErrorKind::HostKey | ErrorKind::Auth => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn survives_the_way_through_io_error() {
        let error = io::Error::from(Error::new(ErrorKind::HostKey, "host key of b changed"));
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(Error::of(&error).unwrap().kind(), ErrorKind::HostKey);
        assert!(Error::of(&io::Error::from_raw_os_error(2)).is_none());
    }
}
