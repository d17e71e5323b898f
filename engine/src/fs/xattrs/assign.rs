//! Setting ACLs and extended attributes together with the mode that belongs to them.

use std::io;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::geteuid;

use super::{ACCESS_ACL, DEFAULT_ACL, Way, failed, kind_of, split};
use crate::acl;
use crate::attributes::{AttributeKind, Attributes, Scope};
use crate::fs::{Assigned, Attrs};

/// Sets mode, ACLs and extended attributes, in the one order in which nobody has more rights
/// meanwhile than before or after: what lends rights goes first and comes last; an ACL comes with
/// the permission bits that belong to it, and goes before its mask could become those of the group.
pub(in crate::fs) fn set_rights(
    way: &Way<'_>,
    attrs: &Attrs,
    set_mode: impl FnOnce(u32) -> io::Result<()>,
) -> io::Result<()> {
    let set_mode = || attrs.mode.map_or(Ok(()), set_mode);
    let Some(assigned) = &attrs.attributes else {
        return set_mode();
    };
    let now = match way.mode() {
        Ok(now) => now,
        Err(e) => return set_mode().and(Err(e.into())),
    };
    let mut change = Change::new(way, assigned, FileType::from_raw_mode(now));
    change.remove_extended();
    change.set_acls(attrs.mode.unwrap_or(now));
    let is_set = set_mode();
    change.remove_acls();
    change.set_extended();
    is_set.and(change.result)
}

/// Attributes on their way to become others.
struct Change<'a> {
    way: &'a Way<'a>,
    scope: Scope,
    all: &'a Attributes,
    /// Names of all that is there.
    names: Vec<u8>,
    /// The first thing that went wrong: the rest is tried all the same.
    result: io::Result<()>,
}

impl<'a> Change<'a> {
    fn new(way: &'a Way<'a>, assigned: &'a Assigned, file_type: FileType) -> Self {
        let mut names = Vec::new();
        let result = match way.list(&mut names) {
            Err(Errno::OPNOTSUPP) => Ok(()),
            result => result.map_err(io::Error::from),
        };
        Change {
            way,
            scope: assigned.scope.of_type(file_type),
            all: &assigned.all,
            names,
            result,
        }
    }

    fn has(&self, name: &[u8]) -> bool {
        split(&self.names).any(|there| there == name)
    }

    fn note(&mut self, doing: &str, name: &[u8], done: rustix::io::Result<()>) {
        if let (Err(e), Ok(())) = (done, &self.result) {
            self.result = Err(failed(doing, name, e));
        }
    }

    fn remove_extended(&mut self) {
        let scope = Scope {
            acls: false,
            ..self.scope
        };
        let is_wanted = |name: &[u8]| self.all.extended().any(|(wanted, _)| wanted == name);
        let unwanted = split(&self.names)
            .filter(|name| kind_of(name, scope).is_some() && !is_wanted(name))
            .map(<[u8]>::to_vec);
        for name in unwanted.collect::<Vec<_>>() {
            let removed = with_write(self.way, || self.way.remove(&name));
            self.note("remove", &name, removed);
        }
    }

    fn set_extended(&mut self) {
        let mut there = Vec::new();
        for (name, value) in self.all.extended() {
            let is_there =
                self.has(name) && self.way.get(name, &mut there).is_ok() && there == value;
            if !is_there && self.scope.xattrs.contain(name) {
                let set = with_write(self.way, || self.way.set(name, value));
                self.note("set", name, set);
            }
        }
    }

    fn set_acls(&mut self, mode: u32) {
        if !self.scope.acls {
            return;
        }
        if let Some(access) = self.all.acl(AttributeKind::AccessAcl) {
            let set = self
                .way
                .set(ACCESS_ACL, &acl::access_to_kernel(access, mode));
            self.note("set", ACCESS_ACL, set);
        } else if self.has(ACCESS_ACL) {
            // It goes with this. Where it does not, it goes later, and that says why.
            let _ = self.way.set(ACCESS_ACL, &acl::plain_to_kernel(mode));
        }
        if let Some(default) = self.all.acl(AttributeKind::DefaultAcl) {
            let set = self.way.set(DEFAULT_ACL, &acl::default_to_kernel(default));
            self.note("set", DEFAULT_ACL, set);
        }
    }

    fn remove_acls(&mut self) {
        let both = [
            (AttributeKind::AccessAcl, ACCESS_ACL),
            (AttributeKind::DefaultAcl, DEFAULT_ACL),
        ];
        for (kind, name) in both {
            if self.scope.acls && self.has(name) && self.all.acl(kind).is_none() {
                let removed = match self.way.remove(name) {
                    Err(Errno::NODATA) => Ok(()),
                    removed => removed,
                };
                self.note("remove", name, removed);
            }
        }
    }
}

/// Tries a change again with permission to write, which whoever is not root needs for it, and may
/// lack of its own file.
fn with_write(
    way: &Way<'_>,
    change: impl Fn() -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    let done = change();
    if done != Err(Errno::ACCESS) || geteuid().is_root() {
        return done;
    }
    let mode = way.mode()?;
    way.set_mode(mode | 0o200)?;
    let done = change();
    done.and(way.set_mode(mode))
}
