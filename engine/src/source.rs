//! The source tree: one or several SRC arguments seen as a single tree. `SRC/` gives its contents,
//! `SRC` gives itself; where two give the same name, the first wins, directories are merged, and a
//! directory wins over anything else.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::entry::{Entry, Sum};
use crate::error::describe;
use crate::filter::{Filter, Half};
use crate::fs::{FileDir, Follow, Listed, Root, open_dir, stat};
use crate::options::Options;
use crate::path::{RelPath, Shown, is_reserved};
use crate::since::Meta;

/// How often a directory is opened that is not the one that it was.
const OPEN_ATTEMPTS: usize = 100;

/// Where a directory of the source tree takes entries from: one directory on disk, or one name
/// in it.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) root: Arc<Root>,
    pub(crate) path: RelPath,
    /// Take only this name; the tree shows it as `shown`.
    pub(crate) only: Option<OnlyName>,
    /// Device of the SRC argument, for `-x`; with `only`, of that entry.
    pub(crate) dev: u64,
    /// What the directory was when it was read. What is taken from there must come from the same.
    pub(crate) own: Option<Meta>,
}

/// A single name taken from a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OnlyName {
    pub(crate) on_disk: Vec<u8>,
    pub(crate) shown: Vec<u8>,
    /// What it was when the argument was opened.
    pub(crate) is_dir: bool,
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
    pub(crate) fn open(arguments: &[OsString], options: &Options, filter: &Filter) -> Source {
        let mut source = Source::default();
        for argument in arguments {
            let opened = if gives_contents(argument.as_bytes()) {
                source.open_contents(argument, options)
            } else {
                source.open_name(argument, options, filter)
            };
            if let Err(why) = opened
                && !(options.ignore_missing && is_missing(argument))
            {
                source.failed.push((argument.clone(), why));
            }
        }
        source.single &= arguments.len() == 1;
        source
    }

    fn open_contents(&mut self, argument: &OsString, options: &Options) -> Result<(), String> {
        let root = open_root(Path::new(argument), options)?;
        if !options.recursive {
            self.skipped_dirs.push(b".".to_vec());
            return Ok(());
        }
        let listed = stat(&root, c".").map_err(|e| describe(&e))?;
        self.root_entry.get_or_insert(listed.entry);
        let (root, path) = (Arc::new(root), RelPath::root());
        self.layers.push(Layer {
            root,
            path,
            only: None,
            dev: listed.dev,
            own: None,
        });
        Ok(())
    }

    fn open_name(
        &mut self,
        argument: &OsString,
        options: &Options,
        filter: &Filter,
    ) -> Result<(), String> {
        let bytes = argument.as_bytes();
        let (parent, name) = match bytes.iter().rposition(|&b| b == b'/') {
            Some(0) => (&b"/"[..], &bytes[1..]),
            Some(at) => (&bytes[..at], &bytes[at + 1..]),
            None => (&b"."[..], bytes),
        };
        if is_reserved(name) {
            return Err("what is in .hasync is hasync's own and never mirrored".to_owned());
        }
        let root = self.parent(Path::new(OsStr::from_bytes(parent)), options)?;
        let listed = stat_name(&root, name).map_err(|e| describe(&e))?;
        let is_dir = listed.entry.is_dir();
        let rules = filter.for_names_in(&root);
        if rules.passes_over(Half::Sender, name, is_dir) {
            return Ok(());
        }
        if is_dir && !options.recursive {
            self.skipped_dirs.push(name.to_vec());
            return Ok(());
        }
        self.single = !is_dir;
        let only = OnlyName {
            on_disk: name.to_vec(),
            shown: name.to_vec(),
            is_dir,
        };
        self.layers.push(Layer {
            root,
            path: RelPath::root(),
            only: Some(only),
            dev: listed.dev,
            own: None,
        });
        Ok(())
    }

    /// The directory that an argument is in; those that a shell makes of `DIR/*` share it.
    fn parent(&self, path: &Path, options: &Options) -> Result<Arc<Root>, String> {
        let last = self.layers.last().filter(|last| last.only.is_some());
        match last.filter(|last| last.root.path() == path) {
            Some(last) => Ok(Arc::clone(&last.root)),
            None => open_root(path, options).map(Arc::new),
        }
    }

    /// Gives the single entry another name in the tree.
    pub(crate) fn rename_single(&mut self, name: Vec<u8>) {
        if let Some(only) = self
            .layers
            .first_mut()
            .and_then(|layer| layer.only.as_mut())
        {
            only.shown = name;
        }
    }

    /// The name that the single entry has on the source, if the tree shows it by another.
    pub(crate) fn renamed_from(&self) -> Option<&[u8]> {
        let only = self.layers.first().filter(|_| self.single)?.only.as_ref()?;
        (only.on_disk != only.shown).then_some(&only.on_disk)
    }
}

