//! ECDSA keys whose scalar, and signatures whose numbers, begin with zero bytes: on the wire and in
//! key files they are shorter than others.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use hasync_transport::ssh::{self, server::ServerOptions};

use crate::fixture::{Sshd, authorize, keygen, output_of};
use crate::identity::{Agent, add_to_agent};
use crate::in_threads::Server;

/// A curve: its name in key types, the bits of `ssh-keygen -b`, the length of a scalar, its OID.
struct Curve {
    name: &'static str,
    bits: &'static str,
    scalar_len: usize,
    oid: &'static [u8],
}

const CURVES: [Curve; 3] = [
    Curve {
        name: "nistp256",
        bits: "256",
        scalar_len: 32,
        oid: b"\x2a\x86\x48\xce\x3d\x03\x01\x07",
    },
    Curve {
        name: "nistp384",
        bits: "384",
        scalar_len: 48,
        oid: b"\x2b\x81\x04\x00\x22",
    },
    Curve {
        name: "nistp521",
        bits: "521",
        scalar_len: 66,
        oid: b"\x2b\x81\x04\x00\x23",
    },
];

impl Curve {
    /// `ECPrivateKey` of RFC 5915, its scalar as it is given.
    fn sec1(&self, scalar: &[u8], with_curve: bool) -> Vec<u8> {
        let mut fields = [&[2, 1, 1][..], &der(4, scalar)].concat();
        if with_curve {
            fields.extend(der(0xa0, &der(6, self.oid)));
        }
        der(0x30, &fields)
    }

    /// `PrivateKeyInfo` of RFC 5208.
    fn pkcs8(&self, scalar: &[u8]) -> Vec<u8> {
        let ec_public_key = der(6, b"\x2a\x86\x48\xce\x3d\x02\x01");
        let algorithm = der(0x30, &[ec_public_key, der(6, self.oid)].concat());
        let key = der(4, &self.sec1(scalar, false));
        der(0x30, &[&[2, 1, 0][..], &algorithm, &key].concat())
    }

    /// The OpenSSH format, the scalar as ssh-keygen writes it: an mpint.
    fn openssh(&self, scalar: &[u8], public_blob: &[u8]) -> Vec<u8> {
        let mut key = b"openssh-key-v1\0".to_vec();
        for string in [&b"none"[..], b"none", b""] {
            key.extend(wire(string));
        }
        key.extend(1_u32.to_be_bytes());
        key.extend(wire(public_blob));
        let mut section = [7_u32.to_be_bytes(), 7_u32.to_be_bytes()].concat();
        section.extend(public_blob);
        section.extend(wire(&mpint(scalar)));
        section.extend(wire(b"short"));
        let padding = section.len().next_multiple_of(8) - section.len();
        section.extend(1..=padding as u8);
        key.extend(wire(&section));
        key
    }
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = match content.len() {
        len @ ..0x80 => vec![len as u8],
        len => vec![0x81, u8::try_from(len).unwrap()],
    };
    [&[tag], &len[..], content].concat()
}

fn wire(string: &[u8]) -> Vec<u8> {
    [&(string.len() as u32).to_be_bytes()[..], string].concat()
}

fn mpint(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    let digits = &number[zeros..];
    let sign: &[u8] = if digits[0] >= 0x80 { &[0] } else { &[] };
    [sign, digits].concat()
}

fn write_pem(path: &Path, label: &str, key: &[u8]) {
    let base64 = data_encoding::BASE64.encode(key);
    let lines: Vec<&str> = (0..base64.len())
        .step_by(64)
        .map(|at| &base64[at..base64.len().min(at + 64)])
        .collect();
    let text = format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    );
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// What ssh-keygen takes for the public half: it takes the key.
fn public_of(path: &Path) -> String {
    let keygen = Command::new("ssh-keygen")
        .args(["-y", "-f"])
        .arg(path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&keygen.stderr).into_owned();
    assert!(keygen.status.success(), "{}: {said}", path.display());
    String::from_utf8(keygen.stdout).unwrap().trim().to_owned()
}

fn blob_of(public: &str) -> Vec<u8> {
    let base64 = public.split_ascii_whitespace().nth(1).unwrap();
    data_encoding::BASE64.decode(base64.as_bytes()).unwrap()
}

