//! The options of `hasync serve` and `hasync demo`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args};
use hasync_transport::ssh::parse_socket_address;

use super::ConfigArgs;

/// The options of `hasync serve`.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "hasync serve [--root DIR]... [--receive-only] [--config FILE]\n       \
                            hasync serve --listen ADDR:PORT --root DIR... --authorized-keys FILE \
                            --host-key FILE"
)]
#[command(after_help = "\
Without --listen one push is received on stdin and stdout, which is how sshd starts it. As a
forced command in authorized_keys:
  command=\"hasync serve --root /srv --receive-only\",restrict ssh-ed25519 AAAA...")]
pub(crate) struct ServeArgs {
    /// Only accept destinations in DIR (repeatable)
    #[arg(long, value_name = "DIR", action = ArgAction::Append)]
    pub(crate) root: Vec<PathBuf>,
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
    #[arg(requires_all = ["root", "authorized_keys", "host_key"])]
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
    /// A tree of manual pages, such as /usr/local/share/man; they go to man5 and man8 in it
    pub(crate) dir: PathBuf,
}
