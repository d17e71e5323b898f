//! In which order a directory's rights change: whoever loses some loses them before anything in it
//! changes, and whoever gains some gains them at the end, when what is in it is restricted.

use std::io;

use rustix::fs::{FileType, Stat};

use crate::acl::group_perms;
use crate::attributes::{AttributeKind, Attributes, Scope};
use crate::entry::Time;
use crate::fs::{Assigned, Attrs};
use crate::namespaces::Namespaces;

/// The permissions that a directory may have while its rights go from `old` to `new`; `None` if
/// nobody loses any.
pub(super) fn narrowed(old: &Attrs, new: &Attrs) -> Option<u32> {
    let before = old.mode?;
    let mut mode = before;
    if let Some(after) = new.mode {
        // Sticky takes rights away.
        mode = (before & after & 0o777) | (before & 0o7000) | (after & 0o1000);
    }
    if new.gid.is_some() && new.gid != old.gid {
        mode &= !0o070;
    }
    if let Some(assigned) = new.attributes.as_ref().filter(|_| new.assigns_acls()) {
        let acl = |all: &Attributes| all.acl(AttributeKind::AccessAcl).map(group_perms);
        let had = old.attributes.as_ref().map(|old| acl(&old.all));
        mode &= match (had, acl(&assigned.all)) {
            // Until now the group had what the mode says.
            (Some(None), Some(group)) => !0o070 | group << 3,
            (Some(None), None) => !0,
            // Whoever is named there may be named no more.
            _ => !0o070,
        };
    }
    // Who receives, owner or root, goes on working in it.
    mode |= before & 0o700;
    (mode != before).then_some(mode)
}

/// What takes `new` back from an entry that is `now`, and of whose attributes `read` tells those in
/// a scope. A change of owner takes permission bits and file capabilities with it, which have to
/// come back too.
pub(super) fn taking_back(
    new: &Attrs,
    now: &Stat,
    read: impl FnOnce(Scope) -> io::Result<Attributes>,
) -> io::Result<Attrs> {
    let is_owned = new.uid.is_some() || new.gid.is_some();
    let mode_matters = new.mode.is_some() || is_owned;
    let mut scope = new
        .attributes
        .as_ref()
        .map_or_else(Scope::default, |new| new.scope);
    if is_owned && FileType::from_raw_mode(now.st_mode) == FileType::RegularFile {
        scope.xattrs = scope.xattrs.and(Namespaces::CAPABILITY);
    }
    let attributes = match scope.is_empty() {
        true => None,
        false => Assigned::new(scope, &read(scope)?),
    };
    Ok(Attrs {
        uid: new.uid.map(|_| now.st_uid),
        gid: new.gid.map(|_| now.st_gid),
        mode: mode_matters.then_some(now.st_mode & 0o7777),
        mtime: new
            .mtime
            .map(|_| Time::found(now.st_mtime, now.st_mtime_nsec)),
        atime: new
            .atime
            .map(|_| Time::found(now.st_atime, now.st_atime_nsec)),
        attributes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(mode: u32) -> Attrs {
        Attrs {
            mode: Some(mode),
            ..Attrs::default()
        }
    }

    #[test]
    fn nobody_gains_before_the_end_and_whoever_loses_loses_first() {
        let of = |before, after| narrowed(&mode(before), &mode(after));
        assert_eq!(of(0o755, 0o755), None);
        assert_eq!(of(0o700, 0o755), None);
        assert_eq!(of(0o755, 0o700), Some(0o700));
        assert_eq!(of(0o750, 0o705), Some(0o700));
        assert_eq!(of(0o777, 0o1777), Some(0o1777));
        assert_eq!(of(0o1777, 0o777), None);
        assert_eq!(of(0o755, 0o000), Some(0o700));
        let given = Attrs {
            gid: Some(5),
            ..mode(0o770)
        };
        let owned = Attrs {
            gid: Some(4),
            ..mode(0o770)
        };
        assert_eq!(narrowed(&owned, &given), Some(0o700));
    }
}