/// Key files of a curve in `dir`, by name, with their public halves.
fn short_keys(dir: &Path, curve: &Curve) -> Vec<(String, String)> {
    let mut keys = Vec::new();
    for zeros in [1, 2, 8] {
        let mut scalar = vec![0x5a; curve.scalar_len];
        scalar[..zeros].fill(0);
        let name = |format: &str| format!("{}_{zeros}_{format}", curve.name);
        let pkcs8 = name("pkcs8");
        write_pem(&dir.join(&pkcs8), "PRIVATE KEY", &curve.pkcs8(&scalar));
        let public = public_of(&dir.join(&pkcs8));

        let (openssh, sec1, cut) = (name("openssh"), name("sec1"), name("cut"));
        let key = curve.openssh(&scalar, &blob_of(&public));
        write_pem(&dir.join(&openssh), "OPENSSH PRIVATE KEY", &key);
        let mut made = vec![openssh];
        if zeros == 1 {
            let (label, without) = ("EC PRIVATE KEY", &scalar[zeros..]);
            write_pem(&dir.join(&sec1), label, &curve.sec1(&scalar, true));
            // Other programs than OpenSSL leave the zero bytes out here too.
            write_pem(&dir.join(&cut), label, &curve.sec1(without, true));
            made.extend([pkcs8, sec1, cut]);
        }
        for name in made {
            assert_eq!(blob_of(&public_of(&dir.join(&name))), blob_of(&public));
            keys.push((name, public.clone()));
        }
    }
    keys
}

#[test]
fn keys_with_short_scalars_log_in() {
    let sshd = Sshd::start();
    for curve in &CURVES {
        for (name, public) in short_keys(sshd.dir.path(), curve) {
            authorize(&sshd, &public);
            let mut options = sshd.options();
            options.identities = vec![sshd.path(&name)];
            match ssh::connect(&sshd.destination(), "echo hello", &options) {
                Ok(link) => assert_eq!(output_of(link), "hello\n", "{name}"),
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
}

#[test]
fn keys_with_short_scalars_prove_a_host() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    keygen(dir.path(), "user", "ed25519", &[]);
    std::fs::copy(at("user.pub"), at("authorized_keys")).unwrap();
    for curve in &CURVES {
        for (name, public) in short_keys(dir.path(), curve) {
            let options = ServerOptions::new(at("authorized_keys"), at(&name));
            let server = Server::start(options, |_| (), |_, _| 0).unwrap();
            let port = server.address.port();
            let known = format!("[127.0.0.1]:{port} {public}\n");
            std::fs::write(at("known_hosts"), known).unwrap();
            let ssh = ssh_client(dir.path(), port).output().unwrap();
            let said = String::from_utf8_lossy(&ssh.stderr);
            assert!(ssh.status.success(), "{name}: {said}");
        }
    }
}

/// OpenSSH's client with the key `user`, on its way to `hasync serve`.
fn ssh_client(dir: &Path, port: u16) -> Command {
    let known = dir.join("known_hosts");
    let known = format!("UserKnownHostsFile={}", known.display());
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", &known])
        .args([
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .args(["-p", &port.to_string(), "-i"])
        .arg(dir.join("user"))
        .args(["x@127.0.0.1", "hasync serve"]);
    ssh
}

/// Signatures to insist on.
#[derive(Clone, Copy, Debug)]
enum Short {
    R,
    S,
}

/// Stands before a real agent, and asks it for signatures until one has a short number.
struct PickyAgent {
    socket: PathBuf,
    _agent: Agent,
}

impl PickyAgent {
    fn start(dir: &Path, curve: &'static Curve, short: Short) -> PickyAgent {
        let name = |what: &str| dir.join(format!("{}_{short:?}_{what}", curve.name));
        let (socket, behind) = (name("picky"), name("agent"));
        let agent = Agent::start(&behind);
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, agent) = (client.unwrap(), UnixStream::connect(&behind).unwrap());
                std::thread::spawn(move || relay(client, agent, curve, short));
            }
        });
        PickyAgent {
            socket,
            _agent: agent,
        }
    }
}

