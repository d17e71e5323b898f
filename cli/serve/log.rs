//! The log of `serve --listen`: whole lines on standard output. The thread that writes it also
//! takes connections in, so a line that nobody makes room for is left out and counted: a log
//! reader that hangs stops nobody's push.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use hasync_engine::{Place, harmless};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Where the lines go.
pub(super) struct Log {
    sink: OwnedFd,
    left_out: Mutex<u64>,
}

impl Log {
    /// A log on standard output.
    pub(super) fn stdout() -> io::Result<Self> {
        let sink = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
        Ok(Log::to(sink))
    }

    fn to(sink: OwnedFd) -> Self {
        Log {
            sink,
            left_out: Mutex::new(0),
        }
    }

    /// Writes one line, whoever had a say in its words.
    pub(super) fn say(&self, line: &str) {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        if *left_out > 0 && self.write(&format!("{left_out} lines were left out: nobody read them"))
        {
            *left_out = 0;
        }
        if *left_out > 0 || !self.write(line) {
            *left_out += 1;
        }
    }

    /// Whether there was room; a write that fails finds no reader ever after.
    fn write(&self, line: &str) -> bool {
        let mut line = harmless(line, Place::Line).into_owned();
        let mut len = line.len().min(LINE_MAX_LEN - 1);
        while !line.is_char_boundary(len) {
            len -= 1;
        }
        line.truncate(len);
        line.push('\n');
        let mut sink = [PollFd::new(&self.sink, PollFlags::OUT)];
        let room = poll(&mut sink, Some(&Timespec::default())).is_ok_and(|ready| ready > 0);
        if room {
            let _ = rustix::io::write(&self.sink, line.as_bytes());
        }
        room
    }
}

/// A pipe that can be written to takes this much in one piece.
const LINE_MAX_LEN: usize = 4096;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read;

    use super::*;

    #[test]
    fn a_reader_that_hangs_holds_nobody_up() {
        let (mut reader, writer) = io::pipe().unwrap();
        let log = Log::to(writer.into());
        for number in 0..10_000 {
            log.say(&format!("{number} {}", "é\n".repeat(number)));
        }
        let all = std::thread::spawn(move || {
            let mut rest = String::new();
            reader.read_to_string(&mut rest).map(|_| rest)
        });
        // Room comes as the reader drains the pipe.
        while *log.left_out.lock().unwrap() > 0 {
            log.say("room");
        }
        drop(log);
        let text = all.join().unwrap().unwrap();
        assert!(
            text.contains(" lines were left out: nobody read them\nroom\n"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.len() < LINE_MAX_LEN));
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let log = Log::to(writer.into());
        log.say("one");
        log.say("two");
    }
}
