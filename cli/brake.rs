//! The delete brake of named trees: what must be seen on the source before anything is deleted on
//! the standby. A source that was not mounted looks like one whose files were all deleted. How much
//! would be deleted of how much, the receiver counts.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hasync_engine::{Summary, escape};

use crate::config::{Brake, Tree};
use crate::exit::{Exit, Failure};
use crate::memory::Known;
use crate::numbers::commas;

/// Stops a push whose source does not look as it should. `known` is what the last push saw.
pub(crate) fn look(tree: &Tree, known: Option<&Known>) -> Result<(), Failure> {
    if tree.is_group() {
        return look_at_group(tree);
    }
    if !tree.options.delete {
        return Ok(());
    }
    look_at_root(tree, known)
}

/// A group without a single file is not one that is mirrored.
fn look_at_group(tree: &Tree) -> Result<(), Failure> {
    let is_missing = |file: &std::ffi::OsString| {
        let found = fs::symlink_metadata(file);
        found.is_err_and(|cause| cause.kind() == std::io::ErrorKind::NotFound)
    };
    if tree.sources().iter().all(is_missing) {
        let what = format!("none of the files of the group is in {}", shown(tree.dir()));
        return Err(stop(tree, &what));
    }
    Ok(())
}

/// What a push saw, for the next one.
pub(crate) fn seen(tree: &Tree, summary: &Summary) -> Known {
    Known {
        entries: summary.entries.total(),
        is_mount: is_mount(tree.dir()),
    }
}

/// The line about a push whose deletions the brake stopped.
pub(crate) fn stopped_line(tree: &Tree, brake: &Brake, stopped: u64) -> String {
    let (name, stopped, entries) = (&tree.name, commas(stopped), commas(brake.entries));
    let limit = match tree.options.max_delete {
        Some(limit) => format!(" or more than its max_delete of {}", commas(limit)),
        None => String::new(),
    };
    format!(
        "{stopped} entries would be deleted, more than {} % and more than {entries}{limit}: none \
         was; if that is right, run hasync push --tree {name} --no-brake once (exit {})",
        brake.percent.0,
        Exit::DeleteLimit
    )
}

fn look_at_root(tree: &Tree, known: Option<&Known>) -> Result<(), Failure> {
    let dir = tree.dir();
    if let Some(sentinel) = &tree.sentinel
        && fs::symlink_metadata(dir.join(sentinel)).is_err()
    {
        let sentinel = escape(sentinel.as_os_str().as_encoded_bytes()).into_owned();
        return Err(stop(
            tree,
            &format!("the sentinel {sentinel} is not in {}", shown(dir)),
        ));
    }
    if known.is_some_and(|known| known.is_mount) && !is_mount(dir) {
        let what = format!("{} is not a file system of its own any more", shown(dir));
        return Err(stop(tree, &what));
    }
    if is_empty(dir) && known.is_none_or(|known| known.entries > 1) {
        return Err(stop(tree, &format!("{} is empty", shown(dir))));
    }
    Ok(())
}

fn stop(tree: &Tree, what: &str) -> Failure {
    let name = &tree.name;
    Failure::new(
        Exit::DeleteLimit,
        format!(
            "{what}: is its disk mounted? nothing was pushed; if that is right, run hasync push \
             --tree {name} --no-brake once"
        ),
    )
}

/// Whether `dir` is where a file system is mounted. One bind-mounted from the same file system
/// is not told apart.
fn is_mount(dir: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|facts| facts.dev()).ok();
    dir.parent()
        .is_some_and(|parent| device(dir).is_some() && device(dir) != device(parent))
}

/// A directory with nothing that would be mirrored. One that cannot be read is not empty: reading
/// it is what the push fails with.
fn is_empty(dir: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(dir) else {
        return false;
    };
    let counts = |name: &std::ffi::OsStr| name != ".hasync" && name != "lost+found";
    !entries.any(|entry| entry.is_ok_and(|entry| counts(&entry.file_name())))
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes()).into_owned()
}
