//! ACLs and extended attributes, read and set through what is held: a descriptor, or where that was
//! opened for neither reading nor writing, the path by which `/proc` leads to it.
//!
//! Most entries have none, and one call tells so: it lists the names under which the entry has any.
//! Whatever is there is then read of what is held, with all its other metadata, since another entry
//! may have taken the name meanwhile.

mod assign;

use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Statx, XattrFlags, chmodat, fchmod, fgetxattr,
    flistxattr, fremovexattr, fsetxattr, fstat, getxattr, listxattr, llistxattr, openat,
    removexattr, setxattr, stat,
};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

pub(super) use assign::set_rights;

use super::alike::{Had, Print};
use super::inode::{Inode, replaced};
use super::own_place::enter;
use crate::acl;
use crate::attributes::{AttributeKind, Attributes, Scope, extended_value};
use crate::error::describe;
use crate::namespaces::Namespaces;
use crate::not_mirrored::NotMirrored;

const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// The kernel lists no more than so many bytes of names, and no value is longer.
const LEN_MAX: usize = 1 << 16;

/// Room for the names that an entry usually has.
const LEN_USUAL: usize = 1024;

/// The namespaces that this process can read: what is trusted is shown to none without that right.
pub(crate) fn readable() -> Namespaces {
    match has(CapabilitySet::SYS_ADMIN) {
        true => Namespaces::ALL,
        false => Namespaces::ALL.without(Namespaces::TRUSTED),
    }
}

/// Those in which it can set attributes.
pub(crate) fn settable() -> Namespaces {
    if has(CapabilitySet::SYS_ADMIN) {
        return Namespaces::ALL;
    }
    match has(CapabilitySet::SETFCAP) {
        true => Namespaces::USER.and(Namespaces::CAPABILITY),
        false => Namespaces::USER,
    }
}

/// All that it can set.
pub(crate) fn own_scope() -> Scope {
    Scope {
        acls: true,
        xattrs: settable(),
    }
}

/// Whether this process has a right, in use at the moment or not.
fn has(right: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|own| own.permitted.contains(right))
}

/// What an entry is reached by.
pub(super) enum Way<'a> {
    /// It is open.
    Open(BorrowedFd<'a>),
    /// A path that leads to what is held, and nowhere else.
    Held(&'a CStr),
}

impl Way<'_> {
    fn list(&self, names: &mut Vec<u8>) -> rustix::io::Result<()> {
        filled(names, |names| match self {
            Way::Open(fd) => flistxattr(fd, spare_capacity(names)),
            Way::Held(path) => listxattr(*path, spare_capacity(names)),
        })
    }

    fn get(&self, name: &[u8], value: &mut Vec<u8>) -> rustix::io::Result<()> {
        filled(value, |value| match self {
            Way::Open(fd) => fgetxattr(fd, name, spare_capacity(value)),
            Way::Held(path) => getxattr(*path, name, spare_capacity(value)),
        })
    }

    fn set(&self, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
        let flags = XattrFlags::empty();
        match self {
            Way::Open(fd) => fsetxattr(fd, name, value, flags),
            Way::Held(path) => setxattr(*path, name, value, flags),
        }
    }

    fn remove(&self, name: &[u8]) -> rustix::io::Result<()> {
        let removed = match self {
            Way::Open(fd) => fremovexattr(fd, name),
            Way::Held(path) => removexattr(*path, name),
        };
        match removed {
            Err(Errno::NODATA) => Ok(()),
            result => result,
        }
    }

    fn mode(&self) -> rustix::io::Result<u32> {
        let stat = match self {
            Way::Open(fd) => fstat(fd),
            Way::Held(path) => stat(*path),
        };
        Ok(stat?.st_mode)
    }

    fn set_mode(&self, mode: u32) -> rustix::io::Result<()> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        match self {
            Way::Open(fd) => fchmod(fd, mode),
            Way::Held(path) => chmodat(CWD, *path, mode, AtFlags::empty()),
        }
    }

    /// All that an entry of that type has within `scope`; what it has besides is counted.
    fn read(
        &self,
        file_type: FileType,
        scope: Scope,
        passed_over: &mut NotMirrored,
    ) -> io::Result<Attributes> {
        let scope = scope.of_type(file_type);
        let mut names = Vec::new();
        match self.list(&mut names) {
            Err(Errno::OPNOTSUPP) => {}
            result => result?,
        }
        *passed_over += NotMirrored::of(split(&names).filter(|name| !is_covered(name, scope)));
        let (mut all, mut value) = (Vec::new(), Vec::new());
        for name in split(&names) {
            let Some(kind) = kind_of(name, scope) else {
                continue;
            };
            match self.get(name, &mut value) {
                Ok(()) => all.extend(kept_value(kind, name, &value)?.map(|value| (kind, value))),
                // Gone since it was listed, or listed although nobody can have it.
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(e) => return Err(failed("read", name, e)),
            }
        }
        Attributes::of(all)
    }
}

