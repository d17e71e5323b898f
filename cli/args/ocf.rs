//! The options of `hasync ocf` and `hasync keepalived`, and the name by which Pacemaker calls this
//! program.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::Args;

/// The options of `hasync ocf`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
The resource agent ocf:hasync:mirror of Pacemaker, for a promotable clone. It is this program under
that name: ln -s /usr/local/bin/hasync /usr/lib/ocf/resource.d/hasync/mirror. Parameters are config
and max_lag; the page hasync-ha(7) has an example.")]
pub(crate) struct OcfArgs {
    /// start, stop, monitor, promote, demote, notify, reload-agent, validate-all or meta-data
    #[arg(value_name = "ACTION")]
    pub(crate) action: String,
    /// The configuration, in place of the parameter config or /etc/hasync/hasync.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// The options of `hasync keepalived`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
A service of its own that starts and stops the mirror as keepalived moves the address. It reads the
lines that keepalived writes to the FIFO of vrrp_notify_fifo, and goes by the newest one alone.

  hasync keepalived --fifo /run/hasync-vrrp --instance HA")]
pub(crate) struct KeepalivedArgs {
    /// The FIFO of vrrp_notify_fifo; it is made if it is missing
    #[arg(long, value_name = "PATH")]
    pub(crate) fifo: PathBuf,
    /// The VRRP instance that decides (default: all of them together)
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
    /// The configuration, in place of /etc/hasync/hasync.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Actions that no other resource script knows.
const OF_AGENTS: [&str; 8] = [
    "demote",
    "meta-data",
    "monitor",
    "notify",
    "promote",
    "reload",
    "reload-agent",
    "validate-all",
];

/// The words of `hasync ocf` where the program is called as a resource agent: by the path
/// `resource.d/PROVIDER/mirror`, or as `mirror` with an action of agents alone, or with what
/// Pacemaker puts into the environment. Other words stay.
pub(super) fn as_agent(words: Vec<OsString>, is_resource: bool) -> Vec<OsString> {
    let Some(program) = words.first().map(Path::new) else {
        return words;
    };
    let is_mirror = program.file_name() == Some(OsStr::new("mirror"));
    let provider = program.parent();
    let above = provider.and_then(Path::parent).and_then(Path::file_name);
    let action = words.get(1).and_then(|word| word.to_str());
    let is_agents = action.is_some_and(|action| OF_AGENTS.contains(&action));
    let is_there = above == Some(OsStr::new("resource.d"));
    if !is_mirror || !(is_resource || is_agents || is_there) {
        return words;
    }
    let rest = words.into_iter().skip(1);
    [OsString::from("hasync"), "ocf".into()]
        .into_iter()
        .chain(rest)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_or_the_environment_makes_it_an_agent() {
        let of = |words: &[&str], is_resource| {
            let words = words.iter().map(OsString::from).collect();
            let words = as_agent(words, is_resource);
            words
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (words, is_resource, expected) in [
            (
                &["/usr/lib/ocf/resource.d/hasync/mirror", "stop"][..],
                false,
                "hasync ocf stop",
            ),
            (&["/tmp/mirror", "monitor"], true, "hasync ocf monitor"),
            (&["mirror", "meta-data"], false, "hasync ocf meta-data"),
            (
                &["/etc/ha.d/resource.d/mirror", "stop"],
                false,
                "/etc/ha.d/resource.d/mirror stop",
            ),
            (&["/tmp/mirror", "start"], false, "/tmp/mirror start"),
            (&["/usr/bin/hasync", "push"], true, "/usr/bin/hasync push"),
            (&[], true, ""),
        ] {
            assert_eq!(of(words, is_resource), expected, "{words:?}");
        }
    }
}
