//! Sources that keep their paths in the tree: names under `-R`, and lists of names. Everything
//! that is named is examined here already: what is not there is said before anything is scanned,
//! and no directory is pushed for the sake of what is missing in it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::relative::Relative;
use super::{Opener, RESERVED, gives_contents};
use crate::attributes::Scope;
use crate::error::{Error, ErrorKind, describe};
use crate::filter::{Half, InForce};
use crate::fs::{Root, follow_listed, is_absent, stat};
use crate::path::{RelPath, Shown, is_reserved};
use crate::selection::{OnlyName, Part, Picked, Selection};
use crate::source_list::SourceList;

/// Names that begin in one directory.
#[derive(Default)]
struct Base {
    selection: Selection,
    /// The directory itself is part of the tree.
    has_base: bool,
    /// What is in it, too.
    is_named: bool,
}

/// Names by the directories that they begin in, in the order of these.
#[derive(Default)]
struct Bases {
    order: Vec<PathBuf>,
    by_path: HashMap<PathBuf, Base>,
}

impl Bases {
    /// Adds a name; `top` is where one begins that does not say it.
    fn add(&mut self, name: &[u8], top: &Path) -> Result<(), Error> {
        let Some(relative) = Relative::parse(name) else {
            let shown = Shown(name);
            return Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "under -R the path {shown} is kept, and .. in it leads out of the tree; \
                         write it without, or put /./ behind it"
                ),
            ));
        };
        let path = match relative.base {
            Some(base) => top.join(OsStr::from_bytes(base)),
            None => top.to_owned(),
        };
        let base = match self.by_path.get_mut(&path) {
            Some(base) => base,
            None => {
                self.order.push(path.clone());
                self.by_path.entry(path).or_default()
            }
        };
        // What it comes to depends on what it is.
        let picked = match relative.is_contents {
            true => Picked::Entries,
            false => Picked::Itself,
        };
        base.selection.push(&relative.path, picked);
        base.has_base |= relative.has_base;
        base.is_named |= relative.path.is_empty();
        Ok(())
    }
}

