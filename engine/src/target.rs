//! Finding the target root that a destination means, within what the receiver's policy allows.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, mkdirat, openat};

use crate::attributes::Scope;
use crate::error::{Error, ErrorKind};
use crate::fs::{
    DIR_FLAGS, Follow, Nearest, PathError, Place, Root, Spot, Step, find_dir, find_dir_beneath,
    nearest, stat,
};
use crate::generation::Tree;
use crate::path::{RelPath, Shown, check_name, is_reserved};
use crate::policy::ServePolicy;
use crate::source::gives_contents;

/// The target that a destination means.
#[derive(Debug)]
pub(crate) struct Target {
    /// `None` in a dry run whose target root does not exist.
    pub(crate) root: Option<Arc<Root>>,
    pub(crate) created: bool,
    /// The name that a single source entry gets.
    pub(crate) rename: Option<Vec<u8>>,
}

/// What a destination leads to. Nothing has been changed, and its path is not followed again.
#[derive(Debug)]
pub(crate) struct Found {
    /// For messages.
    path: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Dir(Arc<Root>),
    Other(Spot),
    Missing(Spot),
}

impl Found {
    /// Follows a destination as the sender gave it.
    pub(crate) fn destination(destination: &[u8], policy: &ServePolicy) -> Result<Self, Error> {
        Found::at(resolve(destination, policy)?, policy)
    }

    /// Makes the directories that lead to a destination, as far as they are missing
    /// (`--mkpath`), and as far as `judge` has nothing against one. Each is made in the one above
    /// it, which is followed anew.
    pub(crate) fn make_way(
        destination: &[u8],
        policy: &ServePolicy,
        judge: impl Fn(&Found) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = resolve(destination, policy)?;
        let above = path.ancestors().skip(1);
        let above = above.filter(|above| !above.as_os_str().is_empty());
        // Above a served root nothing is missing.
        let is_served = |above: &&Path| policy.roots.is_empty() || policy.root_of(above).is_some();
        let above = above.take_while(is_served);
        let is_dir = |above: &&Path| {
            let found = Found::at(above.to_path_buf(), policy);
            found.is_ok_and(|found| found.root().is_some())
        };
        let missing: Vec<&Path> = above.take_while(|above| !is_dir(above)).collect();
        for above in missing.into_iter().rev() {
            let found = Found::at(above.to_owned(), policy)?;
            judge(&found)?;
            found.into_target(false, true, false)?;
        }
        Ok(())
    }

    /// What a destination would lead to if the way to it were made.
    pub(crate) fn after_way(destination: &[u8], policy: &ServePolicy) -> Result<Self, Error> {
        let found = Found::destination(destination, policy);
        found.or_else(|e| {
            let path = resolve(destination, policy)?;
            Found::way(path, policy).map_or(Err(e), |(found, _)| Ok(found))
        })
    }

    /// Follows a path as far as there are directories; the rest may be made below the last one.
    pub(crate) fn way(path: PathBuf, policy: &ServePolicy) -> Result<(Self, RelPath), Error> {
        let (spot, rest) = match nearest(&path, |part| look(part, policy))? {
            Nearest::Missing { spot, rest } => (spot, rest),
            Nearest::Dir(fd) => {
                let what = What::of(Place::Dir(fd), &path);
                return Ok((Found { path, what }, RelPath::root()));
            }
        };
        let first = OsString::from_vec(spot.name.clone());
        let mut missing = RelPath::root();
        for name in std::iter::once(&*first).chain(&rest) {
            check_name(name.as_bytes())
                .map_err(|e| Error::new(ErrorKind::Usage, format!("its path has {e}")))?;
            missing = missing.join(name.as_bytes());
        }
        let what = What::Missing(spot);
        Ok((Found { path, what }, missing))
    }

    /// Follows the path of a named tree.
    pub(crate) fn tree(tree: &Tree, policy: &ServePolicy) -> Result<Self, Error> {
        Found::at(tree.root.clone(), policy)
    }

    fn at(path: PathBuf, policy: &ServePolicy) -> Result<Self, Error> {
        let place = look(&path, policy)?.map_err(|e| unopened(&path, &e))?;
        let what = What::of(place, &path);
        Ok(Found { path, what })
    }

