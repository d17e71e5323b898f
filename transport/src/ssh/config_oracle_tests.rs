//! What `config` makes of a configuration, against what `ssh -G` makes of the same.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use super::config::{Settings, settings};
use super::{ClientOptions, Destination, Environment};
use crate::{Error, ErrorKind};

fn ours(file: &Path, to: &Destination) -> Result<Settings, Error> {
    let options = ClientOptions {
        config_file: Some(file.to_owned()),
        environment: Environment::current(),
        ..ClientOptions::default()
    };
    settings(to, &options)
}

/// What ssh says of a directive, one value a line; nothing if it takes no such configuration.
fn theirs(file: &Path, to: &Destination) -> Option<Vec<(String, String)>> {
    let mut ssh = Command::new("ssh");
    ssh.arg("-G").arg("-F").arg(file);
    if let Some(user) = &to.user {
        ssh.args(["-l", user]);
    }
    if let Some(port) = to.port {
        ssh.args(["-p", &port.to_string()]);
    }
    let output = ssh.arg(&to.host).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let pair = |line: &str| {
        let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
        (keyword.to_owned(), value.to_owned())
    };
    output
        .status
        .success()
        .then(|| text.lines().map(pair).collect())
}

/// The same words from our settings.
fn shown(settings: &Settings) -> Vec<(&'static str, String)> {
    let flag = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let rsa_min_bits = settings.key_limits.rsa_min_bits;
    let mut shown = vec![
        ("user", settings.user.clone()),
        ("hostname", settings.host_name.clone()),
        ("port", settings.port.to_string()),
        ("requiredrsasize", rsa_min_bits.to_string()),
        ("checkhostip", flag(settings.check_host_ip)),
        ("hashknownhosts", flag(settings.hash_known_hosts)),
    ];
    let alias = settings.host_key_alias.as_ref();
    shown.extend(alias.map(|alias| ("hostkeyalias", alias.clone())));
    shown
}

