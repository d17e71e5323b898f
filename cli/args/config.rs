//! The options of the verbs that go by the configuration file.

use std::path::PathBuf;

use clap::Args;

/// The options of `hasync check-config`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckConfigArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Ask the other node too where its configuration is another one
    #[arg(long)]
    pub(crate) peer: bool,
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

/// What `hasync notify` is given by a run that does not wait for it.
#[derive(Args, Clone, Debug)]
pub(crate) struct NotifyArgs {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The notice, as JSON
    #[arg(value_name = "NOTICE")]
    pub(crate) notice: String,
}
