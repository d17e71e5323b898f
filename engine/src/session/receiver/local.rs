//! What the target has in a directory that differs, from when its prints are sent until the sender
//! has said what differs. The sender may have announced thousands of directories by then, and they
//! may hold more here than there: when much is held already, the directory is read again instead.

use std::io;

use super::Receiver;
use crate::entries::EntryList;
use crate::error::Error;
use crate::path::RelPath;

/// Entries held of all directories, and how many are enough.
pub(super) struct Held {
    len: usize,
    max: usize,
}

impl Held {
    /// With `max` entries held, no further directory is.
    pub(super) fn new(max: usize) -> Self {
        Held { len: 0, max }
    }
}

/// The entries of a directory, whose prints have been sent.
pub(super) enum Local {
    Held(EntryList),
    /// How many there were.
    Forgotten(usize),
}

/// The entries of a directory, once what differs has been said.
pub(super) struct Recalled {
    pub(super) local: EntryList,
    /// They are others than those whose prints were sent. Where that is not seen by their number,
    /// it is by what their prints add up to.
    pub(super) changed: bool,
}

impl Receiver {
    pub(super) fn hold_or_forget(&mut self, entries: EntryList) -> Local {
        // To find out sums takes longer than anything else.
        if self.held.len >= self.held.max && !self.options.checksum {
            Local::Forgotten(entries.len())
        } else {
            self.hold(entries)
        }
    }

    pub(super) fn hold(&mut self, mut entries: EntryList) -> Local {
        self.held.len += entries.len();
        entries.shrink();
        Local::Held(entries)
    }

    /// The entries of the directory at `path`. `None` if they had to be read again and cannot be;
    /// then nothing is deleted.
    pub(super) fn recall(
        &mut self,
        path: &RelPath,
        local: Local,
    ) -> Result<Option<Recalled>, Error> {
        let len = match local {
            Local::Held(local) => {
                self.held.len = self.held.len.saturating_sub(local.len());
                let changed = false;
                return Ok(Some(Recalled { local, changed }));
            }
            Local::Forgotten(len) => len,
        };
        match self.read_again(path) {
            Ok(local) => {
                let changed = local.len() != len;
                Ok(Some(Recalled { local, changed }))
            }
            Err(e) => self.not_read(path, &e).map(|()| None),
        }
    }

    fn read_again(&mut self, path: &RelPath) -> io::Result<EntryList> {
        let root = self.root.clone().ok_or(io::ErrorKind::NotFound)?;
        let listing = self.ahead.read_again(&root, path)?;
        self.entries_of(path, listing)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ffi::OsString;
    use std::fs;
    use std::io::Read;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    use crate::observer::{Change, Note, Observer, Warning};
    use crate::options::Options;
    use crate::policy::ServePolicy;
    use crate::session::{Duplex, push, serve};

    struct Warned(Vec<String>);

    impl Observer for Warned {
        fn change(&mut self, _: &Change<'_>) {}
        fn note(&mut self, _: &Note<'_>) {}
        fn warn(&mut self, warning: &Warning) {
            self.0.push(warning.message.clone());
        }
    }

    /// Does something once that many bytes have been read.
    struct After<F: FnOnce()>(usize, UnixStream, Option<F>);

    impl<F: FnOnce()> Read for After<F> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let len = self.1.read(buffer)?;
            self.0 = self.0.saturating_sub(len);
            if self.0 == 0 {
                self.2.take().into_iter().for_each(|act| act());
            }
            Ok(len)
        }
    }

    fn names(dir: &Path) -> Vec<OsString> {
        let all = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = all.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    /// A push while which the directory `d` of the target changes, when half of its prints are out.
    /// Nothing is held that can be read again. The root is equal, so that it is not; what is below
    /// `d` differs, so that it is known that nothing can be made there, whether it was read ahead
    /// before the change or is missed after it.
    fn check(change: fn(&Path), warnings: usize) {
        let temp = tempfile::tempdir().unwrap();
        let (source, target) = (temp.path().join("s"), temp.path().join("t"));
        let options = Options {
            delete: true,
            ..Options::archive()
        };
        for tree in [&source, &target] {
            fs::create_dir_all(tree.join("d/below")).unwrap();
            for number in 0..if *tree == target { 1200 } else { 50 } {
                let file = fs::File::create(tree.join(format!("d/{number:04}"))).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            }
        }
        fs::write(source.join("d/below/new"), b"").unwrap();
        for tree in [&source, &target] {
            let dir = fs::File::open(tree.join("d")).unwrap();
            dir.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        let dir = target.join("d");
        let changed = dir.clone();
        let push = |act: Option<Box<dyn FnOnce() + Send>>| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let end = theirs.try_clone().unwrap();
            let policy = ServePolicy {
                held_entries: 0,
                ..ServePolicy::default()
            };
            let receiver = Duplex {
                reader: Box::new(theirs.try_clone().unwrap()),
                writer: Box::new(theirs),
            };
            let half = std::thread::spawn(move || serve(receiver, &policy));
            let sender = Duplex {
                reader: Box::new(After(2_500, ours.try_clone().unwrap(), act)),
                writer: Box::new(ours),
            };
            let sources = [OsString::from(format!("{}/", source.display()))];
            let mut warned = Warned(Vec::new());
            let destination = target.as_os_str().as_encoded_bytes();
            push(sender, &sources, destination, &options, &mut warned).unwrap();
            end.shutdown(Shutdown::Both).unwrap();
            half.join().unwrap().unwrap();
            warned.0
        };
        let warned = push(Some(Box::new(move || change(&changed))));
        assert_eq!(warned.len(), warnings, "{warned:?}");
        if warnings > 0 {
            // The next push makes it.
            assert!(!dir.exists());
            assert!(push(None).is_empty());
        }
        for dir in ["d", "d/below"] {
            assert_eq!(names(&target.join(dir)), names(&source.join(dir)));
        }
    }

    #[test]
    fn what_is_read_again_may_have_changed() {
        check(|_| {}, 0);
        check(|dir| fs::remove_file(dir.join("1199")).unwrap(), 0);
        check(
            |dir| fs::rename(dir.join("1199"), dir.join("1200")).unwrap(),
            0,
        );
        check(
            |dir| fs::rename(dir.join("0000"), dir.join("1200")).unwrap(),
            0,
        );
        check(|dir| fs::remove_file(dir.join("0000")).unwrap(), 0);
        check(|dir| fs::write(dir.join("0000-more"), b"").unwrap(), 0);
    }

    #[test]
    fn what_cannot_be_read_again_stops_the_deletions() {
        check(|dir| fs::remove_dir_all(dir).unwrap(), 2);
    }
}
