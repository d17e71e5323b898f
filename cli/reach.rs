//! How the receiving half is reached: a child process for a local target, the built-in SSH
//! client for a host, or a program of the user's (`-e`). Whatever it is, above it is one link.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hasync_engine::{self as engine, escape};
use hasync_transport::{self as transport, ChildStderr, Control, Finish, Link, Traffic, ssh};

use crate::args::PushArgs;
use crate::config::Peer;
use crate::environment;
use crate::exit::{Exit, Failure};
use crate::itself;
use crate::out;
use crate::target::Target;

/// Longest silence of a peer when none was asked for. Both halves say every few seconds that they
/// are alive, whatever keeps them busy.
const DEFAULT_SILENCE: Duration = Duration::from_secs(120);

/// The longest line quoted from the far end, in characters.
const MAX_QUOTE_LEN: usize = 400;

/// The options that say how a host is reached.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// What the built-in SSH client goes by.
    pub(crate) port: Option<u16>,
    /// A private key.
    pub(crate) identity: Option<PathBuf>,
    /// A configuration file in place of the usual two.
    pub(crate) ssh_config: Option<PathBuf>,
    /// A file of host keys in place of the usual ones.
    pub(crate) known_hosts: Option<PathBuf>,
    /// The program on the other host.
    pub(crate) remote_bin: OsString,
    /// The words of `-e`, in place of the built-in SSH client.
    pub(crate) rsh: Option<Vec<OsString>>,
    /// Longest silence of the link.
    pub(crate) silence: Duration,
    /// Longest time that connecting takes, in place of what the SSH configuration says.
    pub(crate) connecting: Option<Duration>,
    /// Addresses of one family alone.
    pub(crate) family: Option<ssh::Family>,
}

/// The key that `hasync pair` makes where the configuration names none.
pub(crate) fn pair_key() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/etc/hasync/id_ed25519".into());
    }
    Some(transport::home()?.join(".ssh/id_hasync"))
}

/// The same if it was made, and nobody else had a hand in it.
fn made_key() -> Option<PathBuf> {
    pair_key().filter(|file| engine::open_trusted(file).is_ok())
}

impl Reach {
    /// What the command line says about it and, where that says nothing, `RSYNC_RSH`.
    pub(crate) fn new(args: &PushArgs) -> Result<Self, Failure> {
        let typed = Reach::typed(args)?;
        if typed.rsh.is_some() || args.reach.for_built_in().is_some() || typed.port.is_some() {
            return Ok(typed);
        }
        let rsh = environment::rsh();
        let rsh = rsh.map(|command| split_words(command.as_bytes(), environment::RSH));
        Ok(Reach {
            rsh: rsh.transpose()?,
            ..typed
        })
    }

    fn typed(args: &PushArgs) -> Result<Self, Failure> {
        let rsh = args.reach.rsh.as_ref();
        if let (Some(_), Some((option, instead))) = (rsh, args.reach.for_built_in()) {
            return Err(Failure::usage(format!(
                "{option} goes to the built-in SSH client, not to the command of -e; write -e 'ssh \
                 {instead}'"
            )));
        }
        let rsh = rsh
            .map(|command| split_words(command.as_bytes(), "-e"))
            .transpose()?;
        Ok(Reach {
            port: args.reach.port,
            identity: args.reach.identity.clone(),
            ssh_config: args.reach.ssh_config.as_deref().map(config_file),
            known_hosts: args.reach.known_hosts.clone(),
            remote_bin: args
                .reach
                .remote_bin
                .clone()
                .unwrap_or_else(|| "hasync".into()),
            rsh,
            silence: silence(args.timeout),
            connecting: args
                .reach
                .contimeout
                .filter(|seconds| *seconds > 0)
                .map(|seconds| Duration::from_secs(seconds.into())),
            family: match (args.reach.ipv4, args.reach.ipv6) {
                (true, _) => Some(ssh::Family::V4),
                (_, true) => Some(ssh::Family::V6),
                _ => None,
            },
        })
    }

