//! What the process of a connection and its listener say to each other, over a socket pair.
//!
//! The process says lines: `L TEXT` is for the log, `K TEXT` too, but says that the client has
//! proved a key and asks for a place among the sessions. The listener answers each `K` with one
//! byte. End of file is the last word of either: a process whose listener is gone ends.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a process says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Log(String),
    ProvedKey(String),
}

impl Said {
    fn to_line(&self) -> String {
        let (mark, text) = match self {
            Said::Log(text) => ('L', text),
            Said::ProvedKey(text) => ('K', text),
        };
        let mut line = format!("{mark} {}", text.replace('\n', "\\n"));
        let mut len = line.len().min(LINE_MAX_LEN - 1);
        while !line.is_char_boundary(len) {
            len -= 1;
        }
        line.truncate(len);
        line.push('\n');
        line
    }

    fn of_line(line: &[u8]) -> Option<Said> {
        let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        match line.split_first_chunk()? {
            (b"L ", rest) => Some(Said::Log(text(rest))),
            (b"K ", rest) => Some(Said::ProvedKey(text(rest))),
            _ => None,
        }
    }
}

/// The process's end, for any of its threads.
#[derive(Clone)]
pub struct Report(Arc<Mutex<Option<UnixStream>>>);

impl Report {
    /// `stream` must be non-blocking.
    pub(crate) fn new(stream: UnixStream) -> Report {
        Report(Arc::new(Mutex::new(Some(stream))))
    }

    /// Writes a line into the listener's log, behind the address of the client.
    pub fn log(&self, text: impl std::fmt::Display) {
        self.say(&Said::Log(text.to_string()));
    }

    pub(crate) fn say(&self, what: &Said) {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Once a line was cut short, the next one would be taken for its rest.
        if let Some(open) = stream.as_mut()
            && write_all(open, what.to_line().as_bytes()).is_err()
        {
            *stream = None;
        }
    }
}

fn write_all(stream: &mut UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(len) => bytes = bytes.get(len..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let mut writable = [PollFd::new(stream, PollFlags::OUT)];
                if poll(&mut writable, Some(&LISTENER_WAIT))? == 0 {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The listener's end.
pub(crate) struct Reports {
    stream: UnixStream,
    /// Of a line that is not complete yet.
    rest: Vec<u8>,
}

/// What came, and whether more can.
pub(crate) struct Heard {
    pub(crate) said: Vec<Said>,
    pub(crate) open: bool,
}

impl Reports {
    /// `stream` must be non-blocking.
    pub(crate) fn new(stream: UnixStream) -> Reports {
        Reports {
            stream,
            rest: Vec::new(),
        }
    }

    /// Reads some of what is there. Nonsense counts as the end.
    pub(crate) fn hear(&mut self) -> Heard {
        let mut bytes = [0; READ_LEN];
        let open = match self.stream.read(&mut bytes) {
            Ok(len) => {
                self.rest
                    .extend_from_slice(bytes.get(..len).unwrap_or_default());
                len > 0
            }
            Err(e) => matches!(
                e.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ),
        };
        let mut said = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            match line.strip_suffix(b"\n").and_then(Said::of_line) {
                Some(what) => said.push(what),
                None => return Heard { said, open: false },
            }
        }
        let open = open && self.rest.len() <= LINE_MAX_LEN;
        Heard { said, open }
    }

    /// Answers that the client is let in, or not. A process that does not listen gets no answer.
    pub(crate) fn answer(&mut self, let_in: bool) {
        let _ = self
            .stream
            .write(&[if let_in { LET_IN } else { SENT_AWAY }]);
    }
}

/// The listener's answers.
pub(crate) const LET_IN: u8 = b'+';
const SENT_AWAY: u8 = b'-';
/// Of a line with its end; a pipe takes as much in one piece.
const LINE_MAX_LEN: usize = 3500;
const READ_LEN: usize = 16 * 1024;
/// The listener reads at once; one that is stopped must not hold up a session.
const LISTENER_WAIT: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ends() -> (UnixStream, Reports) {
        let (process, listener) = UnixStream::pair().unwrap();
        process.set_nonblocking(true).unwrap();
        listener.set_nonblocking(true).unwrap();
        (process, Reports::new(listener))
    }

    fn hear_all(reports: &mut Reports) -> Vec<Said> {
        let mut all = Vec::new();
        loop {
            let heard = reports.hear();
            all.extend(heard.said);
            if !heard.open {
                return all;
            }
        }
    }

    #[test]
    fn lines_arrive_whole_and_stay_lines() {
        let (process, mut reports) = ends();
        let report = Report::new(process);
        let long = "é".repeat(3000);
        for text in ["one", "two\nL three", "", &long] {
            report.log(text);
        }
        report.say(&Said::ProvedKey("k".to_owned()));
        drop(report);
        let all = hear_all(&mut reports);
        let (last, logged) = all.split_last().unwrap();
        assert_eq!(*last, Said::ProvedKey("k".to_owned()));
        let log = |text: &str| Said::Log(text.to_owned());
        assert_eq!(logged[..3], [log("one"), log("two\\nL three"), log("")]);
        let cut = matches!(&logged[3], Said::Log(cut) if long.starts_with(cut)
            && cut.len() > LINE_MAX_LEN - 8);
        assert!(cut, "{logged:?}");
    }

    #[test]
    fn nonsense_is_the_end() {
        for nonsense in [
            b"X a\n".to_vec(),
            b"\n".to_vec(),
            b"L\n".to_vec(),
            b"\0\0\0\n".to_vec(),
            vec![b'L'; LINE_MAX_LEN + 1],
        ] {
            let (mut process, mut reports) = ends();
            process.write_all(b"L before\n").unwrap();
            process.write_all(&nonsense).unwrap();
            let heard = reports.hear();
            assert!(!heard.open, "{nonsense:?}");
            assert_eq!(heard.said, [Said::Log("before".to_owned())]);
        }
    }

    #[test]
    fn a_process_goes_on_when_nobody_listens() {
        let (process, reports) = ends();
        let report = Report::new(process);
        drop(reports);
        report.log("one");
        report.log("two");
    }
}
