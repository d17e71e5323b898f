//! Something mounted on a directory that it makes; unmounted on drop.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::need_root;
use super::process::run_ok;

pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// A tmpfs.
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self::mount(&["-t", "tmpfs", "-o", "size=16m", "tmpfs"], dir)
    }

    /// What holds no attributes at all.
    pub(crate) fn ramfs(dir: PathBuf) -> Self {
        Self::mount(&["-t", "ramfs", "ramfs"], dir)
    }

    /// Another directory, with what is mounted in it.
    pub(crate) fn bind(from: &Path, dir: PathBuf) -> Self {
        Self::mount(&["--rbind", &from.display().to_string()], dir)
    }

    /// A directory as it is, and nothing in it can be changed.
    pub(crate) fn read_only(dir: &Path) -> Self {
        Self::mount(
            &["-o", "bind,ro", &dir.display().to_string()],
            dir.to_owned(),
        )
    }

    /// An overlay of directories.
    pub(crate) fn overlay(lower: &str, upper: &str, work: &str, dir: PathBuf) -> Self {
        let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        Self::mount(&["-t", "overlay", "-o", &layers, "overlay"], dir)
    }

    fn mount(words: &[&str], dir: PathBuf) -> Self {
        Self::by(&[&["mount"], words].concat(), dir)
    }

    /// Whatever a command mounts to which the directory is added.
    pub(crate) fn by(command: &[&str], dir: PathBuf) -> Self {
        need_root();
        std::fs::create_dir_all(&dir).unwrap();
        let at = dir.display().to_string();
        let (program, words) = command.split_first().unwrap();
        run_ok(program, &[words, &[&at]].concat());
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, data: &str) {
        std::fs::write(self.0.join(name), data).unwrap();
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    /// Whether it could be unmounted: nobody has anything open in it.
    pub(crate) fn unmount(&self) -> bool {
        let umount = Command::new("umount").arg(&self.0).output();
        umount.unwrap().status.success()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .args(["-R", "-l"])
            .arg(&self.0)
            .output();
    }
}
