//! `--log-file`: what a push does, a line for each thing with date, time (UTC) and process in
//! front, as rsync writes it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hasync_engine::{Change, Place, Summary, escape, harmless, open_log};

use crate::exit::Failure;
use crate::format::Format;
use crate::origins::Origins;
use crate::times;

/// The format of a change where none is given.
const USUAL: &str = "%i %n%L";

/// An open log.
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    format: Format,
    failure: Option<io::Error>,
}

impl LogFile {
    /// Opens `path` to append to it, through no symlink of another user.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub(crate) fn open(path: &Path, format: Option<&Format>) -> Result<Self, Failure> {
        let file = open_log(path, 0o640).map_err(|e| failed("open", path, &e.into()))?;
        let usual = || Format::parse(USUAL).map_err(Failure::usage);
        let format = format.cloned().map_or_else(usual, Ok)?;
        let mut log = LogFile {
            path: path.to_owned(),
            file,
            format,
            failure: None,
        };
        log.say("building file list");
        Ok(log)
    }

    /// Notes a change.
    pub(crate) fn change(&mut self, change: &Change<'_>, sent: u8, origins: &Origins) {
        if !self.format.tells(change) {
            return;
        }
        let line = self.format.line(change, sent, origins);
        self.say(&String::from_utf8_lossy(&line));
    }

    /// Notes a line, whoever had a say in its words.
    pub(crate) fn say(&mut self, line: &str) {
        let time = times::slashed(times::now_secs(), ' ');
        let (process, line) = (std::process::id(), harmless(line, Place::Line));
        let written = writeln!(self.file, "{time} [{process}] {line}");
        if let Err(e) = written {
            self.failure.get_or_insert(e);
        }
    }

    /// Notes the end.
    pub(crate) fn end(&mut self, summary: &Summary) {
        let (sent, received) = (summary.sent_bytes, summary.received_bytes);
        let total = summary.total_len;
        self.say(&format!(
            "sent {sent} bytes  received {received} bytes  total size {total}"
        ));
    }

    /// Whether all lines were written.
    ///
    /// # Errors
    ///
    /// Why the first that was not, was not.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        match self.failure.take() {
            Some(e) => Err(failed("write", &self.path, &e)),
            None => Ok(()),
        }
    }
}

fn failed(verb: &str, path: &Path, e: &io::Error) -> Failure {
    let shown = escape(path.as_os_str().as_bytes());
    Failure::cannot(format!("{verb} \"{shown}\" of --log-file"), e)
}
