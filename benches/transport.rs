//! What the SSH channel carries, in bytes per second: hasync's own client and OpenSSH's `ssh`
//! against the same sshd on loopback, with each cipher, into `cat` that throws everything away.
//! Connecting is left out of neither.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    reason = "a bench that cannot go on says so by panicking; the fixture is the tests'"
)]

#[path = "../transport/tests/ssh/fixture.rs"]
mod fixture;

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fixture::{Sshd, noise};

criterion_group!(benches, send);
criterion_main!(benches);

const SENT_LEN: usize = 256 << 20;
const COMMAND: &str = "cat >/dev/null";

fn send(criterion: &mut Criterion) {
    let sshd = Sshd::start();
    let data = noise(SENT_LEN, 1);
    let mut group = criterion.benchmark_group("send");
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(5));
    group.sample_size(10);
    group.throughput(Throughput::Bytes(SENT_LEN as u64));
    for cipher in ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"] {
        std::fs::write(sshd.path("ssh_config"), format!("Ciphers {cipher}\n")).unwrap();
        let name = cipher.split('@').next().unwrap_or(cipher);
        group.bench_function(format!("hasync {name}"), |bencher| {
            bencher.iter(|| by_hasync(&sshd, &data));
        });
        group.bench_function(format!("ssh {name}"), |bencher| {
            bencher.iter(|| by_ssh(&sshd, cipher, &data));
        });
    }
}

fn by_hasync(sshd: &Sshd, data: &[u8]) {
    let mut link = sshd.connect(COMMAND);
    link.writer.write_all(data).unwrap();
    link.writer.flush().unwrap();
    drop(link.writer);
    assert_eq!(link.reader.read_to_end(&mut Vec::new()).unwrap(), 0);
    let finish = link.control.finish().unwrap();
    assert_eq!(finish.exit_code, Some(0));
}

fn by_ssh(sshd: &Sshd, cipher: &str, data: &[u8]) {
    let at = |name: &str| sshd.path(name).display().to_string();
    let mut ssh = Command::new("ssh")
        .args(["-F", &at("ssh_config"), "-c", cipher, "-i", &at("user")])
        .arg(format!("-oUserKnownHostsFile={}", at("known_hosts")))
        .args(["-p", &sshd.port.to_string(), "127.0.0.1", COMMAND])
        .stdin(Stdio::piped())
        .spawn()
        .expect("ssh is installed");
    let mut input = ssh.stdin.take().unwrap();
    input.write_all(data).unwrap();
    drop(input);
    assert!(ssh.wait().unwrap().success());
}
