//! Reading a directory: names by `getdents`, metadata by `statx` with only the fields needed.

use std::ffi::{CStr, CString};
use std::fs::Metadata;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, Statx, StatxAttributes, StatxFlags, fstat,
    openat, readlinkat, seek, statx,
};
use rustix::io::Errno;

use super::alike::{Alike, Had, Print, tells_changes};
use super::attrs::{Assigned, Attrs};
use super::inode::WhichDir;
use super::walk::{Follow, Led, follow_from};
use super::xattrs::{AttributeReader, attributes_of};
use crate::attributes::{Attributes, Scope};
use crate::entries::{EntryList, EntrySorter};
use crate::entry::{Body, Entry, Time};
use crate::not_mirrored::NotMirrored;
use crate::path::{NAME_LEN_MAX, RESERVED_NAME, STAND_IN_NAME, is_reserved};
use crate::since::Meta;
use crate::spill::Room;

/// Bytes of directory records read by one `getdents`; a hundred entries need about 4 KiB.
const GETDENTS_BUFFER_LEN: usize = 64 * 1024;

/// Names of one directory that cannot be examined, each of which is told.
const UNEXAMINED_MAX: usize = 1 << 16;

const STAT_MASK: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::MODE)
    .union(StatxFlags::NLINK)
    .union(StatxFlags::UID)
    .union(StatxFlags::GID)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::CTIME)
    .union(StatxFlags::INO)
    .union(StatxFlags::SIZE);

/// An entry as found on disk, with what only this side needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) entry: Entry,
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) nlink: u32,
}

/// A directory's entries in canonical order, and the names that could not be examined.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) entries: EntryList,
    pub(crate) failed: Vec<(Vec<u8>, io::Error)>,
    /// Whether hasync's own directory is in there; it is never listed as an entry.
    pub(crate) has_reserved: bool,
    /// What the directory itself was when it was opened.
    pub(crate) own: Meta,
    pub(crate) own_attributes: Attributes,
    /// Its device and inode.
    pub(crate) id: (u64, u64),
    /// What its entries have that nobody asked for.
    pub(crate) passed_over: NotMirrored,
}

/// Of which entries it is noted what identifies their inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inodes {
    None,
    OfDirs,
    All,
}

impl Inodes {
    fn noted_of(self, entry: &Entry) -> bool {
        match self {
            Inodes::None => false,
            Inodes::OfDirs => entry.is_dir(),
            Inodes::All => true,
        }
    }
}

/// What is wanted of a directory's entries.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Of which it is noted what identifies their inodes.
    pub(crate) inodes: Inodes,
    /// When they were read last is noted too.
    pub(crate) with_atimes: bool,
    /// The attributes that are read.
    pub(crate) scope: Scope,
    /// What is known of them from before.
    pub(crate) alike: Option<&'a Alike>,
    /// Symlinks become what this makes of them.
    pub(crate) look_through: Option<&'a LookThrough<'a>>,
}

/// Reads the directory `dir`, leaving out names for which `skip` says so (a filter, which needs
/// to know whether the name is a directory).
pub(crate) fn list(
    dir: BorrowedFd<'_>,
    wanted: Wanted<'_>,
    skip: &mut dyn FnMut(&[u8], bool) -> bool,
) -> io::Result<Listing> {
    let stat = fstat(dir)?;
    let own_attributes = attributes_of(dir, wanted.scope)?;
    let finish = |pass: Pass<'_>, entries: EntrySorter| {
        let mut entries = entries.finish();
        entries.found_in = Some(WhichDir::of_stat(&stat));
        Listing {
            entries,
            failed: pass.failed,
            has_reserved: pass.has_reserved,
            own: Meta::of_dir(&stat),
            own_attributes,
            id: (stat.st_dev, stat.st_ino),
            passed_over: pass
                .attributes
                .map_or_else(NotMirrored::default, |attributes| attributes.passed_over()),
        }
    };
    let alike = wanted
        .alike
        .filter(|_| wanted.look_through.is_none() && tells_changes(dir));
    let Some(alike) = alike else {
        let mut pass = Pass::new(dir, wanted);
        let entries = pass.run(skip)?;
        return Ok(finish(pass, entries));
    };
    let id = (stat.st_dev, stat.st_ino);
    if let Some((print, had)) = alike.of(id) {
        let mut pass = Pass::new(dir, wanted).printing(alike.print(id), Some(had));
        let entries = pass.run(skip)?;
        if pass.print() == Some(print) {
            alike.still(id);
            return Ok(finish(pass, entries));
        }
        seek(dir, SeekFrom::Start(0))?;
    }
    let mut pass = Pass::new(dir, wanted).printing(alike.print(id), None);
    let entries = pass.run(skip)?;
    if let Some((print, had)) = pass.print().zip(pass.had()) {
        alike.note(id, print, &had);
    }
    Ok(finish(pass, entries))
}

