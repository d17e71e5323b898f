//! The source tree: one or several SRC arguments seen as a single tree. `SRC/` gives its contents,
//! `SRC` gives itself; where two give the same name, the first wins, directories are merged, and a
//! directory wins over anything else.

mod relative;
mod selected;

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::attributes::{Attributes, Scope};
use crate::entry::{Entry, Sum};
use crate::error::{Error, describe};
use crate::filter::{Filter, Half};
use crate::fs::{FileDir, Follow, Listed, Root, open_dir, stat, stat_with_atime};
use crate::links::LinkRules;
use crate::options::Options;
use crate::path::{RelPath, Shown, is_reserved};
use crate::selection::{OnlyName, Part, Picked};
use crate::since::Meta;

/// How often a directory is opened that is not the one that it was.
const OPEN_ATTEMPTS: usize = 100;

/// Where a directory of the source tree takes entries from: one directory on disk, or a part of it.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) root: Arc<Root>,
    pub(crate) path: RelPath,
    /// What is taken from there.
    pub(crate) part: Part,
    /// Device of what was named, for `-x`; `None` on the way to it.
    pub(crate) dev: Option<u64>,
    /// What the directory was when it was read. What is taken from there must come from the same.
    pub(crate) own: Option<(Meta, Attributes)>,
    /// Which of the directories that a walk has come through it is, or was entered from.
    pub(crate) passed: Option<usize>,
}

/// The SRC arguments, opened.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// What makes the root of the tree; empty if there is nothing to push.
    pub(crate) layers: Vec<Layer>,
    /// Metadata of the root, if a `SRC/` argument gives it.
    pub(crate) root_entry: Option<Entry>,
    /// Arguments that could not be opened, with the reason in words.
    pub(crate) failed: Vec<(OsString, String)>,
    /// Arguments left out because they are directories and `-r` was not given.
    pub(crate) skipped_dirs: Vec<Vec<u8>>,
    /// The only argument names one entry that is not a directory.
    pub(crate) single: bool,
}

impl Source {
    /// Opens every argument that the options and the filter admit, noting those that cannot be.
    ///
    /// # Errors
    ///
    /// An argument that makes no sense.
    pub(crate) fn open(
        arguments: &[OsString],
        options: &Options,
        filter: &Filter,
    ) -> Result<Source, Error> {
        let mut opener = Opener {
            source: Source::default(),
            links: LinkRules::of(options),
            options,
            filter,
        };
        match &options.files_from {
            None if options.relative => opener.open_relative(arguments)?,
            None => opener.open_all(arguments),
            Some(list) => opener.open_listed(arguments, list)?,
        }
        Ok(opener.source)
    }

    /// Gives the single entry another name in the tree.
    pub(crate) fn rename_single(&mut self, name: Vec<u8>) {
        if let Some(Part::Only(only)) = self.layers.first_mut().map(|layer| &mut layer.part) {
            only.shown = name;
        }
    }

    /// The name that the single entry has on the source, if the tree shows it by another.
    pub(crate) fn renamed_from(&self) -> Option<&[u8]> {
        let layer = self.layers.first().filter(|_| self.single)?;
        let only = layer.part.only()?;
        (only.on_disk != only.shown).then_some(&only.on_disk)
    }
}

/// Opens arguments.
struct Opener<'a> {
    source: Source,
    links: LinkRules,
    options: &'a Options,
    filter: &'a Filter,
}

