//! Measures one SSH connection: pumps data to a command on a real sshd on loopback, and the same
//! through the `ssh` program, and prints both in MB/s.
//!
//! cargo run --release -p hasync-transport --example pump [MIB] [CIPHERS] [BLOCK_KIB]
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let port = 20_000 + (std::process::id() % 20_000) as u16;
    let host_key = ssh::generate_host_key(&dir.path().join("host")).unwrap();
    let user_key = ssh::generate_key_pair(&dir.path().join("user"), "").unwrap();
    std::fs::write(path("authorized"), user_key + "\n").unwrap();
    std::fs::write(path("known"), format!("[127.0.0.1]:{port} {host_key}\n")).unwrap();
    let server = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\n\
         UsePAM no\nPidFile none\nPermitRootLogin yes\n",
        path("host"),
        path("authorized"),
    );
    std::fs::write(path("sshd_config"), server).unwrap();
    let client = format!("Ciphers {ciphers}\n");
    std::fs::write(path("ssh_config"), client).unwrap();
    let mut sshd = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f", &path("sshd_config")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }

    let data: Vec<u8> = (0..block_len)
        .map(|i| ((i * 2_654_435_761) >> 7) as u8)
        .collect();
    let blocks = (mib << 20) / block_len;
    let options = ClientOptions {
        config_file: Some(path("ssh_config").into()),
        known_hosts: Some(path("known").into()),
        identities: vec![path("user").into()],
        environment: Environment::current(),
        ..ClientOptions::default()
    };
    let to = Destination {
        host: "127.0.0.1".into(),
        port: Some(port),
        user: None,
    };
    let start = Instant::now();
    let link = ssh::connect(&to, "cat >/dev/null", &options).unwrap();
    println!(
        "connect             {:>7.1} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    let start = Instant::now();
    let mut writer = link.writer;
    for _ in 0..blocks {
        writer.write_all(&data).unwrap();
    }
    drop(writer);
    drop(link.reader);
    link.control.finish().unwrap();
    report("hasync to sshd", mib, start);

    let start = Instant::now();
    let mut link =
        ssh::connect(&to, &format!("head -c {} /dev/zero", mib << 20), &options).unwrap();
    let mut buffer = vec![0; block_len];
    while link.reader.read(&mut buffer).unwrap() > 0 {}
    report("sshd to hasync", mib, start);
    drop(link);

    let start = Instant::now();
    let mut child = Command::new("ssh")
        .args([
            "-F",
            "none",
            "-c",
            &ciphers,
            "-i",
            &path("user"),
            "-p",
            &port.to_string(),
        ])
        .args(["-o", &format!("UserKnownHostsFile={}", path("known"))])
        .args(["127.0.0.1", "cat >/dev/null"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for _ in 0..blocks {
        stdin.write_all(&data).unwrap();
    }
    drop(stdin);
    child.wait().unwrap();
    report("ssh to sshd", mib, start);
    stop(&mut sshd);
}

fn report(what: &str, mib: usize, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds();
    println!(
        "{what:<19} {:>7.0} MB/s, cpu so far {cpu:.2?} s",
        (mib << 20) as f64 / 1e6 / seconds
    );
}

/// User and system time of this process, and of its children that ended.
fn cpu_seconds() -> [f64; 2] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks =
        |at: usize| fields[at].parse::<f64>().unwrap() + fields[at + 1].parse::<f64>().unwrap();
    [ticks(11) / 100.0, ticks(13) / 100.0]
}

fn stop(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}
