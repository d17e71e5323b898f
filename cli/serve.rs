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
use crate::escape::escape;
use crate::exit::{Exit, Failure};
use crate::out::{self, Out};
use crate::reach;

/// Longest silence of a peer when none was asked for. The sending half says every few seconds
/// that it is alive.
const DEFAULT_SILENCE: Duration = Duration::from_secs(120);

/// Serves one push, or as many as come.
pub(crate) fn run(args: &ServeArgs) -> Result<Exit, Failure> {
    let service = Service {
        policy: ServePolicy {
            roots: roots(&args.root)?,
            receive_only: args.receive_only,
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
    fn listen(&self, _a: SocketAddr, _k: &Path, _h: &Path) -> Result<Exit, Failure> {
        let _ = Out::stdout();
        out::error("stub");
        Ok(Exit::Ok)
    }
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

/// The roots as absolute paths without symlinks, so that what a name means cannot change later.
fn roots(roots: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let canonical = |root: &PathBuf| {
        let name = escape(root.as_os_str().as_bytes());
        let path = root
            .canonicalize()
            .map_err(|cause| Failure::usage(format!("cannot use --root \"{name}\": {cause}")))?;
        if path.is_dir() {
            Ok(path)
        } else {
            Err(Failure::usage(format!(
                "--root \"{name}\" is not a directory"
            )))
        }
    };
    roots.iter().map(canonical).collect()
}
