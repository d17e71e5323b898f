//! Which host keys are accepted, against OpenSSH's own client: where ours accepts, ssh must.
//!
//! Every case is a known_hosts file or two, a name and a port. ssh is asked by a key exchange with
//! a real sshd behind a pipe, so that no name needs an address and no port is taken. Ours decides
//! by the same configuration file.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use russh::keys::ssh_key::PublicKey;

use super::config::settings;
use super::hostkey::HostKeys;
use super::keys::read_public_key;
use super::known_hosts_line::hashed_name;
use super::{ClientOptions, Destination, Environment};

/// Who is connected to, and the lines of the configuration that say more.
struct Asked {
    host: &'static str,
    port: u16,
    config: &'static str,
}

const fn asked(host: &'static str, port: u16, config: &'static str) -> Asked {
    Asked { host, port, config }
}

const ASKED: &[Asked] = &[
    asked("h", 2222, ""),
    asked("h", 22, ""),
    asked("H", 2222, ""),
    asked("h", 2222, "HostKeyAlias k"),
    asked("h", 22, "HostKeyAlias [h]:2222"),
    asked("h", 2222, "HostKeyAlias H"),
    asked("k", 2222, "HostName h"),
    asked("10.0.0.1", 2222, ""),
    asked("10.1", 22, ""),
    asked("fd00::2", 2222, ""),
    asked("FD00:0::02", 22, ""),
    asked("fe80::2%lo", 2222, ""),
    asked("::ffff:10.0.0.1", 2222, ""),
    asked("h.", 2222, ""),
    asked("h", 2222, "HostKeyAlias *"),
    asked("h", 22, "HostKeyAlias k,h"),
];

/// Lines of known_hosts. KEY is what the host shows, OTHER another key of its type, TYPE one of
/// another type, CA an authority; HOST the host, NAME its name with the port, HASH(x) x hashed.
const LINES: &[&str] = &[
    "NAME KEY",
    "NAME OTHER",
    "NAME TYPE",
    "HOST KEY",
    "HOST OTHER",
    "HOST TYPE",
    "[HOST]:22 KEY",
    "[HOST]:2222 KEY",
    "[HOST]:2222 OTHER",
    "[HOST]:2223 OTHER",
    "HASH(NAME) KEY",
    "HASH(NAME) OTHER",
    "HASH(HOST) KEY",
    "HASH(HOST) OTHER",
    "HASH(x) KEY",
    "HASH(NAME),x KEY",
    "x,HASH(NAME) KEY",
    "* KEY",
    "* OTHER",
    "*,!NAME KEY",
    "!HOST,* KEY",
    "!NAME,NAME KEY",
    "!NAME OTHER",
    "? KEY",
    "[*]:2222 KEY",
    "[*]:* OTHER",
    "[?]:22?? KEY",
    "x,NAME,y KEY",
    "NAME, KEY",
    ",NAME KEY",
    "@revoked NAME KEY",
    "@revoked * KEY",
    "@revoked HOST KEY",
    "@revoked NAME OTHER",
    "@revoked HASH(NAME) KEY",
    "@revoked NAME RAW\r",
    "@revoked\tNAME KEY",
    "@revoked @revoked NAME KEY",
    "@cert-authority NAME CA",
    "@cert-authority NAME KEY",
    "@cert-authority * OTHER",
    "@unknown NAME KEY",
    "\"NAME\" KEY",
    "NAME \"ssh-ed25519\" RAW",
    "# NAME KEY",
    "#NAME KEY",
    "NAME KEY # comment",
    "NAME # KEY",
    "NAME KEY\r",
    "  \tNAME\t KEY  comment more",
    "NAME\x0cKEY",
    "NAME\x0bKEY",
    "NAME SPLIT",
    "@revoked NAME SPLIT",
    "@revoked NAME ED25519 RAW",
    "NAME ED25519 RAW",
    "NAME\rKEY",
    "\u{a0}NAME KEY",
    "\u{feff}NAME KEY",
    "NAME KEY\0=",
    "NAME\0 KEY",
    "@revoked NAME KEY\0=",
    "NAME ssh-rsa RAW",
    "NAME rsa-sha2-512 RAW",
    "NAME ssh-ed25519",
    "NAME ssh-ed25519 AAAA",
    "NAME ssh-ed25519 RAW=",
    "NAME RAW",
    "NAME",
    "NAME 2048 65537 1234",
    "",
    "|1|x|y KEY",
    "|2|*,* KEY",
    "|1|AAAA|AAAA,* KEY",
    "LONG KEY",
    "NAME,LONG OTHER",
    "LONG,NAME KEY",
];