/// Calls for what may not fit at first.
fn filled(
    bytes: &mut Vec<u8>,
    mut call: impl FnMut(&mut Vec<u8>) -> rustix::io::Result<usize>,
) -> rustix::io::Result<()> {
    bytes.clear();
    bytes.reserve(LEN_USUAL);
    match call(bytes) {
        Err(Errno::RANGE) => {
            bytes.reserve(LEN_MAX);
            call(bytes)?;
        }
        result => drop(result?),
    }
    Ok(())
}

fn split(names: &[u8]) -> impl Iterator<Item = &[u8]> {
    names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
}

fn is_covered(name: &[u8], scope: Scope) -> bool {
    kind_of(name, scope).is_some()
}

/// What an attribute of that name is, if `scope` covers it.
fn kind_of(name: &[u8], scope: Scope) -> Option<AttributeKind> {
    match name {
        ACCESS_ACL => scope.acls.then_some(AttributeKind::AccessAcl),
        DEFAULT_ACL => scope.acls.then_some(AttributeKind::DefaultAcl),
        name => scope
            .xattrs
            .contain(name)
            .then_some(AttributeKind::Extended),
    }
}

fn kept_value(kind: AttributeKind, name: &[u8], value: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let no_acl = || io::Error::new(io::ErrorKind::InvalidData, "its ACL has an unknown form");
    match kind {
        AttributeKind::AccessAcl => acl::access_value(value).ok_or_else(no_acl),
        AttributeKind::DefaultAcl => acl::default_value(value).map(Some).ok_or_else(no_acl),
        AttributeKind::Extended => Ok(Some(extended_value(name, value))),
    }
}

/// An attribute that cannot be had or set. It is no full disk that keeps a file system from holding
/// one: most hold little of them.
fn failed(doing: &str, name: &[u8], cause: Errno) -> io::Error {
    let why: &dyn fmt::Display = match cause {
        Errno::NOSPC | Errno::RANGE | Errno::TOOBIG => &"its file system has no room for it",
        Errno::OPNOTSUPP => &"its file system has none of that kind",
        _ => &describe(&cause.into()),
    };
    let what = match name {
        ACCESS_ACL => "its ACL".to_owned(),
        DEFAULT_ACL => "its default ACL".to_owned(),
        name => format!("its attribute {}", name.escape_ascii()),
    };
    io::Error::other(format!("cannot {doing} {what}: {why}"))
}

/// Reads what the entries of one directory have.
pub(crate) struct AttributeReader {
    scope: Scope,
    /// A path to the directory, then an entry's name in it.
    path: Vec<u8>,
    dir_len: usize,
    names: Vec<u8>,
    /// The last entry had some: most often they all have, or none has.
    expects_any: bool,
    /// What the entries have besides.
    passed_over: NotMirrored,
    /// What they had when they were read last, which is not read again.
    expected: Option<Had>,
    print: Option<Print>,
}

impl AttributeReader {
    /// For the entries of `dir`; `None` if `scope` covers nothing.
    pub(crate) fn new(dir: BorrowedFd<'_>, scope: Scope) -> Option<Self> {
        let path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        (!scope.is_empty()).then(|| AttributeReader {
            scope,
            dir_len: path.len(),
            path,
            names: Vec::with_capacity(LEN_USUAL),
            expects_any: false,
            passed_over: NotMirrored::default(),
            expected: None,
            print: None,
        })
    }

    /// The same, while nobody else of this thread does so.
    pub(super) fn of_listing(dir: BorrowedFd<'_>, scope: Scope) -> Option<Self> {
        let mut reader = AttributeReader::new(dir, scope)?;
        if enter(dir) {
            reader.dir_len = 0;
        }
        Some(reader)
    }

    /// Takes the print of all entries from now on, which are held to have what is `expected`.
    pub(super) fn take_print(&mut self, print: Print, expected: Option<Had>) {
        self.print = Some(print);
        self.expected = expected;
    }

