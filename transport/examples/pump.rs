//! Measures SSH connections on loopback: ours to and from a real sshd, ours to our own server, and
//! beside them the `ssh` program to the same sshd. Prints MB/s, this process's CPU time (`ssh` and
//! `sshd` not included), and the time of a whole connection that runs `true`.
//!
//! cargo run --release -p hasync-transport --example pump [MIB] [CIPHERS] [BLOCK_KIB]
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/ssh/in_threads.rs"]
mod in_threads;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hasync_transport::Link;
use hasync_transport::ssh::server::ServerOptions;
use hasync_transport::ssh::{self, ClientOptions, Destination, Environment};

fn main() {
    let mut args = std::env::args().skip(1);
    let mib: usize = args.next().map_or(4096, |text| text.parse().expect("MIB"));
    let ciphers = args
        .next()
        .unwrap_or_else(|| "aes256-gcm@openssh.com".to_owned());
    let block_len = 1024
        * args
            .next()
            .map_or(256, |text| text.parse::<usize>().expect("KIB"));
    let data: Vec<u8> = (0..block_len)
        .map(|i| ((i * 2_654_435_761) >> 7) as u8)
        .collect();
    let blocks = (mib << 20) / block_len;

    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let host_key = ssh::generate_host_key(&path("host")).unwrap();
    let user_key = ssh::generate_key_pair(&path("user"), "").unwrap();
    std::fs::write(path("authorized"), user_key + "\n").unwrap();
    std::fs::write(path("ssh_config"), format!("Ciphers {ciphers}\n")).unwrap();
    let options = ServerOptions::new(path("authorized"), path("host"));
    let swallow = |mut link: Link, _| {
        u32::from(std::io::copy(&mut link.reader, &mut std::io::sink()).is_err())
    };
    let own = in_threads::Server::start(options, |_| (), swallow).unwrap();
    let own_port = own.address.port();
    let port = free_port();
    let known = format!("[127.0.0.1]:{port} {host_key}\n[127.0.0.1]:{own_port} {host_key}\n");
    std::fs::write(path("known"), known).unwrap();
    let (authorized, host) = (path("authorized"), path("host"));
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\n\
         UsePAM no\nPidFile none\nPermitRootLogin yes\n",
        host.display(),
        authorized.display(),
    );
    std::fs::write(path("sshd_config"), config).unwrap();
    let mut sshd = Command::new("/usr/sbin/sshd");
    sshd.args(["-D", "-e", "-f"])
        .arg(path("sshd_config"))
        .stdout(Stdio::null());
    let _sshd = Stopped(sshd.stderr(Stdio::null()).spawn().unwrap());
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }

    let options = ClientOptions {
        config_file: Some(path("ssh_config")),
        known_hosts: Some(path("known")),
        identities: vec![path("user")],
        environment: Environment::current(),
        ..ClientOptions::default()
    };
    let connect = |port: u16, command: &str| {
        let to = Destination {
            host: "127.0.0.1".into(),
            port: Some(port),
            user: None,
        };
        ssh::connect(&to, command, &options).unwrap()
    };
    let ssh = |command: &str| {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-c", &ciphers, "-p", &port.to_string(), "-i"])
            .arg(path("user"))
            .arg(format!("-oUserKnownHostsFile={}", path("known").display()))
            .args(["127.0.0.1", command]);
        ssh
    };

    measure("hasync to sshd", mib, || {
        send(connect(port, "cat >/dev/null"), &data, blocks);
    });
    measure("sshd to hasync", mib, || {
        receive(
            connect(port, &format!("head -c {} /dev/zero", mib << 20)),
            block_len,
        );
    });
    measure("hasync to hasync", mib, || {
        send(connect(own_port, "hasync serve"), &data, blocks);
    });
    measure("ssh to sshd", mib, || {
        let mut child = ssh("cat >/dev/null").stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        (0..blocks).for_each(|_| stdin.write_all(&data).unwrap());
        drop(stdin);
        assert!(child.wait().unwrap().success());
    });
    time("hasync runs true", || send(connect(port, "true"), &[], 0));
    time("ssh runs true", || {
        assert!(ssh("true").status().unwrap().success());
    });
}

fn send(link: Link, data: &[u8], blocks: usize) {
    let mut writer = link.writer;
    (0..blocks).for_each(|_| writer.write_all(data).unwrap());
    drop(writer);
    drop(link.reader);
    link.control.finish().unwrap();
}

fn receive(mut link: Link, block_len: usize) {
    let mut buffer = vec![0; block_len];
    while link.reader.read(&mut buffer).unwrap() > 0 {}
}

fn measure(what: &str, mib: usize, run: impl FnOnce()) {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    run();
    let speed = (mib << 20) as f64 / 1e6 / start.elapsed().as_secs_f64();
    println!(
        "{what:<18} {speed:>6.0} MB/s, {:.2} s of cpu",
        cpu_seconds() - cpu
    );
}

fn time(what: &str, run: impl Fn()) {
    let start = Instant::now();
    (0..RUNS).for_each(|_| run());
    println!(
        "{what:<18} {:>6.1} ms",
        start.elapsed().as_secs_f64() * 1e3 / f64::from(RUNS)
    );
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Stops the process when the measurement ends, however it ends.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const RUNS: u32 = 10;