impl Opener<'_> {
    /// Opens the arguments with the paths that they have.
    pub(super) fn open_relative(&mut self, arguments: &[OsString]) -> Result<(), Error> {
        let mut bases = Bases::default();
        for argument in arguments {
            bases.add(argument.as_bytes(), Path::new("."))?;
        }
        self.open_bases(bases);
        Ok(())
    }

    /// Opens what a list names of the only argument.
    pub(super) fn open_listed(
        &mut self,
        arguments: &[OsString],
        list: &SourceList,
    ) -> Result<(), Error> {
        let [top] = arguments else {
            let message = "--files-from names what is pushed of one source; give a single SRC";
            return Err(Error::new(ErrorKind::Usage, message));
        };
        let top = Path::new(top);
        if let Err(why) = self.open_root(top) {
            self.source.failed.push((top.into(), why));
            return Ok(());
        }
        if !self.options.relative {
            let joined = |path: &[u8]| {
                let mut joined = top
                    .join(OsStr::from_bytes(path))
                    .into_os_string()
                    .into_vec();
                // A path as such has no slash at its end.
                if gives_contents(path) && !gives_contents(&joined) {
                    joined.push(b'/');
                }
                OsString::from_vec(joined)
            };
            self.open_all(&list.paths().map(joined).collect::<Vec<_>>());
            return Ok(());
        }
        let mut bases = Bases::default();
        for path in list.paths() {
            bases.add(path, top)?;
        }
        self.open_bases(bases);
        Ok(())
    }

    fn open_bases(&mut self, mut bases: Bases) {
        for path in bases.order {
            let Some(mut base) = bases.by_path.remove(&path) else {
                continue;
            };
            match self.open_root(&path) {
                Ok(root) => self.open_base(Arc::new(root), &mut base),
                Err(why) => self.source.failed.push((path.into(), why)),
            }
        }
        let is_file = self.source.single && self.source.layers.len() == 1;
        self.source.single = is_file && self.make_single();
    }

    fn open_base(&mut self, root: Arc<Root>, base: &mut Base) {
        let mut selection = std::mem::take(&mut base.selection);
        selection.sort();
        let mut dirs = Dirs {
            root: &root,
            last: None,
        };
        let is_named = base.is_named;
        selection.retain(|path, picked| self.pick(&mut dirs, (path, is_named), picked));
        let passes = is_named || !self.passes_base_over(&root);
        let has_base = base.has_base && passes && self.takes_base(is_named);
        if selection.is_empty() && !has_base {
            return;
        }
        if has_base {
            match stat(&*root, c".", Scope::default()) {
                Ok(listed) => drop(self.source.root_entry.get_or_insert(listed.entry)),
                Err(e) => {
                    let path = root.path().into();
                    self.source.failed.push((path, describe(&e)));
                }
            }
        }
        let part = selection.part(!self.filter.is_empty());
        self.add(root, part, None);
    }

    /// Whether a directory that names begin in is part of the tree if they say so.
    fn takes_base(&mut self, is_named: bool) -> bool {
        if self.picked(true).is_none() {
            self.source.skipped_dirs.push(b".".to_vec());
            return false;
        }
        is_named || self.options.implied_dirs
    }

    /// What counts for a path that is named. Of files of rules those count that stand where a walk
    /// comes along, down from what is named.
    fn rules_for(&self, root: &Root, path: &[u8], base_is_named: bool) -> io::Result<Arc<InForce>> {
        let above = RelPath::of(path).parent();
        let is_walked = base_is_named || !above.is_root();
        match self.options.recursive && is_walked {
            true => self.filter.in_dir(Half::Sender, root, &above),
            false => Ok(self.filter.for_names_in(root)),
        }
    }

    /// Whether the filters leave a directory out as what is called `.`.
    fn passes_base_over(&self, root: &Root) -> bool {
        let rules = self.filter.for_names_in(root);
        rules.passes_over(Half::Sender, b".", true)
    }

    /// How much of what a path names is pushed; `None` is nothing.
    fn pick(
        &mut self,
        dirs: &mut Dirs<'_>,
        (path, base_is_named): (&[u8], bool),
        picked: Picked,
    ) -> Option<Picked> {
        let with_contents = picked == Picked::Entries;
        let is_dir = match self.find(dirs, path, with_contents) {
            Ok(is_dir) => Some(is_dir),
            Err(e) if self.deletes(&e) => None,
            Err(e) if self.options.ignore_missing && e.kind() == io::ErrorKind::NotFound => {
                return None;
            }
            Err(e) => return self.failed(dirs, path, &e),
        };
        let rules = match self.rules_for(dirs.root, path, base_is_named) {
            Ok(rules) => rules,
            // No rules are where nothing is.
            Err(e) if is_absent(&e) => self.filter.for_names_in(dirs.root),
            Err(e) => return self.failed(dirs, path, &e),
        };
        let is_named = !path.is_empty();
        if is_named && rules.passes_over(Half::Sender, path, is_dir == Some(true)) {
            return None;
        }
        self.source.single = is_dir == Some(false);
        match is_dir {
            None => Some(Picked::Gone),
            Some(false) => Some(Picked::Itself),
            Some(true) => {
                let picked = self.picked(with_contents);
                if picked.is_none() {
                    let shown = RelPath::of(path).shown().into_owned();
                    self.source.skipped_dirs.push(shown);
                }
                picked
            }
        }
    }

    /// Notes a path of which it is not known whether it is pushed.
    fn failed(&mut self, dirs: &Dirs<'_>, path: &[u8], e: &io::Error) -> Option<Picked> {
        let shown = dirs.root.path().join(OsStr::from_bytes(path));
        self.source.failed.push((shown.into(), describe(e)));
        None
    }

    /// Whether a path leads to a directory.
    fn find(&self, dirs: &mut Dirs<'_>, path: &[u8], with_contents: bool) -> io::Result<bool> {
        if path.is_empty() {
            return Ok(true);
        }
        if path.split(|&b| b == b'/').any(is_reserved) {
            return Err(io::Error::other(RESERVED));
        }
        let path = RelPath::of(path);
        let (parent, name) = path.split().unwrap_or((RelPath::root(), b""));
        let dir = dirs.open(&parent)?;
        let mut listed = self.examine(dir, name, parent.depth())?;
        if with_contents && listed.entry.symlink_target().is_some() {
            follow_listed(
                dir.as_fd(),
                &mut listed,
                self.on_the_way(),
                Scope::default(),
            )?;
        }
        match listed.entry.is_dir() {
            false if with_contents => Err(io::ErrorKind::NotADirectory.into()),
            is_dir => Ok(is_dir),
        }
    }

    /// Makes of a selection of one entry, which is no directory and in none, that entry.
    fn make_single(&mut self) -> bool {
        let has_root = self.source.root_entry.is_some();
        let Some(layer) = self.source.layers.first_mut().filter(|_| !has_root) else {
            return false;
        };
        let Some(name) = layer.part.single().map(<[u8]>::to_vec) else {
            return false;
        };
        layer.part = Part::Only(OnlyName {
            on_disk: name.clone(),
            shown: name,
            picked: Picked::Itself,
            is_dir: false,
        });
        true
    }
}

/// Opens directories below a root, of which one after another is asked for.
struct Dirs<'a> {
    root: &'a Root,
    last: Option<(RelPath, OwnedFd)>,
}

impl Dirs<'_> {
    fn open(&mut self, dir: &RelPath) -> io::Result<&OwnedFd> {
        let is_last = self.last.as_ref().is_some_and(|(last, _)| last == dir);
        if !is_last {
            self.last = Some((dir.clone(), self.root.open_dir(dir)?));
        }
        let last = self.last.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(&last.1)
    }
}
