//! The options that say how the other host is reached.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

const REACH: &str = "How the other host is reached";

/// How the other host is reached.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReachArgs {
    /// Longest time to connect (default: 10 s or ConnectTimeout)
    #[arg(long, value_name = "SECONDS", help_heading = REACH, hide_short_help = true)]
    pub(crate) contimeout: Option<u32>,
    /// Connect by IPv4 alone
    #[arg(short = '4', long, help_heading = REACH, hide_short_help = true)]
    #[arg(overrides_with = "ipv6")]
    pub(crate) ipv4: bool,
    /// Connect by IPv6 alone
    #[arg(short = '6', long, help_heading = REACH, hide_short_help = true)]
    pub(crate) ipv6: bool,
    /// Port of the SSH server; -e does not get it
    #[arg(long, value_name = "PORT", help_heading = REACH)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Private key to log in with
    #[arg(long, value_name = "FILE", help_heading = REACH)]
    pub(crate) identity: Option<PathBuf>,
    /// Read this in place of the two usual files; none reads no file
    #[arg(long, value_name = "FILE", help_heading = REACH)]
    #[arg(hide_short_help = true)]
    pub(crate) ssh_config: Option<PathBuf>,
    /// Host keys to trust, in place of ~/.ssh/known_hosts
    #[arg(long, value_name = "FILE", help_heading = REACH)]
    #[arg(hide_short_help = true)]
    pub(crate) known_hosts: Option<PathBuf>,
    /// The hasync program there, if it is not found by that name
    #[arg(long, value_name = "PATH", visible_alias = "rsync-path", help_heading = REACH)]
    #[arg(hide_short_help = true)]
    pub(crate) remote_bin: Option<OsString>,
    /// Run COMMAND [-l USER] HOST ..., not built-in SSH
    #[arg(short = 'e', long, value_name = "COMMAND", help_heading = REACH)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) rsh: Option<OsString>,
}

impl ReachArgs {
    /// What was typed that the built-in SSH client alone goes by, and what it is to ssh.
    pub(crate) fn for_built_in(&self) -> Option<(&'static str, &'static str)> {
        let typed = [
            (self.identity.is_some(), "--identity", "-i FILE"),
            (self.ssh_config.is_some(), "--ssh-config", "-F FILE"),
            (
                self.known_hosts.is_some(),
                "--known-hosts",
                "-o UserKnownHostsFile=FILE",
            ),
            (
                self.contimeout.is_some(),
                "--contimeout",
                "-o ConnectTimeout=SECONDS",
            ),
        ];
        let first = typed.into_iter().find(|(is_typed, ..)| *is_typed);
        first.map(|(_, option, instead)| (option, instead))
    }

    /// Whether nothing was typed, so that the configuration alone says how.
    pub(crate) fn is_usual(&self) -> bool {
        let ReachArgs {
            contimeout: None,
            ipv4: false,
            ipv6: false,
            port: None,
            identity: None,
            ssh_config: None,
            known_hosts: None,
            remote_bin: None,
            rsh: None,
        } = self
        else {
            return false;
        };
        true
    }
}
