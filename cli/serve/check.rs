//! Whether this node is fit to receive, by the check of its own configuration.

use std::time::Duration;

use hasync_engine::escape;

use crate::shell;

/// How long the check of `[peer]` may take: the other side waits for it.
pub(super) const CHECK_TIME: Duration = Duration::from_secs(15);

/// Runs the check; the error says in one line why nothing is received.
pub(super) fn run_check(check: &str) -> Result<(), String> {
    let why = match shell::run(check, &[], b"", CHECK_TIME) {
        Ok(ended) if ended.code == 0 => return Ok(()),
        Ok(ended) => ended.shown(),
        Err(why) => why,
    };
    let check: String = escape(check.as_bytes())
        .chars()
        .take(MAX_SHOWN_LEN)
        .collect();
    Err(format!(
        "the standby does not receive now, by its [peer] check \"{check}\": {why}; nothing was \
         pushed"
    ))
}

/// How much of the command is shown, in characters.
const MAX_SHOWN_LEN: usize = 400;
