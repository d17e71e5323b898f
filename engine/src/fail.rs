//! Named points at which a build with debug assertions can be told to end at once, as by `kill -9`,
//! so that tests can cut a commit off at each of its steps. In a release build they are nothing.

#[cfg(debug_assertions)]
use std::sync::OnceLock;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(debug_assertions)]
static ARMED: OnceLock<(String, AtomicU64)> = OnceLock::new();

/// Ends the process when it comes to `point` for the `passes`th time (from 1 on).
///
/// The points are `staged`, `flushed`, `journal`, `op`, `rolled`, `recorded`, then `keeping` and
/// `kept`, or `settled` where nothing is kept, and `acknowledged`, in the order of the commit; a
/// group that cannot be changed as a whole comes to `aborted` and `led back` instead of `rolled`;
/// `aside`, `absent` and `replaced` come within an op where names cannot be exchanged, `emptying`
/// where a directory cannot be moved as a whole, and `pruning` is where a step is about to be
/// removed. Only in builds with debug assertions.
#[cfg(debug_assertions)]
pub fn end_at(point: &str, passes: u64) {
    // A second call has no effect: one process ends once.
    let _ = ARMED.set((point.to_owned(), AtomicU64::new(passes)));
}

/// The process has come to this point.
#[cfg_attr(
    debug_assertions,
    expect(
        clippy::disallowed_methods,
        reason = "ending at once is what it is for"
    )
)]
pub(crate) fn fail_point(point: &str) {
    #[cfg(debug_assertions)]
    if let Some((armed, left)) = ARMED.get()
        && armed == point
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
    #[cfg(not(debug_assertions))]
    let _ = point;
}
