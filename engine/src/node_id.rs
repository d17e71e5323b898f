//! Who a node is: a random identity in its state directory, made once. A node that finds its own
//! identity at the other end is connected to itself, or to a machine that was cloned with its
//! state. No lineage depends on it: where the file is gone, the next run makes another.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchmod, fstat, fsync, linkat, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::fs::flush_dir;
use crate::path::Shown;
use crate::state::StateDir;

const FILE: &str = "node-id";

/// Hexadecimal digits and the end of the line.
const LEN: usize = 33;

/// The random 128-bit identity of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeId([u8; 16]);

impl NodeId {
    /// The identity of the node that keeps its state in `state_dir`, made if there is none.
    pub(crate) fn of(state_dir: &Path) -> Result<Self, Error> {
        let file = || shown(state_dir);
        let dir = StateDir::open(state_dir)?;
        let open = || -> io::Result<Option<Self>> {
            match read(dir.as_fd()) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    make(dir.as_fd())?;
                    read(dir.as_fd())
                }
                read => read,
            }
        };
        match open() {
            Ok(Some(id)) => Ok(id),
            Ok(None) => Err(Error::new(
                ErrorKind::FileIo,
                format!(
                    "{} does not hold the identity of this node, 32 hexadecimal digits: remove \
                     it, and the next run makes a new one",
                    file()
                ),
            )),
            Err(e) => Err(Error::file(
                format_args!("use the identity of this node in {}", file()),
                &e,
            )),
        }
    }

    #[cfg(test)]
    pub(crate) const fn of_bytes(bytes: [u8; 16]) -> Self {
        NodeId(bytes)
    }

    /// Refuses to go on with a peer that has the identity `other`, if that is this one.
    pub(crate) fn refuse_own(self, other: NodeId, state_dir: &Path) -> Result<(), Error> {
        if self != other {
            return Ok(());
        }
        let file = shown(state_dir);
        Err(Error::new(
            ErrorKind::OwnNode,
            format!(
                "the peer is this node itself, by the identity in {file}; nothing was changed. If \
                 it is another machine that was cloned with its state, remove that file on the \
                 clone; its records of generations hold there too, except that the one to receive \
                 needs `hasync demote --all`"
            ),
        ))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let digits = std::str::from_utf8(text.strip_suffix(b"\n")?).ok()?;
        let is_hex = digits.len() == LEN - 1 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let id = u128::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
        (id != 0).then_some(NodeId(id.to_be_bytes()))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

fn shown(state_dir: &Path) -> String {
    Shown(state_dir.join(FILE).as_os_str().as_encoded_bytes()).to_string()
}

/// What the file holds; `None` if that is no identity.
fn read(dir: BorrowedFd<'_>) -> io::Result<Option<NodeId>> {
    // A fifo in its place is not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(dir, FILE, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let stat = fstat(&file)?;
    let is_own = stat.st_uid == 0 || stat.st_uid == geteuid().as_raw();
    if !is_own || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(LEN as u64 + 1).read_to_end(&mut text)?;
    Ok(NodeId::parse(&text))
}

/// Makes the file as a whole, unless another process does so first.
fn make(dir: BorrowedFd<'_>) -> io::Result<()> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let id = NodeId(bytes);
    let fresh = format!("{FILE}.{id}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let private = Mode::RUSR | Mode::WUSR;
    let mut file = File::from(openat(dir, &*fresh, flags, private)?);
    let linked = fchmod(&file, private)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(file, "{id}"))
        .and_then(|()| Ok(fsync(&file)?))
        .and_then(
            |()| match linkat(dir, &*fresh, dir, FILE, AtFlags::empty()) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(e) => Err(e.into()),
            },
        );
    unlinkat(dir, &*fresh, AtFlags::empty())?;
    linked?;
    Ok(flush_dir(dir)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use rustix::fs::{CWD, mknodat};

    use super::*;

    #[test]
    fn many_processes_make_one_identity() {
        let temp = tempfile::tempdir().unwrap();
        let state = temp.path().join("lib/state");
        let ids = std::thread::scope(|scope| {
            let made: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| NodeId::of(&state).unwrap()))
                .collect();
            let ids = made.into_iter().map(|made| made.join().unwrap());
            ids.collect::<Vec<_>>()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(NodeId::of(&state).unwrap(), ids[0]);
        // Nothing else is left, and nobody else reads it.
        let names: Vec<_> = std::fs::read_dir(&state).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let mode = std::fs::metadata(state.join(FILE)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o7777, 0o600);
        std::fs::remove_file(state.join(FILE)).unwrap();
        assert_ne!(NodeId::of(&state).unwrap(), ids[0]);
    }

    #[test]
    fn what_is_no_identity_is_refused_and_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join(FILE);
        let good = "0123456789abcdef0123456789abcdef\n";
        std::fs::write(&file, good).unwrap();
        NodeId::of(temp.path()).unwrap();
        let refused = |what: &str| {
            let error = NodeId::of(temp.path()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::FileIo, "{what}: {error}");
            assert!(error.message.contains("node-id"), "{what}: {error}");
        };
        for text in [
            "",
            "\n",
            good.trim_end(),
            &good[1..],
            &good.repeat(2),
            &format!("{good}x"),
            &format!("+{}", &good[1..]),
            &good.replace('f', "g"),
            &good.replace('0', "\u{ff10}"),
            "00000000000000000000000000000000\n",
            &"a".repeat(1 << 20),
        ] {
            std::fs::write(&file, text).unwrap();
            refused(text.get(..40).unwrap_or(text));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        if geteuid().is_root() {
            std::fs::write(&file, good).unwrap();
            chown(&file, Some(65_534), None).unwrap();
            refused("somebody else's");
        }
        let elsewhere = temp.path().join("elsewhere");
        std::fs::write(&elsewhere, good).unwrap();
        std::fs::remove_file(&file).unwrap();
        symlink(&elsewhere, &file).unwrap();
        refused("a symlink");
        std::fs::remove_file(&file).unwrap();
        mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        refused("a fifo");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        refused("a directory");
    }
}