    /// What the command line says about it and, where it says nothing, the configuration.
    pub(crate) fn of_peer(args: &PushArgs, peer: &Peer) -> Result<Self, Failure> {
        let typed = Reach::typed(args)?;
        let configured = Reach::from_peer(peer);
        Ok(Reach {
            port: typed.port.or(configured.port),
            identity: typed.identity.or(configured.identity),
            ssh_config: typed.ssh_config.or(configured.ssh_config),
            known_hosts: typed.known_hosts.or(configured.known_hosts),
            remote_bin: args
                .reach
                .remote_bin
                .clone()
                .unwrap_or(configured.remote_bin),
            rsh: typed.rsh,
            silence: args.timeout.map_or(configured.silence, |_| typed.silence),
            connecting: typed.connecting,
            family: typed.family,
        })
    }

    /// The same for the built-in SSH client.
    pub(crate) fn ssh(
        &self,
        user: Option<String>,
        host: String,
    ) -> (ssh::Destination, ssh::ClientOptions) {
        let destination = ssh::Destination {
            host,
            user,
            port: self.port,
        };
        let options = ssh::ClientOptions {
            identities: self.identity.iter().cloned().collect(),
            config_file: self.ssh_config.clone(),
            known_hosts: self.known_hosts.clone(),
            environment: ssh::Environment::current(),
            connect_timeout: self.connecting,
            family: self.family,
            ..ssh::ClientOptions::default()
        };
        (destination, options)
    }

    /// What the configuration says about it.
    pub(crate) fn from_peer(peer: &Peer) -> Self {
        Reach {
            port: peer.port,
            identity: peer.identity.clone().or_else(made_key),
            ssh_config: peer.ssh_config.clone(),
            known_hosts: peer.known_hosts.clone(),
            remote_bin: peer.remote_bin.as_deref().unwrap_or("hasync").into(),
            rsh: None,
            silence: peer.timeout.map_or(DEFAULT_SILENCE, |time| time.0),
            connecting: None,
            family: None,
        }
    }
}

/// What `--timeout` means to either half: 0, or nothing, is the built-in limit.
pub(crate) fn silence(seconds: Option<u32>) -> Duration {
    match seconds {
        None | Some(0) => DEFAULT_SILENCE,
        Some(seconds) => Duration::from_secs(u64::from(seconds)),
    }
}

/// ssh's word for reading no configuration at all is `none`.
fn config_file(typed: &Path) -> PathBuf {
    if typed == "none" {
        PathBuf::from("/dev/null")
    } else {
        typed.to_owned()
    }
}

/// Opens the link to the receiving half at `target`.
pub(crate) fn open(target: &Target, reach: &Reach) -> Result<Link, Failure> {
    let link = match (target, &reach.rsh) {
        (Target::Local(_), _) => {
            transport::spawn(local_receiver()?, "the receiving half", ChildStderr::Keep)?
        }
        (Target::Remote { user, host, .. }, Some(words)) => {
            let command = rsh_command(
                words,
                reach.family,
                user.as_deref(),
                host,
                &reach.remote_bin,
            )?;
            let mut words = out::FarWords::of(host);
            let show = ChildStderr::Show(Box::new(move |piece| words.show(piece)));
            transport::spawn(command, host, show)?
        }
        (Target::Remote { user, host, .. }, None) => {
            let (destination, options) = reach.ssh(user.clone(), host.clone());
            let bin = reach.remote_bin.to_str().ok_or_else(|| {
                let bin = escape(reach.remote_bin.as_bytes());
                Failure::usage(format!("--remote-bin \"{bin}\" is not UTF-8; use -e ssh"))
            })?;
            ssh::connect(&destination, &format!("{bin} serve"), &options)?
        }
    };
    link.control.set_io_timeout(Some(reach.silence));
    Ok(link)
}

/// Lets the far end leave after a push that succeeded, and gives what crossed the link. How it
/// leaves changes nothing: the acknowledgement has been read.
pub(crate) fn close(control: Box<dyn Control>) -> Traffic {
    control.leave()
}

