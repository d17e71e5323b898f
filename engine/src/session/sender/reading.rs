//! Reading source files such that what is sent is a state that the file really had: if it changed
//! while it was read, it is read again, and only the same bytes twice in a row (or a file that
//! stood still) are taken.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};

use crate::attributes::{Attributes, Scope};
use crate::entries::EntryList;
use crate::fs::{FileDir, attributes_of};
use crate::observer::{Kind, Warning};
use crate::path::RelPath;
use crate::recast::Recast;
use crate::scan::{ScannedDir, unreadable};
use crate::session::window::HeldDir;
use crate::since::{Meta, Since};
use crate::source::Layer;
use crate::wire::DirIndex;

/// A file, as the receiver names it.
pub(in crate::session) type Key = (DirIndex, u32);

/// A file whose content the receiver needs.
#[derive(Clone)]
pub(in crate::session) struct FileSource {
    held: Arc<HeldDir>,
    at: usize,
    /// The number by which the receiver knows it.
    number: u32,
}

impl FileSource {
    /// The entry at position `at` of a directory, if it has content.
    pub(super) fn new(held: &Arc<HeldDir>, at: usize, number: u32) -> Option<Self> {
        held.dir.entries.file(at)?;
        Some(FileSource {
            held: Arc::clone(held),
            at,
            number,
        })
    }

    /// This file, independent of the rest of its directory.
    pub(super) fn alone(&self) -> Option<Self> {
        let dir = self.scanned();
        let mut entries = EntryList::default();
        entries.push_packed(&dir.entries.packed(self.at)?);
        let layer = self.layer()?.clone();
        let dir = ScannedDir::part(dir.index, dir.path.clone(), layer, entries);
        let held = Arc::new(HeldDir::uncounted(dir));
        FileSource::new(&held, 0, self.number)
    }

    /// The directory that it is in, and its position there.
    pub(super) fn place(&self) -> (&Arc<HeldDir>, usize) {
        (&self.held, self.at)
    }

    fn scanned(&self) -> &ScannedDir {
        &self.held.dir
    }

    pub(super) fn dir(&self) -> DirIndex {
        self.scanned().index
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn key(&self) -> Key {
        (self.dir(), self.number)
    }

    /// Whether it is another name of a file before it.
    pub(super) fn is_linked(&self) -> bool {
        self.scanned().entries.is_linked(self.at)
    }

    /// Its length, as announced.
    pub(super) fn len(&self) -> u64 {
        self.announced().0
    }

    fn announced(&self) -> (u64, Meta) {
        let entries = &self.scanned().entries;
        entries.file(self.at).unwrap_or_default()
    }

    fn layer(&self) -> Option<&Layer> {
        let dir = self.scanned();
        dir.layers.get(dir.layer_of(self.at))
    }

    fn name(&self) -> Vec<u8> {
        self.scanned().entries.name(self.at).unwrap_or_default()
    }

    fn on_disk(&self) -> Vec<u8> {
        let name = self.name();
        let layer = self.layer();
        layer.map_or_else(Vec::new, |layer| layer.on_disk(&name).to_vec())
    }

    pub(super) fn path(&self) -> RelPath {
        self.scanned().path.join(&self.name())
    }

    fn shown(&self) -> String {
        self.layer()
            .map_or_else(String::new, |layer| layer.shown(&self.name()))
    }

    /// How the metadata of the file that was opened relate to those announced.
    pub(super) fn since(
        &self,
        opened: &Opened,
        recast: &Recast,
        scope: Scope,
    ) -> io::Result<Since> {
        let announced = match scope.is_empty() {
            true => Attributes::default(),
            false => self.attributes(),
        };
        let found = recast.attributes(attributes_of(&*opened.file, scope)?);
        let meta = recast.meta(Meta::of_file(&opened.before), Kind::File);
        Ok(Since::between(
            (&self.announced().1, &announced),
            (&meta, &found),
        ))
    }

    fn attributes(&self) -> Attributes {
        let entry = self.scanned().entries.get(self.at);
        entry.map_or_else(Attributes::default, |entry| entry.attributes)
    }

    /// Whether the file that was listed has other names, and this is another file. Where inode
    /// numbers do not hold, it is another if it looks like one.
    pub(super) fn has_left_its_links(&self, opened: &Metadata, recast: &Recast) -> bool {
        let listed = self.scanned().entries.get_listed(self.at);
        listed.is_some_and(|listed| {
            listed.nlink > 1
                && (listed.dev, listed.ino) != (opened.dev(), opened.ino())
                && self.announced()
                    != (opened.len(), recast.meta(Meta::of_file(opened), Kind::File))
        })
    }

    /// A line about this file, which is not sent.
    pub(super) fn warning(&self, what: std::fmt::Arguments<'_>) -> Warning {
        Warning {
            vanished: false,
            message: format!("{} {what}", self.shown()),
        }
    }

    pub(super) fn unreadable(&self, e: &io::Error) -> Warning {
        unreadable("read", &self.shown(), e)
    }
}

/// A file that has been opened, and what it was then.
#[derive(Clone)]
pub(in crate::session) struct Opened {
    pub(super) file: Arc<File>,
    pub(super) before: Metadata,
}

/// Keeps the directory of the last file open: files come directory by directory.
#[derive(Default)]
pub(super) struct DirCache(Option<(DirIndex, usize, FileDir<OwnedFd>)>);

impl DirCache {
    fn dir(&mut self, file: &FileSource) -> io::Result<&FileDir<OwnedFd>> {
        let layer = file.layer().ok_or(io::ErrorKind::NotFound)?;
        let (index, number) = (file.dir(), file.scanned().layer_of(file.at));
        let is_there = |held: &&(DirIndex, usize, _)| (held.0, held.1) == (index, number);
        if self.0.as_ref().filter(is_there).is_none() {
            self.0 = Some((index, number, layer.open_files()?));
        }
        let held = self.0.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(&held.2)
    }

