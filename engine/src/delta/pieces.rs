//! Work on a file piece by piece, in several threads: each takes the next piece when it is done.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::page_buf::PageBuf;

/// Hands each of `pieces`, `count` of them, to `work`, in up to `threads` threads (one of them the
/// caller's). `work` also gets a buffer that it may keep between pieces. Returns the first error.
pub(super) fn in_threads<T: Send>(
    pieces: impl Iterator<Item = T> + Send,
    count: usize,
    threads: usize,
    work: impl Fn(T, &mut PageBuf) -> io::Result<()> + Sync,
) -> io::Result<()> {
    let pieces = Mutex::new(pieces);
    let run = || -> io::Result<()> {
        let mut buffer = PageBuf::default();
        loop {
            let next = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(piece) = next else {
                return Ok(());
            };
            work(piece, &mut buffer)?;
        }
    };
    std::thread::scope(|scope| {
        let helper_count = threads.min(count).saturating_sub(1);
        // If a thread cannot be had, the others do its share.
        let helpers: Vec<_> = (0..helper_count)
            .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, run).ok())
            .collect();
        let mut result = run();
        for helper in helpers {
            let ended = helper.join();
            result = result.and(ended.unwrap_or_else(|_| Err(io::Error::other("a thread died"))));
        }
        result
    })
}