/// A configuration, and the destinations to ask for: `[USER@]HOST[:PORT]`.
type Case = (&'static str, &'static [&'static str]);

const CASES: &[Case] = &[
    (
        "User a\nHost b* !bad\n Port 2\nHost *\n Port 3\n",
        &["b", "B", "bad", "c", "x@b:9"],
    ),
    ("Host B\n Port 2\nMatch host b\n User u\n", &["b", "B"]),
    (
        "Match user Me\n Port 2\nMatch user me\n Port 3\n",
        &["b", "me@b", "Me@b"],
    ),
    ("Match originalhost B\n Port 2\n", &["b", "B"]),
    (
        "HostName %h.LAN\nMatch host *.lan\n Port 2\nMatch host b\n Port 3\n",
        &["b", "B"],
    ),
    (
        "HostName b.lan\nMatch final all\n Port 7\n User f\nHost b\n Port 8\n",
        &["b", "c"],
    ),
    (
        "Match final host b.lan\n Port 7\nHost b\n HostName B.lan\nHost b.lan\n User u\n",
        &["b"],
    ),
    ("Match canonical\n Port 2\n", &["b"]),
    (
        "Match canonical\n Port 2\nMatch final\n User u\nMatch !final\n User v\n",
        &["b"],
    ),
    ("Match !canonical all\n Port 2\n", &["b"]),
    (
        "Match exec \"test %p = 22\"\n Port 2\nMatch exec \"test %p = 2\"\n User u\n",
        &["b", "b:5"],
    ),
    (
        "Match exec false\n Port 2\nMatch !exec false\n Port 3\n",
        &["b"],
    ),
    ("Match exec \"exit 0\" !host b\n Port 2\n", &["b", "c"]),
    (
        "Match exec \"test %C = `printf %%s%%s%%s%%s %l %h %p %r \\
         | sha1sum | cut -c-40`\"\n Port 2\n",
        &["b", "u@b:7", "127.0.0.1"],
    ),
    (
        "Match exec \"test %L,%l,%n,%u,%i,%d,%k = \\
         `hostname -s`,`hostname`,b,`id -un`,`id -u`,$HOME,b\"\n Port 2\n",
        &["b"],
    ),
    (
        "HostKeyAlias k\nMatch exec \"test %k = k\"\n Port 2\n",
        &["b"],
    ),
    ("Include DIR/[0-9]*.inc\n", &["b"]),
    (
        "Include DIR/*.inc\nHost b\n Include DIR/a.inc\n",
        &["b", "c"],
    ),
    ("Host c\n Include DIR/a.inc\nHost b\n Port 4\n", &["b", "c"]),
    ("Include DIR/none*.inc DIR/missing\nPort 6\n", &["b"]),
    ("Include DIR/sub\n", &["b"]),
    ("Include DIR/%h.inc\nInclude DIR/*\n", &["a"]),
    ("Include \"DIR/a.inc\"\n", &["b"]),
    (
        "RequiredRSASize 3072\nRequiredRSASize 1\nCheckHostIP yes\nHashKnownHosts yes\n",
        &["b"],
    ),
    ("Port=5\nUser = \"a b\"\nHostKeyAlias K # x\n", &["b"]),
    ("HostName 127.1\n", &["b"]),
    ("HostName ::1\n", &["b"]),
    ("HostName FD00:0::2\n", &["b"]),
    ("port 5\nPORT 6\n\tUSER\tx\n", &["b"]),
    (
        "Match host a,b,!c\n Port 2\nMatch host *,!b\n Port 3\n",
        &["a", "b", "c"],
    ),
    (
        "Match localuser root\n Port 2\nMatch localuser ROOT\n Port 3\n",
        &["b"],
    ),
    ("Match all host b\n Port 2\n", &["b"]),
    ("Match final host b all\n Port 2\n", &["b"]),
    ("Match host b all\n Port 2\nMatch !all\n User u\n", &["b"]),
    ("Match\n Port 2\n", &["b"]),
    ("Match host\n Port 2\n", &["b"]),
    ("Match host b bogus x\n Port 2\n", &["b"]),
    ("Host\n Port 2\n", &["b"]),
    ("Port 70000\n", &["b"]),
    ("NoSuchThing x\n", &["b"]),
    ("IgnoreUnknown NoSuch*\nNoSuchThing x\nPort 3\n", &["b"]),
    ("User \"a\n", &["b"]),
    ("Port 5 6\n", &["b"]),
    ("User a b\n", &["b"]),
    ("HostName a b\n", &["b"]),
    ("HostKeyAlias a b\n", &["b"]),
    ("RequiredRSASize 2048 1024\n", &["b"]),
    ("CheckHostIP no yes\n", &["b"]),
    ("RequiredRSASize 0x800\n", &["b"]),
    ("RequiredRSASize -1\n", &["b"]),
    ("Port +5\n", &["b"]),
    ("Port \"5\"\nUser 'a b'\nHostName \"%h\"\n", &["b"]),
    ("Host \"b\" 'c d'\n Port 5\n", &["b", "c"]),
    ("Host b#c b\n Port 5\n", &["b", "c"]),
    ("Host b # c\n Port 5\n", &["b", "c"]),
    ("Match host \"b\" user \"x y\"\n Port 5\n", &["b"]),
    ("Match host b,\n Port 5\n", &["b"]),
    ("Match host \"b c\"\n Port 5\n", &["b"]),
    (
        "Match exec \"true\" exec \"test '%n' = b\"\n Port 5\n",
        &["b"],
    ),
    ("HostName %%h\n", &["b"]),
    ("HostName %h%n\n", &["b"]),
    ("User %u\n", &["b"]),
    ("CheckHostIP maybe\n", &["b"]),
    ("StrictHostKeyChecking no yes\n", &["b"]),
    ("HostKeyAlias none\nHostKeyAlias K\n", &["b"]),
    ("User\u{a0}x\n", &["b"]),
    ("Port\x0b5\n", &["b"]),
    ("\x0bPort 5\n", &["b"]),
    ("Port 5\x0b\n", &["b"]),
    ("Port 5\r\nUser a\r\n", &["b"]),
    ("Port==5\n", &["b"]),
    ("Port = = 5\n", &["b"]),
    ("Host=b\n Port 5\n", &["b", "c"]),
    ("Host b\n Match host c\n Port 5\n", &["b", "c"]),
];

fn destination(text: &str) -> Destination {
    let (login, port) = text.split_once(':').map_or((text, None), |(login, port)| {
        (login, Some(port.parse().unwrap()))
    });
    Destination {
        port,
        ..Destination::parse(login)
    }
}

#[test]
fn what_is_understood_is_understood_as_ssh_does() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("a.inc"), "Host c\n Port 11\nHost *\n Port 12\n").unwrap();
    std::fs::write(at("5.inc"), "Port 13\nUser five\n").unwrap();
    std::fs::create_dir(at("sub")).unwrap();
    let config = at("config");
    let mut understood = 0;
    for (text, hosts) in CASES {
        std::fs::write(&config, text.replace("DIR", dir.path().to_str().unwrap())).unwrap();
        for host in *hosts {
            let to = destination(host);
            let settings = match ours(&config, &to) {
                Ok(settings) => settings,
                // What we refuse nobody is misled by; but the refusal says so.
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
                    continue;
                }
            };
            let theirs = theirs(&config, &to);
            let theirs = theirs.unwrap_or_else(|| unreachable!("ssh refuses for {host}: {text}"));
            for (keyword, value) in shown(&settings) {
                let said = theirs.iter().find(|(said, _)| said == keyword);
                let said = said.map(|(_, value)| value);
                assert_eq!(said, Some(&value), "{keyword} for {host}: {text}");
            }
            understood += 1;
        }
    }
    assert!(understood > 40, "only {understood} were understood");
}

/// As Fedora and RHEL ship it; the values are those of the policy DEFAULT.
const REDHAT: &str = "Match final all\n Include DIR/openssh.config\n GSSAPIAuthentication yes\n \
                      ForwardX11Trusted yes\n";
const CRYPTO_POLICY: &str = "\
Ciphers aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes128-gcm@openssh.com,\
aes128-ctr
MACs hmac-sha2-256-etm@openssh.com,hmac-sha1-etm@openssh.com,umac-128-etm@openssh.com,\
hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha1,umac-128@openssh.com,hmac-sha2-512
GSSAPIKeyExchange no
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,\
ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,\
diffie-hellman-group14-sha256,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512
HostKeyAlgorithms ecdsa-sha2-nistp256,ecdsa-sha2-nistp256-cert-v01@openssh.com,\
sk-ssh-ed25519@openssh.com,ssh-ed25519,ssh-ed25519-cert-v01@openssh.com,rsa-sha2-256,\
rsa-sha2-512,rsa-sha2-512-cert-v01@openssh.com
PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256,ecdsa-sha2-nistp256-cert-v01@openssh.com,\
ecdsa-sha2-nistp384,sk-ssh-ed25519@openssh.com,ssh-ed25519,rsa-sha2-256,rsa-sha2-512
HostbasedAcceptedAlgorithms ssh-ed25519
CASignatureAlgorithms ecdsa-sha2-nistp256,ssh-ed25519,rsa-sha2-256,rsa-sha2-512
RequiredRSASize 2048
";

#[test]
fn the_crypto_policy_of_redhat_counts() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    // GSSAPIKexAlgorithms is a word of distributions' ssh alone, so the oracle may not know it.
    std::fs::write(at("openssh.config"), CRYPTO_POLICY).unwrap();
    let config = REDHAT.replace("DIR", dir.path().to_str().unwrap());
    std::fs::write(at("config"), format!("User me\n{config}")).unwrap();
    let to = destination("b");
    let settings = ours(&at("config"), &to).unwrap();
    let (accepted, place) = settings.key_limits.accepted.unwrap();
    let accepted: HashSet<String> = accepted.iter().map(ToString::to_string).collect();
    assert!(place.to_string().contains("openssh.config:"));
    assert!(accepted.contains("ecdsa-sha2-nistp384") && !accepted.contains("ecdsa-sha2-nistp521"));
    assert_eq!(settings.key_limits.rsa_min_bits, 2048);
    let ciphers: Vec<&str> = settings
        .preferred
        .cipher
        .iter()
        .map(AsRef::as_ref)
        .collect();
    assert!(ciphers.contains(&"aes128-ctr") && !ciphers.contains(&"aes192-ctr"));
    let said = theirs(&at("config"), &to).unwrap();
    assert!(said.contains(&("requiredrsasize".to_owned(), "2048".to_owned())));

    std::fs::write(
        at("openssh.config"),
        "GSSAPIKexAlgorithms gss-curve25519-sha256-\n",
    )
    .unwrap();
    assert!(ours(&at("config"), &to).is_ok());
}
