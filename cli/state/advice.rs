//! What to do about a failure, by its exit code: the advice of a notice and of the status is the
//! same.

use hasync_engine::escape;

use super::tell::NOTHING;
use crate::config::{Config, Tree};
use crate::exit::Exit;

/// The next step after a push ended like that.
pub(crate) fn after(config: &Config, tree: Option<&Tree>, exit: Exit) -> String {
    let host = config.peer.host.as_deref().unwrap_or("the peer");
    let host = escape(host.as_bytes());
    let file = config.shown_file();
    let push = tree.map_or_else(
        || "`hasync push --all`".to_owned(),
        |tree| format!("`hasync push --tree {}`", tree.name),
    );
    let again = "the next cycle tries again";
    match exit {
        Exit::Ok | Exit::Vanished => NOTHING.to_owned(),
        Exit::Fenced | Exit::Diverged => {
            let name = tree.map_or("TREE", |tree| &tree.name);
            format!("`hasync diverged {name}` lists what differs and the two ways out")
        }
        Exit::DeleteLimit => {
            let dir = tree.map(|tree| escape(tree.dir().as_os_str().as_encoded_bytes()));
            let dir = dir.unwrap_or_else(|| "the source".into());
            format!(
                "look at {dir}; nothing was deleted; if that is meant, {} --no-brake`",
                push.trim_end_matches('`')
            )
        }
        Exit::Partial | Exit::FileIo => format!("mend that, then {push}"),
        Exit::NoSpace => format!("make room on {host}, then {push}"),
        Exit::Config => format!("correct {file} here or there, then `hasync check-config`"),
        Exit::Auth => {
            format!("add the public key of this node to authorized_keys on {host}, then {push}")
        }
        Exit::HostKey => format!(
            "compare the host key of {host} with known_hosts of [peer], correct that, then {push}"
        ),
        Exit::NameNotResolved => {
            format!("correct [peer] host in {file} or the name service, then {push}")
        }
        Exit::NotFound => format!(
            "install hasync on {host}, or name it by remote_bin of [peer] in {file}, then {push}"
        ),
        Exit::Incompatible => format!("install the same hasync on both nodes, then {push}"),
        Exit::Unreachable | Exit::Timeout | Exit::Stream => {
            format!("{again}; see whether {host} is up")
        }
        Exit::Locked => again.to_owned(),
        Exit::Signal => format!("{push} goes on"),
        Exit::Usage | Exit::NotEqual => format!("correct that, then {push}"),
    }
}

/// The next step after this node has refused a push like that.
pub(crate) fn on_standby(tree: &Tree, exit: Exit) -> String {
    let name = &tree.name;
    let dir = escape(tree.dir().as_os_str().as_encoded_bytes());
    match exit {
        Exit::Fenced | Exit::Diverged => {
            format!("`hasync diverged {name}` lists what differs and the two ways out")
        }
        Exit::NoSpace => format!("make room in {dir}; the next push goes on"),
        Exit::Config => "correct that, then `hasync check-config`".to_owned(),
        _ => "mend that; the next push goes on".to_owned(),
    }
}