impl Opener<'_> {
    fn open_all(&mut self, arguments: &[OsString]) {
        for argument in arguments {
            let opened = if gives_contents(argument.as_bytes()) {
                self.open_contents(argument)
            } else {
                self.open_name(argument)
            };
            if let Err(why) = opened
                && !(self.options.ignore_missing && self.links.is_missing(Path::new(argument)))
            {
                self.source.failed.push((argument.clone(), why));
            }
        }
        self.source.single &= arguments.len() == 1;
    }

    fn open_contents(&mut self, argument: &OsString) -> Result<(), String> {
        let root = self.open_root(Path::new(argument))?;
        let Some(picked) = self.picked(true) else {
            self.source.skipped_dirs.push(b".".to_vec());
            return Ok(());
        };
        let listed = stat(&root, c".", Scope::default()).map_err(|e| describe(&e))?;
        self.source.root_entry.get_or_insert(listed.entry);
        self.add(Arc::new(root), Part::of(picked), Some(listed.dev));
        Ok(())
    }

    /// How much of a directory is pushed that is named; `None` if it is left out.
    fn picked(&self, with_contents: bool) -> Option<Picked> {
        match (self.options.recursive, self.options.dirs) {
            (true, _) => Some(Picked::All),
            (false, true) if with_contents => Some(Picked::Entries),
            (false, true) => Some(Picked::Itself),
            (false, false) => None,
        }
    }

    fn add(&mut self, root: Arc<Root>, part: Part, dev: Option<u64>) {
        self.source.layers.push(Layer {
            root,
            path: RelPath::root(),
            part,
            dev,
            own: None,
            passed: None,
        });
    }

    fn open_name(&mut self, argument: &OsString) -> Result<(), String> {
        let bytes = argument.as_bytes();
        let (parent, name) = match bytes.iter().rposition(|&b| b == b'/') {
            Some(0) => (&b"/"[..], &bytes[1..]),
            Some(at) => (&bytes[..at], &bytes[at + 1..]),
            None => (&b"."[..], bytes),
        };
        if is_reserved(name) {
            return Err(RESERVED.to_owned());
        }
        let root = self.parent(Path::new(OsStr::from_bytes(parent)))?;
        let (is_dir, dev) = match self.examine(&root, name, 0) {
            Ok(listed) => (listed.entry.is_dir(), Some(listed.dev)),
            Err(e) if self.deletes(&e) => (false, None),
            Err(e) => return Err(describe(&e)),
        };
        let rules = self.filter.for_names_in(&root);
        if rules.passes_over(Half::Sender, name, is_dir) {
            return Ok(());
        }
        let picked = match (is_dir, dev) {
            (true, _) => self.picked(false),
            (false, Some(_)) => Some(Picked::Itself),
            (false, None) => Some(Picked::Gone),
        };
        let Some(picked) = picked else {
            self.source.skipped_dirs.push(name.to_vec());
            return Ok(());
        };
        self.source.single = picked == Picked::Itself && !is_dir;
        let only = OnlyName {
            on_disk: name.to_vec(),
            shown: name.to_vec(),
            picked,
            is_dir,
        };
        self.add(root, Part::Only(only), dev);
        Ok(())
    }

    /// Examines a name as it is to be pushed.
    fn examine(&self, dir: impl AsFd, name: &[u8], depth: usize) -> io::Result<Listed> {
        let mut listed = stat_name(&dir, name, Scope::default())?;
        let looked = (self.links).look_through(dir.as_fd(), &mut listed, depth, Scope::default());
        looked.map_err(|e| self.links.of_named(e))?;
        Ok(listed)
    }

    /// Whether what could not be found is to be removed from the target.
    fn deletes(&self, e: &io::Error) -> bool {
        self.options.delete_missing && e.kind() == io::ErrorKind::NotFound
    }

    /// The directory that an argument is in; those that a shell makes of `DIR/*` share it.
    fn parent(&self, path: &Path) -> Result<Arc<Root>, String> {
        let last = self.source.layers.last();
        let last = last.filter(|last| last.part.only().is_some());
        match last.filter(|last| last.root.path() == path) {
            Some(last) => Ok(Arc::clone(&last.root)),
            None => self.open_root(path).map(Arc::new),
        }
    }

    /// Follows the path to a source, or says why not.
    fn open_root(&self, path: &Path) -> Result<Root, String> {
        let follow = self.on_the_way();
        let below = match () {
            () if self.links.any() => Some(self.links.whose),
            () => (self.options.relative).then_some(follow),
        };
        match open_dir(path, follow) {
            Ok(fd) => {
                let root = Root::from_fd(fd, path.to_owned());
                let root = root.quietly(self.options.reads_quietly());
                below
                    .into_iter()
                    .for_each(|follow| root.follow_below(follow));
                Ok(root)
            }
            Err(e) if e.is_symlink() => Err(format!("{e}, or --follow-untrusted")),
            Err(e) => Err(describe(&e.into())),
        }
    }

    /// Symlinks that are followed on the way to what is named.
    fn on_the_way(&self) -> Follow {
        match self.options.follow_untrusted {
            true => Follow::Any,
            false => Follow::Trusted,
        }
    }
}

/// Why a source is refused.
const RESERVED: &str = "what is in .hasync is hasync's own and never mirrored";

/// Whether an argument means the contents of a directory: a trailing slash, `.` or `..`.
pub(crate) fn gives_contents(argument: &[u8]) -> bool {
    let last = argument.rsplit(|&b| b == b'/').next().unwrap_or(argument);
    matches!(last, b"" | b"." | b"..")
}

