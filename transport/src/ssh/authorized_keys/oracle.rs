//! The same lines before OpenSSH's sshd: whoever logs in here must be let in there.

#![allow(clippy::unwrap_used)]

use std::fs::Permissions;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::BASE64;

use super::AuthorizedKeys;

/// Lines with `KEY` for the key that logs in, whether it may here, and whether it may there.
const CASES: &[(&str, bool, bool)] = &[
    ("KEY", true, true),
    ("KEY\r", true, true),
    ("KEY me\r", true, true),
    ("\t KEY \t", true, true),
    ("KEY\0junk", true, true),
    ("restrict KEY\0", true, true),
    ("SPLIT me", true, true),
    ("restrict SPLIT", true, true),
    ("no-such SPLIT", false, false),
    ("restrict\0 KEY", false, false),
    ("\0KEY", false, false),
    ("KEY=", false, false),
    ("restrict KEY", true, true),
    ("restrict\tKEY", true, true),
    ("restrict \t KEY", true, true),
    ("ReStRiCt,PTY,no-User-RC,No-Touch-Required KEY", true, true),
    ("no-verify-required,touch-required KEY", true, true),
    ("command=\"hasync serve\" KEY", true, true),
    (
        "command=\"hasync serve --root \\\"/a b\\\"\" KEY",
        true,
        true,
    ),
    ("command=\"/bin/false\" KEY", false, true),
    ("command=\"/bin/false\" KEY\nKEY", false, true),
    ("command=\"hasync serve; id\" KEY", false, true),
    (
        "environment=\"A=b\",permitopen=\"h:22\",permitlisten=\"8080\",tunnel=\"0\" KEY",
        true,
        true,
    ),
    (
        "permitlisten=\"localhost:*\",tunnel=\"any\" KEY",
        true,
        true,
    ),
    ("from=\"127.0.0.1\" KEY", true, true),
    ("FROM=\"127.0.0.0/8,10.0.0.0/8\" KEY", true, true),
    ("from=\"127.*\" KEY", true, true),
    ("from=\"127.0.0.?,!127.0.0.2\" KEY", true, true),
    ("from=\"127.0.0.0/8,!127.0.0.1\" KEY", false, false),
    ("from=\"!127.0.0.1,127.0.0.0/8\" KEY", false, false),
    ("from=\"10.0.0.0/8\" KEY", false, false),
    ("from=\"10.0.0.0/8\" KEY\nKEY", true, true),
    ("expiry-time=\"20990101\" KEY", true, true),
    (
        "expiry-time=\"20990101000000Z\",expiry-time=\"209901010000\" KEY",
        true,
        true,
    ),
    (
        "expiry-time=\"20990101\",expiry-time=\"20200101\" KEY",
        false,
        false,
    ),
    (
        "expiry-time=\"20200101\",expiry-time=\"20990101\" KEY",
        false,
        false,
    ),
    // Malformed where sshd thinks so, too.
    ("from=\"10.0.0.0/33,127.0.0.1\" KEY", false, false),
    ("from=\"127.0.0.1/8\" KEY", false, false),
    ("from=\"127.0.0.1,\" KEY", false, false),
    ("from=\",127.0.0.1\" KEY", false, false),
    ("from=\"\" KEY", false, false),
    ("from=\"::1/64,127.0.0.1\" KEY", false, false),
    ("from=\" 127.0.0.1\" KEY", false, false),
    ("from=127.0.0.1 KEY", false, false),
    ("from KEY", false, false),
    ("from=\"127.0.0.1\"x KEY", false, false),
    ("from=\"127.0.0.1\",from=\"127.0.0.1\" KEY", false, false),
    (
        "command=\"hasync serve\",command=\"hasync serve\" KEY",
        false,
        false,
    ),
    ("command=\"hasync serve KEY", false, false),
    ("command=\"hasync serve\\\" KEY", false, false),
    ("command=\"hasync serve\\\\\",restrict KEY", false, false),
    ("command=hasync KEY", false, false),
    ("\"restrict\" KEY", false, false),
    ("res\"tri\"ct KEY", false, false),
    ("restrictive KEY", false, false),
    ("restrict=\"\" KEY", false, false),
    ("restrict\r KEY", false, false),
    ("no-restrict KEY", false, false),
    ("no-such KEY", false, false),
    ("restrict, pty KEY", false, false),
    ("cert-authority KEY", false, false),
    ("cert-authority,principals=\"root\" KEY", false, false),
    ("principals=\"root\" KEY", false, false),
    ("expiry-time=\"2099\" KEY", false, false),
    ("expiry-time=\"\" KEY", false, false),
    ("expiry-time=20990101 KEY", false, false),
    ("expiry-time=\"20990101x\" KEY", false, false),
    ("environment=\"A\" KEY", false, false),
    ("environment=\"A-B=c\" KEY", false, false),
    ("permitopen=\"22\" KEY", false, false),
    ("permitopen=\"h:0\" KEY", false, false),
    ("permitlisten=\"h:x\" KEY", false, false),
    ("tunnel=\"x\" KEY", false, false),
    ("tunnel KEY", false, false),
    ("#KEY", false, false),
    ("# note\rKEY", false, false),
    ("\u{a0}KEY", false, false),
    ("restrict KEY#not-a-comment", false, false),
    // Refused here although sshd lets it in: it never means what was meant.
    ("from=\"127.0.0.1,10.0.0.1/abc\" KEY", false, true),
    ("from=\"127.0.0.1,::1/129\" KEY", false, true),
    ("from=\"127.0.0.1, 10.0.0.1\" KEY", false, true),
    ("from=\"127.0.0.1,10.0.0.256\" KEY", false, true),
    ("from=\"127/8\" KEY", false, false),
    ("from=\"127.0.0.1,!bad.example.com\" KEY", false, true),
    ("verify-required KEY", false, true),
    (",restrict KEY", false, true),
    ("restrict, KEY", false, true),
    ("restrict,,pty KEY", false, true),
    ("expiry-time=\"20990230\" KEY", false, true),
];

