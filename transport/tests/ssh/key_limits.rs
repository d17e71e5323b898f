//! Directives that only restrict which keys are used: they hold, and where they leave no way in the
//! message says so and names `-e ssh`.

use std::process::Command;

use hasync_transport::ErrorKind;
use hasync_transport::ssh::{self, ClientOptions};

use crate::fixture::{Sshd, assert_kind, authorize, keygen, output_of};
use crate::identity::{Agent, add_to_agent};

/// What a configuration makes of a key: `Ok`, or words of the refusal.
type Expected = Result<(), &'static [&'static str]>;

fn check(sshd: &Sshd, options: &ClientOptions, config: &str, expected: Expected) {
    std::fs::write(sshd.path("ssh_config"), config).unwrap();
    match (ssh::connect(&sshd.destination(), "true", options), expected) {
        (Ok(link), Ok(())) => assert_eq!(output_of(link), ""),
        (Err(error), Err(words)) => {
            assert_kind(&error, ErrorKind::Auth, words);
            assert_kind(&error, ErrorKind::Auth, &["-e ssh"]);
        }
        (Ok(_), Err(words)) => panic!("{config} lets it in, not {words:?}"),
        (Err(error), Ok(())) => panic!("{config}: {error}"),
    }
}

#[test]
fn what_a_users_key_may_sign_with() {
    let sshd = Sshd::start();
    for (name, key_type, bits) in [
        ("rsa2048", "rsa", "2048"),
        ("rsa3072", "rsa", "3072"),
        ("ecdsa256", "ecdsa", "256"),
    ] {
        authorize(
            &sshd,
            &keygen(sshd.dir.path(), name, key_type, &["-b", bits]),
        );
    }
    let left_out: Expected = Err(&["ssh_config:1 leaves", "out"]);
    for (key, config, expected) in [
        ("user", "PubkeyAcceptedAlgorithms ssh-ed25519\n", Ok(())),
        ("user", "PubkeyAcceptedAlgorithms ssh-ed*,no-such\n", Ok(())),
        ("user", "PubkeyAcceptedAlgorithms +ssh-dss\n", Ok(())),
        ("user", "PubkeyAcceptedAlgorithms rsa-sha2-512\n", left_out),
        ("user", "PubkeyAcceptedAlgorithms -ssh-ed25519\n", left_out),
        ("user", "PubkeyAcceptedKeyTypes ecdsa-*\n", left_out),
        (
            "user",
            "PubkeyAcceptedKeyTypes ecdsa-*\nPubkeyAcceptedAlgorithms *\n",
            left_out,
        ),
        ("user", "RequiredRSASize 8192\n", Ok(())),
        (
            "ecdsa256",
            "PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256\n",
            Ok(()),
        ),
        (
            "ecdsa256",
            "PubkeyAcceptedAlgorithms ecdsa-sha2-nistp384\n",
            left_out,
        ),
        ("rsa2048", "PubkeyAcceptedAlgorithms rsa-sha2-256\n", Ok(())),
        (
            "rsa2048",
            "PubkeyAcceptedAlgorithms rsa-sha2-512,rsa-sha2-256\n",
            Ok(()),
        ),
        (
            "rsa2048",
            "PubkeyAcceptedAlgorithms ssh-ed25519\n",
            left_out,
        ),
        ("rsa2048", "RequiredRSASize 2048\n", Ok(())),
        (
            "rsa2048",
            "RequiredRSASize 3072\n",
            Err(&["2048 bits, and RequiredRSASize wants 3072"]),
        ),
        ("rsa3072", "RequiredRSASize 3072\n", Ok(())),
    ] {
        let mut options = sshd.options();
        options.identities = vec![sshd.path(key)];
        check(&sshd, &options, config, expected);
    }
    std::fs::write(
        sshd.path("ssh_config"),
        "PubkeyAcceptedAlgorithms ssh-rsa\n",
    )
    .unwrap();
    let words = ["ssh_config:1: pubkeyacceptedalgorithms", "-e ssh"];
    assert_kind(&sshd.refusal(&sshd.options()), ErrorKind::Config, &words);
}

#[test]
fn an_rsa_key_signs_with_what_is_accepted() {
    let sshd = Sshd::with(&["ed25519"], "PubkeyAcceptedAlgorithms rsa-sha2-256");
    authorize(
        &sshd,
        &keygen(sshd.dir.path(), "rsa", "rsa", &["-b", "2048"]),
    );
    let mut options = sshd.options();
    options.identities = vec![sshd.path("rsa")];
    check(
        &sshd,
        &options,
        "PubkeyAcceptedAlgorithms rsa-sha2-256\n",
        Ok(()),
    );
}

