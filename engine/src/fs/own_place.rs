//! The working directory of a thread that has one of its own: a name in there costs the kernel
//! less than the same by a path through `/proc`.

use std::cell::Cell;
use std::os::fd::AsFd;

use rustix::process::fchdir;
use rustix::thread::UnshareFlags;

thread_local! {
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// Gives this thread a working directory that no other has, where that can be.
pub(crate) fn take_own_place() {
    #[expect(
        deprecated,
        reason = "it unshares the working directory, not the open files"
    )]
    let unshared = rustix::thread::unshare(UnshareFlags::FS);
    IS_OWN.set(unshared.is_ok());
}

/// Makes `dir` the working directory of this thread, if it has one of its own and may enter it.
pub(super) fn enter(dir: impl AsFd) -> bool {
    IS_OWN.get() && fchdir(dir).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_other_thread_is_moved() {
        let place = |path: &std::path::Path| {
            let stat = rustix::fs::stat(path).unwrap();
            (stat.st_dev, stat.st_ino)
        };
        let here = place(".".as_ref());
        let temp = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(temp.path()).unwrap();
        assert!(!enter(&dir));
        let expected = place(temp.path());
        let there = std::thread::spawn(move || {
            take_own_place();
            enter(&dir).then(|| place(".".as_ref()))
        });
        let there = there.join().unwrap();
        assert_eq!(there, Some(expected));
        assert_eq!(place(".".as_ref()), here);
    }
}