#[test]
fn whoever_logs_in_here_is_let_in_by_sshd() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let public: Vec<String> = (0..CASES.len())
        .map(|n| keygen(&at(&n.to_string())))
        .collect();
    let lines = CASES.iter().zip(&public);
    let text: Vec<String> = lines
        .map(|((line, ..), key)| {
            let (front, end) = key.split_at(key.len() - 9);
            let split = format!("{front}\x0b\r{end}");
            line.replace("KEY", key).replace("SPLIT", &split)
        })
        .collect();
    std::fs::write(at("keys"), text.join("\n")).unwrap();
    std::fs::set_permissions(at("keys"), Permissions::from_mode(0o600)).unwrap();
    let sshd = Sshd::start(dir.path());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
            && let Some((line, here, there)) = CASES.get(number)
        {
            let blob = public[number].split(' ').nth(1).unwrap();
            let blob = BASE64.decode(blob.as_bytes()).unwrap();
            let file = dir.path().join("keys");
            let ours =
                AuthorizedKeys::read(&file).look_up(&blob, [127, 0, 0, 1].into(), &|_| Ok(()));
            assert_eq!(ours.is_ok(), *here, "here: {line:?}: {ours:?}");
            assert_eq!(
                sshd.lets_in(&at(&number.to_string())),
                *there,
                "there: {line:?}"
            );
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(work);
        }
    });
    assert!(CASES.iter().all(|(_, here, there)| *there || !here));
}

/// Makes a key pair without a comment; its public half.
fn keygen(path: &str) -> String {
    let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path];
    let status = Command::new("ssh-keygen").args(arguments).status().unwrap();
    assert!(status.success());
    let public = std::fs::read_to_string(format!("{path}.pub")).unwrap();
    public.trim().to_owned()
}

struct Sshd {
    process: Child,
    port: u16,
}

impl Sshd {
    fn start(dir: &Path) -> Sshd {
        let at = |name: &str| dir.join(name).display().to_string();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        keygen(&at("host"));
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\n\
             UsePAM no\nPidFile none\nPermitRootLogin yes\nMaxStartups 100\n",
            at("host"),
            at("keys")
        );
        std::fs::write(at("config"), config).unwrap();
        // Where sshd separates privileges; only root can and has to make it.
        let _ = std::fs::create_dir("/run/sshd");
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &at("config")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let sshd = Sshd { process, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "sshd does not listen"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        sshd
    }

    fn lets_in(&self, identity: &str) -> bool {
        let output = Command::new("ssh")
            .args([
                "-v",
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "IdentityAgent=none",
            ])
            .args(["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-i", identity])
            .args(["-p", &self.port.to_string(), "127.0.0.1", "true"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stderr).contains("Authenticated to ")
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
