//! The directory that backups are asked to be kept in: it is found before anything is changed, and
//! held if it is not in the target.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::unnamed::{Holder, group_below, tree_at};
use crate::change::Elsewhere;
use crate::error::{Error, ErrorKind};
use crate::fs::{Extent, Mounts, Root};
use crate::options::{BackupPlace, Options};
use crate::path::{RelPath, Shown};
use crate::policy::ServePolicy;
use crate::target::Found;

/// Refuses what could keep no backups. Gives their directory if it is not in the target.
pub(super) fn find(
    root: &Root,
    options: &Options,
    policy: &ServePolicy,
) -> Result<Option<Elsewhere>, Error> {
    match options.backup.as_ref().map(|backup| &backup.place) {
        None | Some(BackupPlace::Beside) => Ok(None),
        Some(BackupPlace::Below(dir)) => {
            check_below(root, &RelPath::of(dir), policy).map(|()| None)
        }
        Some(BackupPlace::Elsewhere(dir)) => {
            find_elsewhere(root, (dir, options.delete), policy).map(Some)
        }
    }
}

fn check_below(root: &Root, dir: &RelPath, policy: &ServePolicy) -> Result<(), Error> {
    match root.open_dir(dir) {
        Ok(held) => match group_below(&held, policy)? {
            Some(group) => Err(refused(&dir.as_bytes(), ErrorKind::Usage, &shares(&group))),
            None => Ok(()),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => {
            let shown = root.shown(dir);
            Err(Error::file(
                format_args!("keep backups in {shown} on the target"),
                &e,
            ))
        }
    }
}

fn shares(holder: &Holder) -> String {
    format!("it shares entries with {holder} there; name another --backup-dir")
}

fn refused(dir: &[u8], kind: ErrorKind, why: &str) -> Error {
    let shown = Shown(dir);
    let message = format!("cannot keep backups in {shown} on the target: {why}");
    Error::new(kind, message)
}

fn find_elsewhere(
    root: &Root,
    (dir, deletes): (&[u8], bool),
    policy: &ServePolicy,
) -> Result<Elsewhere, Error> {
    let path = root.path().join(OsStr::from_bytes(dir));
    // No symlink is followed below a served root, so that the text of a path says where it leads.
    let path = match policy.roots.is_empty() {
        true => path,
        false => without_climbing(&path),
    };
    let refused = |kind, why: &str| refused(dir, kind, why);
    let way = Found::way(path, policy);
    let (found, rest) = way.map_err(|e| refused(e.kind, &e.message))?;
    let holder = match tree_at(&found, false, policy)? {
        None if found.missing().is_none() => group_below(found.dir(), policy)?,
        holder => holder,
    };
    if let Some(holder) = holder {
        return Err(refused(ErrorKind::Usage, &shares(&holder)));
    }
    let held = found.into_dir();
    let mounts = Mounts::read();
    let extent = |dir: &Root| {
        let seen = Extent::of(dir, &mounts);
        seen.map_err(|e| Error::file("see where backups are kept", &e))
    };
    let (there, target) = (extent(&held)?, extent(root)?);
    if deletes && there.is_within(&target) {
        let why = "it is in DST, where --delete would find it; write it as a path from there, \
                   without a slash in front";
        return Err(refused(ErrorKind::Usage, why));
    }
    if rest.is_root() && target.is_within(&there) {
        let why = "DST is in it, and would be mixed with them; name another --backup-dir";
        return Err(refused(ErrorKind::Usage, why));
    }
    Ok(Elsewhere { held, rest })
}

/// The path that `..` leads back on.
fn without_climbing(path: &Path) -> PathBuf {
    let mut straight = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(straight.pop()),
            other => straight.push(other),
        }
    }
    straight
}
