//! A small file system of a chosen kind in an image file, mounted through a loop device:
//! disks that are full, read-only, or of a kind the machine does not otherwise have.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::run_ok;
use super::{TempTree, await_that, need_root};

/// A mounted image; unmounted and removed on drop.
pub(crate) struct LoopFs {
    scratch: TempTree,
    mount: PathBuf,
    /// Options of mount.
    options: &'static str,
}

impl LoopFs {
    /// Makes and mounts `kind` (ext2, ext4, xfs, btrfs) of `mebibytes`; xfs needs 300, btrfs 110.
    /// An ext2 here stores whole seconds, up to 2038.
    pub(crate) fn new(kind: &str, mebibytes: u64) -> Self {
        need_root();
        let scratch = TempTree::within(Path::new("/tmp"));
        let image = scratch.path("image");
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(mebibytes << 20).unwrap();
        let image_text = image.display().to_string();
        let maker = format!("mkfs.{kind}");
        let quiet: &[&str] = match kind {
            "ext2" => &["-q", "-F", "-m", "0", "-I", "128"],
            "ext4" => &["-q", "-F", "-m", "0"],
            _ => &["-q"],
        };
        run_ok(&maker, &[quiet, &[image_text.as_str()]].concat());
        let mount = scratch.mkdir("mount");
        // A copy of what was cut off may meet the original, which XFS knows by its id.
        let options = if kind == "xfs" { "loop,nouuid" } else { "loop" };
        let at = mount.display().to_string();
        run_ok("mount", &["-o", options, &image_text, &at]);
        Self {
            scratch,
            mount,
            options,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.mount.join(name)
    }

    /// Bytes written to the device since it was attached.
    pub(crate) fn written_bytes(&self) -> u64 {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = self.mount.display().to_string();
        let line = mounts.lines().find(|line| line.contains(&mount)).unwrap();
        let device = line.split(' ').next().unwrap();
        let name = device.trim_start_matches("/dev/");
        let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
        // The seventh field: sectors of 512 bytes.
        let sectors: u64 = stat.split_whitespace().nth(6).unwrap().parse().unwrap();
        sectors * 512
    }

    /// What a power cut leaves: everything that has not reached the disk is lost. Mounted again,
    /// as after a boot.
    pub(crate) fn cut_power(&self) {
        self.shut_down();
        self.boot();
    }

    /// Nothing reaches the disk any more.
    pub(crate) fn shut_down(&self) {
        let mount = self.mount.display().to_string();
        run_ok("xfs_io", &["-x", "-c", "shutdown", &mount]);
    }

    /// Mounts what is on the disk again.
    pub(crate) fn boot(&self) {
        let mount = self.mount.display().to_string();
        // A mount namespace of another test may hold on to the dead file system: what is on the
        // disk goes on in a copy of it. Programs of our own meet errors, end, and let go.
        let image = self.scratch.path("image").display().to_string();
        let copy = format!("{image}.copy");
        await_that("nobody has the file system open", || {
            let unmounted = Command::new("umount")
                .arg(&self.mount)
                .stderr(std::process::Stdio::null())
                .status();
            unmounted.is_ok_and(|status| status.success())
        });
        run_ok("cp", &["--sparse=always", &image, &copy]);
        run_ok("mv", &[&copy, &image]);
        run_ok("mount", &["-o", self.options, &image, &mount]);
    }

    /// Others' programs that flush this file system again and again, until it is killed.
    pub(crate) fn sync_all_the_time(&self) -> std::process::Child {
        let script = format!("while sync -f '{}'; do :; done", self.mount.display());
        Command::new("sh")
            .args(["-c", &script])
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    }

    pub(crate) fn make_read_only(&self) {
        run_ok(
            "mount",
            &["-o", "remount,ro", &self.mount.display().to_string()],
        );
    }
}

impl Drop for LoopFs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.mount).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            let _ = Command::new("umount").arg("-l").arg(&self.mount).status();
            println!("had to unmount {} lazily", self.scratch.root().display());
        }
    }
}
