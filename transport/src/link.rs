//! What every way to a peer looks like from above: a reader, a writer, and a handle on the rest.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::{Error, ErrorKind};

/// An open byte stream each way. Dropping the writer sends end of file; dropping all three parts
/// without [`Control::finish`] abandons the peer.
///
/// Both directions are independent and blocking, and each may be used from its own thread.
/// The writer collects small writes until `flush`.
pub struct Link {
    /// What the peer sends. End of file is the peer's, never a broken connection: that is an error.
    pub reader: Box<dyn Read + Send>,
    /// What goes to the peer.
    pub writer: Box<dyn Write + Send>,
    /// The peer as messages name it: a host, an address, a program.
    pub peer: String,
    /// Everything that is not the stream.
    pub control: Box<dyn Control>,
}

/// The peer beside its byte stream.
pub trait Control: Send {
    /// Waits until the far end has ended, for a bounded time. To be called when both directions
    /// are finished: the writer dropped, the reader at its end.
    fn finish(self: Box<Self>) -> Result<Finish, Error>;

    /// Says goodbye after everything has been heard that matters, and tells what crossed the link.
    /// Where that is possible, a far end that is still busy leaving is not waited for.
    fn leave(self: Box<Self>) -> Traffic {
        let so_far = self.traffic();
        self.finish().map_or(so_far, |finish| finish.traffic)
    }

    /// From now on a read or write fails with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout)
    /// when it has moved no byte for `limit` and nothing was read meanwhile either: a peer that
    /// speaks is alive, however long it lets a write wait. (The exact moment may be `limit` later.)
    /// `None`, the default, waits as long as the connection lasts.
    fn set_io_timeout(&self, limit: Option<Duration>);

    /// From now on a read or write that still waits at `deadline` fails with
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), whatever has come before. `None`, the
    /// default, takes it back.
    fn set_deadline(&self, deadline: Option<Instant>);

    /// Bytes on the link so far, as far as this side can know.
    fn traffic(&self) -> Traffic;
}

/// How the far end ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finish {
    /// Its exit status, where it has one and told it.
    pub exit_code: Option<u32>,
    /// The signal that ended it, without `SIG`.
    pub signal: Option<String>,
    /// The last [`STDERR_TAIL_LEN`] bytes of what it wrote to standard error.
    pub stderr_tail: Vec<u8>,
    /// All that crossed the link.
    pub traffic: Traffic,
}

/// Bytes on the link. Over SSH the encrypted stream as TCP carries it; over pipes the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Towards the peer.
    pub sent_bytes: u64,
    /// From the peer.
    pub received_bytes: u64,
}

/// How much of the peer's standard error is kept.
pub const STDERR_TAIL_LEN: usize = 8 * 1024;

/// Why a peer that sent nothing ended, if it ended with a failure.
pub(crate) fn failed_start(peer: &str, end: &Finish) -> Option<Error> {
    let said = last_line(&end.stderr_tail)
        .map(|line| format!(": {line}"))
        .unwrap_or_default();
    let (kind, what) = match (end.exit_code, &end.signal) {
        (Some(0), _) | (None, None) => return None,
        (Some(127), _) => {
            let hint = "install it there or give --remote-bin PATH";
            let message = format!("{peer}: hasync was not found there ({hint}){said}");
            return Some(Error::new(ErrorKind::CommandNotFound, message));
        }
        (Some(code), _) => (ErrorKind::Closed, format!("exit status {code}")),
        (None, Some(signal)) => (ErrorKind::Closed, format!("signal {signal}")),
    };
    Some(Error::new(
        kind,
        format!("{peer}: ended before its first byte with {what}{said}"),
    ))
}

/// A peer has not done in time what it was to do by then.
pub(crate) fn late(peer: &str) -> Error {
    let what = format!("{peer}: has not said in time what it wants");
    Error::new(ErrorKind::Timeout, what)
}

/// Appends to a tail that keeps its last [`STDERR_TAIL_LEN`] bytes.
pub(crate) fn push_tail(tail: &mut Vec<u8>, data: &[u8]) {
    let keep_from = data.len().saturating_sub(STDERR_TAIL_LEN);
    tail.extend_from_slice(data.get(keep_from..).unwrap_or_default());
    let excess = tail.len().saturating_sub(STDERR_TAIL_LEN);
    tail.drain(..excess);
}

/// The last line of a tail as text for a message: control characters shown, never executed.
pub(crate) fn last_line(tail: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(tail);
    let line = text
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())?;
    let mut shown = String::new();
    for c in line.chars().take(300) {
        if c.is_control() {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn ended(exit_code: Option<u32>, signal: Option<&str>, stderr: &str) -> Option<Error> {
        let end = Finish {
            exit_code,
            signal: signal.map(str::to_owned),
            stderr_tail: stderr.into(),
            ..Finish::default()
        };
        failed_start("b", &end)
    }

    #[test]
    fn a_missing_program_is_told_from_a_failing_one() {
        let missing = ended(Some(127), None, "sh: 1: hasync: not found\n").expect("failure");
        assert_eq!(missing.kind(), ErrorKind::CommandNotFound);
        assert!(missing.to_string().contains("--remote-bin"));
        let failing = ended(Some(78), None, "hasync: no root given\n").expect("failure");
        assert_eq!(failing.kind(), ErrorKind::Closed);
        assert!(
            failing
                .to_string()
                .ends_with("exit status 78: hasync: no root given")
        );
        assert!(
            ended(None, Some("KILL"), "")
                .expect("failure")
                .to_string()
                .contains("KILL")
        );
        assert!(ended(Some(0), None, "").is_none());
    }

    #[test]
    fn a_tail_keeps_its_end() {
        let mut tail = Vec::new();
        push_tail(&mut tail, b"first");
        push_tail(&mut tail, &vec![b'x'; STDERR_TAIL_LEN - 1]);
        push_tail(&mut tail, b"yz");
        assert_eq!(tail.len(), STDERR_TAIL_LEN);
        assert!(tail.ends_with(b"xyz"));
        push_tail(&mut tail, &vec![b'q'; 3 * STDERR_TAIL_LEN]);
        assert_eq!(tail, vec![b'q'; STDERR_TAIL_LEN]);
    }

    #[test]
    fn the_last_line_cannot_drive_a_terminal() {
        assert_eq!(last_line(b"one\ntw\x1bo\r\n\n").unwrap(), "tw\\u{1b}o");
        assert_eq!(last_line(b" \n"), None);
    }
}