#[test]
fn agents_keys_are_restricted_too() {
    let sshd = Sshd::start();
    let socket = sshd.path("agent.sock");
    let _agent = Agent::start(&socket);
    add_to_agent(&socket, &sshd.path("user"));
    let mut options = sshd.options();
    options.environment.agent_socket = Some(socket);
    options.identities.clear();
    check(
        &sshd,
        &options,
        "PubkeyAcceptedAlgorithms ssh-ed25519\n",
        Ok(()),
    );
    let left_out: Expected = Err(&["agent key", "leaves ssh-ed25519 out"]);
    check(
        &sshd,
        &options,
        "PubkeyAcceptedAlgorithms rsa-*\n",
        left_out,
    );
}

#[test]
fn a_small_host_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let public = keygen(dir.path(), "host", "rsa", &["-b", "2048"]);
    let sshd = Sshd::with(
        &[],
        &format!("HostKey {}", dir.path().join("host").display()),
    );
    let known = format!("[127.0.0.1]:{} {public}\n", sshd.port);
    std::fs::write(sshd.path("known_hosts"), known).unwrap();
    output_of(sshd.connect("true"));
    std::fs::write(sshd.path("ssh_config"), "RequiredRSASize 2049\n").unwrap();
    let words = ["has 2048 bits, and RequiredRSASize wants 2049"];
    assert_kind(&sshd.refusal(&sshd.options()), ErrorKind::HostKey, &words);
}

/// Makes `user-cert.pub` beside the key, as a certificate authority would.
fn certify(sshd: &Sshd, name: &str, more: &[&str]) {
    keygen(sshd.dir.path(), "authority", "ed25519", &[]);
    let keygen = Command::new("ssh-keygen")
        .args(["-q", "-I", "id", "-s"])
        .arg(sshd.path("authority"))
        .args(more)
        .arg(sshd.path(name))
        .status();
    assert!(keygen.unwrap().success());
}

/// The file of a key on a token, with a handle that no token knows.
fn write_token_key(sshd: &Sshd, name: &str, key_type: &str, point: &[&[u8]]) {
    let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let point: Vec<u8> = point.iter().flat_map(|part| string(part)).collect();
    let public = [string(key_type.as_bytes()), point, string(b"ssh:")].concat();
    let mut section = [7_u32.to_be_bytes(), 7_u32.to_be_bytes()].concat();
    section.extend(
        [
            &public[..],
            &[1],
            &string(b"handle"),
            &string(b""),
            &string(b"k"),
        ]
        .concat(),
    );
    let padding = section.len().next_multiple_of(8) - section.len();
    section.extend(1..=padding as u8);
    let head = [b"none", b"none", &b""[..]].map(string).concat();
    let one = 1_u32.to_be_bytes();
    let key = [
        b"openssh-key-v1\0",
        &head[..],
        &one,
        &string(&public),
        &string(&section),
    ]
    .concat();
    let body = data_encoding::BASE64.encode(&key);
    let marks = ["BEGIN", "END"].map(|mark| format!("-----{mark} OPENSSH PRIVATE KEY-----"));
    std::fs::write(
        sshd.path(name),
        format!("{}\n{body}\n{}\n", marks[0], marks[1]),
    )
    .unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(sshd.path(name), private).unwrap();
    // It is one: ssh-keygen reads it.
    let mut keygen = Command::new("ssh-keygen");
    let keygen = keygen
        .args(["-y", "-f"])
        .arg(sshd.path(name))
        .output()
        .unwrap();
    let shown = String::from_utf8(keygen.stdout).unwrap();
    assert!(
        keygen.status.success() && shown.starts_with(key_type),
        "{shown}"
    );
}

#[test]
fn a_key_on_a_token_is_left_to_ssh() {
    let sshd = Sshd::start();
    // The generator of the curve, as any point of it would do.
    let base = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    let base = data_encoding::HEXLOWER.decode(base.as_bytes()).unwrap();
    let kinds: [(&str, &[&[u8]]); 2] = [
        ("sk-ssh-ed25519@openssh.com", &[&[7; 32]]),
        ("sk-ecdsa-sha2-nistp256@openssh.com", &[b"nistp256", &base]),
    ];
    for (key_type, point) in kinds {
        write_token_key(&sshd, "token", key_type, point);
        let mut options = sshd.options();
        options.identities = vec![sshd.path("token")];
        let words = ["token (a FIDO key", "-e ssh"];
        assert_kind(&sshd.refusal(&options), ErrorKind::Auth, &words);
        // Another key is tried all the same.
        options.identities.push(sshd.path("user"));
        output_of(ssh::connect(&sshd.destination(), "true", &options).unwrap());
    }
}

