//! The lock that other programs take while they change the same files: a POSIX record lock on a
//! file beside them, as `lckpwdf` takes on `/etc/.pwd.lock`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock, openat};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind};
use crate::fs::{Follow, Place, find_dir};

/// How long to wait for somebody else's lock: as long as `lckpwdf` does.
const WAIT: Duration = Duration::from_secs(15);
const STEP: Duration = Duration::from_millis(50);

/// The lock, held until it is dropped.
///
/// A record lock goes when its process closes *any* descriptor of the file: nothing else may open
/// it meanwhile.
#[derive(Debug)]
pub(crate) struct LockFile(#[expect(dead_code, reason = "held")] OwnedFd);

impl LockFile {
    /// Makes the file at `path` if it is missing.
    pub(crate) fn make(path: &Path) -> Result<(), Error> {
        open(path).map(|_| ())
    }

    /// Waits for the lock on the file at `path`, which is made if it is missing.
    pub(crate) fn take(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let file = open(path)?;
        let end = Instant::now() + WAIT;
        loop {
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(LockFile(file)),
                Err(Errno::AGAIN | Errno::ACCESS | Errno::INTR) if Instant::now() < end => {
                    std::thread::sleep(STEP);
                }
                Err(Errno::AGAIN | Errno::ACCESS) => {
                    return Err(Error::new(
                        ErrorKind::Locked,
                        format!(
                            "another program has held the lock on {shown} for {} s; find it with \
                             `fuser -v {shown}`",
                            WAIT.as_secs()
                        ),
                    ));
                }
                Err(e) => {
                    let e = io::Error::from(e);
                    return Err(Error::file(format_args!("lock {shown}"), &e));
                }
            }
        }
    }
}

/// Opens the file to lock, which is made if it is missing.
fn open(path: &Path) -> Result<OwnedFd, Error> {
    let shown = path.display();
    let spot = match find_dir(path, Follow::Trusted, &mut |_| Ok(())) {
        Ok(Place::Other(spot) | Place::Missing(spot)) => spot,
        Ok(Place::Dir(_)) => {
            let e = Errno::ISDIR.into();
            return Err(Error::file(format_args!("lock {shown}"), &e));
        }
        Err(e) => {
            let message = format!("cannot lock {shown}: {e}");
            return Err(Error::new(ErrorKind::FileIo, message));
        }
    };
    // Without waiting for a reader, should it be a FIFO.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mode = Mode::RUSR | Mode::WUSR;
    openat(&spot.dir, &*spot.name, flags | OFlags::CLOEXEC, mode)
        .map_err(|e| Error::file(format_args!("open {shown}"), &e.into()))
}