/// Names that are refused here where ssh lets them pass: to leave a revocation out is worse.
const STRICTER: &[&str] = &["@revoked\t", "ssh-ed25519 AAAA", "@revoked HOST"];

struct Oracle {
    dir: tempfile::TempDir,
    key: PublicKey,
    /// By its word in [`LINES`].
    keys: Vec<(&'static str, String)>,
}

impl Oracle {
    fn new() -> Oracle {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = Vec::new();
        for (word, key_type) in [
            ("OTHER", "ed25519"),
            ("TYPE", "ecdsa"),
            ("CA", "ed25519"),
            ("KEY", "ed25519"),
        ] {
            let path = dir.path().join(word);
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", key_type, "-N", "", "-C", "", "-f"]);
            assert!(keygen.arg(&path).status().unwrap().success());
            let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
            keys.push((word, public.trim().to_owned()));
        }
        let raw = keys[3].1.split(' ').nth(1).unwrap().to_owned();
        let (front, end) = keys[3].1.split_at(40);
        let split = format!("{front}\x0b\r{end}");
        keys.push(("SPLIT", split));
        keys.push(("RAW", raw));
        let config = format!(
            "HostKey {}\nStrictModes no\nUsePAM no\nPidFile none\n",
            dir.path().join("KEY").display()
        );
        std::fs::write(dir.path().join("sshd_config"), config).unwrap();
        // Where sshd separates privileges; only root can and has to make it.
        let _ = std::fs::create_dir("/run/sshd");
        let key = read_public_key(&dir.path().join("KEY.pub")).unwrap();
        Oracle { dir, key, keys }
    }

    fn line(&self, template: &str, asked: &Asked) -> String {
        let host = super::address::canonical_host(match asked.config.split_once(' ') {
            Some((_, given)) => given,
            None => asked.host,
        });
        let name = match asked.port {
            _ if asked.config.starts_with("HostKeyAlias") => host.clone(),
            22 => host.clone(),
            port => format!("[{host}]:{port}"),
        };
        let mut line = template.to_owned();
        while let Some((before, rest)) = line.split_once("HASH(") {
            let (hashed, after) = rest.split_once(')').unwrap();
            let hashed = hashed.replace("NAME", &name).replace("HOST", &host);
            line = format!("{before}{}{after}", hashed_name(&hashed).unwrap());
        }
        line = line.replace("NAME", &name).replace("HOST", &host);
        line = line.replace("LONG", &"*".repeat(1023));
        for (word, key) in &self.keys {
            line = line.replace(word, key);
        }
        line
    }

    /// Asks both; gives whether ours accepted and whether ssh did.
    fn ask(&self, case: usize, asked: &Asked, user: &str, global: &str) -> (bool, bool) {
        let at = |name: &str| self.dir.path().join(format!("{case}.{name}"));
        std::fs::write(at("user"), user).unwrap();
        std::fs::write(at("global"), global).unwrap();
        let config = format!(
            "{}\nStrictHostKeyChecking yes\nGlobalKnownHostsFile {}\n\
             UserKnownHostsFile {} \"{}\"\n",
            asked.config,
            at("global").display(),
            at("missing").display(),
            at("user").display(),
        );
        std::fs::write(at("config"), config).unwrap();
        let answers = (
            self.ours(&at("config"), asked),
            self.theirs(&at("config"), asked),
        );
        for name in ["user", "global", "config"] {
            std::fs::remove_file(at(name)).unwrap();
        }
        answers
    }

    fn ours(&self, config: &Path, asked: &Asked) -> bool {
        let to = Destination {
            host: asked.host.into(),
            port: Some(asked.port),
            user: None,
        };
        let options = ClientOptions {
            config_file: Some(config.to_owned()),
            environment: Environment::current(),
            ..ClientOptions::default()
        };
        let address = SocketAddr::from(([127, 0, 0, 1], asked.port));
        let host_keys = HostKeys::load(&settings(&to, &options).unwrap(), Some(&address)).unwrap();
        host_keys.check(&self.key).is_ok()
    }