/// Why the push failed: the engine's reason, or the far end's when it is the better one.
pub(crate) fn explain(error: engine::Error, control: Box<dyn Control>, target: &Target) -> Failure {
    let broke = matches!(error.kind, engine::ErrorKind::Stream);
    let teller = target.host().filter(|_| error.is_told());
    let mut failure = Failure::from(error);
    failure.message = told_by(teller, failure.message);
    if !broke {
        return failure;
    }
    match control.finish() {
        Ok(finish) => blame_far_end(&failure, &finish, target),
        Err(cause) => {
            // Whoever is not hasync need not leave, and that it does not explains nothing.
            let is_late = cause.kind() == transport::ErrorKind::Timeout;
            let cause = Failure::from(cause);
            if is_late || failure.message.contains(&cause.message) {
                failure
            } else if cause.exit == Exit::Stream {
                failure.message = format!("{}; {}", failure.message, cause.message);
                failure
            } else {
                cause
            }
        }
    }
}

/// A message in the words of the far end, on another `host` or here. They are not passed off as
/// ours.
pub(crate) fn told_by(host: Option<&str>, message: String) -> String {
    match host {
        Some(host) => format!("{message} (says {host})"),
        None => message,
    }
}

fn blame_far_end(failure: &Failure, finish: &Finish, target: &Target) -> Failure {
    let place = target.host().unwrap_or("the receiving half");
    let words = last_words(&finish.stderr_tail);
    let quote = |words| format!("; {place} said: {words}");
    if finish.exit_code == Some(127) {
        let said = words.map(quote).unwrap_or_default();
        let message = format!(
            "hasync not found on {place}; install it there, or name it with --remote-bin{said}"
        );
        return Failure::new(Exit::NotFound, message);
    }
    let is_rsync = words
        .as_ref()
        .is_some_and(|words| words.starts_with("rsync error: "));
    // A link that ended before its first byte has said all this itself.
    let words = words.filter(|words| !failure.message.contains(words));
    let said = words.map(quote).unwrap_or_default();
    let end = match (&finish.signal, finish.exit_code) {
        (Some(signal), _) if !failure.message.contains(signal) => {
            format!("; it was ended by signal {signal}")
        }
        (None, Some(code)) if code != 0 && !failure.message.contains("exit status") => {
            format!("; it left with exit code {code}")
        }
        _ => String::new(),
    };
    // hasync there, which had a reason of its own not to begin.
    let exit = match finish.exit_code {
        Some(code) if code == Exit::Config as u32 => Exit::Config,
        _ => failure.exit,
    };
    let hint = match is_rsync {
        true => "; that is rsync: name hasync with --rsync-path",
        false => "",
    };
    Failure::new(exit, format!("{}{end}{said}{hint}", failure.message))
}

/// The last line that the far end wrote to its standard error, fit for one line of ours.
fn last_words(stderr: &[u8]) -> Option<String> {
    let line = stderr
        .split(|&byte| byte == b'\n')
        .rev()
        .map(<[u8]>::trim_ascii);
    let line = line.into_iter().find(|line| !line.is_empty())?;
    Some(escape(line).chars().take(MAX_QUOTE_LEN).collect())
}

/// The receiving half as a child of this very program.
fn local_receiver() -> Result<Command, Failure> {
    let mut command = itself::command()?;
    command.arg0("hasync").args(["serve", "--local"]);
    // Where we run as a forced command ourselves, that command is not the child's.
    command.env_remove("SSH_ORIGINAL_COMMAND");
    // A Ctrl-C is for us: the child learns it from the end of its input, and tidies up.
    command.process_group(0);
    Ok(command)
}