/// Examines one name of an open directory, and of its attributes those in `scope`.
pub(crate) fn stat_name(dir: impl AsFd, name: &[u8], scope: Scope) -> io::Result<Listed> {
    stat(dir, &c_name(name)?, scope)
}

/// The same, with the time of its last access.
pub(crate) fn stat_name_with_atime(
    dir: impl AsFd,
    name: &[u8],
    scope: Scope,
) -> io::Result<Listed> {
    stat_with_atime(dir, &c_name(name)?, scope)
}

fn c_name(name: &[u8]) -> io::Result<CString> {
    CString::new(name)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a name with a zero byte"))
}

impl Layer {
    /// Opens the directory on disk.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        self.root.open_dir(&self.path)
    }

    /// Whether files are read from the two alike, but for their paths.
    pub(crate) fn is_like(&self, other: &Layer) -> bool {
        Arc::ptr_eq(&self.root, &other.root) && self.part.only() == other.part.only()
    }

    /// Opens it to read files that were found there. Another may have taken its name, which may be
    /// exchanged back in a moment.
    pub(crate) fn open_files(&self) -> io::Result<FileDir<OwnedFd>> {
        let own = self.own.as_ref();
        let is_same = |access| own.is_none_or(|(own, _)| own.access() == access);
        for _ in 0..OPEN_ATTEMPTS {
            let dir = FileDir::new(self.open()?)?.following(self.root.follow());
            let dir = dir.quietly(self.root.is_quiet());
            // A root is held.
            if self.path.is_root() || is_same(dir.access()) {
                return Ok(dir);
            }
        }
        Err(io::Error::other(
            "its directory is another one than the one that was listed; push again",
        ))
    }

    /// The layer below this one for the subdirectory that the tree shows as `name`.
    pub(crate) fn child(&self, name: &[u8]) -> Layer {
        let part = self.part.below(name);
        Layer {
            root: Arc::clone(&self.root),
            path: self.path.join(self.on_disk(name)),
            // Each path of a selection has a device of its own.
            dev: self.dev.filter(|_| !matches!(self.part, Part::Chosen(_))),
            part,
            own: None,
            passed: self.passed,
        }
    }

    /// The name on disk of what the tree shows as `name`.
    pub(crate) fn on_disk<'a>(&'a self, name: &'a [u8]) -> &'a [u8] {
        self.part.only().map_or(name, |only| &only.on_disk)
    }

    /// The path on disk as the user would write it, quoted for a message.
    pub(crate) fn shown(&self, name: &[u8]) -> String {
        let mut path = self.root.path().to_owned();
        for part in [&*self.path.as_bytes(), self.on_disk(name)] {
            if !part.is_empty() {
                path.push(OsStr::from_bytes(part));
            }
        }
        Shown(path.as_os_str().as_bytes()).to_string()
    }
}

/// Opens a regular file of the target for reading, which is no access of anybody's: what is made of
/// it may have other names, or be kept as a backup. A symlink, fifo or device that took its place
/// meanwhile is not opened.
pub(crate) fn open_file(dir: &OwnedFd, name: &[u8]) -> io::Result<File> {
    Ok(FileDir::new(dir)?.quietly(true).open(name)?.0)
}

/// Stands for the sum of a file that cannot be read yet: no content has it.
pub(crate) const SUM_NOT_KNOWN: Sum = [0; 32];

/// BLAKE3 of a file from its start to its end.
pub(crate) fn sum_file(file: impl Read) -> io::Result<Sum> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn arguments_in_one_directory_share_its_descriptor() {
        let temp = tempfile::tempdir().unwrap();
        let paths = (0..3000).map(|n| temp.path().join(n.to_string()));
        let arguments: Vec<OsString> = paths.map(Into::into).collect();
        for argument in &arguments {
            std::fs::write(argument, b"").unwrap();
        }
        let source = Source::open(&arguments, &Options::archive(), &Filter::default()).unwrap();
        assert_eq!((source.layers.len(), source.failed.len()), (3000, 0));
        let first = &source.layers[0].root;
        assert!(
            source
                .layers
                .iter()
                .all(|layer| Arc::ptr_eq(&layer.root, first))
        );
    }

    #[test]
    fn a_trailing_slash_or_dot_means_the_contents() {
        for contents in ["a/", "a/.", ".", "..", "a/..", "/", "./"] {
            assert!(gives_contents(contents.as_bytes()), "{contents}");
        }
        for name in ["a", "a/b", "./b", ".b", "a/.b", "..b"] {
            assert!(!gives_contents(name.as_bytes()), "{name}");
        }
    }
}