/// Once through all names of a directory.
struct Pass<'a> {
    dir: BorrowedFd<'a>,
    wanted: Wanted<'a>,
    attributes: Option<AttributeReader>,
    failed: Vec<(Vec<u8>, io::Error)>,
    has_reserved: bool,
    is_encrypted: bool,
    encrypted_file: Option<CString>,
}

impl<'a> Pass<'a> {
    fn new(dir: BorrowedFd<'a>, wanted: Wanted<'a>) -> Self {
        Pass {
            dir,
            wanted,
            attributes: AttributeReader::of_listing(dir, wanted.scope),
            failed: Vec::new(),
            has_reserved: false,
            is_encrypted: false,
            encrypted_file: None,
        }
    }

    /// Takes the print of all entries, which are held to have what is `expected`.
    fn printing(mut self, print: Print, expected: Option<Had>) -> Self {
        if let Some(attributes) = &mut self.attributes {
            attributes.take_print(print, expected);
        }
        self
    }

    fn run(&mut self, skip: &mut dyn FnMut(&[u8], bool) -> bool) -> io::Result<EntrySorter> {
        let mut entries = EntrySorter::new(Room::of_directory());
        let mut listed = Listed::blank();
        let mut buffer = Vec::with_capacity(GETDENTS_BUFFER_LEN);
        let mut records = RawDir::new(self.dir, buffer.spare_capacity_mut());
        while let Some(record) = records.next() {
            let record = record?;
            let name = record.file_name();
            match name.to_bytes() {
                b"." | b".." => continue,
                name if is_reserved(name) => {
                    self.has_reserved |= [RESERVED_NAME, STAND_IN_NAME].contains(&name);
                    continue;
                }
                _ => {}
            }
            let known_type = record.file_type();
            let may_be_other = known_type == FileType::Unknown
                || known_type == FileType::Symlink && self.wanted.look_through.is_some();
            if !may_be_other && skip(name.to_bytes(), known_type == FileType::Directory) {
                continue;
            }
            match self.examine(name, &mut listed) {
                Ok(()) => {
                    if may_be_other && skip(name.to_bytes(), listed.entry.is_dir()) {
                        continue;
                    }
                    entries.push(&listed, self.wanted.inodes.noted_of(&listed.entry));
                }
                // Gone between the two calls: as if it had gone before.
                Err(e) if Errno::from_io_error(&e) == Some(Errno::NOENT) => {}
                Err(_) if may_be_other && skip(name.to_bytes(), false) => {}
                // One that hardly lets anything be examined is as good as not read.
                Err(e) if self.failed.len() == UNEXAMINED_MAX => return Err(e),
                Err(e) => self.failed.push((name.to_bytes().to_vec(), e)),
            }
        }
        if self.is_encrypted && is_locked(self.dir, self.encrypted_file.as_deref()) {
            let what = "it is encrypted, and its key is not there; unlock it";
            return Err(io::Error::other(what));
        }
        Ok(entries)
    }

    fn examine(&mut self, name: &CStr, listed: &mut Listed) -> io::Result<()> {
        if name.to_bytes().len() > NAME_LEN_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        let (dir, attributes) = (self.dir, self.attributes.as_mut());
        let found = examine(dir, name, self.wanted.with_atimes, attributes, listed)?;
        if found.contains(StatxAttributes::ENCRYPTED) {
            self.is_encrypted = true;
            if self.encrypted_file.is_none() && matches!(listed.entry.body, Body::File { .. }) {
                self.encrypted_file = Some(name.to_owned());
            }
        }
        let look_through = self.wanted.look_through;
        look_through.map_or(Ok(()), |look_through| look_through(dir, listed))
    }

