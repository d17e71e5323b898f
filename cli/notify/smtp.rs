//! A mail handed to a smarthost as RFC 5321 has it, in the clear and without a password. Nothing
//! is asked of the smarthost beyond plain SMTP: the text is ASCII in short lines.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use hasync_engine::escape;

use crate::exit;

/// The longest reply, in bytes, however many lines it has.
const MAX_REPLY_LEN: usize = 16 * 1024;

/// One mail: who sends it to whom, and its headers and text with CRLF.
pub(super) struct Mail<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a [String],
    pub(super) text: &'a str,
}

/// Hands the mail over. A recipient who is refused keeps it from none of the others.
pub(super) fn send(
    host: &str,
    port: u16,
    mail: &Mail<'_>,
    timeout: Duration,
) -> Result<(), String> {
    let mut session = Session::open(host, port, Instant::now() + timeout)?;
    session.read("the greeting", &["220"])??;
    let own = match session.own_address()? {
        IpAddr::V4(own) => format!("[{own}]"),
        IpAddr::V6(own) => format!("[IPv6:{own}]"),
    };
    session.ask(&format!("HELO {own}"), &["250"])??;
    session.ask(&format!("MAIL FROM:<{}>", mail.from), &["250"])??;
    let mut refused = Vec::new();
    for to in mail.to {
        let asked = session.ask(&format!("RCPT TO:<{to}>"), &["250", "251"])?;
        refused.extend(asked.err());
    }
    if refused.len() < mail.to.len() {
        session.ask("DATA", &["354"])??;
        session.write(&format!("{}.\r\n", stuffed(mail.text)))?;
        session.read("the text", &["250"])??;
    }
    // The mail is sent by now, or is not going to be.
    let _ = session.write("QUIT\r\n");
    match refused.is_empty() {
        true => Ok(()),
        false => Err(refused.join("; ")),
    }
}

/// The text with a dot more before each line that begins with one, and an end to its last line.
fn stuffed(text: &str) -> String {
    let lines = text.split_terminator("\r\n");
    let dot = |line: &str| if line.starts_with('.') { "." } else { "" };
    lines
        .map(|line| format!("{}{line}\r\n", dot(line)))
        .collect()
}

/// A refusal in the smarthost's words; an error if there was no answer, and there will be none.
type Answer = Result<Result<(), String>, String>;

struct Session {
    stream: BufReader<TcpStream>,
    deadline: Instant,
}

impl Session {
    /// Connects to the first address that answers.
    fn open(host: &str, port: u16, deadline: Instant) -> Result<Self, String> {
        let found = (host, port).to_socket_addrs();
        let addresses = found.map_err(|e| format!("its name: {}", exit::cause(&e)))?;
        let mut why = "its name has no address".to_owned();
        for address in addresses {
            let connected = left(deadline)
                .and_then(|left| TcpStream::connect_timeout(&address, left))
                .map(BufReader::new);
            match connected {
                Ok(stream) => return Ok(Session { stream, deadline }),
                Err(e) => why = format!("{address}: {}", exit::cause(&e)),
            }
        }
        Err(why)
    }

    fn own_address(&self) -> Result<IpAddr, String> {
        let own = self.stream.get_ref().local_addr();
        own.map(|own| own.ip().to_canonical())
            .map_err(|e| exit::cause(&e))
    }

    /// Sends a line, and takes one of these answers to it.
    fn ask(&mut self, line: &str, codes: &[&str]) -> Answer {
        self.write(&format!("{line}\r\n"))?;
        self.read(line, codes)
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        let mut stream = self.stream.get_ref();
        left(self.deadline)
            .and_then(|left| stream.set_write_timeout(Some(left)))
            .and_then(|()| stream.write_all(text.as_bytes()))
            .map_err(|e| format!("it takes nothing: {}", shown(&e)))
    }

    /// Takes one of these answers to `what`.
    fn read(&mut self, what: &str, codes: &[&str]) -> Answer {
        let reply = self
            .reply()
            .map_err(|e| format!("no answer to {what}: {}", shown(&e)))?;
        if codes.iter().any(|code| reply.starts_with(code.as_bytes())) {
            return Ok(Ok(()));
        }
        Ok(Err(format!("{what}: {}", escape(reply.trim_ascii_end()))))
    }

    /// The last line of a reply: the others have a dash behind the code.
    fn reply(&mut self) -> io::Result<Vec<u8>> {
        let mut len = 0;
        loop {
            let line = self.line(MAX_REPLY_LEN - len)?;
            len += line.len();
            let goes_on = matches!(line[..], [a, b, c, b'-', ..]
                if [a, b, c].iter().all(u8::is_ascii_digit));
            if !goes_on {
                return Ok(line);
            }
        }
    }

