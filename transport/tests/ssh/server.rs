//! The embedded server: what it does for a key that may, and all that it does not do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use hasync_transport::ssh;
use hasync_transport::ssh::server::{PeerInfo, ServerOptions};
use hasync_transport::{Error, ErrorKind, Link};

use crate::fixture::{exchange, keygen, noise, options, refusal};
use crate::in_threads::Server;
use crate::served::{Served, echo, run};

#[test]
fn our_client_gets_its_data_back() {
    let served = Served::start(echo);
    let data = noise(100_000_000, 4);
    let (back, finish) = exchange(served.connect("hasync serve"), &data);
    assert!(back == data);
    assert_eq!(finish.exit_code, Some(0));
}

#[test]
fn keys_are_renewed_between_our_own_ends() {
    let served = Served::with(|options| options.limits.rekey_len = Some(3 << 20), echo);
    let data = noise(30_000_000, 5);
    let mut options = options(served.dir.path());
    options.rekey_len = Some(2 << 20);
    let link = ssh::connect(&served.destination(), "hasync serve", &options).unwrap();
    let (back, _) = exchange(link, &data);
    assert!(back == data);
}

/// Both ends write without reading until they are stopped by flow control, then read: neither end
/// may depend on the other one reading its network first.
#[test]
fn both_directions_can_be_full_at_once() {
    let full = 48_000_000;
    let served = Served::start(move |link, _| {
        let (mut reader, mut writer) = (link.reader, link.writer);
        let sending = std::thread::spawn(move || writer.write_all(&noise(full, 6)).is_ok());
        std::thread::sleep(Duration::from_millis(500));
        let mut all = Vec::new();
        let read = reader.read_to_end(&mut all).is_ok();
        u32::from(!(sending.join().unwrap() && read && all == noise(full, 7)))
    });
    let link = served.connect("hasync serve");
    let (mut reader, mut writer) = (link.reader, link.writer);
    let sending = std::thread::spawn(move || writer.write_all(&noise(full, 7)).unwrap());
    std::thread::sleep(Duration::from_millis(500));
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    sending.join().unwrap();
    assert!(all == noise(full, 6));
    assert_eq!(link.control.finish().unwrap().exit_code, Some(0));
}

#[test]
fn either_half_may_close_first() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let served = Served::start(move |mut link, _| {
        link.writer.write_all(b"x").unwrap();
        drop(link.writer);
        let mut all = Vec::new();
        link.reader.read_to_end(&mut all).unwrap();
        tell.lock().unwrap().send(all).unwrap();
        0
    });
    let mut link = served.connect("hasync serve");
    let mut said = String::new();
    link.reader.read_to_string(&mut said).unwrap();
    assert_eq!(said, "x");
    let data = noise(1_000_000, 3);
    link.writer.write_all(&data).unwrap();
    drop(link.writer);
    assert!(told.recv().unwrap() == data);
    assert_eq!(link.control.finish().unwrap().exit_code, Some(0));
}

#[test]
fn the_handler_learns_who_and_what() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let served = Served::start(move |mut link, peer| {
        tell.lock().unwrap().send(peer).unwrap();
        link.writer.write_all(b"x").unwrap();
        42
    });
    let link = served.connect("/usr/bin/hasync serve --root '/a b' --receive-only");
    let (_, finish) = exchange(link, b"");
    assert_eq!(finish.exit_code, Some(42));
    let peer = told.recv().unwrap();
    assert_eq!(peer.arguments, ["--root", "/a b", "--receive-only"]);
    assert_eq!(
        (peer.user.as_str(), peer.key_comment.as_str()),
        ("anybody", "me")
    );
    assert!(peer.key_fingerprint.starts_with("SHA256:"));
    assert_eq!(peer.forced, None);
    assert!(served.logged("logged in as \"anybody\""));

    let public = std::fs::read_to_string(served.dir.path().join("user.pub")).unwrap();
    let forced = "restrict,command=\"/x/hasync serve --root /c --no-delete\"";
    authorize(served.dir.path(), &format!("{forced} {public}"));
    exchange(served.connect("hasync serve --root /"), b"");
    let peer = told.recv().unwrap();
    assert_eq!(peer.forced.unwrap(), ["--root", "/c", "--no-delete"]);
}

