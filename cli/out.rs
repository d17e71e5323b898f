//! Where words leave the program: the report on standard output, errors on standard error.
//!
//! A report that nobody reads (`| head`) never ends a push: what cannot be written is dropped,
//! and a real write error is told once, at the end.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hasync_engine::{Place, escape, harmless, harmless_json};

use crate::exit::{Exit, Failure};
use crate::signals;

/// Longest time that lines of a running push stay in the buffer when new ones come.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// One line on standard error, with our name in front.
pub(crate) fn error(message: &str) {
    signals::stop_if_leaving();
    // With standard error closed there is nobody left to tell.
    let _ = writeln!(io::stderr(), "hasync: {}", harmless(message, Place::Line));
}

/// What a program on the way to another host says on standard error, its own words and the far
/// end's: shown as it comes, since it may ask something, and with the host before each line.
pub(crate) struct FarWords {
    host: String,
    is_at_start: bool,
}

impl FarWords {
    /// The words of who is at `host`, or on the way there.
    pub(crate) fn of(host: &str) -> Self {
        FarWords {
            host: host.to_owned(),
            is_at_start: true,
        }
    }

    /// Shows the next piece.
    pub(crate) fn show(&mut self, piece: &[u8]) {
        let mut text = String::new();
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.is_at_start {
                text.push_str(&harmless(&format!("{}: ", self.host), Place::Line));
            }
            let words = line.strip_suffix(b"\n");
            self.is_at_start = words.is_some();
            let words = words.unwrap_or(line);
            let words = words.strip_suffix(b"\r").unwrap_or(words);
            text.push_str(&harmless(&escape(words), Place::Line));
            text.push_str(if self.is_at_start { "\n" } else { "" });
        }
        // With standard error closed there is nobody left to tell.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// Prints the help or the version, on standard output when it was asked for.
pub(crate) fn help(text: &str, exit: Exit) -> Result<Exit, Failure> {
    if exit == Exit::Ok {
        let out = Out::stdout();
        out.write(text.as_bytes());
        out.finish()?;
    } else {
        let _ = io::stderr().write_all(text.as_bytes());
    }
    Ok(exit)
}

/// Standard output, buffered. Clones share the buffer, so that a signal can flush it.
#[derive(Clone)]
pub(crate) struct Out(Arc<Mutex<State>>);

struct State {
    buffer: BufWriter<Box<dyn Write + Send>>,
    flush_lines: bool,
    last_flush: Instant,
    failure: Option<io::Error>,
}

impl Out {
    /// The process's standard output.
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let flush_lines = stdout.is_terminal();
        Out::new(Box::new(stdout), flush_lines)
    }

    fn new(writer: Box<dyn Write + Send>, flush_lines: bool) -> Self {
        Out(Arc::new(Mutex::new(State {
            buffer: BufWriter::with_capacity(64 * 1024, writer),
            flush_lines,
            last_flush: Instant::now(),
            failure: None,
        })))
    }

    /// Writes `bytes`, as they are: lists of escaped names, and words of our own alone. Errors wait
    /// for [`Out::finish`].
    pub(crate) fn write(&self, bytes: &[u8]) {
        let mut state = self.state();
        if state.failure.is_some() {
            return;
        }
        if let Err(cause) = state.buffer.write_all(bytes) {
            state.failure = Some(cause);
        } else if state.flush_lines || state.last_flush.elapsed() >= FLUSH_INTERVAL {
            state.flush();
        }
    }

    /// Writes one line, whoever had a say in its words.
    pub(crate) fn say(&self, line: &str) {
        self.write(format!("{}\n", harmless(line, Place::Line)).as_bytes());
    }

    /// Writes lines of ours, in which what others chose holds no newline.
    pub(crate) fn say_all(&self, lines: &str) {
        lines.lines().for_each(|line| self.say(line));
    }

    /// Writes a JSON document.
    pub(crate) fn json(&self, document: &serde_json::Value) {
        let text = harmless_json(&format!("{document:#}\n"));
        self.write(text.as_bytes());
    }

    /// Writes a JSON object as one line.
    pub(crate) fn json_line(&self, object: &serde_json::Value) {
        let text = harmless_json(&format!("{object}\n"));
        self.write(text.as_bytes());
    }

    /// Sends the buffer on its way.
    pub(crate) fn flush(&self) {
        self.state().flush();
    }

    /// Flushes, and tells whether everything was written or the reader simply went away.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        let mut state = self.state();
        state.flush();
        match state.failure.take() {
            Some(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(Failure::cannot(
                "write the report to standard output",
                &cause,
            )),
            _ => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn flush(&mut self) {
        self.last_flush = Instant::now();
        if self.failure.is_none() {
            self.failure = self.buffer.flush().err();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Everything written to an [`Out`].
    #[derive(Clone, Default)]
    pub(crate) struct Caught(Arc<Mutex<Vec<u8>>>);

    impl Caught {
        pub(crate) fn out(&self) -> Out {
            Out::new(Box::new(self.clone()), false)
        }

        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Caught {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest::proptest! {
        #[test]
        fn json_means_what_it_meant_and_is_plain(
            words in proptest::collection::vec(proptest::prelude::any::<char>(), 0..80),
            odd in "[\u{7f}-\u{9f}\u{ad}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{e0041}\n\"]{0,9}",
        ) {
            let line = words.into_iter().chain(odd.chars()).collect::<String>();
            let caught = Caught::default();
            let out = caught.out();
            let document = serde_json::json!({ "line": line });
            out.json(&document);
            out.flush();
            let text = caught.text();
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            proptest::prop_assert_eq!(read, document);
            proptest::prop_assert_eq!(text.lines().count(), 3);
            let bad = |c: char| {
                c.is_control() && c != '\n' || "\u{202e}\u{2028}\u{e0041}".contains(c)
            };
            proptest::prop_assert!(!text.contains(bad), "{}", text);
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is() {
        for (kind, fails) in [
            (io::ErrorKind::BrokenPipe, false),
            (io::ErrorKind::StorageFull, true),
        ] {
            let out = Out::new(Box::new(Refusing(kind)), false);
            out.write(b"line\n");
            out.flush();
            out.write(b"line\n");
            assert_eq!(out.finish().is_err(), fails, "{kind}");
        }
    }
}