/// `COMMAND [-l USER] HOST REMOTE_BIN serve`, started without a shell, as rsync does.
fn rsh_command(
    words: &[OsString],
    family: Option<ssh::Family>,
    user: Option<&str>,
    host: &str,
    remote_bin: &OsString,
) -> Result<Command, Failure> {
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| Failure::usage("the command of -e, or of RSYNC_RSH, is empty"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(user) = user {
        command.args(["-l", user]);
    }
    // No other program is known to have these.
    let is_ssh = Path::new(program)
        .file_name()
        .is_some_and(|name| name == "ssh");
    match family.filter(|_| is_ssh) {
        Some(ssh::Family::V4) => drop(command.arg("-4")),
        Some(ssh::Family::V6) => drop(command.arg("-6")),
        Some(ssh::Family::Any) | None => {}
    }
    command.arg(host).arg(remote_bin).arg("serve");
    Ok(command)
}

/// Splits the command of `-e` at spaces. Quotes of either kind keep spaces together, a doubled
/// quote inside them is one; nothing else is special.
pub(crate) fn split_words(command: &[u8], from: &str) -> Result<Vec<OsString>, Failure> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = command.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match quote {
            Some(mark) if byte == mark => {
                if bytes.next_if_eq(&mark).is_some() {
                    word.get_or_insert_default().push(mark);
                } else {
                    quote = None;
                }
            }
            None if byte == b'\'' || byte == b'"' => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            None if byte == b' ' => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    if quote.is_some() {
        let command = escape(command);
        return Err(Failure::usage(format!(
            "a quote is not closed in the command of {from}: {command}"
        )));
    }
    words.extend(word);
    Ok(words.into_iter().map(OsString::from_vec).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn words(command: &str) -> Vec<OsString> {
        split_words(command.as_bytes(), "-e").unwrap()
    }

    #[test]
    fn a_command_is_split_at_spaces_outside_quotes() {
        assert_eq!(words("ssh -p 22"), ["ssh", "-p", "22"]);
        assert_eq!(words("  ssh   -v "), ["ssh", "-v"]);
        assert_eq!(
            words("ssh -o 'ProxyCommand nc %h %p'"),
            ["ssh", "-o", "ProxyCommand nc %h %p"]
        );
        assert_eq!(words("a\"b c\"d ''"), ["ab cd", ""]);
        assert_eq!(words("'it''s' \"a\"\"b\" c\\d"), ["it's", "a\"b", "c\\d"]);
        assert!(split_words(b"ssh 'x", "-e").is_err());
    }

    #[test]
    fn the_program_gets_rsyncs_words() {
        let arguments = |command: &str, family, user| {
            let command =
                rsh_command(&words(command), family, user, "b", &"hasync".into()).unwrap();
            let words = command
                .get_args()
                .map(|word| word.to_str().unwrap().to_owned());
            words.collect::<Vec<_>>().join(" ")
        };
        let (v4, v6) = (Some(ssh::Family::V4), Some(ssh::Family::V6));
        for (command, family, user, expected) in [
            ("ssh -q", None, Some("root"), "-q -l root b hasync serve"),
            ("ssh", v4, None, "-4 b hasync serve"),
            (
                "/usr/bin/ssh -p 22",
                v6,
                Some("u"),
                "-p 22 -l u -6 b hasync serve",
            ),
            ("my-ssh", v6, None, "b hasync serve"),
        ] {
            assert_eq!(arguments(command, family, user), expected);
        }
        assert!(rsh_command(&[], None, None, "b", &"hasync".into()).is_err());
    }

    fn blamed(exit_code: Option<u32>, stderr: &[u8]) -> Failure {
        let target = Target::Remote {
            user: None,
            host: "b".to_owned(),
            path: b"/x".to_vec(),
        };
        let finish = Finish {
            exit_code,
            stderr_tail: stderr.to_vec(),
            ..Finish::default()
        };
        blame_far_end(
            &Failure::new(Exit::Stream, "the connection broke"),
            &finish,
            &target,
        )
    }

    #[test]
    fn a_missing_program_has_its_own_code() {
        let failure = blamed(Some(127), b"bash: hasync: command not found\n");
        assert_eq!(failure.exit, Exit::NotFound);
        assert!(failure.message.starts_with("hasync not found on b;"));
        assert!(
            failure
                .message
                .ends_with("b said: bash: hasync: command not found")
        );
    }

    #[test]
    fn the_far_ends_last_words_are_quoted_on_one_line() {
        let failure = blamed(Some(255), b"first\nHost key\x1b[1m failed.\r\n\n");
        assert_eq!(failure.exit, Exit::Stream);
        assert_eq!(
            failure.message,
            "the connection broke; it left with exit code 255; b said: Host key\\#033[1m failed."
        );
        assert_eq!(blamed(Some(0), b"").message, "the connection broke");
        let rsync = blamed(
            Some(1),
            b"rsync error: syntax or usage error (code 1) at main.c\n",
        );
        assert!(rsync.message.ends_with("name hasync with --rsync-path"));
    }
}
