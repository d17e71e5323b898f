//! Runs the command of a `Match exec`, as ssh does: by the user's shell, silent, with no input.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use hasync_engine::describe;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// Whether the command exits with 0. One that has not ended within `limit` is ended.
pub(crate) fn succeeds(command: &str, limit: Duration) -> Result<bool, String> {
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let shell = shell.unwrap_or_else(|| "/bin/sh".into());
    let cannot = |e: std::io::Error| format!("running {command}: {}", describe(&e));
    let mut child = Command::new(shell)
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(cannot)?;
    let pid = Pid::from_child(&child);
    let ended = ends_within(pid, limit);
    if !matches!(ended, Ok(true)) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let status = child.wait().map_err(cannot)?;
    match ended {
        Ok(true) if status.code().is_some() => Ok(status.success()),
        Ok(true) => Err(format!("{command} was ended by a signal")),
        Ok(false) => Err(format!("{command} took longer than {} s", limit.as_secs())),
        Err(e) => Err(cannot(e)),
    }
}

fn ends_within(pid: Pid, limit: Duration) -> std::io::Result<bool> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let limit = Timespec::try_from(limit).map_err(std::io::Error::other)?;
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    let count = rustix::io::retry_on_intr(|| poll(&mut ended, Some(&limit)))?;
    Ok(count > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn its_exit_code_decides() {
        let long = Duration::from_secs(60);
        assert_eq!(succeeds("exit 0", long), Ok(true));
        assert_eq!(succeeds("exit 3", long), Ok(false));
        assert_eq!(succeeds("/no/such/program 2>&-", long), Ok(false));
        assert!(succeeds("kill -9 $$", long).unwrap_err().contains("signal"));
    }

    #[test]
    fn it_is_not_waited_for_without_end() {
        let why = succeeds("sleep 1000 & wait", Duration::from_millis(100)).unwrap_err();
        assert!(why.contains("took longer"), "{why}");
    }
}
