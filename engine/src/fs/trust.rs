//! What is believed: files that say what is run, keys, and this node's state. Only root and the
//! user that runs this may have made them, or may put others in their place: that goes for each
//! directory and symlink on the way too. What has passed nobody else can exchange afterwards.

use std::fs::File;
use std::path::Path;

use rustix::fs::FileType;

use super::walk::{PathError, Step, open_file};
use crate::escape::escape;

/// Opens a file that root or this user owns and nobody else may write, for reading. `/dev/null`
/// counts as an empty one.
///
/// # Errors
///
/// If it is missing, cannot be read, or if somebody else owns it or may write to it, or to a
/// directory on the way. In a sticky directory nobody can replace what is another's.
pub fn open_trusted(path: &Path) -> Result<File, PathError> {
    let mut judgement = Judgement::default();
    open_file(path, &mut |step| judgement.of(step))
}

/// The judgement on the steps of one way.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// The last directory may be written by others: its sticky bit alone protects what is in it.
    is_shared: bool,
}

impl Judgement {
    /// Why a step is not to be trusted, if it is not.
    pub(crate) fn of(&mut self, step: &Step<'_>) -> Result<(), String> {
        let path = escape(step.path.as_os_str().as_encoded_bytes());
        if !step.is_trusted() {
            let uid = step.uid;
            let own = match rustix::process::geteuid().as_raw() {
                0 => "root",
                _ => "you or root",
            };
            return Err(format!(
                "belongs to uid {uid} and not to {own} (chown -h root {path})"
            ));
        }
        let others_write = step.mode & 0o022 != 0;
        match FileType::from_raw_mode(step.mode) {
            FileType::Symlink => return Ok(()),
            FileType::Directory if others_write && step.mode & 0o1000 != 0 => {
                self.is_shared = true;
                return Ok(());
            }
            FileType::Directory => self.is_shared = false,
            FileType::CharacterDevice if step.path == Path::new("/dev/null") => return Ok(()),
            FileType::RegularFile if step.nlink > 1 && self.is_shared => {
                return Err(
                    "has another name, and may have been linked here by anybody \
                            (rm it, and write it anew)"
                        .to_owned(),
                );
            }
            FileType::RegularFile => {}
            // A pipe of this process, as a shell hands over `<(command)`.
            FileType::Fifo if step.path.starts_with("/proc") => {}
            _ => return Err("is not a regular file".to_owned()),
        }
        if others_write {
            let (mode, uid) = (step.mode & 0o7777, step.uid);
            return Err(format!(
                "can be written by others (mode {mode:04o}, owner uid {uid}; chmod go-w {path})"
            ));
        }
        Ok(())
    }
}
