//! The options of the verbs that go by the configuration file.

use std::path::PathBuf;

use clap::Args;

/// `hasync check-config`, and the part of other verbs that names the file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConfigArgs {
    /// The configuration, in place of /etc/hasync/hasync.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}
