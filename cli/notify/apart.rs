//! A notice that is told by a process of its own, which nobody waits for: a failover has no time
//! for a pager, for a log on a file server that hangs, or for a smarthost.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Notice, syslog, tell};
use crate::args::NotifyArgs;
use crate::config::Config;
use crate::exit::{self, Exit, Failure};
use crate::itself;
use crate::out;

/// Starts the process, which outlives this one.
pub(crate) fn tell_apart(config: &Config, notice: &Notice) {
    if let Err(why) = start(config, notice) {
        out::error(&format!("cannot send a notice: {why}"));
    }
}

fn start(config: &Config, notice: &Notice) -> Result<(), String> {
    let io = |cause: std::io::Error| exit::cause(&cause);
    let file = std::path::absolute(&config.file).map_err(io)?;
    let notice = serde_json::to_string(notice).map_err(|cause| cause.to_string())?;
    let mut command = itself::command().map_err(|failure| failure.message)?;
    command.args(["notify", "--config"]).arg(file).arg(notice);
    // It keeps no file system busy that has to move, and nobody waits for its outputs to close.
    command.current_dir(Path::new("/")).process_group(0);
    for set in [Command::stdin, Command::stdout, Command::stderr] {
        set(&mut command, Stdio::null());
    }
    command.spawn().map(drop).map_err(io)
}

/// `hasync notify`: tells it. What fails is told to the system's log: here nobody listens.
pub(crate) fn run(args: &NotifyArgs) -> Result<Exit, Failure> {
    let config = Config::load(Some(&args.config))?;
    let notice: Notice = serde_json::from_str(&args.notice)
        .map_err(|cause| Failure::usage(format!("this is no notice: {cause}")))?;
    let failures = tell(&config, &notice);
    for failure in &failures {
        // The last way that there is.
        let _ = syslog::error(failure, syslog::SOCKET.as_ref());
    }
    Ok(if failures.is_empty() {
        Exit::Ok
    } else {
        Exit::FileIo
    })
}