    /// The print of all that was examined, if nothing was left out.
    fn print(&mut self) -> Option<[u8; 16]> {
        let print = self.attributes.as_mut()?.print()?;
        self.failed.is_empty().then(|| print.value())
    }

    /// What its entries have, if they are alike and have nothing that was passed over.
    fn had(&mut self) -> Option<Had> {
        let attributes = self.attributes.as_mut()?;
        let is_all = attributes.passed_over() == NotMirrored::default();
        attributes.print()?.had().filter(|_| is_all)
    }
}

/// Whether the names that an encrypted directory lists are made up, because there is no key to read
/// the true ones with. Without a `file` of its own only who may write there can find out.
fn is_locked(dir: BorrowedFd<'_>, file: Option<&CStr>) -> bool {
    let says = |name: &CStr, flags: OFlags| match openat(
        dir,
        name,
        flags | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    ) {
        Ok(_) => Some(false),
        Err(Errno::NOKEY) => Some(true),
        Err(_) => None,
    };
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    file.and_then(|name| says(name, read))
        .or_else(|| says(c".", OFlags::TMPFILE | OFlags::WRONLY))
        .unwrap_or(false)
}

/// Makes of a symlink that was found in a directory what it is to be listed as.
pub(crate) type LookThrough<'a> = dyn Fn(BorrowedFd<'_>, &mut Listed) -> io::Result<()> + 'a;

/// Puts in place of a symlink in `dir` what it leads to.
pub(crate) fn follow_listed(
    dir: BorrowedFd<'_>,
    listed: &mut Listed,
    follow: Follow,
    scope: Scope,
) -> io::Result<()> {
    let name = std::mem::take(&mut listed.entry.name);
    let with_atime = listed.entry.atime.is_some();
    let stat = |dir: OwnedFd, name: &CStr| {
        let mut found = Listed::blank();
        let mut attributes = AttributeReader::new(dir.as_fd(), scope);
        let examined = examine(
            dir.as_fd(),
            name,
            with_atime,
            attributes.as_mut(),
            &mut found,
        );
        examined.map(|_| found)
    };
    let found = match follow_from(dir, &name, follow) {
        Ok(Led::Dir(dir)) => stat(dir, c"."),
        Ok(Led::Other(dir, name)) => {
            let name = CString::new(name).map_err(|_| io::Error::from(Errno::INVAL));
            name.and_then(|name| stat(dir, &name))
        }
        Err(e) => Err(e.into()),
    };
    listed.entry.name = name;
    let found = found?;
    let name = std::mem::take(&mut listed.entry.name);
    *listed = found;
    listed.entry.name = name;
    Ok(())
}

/// Examines one name of `dir` without following it; of attributes what is in `scope`.
pub(crate) fn stat(dir: impl AsFd, name: &CStr, scope: Scope) -> io::Result<Listed> {
    let mut listed = Listed::blank();
    let mut attributes = AttributeReader::new(dir.as_fd(), scope);
    examine(dir.as_fd(), name, false, attributes.as_mut(), &mut listed)?;
    Ok(listed)
}

/// The same, with the time of its last access.
pub(crate) fn stat_with_atime(dir: impl AsFd, name: &CStr, scope: Scope) -> io::Result<Listed> {
    let mut listed = Listed::blank();
    let mut attributes = AttributeReader::new(dir.as_fd(), scope);
    examine(dir.as_fd(), name, true, attributes.as_mut(), &mut listed)?;
    Ok(listed)
}

