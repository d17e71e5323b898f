//! `hasync serve`: the receiving half, on stdin and stdout as sshd starts it, or behind an SSH
//! server of its own.

mod check;
mod connection;
pub(crate) mod helper;
mod limits;
mod listen;
mod log;
pub(crate) mod sandbox;

use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hasync_engine::{self as engine, Duplex, Greeted, Ready, ServePolicy, escape};
use hasync_transport::ssh::server::{JudgeForced, ServerOptions};
use hasync_transport::{self as transport, Link};

use crate::args::ServeArgs;
use crate::config::Config;
use crate::exit::{self, Exit, Failure};
use crate::state;
use check::run_check;
use helper::Helper;
use limits::Limits;

/// Serves one push, or as many as come.
pub(crate) fn run(args: &ServeArgs) -> Result<Exit, Failure> {
    let service = Service {
        limits: Limits::new(args, roots(&args.root)?),
        config: args.config.config.clone(),
        home: transport::home(),
        is_local: args.local,
    };
    if !args.connection {
        // What makes no sense is told at once, not by the first push.
        service.must_be_there()?;
    }
    match (&args.listen, &args.authorized_keys, &args.host_key) {
        (Some(address), Some(authorized_keys), Some(host_key)) => {
            let options = ServerOptions {
                judge_forced: service.judge_forced(),
                ..ServerOptions::new(authorized_keys.clone(), host_key.clone())
            };
            if args.connection {
                return service.connection(options);
            }
            service.listen(*address, options)
        }
        _ => service.serve_stdio(),
    }
}

struct Service {
    limits: Limits,
    config: Option<PathBuf>,
    home: Option<PathBuf>,
    /// The other half is a process of the same user on this host: there is nothing to be kept from
    /// it.
    is_local: bool,
}

impl Service {
    /// The roots must be directories, the configuration must make sense, and the trees that are
    /// named must be in both. Nothing stays open.
    fn must_be_there(&self) -> Result<(), Failure> {
        let config = self.load()?;
        let policy = self.policy(config.as_ref());
        for root in &policy.roots {
            root.dir().map_err(|e| Failure::usage(e.message))?;
        }
        let mut named = self.limits.trees.iter().flatten();
        match named.find(|name| policy.tree(name).is_none()) {
            None => Ok(()),
            Some(name) => Err(Failure::new(
                Exit::Config,
                format!("--tree {name}: the configuration has no such tree in the roots"),
            )),
        }
    }

    /// What refuses a key whose forced command does not narrow these limits.
    fn judge_forced(&self) -> JudgeForced {
        let (limits, config) = (self.limits.clone(), self.config.clone());
        Arc::new(move |words| limits.narrowed(words, config.as_deref()).map(|_| ()))
    }

    /// The configuration, read anew for each connection. Without one, no tree has a name.
    fn load(&self) -> Result<Option<Config>, Failure> {
        let named = self.config.as_deref();
        Config::load_if_there(named).inspect_err(|failure| state::note_fault(named, failure))
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
            home: self.home.clone(),
            stall: config.map_or(Duration::ZERO, |config| config.peer.stall()),
            trees: trees.collect(),
            terms: config.map_or_else(Vec::new, |config| config.terms.clone()),
            ..self.limits.applied_to(ServePolicy::default())
        }
    }

    /// What one connection may do, by a process that can do nothing else from now on. To be called
    /// before its first thread and its first byte.
    fn enter(&self) -> Result<ServePolicy, Failure> {
        let config = self.load()?;
        let mut policy = self.policy(config.as_ref());
        if !self.is_local {
            let helper = Arc::new(Helper::start(config.as_ref(), policy.rights));
            helper.answer_for(&mut policy);
            engine::open_spill();
            sandbox::enter(&mut policy, helper)?;
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
        let served = self
            .enter()
            .and_then(|policy| serve(link, &self.limits, &policy));
        served.map_err(|failure| Failure {
            message: format!("serve: {}", failure.message),
            ..failure
        })?;
        Ok(Exit::Ok)
    }
}

fn serve(link: Link, limits: &Limits, policy: &ServePolicy) -> Result<(), Failure> {
    link.control.set_io_timeout(Some(limits.silence));
    link.control
        .set_deadline(Instant::now().checked_add(engine::HELLO_TIME));
    let control = Mutex::new(link.control);
    let greeted = move || {
        let control = control.lock().unwrap_or_else(PoisonError::into_inner);
        control.set_deadline(None);
    };
    let policy = ServePolicy {
        greeted: Some(Greeted(Arc::new(greeted))),
        ..policy.clone()
    };
    let duplex = Duplex {
        reader: link.reader,
        writer: link.writer,
    };
    engine::serve(duplex, &policy)?;
    Ok(())
}

/// The command of `[peer] check`.
pub(super) fn check_of(config: Option<&Config>) -> Option<&str> {
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
    use crate::args::parse_serve;

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
                limits: Limits::new(&parse_serve(&[]).unwrap(), roots(&[root])?),
                config: Some(dir.path().join("empty.toml")),
                is_local: false,
                home: None,
            };
            service.must_be_there()?;
            Ok::<_, Failure>(service.limits.roots)
        };
        assert_eq!(checked(dir.path().to_owned()).unwrap(), [dir.path()]);
        let here = checked(".".into()).unwrap();
        assert!(here.iter().all(|root| root.is_absolute()));
        let refusal = |name| checked(dir.path().join(name)).unwrap_err().message;
        assert!(refusal("f").contains("not a directory"));
        assert!(refusal("none").contains("none"));
    }
}
