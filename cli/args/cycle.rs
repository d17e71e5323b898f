//! The options of `hasync cycle` and `hasync mirror`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{AnyTrees, ConfigArgs};

/// The options of `hasync cycle`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
On the node that is not primary a cycle does nothing and exits 0, so that both nodes have the same
crontab:
  */10 * * * * root /usr/local/bin/hasync cycle -q")]
pub(crate) struct CycleArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Stay, and run one cycle each TIME over one connection
    #[arg(long, value_name = "TIME", value_parser = crate::config::time)]
    pub(crate) every: Option<Duration>,
    /// Say why nothing is done
    #[arg(short = 'v', long)]
    pub(crate) verbose: bool,
    /// Report nothing but errors
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
}

/// The words of `hasync mirror` where the program is called by the name of a resource script:
/// `mirror [FILE] ACTION`, as heartbeat makes of `mirror::FILE` in haresources. Other words stay.
pub(super) fn as_resource(words: Vec<OsString>) -> Vec<OsString> {
    let name = words.first().map(Path::new).and_then(Path::file_name);
    if name.is_none_or(|name| name != "mirror") {
        return words;
    }
    let mut resource = vec![OsString::from("hasync"), OsString::from("mirror")];
    match &words[1..] {
        [file, action] if !file.as_encoded_bytes().starts_with(b"-") => {
            resource.extend(["--config".into(), file.clone(), action.clone()]);
        }
        others => resource.extend_from_slice(others),
    }
    resource
}

/// The options of `hasync plan`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  hasync plan --interval 3m")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) which: AnyTrees,
    /// How often cycles are to run (default: interval of [cycle])
    #[arg(long, value_name = "TIME", value_parser = crate::config::time)]
    pub(crate) interval: Option<Duration>,
}

/// The options of `hasync mirror`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
A resource script of heartbeat v1 and of LSB: as /etc/ha.d/resource.d/mirror it may be a symbolic
link to this program. haresources: foo0 10.0.0.100 mirror httpd")]
pub(crate) struct MirrorArgs {
    /// What to do
    #[arg(value_name = "ACTION")]
    pub(crate) action: Action,
    /// Start although the peer has the service or newer data
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not stop while this node has the service, by its [role]
    #[arg(long)]
    pub(crate) unless_serving: bool,
    /// Stop within this time, in seconds or as 90s, 5m (default: last_push of [cycle])
    #[arg(long, value_name = "TIME", value_parser = some_seconds)]
    pub(crate) within: Option<Duration>,
    /// The configuration, in place of /etc/hasync/hasync.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// A time that is not nothing.
fn some_seconds(typed: &str) -> Result<Duration, String> {
    let time = super::generations::seconds(typed)?;
    let is_some = !time.is_zero();
    is_some
        .then_some(time)
        .ok_or_else(|| "that is no time at all".to_owned())
}

/// An action of a resource script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Action {
    /// Become primary: complete what was cut off, promote
    Start,
    /// Push a last time, become standby
    Stop,
    /// Print running or stopped
    Status,
    /// Stop, then start
    Restart,
}