#[test]
fn a_key_with_a_command_that_makes_no_sense_does_not_log_in() {
    let judge = |arguments: &[String]| match arguments {
        [] => Ok(()),
        _ => Err("no such option".to_owned()),
    };
    let served = Served::with(|options| options.judge_forced = Arc::new(judge), echo);
    let public = std::fs::read_to_string(served.dir.path().join("user.pub")).unwrap();
    let right = options(served.dir.path());
    for (command, why) in [
        ("/bin/false", "only hasync serve can be run"),
        ("hasync serve --bogus", "no such option"),
        ("hasync serve; id", "needs a shell"),
    ] {
        let forced = format!("command=\"{command}\" {public}\n{public}");
        authorize(served.dir.path(), &forced);
        let error = refusal(&served.destination(), &right);
        assert_eq!(error.kind(), ErrorKind::Auth, "{command}");
        assert!(served.logged(why), "{why}");
    }
    authorize(
        served.dir.path(),
        &format!("command=\"hasync serve\" {public}"),
    );
    exchange(served.connect("hasync serve"), b"");
}

#[test]
fn openssh_runs_hasync_serve() {
    let served = Served::start(|link, _| {
        let mut said = String::new();
        let (mut reader, mut writer) = (link.reader, link.writer);
        reader.read_to_string(&mut said).unwrap();
        writer
            .write_all(format!("got {}", said.len()).as_bytes())
            .unwrap();
        5
    });
    let mut command = served.ssh(&["-o", "SendEnv=*"], &["hasync", "serve", "--root", "/x"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&[b'x'; 3_000_000])
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"got 3000000");
    assert_eq!(output.status.code(), Some(5));
}

#[test]
fn openssh_gets_nothing_else() {
    let served = Served::start(|_, _| panic!("a command was run"));
    for (before, command) in [
        (&[][..], &[][..]),
        (&["-tt"], &[]),
        (&[], &["sh"]),
        (&[], &["hasync", "push"]),
        (&[], &["hasync", "serve;", "id"]),
        (&["-s"], &["sftp"]),
        (&["-W", "127.0.0.1:22"], &[]),
        (
            &[
                "-N",
                "-o",
                "ExitOnForwardFailure=yes",
                "-R",
                "0:127.0.0.1:22",
            ],
            &[],
        ),
    ] {
        let output = run(&mut served.ssh(before, command));
        assert!(!output.status.success(), "{before:?} {command:?}");
        assert!(output.stdout.is_empty(), "{before:?} {command:?}");
    }
    assert!(served.logged("refused to run \"sh\""));
}

