//! A file to read, or standard input, with the name that messages call it.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::quoted;
use crate::args::named;
use crate::exit::{self, Failure};

/// An open input.
#[derive(Debug)]
pub(super) struct Input {
    file: File,
    metadata: Metadata,
    shown: String,
    is_named: bool,
}

impl Input {
    /// Opens anything that can be read front to back; `-` is standard input.
    pub(super) fn open(word: &Path) -> Result<Self, Failure> {
        let opened = match named(word) {
            Some(path) => File::open(path),
            None => io::stdin().as_fd().try_clone_to_owned().map(File::from),
        };
        Self::of(word, opened)
    }

    /// Opens a regular file, and nothing else: what can be read at any place.
    pub(super) fn open_regular(word: &Path) -> Result<Self, Failure> {
        let Some(path) = named(word) else {
            return Err(Failure::usage(
                "BASIS must be a regular file, it cannot come on standard input",
            ));
        };
        // Not to wait for the writer of a fifo, which is refused anyway.
        let nonblock = OFlags::NONBLOCK.bits().cast_signed();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(nonblock)
            .open(path);
        let input = Self::of(word, opened)?;
        if input.metadata.is_file() {
            Ok(input)
        } else {
            Err(Failure::usage(format!(
                "BASIS must be a regular file, {} is not",
                input.shown
            )))
        }
    }

    fn of(word: &Path, opened: io::Result<File>) -> Result<Self, Failure> {
        let is_named = named(word).is_some();
        let shown = if is_named {
            quoted(word)
        } else {
            "standard input".to_owned()
        };
        let opened = opened.and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) =
            opened.map_err(|cause| Failure::cannot(format!("open {shown}"), &cause))?;
        Ok(Self {
            file,
            metadata,
            shown,
            is_named,
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The length of a regular file in bytes.
    pub(super) fn len(&self) -> Option<u64> {
        self.metadata.is_file().then_some(self.metadata.len())
    }

    /// Whether it was opened by name, and so stands at its beginning.
    pub(super) fn is_named(&self) -> bool {
        self.is_named
    }

    /// Whether fewer bytes are allocated than the length says.
    pub(super) fn has_holes(&self) -> bool {
        self.metadata.blocks().saturating_mul(512) < self.metadata.len()
    }

    /// Device and inode number.
    pub(super) fn id(&self) -> (u64, u64) {
        (self.metadata.dev(), self.metadata.ino())
    }

    /// What messages call it.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn cannot_read(&self, cause: &io::Error) -> Failure {
        let why = if cause.kind() == io::ErrorKind::UnexpectedEof {
            "it became shorter meanwhile".to_owned()
        } else {
            exit::cause(cause)
        };
        Failure::new(
            exit::of_io(cause),
            format!("cannot read {}: {why}", self.shown),
        )
    }
}
