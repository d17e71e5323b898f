//! What the target has, directory by directory: read as the sender announces them. What is in one
//! that differs is held from when its prints are sent until the sender has said what differs. The
//! sender may have announced thousands of directories by then, and they may hold more here than
//! there: when much is held already, the directory is read again instead.

use std::io;

use rustix::io::Errno;

use super::site::Site;
use crate::entries::{EntryList, Revised};
use crate::first_names::FirstNames;
use crate::fs::{Listed, Listing, is_absent};
use crate::names::Names;
use crate::path::RelPath;
use crate::read_ahead::ReadAhead;

/// The reading of the target.
pub(super) struct Locals {
    ahead: ReadAhead,
    first_names: FirstNames,
    /// Entries held of all directories, and how many are enough.
    held: usize,
    held_max: usize,
}

/// The entries of a directory, whose prints have been sent.
pub(super) enum Local {
    Held(Box<EntryList>),
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

impl Locals {
    /// With `held_max` entries held, no further directory is.
    pub(super) fn new(site: &Site, mut ahead: ReadAhead, held_max: usize) -> Self {
        if let Some(root) = site.door.root() {
            let (top, only_root) = (RelPath::root(), Names::from_iter([&b""[..]]));
            ahead.expect(root, &top, &top, only_root);
        }
        Locals {
            ahead,
            first_names: FirstNames::default(),
            held: 0,
            held_max,
        }
    }

    /// The target's entries in canonical order; `None` if there is no such directory.
    pub(super) fn read(
        &mut self,
        site: &mut Site,
        path: &RelPath,
    ) -> io::Result<Option<EntryList>> {
        let Some(root) = site.door.root().cloned() else {
            return Ok(None);
        };
        let listing = match self.ahead.read(&root, path, path) {
            Ok(listing) => listing,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(e),
        };
        let has_reserved = listing.has_reserved;
        for (name, e) in &listing.failed {
            // What can be listed but not examined stays. Where a disk fails nothing is sure.
            if !is_failure(e) {
                let told = site.warn_of("examine", &path.join(name), e);
                told.map_err(io::Error::other)?;
            }
        }
        let local = self.entries_of(site, path, listing)?;
        let below = local.dir_names().collect();
        self.ahead.expect(&root, path, path, below);
        if has_reserved {
            site.door.clean(path)?;
        }
        Ok(Some(local))
    }

    /// The entries of a directory, with the first names of their inodes.
    fn entries_of(
        &mut self,
        site: &Site,
        path: &RelPath,
        listing: Listing,
    ) -> io::Result<EntryList> {
        if let Some((_, e)) = listing.failed.into_iter().find(|(_, e)| is_failure(e)) {
            return Err(e);
        }
        let mut local = listing.entries;
        if site.rules.options.hard_links {
            local.revise(|listed| self.find_first_link(path, listed));
        }
        Ok(local)
    }

    /// Finds out the first name of an entry's inode.
    fn find_first_link(&mut self, dir: &RelPath, listed: &mut Listed) -> Revised {
        if listed.nlink < 2 || listed.entry.is_dir() {
            return Revised::Kept;
        }
        let path = dir.join(&listed.entry.name);
        let first = self
            .first_names
            .other_than(&path, [0, listed.dev, listed.ino]);
        listed.entry.link_to = first;
        match &listed.entry.link_to {
            Some(_) => Revised::Changed,
            None => Revised::Kept,
        }
    }

    pub(super) fn hold_or_forget(&mut self, site: &Site, entries: EntryList) -> Local {
        // To find out sums takes longer than anything else.
        if self.held >= self.held_max && !site.rules.options.checksum {
            Local::Forgotten(entries.len())
        } else {
            self.hold(entries)
        }
    }

    pub(super) fn hold(&mut self, mut entries: EntryList) -> Local {
        self.held += entries.len();
        entries.shrink();
        Local::Held(Box::new(entries))
    }

    /// The entries of the directory at `path`, if need be read again.
    pub(super) fn recall(
        &mut self,
        site: &Site,
        path: &RelPath,
        local: Local,
    ) -> io::Result<Recalled> {
        let len = match local {
            Local::Held(local) => {
                self.held = self.held.saturating_sub(local.len());
                let (local, changed) = (*local, false);
                return Ok(Recalled { local, changed });
            }
            Local::Forgotten(len) => len,
        };
        let root = site.door.root().ok_or(io::ErrorKind::NotFound)?;
        let listing = self.ahead.read_again(root, path)?;
        let local = self.entries_of(site, path, listing)?;
        let changed = local.len() != len;
        Ok(Recalled { local, changed })
    }
}

/// Whether an entry could not be examined because the disk fails.
fn is_failure(e: &io::Error) -> bool {
    Errno::from_io_error(e) == Some(Errno::IO)
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
