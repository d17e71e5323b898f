//! The system's log, over its socket: syslogd's or journald's, which speak the same there.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use hasync_engine::{Place, harmless};

use super::letter::Letter;
use crate::config::Event;
use crate::exit;

/// Where the system's log listens.
pub(super) const SOCKET: &str = "/dev/log";

/// Facility `daemon`, in the place that it has in a priority.
const DAEMON: u8 = 3 << 3;
/// How long a log that takes nothing is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn send(letter: &Letter, socket: &Path) -> Result<(), String> {
    let severity = match letter.event() {
        Event::Failure | Event::Fenced | Event::Diverged | Event::Brake => 3,
        Event::Overlap | Event::Lag | Event::Differs => 4,
        Event::Promotion | Event::Demotion | Event::Recovery => 5,
    };
    let subject = letter.subject(Place::Datagram);
    let line = subject.strip_prefix("hasync ").unwrap_or(&subject);
    let next = letter.next(Place::Datagram);
    put(severity, &format!("{line}; {next}"), socket)
}

/// An error of this program's own.
pub(super) fn error(line: &str, socket: &Path) -> Result<(), String> {
    put(3, &harmless(line, Place::Datagram), socket)
}

fn put(severity: u8, line: &str, socket: &Path) -> Result<(), String> {
    let (priority, process) = (DAEMON | severity, std::process::id());
    let message = format!("<{priority}>hasync[{process}]: {line}");
    let sent = UnixDatagram::unbound().and_then(|from| {
        from.set_write_timeout(Some(PATIENCE))?;
        from.send_to(message.as_bytes(), socket)
    });
    sent.map(drop).map_err(|cause| exit::cause(&cause))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::Notice;
    use super::*;

    #[test]
    fn a_notice_is_one_datagram_with_its_priority() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("log");
        let log = UnixDatagram::bind(&socket).unwrap();
        let notice = Notice {
            event: Event::Overlap,
            tree: None,
            exit: 0,
            line: "two\nlines".to_owned(),
            next: "do this".to_owned(),
        };
        let letter = Letter::new(&notice, "foo0", 0);
        send(&letter, &socket).unwrap();
        let mut buffer = [0; 1024];
        let len = log.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..len]).unwrap();
        assert!(text.starts_with("<28>hasync["), "{text}");
        assert!(
            text.ends_with("]: foo0: overlap: two\\#012lines; do this"),
            "{text}"
        );
        assert!(
            send(&letter, &dir.path().join("none"))
                .unwrap_err()
                .contains("no such file")
        );
    }
}
