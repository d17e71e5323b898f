//! `hasync serve`: the receiving half, on stdin and stdout as sshd starts it, or behind an SSH
//! server of its own.

mod check;
mod connection;
pub(crate) mod helper;
mod listen;
pub(crate) mod sandbox;

use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hasync_engine::{self as engine, Duplex, Ready, Rights, ServePolicy, ServedRoot, escape};
use hasync_transport::ssh::server::ServerOptions;
use hasync_transport::{self as transport, Link};

use crate::args::ServeArgs;
use crate::config::Config;
use crate::exit::{self, Exit, Failure};
use crate::reach;
use check::run_check;
use helper::Helper;

/// Serves one push, or as many as come.
pub(crate) fn run(args: &ServeArgs) -> Result<Exit, Failure> {
    let service = Service {
        roots: roots(&args.root)?,
        config: args.config.config.clone(),
        silence: reach::silence(args.timeout),
        home: transport::home(),
        is_local: args.local,
    };
    if !args.connection {
        // What makes no sense is told at once, not by the first push.
        service.must_be_there()?;
    }
    match (&args.listen, &args.authorized_keys, &args.host_key) {
        (Some(address), Some(authorized_keys), Some(host_key)) => {
            let options = ServerOptions::new(authorized_keys.clone(), host_key.clone());
            if args.connection {
                return service.connection(options);
            }
            service.listen(*address, options)
        }
        _ => service.serve_stdio(),
    }
}

struct Service {
    roots: Vec<PathBuf>,
    config: Option<PathBuf>,
    silence: Duration,
    home: Option<PathBuf>,
    /// The other half is a process of the same user on this host: there is nothing to be kept from
    /// it.
    is_local: bool,
}

impl Service {
    /// The roots must be directories, and the configuration must make sense.
    fn must_be_there(&self) -> Result<(), Failure> {
        let config = self.load()?;
        for root in self.policy(config.as_ref()).roots {
            root.dir().map_err(|e| Failure::usage(e.message))?;
        }
        Ok(())
    }

    /// The configuration, read anew for each connection. Without one, no tree has a name.
    fn load(&self) -> Result<Option<Config>, Failure> {
        Config::load_if_there(self.config.as_deref())
    }

    /// What may be received now. The roots are opened anew for each connection, so that none is
    /// kept from being unmounted between two.
    fn policy(&self, config: Option<&Config>) -> ServePolicy {
        let trees = config.iter().flat_map(|config| {
            let trees = config.trees.iter();
            trees.map(|tree| tree.on(&config.node))
        });
        let check = check_of(config).map(str::to_owned);
        ServePolicy {
            ready: check.map(|check| Ready(Arc::new(move || run_check(&check)))),
            roots: self.roots.iter().cloned().map(ServedRoot::pin).collect(),
            home: self.home.clone(),
            trees: trees.collect(),
            rights: Rights::default(),
            ..ServePolicy::default()
        }
    }

    /// What one connection may do, by a process that can do nothing else from now on but read
    /// `files`. To be called before its first thread and its first byte.
    fn enter(&self, files: &[PathBuf]) -> Result<ServePolicy, Failure> {
        let config = self.load()?;
        let mut policy = self.policy(config.as_ref());
        if !self.is_local {
            Helper::start(check_of(config.as_ref())).answer_for(&mut policy);
            sandbox::enter(&mut policy, files)?;
        }
        Ok(policy)
    }
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
        let served = self.enter(&[]).and_then(|policy| self.serve(link, &policy));
        served.map_err(|failure| Failure {
            message: format!("serve: {}", failure.message),
            ..failure
        })?;
        Ok(Exit::Ok)
    }

    fn serve(&self, link: Link, policy: &ServePolicy) -> Result<(), Failure> {
        link.control.set_io_timeout(Some(self.silence));
        let duplex = Duplex {
            reader: link.reader,
            writer: link.writer,
        };
        engine::serve(duplex, policy)?;
        Ok(())
    }
}

/// The command of `[peer] check`.
fn check_of(config: Option<&Config>) -> Option<&str> {
    Some(config?.peer.check.as_ref()?.0.as_str())
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

/// The roots as absolute paths.
fn roots(roots: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let absolute = |root: &PathBuf| {
        std::path::absolute(root).map_err(|e| {
            let (name, cause) = (escape(root.as_os_str().as_bytes()), exit::cause(&e));
            Failure::usage(format!("cannot use --root \"{name}\": {cause}"))
        })
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
        std::fs::write(dir.path().join("empty.toml"), "").unwrap();
        let checked = |root: PathBuf| {
            let service = Service {
                roots: roots(&[root])?,
                config: Some(dir.path().join("empty.toml")),
                silence: Duration::from_secs(1),
                is_local: false,
                home: None,
            };
            service.must_be_there()?;
            Ok::<_, Failure>(service.roots)
        };
        assert_eq!(checked(dir.path().to_owned()).unwrap(), [dir.path()]);
        let here = checked(".".into()).unwrap();
        assert!(here.iter().all(|root| root.is_absolute()));
        let refusal = |name| checked(dir.path().join(name)).unwrap_err().message;
        assert!(refusal("f").contains("not a directory"));
        assert!(refusal("none").contains("none"));
    }
}
