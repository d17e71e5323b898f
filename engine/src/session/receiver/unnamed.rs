//! A push without a name: it may not touch what a tree with a name holds, by whatever path it
//! leads there, since the tree's lineage would not know of it.

use std::io;
use std::iter;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::fs::{Extent, Mounts, Root, ancestors, is_absent};
use crate::generation::{Store, Tree, recover};
use crate::path::Shown;
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

/// The name of a tree that shares entries with the destination.
fn tree_at(found: &Found, single: bool, policy: &ServePolicy) -> Result<Option<String>, Error> {
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
            Err(e) if is_absent(&e) || e.kind() == io::ErrorKind::PermissionDenied => {}
            Err(e) => return Err(read(e)),
        }
    }
    Ok(None)
}

/// Whether a tree has entries of the directory that `here` is of, or of the one that is to be
/// `made` in it.
fn shares(tree: &Tree, here: &Extent, made: Option<&[u8]>, mounts: &Mounts) -> bool {
    // A path that does not lead to the tree now leads no push into it either.
    let Ok(there) = Found::tree(tree, &ServePolicy::default()) else {
        return false;
    };
    let Ok(extent) = Extent::of(there.dir(), mounts) else {
        return false;
    };
    match (made, there.missing()) {
        (None, None) => here.overlaps(&extent),
        (Some(_), None) => here.is_within(&extent),
        // Neither is there yet.
        (Some(name), Some(tree)) => name == tree && here.is_same(&extent),
        (None, Some(_)) => false,
    }
}

/// Brings an atomic push without a name to its end that was cut off in its commit.
pub(super) fn recover_unnamed(root: &Arc<Root>) -> Result<(), Error> {
    let store = Store::open(root, None).map_err(|e| {
        Error::file(
            format_args!("open .hasync in {}", root.path().display()),
            &e,
        )
    })?;
    store.map_or(Ok(()), |store| recover(&store).map(|_| ()))
}
