//! What is kept about a tree beside its data, in the `.hasync` of its root: for a tree with a name
//! in `trees/<name>/` the head, the log, the as-of record and what undo needs; for any other tree
//! in `commit/` the journal of an atomic commit alone, and only while it is under way.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fstat, fsync, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use super::journal::Journal;
use crate::clock::AsOf;
use crate::fs::{
    DIR_FLAGS, Lock, Root, cannot_be_private, dir_id, flush_dir, is_absent, keeping_time,
    numbers_hold, open_private,
};
use crate::generation::node::COMMIT_WAIT;
use crate::generation::record::{self, RecordKind};
use crate::lineage::generation::{Generation, GenerationId};
use crate::path::{RESERVED_NAME, RelPath};

pub(super) const HEAD: RecordKind = RecordKind {
    letters: *b"HD",
    name: "head",
};
const AS_OF: RecordKind = RecordKind {
    letters: *b"AO",
    name: "as-of",
};
pub(super) const JOURNAL: RecordKind = RecordKind {
    letters: *b"JR",
    name: "journal",
};
/// A journal that has been carried out, kept for undo.
pub(super) const MANIFEST: RecordKind = RecordKind {
    letters: *b"JR",
    name: "manifest",
};
/// The manifest of a step that is being removed.
pub(super) const GOING: RecordKind = RecordKind {
    letters: *b"JR",
    name: "going",
};
const LOG_ENTRY: RecordKind = RecordKind {
    letters: *b"LG",
    name: "log",
};

/// Longest log in bytes; its older half goes when it is reached.
const LOG_LEN_MAX: u64 = 4 << 20;

/// How often a store is made that somebody else removes at once.
const TRIES: u32 = 1000;

/// What is beside the data of one tree.
#[derive(Debug)]
pub(crate) struct Store {
    root: Arc<Root>,
    /// Below `.hasync`.
    within: RelPath,
    dir: Arc<OwnedFd>,
    lock: OnceCell<Lock<Arc<OwnedFd>>>,
}

/// When the source was last seen to have what the head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Seen {
    pub(crate) head: GenerationId,
    pub(crate) as_of: AsOf,
}

/// Where the store of a tree is, below `.hasync`.
fn place(tree: Option<&str>) -> RelPath {
    let top = RelPath::root();
    match tree {
        Some(name) => top.join(b"trees").join(name.as_bytes()),
        None => top.join(b"commit"),
    }
}

