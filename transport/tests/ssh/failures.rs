//! Connections that cannot come about or break: each ends by itself and says why.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use hasync_transport::ssh::{self, Destination};
use hasync_transport::{Error, ErrorKind};

use crate::fixture::{Sshd, assert_kind, free_port, keygen, options, refusal};

#[test]
fn a_name_without_address() {
    let dir = tempfile::tempdir().unwrap();
    let to = Destination::parse("no-such-host.invalid");
    let error = refusal(&to, &options(dir.path_with_config()));
    assert_kind(
        &error,
        ErrorKind::NameNotResolved,
        &["no-such-host.invalid port 22"],
    );
    for odd in ["", "-oProxyCommand=x", "a b"] {
        let error = refusal(&Destination::parse(odd), &options(dir.path()));
        assert_eq!(error.kind(), ErrorKind::NameNotResolved, "{odd:?}");
    }
}

trait WithConfig {
    fn path_with_config(&self) -> &std::path::Path;
}

impl WithConfig for tempfile::TempDir {
    fn path_with_config(&self) -> &std::path::Path {
        std::fs::write(self.path().join("ssh_config"), "").unwrap();
        self.path()
    }
}

#[test]
fn a_refused_port() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let to = Destination {
        host: "127.0.0.1".into(),
        port: Some(port),
        user: None,
    };
    let error = refusal(&to, &options(dir.path_with_config()));
    let expected = [&port.to_string(), "connection refused", "is sshd running"];
    assert_kind(&error, ErrorKind::Unreachable, &expected);
}

#[test]
fn a_server_that_never_speaks() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = Destination {
        host: "127.0.0.1".into(),
        port: Some(port),
        user: None,
    };
    let mut options = options(dir.path_with_config());
    options.handshake_timeout = Duration::from_millis(300);
    assert_kind(
        &refusal(&to, &options),
        ErrorKind::Timeout,
        &["key exchange took longer"],
    );
}

#[test]
fn a_server_that_falls_silent_in_the_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        tcp.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").unwrap();
        let mut sink = [0; 4096];
        while tcp.read(&mut sink).is_ok_and(|len| len > 0) {}
    });
    let to = Destination {
        host: "127.0.0.1".into(),
        port: Some(port),
        user: None,
    };
    let mut options = options(dir.path_with_config());
    options.handshake_timeout = Duration::from_millis(300);
    assert_eq!(refusal(&to, &options).kind(), ErrorKind::Timeout);
}

#[test]
fn a_server_that_speaks_something_else() {
    for greeting in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"",
        b"SSH-2.0-x\r\ngarbage garbage",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            tcp.write_all(greeting).unwrap();
        });
        let to = Destination {
            host: "127.0.0.1".into(),
            port: Some(port),
            user: None,
        };
        let error = refusal(&to, &options(dir.path_with_config()));
        assert_kind(&error, ErrorKind::Closed, &["127.0.0.1"]);
    }
}

#[test]
fn a_command_that_does_not_exist() {
    let sshd = Sshd::start();
    let mut link = sshd.connect("/no/such/hasync serve");
    let error = link.reader.read(&mut [0; 16]).unwrap_err();
    let error = Error::of(&error).expect("an error of this crate");
    assert_kind(
        error,
        ErrorKind::CommandNotFound,
        &["hasync was not found", "--remote-bin"],
    );
    // Whoever writes first learns the same.
    let error = loop {
        if let Err(error) = link
            .writer
            .write_all(&[0; 65_536])
            .and_then(|()| link.writer.flush())
        {
            break error;
        }
    };
    assert_eq!(
        Error::of(&error).unwrap().kind(),
        ErrorKind::CommandNotFound
    );
}

#[test]
fn a_command_that_fails_before_its_first_byte() {
    let sshd = Sshd::start();
    let mut link = sshd.connect("echo no such root >&2; exit 78");
    let error = link.reader.read(&mut [0; 16]).unwrap_err();
    let error = Error::of(&error).expect("an error of this crate");
    assert_kind(
        error,
        ErrorKind::Closed,
        &["exit status 78", "no such root"],
    );
}

