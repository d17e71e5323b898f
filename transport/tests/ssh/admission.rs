//! Who gets a place at the embedded server, who gives way, and how little of it is logged.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hasync_transport::ErrorKind;
use hasync_transport::ssh;
use hasync_transport::ssh::server::ServerOptions;

use crate::fixture::{exchange, options, refusal, wait_until};
use crate::served::{Served, echo, run};

#[test]
fn a_silent_connection_is_dropped() {
    let tight = |options: &mut ServerOptions| {
        options.limits.login_timeout = Duration::from_millis(400);
        options.limits.patience = Duration::ZERO;
    };
    let served = Served::with(tight, echo);
    let mut silent = TcpStream::connect(served.server.address).unwrap();
    silent.read_exact(&mut [0; 4]).unwrap();
    // The end may come as a reset: there are bytes of ours it never read.
    let _ = silent.read_to_end(&mut Vec::new());
    wait_until("the drop is logged", || {
        served.logged("not logged in within 0.4 s")
    });
}

#[test]
fn a_login_finds_a_place_though_all_are_taken() {
    let tight = |options: &mut ServerOptions| {
        options.limits.waiting_max = 2;
        options.limits.logins_max = 1;
        options.limits.patience = Duration::ZERO;
    };
    let served = Served::with(tight, echo);
    let connect = || TcpStream::connect(served.server.address).unwrap();
    let mut first = connect();
    first.read_exact(&mut [0; 4]).unwrap();
    let _others = [connect(), connect(), connect()];
    exchange(served.connect("hasync serve"), b"x");
    let _ = first.read_to_end(&mut Vec::new());
    assert!(served.logged("gave way to others"));
}

#[test]
fn what_does_not_speak_ssh_gets_no_answer() {
    let served = Served::start(echo);
    for words in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\0",
        b"SSH-1.5-old\r\n",
        b"SSH-2.1",
        b"ssh-2.0-",
        b"\nSSH-2.0-",
    ] {
        let mut client = TcpStream::connect(served.server.address).unwrap();
        client.write_all(words).unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{words:?}");
    }
    assert!(served.logged("does not speak SSH"));
}

#[test]
fn the_identification_may_come_in_drips() {
    let served = Served::start(echo);
    let mut client = TcpStream::connect(served.server.address).unwrap();
    client.set_nodelay(true).unwrap();
    for byte in b"SSH-2.0-drip\r\n" {
        client.write_all(&[*byte]).unwrap();
    }
    client.read_exact(&mut [0; 8]).unwrap();
}

#[test]
fn sessions_have_their_own_bound() {
    let served = Served::with(|options| options.limits.sessions_max = 1, echo);
    let first = served.connect("hasync serve");
    let again = options(served.dir.path());
    let error = refusal(&served.destination(), &again);
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(served.logged("refused: too many sessions"));
    exchange(first, b"x");
    wait_until("its place is free again", || {
        ssh::connect(&served.destination(), "hasync serve", &again).is_ok()
    });
}

#[test]
fn a_connection_that_did_its_work_ends_without_complaint() {
    let served = Served::start(echo);
    let (back, _) = exchange(served.connect("hasync serve"), b"x");
    assert_eq!(back, b"x");
    wait_until("the end is logged", || served.logged(": connection closed"));
    let log = served.log.lock().unwrap().clone();
    assert_eq!(log.len(), 2, "{log:?}");
    let twice = |line: &String| line.matches("127.0.0.1").count() > 1;
    assert!(!log.iter().any(twice), "{log:?}");
}

/// A key that may do little can still make words.
#[test]
fn a_client_that_logged_in_does_not_fill_the_log() {
    let served = Served::start(echo);
    let control = served.dir.path().join("control").display().to_string();
    let master = ["-M", "-S", &control, "-o", "ControlPersist=60", "-f", "-N"];
    run(&mut served.ssh(&master, &[]));
    for _ in 0..150 {
        let refused = run(&mut served.ssh(&["-S", &control], &["sh"]));
        assert!(!refused.status.success());
    }
    run(&mut served.ssh(&["-S", &control, "-O", "exit"], &[]));
    wait_until("the rest is counted", || served.logged("are left out"));
    let log = served.log.lock().unwrap().clone();
    let refusals = log.iter().filter(|line| line.contains("refused to run"));
    assert_eq!(refusals.count(), 100);
}