#[test]
fn a_local_forward_reaches_nothing() {
    let served = Served::start(|link, _| {
        let mut link = link;
        let _ = link
            .writer
            .write_all(b"ready")
            .and_then(|()| link.writer.flush());
        let _ = link.reader.read(&mut [0; 1]);
        0
    });
    let port = crate::fixture::free_port();
    let forward = format!("{port}:127.0.0.1:{}", served.server.address.port());
    let mut command = served.ssh(&["-L", &forward], &["hasync", "serve"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 5])
        .unwrap();
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut banner = Vec::new();
    let _ = tcp.read_to_end(&mut banner);
    assert!(
        banner.is_empty(),
        "the server's own banner came through its forward"
    );
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn one_connection_runs_one_command_after_another() {
    let served = Served::start(echo);
    let control = served.dir.path().join("control").display().to_string();
    let master = ["-M", "-S", &control, "-o", "ControlPersist=60"];
    for options in [
        &master[..],
        &["-S", &control],
        &["-S", &control],
        &["-S", &control],
    ] {
        let mut command = served.ssh(options, &["hasync", "serve"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"x").unwrap();
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut [0; 1])
            .unwrap();
        drop(stdin);
        // Not its status: a sharing ssh loses that when the end of a command comes in one piece.
        child.wait().unwrap();
    }
    run(&mut served.ssh(&["-S", &control, "-O", "exit"], &[]));
    let logins = served
        .log
        .lock()
        .unwrap()
        .iter()
        .filter(|l| l.contains("logged in"))
        .count();
    assert_eq!(logins, 1);
}

#[test]
fn the_exit_status_always_arrives() {
    let served = Served::start(|_, _| 7);
    for _ in 0..20 {
        let output = run(&mut served.ssh(&[], &["hasync", "serve"]));
        assert_eq!(output.status.code(), Some(7));
    }
}

fn authorize(dir: &Path, line: &str) {
    std::fs::write(dir.join("authorized_keys"), line).unwrap();
}

#[test]
fn only_listed_keys_log_in() {
    let served = Served::start(echo);
    let public = std::fs::read_to_string(served.dir.path().join("user.pub")).unwrap();
    keygen(served.dir.path(), "wrong", "ed25519", &[]);
    let mut wrong = options(served.dir.path());
    wrong.identities = vec![served.dir.path().join("wrong")];
    assert_eq!(
        refusal(&served.destination(), &wrong).kind(),
        ErrorKind::Auth
    );
    assert!(served.logged("it is not in"));

    let right = options(served.dir.path());
    for options in [
        "from=\"10.9.9.9\"",
        "expiry-time=\"20200101\"",
        "no-such-option",
    ] {
        authorize(served.dir.path(), &format!("{options} {public}"));
        let error = refusal(&served.destination(), &right);
        assert_eq!(error.kind(), ErrorKind::Auth, "{options}");
    }
    authorize(served.dir.path(), &format!("from=\"127.0.0.0/8\" {public}"));
    exchange(served.connect("hasync serve"), b"");
    let output = run(&mut served.ssh(&["-o", "PreferredAuthentications=password"], &["true"]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Permission denied (publickey)"));
}

#[test]
fn every_key_type_logs_in() {
    let served = Served::start(echo);
    for (name, key_type) in [("rsa", "rsa"), ("ecdsa", "ecdsa"), ("ed25519", "ed25519")] {
        let public = keygen(served.dir.path(), name, key_type, &[]);
        authorize(served.dir.path(), &public);
        let mut options = options(served.dir.path());
        options.identities = vec![served.dir.path().join(name)];
        let link = ssh::connect(&served.destination(), "hasync serve", &options).unwrap();
        exchange(link, b"x");
    }
}

/// Sends the handler's read result out of the server.
fn reporting() -> (
    impl Fn(Link, PeerInfo) -> u32 + Send + Sync,
    mpsc::Receiver<std::io::Result<u64>>,
) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let handler = move |mut link: Link, _: PeerInfo| {
        let _ = link
            .writer
            .write_all(b"ready")
            .and_then(|()| link.writer.flush());
        let read = std::io::copy(&mut link.reader, &mut std::io::sink());
        tell.lock().unwrap().send(read).unwrap();
        0
    };
    (handler, told)
}

#[test]
fn a_client_that_freezes_is_dropped() {
    let (handler, told) = reporting();
    let quick = |options: &mut ServerOptions| {
        options.limits.alive_interval = Duration::from_millis(200);
    };
    let served = Served::with(quick, handler);
    let mut command = served.ssh(&[], &["hasync", "serve"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 5])
        .unwrap();
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-STOP", &pid])
            .status()
            .unwrap()
            .success()
    );
    let error = told.recv().unwrap().unwrap_err();
    assert_eq!(Error::of(&error).unwrap().kind(), ErrorKind::Timeout);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A standby that flushes its disks reads nothing for longer than a dead peer may be silent.
#[test]
fn an_end_that_does_not_read_for_long_is_not_taken_for_dead() {
    let impatient = |options: &mut ServerOptions| {
        options.limits.alive_interval = Duration::from_secs(3);
        options.limits.alive_count_max = 2;
    };
    let served = Served::with(impatient, |mut link, _| {
        std::thread::sleep(Duration::from_secs(20));
        let read = std::io::copy(&mut link.reader, &mut std::io::sink());
        u32::from(!read.is_ok_and(|len| len == 60_000_000))
    });
    let config = "ServerAliveInterval 3\nServerAliveCountMax 2\n";
    std::fs::write(served.dir.path().join("ssh_config"), config).unwrap();
    let mut link = served.connect("hasync serve");
    link.writer.write_all(&noise(60_000_000, 8)).unwrap();
    drop(link.writer);
    assert_eq!(link.control.finish().unwrap().exit_code, Some(0));
}

#[test]
fn a_client_that_is_killed_is_an_error_and_no_end_of_file() {
    let (handler, told) = reporting();
    let served = Served::start(handler);
    let mut command = served.ssh(&[], &["hasync", "serve"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 5])
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let error = told.recv().unwrap().unwrap_err();
    assert_eq!(Error::of(&error).unwrap().kind(), ErrorKind::Closed);
}

#[test]
fn shutdown_ends_what_runs() {
    let (handler, told) = reporting();
    let served = Served::start(handler);
    let mut link = served.connect("hasync serve");
    link.reader.read_exact(&mut [0; 5]).unwrap();
    drop(served.server);
    assert!(told.recv().unwrap().is_err());
    assert!(link.reader.read(&mut [0; 5]).is_err());
}

#[test]
fn a_server_does_not_start_with_files_others_can_use() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let set = |name: &str, mode: u32| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(at(name), mode).unwrap();
    };
    ssh::generate_host_key(&at("host")).unwrap();
    std::fs::write(at("keys"), "").unwrap();
    let start = || {
        let options = ServerOptions::new(at("keys"), at("host"));
        Server::start(options, |_| (), echo).map(drop)
    };
    set("keys", 0o666);
    assert_eq!(start().unwrap_err().kind(), ErrorKind::Config);
    set("keys", 0o600);
    start().unwrap();
    set("host", 0o644);
    assert!(start().unwrap_err().to_string().contains("mode 644"));
}
