//! The addresses that `from=` in authorized_keys names, for the listener: they keep a reserve.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::ssh::authorized_keys::{FromList, from_lists};

/// The lists of a file, read again when it has changed. Times count from when the server started.
pub(crate) struct Named {
    file: PathBuf,
    stamp: Option<Stamp>,
    lists: Vec<FromList>,
    look_at: Duration,
}

/// Device, inode, length, and change time in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

impl Named {
    pub(crate) fn new(file: PathBuf) -> Named {
        Named {
            file,
            stamp: None,
            lists: Vec::new(),
            look_at: Duration::ZERO,
        }
    }

    pub(crate) fn holds(&mut self, address: IpAddr, now: Duration) -> bool {
        if now >= self.look_at {
            self.look_at = now + LOOK_INTERVAL;
            self.look();
        }
        let address = address.to_canonical();
        self.lists.iter().any(|list| list.admits(address))
    }

    fn look(&mut self) {
        let stamp = std::fs::metadata(&self.file).ok().map(|found| {
            let length = found.len();
            (
                found.dev(),
                found.ino(),
                length,
                found.ctime(),
                found.ctime_nsec(),
            )
        });
        if stamp != self.stamp {
            self.stamp = stamp;
            // With a file that cannot be used nobody logs in, so nobody needs a reserve.
            self.lists = from_lists(&self.file).unwrap_or_default();
        }
    }
}

/// A flood must not make us read a file for each connection.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn follows_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let mut named = Named::new(file.clone());
        let addresses = ["10.0.0.7", "::ffff:10.0.0.7", "fd00::1", "10.0.0.9"];
        let mut holds = |second: u64| {
            let now = Duration::from_secs(second);
            addresses.map(|address| named.holds(address.parse().unwrap(), now))
        };
        assert_eq!(holds(0), [false; 4]);
        let from = "restrict,from=\"10.0.0.0/29,fd00::/8\"";
        std::fs::write(&file, format!("{from} {key} a\n{key} b\n")).unwrap();
        assert_eq!(holds(0), [false; 4], "looked again within the second");
        assert_eq!(holds(1), [true, true, true, false]);
        std::fs::write(&file, format!("from=\"10.0.0.9\" {key}\n")).unwrap();
        assert_eq!(holds(2), [false, false, false, true]);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(holds(3), [false; 4]);
    }
}