    /// Its path as it was given, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself, or the one that it would be in.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        match &self.what {
            What::Dir(root) => root.as_fd(),
            What::Other(spot) | What::Missing(spot) => spot.dir.as_fd(),
        }
    }

    /// The name in it of what is no directory yet.
    pub(crate) fn missing(&self) -> Option<&[u8]> {
        match &self.what {
            What::Dir(_) => None,
            What::Other(spot) | What::Missing(spot) => Some(&spot.name),
        }
    }

    /// The directory itself, or the one that it would be in, to be held.
    pub(crate) fn into_dir(self) -> Arc<Root> {
        match self.what {
            What::Dir(root) => root,
            What::Other(spot) | What::Missing(spot) => {
                Arc::new(Root::from_fd(spot.dir, spot.dir_path))
            }
        }
    }

    /// The directory, if it is one.
    pub(crate) fn root(&self) -> Option<&Arc<Root>> {
        match &self.what {
            What::Dir(root) => Some(root),
            What::Other(_) | What::Missing(_) => None,
        }
    }

    /// Makes it the target: a missing directory is made, unless this is a dry run, and `single`
    /// entries may be given another name, if the destination does not say that it `names_dir`.
    pub(crate) fn into_target(
        self,
        single: bool,
        names_dir: bool,
        dry_run: bool,
    ) -> Result<Target, Error> {
        let shown = Shown(self.path.as_os_str().as_bytes());
        let refused = |why: &str| {
            let message = format!("the target {shown} {why}");
            Err(Error::new(ErrorKind::FileIo, message))
        };
        let (root, created) = match self.what {
            What::Dir(root) => (Some(root), false),
            // Another non-directory may be there: the entry replaces it.
            What::Other(spot) | What::Missing(spot) if single && !names_dir => {
                check_target_name(&spot.name, shown)?;
                return Ok(Target {
                    root: Some(Arc::new(Root::from_fd(spot.dir, spot.dir_path))),
                    created: false,
                    rename: Some(spot.name),
                });
            }
            What::Other(_) => {
                return refused("is not a directory; give a directory, or one file as source");
            }
            What::Missing(spot) if spot.is_symlink => {
                return refused("is a symlink to nothing; make the directory that it leads to");
            }
            What::Missing(_) if dry_run => (None, true),
            What::Missing(spot) => (Some(Arc::new(make(&spot, &self.path)?)), true),
        };
        Ok(Target {
            root,
            created,
            rename: None,
        })
    }
}

impl What {
    fn of(place: Place, path: &Path) -> Self {
        match place {
            Place::Dir(fd) => What::Dir(Arc::new(Root::from_fd(fd, path.to_owned()))),
            Place::Other(spot) => What::Other(spot),
            Place::Missing(spot) => What::Missing(spot),
        }
    }
}

/// Below a served root no symlink is followed; elsewhere those of root and of this user are.
fn look(path: &Path, policy: &ServePolicy) -> Result<Result<Place, PathError>, Error> {
    let mut judge = refuse_reserved;
    match policy.root_of(path) {
        Some((root, below)) => {
            let start = root.dir()?;
            Ok(find_dir_beneath(start, root.path(), below, &mut judge))
        }
        None if policy.roots.is_empty() => Ok(find_dir(path, Follow::Trusted, &mut judge)),
        None => Err(outside(path)),
    }
}

fn unopened(path: &Path, e: &PathError) -> Error {
    let shown = Shown(path.as_os_str().as_bytes());
    Error::new(
        ErrorKind::FileIo,
        format!("cannot open the target {shown}: {e}"),
    )
}

/// Nothing is pushed into what hasync keeps for itself.
fn refuse_reserved(step: &Step<'_>) -> Result<(), String> {
    let name = step.path.file_name().map(OsStr::as_bytes);
    if name.is_some_and(is_reserved) {
        return Err("is where hasync keeps its own files; nothing is pushed there".to_owned());
    }
    Ok(())
}

fn make(spot: &Spot, path: &Path) -> Result<Root, Error> {
    let shown = Shown(path.as_os_str().as_bytes());
    check_target_name(&spot.name, shown)?;
    let made = mkdirat(&spot.dir, &*spot.name, Mode::from_raw_mode(0o777))
        .and_then(|()| openat(&spot.dir, &*spot.name, DIR_FLAGS, Mode::empty()));
    let fd = made.map_err(|e| Error::file(format_args!("make the target {shown}"), &e.into()))?;
    Ok(Root::from_fd(fd, path.to_owned()))
}

fn check_target_name(name: &[u8], shown: Shown<'_>) -> Result<(), Error> {
    check_name(name)
        .map_err(|e| Error::new(ErrorKind::Usage, format!("the target {shown} has {e}")))
}

/// Whether a destination as it was typed can only be a directory.
pub(crate) fn names_dir(destination: &[u8]) -> bool {
    destination.is_empty() || gives_contents(destination)
}

