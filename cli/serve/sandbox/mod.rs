//! What `hasync serve` takes away from itself, so that whoever takes it over has little of it:
//! rights that it does not need, system calls that it does not make, and all of the file system
//! but the directories that it receives into.
//!
//! All of that holds for the one thread there is, and for those that it starts later: nothing here
//! may be called after the first of them. Where the directories are known beforehand, it is done
//! before the first byte of the peer; else its first message is read without any right of root,
//! the directory that it names is opened, and that one is all there is from then on.

mod calls;
mod capabilities;
mod landlock;
#[cfg(debug_assertions)]
mod taken_over;

use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use ::landlock::RulesetError;
use hasync_engine::generation::Tree;
use hasync_engine::{Confinement, ServePolicy, hold, set_by_name_through};
use rustix::fs::{Mode, OFlags, fstat, openat};

use self::landlock::{Place, Reach};
use super::helper::Helper;
use crate::exit::{Exit, Failure};

/// Confines this process to what `policy` serves, or has the engine do so as soon as that is known.
/// What has to be changed by name, `helper` changes.
pub(super) fn enter(policy: &mut ServePolicy, helper: Arc<Helper>) -> Result<(), Failure> {
    capabilities::drop_most(policy.rights).map_err(failed)?;
    // Where they cannot be, `gaps` says so.
    let _ = calls::refuse(&calls::OUTWARD);
    let _ = calls::refuse(calls::TO_OTHERS);
    let is_bound = !policy.roots.is_empty() || policy.only_trees.is_some();
    if is_bound {
        restrict(&served(policy), helper).map_err(failed)?;
        policy.confinement = Some(Arc::new(Bound));
        return Ok(());
    }
    capabilities::suspend().map_err(failed)?;
    policy.confinement = Some(Arc::new(Pending {
        policy: policy.clone(),
        helper,
    }));
    Ok(())
}

/// What of this cannot be had here, one line each.
pub(crate) fn gaps() -> Vec<&'static str> {
    let mut gaps = landlock::gaps();
    if !calls::can_be_refused() {
        gaps.push(
            "this kernel cannot keep a receiver from making system calls (seccomp): whoever took \
             one over could open sockets, run programs, reach the other processes of its user, and \
             as root change owners and modes of any file",
        );
    }
    gaps
}

/// The directories were known beforehand.
#[derive(Debug)]
struct Bound;

impl Confinement for Bound {
    fn is_bound(&self) -> bool {
        true
    }

    fn about_to_open(&self) -> Result<(), String> {
        Ok(())
    }

    fn confine(&self, _: &[BorrowedFd<'_>]) -> Result<(), String> {
        Ok(())
    }

    fn forgo_trusted(&self) -> Result<(), String> {
        capabilities::forgo_trusted().map_err(|e| e.to_string())
    }
}

/// The directory is the peer's choice, and not known yet.
#[derive(Debug)]
struct Pending {
    policy: ServePolicy,
    helper: Arc<Helper>,
}

impl Confinement for Pending {
    fn is_bound(&self) -> bool {
        false
    }

    fn forgo_trusted(&self) -> Result<(), String> {
        Bound.forgo_trusted()
    }

    fn about_to_open(&self) -> Result<(), String> {
        capabilities::resume().map_err(|e| e.to_string())
    }

    fn confine(&self, dirs: &[BorrowedFd<'_>]) -> Result<(), String> {
        let reach = tree(self.policy.rights.devices);
        let places = match dirs {
            [] => served(&self.policy),
            dirs => dirs.iter().filter_map(|dir| place(*dir, reach)).collect(),
        };
        restrict(&places, Arc::clone(&self.helper)).map_err(|e| e.to_string())
    }
}

fn tree(devices: bool) -> Reach {
    if devices {
        Reach::Tree
    } else {
        Reach::TreeWithoutDevices
    }
}

/// The roots, and what receiving the named trees takes. Other trees are known without a right.
fn served(policy: &ServePolicy) -> Vec<Place> {
    let reach = tree(policy.rights.devices);
    let mut places = Vec::new();
    for root in policy.roots.iter().filter_map(|root| root.dir().ok()) {
        places.extend(place(root, reach));
        places.extend(records_above(root));
    }
    for tree in policy.served_trees() {
        places.extend(of_tree(tree, reach));
    }
    places
}

/// The records that trees above a root keep beside their data.
fn records_above(root: BorrowedFd<'_>) -> Vec<Place> {
    let mut found = Vec::new();
    let Ok(mut dir) = root.try_clone_to_owned() else {
        return found;
    };
    // The top is above itself: no path is that deep.
    for _ in 0..PATH_DEPTH_MAX {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(above) = openat(&dir, "..", flags, Mode::empty()) else {
            break;
        };
        if is_same(&dir, &above) {
            break;
        }
        if let Ok(held) = openat(&above, RESERVED_NAME, flags, Mode::empty()) {
            let reach = Reach::Look;
            found.push(Place { held, reach });
        }
        dir = above;
    }
    found
}

/// Where a named tree is. If its directory is missing, the first push makes it: until then its
/// parent is in reach.
fn of_tree(tree: &Tree, reach: Reach) -> Vec<Place> {
    // What could not be made is reported by the push that needs it.
    let _ = tree.prepare();
    let parent = || open(tree.root.parent()?, reach);
    let root = open(&tree.root, reach).or_else(parent);
    let lock = tree.lock_file.as_deref();
    let lock = lock.and_then(|file| open(file, Reach::Lock));
    let state = open(&tree.state_dir, Reach::TreeWithoutDevices);
    root.into_iter().chain(lock).chain(state).collect()
}

/// Levels that a path can have.
const PATH_DEPTH_MAX: usize = 4096;

/// Where a tree keeps its records, below its root.
const RESERVED_NAME: &str = ".hasync";

/// What the process asks the kernel about itself and this boot.
const ASKED: [(&str, Reach); 2] = [
    ("/proc/self", Reach::Look),
    ("/proc/sys/kernel/random/boot_id", Reach::Read),
];

fn restrict(places: &[Place], helper: Arc<Helper>) -> Result<(), RulesetError> {
    let trees = places.iter().filter(|place| place.reach.is_tree());
    helper.settle(trees.map(|place| place.held.as_fd()));
    let asked = ASKED.iter();
    let asked: Vec<Place> = asked
        .filter_map(|&(path, reach)| open(Path::new(path), reach))
        .collect();
    landlock::restrict(places.iter().chain(&asked))?;
    // The kernel forgets a file of /proc that nobody holds, and its rule with it.
    std::mem::forget(asked);
    // Landlock has no rules for these.
    let _ = calls::refuse(calls::BY_NAME);
    #[cfg(debug_assertions)]
    taken_over::try_all(places, &helper);
    set_by_name_through(helper);
    Ok(())
}

fn place(dir: BorrowedFd<'_>, reach: Reach) -> Option<Place> {
    let held = dir.try_clone_to_owned().ok()?;
    Some(Place { held, reach })
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let id = |dir| fstat(dir).map(|stat| (stat.st_dev, stat.st_ino));
    matches!((id(one), id(other)), (Ok(one), Ok(other)) if one == other)
}

/// Opens a place without doing anything to it. A symlink that somebody else planted on the way
/// leads to none.
fn open(path: &Path, reach: Reach) -> Option<Place> {
    let held = hold(path).ok()?;
    Some(Place { held, reach })
}

fn failed(why: impl Display) -> Failure {
    let message = format!("cannot give up the rights that a receiver does not need: {why}");
    Failure::new(Exit::FileIo, message)
}