    /// Opens a regular file, and tells what it is.
    pub(super) fn open(&mut self, file: &FileSource) -> io::Result<Opened> {
        self.dir(file)?.open(&file.on_disk()).map(Opened::new)
    }

    /// The same for one that somebody has a lease on.
    pub(super) fn open_waiting(&mut self, file: &FileSource) -> io::Result<Opened> {
        let opened = self.dir(file)?.open_waiting(&file.on_disk());
        opened.map(Opened::new)
    }
}

impl Opened {
    fn new((file, before): (File, Metadata)) -> Self {
        let file = Arc::new(file);
        Opened { file, before }
    }
}

/// What has been read of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A state that it really had.
    Steady,
    /// It changed meanwhile, and then stood still: another reading may well be right.
    Quiet,
    /// It goes on changing.
    Changing,
    /// It stood still, but it is not as long as it says.
    OtherLength,
}

/// What can be said about a reading.
pub(super) enum Judged {
    Known(Reading),
    Doubtful(Doubt),
}

/// The file changed meanwhile: whether another reading gives the same bytes has to be known.
pub(super) struct Doubt {
    after: Stamp,
    is_last: bool,
}

impl Judged {
    /// Judges a reading of a file: of `read_len` bytes, more than it had when it was opened if it
    /// goes on after its end.
    pub(super) fn of(opened: &Opened, read_len: u64) -> Judged {
        let Ok(after) = opened.file.metadata().map(|after| stamp(&after)) else {
            return Judged::Known(Reading::Changing);
        };
        let len = opened.before.len();
        if after == stamp(&opened.before) {
            return Judged::Known(if read_len == len {
                Reading::Steady
            } else {
                Reading::OtherLength
            });
        }
        let is_last = read_len < len;
        let doubt = Doubt { after, is_last };
        if is_last {
            return doubt.if_still(opened);
        }
        Judged::Doubtful(doubt)
    }
}

impl Doubt {
    /// Another reading has given the same bytes, or others.
    pub(super) fn read_again(mut self, opened: &Opened, is_same: bool) -> Judged {
        // If a second reading gives the same, the file had exactly this content at the moment
        // between the two: appending to a log does not disturb what was there.
        if is_same && !self.is_last {
            return Judged::Known(Reading::Steady);
        }
        if std::mem::replace(&mut self.is_last, true) {
            return Judged::Known(if !is_same && self.is_still(opened) {
                Reading::Quiet
            } else {
                Reading::Changing
            });
        }
        self.if_still(opened)
    }

    /// To send it in vain costs far more than to read it once more.
    fn if_still(self, opened: &Opened) -> Judged {
        if self.is_still(opened) {
            Judged::Doubtful(self)
        } else {
            Judged::Known(Reading::Changing)
        }
    }

    fn is_still(&self, opened: &Opened) -> bool {
        let now = opened.file.metadata();
        now.is_ok_and(|now| stamp(&now) == self.after)
    }
}

impl Reading {
    /// The line about a file of which this is the last reading.
    pub(super) fn warning(self, file: &FileSource) -> Warning {
        if self == Reading::OtherLength {
            return file.warning(format_args!(
                "does not have the length that its file system gives for it, as is usual in \
                 sysfs and proc, and cannot be mirrored: exclude it"
            ));
        }
        file.warning(format_args!(
            "keeps changing while it is read; the target keeps what it has, push again later"
        ))
    }
}

/// Bytes read where the file ends: none, if its length is true.
pub(super) fn read_past(source: &File, len: u64) -> u64 {
    source.read_at(&mut [0], len).map_or(0, |read| read as u64)
}

/// What changes when somebody writes to the file.
type Stamp = (u64, i64, i64, i64, i64);

fn stamp(m: &Metadata) -> Stamp {
    (
        m.len(),
        m.mtime(),
        m.mtime_nsec(),
        m.ctime(),
        m.ctime_nsec(),
    )
}

/// Appends a file of `len` bytes to `out`, and no more than that. Returns the bytes read: more than
/// `len` if it goes on.
pub(super) fn read_small(source: &File, len: u64, out: &mut Vec<u8>) -> io::Result<u64> {
    let start = out.len();
    // Room for a byte more: that it does not come says that this is the end.
    out.reserve(len as usize + 1);
    let mut read_len = 0;
    while read_len <= len {
        match pread(source, spare_capacity(out), read_len) {
            Ok(0) => break,
            Ok(read) => read_len += read as u64,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
        if read_len == len {
            break;
        }
    }
    out.truncate(start + read_len.min(len) as usize);
    Ok(read_len)
}
