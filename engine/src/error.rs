//! What ends a session. An error says whose fault it is by its kind, and in one line what failed,
//! where, why and what to do; the command line decides the exit code from the kind.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use crate::refusal::Refusal;

/// Whose fault an error is, and of what sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ErrorKind {
    /// The request makes no sense (a target that is a file, a path outside the allowed roots).
    Usage,
    /// The peer speaks another version of the protocol.
    Incompatible,
    /// A file system call failed. Where that concerns one entry alone, the session goes on, and
    /// says so in a warning; what comes back as an error has ended it.
    FileIo,
    /// The stream broke, or the peer sent what the protocol does not allow.
    Stream,
    /// The peer was silent for too long.
    Timeout,
    /// No space or quota left on the target.
    NoSpace,
    /// Another session holds what this one needs.
    Locked,
    /// The configuration of the node that says so does not allow it, or lacks what it needs.
    Config,
    /// The sender is not, or no longer, the primary that the receiver may take from.
    Fenced,
    /// The two nodes' trees did not come from one another.
    Diverged,
    /// Something is not what it should be equal to.
    NotEqual,
    /// The peer is this node itself.
    OwnNode,
    /// More would be taken from the target than anybody has said is right.
    Braked,
}

/// An error that ends a session: kind and one lower-case line.
#[derive(Clone, Debug)]
pub struct Error {
    /// Whose fault it is, and of what sort.
    pub kind: ErrorKind,
    /// One line: what failed, where, why, what to do.
    pub message: String,
    pub(crate) fault: Fault,
}

/// Whose fault an error is, with what failed or was refused.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// What was asked for, or how this node is set up and stands: kind and words say it all.
    Here,
    /// What the peer says of its own side.
    Told,
    /// The peer broke a rule of the protocol.
    Peer(Box<Refusal>),
    /// A file system call failed here.
    File(Arc<io::Error>),
    /// There is no room for a file here.
    DiskFull(Arc<io::Error>),
    /// The byte stream failed.
    Link(Arc<io::Error>),
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error {
            kind,
            message: message.into(),
            fault: Fault::Here,
        }
    }

    /// The peer's own reason to end the session, in its words.
    pub(crate) fn told(kind: ErrorKind, message: String) -> Self {
        Error {
            fault: Fault::Told,
            ..Error::new(kind, message)
        }
    }

    /// Whether these are the peer's words, about its own side.
    #[must_use]
    pub fn is_told(&self) -> bool {
        matches!(self.fault, Fault::Told)
    }

    /// The peer broke the protocol.
    pub(crate) fn peer(refusal: Refusal) -> Self {
        Error {
            kind: ErrorKind::Stream,
            message: format!("protocol error: {refusal}"),
            fault: Fault::Peer(Box::new(refusal)),
        }
    }

    /// A failed file system call: `what` is verb and path, such as `open "a/b"`.
    pub(crate) fn file(what: impl fmt::Display, cause: &io::Error) -> Self {
        let again = Arc::new(same(cause));
        let (kind, fault) = match cause.kind() {
            _ if is_no_space(cause) => (ErrorKind::NoSpace, Fault::DiskFull(again)),
            io::ErrorKind::WouldBlock => (ErrorKind::Locked, Fault::File(again)),
            _ => (ErrorKind::FileIo, Fault::File(again)),
        };
        let message = format!("cannot {what}: {}", describe(cause));
        Error {
            kind,
            message,
            fault,
        }
    }

    /// The byte stream to the peer failed.
    pub(crate) fn stream(cause: &io::Error) -> Self {
        let (kind, message) = match cause.kind() {
            io::ErrorKind::TimedOut => (
                ErrorKind::Timeout,
                "the peer has been silent for too long".to_owned(),
            ),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => (
                ErrorKind::Stream,
                "the peer closed the connection unexpectedly".to_owned(),
            ),
            _ => (
                ErrorKind::Stream,
                format!("the connection broke: {}", describe(cause)),
            ),
        };
        Error {
            kind,
            message,
            fault: Fault::Link(Arc::new(same(cause))),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Here | Fault::Told => None,
            Fault::Peer(refusal) => Some(&**refusal),
            Fault::File(cause) | Fault::DiskFull(cause) | Fault::Link(cause) => Some(&**cause),
        }
    }
}

/// The same error once more: what the system said, it can say again.
fn same(cause: &io::Error) -> io::Error {
    cause.raw_os_error().map_or_else(
        || io::Error::new(cause.kind(), cause.to_string()),
        io::Error::from_raw_os_error,
    )
}

/// Whether a call failed for lack of space, inodes or quota.
pub(crate) fn is_no_space(cause: &io::Error) -> bool {
    matches!(
        cause.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::NOSPC | Errno::DQUOT)
    )
}

/// That a file cannot be locked at all.
const NO_LOCKS: i32 = Errno::NOLCK.raw_os_error();

/// The cause of a failed call in the words of the system, fit for the end of a line: first letter
/// small, and without the number that Rust adds.
pub fn describe(cause: &io::Error) -> String {
    let text = match (cause.kind(), cause.raw_os_error(), cause.get_ref()) {
        (_, Some(NO_LOCKS), _) => {
            "its file system gives no locks: if that is NFS, start rpc.statd, or mount it with \
             local_lock=flock"
                .to_owned()
        }
        // Found out without the system, which would have said it so.
        (io::ErrorKind::NotFound, None, None) => Errno::NOENT.to_string(),
        _ => cause.to_string(),
    };
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        // Keep words such as "I/O" and "EOF" as they are.
        if chars.as_str().starts_with(|c: char| c.is_ascii_lowercase()) {
            first.to_lowercase().chain(chars).collect()
        } else {
            text.to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_fits_the_end_of_a_line() {
        let advice = describe(&io::Error::from_raw_os_error(NO_LOCKS));
        assert!(advice.contains("local_lock=flock"));
        for (errno, expected) in [(2, "no such file or directory"), (5, "input/output error")] {
            assert_eq!(describe(&io::Error::from_raw_os_error(errno)), expected);
        }
        let made = describe(&io::ErrorKind::NotFound.into());
        assert_eq!(made, "no such file or directory");
        for (text, expected) in [("EOF met", "EOF met"), ("I/O", "I/O"), ("", ""), ("É", "É")] {
            assert_eq!(describe(&io::Error::other(text)), expected);
        }
    }
}