/// Answers a client of the agent until it hangs up.
fn relay(mut client: UnixStream, mut agent: UnixStream, curve: &Curve, short: Short) {
    while let Some(request) = read_message(&mut client) {
        let answer = loop {
            agent.write_all(&wire(&request)).unwrap();
            let answer = read_message(&mut agent).unwrap();
            if answer[0] != SIGN_RESPONSE || is_short(&answer, curve, short) {
                break answer;
            }
        };
        if client.write_all(&wire(&answer)).is_err() {
            return;
        }
    }
}

fn read_message(from: &mut UnixStream) -> Option<Vec<u8>> {
    let mut len = [0; 4];
    from.read_exact(&mut len).ok()?;
    let mut message = vec![0; u32::from_be_bytes(len) as usize];
    from.read_exact(&mut message).ok()?;
    Some(message)
}

/// Whether the signature's number takes fewer bytes than a scalar of the curve.
fn is_short(answer: &[u8], curve: &Curve, short: Short) -> bool {
    let signature = strings(&answer[1..]).remove(0);
    let numbers = strings(&strings(&signature)[1]);
    let number = match short {
        Short::R => &numbers[0],
        Short::S => &numbers[1],
    };
    number.len() < curve.scalar_len
}

fn strings(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut strings = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk() {
        let (string, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
        strings.push(string.to_vec());
        bytes = rest;
    }
    strings
}

const SIGN_RESPONSE: u8 = 14;

/// Calls `check` with an agent for each curve and each short number, and with the public key that
/// it holds.
fn with_picky_agents(dir: &Path, check: impl Fn(&PickyAgent, &str, &str)) {
    for curve in &CURVES {
        let public = keygen(dir, curve.name, "ecdsa", &["-b", curve.bits]);
        for short in [Short::R, Short::S] {
            let agent = PickyAgent::start(dir, curve, short);
            add_to_agent(&agent.socket, &dir.join(curve.name));
            check(&agent, &public, &format!("{} {short:?}", curve.name));
        }
    }
}

#[test]
fn an_agent_may_sign_with_short_numbers() {
    let sshd = Sshd::start();
    with_picky_agents(sshd.dir.path(), |agent, public, name| {
        authorize(&sshd, public);
        let mut options = sshd.options();
        options.environment.agent_socket = Some(agent.socket.clone());
        options.identities.clear();
        match ssh::connect(&sshd.destination(), "true", &options) {
            Ok(link) => assert_eq!(output_of(link), ""),
            Err(error) => panic!("{name}: {error}"),
        }
    });
}

#[test]
fn a_host_may_sign_with_short_numbers() {
    let dir = tempfile::tempdir().unwrap();
    with_picky_agents(dir.path(), |agent, public, name| {
        let host_key = dir.path().join("host.pub");
        std::fs::write(&host_key, public).unwrap();
        let extra = format!(
            "HostKeyAgent {}\nHostKey {}",
            agent.socket.display(),
            host_key.display()
        );
        let sshd = Sshd::with(&[], &extra);
        let known = format!("[127.0.0.1]:{} {public}\n", sshd.port);
        std::fs::write(sshd.path("known_hosts"), known).unwrap();
        match ssh::connect(&sshd.destination(), "true", &sshd.options()) {
            Ok(link) => assert_eq!(output_of(link), ""),
            Err(error) => panic!("{name}: {error}"),
        }
    });
}

#[test]
fn a_client_may_sign_with_short_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let host_key = ssh::generate_host_key(&at("host")).unwrap();
    with_picky_agents(dir.path(), |agent, public, name| {
        std::fs::write(at("authorized_keys"), format!("{public}\n")).unwrap();
        // The public half names the agent's key.
        std::fs::write(at("user"), format!("{public}\n")).unwrap();
        let options = ServerOptions::new(at("authorized_keys"), at("host"));
        let server = Server::start(options, |_| (), |_, _| 0).unwrap();
        let port = server.address.port();
        let known = format!("[127.0.0.1]:{port} {host_key}\n");
        std::fs::write(at("known_hosts"), known).unwrap();
        let mut ssh = ssh_client(dir.path(), port);
        let ssh = ssh.env("SSH_AUTH_SOCK", &agent.socket).output().unwrap();
        let said = String::from_utf8_lossy(&ssh.stderr);
        assert!(ssh.status.success(), "{name}: {said}");
    });
}