/// Whether there is no such source, as far as anybody may look.
fn is_missing(argument: &OsString) -> bool {
    let path = Path::new(argument);
    let nothing = |e: io::Error| e.kind() == io::ErrorKind::NotFound;
    std::fs::symlink_metadata(path).err().is_some_and(nothing)
}

/// Follows the path to a source, or says why not.
fn open_root(path: &Path, options: &Options) -> Result<Root, String> {
    let follow = if options.follow_untrusted {
        Follow::Any
    } else {
        Follow::Trusted
    };
    match open_dir(path, follow) {
        Ok(fd) => Ok(Root::from_fd(fd, path.to_owned())),
        Err(e) if e.is_symlink() => Err(format!("{e}, or --follow-untrusted")),
        Err(e) => Err(describe(&e.into())),
    }
}

/// Whether an argument means the contents of a directory: a trailing slash, `.` or `..`.
pub(crate) fn gives_contents(argument: &[u8]) -> bool {
    let last = argument.rsplit(|&b| b == b'/').next().unwrap_or(argument);
    matches!(last, b"" | b"." | b"..")
}

/// Examines one name of an open directory.
pub(crate) fn stat_name(dir: impl std::os::fd::AsFd, name: &[u8]) -> io::Result<Listed> {
    let name = std::ffi::CString::new(name)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a name with a zero byte"))?;
    stat(dir, &name)
}

impl Layer {
    /// Opens the directory on disk.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        self.root.open_dir(&self.path)
    }

    /// Whether the two differ in no more than their paths.
    pub(crate) fn is_like(&self, other: &Layer) -> bool {
        Arc::ptr_eq(&self.root, &other.root) && self.only == other.only && self.dev == other.dev
    }

    /// Opens it to read files that were found there. Another may have taken its name, which may be
    /// exchanged back in a moment.
    pub(crate) fn open_files(&self) -> io::Result<FileDir<OwnedFd>> {
        for _ in 0..OPEN_ATTEMPTS {
            let dir = FileDir::new(self.open()?)?;
            // A root is held.
            if self.path.is_root() || self.own.is_none_or(|own| own.access() == dir.access()) {
                return Ok(dir);
            }
        }
        Err(io::Error::other(
            "its directory is another one than the one that was listed; push again",
        ))
    }

    /// The layer below this one for the subdirectory that the tree shows as `name`.
    pub(crate) fn child(&self, name: &[u8]) -> Layer {
        let on_disk = self.only.as_ref().map_or(name, |only| &only.on_disk);
        Layer {
            root: Arc::clone(&self.root),
            path: self.path.join(on_disk),
            only: None,
            dev: self.dev,
            own: None,
        }
    }

    /// The name on disk of what the tree shows as `name`.
    pub(crate) fn on_disk<'a>(&'a self, name: &'a [u8]) -> &'a [u8] {
        self.only.as_ref().map_or(name, |only| &only.on_disk)
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

/// Opens a regular file for reading; a symlink, fifo or device that took its place meanwhile is not
/// opened.
pub(crate) fn open_file(dir: &OwnedFd, name: &[u8]) -> io::Result<File> {
    Ok(FileDir::new(dir)?.open(name)?.0)
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
        let source = Source::open(&arguments, &Options::archive(), &Filter::default());
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
