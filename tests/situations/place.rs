//! A target directory on a file system of some kind, made for one test: image files, FUSE servers,
//! layers. What the machine cannot make says why.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::run_ok;
use crate::support::{Sshd, TempTree, await_that, need_root};

/// Why the machine has no such place.
pub(super) type NotHere = String;

/// What a mount gives back of what it was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeps {
    pub(super) owners: bool,
    pub(super) modes: bool,
    pub(super) symlinks: bool,
    pub(super) hard_links: bool,
    pub(super) specials: bool,
    /// Step of its times in nanoseconds.
    pub(super) step_ns: u64,
}

/// What a file system made for Unix keeps.
pub(super) const ALL: Keeps = Keeps {
    owners: true,
    modes: true,
    symlinks: true,
    hard_links: true,
    specials: true,
    step_ns: 1,
};

/// A target, and what it takes to unmount it and to mount it again.
pub(super) struct Place {
    /// Where pushes go to.
    pub(super) root: PathBuf,
    pub(super) keeps: Keeps,
    /// What the directory `special` in it keeps.
    pub(super) special_keeps: Keeps,
    /// Mounted again it would be another, or without what is needed to read it.
    pub(super) stays: bool,
    scratch: TempTree,
    /// Commands that mount, in order, and where.
    mounts: Vec<(Vec<String>, PathBuf)>,
    /// What a mount is served by.
    _sshd: Option<Sshd>,
}

impl Place {
    /// A directory of the disk of this machine, to be built on.
    pub(super) fn new() -> Self {
        need_root();
        Self::in_dir(TempTree::within(Path::new("/tmp")))
    }

    fn in_dir(scratch: TempTree) -> Self {
        Place {
            root: scratch.mkdir("target"),
            keeps: ALL,
            special_keeps: ALL,
            stays: false,
            scratch,
            mounts: Vec::new(),
            _sshd: None,
        }
    }

    pub(super) fn keeping(mut self, keeps: Keeps) -> Self {
        (self.keeps, self.special_keeps) = (keeps, keeps);
        self
    }

    /// Something beside the target in the place.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    pub(super) fn mkdir(&self, name: &str) -> String {
        self.scratch.mkdir(name).display().to_string()
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The directory that is in every source, to be made a special one.
    pub(super) fn special(&self) -> String {
        let special = self.root.join("special");
        std::fs::create_dir_all(&special).unwrap();
        special.display().to_string()
    }

    /// Makes an image with `mkfs`, and mounts it at `at`.
    pub(super) fn disk(
        &mut self,
        mkfs: &[&str],
        mebibytes: u64,
        options: &str,
        at: &str,
    ) -> Result<(), NotHere> {
        let image = self.image(mkfs, mebibytes);
        let options = format!(
            "loop,nodev{}{options}",
            if options.is_empty() { "" } else { "," }
        );
        self.mount(&["mount", "-o", &options, &image], at)?;
        // It is in no source.
        let _ = std::fs::remove_dir(self.path(at).join("lost+found"));
        Ok(())
    }

    /// Makes an image with `mkfs`.
    pub(super) fn image(&self, mkfs: &[&str], mebibytes: u64) -> String {
        let image = self.text("image");
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(mebibytes << 20).unwrap();
        let (program, words) = mkfs.split_first().unwrap();
        run_ok(program, &[words, &[image.as_str()]].concat());
        image
    }

    /// Mounts something at `at` by a command to which that path is added.
    pub(super) fn mount(&mut self, command: &[&str], at: &str) -> Result<(), NotHere> {
        let at = self.path(at);
        std::fs::create_dir_all(&at).unwrap();
        let words = command.iter().copied().map(str::to_owned);
        let command: Vec<String> = words.chain([at.display().to_string()]).collect();
        mount(&command, &at)?;
        self.mounts.push((command, at));
        Ok(())
    }

    /// Mounts a FUSE file system at `target`.
    pub(super) fn fuse(&mut self, command: &[&str]) -> Result<(), NotHere> {
        if !Path::new("/dev/fuse").exists() {
            return Err("there is no /dev/fuse".to_owned());
        }
        self.mount(command, "target")
    }

    /// What a mount is served by.
    pub(super) fn served_by(mut self, sshd: Sshd) -> Self {
        self._sshd = Some(sshd);
        self
    }

    /// Mounts the image once more at the target, by another server.
    pub(super) fn mount_by(&self, command: &[&str]) {
        unmount(&self.root);
        let [image, at] =
            [self.path("image"), self.root.clone()].map(|path| path.display().to_string());
        let words = command.iter().copied().chain([&*image, &*at]);
        let command: Vec<String> = words.map(str::to_owned).collect();
        mount(&command, &self.root).unwrap();
    }

    /// Makes a FUSE file system say anew what its entries are: the kernel keeps for a second how
    /// many names each has.
    pub(super) fn forget(&self) {
        std::fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    }

    /// Unmounts what outlives that and mounts it again: no inode number of before needs to hold.
    pub(super) fn remount(&self) {
        if self.stays {
            return;
        }
        let lasts = |(command, _): &&(Vec<String>, _)| !command.iter().any(|word| word == "tmpfs");
        for (_, at) in self.mounts.iter().filter(lasts).rev() {
            unmount(at);
        }
        for (command, at) in self.mounts.iter().filter(lasts) {
            // A process with mounts of its own, begun by another test, may hold it a while longer.
            await_that("mounted again", || mount(command, at).is_ok());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for (_, at) in self.mounts.iter().rev() {
            let _ = Command::new("umount").arg("-l").arg(at).output();
        }
    }
}

fn is_mounted(at: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let at = at.display().to_string();
    table
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(&at))
}

fn mount(command: &[String], at: &Path) -> Result<(), NotHere> {
    let (program, words) = command.split_first().unwrap();
    let done = Command::new(program).args(words).output().unwrap();
    if !done.status.success() {
        let why = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        return Err(format!("{}: {why}", command.join(" ")));
    }
    await_that("mounted", || is_mounted(at));
    Ok(())
}

fn unmount(at: &Path) {
    // A server of FUSE may have to be waited for.
    let unmounts = || {
        let umount = Command::new("umount").arg(at).output();
        umount.unwrap().status.success()
    };
    await_that("unmounted", unmounts);
}

/// Whether the kernel has a file system of this kind.
pub(super) fn kernel_has(kind: &str) -> Result<(), NotHere> {
    let kinds = std::fs::read_to_string("/proc/filesystems").unwrap();
    let has = kinds
        .lines()
        .any(|line| line.split_whitespace().last() == Some(kind));
    has.then_some(())
        .ok_or_else(|| format!("this kernel has no {kind}"))
}
