//! What a push would look at, without a target: `--list-only`.

use std::ffi::OsString;
use std::sync::Arc;

use rustix::fs::fstat;

use crate::digest::Fields;
use crate::entry::{Body, Entry};
use crate::error::{Error, ErrorKind};
use crate::filter::Filter;
use crate::keeps::Keeps;
use crate::observer::{Kind, Warning};
use crate::options::Options;
use crate::policy::{Powers, Rights};
use crate::recast::Recast;
use crate::scan::{ScannedDir, Scanner};
use crate::since::Meta;
use crate::source::{Layer, Source};

/// An entry of the source, as it would be told.
#[derive(Clone, Copy, Debug)]
pub struct SourceEntry<'a> {
    /// Path relative to the target root, `.` for that itself.
    pub path: &'a [u8],
    /// The letter of its type, as `ls` has it.
    pub letter: u8,
    /// Its type.
    pub kind: Kind,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Its length in bytes; a directory has one too.
    pub len: u64,
    /// Modification time, in seconds since 1970.
    pub mtime_secs: i64,
    /// Time of the last access, in the same way, if that is mirrored.
    pub atime_secs: Option<i64>,
    /// The target of a symlink, if symlinks are mirrored.
    pub link: Option<&'a [u8]>,
}

/// Shows each entry of the sources: a directory, then what is in it, subdirectories last. Without
/// `recursive` nothing below the sources is shown. What went wrong goes to `warn`.
///
/// # Errors
///
/// The filters are none.
pub fn list_source(
    sources: &[OsString],
    options: &Options,
    show: &mut dyn FnMut(&SourceEntry<'_>),
    warn: &mut dyn FnMut(&Warning),
) -> Result<(), Error> {
    let filter = Filter::from_rules(options.filters.clone())
        .map_err(|e| Error::new(ErrorKind::Usage, e.to_string()))?;
    // All types are listed, mirrored or not.
    let all = Options {
        recursive: true,
        links: true,
        devices: true,
        specials: true,
        checksum: false,
        ..options.clone()
    };
    let mut source = Source::open(sources, &all, &filter)?;
    for (argument, why) in std::mem::take(&mut source.failed) {
        warn(&Warning {
            vanished: false,
            message: format!(
                "cannot open the source {}: {why}",
                crate::path::Shown(argument.as_encoded_bytes())
            ),
        });
    }
    if source.layers.is_empty() {
        return Ok(());
    }
    let powers = Powers::new(true, Rights::default());
    let recast = Arc::new(Recast::new(&all, powers, &[]));
    let fields = Fields::new(&all, powers, Vec::new(), Keeps::default(), [0; 32]);
    let has_root = source.root_entry.is_some();
    let mut scanner = Scanner::new(&source, all, filter, fields, Arc::clone(&recast), None);
    let mut listing = Listing {
        recast,
        with_links: options.links,
        recursive: options.recursive,
        show,
    };
    while let Some(dir) = scanner.next() {
        dir.warnings.iter().for_each(&mut *warn);
        if !dir.path.is_root() || has_root {
            listing.dir(dir.path.shown().as_ref(), dir.layers.first());
        }
        listing.entries(&dir);
        if !options.recursive {
            break;
        }
    }
    Ok(())
}

struct Listing<'a> {
    recast: Arc<Recast>,
    with_links: bool,
    recursive: bool,
    show: &'a mut dyn FnMut(&SourceEntry<'_>),
}

impl Listing<'_> {
    fn entries(&mut self, dir: &ScannedDir) {
        let mut entries = dir.entries.walk();
        while let Some(entry) = entries.next() {
            let path = dir.path.join(&entry.name);
            match entry.is_dir() {
                // It is shown when it is entered.
                true if self.recursive => {}
                true => {
                    let layer = dir.layers.first().map(|layer| layer.child(&entry.name));
                    self.dir(&path.as_bytes(), layer.as_ref());
                }
                false => self.entry(&path.as_bytes(), entry),
            }
        }
    }

    fn entry(&mut self, path: &[u8], entry: &Entry) {
        let letter = match entry.body {
            Body::Dir => b'd',
            Body::Symlink { .. } => b'l',
            Body::CharDevice { .. } => b'c',
            Body::BlockDevice { .. } => b'b',
            Body::Fifo => b'p',
            Body::Socket => b's',
            Body::File { .. } => b'-',
            Body::Way => b'd',
            // Of a length that is not asked for, or not there.
            Body::Unmirrored(_) | Body::Gone => return,
        };
        let target = entry.symlink_target();
        (self.show)(&SourceEntry {
            path,
            letter,
            kind: entry.kind(),
            mode: entry.mode,
            len: target.map_or(entry.len(), |target| target.len() as u64),
            mtime_secs: entry.mtime.secs,
            atime_secs: entry.atime.map(|atime| atime.secs),
            link: target.filter(|_| self.with_links),
        });
    }

    /// A directory, as it is now; if it is gone, nothing.
    fn dir(&mut self, path: &[u8], layer: Option<&Layer>) {
        let Some(found) = layer.and_then(|layer| fstat(layer.open().ok()?).ok()) else {
            return;
        };
        let told = self.recast.meta(Meta::of_dir(&found), Kind::Dir);
        (self.show)(&SourceEntry {
            path,
            letter: b'd',
            kind: Kind::Dir,
            mode: told.mode,
            len: found.st_size.unsigned_abs(),
            mtime_secs: told.mtime.secs,
            atime_secs: None,
            link: None,
        });
    }
}