#[test]
fn a_session_that_is_killed_while_we_read() {
    let sshd = Sshd::start();
    let mut link = sshd.connect("echo x; sleep 600");
    link.reader.read_exact(&mut [0; 2]).unwrap();
    sshd.kill_sessions();
    let error = link.reader.read(&mut [0; 16]).unwrap_err();
    let error = Error::of(&error).expect("an error of this crate");
    assert_kind(error, ErrorKind::Closed, &["127.0.0.1", "mid-stream"]);
    assert_eq!(link.control.finish().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_session_that_is_killed_while_we_wait_to_write() {
    let sshd = Sshd::start();
    let mut link = sshd.connect("echo x; sleep 600");
    link.reader.read_exact(&mut [0; 2]).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            loop {
                if let Err(error) = link.writer.write_all(&[0; 1 << 20]) {
                    return error;
                }
            }
        });
        // By then the writer waits for the window; if not, it fails just the same.
        std::thread::sleep(Duration::from_millis(300));
        sshd.kill_sessions();
        let error = writer.join().unwrap();
        assert_eq!(Error::of(&error).unwrap().kind(), ErrorKind::Closed);
    });
}

#[test]
fn a_command_that_ends_while_we_wait_to_write() {
    let sshd = Sshd::start();
    let mut link = sshd.connect("echo x; sleep 0.3");
    link.reader.read_exact(&mut [0; 2]).unwrap();
    let error = loop {
        if let Err(error) = link.writer.write_all(&[0; 1 << 20]) {
            break error;
        }
    };
    assert_kind(
        Error::of(&error).unwrap(),
        ErrorKind::Closed,
        &["closed the stream"],
    );
    assert_eq!(link.reader.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn a_frozen_peer_is_noticed() {
    let sshd = Sshd::start();
    std::fs::write(
        sshd.path("ssh_config"),
        "ServerAliveInterval 1\nServerAliveCountMax 1\n",
    )
    .unwrap();
    let mut link = sshd.connect("echo x; read -r go; kill -STOP $PPID; sleep 600");
    link.reader.read_exact(&mut [0; 2]).unwrap();
    link.writer.write_all(b"go\n").unwrap();
    link.writer.flush().unwrap();
    let error = link.reader.read(&mut [0; 16]).unwrap_err();
    let error = Error::of(&error).expect("an error of this crate");
    assert_kind(error, ErrorKind::Timeout, &["no sign of life for 2 s"]);
}

#[test]
fn the_io_timeout_is_kept() {
    let sshd = Sshd::start();
    let mut link = sshd.connect("sleep 600");
    link.control
        .set_io_timeout(Some(Duration::from_millis(100)));
    let error = link.reader.read(&mut [0; 16]).unwrap_err();
    assert_eq!(Error::of(&error).unwrap().kind(), ErrorKind::Timeout);
    let error = link.writer.write_all(&vec![0; 32 << 20]).unwrap_err();
    assert_eq!(Error::of(&error).unwrap().kind(), ErrorKind::Timeout);
}

#[test]
fn a_directive_that_cannot_be_left_out() {
    let sshd = Sshd::start();
    std::fs::write(sshd.path("ssh_config"), "Host *\n ProxyJump gate\n").unwrap();
    let expected = ["ssh_config:2: proxyjump gate", "-e ssh"];
    assert_kind(&sshd.refusal(&sshd.options()), ErrorKind::Config, &expected);
}

#[test]
fn no_common_cipher() {
    let sshd = Sshd::with(&["ed25519"], "Ciphers aes128-ctr");
    std::fs::write(sshd.path("ssh_config"), "Ciphers aes256-gcm@openssh.com\n").unwrap();
    let expected = ["no common cipher", "aes256-gcm@openssh.com", "aes128-ctr"];
    assert_kind(&sshd.refusal(&sshd.options()), ErrorKind::Closed, &expected);
}

#[test]
fn a_forced_command_does_not_open_a_shell() {
    let sshd = Sshd::start();
    let public = keygen(sshd.dir.path(), "forced", "ed25519", &[]);
    let line = format!("restrict,command=\"echo forced\" {public}\n");
    std::fs::write(sshd.path("authorized_keys"), line).unwrap();
    let mut options = sshd.options();
    options.identities = vec![sshd.path("forced")];
    let link = ssh::connect(&sshd.destination(), "hasync serve", &options).unwrap();
    assert_eq!(crate::fixture::output_of(link), "forced\n");
}
