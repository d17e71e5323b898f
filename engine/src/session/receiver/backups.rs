//! The directory that backups are asked to be kept in: it is found before anything is changed, and
//! held if it is not in the target.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::fstat;

use super::unnamed::tree_at;
use crate::change::Elsewhere;
use crate::error::{Error, ErrorKind};
use crate::fs::{Root, ancestors};
use crate::options::{BackupPlace, Options};
use crate::path::{RelPath, Shown};
use crate::policy::ServePolicy;
use crate::refusal::Refusal;
use crate::target::Found;

/// Refuses what could keep no backups. Gives their directory if it is not in the target; a tree
/// that `is_named` keeps all that it has where it is.
pub(super) fn find(
    root: &Root,
    options: &Options,
    policy: &ServePolicy,
    is_named: bool,
) -> Result<Option<Elsewhere>, Error> {
    match options.backup.as_ref().map(|backup| &backup.place) {
        None | Some(BackupPlace::Beside) => Ok(None),
        Some(BackupPlace::Below(dir)) => check_below(root, &RelPath::of(dir)).map(|()| None),
        Some(BackupPlace::Elsewhere(_)) if is_named => Err(Error::peer(Refusal::Backup)),
        Some(BackupPlace::Elsewhere(dir)) => {
            find_elsewhere(root, (dir, options.delete), policy).map(Some)
        }
    }
}

fn check_below(root: &Root, dir: &RelPath) -> Result<(), Error> {
    match root.open_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            let shown = root.shown(dir);
            Err(Error::file(
                format_args!("keep backups in {shown} on the target"),
                &e,
            ))
        }
        _ => Ok(()),
    }
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
    let refused = |kind, why: &str| {
        let shown = Shown(dir);
        let message = format!("cannot keep backups in {shown} on the target: {why}");
        Error::new(kind, message)
    };
    let way = Found::way(path, policy);
    let (found, rest) = way.map_err(|e| refused(e.kind, &e.message))?;
    if let Some(name) = tree_at(&found, false, policy)? {
        let why = format!("it shares entries with tree {name} there; name another --backup-dir");
        return Err(refused(ErrorKind::Usage, &why));
    }
    let held = found.into_dir();
    if deletes && is_in(&*held, root)? {
        let why = "it is in DST, where --delete would find it; write it as a path from there, \
                   without a slash in front";
        return Err(refused(ErrorKind::Usage, why));
    }
    if rest.is_root() && is_in(root, &*held)? {
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

/// Whether a directory is that one, or below it.
fn is_in(dir: impl AsFd, above: impl AsFd) -> Result<bool, Error> {
    let itself = dir.as_fd().try_clone_to_owned();
    let mut ways = std::iter::once(itself).chain(ancestors(&dir));
    let is_it = |way: io::Result<OwnedFd>| io::Result::Ok(id(way?)? == id(&above)?);
    let found: io::Result<bool> = ways.try_fold(false, |found, way| Ok(found || is_it(way)?));
    found.map_err(|e| Error::file("see where backups are kept", &e))
}

fn id(dir: impl AsFd) -> io::Result<(u64, u64)> {
    let stat = fstat(dir)?;
    Ok((stat.st_dev, stat.st_ino))
}