impl Store {
    /// Opens the store of the tree; `None` if there is none.
    pub(crate) fn open(root: &Arc<Root>, tree: Option<&str>) -> io::Result<Option<Self>> {
        let within = place(tree);
        match root.open_reserved(&RelPath::root(), &within) {
            Ok(dir) => Ok(Some(Store {
                root: Arc::clone(root),
                within,
                dir: Arc::new(dir),
                lock: OnceCell::new(),
            })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens the store of the tree, making it if there is none.
    ///
    /// It is [locked](Self::lock). The root's time stays as it is.
    pub(crate) fn make(root: &Arc<Root>, tree: Option<&str>) -> io::Result<Self> {
        let holder = root.open_dir(&RelPath::root())?;
        keeping_time(&holder, || Self::make_locked(root, tree))?
    }

    fn make_locked(root: &Arc<Root>, tree: Option<&str>) -> io::Result<Self> {
        let within = place(tree);
        // Others remove it at times, when it is empty.
        for _ in 0..TRIES {
            let mut dir = mkdir_open(&**root, RESERVED_NAME)?;
            for name in within.components() {
                dir = mkdir_open(&dir, name)?;
            }
            let store = Store {
                root: Arc::clone(root),
                within: within.clone(),
                dir: Arc::new(dir),
                lock: OnceCell::new(),
            };
            if store.lock()? {
                return Ok(store);
            }
        }
        Err(io::Error::other("it is removed each time it has been made"))
    }

    /// The names of the trees that have a store in this root.
    pub(crate) fn names(root: &Root) -> io::Result<Vec<String>> {
        let trees = RelPath::root().join(b"trees");
        match root.open_reserved(&RelPath::root(), &trees) {
            Ok(dir) => Ok(crate::fs::names(&dir)?
                .into_iter()
                .filter_map(|name| String::from_utf8(name).ok())
                .collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// The name of the tree whose root this is, if it is one; a group's directory is none.
    pub(crate) fn tree_of(root: &Arc<Root>) -> io::Result<Option<String>> {
        for name in Self::names(root)? {
            let Some(store) = Self::open(root, Some(&name))? else {
                continue;
            };
            if store.head()?.is_some_and(|head| !head.is_group) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The sessions that interrupted commits in this root still need. Where owners or permissions
    /// are made up there is no journal that could be believed.
    pub(crate) fn sessions_needed(root: &Arc<Root>) -> io::Result<Vec<Vec<u8>>> {
        let mut needed = Vec::new();
        if cannot_be_private(&**root, RESERVED_NAME) {
            return Ok(needed);
        }
        let names = Self::names(root)?;
        for tree in names.iter().map(|name| Some(name.as_str())).chain([None]) {
            if let Some(store) = Self::open(root, tree)?
                && let Some(journal) = store.journal()?
            {
                needed.extend(journal.sessions.into_iter().map(|place| place.name));
            }
        }
        Ok(needed)
    }

    /// Waits until no other process commits to this tree, for as long as the store is open. `false`
    /// if the store was removed meanwhile.
    pub(crate) fn lock(&self) -> io::Result<bool> {
        if self.lock.get().is_none() {
            let deadline = Instant::now() + COMMIT_WAIT;
            let lock = Lock::take(Arc::clone(&self.dir), deadline)?.map_err(|_| {
                let seconds = COMMIT_WAIT.as_secs();
                let message = format!("another process has been committing for {seconds} s");
                io::Error::new(io::ErrorKind::WouldBlock, message)
            })?;
            self.lock.get_or_init(|| lock);
        }
        if fstat(&self.dir)?.st_nlink > 0 {
            return Ok(true);
        }
        // It was removed, or this is a file system that counts no links.
        let within = self.root.open_reserved(&RelPath::root(), &self.within);
        match within.and_then(|there| Ok((dir_id(&there)?, dir_id(&self.dir)?))) {
            Ok((there, own)) => Ok(there == own || !numbers_hold(&self.dir)),
            Err(e) if is_absent(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// Its own directory.
    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Where that is, below `.hasync`.
    pub(super) fn within(&self) -> &RelPath {
        &self.within
    }

    /// The absolute path of what is below `.hasync`, for people.
    pub(super) fn path_of(&self, place: &RelPath) -> PathBuf {
        self.root.path_of_reserved(&RelPath::root(), place)
    }

    /// The last durable generation.
    pub(crate) fn head(&self) -> io::Result<Option<Generation>> {
        record::read(&self.dir, HEAD)
    }

    pub(crate) fn set_head(&self, head: &Generation) -> io::Result<()> {
        record::write(&self.dir, HEAD, head)
    }

    /// When the source was last seen to have what the head is.
    pub(crate) fn as_of(&self) -> io::Result<Option<AsOf>> {
        let Some(head) = self.head()? else {
            return Ok(None);
        };
        Ok(self.seen(head.id)?.or(head.as_of))
    }

    /// When a push last found the head to be what the source has; `None` if there was none since.
    pub(crate) fn seen(&self, head: GenerationId) -> io::Result<Option<AsOf>> {
        let seen: Option<Seen> = record::read(&self.dir, AS_OF)?;
        Ok(seen.filter(|seen| seen.head == head).map(|seen| seen.as_of))
    }

    /// The head was found to be what the source had then.
    pub(crate) fn set_as_of(&self, head: GenerationId, as_of: AsOf) -> io::Result<()> {
        record::write(&self.dir, AS_OF, &Seen { head, as_of })
    }

    /// Whether a commit was cut off and not brought to its end.
    pub(crate) fn is_interrupted(&self) -> io::Result<bool> {
        self.journal().map(|journal| journal.is_some())
    }

    pub(crate) fn journal(&self) -> io::Result<Option<Journal>> {
        record::read(&self.dir, JOURNAL)
    }

    pub(crate) fn set_journal(&self, journal: &Journal) -> io::Result<()> {
        record::write(&self.dir, JOURNAL, journal)
    }

    pub(crate) fn remove_journal(&self) -> io::Result<()> {
        record::remove(&self.dir, JOURNAL)
    }

    /// The generations so far, oldest first.
    pub(crate) fn log(&self) -> io::Result<Vec<Generation>> {
        read_log(self.dir.as_fd())
    }

    /// Adds to the log, unless that is its last entry already.
    pub(crate) fn log_once(&self, generation: &Generation) -> io::Result<()> {
        log_once(self.dir.as_fd(), generation)
    }

    /// Removes an empty store of a tree without a name, with `.hasync` if nothing else is in it.
    pub(crate) fn remove_if_empty(&self) -> io::Result<()> {
        let reserved = self
            .root
            .open_reserved(&RelPath::root(), &RelPath::root())?;
        let mut path = Some(self.within.clone());
        while let Some((above, name)) = path.as_ref().and_then(RelPath::split) {
            let dir = crate::fs::open_dir_below(&reserved, &above)?;
            match unlinkat(&dir, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
            path = Some(above);
        }
        Ok(())
    }
}

/// The generations in the log of the directory `dir`, oldest first.
pub(crate) fn read_log(dir: BorrowedFd<'_>) -> io::Result<Vec<Generation>> {
    read_whole_log(dir).map(|(log, _)| log)
}

/// The same, and the length of what could be read, in bytes: the last entry may have been cut off
/// by a crash.
fn read_whole_log(dir: BorrowedFd<'_>) -> io::Result<(Vec<Generation>, u64)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(dir, LOG_ENTRY.name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok((Vec::new(), 0)),
        Err(e) => return Err(e.into()),
    };
    let mut bytes = Vec::new();
    File::from(file)
        .take(2 * LOG_LEN_MAX)
        .read_to_end(&mut bytes)?;
    let mut rest = bytes.as_slice();
    let mut log = Vec::new();
    while let Some((len, tail)) = rest.split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*len) as usize;
        let Some((entry, tail)) = tail.split_at_checked(len) else {
            break;
        };
        let Ok(generation) = record::unseal(LOG_ENTRY, entry) else {
            break;
        };
        log.push(generation);
        rest = tail;
    }
    Ok((log, (bytes.len() - rest.len()) as u64))
}

/// Adds to the log of the directory `dir`, unless that is its last entry already; on disk when
/// this returns.
pub(crate) fn log_once(dir: BorrowedFd<'_>, generation: &Generation) -> io::Result<()> {
    let (log, mut at) = read_whole_log(dir)?;
    if log.last().is_some_and(|last| last.id == generation.id) {
        return Ok(());
    }
    let mut more = Vec::new();
    if at > LOG_LEN_MAX {
        at = 0;
        for kept in log.iter().skip(log.len() / 2) {
            put_log_entry(&mut more, kept)?;
        }
    }
    put_log_entry(&mut more, generation)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = File::from(openat(dir, LOG_ENTRY.name, flags, mode)?);
    // Not every file system has modes of its own.
    let _ = fchmod(&file, mode);
    // Over the entry that a crash cut off, if there is one.
    file.set_len(at)?;
    file.write_all_at(&more, at)?;
    Ok(fsync(&file)?)
}

fn put_log_entry(out: &mut Vec<u8>, generation: &Generation) -> io::Result<()> {
    let entry = record::seal(LOG_ENTRY, generation)?;
    let len = u32::try_from(entry.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&entry)
}

/// Opens a private directory, making it if it is missing; durable when this returns.
pub(super) fn mkdir_open(dir: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let dir = dir.as_fd();
    match mkdirat(dir, name, Mode::RWXU) {
        Ok(()) => flush_dir(openat(dir, ".", DIR_FLAGS, Mode::empty())?)?,
        Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(open_private(dir, name)?)
}