/// The same, into `listed`, whose buffers are used again. Returns what its file system says of it.
fn examine(
    dir: BorrowedFd<'_>,
    name: &CStr,
    with_atime: bool,
    mut reader: Option<&mut AttributeReader>,
    listed: &mut Listed,
) -> io::Result<StatxAttributes> {
    let mask = match with_atime {
        true => STAT_MASK.union(StatxFlags::ATIME),
        false => STAT_MASK,
    };
    // Another may take its name meanwhile: whose it is, where it leads and what it has come from
    // one inode.
    let hold = || {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(dir, name, flags, Mode::empty())
    };
    let stat_held = |held: &OwnedFd| statx(held, c"", AtFlags::EMPTY_PATH, mask);
    let mut held = match &reader {
        Some(reader) if reader.expects_any() => Some(hold()?),
        _ => None,
    };
    let mut s = match &held {
        Some(held) => stat_held(held)?,
        None => statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, mask)?,
    };
    if held.is_none() {
        let finds_any = |reader: &mut AttributeReader| reader.finds_any(name, file_type(&s));
        if is_symlink(&s) || reader.as_deref_mut().is_some_and(finds_any) {
            let opened = held.insert(hold()?);
            s = stat_held(opened)?;
        }
    }
    let (mut target, mut attributes) = (Vec::new(), Attributes::default());
    let held = held.as_ref().map(OwnedFd::as_fd);
    if let Some(link) = held.filter(|_| is_symlink(&s)) {
        target = target_of(link)?;
    }
    if let Some(reader) = reader {
        attributes = reader.read(held, &s)?;
    }
    let rdev = rustix::fs::makedev(s.stx_rdev_major, s.stx_rdev_minor);
    let entry = &mut listed.entry;
    entry.body = match file_type(&s) {
        FileType::Directory => Body::Dir,
        FileType::Symlink => Body::Symlink { target },
        FileType::CharacterDevice => Body::CharDevice { rdev },
        FileType::BlockDevice => Body::BlockDevice { rdev },
        FileType::Fifo => Body::Fifo,
        FileType::Socket => Body::Socket,
        FileType::RegularFile | FileType::Unknown => Body::File {
            len: s.stx_size,
            sum: None,
        },
    };
    entry.name.clear();
    entry.name.extend_from_slice(name.to_bytes());
    entry.mode = u32::from(s.stx_mode) & 0o7777;
    (entry.uid, entry.gid) = (s.stx_uid, s.stx_gid);
    entry.mtime = Time::found(s.stx_mtime.tv_sec, s.stx_mtime.tv_nsec);
    let atime = Time::found(s.stx_atime.tv_sec, s.stx_atime.tv_nsec);
    entry.atime = (with_atime && !entry.is_dir()).then_some(atime);
    entry.attributes = attributes;
    listed.dev = rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor);
    listed.ino = s.stx_ino;
    listed.nlink = s.stx_nlink;
    Ok(s.stx_attributes)
}

/// The target of a symlink, which not every file system keeps from being none.
fn target_of(held: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let target = readlinkat(held, c"", Vec::new())?.into_bytes();
    if target.is_empty() || target.contains(&0) {
        let what = "it is a symlink to an empty path, or to one with a zero byte";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(target)
}

fn file_type(s: &Statx) -> FileType {
    FileType::from_raw_mode(s.stx_mode.into())
}

fn is_symlink(s: &Statx) -> bool {
    file_type(s) == FileType::Symlink
}

impl Listed {
    /// Replaces what was found out under the name by what the regular file is that was opened.
    pub(crate) fn take_in(&mut self, opened: &Metadata) {
        Meta::of_file(opened).put_into(&mut self.entry);
        self.entry.body = Body::File {
            len: opened.len(),
            sum: None,
        };
        self.dev = opened.dev();
        self.ino = opened.ino();
        self.nlink = u32::try_from(opened.nlink()).unwrap_or(u32::MAX);
    }

    /// All of its metadata; of its attributes those in `scope`, which were examined as well.
    pub(crate) fn attrs(&self, scope: Scope) -> Attrs {
        let entry = &self.entry;
        Attrs {
            uid: Some(entry.uid),
            gid: Some(entry.gid),
            mode: Some(entry.mode),
            mtime: Some(entry.mtime),
            atime: None,
            attributes: Assigned::new(scope, &entry.attributes),
        }
    }

    /// Which directory it is.
    pub(crate) fn which_dir(&self) -> WhichDir {
        WhichDir {
            number: self.ino,
            uid: self.entry.uid,
        }
    }

    /// Nothing, where the target shall have nothing either.
    pub(crate) fn gone() -> Self {
        let mut listed = Listed::blank();
        listed.entry.body = Body::Gone;
        listed
    }

    /// Something to examine into.
    pub(crate) fn blank() -> Self {
        Listed {
            entry: Entry {
                name: Vec::new(),
                mode: 0,
                uid: 0,
                gid: 0,
                mtime: Time::default(),
                body: Body::Dir,
                atime: None,
                link_to: None,
                attributes: Attributes::default(),
            },
            dev: 0,
            ino: 0,
            nlink: 0,
        }
    }
}
