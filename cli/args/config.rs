//! The options of the verbs that go by the configuration file.

use std::path::PathBuf;

use clap::Args;

/// The options of `hasync check-config`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckConfigArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Send a test notice by every way of [notify]
    #[arg(long)]
    pub(crate) notify: bool,
}

/// The part of a verb's options that names the file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConfigArgs {
    /// The configuration, in place of /etc/hasync/hasync.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}
