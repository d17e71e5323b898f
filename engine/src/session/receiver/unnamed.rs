//! A push without a name: it may not touch what a tree with a name holds, by whatever path it
//! leads there, since the tree's lineage would not know of it.

use std::iter;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, fstat};

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
    let Some(name) = tree_at(found, single, policy)? else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Usage,
        format!(
            "{shown} shares entries with tree {name} of the receiving node, whose lineage this \
             push would break; push it with --tree {name}"
        ),
    ))
}

/// The name of a tree that shares entries with what a path leads to.
pub(super) fn tree_at(
    found: &Found,
    single: bool,
    policy: &ServePolicy,
) -> Result<Option<String>, Error> {
    let read = |e| Error::file("read the records of the target", &e);
    // A group is a few files among others of its directory.
    let mut trees = policy.trees.iter().filter(|tree| !tree.is_group).peekable();
    if trees.peek().is_some() {
        let mounts = Mounts::read();
        let here = Extent::of(found.dir(), &mounts).map_err(read)?;
        let made = found.missing().filter(|_| !single);
        if let Some(tree) = trees.find(|tree| shares(tree, &here, made, &mounts)) {
            return Ok(Some(tree.name.clone()));
        }
    }
    // The configuration may not be at hand: what lies beside the data tells as well.
    let itself = iter::once(found.dir().try_clone_to_owned());
    for dir in itself.chain(ancestors(found.dir())) {
        let dir = Arc::new(Root::from_fd(dir.map_err(read)?, found.path().to_owned()));
        match Store::tree_of(&dir) {
            Ok(None) => {}
            Ok(Some(name)) => return Ok(Some(name)),
            // Somebody else has something of that name: this node has not written it.
            Err(e) if is_not_ours(&e) => {}
            Err(e) => return Err(read(e)),
        }
    }
    Ok(None)
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
