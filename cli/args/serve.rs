//! The options of `hasync serve` and `hasync demo`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, ArgGroup, Args};
use hasync_transport::ssh::parse_socket_address;

use super::ConfigArgs;

/// The options of `hasync serve`.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "hasync serve [--root DIR]... [--tree NAME...] [--no-delete] [--no-devices] \
                      [--no-setuid]\n       \
                            hasync serve --listen ADDR:PORT --root DIR... --authorized-keys FILE \
                            --host-key FILE"
)]
#[command(group(ArgGroup::new("confined").args(["root", "tree"]).multiple(true)))]
#[command(after_help = "\
Without --listen one push is received on stdin and stdout, which is how sshd starts it. As a
forced command in authorized_keys:
  command=\"hasync serve --root /srv --receive-only\",restrict ssh-ed25519 AAAA...
With --listen such a command narrows what that key may do beyond the server's own options; a key
with any other command is refused.")]
pub(crate) struct ServeArgs {
    /// Only accept destinations in DIR (repeatable)
    #[arg(long,  value_name = "DIR", action = ArgAction::Append)]
    pub(crate) root: Vec<PathBuf>,
    /// Only accept the trees of these names in the configuration, and no other destination
    #[arg(long, value_name = "NAME",  action = ArgAction::Append)]
    #[arg(num_args = 1..)]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) tree: Vec<String>,
    /// Delete nothing: refuse whatever is pushed with --delete
    #[arg(long)]
    pub(crate) no_delete: bool,
    /// Make no device nodes: they are left out
    #[arg(long)]
    pub(crate) no_devices: bool,
    /// Keep no setuid and setgid bits of files
    #[arg(long)]
    pub(crate) no_setuid: bool,
    /// Only ever receive, whatever later versions can do besides
    #[arg(long)]
    pub(crate) receive_only: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Drop a peer that is silent for SECONDS; 0 is the built-in limit
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u32>,
    /// Receive what the same user pushes on this host
    #[arg(long, hide = true, conflicts_with_all = ["root", "listen"])]
    pub(crate) local: bool,
    /// Be an SSH server that offers this alone; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_socket_address)]
    #[arg(requires_all = ["confined", "authorized_keys", "host_key"])]
    pub(crate) listen: Option<SocketAddr>,
    /// Public keys that may log in, as in OpenSSH's file of that name
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) authorized_keys: Option<PathBuf>,
    /// Private key that proves who this server is
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) host_key: Option<PathBuf>,
    /// What --listen starts its own program with: stdin is the socket of one client.
    #[arg(long, hide = true, requires = "listen")]
    pub(crate) connection: bool,
}

/// The options of `hasync demo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// Keep the trees and say where they are
    #[arg(long)]
    pub(crate) keep: bool,
}

/// The options of `hasync man`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ManArgs {
    /// A tree of manual pages, such as /usr/local/share/man; they go to man5, man7 and man8 in it
    pub(crate) dir: PathBuf,
}

/// The options of `hasync help`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  hasync help
  hasync help ha
  hasync help push")]
pub(crate) struct HelpArgs {
    /// A verb, or a page such as ha, rsync or toml
    pub(crate) topic: Option<String>,
}

/// The options of `hasync completions`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell: its words go where it looks for completions
    #[arg(value_parser = clap::value_parser!(clap_complete::Shell))]
    pub(crate) shell: clap_complete::Shell,
}
