//! The options of `hasync init`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ConfigArgs;

/// The options of `hasync init`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
What is not given is asked, unless nobody is at the terminal. Examples:
  hasync init
  hasync init --node foo0=10.0.0.1 --node foo1=10.0.0.2 --tree html=/srv/html --manager cron
  hasync init --node foo0=10.0.0.1 --node foo1=10.0.0.2 --tree html=/srv/html \\
      --group accounts=/etc/passwd,/etc/group --address 10.0.0.100 --manager heartbeat --pair")]
pub(crate) struct InitArgs {
    /// A node and where it is reached on the private link; twice, once for each
    #[arg(long, value_name = "NAME=HOST", value_parser = node)]
    pub(crate) node: Vec<(String, String)>,
    /// A directory tree to mirror (repeatable)
    #[arg(long, value_name = "NAME=DIR", value_parser = tree)]
    pub(crate) tree: Vec<(String, PathBuf)>,
    /// Files that change together (repeatable)
    #[arg(long, value_name = "NAME=FILE,FILE", value_parser = group)]
    pub(crate) group: Vec<(String, Vec<PathBuf>)>,
    /// The service address: who has it is primary
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<std::net::IpAddr>,
    /// What moves the service
    #[arg(long, value_name = "MANAGER")]
    pub(crate) manager: Option<Manager>,
    /// How often to mirror
    #[arg(long, value_name = "TIME", value_parser = crate::config::interval, default_value = "10m")]
    pub(crate) interval: std::time::Duration,
    /// The port of the other node's SSH server
    #[arg(short = 'p', long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Who logs in on the other node
    #[arg(long, value_name = "USER", value_parser = crate::config::user)]
    pub(crate) user: Option<String>,
    /// Print the configuration, and write nothing
    #[arg(long, conflicts_with = "pair")]
    pub(crate) print: bool,
    /// Pair with the other node too, and write the same configuration there
    #[arg(long)]
    pub(crate) pair: bool,
    /// Ask nothing; a host key that is not known yet needs its --fingerprint
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,
    /// With --pair: trust a host key with this fingerprint, and none with another
    #[arg(long, value_name = "SHA256:...", requires = "pair")]
    pub(crate) fingerprint: Vec<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// What decides which node has the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Manager {
    /// heartbeat with haresources
    Heartbeat,
    /// keepalived
    Keepalived,
    /// Pacemaker
    Pacemaker,
    /// None: people promote a node, cron mirrors
    Cron,
}

/// `NAME=REST`.
fn pair(word: &str) -> Result<(&str, &str), String> {
    let parts = word.split_once('=');
    parts.ok_or_else(|| "it is written NAME=VALUE".to_owned())
}

pub(crate) fn node(word: &str) -> Result<(String, String), String> {
    let (name, host) = pair(word)?;
    Ok((crate::config::node_name(name)?, crate::config::host(host)?))
}

pub(crate) fn tree(word: &str) -> Result<(String, PathBuf), String> {
    let (name, dir) = pair(word)?;
    Ok((crate::config::tree_name(name)?, crate::config::path(dir)?))
}

pub(crate) fn group(word: &str) -> Result<(String, Vec<PathBuf>), String> {
    let (name, files) = pair(word)?;
    let files: Result<_, _> = files.split(',').map(crate::config::path).collect();
    Ok((crate::config::tree_name(name)?, files?))
}
