//! Giving back the space of large files that were replaced, beside the caller: freeing gigabytes
//! takes time that nobody needs to wait for once the new file has the name.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Closes what it is given in a thread of its own, made when first needed.
#[derive(Debug, Default)]
pub(crate) struct Reaper(Option<SyncSender<OwnedFd>>);

impl Reaper {
    /// Closes `last`, the last hold on a removed file. Waits if another file is still being freed,
    /// so that a nearly full disk does not fill up with files on their way out.
    pub(crate) fn reap(&mut self, last: OwnedFd) {
        let queue = self.0.get_or_insert_with(|| {
            let (queue, files) = sync_channel::<OwnedFd>(0);
            // Without a thread the receiving end is gone, and the file is freed by who sends it.
            let _ = std::thread::Builder::new().spawn(move || files.into_iter().for_each(drop));
            queue
        });
        let _ = queue.send(last);
    }
}
