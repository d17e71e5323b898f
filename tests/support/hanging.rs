//! A disk that can hang, as one of a file server does: whoever looks at it waits.

use std::path::Path;
use std::process::{Child, Command};

use super::await_that;
use super::process::run_ok;

/// Mounted on a directory; unmounted on drop.
pub(crate) struct HangingDisk {
    server: Child,
    at: String,
}

impl HangingDisk {
    pub(crate) fn at(dir: &Path) -> Self {
        let behind = dir.with_extension("disk");
        std::fs::create_dir_all(&behind).unwrap();
        let at = dir.display().to_string();
        let server = Command::new("bindfs")
            .args(["-f", &behind.display().to_string(), &at])
            .spawn()
            .unwrap();
        let disk = HangingDisk { server, at };
        await_that("it is mounted", || {
            let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
            mounts.contains(&disk.at)
        });
        disk
    }

    pub(crate) fn hangs(&self, hangs: bool) {
        let signal = if hangs { "-STOP" } else { "-CONT" };
        run_ok("kill", &[signal, &self.server.id().to_string()]);
    }
}

impl Drop for HangingDisk {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = Command::new("umount").args(["-l", &self.at]).status();
    }
}
