//! `hasync serve`: the receiving half, on stdin and stdout as sshd starts it, or behind an SSH
//! server of its own.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hasync_engine::{self as engine, Duplex, ServePolicy};
use hasync_transport::{self as transport, Link, ssh};

use crate::args::ServeArgs;
use crate::escape::{defuse, escape};
use crate::exit::{Exit, Failure};
use crate::out::Out;
use crate::reach;

/// Longest silence of a peer when none was asked for. The sending half says every few seconds
/// that it is alive.
const DEFAULT_SILENCE: Duration = Duration::from_secs(120);

/// Serves one push, or as many as come.
pub(crate) fn run(args: &ServeArgs) -> Result<Exit, Failure> {
    let service = Service {
        policy: ServePolicy {
            roots: roots(&args.root)?,
            home: std::env::var_os("HOME").map(PathBuf::from),
        },
        silence: reach::silence(args.timeout, DEFAULT_SILENCE),
    };
    match (&args.listen, &args.authorized_keys, &args.host_key) {
        (Some(address), Some(authorized_keys), Some(host_key)) => {
            service.listen(*address, authorized_keys, host_key)
        }
        _ => service.serve_stdio(),
    }
}

struct Service {
    policy: ServePolicy,
    silence: Duration,
}

impl Service {
    /// One push on stdin and stdout. Nothing else may be written to stdout.
    fn serve_stdio(&self) -> Result<Exit, Failure> {
        if let Some(command) = std::env::var_os("SSH_ORIGINAL_COMMAND") {
            check_original_command(command.as_bytes())?;
        }
        if std::io::stdin().is_terminal() {
            return Err(Failure::usage(
                "hasync serve speaks its protocol on stdin and stdout; it is started by the push \
                 of another host, or give --listen",
            ));
        }
        let link = transport::stdio()?;
        self.serve(link).map_err(|failure| Failure {
            message: format!("serve: {}", failure.message),
            ..failure
        })?;
        Ok(Exit::Ok)
    }

    fn serve(&self, link: Link) -> Result<(), Failure> {
        link.control.set_io_timeout(Some(self.silence));
        let duplex = Duplex {
            reader: link.reader,
            writer: link.writer,
        };
        engine::serve(duplex, &self.policy)?;
        Ok(())
    }
}

impl Service {
    /// Serves whoever logs in, one line on stdout per session's start and end, until it is killed.
    fn listen(
        self,
        address: SocketAddr,
        authorized_keys: &Path,
        host_key: &Path,
    ) -> Result<Exit, Failure> {
        let options = ssh::server::ServerOptions {
            address,
            authorized_keys: authorized_keys.to_owned(),
            host_keys: vec![host_key.to_owned()],
            ..ssh::server::ServerOptions::default()
        };
        let roots = shown_roots(&self.policy.roots);
        let out = Out::stdout();
        let log = out.clone();
        let handler = move |link, peer: ssh::server::PeerInfo| self.session(link, &peer, &log);
        let server = ssh::server::listen(options, handler)?;
        say(
            &out,
            &format!(
                "listening on {}, {roots}, host key {}",
                server.local_addr(),
                server.fingerprint()
            ),
        );
        server.wait()?;
        Ok(Exit::Ok)
    }

    /// One push of a peer that logged in; gives the exit status that its side is told.
    fn session(&self, link: Link, peer: &ssh::server::PeerInfo, log: &Out) -> u32 {
        let who = format!("{} from {}", peer.user, peer.address);
        say(log, &format!("session of {who} began"));
        match self.serve(link) {
            Ok(()) => {
                say(log, &format!("session of {who} ended"));
                Exit::Ok as u32
            }
            Err(failure) => {
                say(
                    log,
                    &format!(
                        "session of {who} ended: {} (exit {})",
                        failure.message, failure.exit
                    ),
                );
                failure.exit as u32
            }
        }
    }
}

/// One line of the log, at once: it may be read through a pipe.
fn say(out: &Out, line: &str) {
    out.write(format!("{}\n", defuse(line)).as_bytes());
    out.flush();
}

fn shown_roots(roots: &[PathBuf]) -> String {
    let names: Vec<_> = roots
        .iter()
        .map(|root| escape(root.as_os_str().as_bytes()))
        .collect();
    let word = if names.len() == 1 { "root" } else { "roots" };
    format!("{word} {}", names.join(" "))
}

/// Where a key in authorized_keys is bound to `hasync serve`, the words that the client asked for
/// have no effect, but a client that asks for something else is told so.
fn check_original_command(command: &[u8]) -> Result<(), Failure> {
    let mut words = command
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    let asks_for_nothing = words.next().is_none();
    if asks_for_nothing || words.any(|word| word == b"serve") {
        return Ok(());
    }
    let command = escape(command);
    Err(Failure::usage(format!(
        "this key is for \"hasync serve\" alone, not for \"{command}\""
    )))
}

/// The roots as absolute paths; each must be a directory.
fn roots(roots: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let absolute = |root: &PathBuf| {
        let name = escape(root.as_os_str().as_bytes());
        let refuse = |cause: &dyn std::fmt::Display| {
            Failure::usage(format!("cannot use --root \"{name}\": {cause}"))
        };
        match std::fs::metadata(root) {
            Ok(facts) if facts.is_dir() => {
                std::path::absolute(root).map_err(|cause| refuse(&cause))
            }
            Ok(_) => Err(refuse(&"not a directory")),
            Err(cause) => Err(refuse(&cause)),
        }
    };
    roots.iter().map(absolute).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_bound_key_is_for_serve_alone() {
        for command in [
            "",
            "  ",
            "hasync serve",
            "/opt/hasync serve",
            "sudo hasync serve --root /",
        ] {
            assert!(
                check_original_command(command.as_bytes()).is_ok(),
                "{command}"
            );
        }
        for command in ["ls -l", "serve", "rsync --server .", "sh -c reserve"] {
            let failure = check_original_command(command.as_bytes()).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(command), "{}", failure.message);
        }
    }

    #[test]
    fn roots_must_be_directories_and_become_absolute() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "").unwrap();
        assert_eq!(roots(&[dir.path().to_owned()]).unwrap(), [dir.path()]);
        assert!(
            roots(&[".".into()])
                .unwrap()
                .iter()
                .all(|root| root.is_absolute())
        );
        let refusal = |name| roots(&[dir.path().join(name)]).unwrap_err().message;
        assert!(refusal("f").contains("not a directory"));
        assert!(refusal("none").contains("none"));
    }
}
