//! Which keys log in, and which host keys are believed.

use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use hasync_transport::ErrorKind;
use hasync_transport::ssh;

use crate::fixture::{Sshd, assert_kind, authorize, keygen, output_of, wait_until};

#[test]
fn every_key_type_and_format_logs_in() {
    let sshd = Sshd::start();
    for (name, key_type, extra) in [
        ("ed25519", "ed25519", &[][..]),
        ("ecdsa256", "ecdsa", &["-b", "256"]),
        ("ecdsa384", "ecdsa", &["-b", "384"]),
        ("ecdsa521", "ecdsa", &["-b", "521"]),
        ("rsa", "rsa", &["-b", "2048"]),
        ("rsa_pem", "rsa", &["-b", "2048", "-m", "PEM"]),
        ("rsa_pkcs8", "rsa", &["-b", "2048", "-m", "PKCS8"]),
        ("ecdsa_pem", "ecdsa", &["-m", "PEM"]),
        ("ecdsa_pkcs8", "ecdsa", &["-m", "PKCS8"]),
    ] {
        authorize(&sshd, &keygen(sshd.dir.path(), name, key_type, extra));
        let mut options = sshd.options();
        options.identities = vec![sshd.path(name)];
        match ssh::connect(&sshd.destination(), "echo hello", &options) {
            Ok(link) => assert_eq!(output_of(link), "hello\n", "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

pub(crate) struct Agent(Child);

impl Agent {
    pub(crate) fn start(socket: &std::path::Path) -> Agent {
        let mut command = Command::new("ssh-agent");
        command
            .args(["-D", "-a", socket.to_str().unwrap()])
            .stdout(Stdio::null());
        let agent = Agent(command.spawn().expect("ssh-agent is installed"));
        // The socket has its name before anybody listens on it.
        wait_until("the agent listens", || UnixStream::connect(socket).is_ok());
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn add_to_agent(socket: &std::path::Path, key: &std::path::Path) {
    let mut command = Command::new("ssh-add");
    command
        .arg(key)
        .env("SSH_AUTH_SOCK", socket)
        .stderr(Stdio::null());
    assert!(command.status().unwrap().success());
}

#[test]
fn the_agent_signs() {
    let sshd = Sshd::start();
    let socket = sshd.path("agent.sock");
    let _agent = Agent::start(&socket);
    for (name, key_type) in [
        ("a_rsa", "rsa"),
        ("a_ecdsa", "ecdsa"),
        ("a_ed25519", "ed25519"),
    ] {
        authorize(&sshd, &keygen(sshd.dir.path(), name, key_type, &[]));
        add_to_agent(&socket, &sshd.path(name));
        let mut options = sshd.options();
        options.environment.agent_socket = Some(socket.clone());
        options.identities.clear();
        output_of(ssh::connect(&sshd.destination(), "true", &options).unwrap());
        let status = Command::new("ssh-add")
            .arg("-D")
            .env("SSH_AUTH_SOCK", &socket)
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }
}

#[test]
fn an_encrypted_key_needs_its_agent() {
    let sshd = Sshd::start();
    authorize(
        &sshd,
        &keygen(
            sshd.dir.path(),
            "locked",
            "ed25519",
            &["-N", "secret words"],
        ),
    );
    let mut options = sshd.options();
    options.identities = vec![sshd.path("locked")];
    let error = sshd.refusal(&options);
    assert_kind(
        &error,
        ErrorKind::Auth,
        &["locked (has a passphrase: ssh-add it"],
    );

    // The public half alone names the agent's key.
    let socket = sshd.path("agent.sock");
    let _agent = Agent::start(&socket);
    add_to_agent(&socket, &sshd.path("user"));
    options.environment.agent_socket = Some(socket);
    options.identities = vec![sshd.path("user.pub")];
    output_of(ssh::connect(&sshd.destination(), "true", &options).unwrap());
}

#[test]
fn a_refused_login_lists_what_was_tried() {
    let sshd = Sshd::start();
    keygen(sshd.dir.path(), "wrong", "ed25519", &[]);
    keygen(sshd.dir.path(), "open", "ed25519", &[]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(sshd.path("open"), mode).unwrap();
    let mut options = sshd.options();
    options.identities = vec![sshd.path("wrong"), sshd.path("open"), sshd.path("missing")];
    let expected = [
        "wrong (refused)",
        "open (mode 644",
        "missing (no such file)",
        "127.0.0.1",
    ];
    assert_kind(&sshd.refusal(&options), ErrorKind::Auth, &expected);

    options.identities.clear();
    assert_kind(
        &sshd.refusal(&options),
        ErrorKind::Auth,
        &["there is none", "id_ed25519"],
    );
}

#[test]
fn a_server_that_hangs_up_on_too_many_keys_is_understood() {
    let sshd = Sshd::with(&["ed25519"], "MaxAuthTries 2");
    let mut options = sshd.options();
    options.identities.clear();
    for name in ["k1", "k2", "k3", "k4"] {
        keygen(sshd.dir.path(), name, "ed25519", &[]);
        options.identities.push(sshd.path(name));
    }
    assert_kind(&sshd.refusal(&options), ErrorKind::Auth, &["k1 (refused)"]);
}

/// Runs the command that an error suggests.
fn run_suggestion(error: &hasync_transport::Error) {
    let text = error.to_string();
    let (_, command) = text
        .split_once("accept it with: ")
        .expect("a command to run");
    assert!(
        Command::new("sh")
            .args(["-c", command])
            .status()
            .unwrap()
            .success(),
        "{command}"
    );
}

#[test]
fn an_unknown_host_key_is_refused_and_its_line_accepts_it() {
    let sshd = Sshd::start();
    let known = sshd.path("known_hosts");
    std::fs::write(&known, "other ssh-ed25519 AAAA\n").unwrap();
    let error = sshd.refusal(&sshd.options());
    let listed = format!("[127.0.0.1]:{}", sshd.port);
    assert_kind(
        &error,
        ErrorKind::HostKey,
        &["is not known", "ssh-ed25519 SHA256:", &listed],
    );
    run_suggestion(&error);
    output_of(sshd.connect("true"));
}

#[test]
fn a_changed_host_key_is_refused_and_its_line_accepts_it() {
    let sshd = Sshd::start();
    let known = sshd.path("known_hosts");
    let other = keygen(sshd.dir.path(), "other", "ed25519", &[]);
    std::fs::write(&known, format!("# x\n[127.0.0.1]:{} {other}\n", sshd.port)).unwrap();
    let error = sshd.refusal(&sshd.options());
    assert_kind(
        &error,
        ErrorKind::HostKey,
        &["has changed", "known_hosts:2 has", "SHA256:"],
    );
    std::fs::write(
        sshd.path("ssh_config"),
        "StrictHostKeyChecking accept-new\n",
    )
    .unwrap();
    assert_kind(
        &sshd.refusal(&sshd.options()),
        ErrorKind::HostKey,
        &["has changed"],
    );
    run_suggestion(&error);
    output_of(sshd.connect("true"));
    assert_eq!(std::fs::read_to_string(&known).unwrap().lines().count(), 2);
}

#[test]
fn a_revoked_host_key_is_refused() {
    let sshd = Sshd::start();
    let known = sshd.path("known_hosts");
    let text = std::fs::read_to_string(&known).unwrap();
    std::fs::write(&known, format!("{text}@revoked {text}")).unwrap();
    assert_kind(
        &sshd.refusal(&sshd.options()),
        ErrorKind::HostKey,
        &["known_hosts:2 as @revoked"],
    );
}

#[test]
fn a_hashed_known_hosts_is_read() {
    let sshd = Sshd::start();
    let known = sshd.path("known_hosts");
    let mut hash = Command::new("ssh-keygen");
    hash.args(["-H", "-f", known.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    assert!(hash.status().unwrap().success());
    assert!(std::fs::read_to_string(&known).unwrap().starts_with("|1|"));
    output_of(sshd.connect("true"));
}

#[test]
fn the_host_key_type_that_is_known_is_asked_for() {
    let sshd = Sshd::with(&["ed25519", "ecdsa", "rsa"], "");
    let known = sshd.path("known_hosts");
    let all = std::fs::read_to_string(&known).unwrap();
    for key_type in ["ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519"] {
        let one: Vec<&str> = all.lines().filter(|line| line.contains(key_type)).collect();
        std::fs::write(&known, one.join("\n")).unwrap();
        output_of(sshd.connect("true"));
    }
}

#[test]
fn accept_new_adds_the_key_once() {
    let sshd = Sshd::start();
    let known = sshd.path("known_hosts");
    let before = std::fs::read_to_string(&known).unwrap();
    std::fs::remove_file(&known).unwrap();
    std::fs::write(
        sshd.path("ssh_config"),
        "StrictHostKeyChecking accept-new\n",
    )
    .unwrap();
    output_of(sshd.connect("true"));
    output_of(sshd.connect("true"));
    assert_eq!(std::fs::read_to_string(&known).unwrap(), before);
}

#[test]
fn configuration_leads_to_the_host() {
    let sshd = Sshd::start();
    let me = sshd.options().environment.user;
    let config = format!(
        "Host standby\n HostName 127.0.0.1\n Port {}\n User {me}\n HostKeyAlias the-standby\n\
         Ciphers aes128-ctr\n MACs hmac-sha2-256\n KexAlgorithms curve25519-sha256\n",
        sshd.port
    );
    std::fs::write(sshd.path("ssh_config"), config).unwrap();
    let known = std::fs::read_to_string(sshd.path("known_hosts")).unwrap();
    let (_, key) = known.split_once(' ').unwrap();
    std::fs::write(sshd.path("known_hosts"), format!("the-standby {key}")).unwrap();
    let to = ssh::Destination::parse("standby");
    output_of(ssh::connect(&to, "true", &sshd.options()).unwrap());
}