/// The path that a destination means, before anything is opened: below a served root, if there
/// are any.
fn resolve(destination: &[u8], policy: &ServePolicy) -> Result<PathBuf, Error> {
    let usage = |message: String| Error::new(ErrorKind::Usage, message);
    if destination.contains(&0) {
        return Err(usage("the target path holds a zero byte".to_owned()));
    }
    let typed = PathBuf::from(OsString::from_vec(destination.to_vec()));
    let path = match (typed.strip_prefix("~"), &policy.home) {
        (Ok(rest), Some(home)) => home.join(rest),
        (Ok(_), None) => {
            let shown = Shown(typed.as_os_str().as_bytes());
            return Err(usage(format!(
                "the target {shown} is in a home directory, which the receiving user does not \
                 have; write the path from /"
            )));
        }
        (Err(_), _) => typed,
    };
    match policy.roots.first() {
        Some(first) if path.is_relative() => Ok(first.path().join(path)),
        None if path.as_os_str().is_empty() => Ok(PathBuf::from(".")),
        _ => Ok(path),
    }
}

fn outside(path: &Path) -> Error {
    let shown = Shown(path.as_os_str().as_bytes());
    let message = format!("{shown} is outside the roots that this receiver serves");
    Error::new(ErrorKind::Usage, message)
}

/// Metadata of the root itself.
pub(crate) fn root_listed(root: &Root, scope: Scope) -> io::Result<crate::fs::Listed> {
    let dot: CString = c".".to_owned();
    stat(root, &dot, scope)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::served_root::ServedRoot;

    fn served(root: &Path) -> ServePolicy {
        ServePolicy {
            roots: vec![ServedRoot::pin(root.to_owned())],
            ..ServePolicy::default()
        }
    }

    fn open(destination: &[u8], single: bool, policy: &ServePolicy) -> Result<Target, Error> {
        Found::destination(destination, policy)?.into_target(single, names_dir(destination), false)
    }

    #[test]
    fn a_served_root_cannot_be_left() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        std::fs::create_dir_all(root.join("in")).unwrap();
        std::os::unix::fs::symlink(temp.path(), root.join("out")).unwrap();
        let policy = served(&root);
        let open = |dest: &str| open(dest.as_bytes(), false, &policy);
        assert!(open("in").is_ok());
        assert!(open("").is_ok());
        assert!(open("new").unwrap().created);
        assert!(open(root.to_str().unwrap()).is_ok());
        for outside in [
            "..",
            "in/../..",
            "/etc",
            "out",
            "out/",
            "out/x",
            "/",
            ".hasync",
            "in/.hasync/x",
        ] {
            assert!(open(outside).is_err(), "{outside}");
        }
        assert!(!temp.path().join("x").exists());
    }

    #[test]
    fn a_root_is_what_it_was_when_the_session_began() {
        let temp = tempfile::tempdir().unwrap();
        let [root, other] = ["root", "other"].map(|name| temp.path().join(name));
        // One that is not there serves nothing, nor does what is above it, even when it comes.
        let absent = served(&root);
        std::fs::create_dir(&root).unwrap();
        for destination in ["", "x", root.to_str().unwrap()] {
            for single in [false, true] {
                let e = open(destination.as_bytes(), single, &absent).unwrap_err();
                assert!(e.message.contains("open the served root"), "{e}");
            }
        }
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
        let policy = served(&root);
        std::fs::rename(&root, &other).unwrap();
        std::os::unix::fs::symlink("/", &root).unwrap();
        assert!(open(b"new", false, &policy).unwrap().created);
        assert!(other.join("new").exists());
    }

    #[test]
    fn of_nested_roots_the_inner_one_counts() {
        let temp = tempfile::tempdir().unwrap();
        let inner = temp.path().join("link");
        std::os::unix::fs::symlink("/", &inner).unwrap();
        let mut policy = served(temp.path());
        assert!(open(b"link/etc", false, &policy).is_err());
        policy.roots.push(ServedRoot::pin(inner));
        assert!(open(b"link/etc", false, &policy).is_ok());
    }

    #[test]
    fn a_single_file_may_name_its_target() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), b"").unwrap();
        std::os::unix::fs::symlink("file", temp.path().join("link")).unwrap();
        std::os::unix::fs::symlink("none", temp.path().join("dangling")).unwrap();
        let open = |name: &str, single| {
            let path = temp.path().join(name);
            open(path.as_os_str().as_bytes(), single, &ServePolicy::default())
        };
        for name in ["file", "new", "link", "dangling"] {
            assert_eq!(open(name, true).unwrap().rename.unwrap(), name.as_bytes());
        }
        for (name, single) in [
            ("file", false),
            ("file/", true),
            ("file/.", true),
            ("a/b", false),
            ("a/b", true),
            ("link", false),
            ("dangling", false),
            ("dangling/", true),
            (".hasync", true),
        ] {
            assert!(open(name, single).is_err(), "{name}");
        }
        assert!(open("dir/", true).unwrap().created);
        assert!(open("dir2/.", true).unwrap().created);
    }
}