    fn theirs(&self, config: &Path, asked: &Asked) -> bool {
        let sshd = self.dir.path().join("sshd_config");
        let proxy = format!("ProxyCommand=/usr/sbin/sshd -i -f {}", sshd.display());
        let output = Command::new("ssh")
            .arg("-F")
            .arg(config)
            .args(["-o", "BatchMode=yes", "-o", "PreferredAuthentications=none"])
            .args(["-o", &proxy, "-p", &asked.port.to_string()])
            .args([asked.host, "true"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let accepted = said.contains("Permission denied");
        assert_ne!(
            accepted,
            said.contains("Host key verification failed"),
            "{said}"
        );
        accepted
    }

    /// Fails unless both agree; ours may be stricter where that is meant.
    fn compare(&self, case: usize, asked: &Asked, user: &[&str], global: &[&str]) {
        let text = |lines: &[&str]| -> String {
            let lines = lines.iter().map(|line| self.line(line, asked) + "\n");
            lines.collect()
        };
        let (ours, theirs) = self.ask(case, asked, &text(user), &text(global));
        let shown = || {
            let Asked { host, port, config } = asked;
            format!("{host} port {port} {config:?}: {user:?}, global {global:?}")
        };
        assert!(theirs || !ours, "ssh refuses: {}", shown());
        let stricter = user.iter().chain(global);
        let stricter = stricter.flat_map(|line| STRICTER.iter().map(|word| line.contains(word)));
        assert!(
            ours || !theirs || stricter.into_iter().any(|is| is),
            "ssh accepts: {}",
            shown()
        );
    }
}

/// Runs `count` cases, a few at a time.
fn in_parallel(count: usize, run: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case >= count {
                        return;
                    }
                    run(case);
                }
            });
        }
    });
}

/// Every kind of line alone, and every kind of name.
#[test]
fn a_line_says_to_us_what_it_says_to_ssh() {
    let oracle = Oracle::new();
    in_parallel(LINES.len() + ASKED.len(), |case| match LINES.get(case) {
        Some(line) => oracle.compare(case, &ASKED[0], &[line], &[]),
        None => {
            let asked = &ASKED[case - LINES.len()];
            let line = if case % 2 == 0 {
                "NAME KEY"
            } else {
                "HOST KEY"
            };
            oracle.compare(case, asked, &[line], &[]);
        }
    });
}

/// Several lines for one host, in one file or two: all pairs of those that can conflict, and a
/// random choice of the rest.
#[test]
fn several_lines_say_to_us_what_they_say_to_ssh() {
    let oracle = Oracle::new();
    let pairs: Vec<[&str; 2]> = vec![
        // What another server on port 22 shows does not count for one that is known here.
        ["NAME OTHER", "HOST KEY"],
        ["NAME TYPE", "HOST KEY"],
        ["HASH(NAME) OTHER", "HOST KEY"],
        ["NAME OTHER", "HASH(HOST) KEY"],
        ["[*]:* OTHER", "HOST KEY"],
        ["NAME OTHER", "* KEY"],
        ["@revoked NAME KEY", "HOST KEY"],
        ["@revoked NAME OTHER", "HOST KEY"],
        ["@revoked HOST KEY", "HOST KEY"],
        ["@revoked HOST KEY", "NAME KEY"],
        ["@cert-authority NAME CA", "HOST KEY"],
        ["@cert-authority NAME CA", "NAME OTHER"],
        ["NAME ssh-ed25519 AAAA", "HOST KEY"],
        ["NAME OTHER", "NAME KEY"],
        ["NAME TYPE", "NAME KEY"],
        ["HOST OTHER", "HOST KEY"],
        ["HOST OTHER", "HOST TYPE"],
    ];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let soak = std::env::var_os("HASYNC_SOAK").is_some();
    let count = if soak { 1500 } else { 60 };
    let chosen: Vec<(usize, Vec<&str>)> = (0..count)
        .map(|_| {
            let lines = (0..2 + random(3)).map(|_| LINES[random(LINES.len())]);
            let lines = lines.collect();
            (random(ASKED.len()), lines)
        })
        .collect();
    in_parallel(2 * pairs.len() + count, |case| {
        let pair = pairs.get(case % pairs.len()).unwrap();
        match case / pairs.len() {
            0 => oracle.compare(case, &ASKED[0], pair, &[]),
            1 => oracle.compare(case, &ASKED[0], &pair[1..], &pair[..1]),
            _ => {
                let (asked, lines) = &chosen[case - 2 * pairs.len()];
                let (user, global) = lines.split_at(1 + case % 2);
                oracle.compare(case, &ASKED[*asked], user, global);
            }
        }
    });
}
