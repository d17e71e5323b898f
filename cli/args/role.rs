//! The options of `hasync role`.

use clap::{Args, ValueEnum};

use super::ConfigArgs;

/// The options of `hasync role`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RoleArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Tell by the exit code: 0 if it is that, 3 if it is not
    #[arg(long, value_name = "ROLE")]
    pub(crate) is: Option<WantedRole>,
    /// Print nothing
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
}

/// A role as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WantedRole {
    /// The node that has the service
    Primary,
    /// The node that receives
    Standby,
}
