//! The options of `hasync pair`.

use std::path::PathBuf;

use clap::Args;

use super::{ConfigArgs, InitArgs};

/// The options of `hasync pair`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  hasync pair root@standby
  hasync pair --yes --fingerprint SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU root@standby
  hasync pair --root /srv root@standby
  hasync pair --from root@standby
  hasync pair --print
  hasync pair --by-hand standby

Run it on one node, when both have the configuration. It makes what is missing and leaves alone
what is there, so it can be run again at any time.")]
pub(crate) struct PairArgs {
    /// The other node; unless given, [peer] of the configuration
    #[arg(value_name = "[USER@]HOST")]
    pub(crate) host: Option<String>,
    /// Without a configuration: let each node's key push into DIR on the other (repeatable)
    #[arg(long, value_name = "DIR", value_parser = crate::config::path)]
    pub(crate) root: Vec<PathBuf>,
    /// The port of the other node's SSH server
    #[arg(short = 'p', long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// The program on the other node
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) remote_bin: Option<String>,
    /// The list of keys that may log in, on both nodes, in place of ~/.ssh/authorized_keys
    #[arg(long, value_name = "FILE", value_parser = crate::config::path)]
    pub(crate) authorized_keys: Option<PathBuf>,
    /// Take each key from the other node's addresses alone
    #[arg(long)]
    pub(crate) from: bool,
    /// Ask nothing; a host key that is not known yet needs its --fingerprint
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,
    /// Trust a host key with this fingerprint, and none with another (repeatable)
    #[arg(long, value_name = "SHA256:...")]
    pub(crate) fingerprint: Vec<String>,
    /// Change nothing: print the lines that the other node needs
    #[arg(long, conflicts_with_all = ["by_hand", "yes"])]
    pub(crate) print: bool,
    /// Do not log in, as where no sshd runs: print the command to type on the other node
    #[arg(long)]
    pub(crate) by_hand: bool,
    /// With --by-hand: the public key of the other node, as it printed it
    #[arg(long, value_name = "KEY", requires_all = ["by_hand", "host_key"])]
    pub(crate) key: Option<String>,
    /// With --by-hand: the host key of the other node, as it printed it
    #[arg(long, value_name = "KEY", requires_all = ["by_hand", "key"])]
    pub(crate) host_key: Option<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// What the first login starts on the other node
    #[arg(long, hide = true)]
    pub(crate) far_half: bool,
}

impl PairArgs {
    /// Those of a pair that `hasync init` makes.
    pub(crate) fn of_init(init: &InitArgs) -> Self {
        PairArgs {
            host: None,
            root: Vec::new(),
            port: None,
            remote_bin: None,
            authorized_keys: None,
            from: false,
            yes: init.yes,
            fingerprint: init.fingerprint.clone(),
            print: false,
            by_hand: false,
            key: None,
            host_key: None,
            config: init.config.clone(),
            far_half: false,
        }
    }
}
