//! The wish of a peer for this node's last push: at most once in an interval it starts what the
//! cluster manager would, which does nothing while this node has the service.

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use crate::config::Config;
use crate::exit::Failure;
use crate::itself;
use crate::memory::{self, Memory};

/// Starts the last push if it is due. It goes on after whoever asked has left.
pub(super) fn grant(config: &Config) -> Result<(), Failure> {
    let mut is_due = false;
    Memory::change(&config.node.state, |memory| {
        let wished = memory.last_push_wished;
        is_due = wished.is_none_or(|at| memory::left(at, config.cycle.interval.0).is_none());
        if is_due {
            memory.last_push_wished = Some(memory::now());
        }
    })?;
    if !is_due {
        return Ok(());
    }
    let started = itself::command()?
        .arg0("hasync")
        .args(["mirror", "stop", "--unless-serving", "--config"])
        .arg(&config.file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    started
        .map(drop)
        .map_err(|cause| Failure::cannot("start the last push", &cause))
}