#[test]
fn a_users_certificate_is_left_to_ssh() {
    let sshd = Sshd::start();
    std::fs::write(sshd.path("authorized_keys"), "").unwrap();
    certify(&sshd, "user.pub", &[]);
    check(
        &sshd,
        &sshd.options(),
        "",
        Err(&["a certificate", "user-cert.pub"]),
    );

    let certificate = sshd.path("user-cert.pub");
    let config = format!("CertificateFile {}\n", certificate.display());
    std::fs::write(sshd.path("ssh_config"), config).unwrap();
    let words = ["ssh_config:1: certificatefile", "-e ssh"];
    assert_kind(&sshd.refusal(&sshd.options()), ErrorKind::Config, &words);

    // ssh-add takes the certificate beside the key along.
    let socket = sshd.path("agent.sock");
    let _agent = Agent::start(&socket);
    add_to_agent(&socket, &sshd.path("user"));
    std::fs::remove_file(certificate).unwrap();
    let mut options = sshd.options();
    options.environment.agent_socket = Some(socket);
    check(&sshd, &options, "", Err(&["a certificate", "in the agent"]));
}

#[test]
fn a_hosts_certificate_is_left_to_ssh() {
    let sshd = Sshd::start();
    certify(&sshd, "host_ed25519.pub", &["-h", "-n", "127.0.0.1"]);
    let authority = std::fs::read_to_string(sshd.path("authority.pub")).unwrap();
    let known = format!("@cert-authority [127.0.0.1]:{} {authority}", sshd.port);
    std::fs::write(sshd.path("known_hosts"), &known).unwrap();
    let words = ["is not known", "-e ssh", "@cert-authority", "known_hosts:1"];
    assert_kind(&sshd.refusal(&sshd.options()), ErrorKind::HostKey, &words);
    let other = keygen(sshd.dir.path(), "other", "ed25519", &[]);
    let known = format!("{known}[127.0.0.1]:{} {other}\n", sshd.port);
    std::fs::write(sshd.path("known_hosts"), known).unwrap();
    let words = ["has changed", "-e ssh", "@cert-authority"];
    assert_kind(&sshd.refusal(&sshd.options()), ErrorKind::HostKey, &words);
}

#[test]
fn check_host_ip_wants_no_other_key_for_the_address() {
    let sshd = Sshd::start();
    let known = std::fs::read_to_string(sshd.path("known_hosts")).unwrap();
    let by_name = known.replace("127.0.0.1", "localhost");
    let other = keygen(sshd.dir.path(), "other", "ed25519", &[]);
    let other = format!("[127.0.0.1]:{} {other}\n", sshd.port);
    let mut to = sshd.destination();
    to.host = "localhost".to_owned();
    for (lines, config, refused) in [
        (format!("{by_name}{other}"), "", false),
        (by_name.clone(), "CheckHostIP yes\n", false),
        (
            format!("{by_name}{known}{other}"),
            "CheckHostIP yes\n",
            false,
        ),
        (format!("{by_name}{other}"), "CheckHostIP yes\n", true),
        (
            format!("{by_name}@revoked {known}"),
            "CheckHostIP yes\n",
            true,
        ),
        (
            format!("{by_name}{other}"),
            "CheckHostIP yes\nStrictHostKeyChecking no\n",
            false,
        ),
    ] {
        std::fs::write(sshd.path("known_hosts"), &lines).unwrap();
        // The server listens on IPv4 alone.
        let config = format!("AddressFamily inet\n{config}");
        std::fs::write(sshd.path("ssh_config"), &config).unwrap();
        match ssh::connect(&to, "true", &sshd.options()) {
            Ok(link) => assert!(output_of(link).is_empty() && !refused, "{config}{lines}"),
            Err(error) if refused => {
                assert_kind(&error, ErrorKind::HostKey, &["[127.0.0.1]:"]);
            }
            Err(error) => panic!("{config}{lines}: {error}"),
        }
    }
}
