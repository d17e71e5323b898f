//! An end to every wait: what an action looks at may be a disk that hangs.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// What `work` comes to; `None` if that takes longer. It goes on then, in a thread that ends with
/// this process.
pub(super) fn in_time<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (tell, told) = channel();
    thread::spawn(move || tell.send(work()));
    told.recv_timeout(limit).ok()
}
