//! What goes over an open connection arrives whole, in order and at once.

use std::io::{Read, Write};
use std::time::Duration;

use hasync_transport::ssh;

use crate::fixture::{Sshd, exchange, noise, output_of};

#[test]
fn data_survives_both_ways_at_once() {
    let sshd = Sshd::start();
    let data = noise(100_000_000, 1);
    for ciphers in [
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
        "aes256-ctr",
    ] {
        std::fs::write(sshd.path("ssh_config"), format!("Ciphers {ciphers}\n")).unwrap();
        let (back, finish) = exchange(sshd.connect("cat"), &data);
        assert!(back == data, "{ciphers}");
        assert_eq!(finish.exit_code, Some(0));
        assert!(finish.traffic.sent_bytes > data.len() as u64);
        assert!(finish.traffic.received_bytes > data.len() as u64);
    }
}

#[test]
fn keys_are_renewed_in_mid_stream() {
    let sshd = Sshd::with(&["ed25519"], "RekeyLimit 3M");
    let data = noise(30_000_000, 2);
    let mut options = sshd.options();
    options.rekey_len = Some(1 << 20);
    let link = ssh::connect(&sshd.destination(), "cat", &options).unwrap();
    let (back, _) = exchange(link, &data);
    assert!(back == data);
}

#[test]
fn a_slow_reader_loses_nothing() {
    let sshd = Sshd::start();
    let mut link = sshd.connect("head -c 60000000 /dev/zero | tr '\\0' x; echo end");
    let mut all = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let len = link.reader.read(&mut buffer).unwrap();
        if len == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..len]);
        if all.len() < 2_000_000 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert_eq!(all.len(), 60_000_004);
    assert!(all.ends_with(b"xxend\n"));
}

#[test]
fn a_dropped_writer_is_the_end_of_the_remote_input() {
    let sshd = Sshd::start();
    let mut link = sshd.connect("wc -c");
    link.writer.write_all(&[b'x'; 100_001]).unwrap();
    drop(link.writer);
    let mut said = String::new();
    link.reader.read_to_string(&mut said).unwrap();
    assert_eq!(said.trim(), "100001");
    assert_eq!(link.control.finish().unwrap().exit_code, Some(0));
}

#[test]
fn a_flushed_message_is_answered_before_the_next() {
    let sshd = Sshd::start();
    let mut link = sshd.connect("while read -r line; do echo got $line; done");
    for turn in 0..50 {
        writeln!(link.writer, "{turn}").unwrap();
        link.writer.flush().unwrap();
        let expected = format!("got {turn}\n");
        let mut answer = vec![0; expected.len()];
        link.reader.read_exact(&mut answer).unwrap();
        assert_eq!(answer, expected.as_bytes());
    }
}

#[test]
fn status_and_last_words_are_kept() {
    let sshd = Sshd::start();
    let (_, finish) = exchange(sshd.connect("echo out; echo last words >&2; exit 23"), b"");
    assert_eq!(finish.exit_code, Some(23));
    assert_eq!(finish.stderr_tail, b"last words\n");
    let (_, finish) = exchange(sshd.connect("echo out; kill -KILL $$"), b"");
    assert_eq!(finish.signal.as_deref(), Some("KILL"));
}

#[test]
fn a_flood_on_stderr_stops_nothing() {
    let sshd = Sshd::start();
    let link = sshd.connect("head -c 40000000 /dev/zero | tr '\\0' e >&2; echo done");
    assert_eq!(output_of(link), "done\n");
}

#[test]
fn an_abandoned_connection_ends_the_remote_command() {
    let sshd = Sshd::start();
    let file = sshd.path("ended");
    let mut link = sshd.connect(&format!(
        "echo x; cat >/dev/null; echo > {}",
        file.display()
    ));
    link.reader.read_exact(&mut [0; 2]).unwrap();
    drop(link);
    crate::fixture::wait_until("the remote command ends", || file.exists());
}
