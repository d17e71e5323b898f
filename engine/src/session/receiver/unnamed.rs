//! A push without a name: it may not touch what a tree with a name holds, by whatever path it
//! leads there, since the tree's lineage would not know of it.

use std::ffi::OsString;
use std::fmt;
use std::iter;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};

use crate::change::not_ours;
use crate::error::{Error, ErrorKind};
use crate::fs::{
    Extent, Mounts, Root, ancestors, cannot_be_private, hold, is_not_ours, keeping_time,
};
use crate::generation::{Tree, recover};
use crate::history::Store;
use crate::path::{RESERVED_NAME, RelPath, Shown};
use crate::policy::ServePolicy;
use crate::target::Found;

/// Refuses a destination that shares entries with a tree. What a `single` entry is put into counts
/// as a whole: the sender may not be content with one.
pub(super) fn refuse_kept(found: &Found, single: bool, policy: &ServePolicy) -> Result<(), Error> {
    let shown = Shown(found.path().as_os_str().as_encoded_bytes());
    let Some(holder) = tree_at(found, single, policy)? else {
        return Ok(());
    };
    let name = holder.name();
    Err(Error::new(
        ErrorKind::Usage,
        format!(
            "{shown} shares entries with {holder} of the receiving node, whose lineage this \
             push would break; push it with --tree {name}"
        ),
    ))
}

/// What a destination shares entries with.
pub(super) enum Holder {
    Tree(String),
    Group(String),
}

impl Holder {
    fn name(&self) -> &str {
        match self {
            Holder::Tree(name) | Holder::Group(name) => name,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Tree(name) => write!(f, "tree {name}"),
            Holder::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// The tree that shares entries with what a path leads to, or the group whose file that is, or has
/// it in it. The directory of a group is open: what else of its files would change stays as it is.
pub(super) fn tree_at(
    found: &Found,
    single: bool,
    policy: &ServePolicy,
) -> Result<Option<Holder>, Error> {
    let read = |e| Error::file("read the records of the target", &e);
    if !policy.trees.is_empty() {
        let mounts = Mounts::read();
        let here = Extent::of(found.dir(), &mounts).map_err(read)?;
        let made = found.missing().filter(|_| !single);
        for tree in &policy.trees {
            let name = || tree.name.clone();
            if tree.is_group() && is_of_group(tree, &here, found.missing(), &mounts) {
                return Ok(Some(Holder::Group(name())));
            }
            if !tree.is_group() && shares(tree, &here, made, &mounts) {
                return Ok(Some(Holder::Tree(name())));
            }
        }
    }
    // The configuration may not be at hand: what lies beside the data tells as well.
    let itself = iter::once(found.dir().try_clone_to_owned());
    for dir in itself.chain(ancestors(found.dir())) {
        let dir = Arc::new(Root::from_fd(dir.map_err(read)?, found.path().to_owned()));
        match Store::tree_of(&dir) {
            Ok(None) => {}
            Ok(Some(name)) => return Ok(Some(Holder::Tree(name))),
            // Somebody else has something of that name: this node has not written it.
            Err(e) if is_not_ours(&e) => {}
            Err(e) => return Err(read(e)),
        }
    }
    Ok(None)
}

/// The group whose directory lies in one.
pub(super) fn group_below(dir: impl AsFd, policy: &ServePolicy) -> Result<Option<Holder>, Error> {
    let mut groups = policy
        .trees
        .iter()
        .filter(|tree| tree.is_group())
        .peekable();
    if groups.peek().is_none() {
        return Ok(None);
    }
    let mounts = Mounts::read();
    let read = |e| Error::file("see where backups are kept", &e);
    let here = Extent::of(dir, &mounts).map_err(read)?;
    let group = groups.find(|group| {
        let held = hold(&group.root).ok();
        let extent = held.and_then(|dir| Extent::of(dir, &mounts).ok());
        extent.is_some_and(|extent| extent.is_within(&here))
    });
    Ok(group.map(|group| Holder::Group(group.name.clone())))
}

/// Whether what has a name in the directory that `here` is of is a file of a group, or that
/// directory lies in one that counts as a file of it.
fn is_of_group(group: &Tree, here: &Extent, name: Option<&[u8]>, mounts: &Mounts) -> bool {
    let Ok(dir) = hold(&group.root) else {
        return false;
    };
    let is_named = name.is_some_and(|name| group.files.iter().any(|file| file.as_bytes() == name));
    let is_here = || Extent::of(&dir, mounts).is_ok_and(|dir| here.is_same(&dir));
    let holds = |file: &OsString| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = openat(&dir, file, flags, Mode::empty()).ok();
        let extent = held.and_then(|file| Extent::of(file, mounts).ok());
        extent.is_some_and(|file| here.is_within(&file))
    };
    is_named && is_here() || group.files.iter().any(holds)
}

/// Whether a tree has entries of the directory that `here` is of, or of the one that is to be
/// `made` in it.
fn shares(tree: &Tree, here: &Extent, made: Option<&[u8]>, mounts: &Mounts) -> bool {
    let Some((dir, missing)) = place_of(tree) else {
        return false;
    };
    let Ok(extent) = Extent::of(&dir, mounts) else {
        return false;
    };
    match (made, missing) {
        (None, None) => here.overlaps(&extent),
        (Some(_), None) => here.is_within(&extent),
        // Neither is there yet.
        (Some(name), Some(tree)) => name == tree && here.is_same(&extent),
        (None, Some(_)) => false,
    }
}

/// The directory of a tree, or the one that it is to be made in, and its name there. They are not
/// opened: a confined receiver has no right to. A path that does not lead there now leads no push
/// into it either.
fn place_of(tree: &Tree) -> Option<(OwnedFd, Option<&[u8]>)> {
    let held = |path: &Path| {
        let held = hold(path).ok()?;
        let kind = FileType::from_raw_mode(fstat(&held).ok()?.st_mode);
        (kind == FileType::Directory).then_some(held)
    };
    let itself = held(&tree.root).map(|dir| (dir, None));
    itself.or_else(|| {
        let name = tree.root.file_name()?.as_bytes();
        Some((held(tree.root.parent()?)?, Some(name)))
    })
}

/// Whether the next push has to bring one to its end there that may set what it does not set
/// itself.
pub(super) fn may_be_interrupted(root: &Arc<Root>) -> bool {
    !matches!(Store::open(root, None), Ok(None))
}

/// Brings an atomic push without a name to its end that was cut off in its commit. One that is not
/// atomic needs no `.hasync` of this user's: what somebody else has put there is not believed.
pub(super) fn recover_unnamed(root: &Arc<Root>, atomic: bool) -> Result<(), Error> {
    let store = match Store::open(root, None) {
        Err(e) if !atomic && is_not_ours(&e) => None,
        // What an atomic push is refused for is said next.
        Err(_) if cannot_be_private(&**root, RESERVED_NAME) => None,
        Err(e) => {
            let e = not_ours(root, e);
            let shown = root.shown(&RelPath::root());
            return Err(Error::file(format_args!("read the records in {shown}"), &e));
        }
        Ok(store) => store,
    };
    let Some(store) = store else {
        return Ok(());
    };
    if recover(&store)?.is_none() {
        // Cut off before its journal, or after it: nothing is in there.
        let holder = root.open_dir(&RelPath::root());
        let tidied = holder.and_then(|holder| keeping_time(&holder, || store.remove_if_empty()));
        let tidied = tidied.and_then(|tidied| tidied);
        tidied.map_err(|e| Error::file("remove the records of a commit", &e))?;
    }
    Ok(())
}