    /// The print of the entries since.
    pub(super) fn print(&mut self) -> Option<&mut Print> {
        self.print.as_mut()
    }

    /// Whether the next entry may as well be looked at closely at once.
    pub(super) fn expects_any(&self) -> bool {
        self.expects_any
    }

    /// What the entries have that is out of the scope, as far as that was met.
    pub(super) fn passed_over(&self) -> NotMirrored {
        self.passed_over
    }

    /// Whether the entry of that name, as far as one call tells, has anything in the scope. What
    /// cannot be told is to be looked at closely.
    pub(super) fn finds_any(&mut self, name: &CStr, file_type: FileType) -> bool {
        let scope = self.scope.of_type(file_type);
        if scope.is_empty() || self.expected.is_some() {
            return false;
        }
        self.path.truncate(self.dir_len);
        self.path.extend_from_slice(name.to_bytes_with_nul());
        let Ok(path) = CStr::from_bytes_with_nul(&self.path) else {
            return true;
        };
        let names = &mut self.names;
        let listed = filled(names, |names| llistxattr(path, spare_capacity(names)));
        match listed {
            Ok(()) => {
                let any = split(names).any(|name| is_covered(name, scope));
                if !any {
                    self.passed_over += NotMirrored::of(split(names));
                }
                any
            }
            Err(Errno::OPNOTSUPP) => false,
            Err(_) => true,
        }
    }

    /// All that the entry has within the scope which was `examined`, and is `held` if it has any.
    pub(super) fn read(
        &mut self,
        held: Option<BorrowedFd<'_>>,
        examined: &Statx,
    ) -> io::Result<Attributes> {
        let file_type = FileType::from_raw_mode(examined.stx_mode.into());
        let is_dir = file_type == FileType::Directory;
        let found = match (&self.expected, held) {
            (Some(had), _) if is_dir => had.dirs.clone(),
            (Some(had), _) => had.files.clone(),
            (None, Some(held)) => self.read_held(held, file_type)?,
            (None, None) => Attributes::default(),
        };
        if let Some(print) = &mut self.print {
            print.add(examined, is_dir, &found);
        }
        Ok(found)
    }

    fn read_held(&mut self, held: BorrowedFd<'_>, file_type: FileType) -> io::Result<Attributes> {
        let found = read_counting(held, file_type, self.scope, &mut self.passed_over)?;
        // Those of a symlink say little about its neighbours.
        if file_type != FileType::Symlink {
            self.expects_any = !found.is_empty();
        }
        Ok(found)
    }
}

/// All that an open file or directory has within `scope`.
pub(crate) fn attributes_of(file: impl AsFd, scope: Scope) -> io::Result<Attributes> {
    if scope.is_empty() {
        return Ok(Attributes::default());
    }
    let file = file.as_fd();
    let file_type = FileType::from_raw_mode(fstat(file)?.st_mode);
    Way::Open(file).read(file_type, scope, &mut NotMirrored::default())
}

/// The same of what has that name in a directory, if it is the entry that was `judged`.
pub(crate) fn attributes_at(
    dir: impl AsFd,
    name: &[u8],
    judged: &Inode,
    scope: Scope,
) -> io::Result<Attributes> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = openat(dir, name, flags, Mode::empty())?;
    let now = Inode::held(&held)?;
    if now.number != judged.number {
        return Err(replaced());
    }
    read_held(held.as_fd(), now.file_type(), scope)
}

/// The same of what is held, opened or not.
pub(super) fn read_held(
    held: BorrowedFd<'_>,
    file_type: FileType,
    scope: Scope,
) -> io::Result<Attributes> {
    read_counting(held, file_type, scope, &mut NotMirrored::default())
}

fn read_counting(
    held: BorrowedFd<'_>,
    file_type: FileType,
    scope: Scope,
    passed_over: &mut NotMirrored,
) -> io::Result<Attributes> {
    let read = Way::Held(&proc_path(held)).read(file_type, scope, passed_over);
    read.map_err(|e| match Errno::from_io_error(&e) {
        Some(Errno::NOENT | Errno::NOTDIR) => io::Error::other(
            "without /proc its extended attributes cannot be read; mount /proc, or push without \
             -A and -X",
        ),
        _ => e,
    })
}

/// A path that leads to what is held, where there is `/proc`.
pub(super) fn proc_path(held: BorrowedFd<'_>) -> CString {
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    CString::new(path).unwrap_or_default()
}

#[cfg(test)]
mod tests;
