//! Where the result goes: standard output, or a file that appears under its name only when it is
//! complete and on disk.

use std::fs::File;
use std::io::{self, IsTerminal, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::Path;

use super::input::Input;
use super::new_file::{NewFile, Unnamed};
use super::quoted;
use crate::args::named;
use crate::exit::{self, Exit, Failure};
use crate::out;
use crate::signals;

/// An open output. Dropped before [`commit`](Output::commit), it leaves no trace but what has gone
/// to standard output.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    /// What has not been written yet. Not a `BufWriter`, which would write it when dropped.
    buffer: Vec<u8>,
    /// `None` for standard output.
    new_file: Option<NewFile>,
    shown: String,
    has_written: bool,
}

impl Output {
    /// Opens the output that `word` names; `-` and no word are standard output. It may be none of
    /// `inputs`.
    pub(super) fn open(word: Option<&Path>, inputs: &[&Input]) -> Result<Self, Failure> {
        let unnamed = Unnamed::default();
        let interrupted = unnamed.clone();
        signals::exit_on_signal(move |signal| {
            interrupted.remove();
            out::error(&format!(
                "interrupted by {signal}; no file was made or replaced (exit {})",
                Exit::Signal
            ));
        })?;
        match word.and_then(named) {
            None => Self::stdout(),
            Some(path) => {
                let shown = quoted(path);
                let (new_file, file) = NewFile::create(path, &shown, inputs, unnamed)?;
                Ok(Self {
                    file,
                    buffer: Vec::new(),
                    new_file: Some(new_file),
                    shown,
                    has_written: false,
                })
            }
        }
    }

    fn stdout() -> Result<Self, Failure> {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            return Err(Failure::usage(
                "this is not for a terminal: name an output file, or redirect standard output",
            ));
        }
        let shown = "standard output".to_owned();
        let file = stdout.as_fd().try_clone_to_owned();
        let file = file.map_err(|cause| cannot_write(&shown, &cause))?;
        Ok(Self {
            file: File::from(file),
            buffer: Vec::new(),
            new_file: None,
            shown,
            has_written: false,
        })
    }

    /// What messages call it.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether anything has been handed out that cannot be taken back.
    pub(super) fn has_written_to_stdout(&self) -> bool {
        self.has_written && self.new_file.is_none()
    }

    /// Whether parts of it can be left out, to be holes.
    pub(super) fn takes_holes(&self) -> bool {
        self.new_file.is_some()
    }

    /// Leaves out `len` bytes of a file.
    pub(super) fn skip(&mut self, len: u64) -> io::Result<()> {
        let len = i64::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.flush()?;
        self.file.seek(SeekFrom::Current(len)).map(drop)
    }

    /// Gives a file its length, when its end has been left out.
    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.flush()?;
        self.file.set_len(len)
    }

    /// Makes everything durable and visible.
    pub(super) fn commit(mut self) -> Result<Exit, Failure> {
        self.flush()
            .map_err(|cause| cannot_write(&self.shown, &cause))?;
        if let Some(new_file) = &mut self.new_file {
            new_file
                .commit(&self.file)
                .map_err(|cause| cannot_write(&self.shown, &cause))?;
        }
        Ok(Exit::Ok)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_LEN {
            self.flush()?;
        }
        if bytes.len() < BUFFER_LEN {
            self.buffer.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        self.has_written = true;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.has_written = true;
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// The output could not be written.
pub(super) fn cannot_write(shown: &str, cause: &io::Error) -> Failure {
    Failure::new(
        exit::of_io(cause),
        format!("cannot write {shown}: {}", exit::cause(cause)),
    )
}

const BUFFER_LEN: usize = 1 << 17;