    fn line(&mut self, max_len: usize) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let left = left(self.deadline)?;
            self.stream.get_ref().set_read_timeout(Some(left))?;
            let piece = self.stream.fill_buf()?;
            if piece.is_empty() {
                let gone = "the connection was closed";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, gone));
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let len = end.map_or(piece.len(), |end| end + 1);
            if line.len() + len > max_len {
                return Err(io::Error::other("it does not come to an end"));
            }
            self.stream
                .by_ref()
                .take(len as u64)
                .read_to_end(&mut line)?;
        }
        Ok(line)
    }
}

/// What is left of the time; an error if nothing is.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

/// A socket whose time is over says that it would have to wait.
fn shown(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it took too long".to_owned(),
        _ => exit::cause(e),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Sends a mail to a server that answers so, and gives the lines that it was told.
    fn sent(answers: &[&str], timeout: Duration) -> (Result<(), String>, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = ["root@foo0".to_owned(), "ops@example.com".to_owned()];
        let mail = Mail {
            from: "hasync@foo0",
            to: &to,
            text: "Subject: x\r\n\r\n.\r\n..two\r\nlast\r\n",
        };
        thread::scope(|scope| {
            let server = scope.spawn(|| answered(&listener, answers));
            let done = send("127.0.0.1", port, &mail, timeout);
            (done, server.join().unwrap())
        })
    }

    /// Serves one client, and gives what it said: a line for each answer, a text for 354.
    fn answered(listener: &TcpListener, answers: &[&str]) -> Vec<String> {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut told = Vec::new();
        for answer in answers {
            // The client may have left already.
            let _ = stream.write_all(answer.as_bytes());
            let is_data = answer.starts_with("354");
            for line in lines.by_ref().map_while(Result::ok) {
                let is_over = !is_data || line == ".";
                told.push(line);
                if is_over {
                    break;
                }
            }
        }
        told
    }

    const LONG: Duration = Duration::from_secs(60);
    const OK: &str = "250 ok\r\n";

    #[test]
    fn a_text_comes_through_whatever_its_lines_begin_with() {
        let (done, told) = sent(
            &[
                "220-welcome\r\n220 \r\n",
                "250-many\r\n250-lines\r\n250 ok\r\n",
                OK,
                "251 forwarded\r\n",
                OK,
                "354 go on\r\n",
                OK,
            ],
            LONG,
        );
        assert_eq!(done, Ok(()));
        let expected = [
            "HELO [127.0.0.1]",
            "MAIL FROM:<hasync@foo0>",
            "RCPT TO:<root@foo0>",
            "RCPT TO:<ops@example.com>",
            "DATA",
            "Subject: x",
            "",
            "..",
            "...two",
            "last",
            ".",
            "QUIT",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_refusal_is_told_in_its_words() {
        let (a, b) = ("220 x\r\n", OK);
        let cases: [(&[&str], &str); 7] = [
            (&["554 not you\r\n"], "the greeting: 554 not you"),
            (
                &[a, "501 what\x1b[2J\r\n"],
                "HELO [127.0.0.1]: 501 what\\#033[2J",
            ),
            (
                &[a, b, "451 later\r\n"],
                "MAIL FROM:<hasync@foo0>: 451 later",
            ),
            (
                &[a, b, OK, "550 who?\r\n", "550 no relay\r\n", OK],
                "RCPT TO:<root@foo0>: 550 who?; RCPT TO:<ops@example.com>: 550 no relay",
            ),
            // The other one gets it all the same.
            (
                &[a, b, OK, "550 who?\r\n", OK, "354 go\r\n", OK],
                "RCPT TO:<root@foo0>: 550 who?",
            ),
            // Who does not answer is asked nothing more.
            (
                &[a, b, OK],
                "no answer to RCPT TO:<root@foo0>: the connection was closed",
            ),
            (
                &[a, b, OK, OK, OK, "354 go\r\n", "552 full\r\n"],
                "the text: 552 full",
            ),
        ];
        for (answers, expected) in cases {
            let (done, told) = sent(answers, LONG);
            assert_eq!(done, Err(expected.to_owned()));
            let got_data = told.contains(&"..".to_owned());
            assert_eq!(
                got_data,
                answers.iter().any(|answer| answer.starts_with("354"))
            );
        }
    }

    #[test]
    fn what_is_no_answer_ends_in_time() {
        let (endless, line) = ("220-x\r\n".repeat(4_000), "2".repeat(MAX_REPLY_LEN + 1));
        let cases: [(&[&str], &str); 4] = [
            (&[], "the connection was closed"),
            (&[&endless], "does not come to an end"),
            (&[&line], "does not come to an end"),
            (&["SSH-2.0-OpenSSH\r\n"], "the greeting: SSH-2.0-OpenSSH"),
        ];
        for (answers, expected) in cases {
            let (done, _) = sent(answers, LONG);
            assert!(done.as_ref().unwrap_err().contains(expected), "{done:?}");
        }
        let (done, _) = sent(&[""], Duration::from_millis(50));
        assert_eq!(
            done,
            Err("no answer to the greeting: it took too long".to_owned())
        );
    }
}
