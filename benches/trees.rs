//! The trees of the side-by-side rows: many small files in directories of 100, one large
//! file, and the changes made to them. Contents are pseudo-random and the same in every run.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Rng;
use crate::support::temptree::set_mtime;

const FILES_PER_DIR: usize = 100;
const BASE_TIME: i64 = 1_600_000_000;
/// Small files are 0 to 16 KiB long, 8 KiB on average.
const SMALL_LEN_BOUND: usize = 16 << 10;
pub(crate) const PAGE_LEN: u64 = 8 << 10;

/// Makes `count` small files below `root`.
pub(crate) fn small_files(root: &Path, count: usize) {
    let mut rng = Rng::new(count as u64);
    let pool = rng.bytes(1 << 20);
    for file in 0..count {
        let path = small_file(root, file);
        if file % FILES_PER_DIR == 0 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        let start = rng.below(pool.len() - SMALL_LEN_BOUND);
        fs::write(&path, &pool[start..start + rng.below(SMALL_LEN_BOUND)]).unwrap();
        set_mtime(&path, BASE_TIME, 0);
    }
    age_dirs(root, count);
}

/// As [`age`] for the root: a small tree is made, and pushed, within a second.
fn age_dirs(root: &Path, count: usize) {
    for file in (0..count).step_by(FILES_PER_DIR) {
        for dir in small_file(root, file).ancestors().skip(1).take(3) {
            set_mtime(dir, BASE_TIME, 0);
        }
    }
}

/// Makes `count` files of `len` bytes each in the one directory `root`.
pub(crate) fn flat_files(root: &Path, count: usize, len: usize) {
    fs::create_dir_all(root).unwrap();
    let mut rng = Rng::new(1);
    for file in 0..count {
        let path = root.join(format!("file{file:06}"));
        fs::write(&path, rng.bytes(len)).unwrap();
        set_mtime(&path, BASE_TIME, 0);
    }
}

/// Makes `count` files of two names each below `root`: the second name of every other one is in the
/// same directory, that of the others in another tree, which comes last.
pub(crate) fn linked_files(root: &Path, count: usize) {
    let [first, last] = ["a", "z"].map(|name| root.join(name));
    small_files(&first, count);
    for file in 0..count {
        let name = small_file(&first, file);
        let other = if file % 2 == 0 {
            name.with_extension("linked")
        } else {
            small_file(&last, file)
        };
        fs::create_dir_all(other.parent().unwrap()).unwrap();
        fs::hard_link(name, other).unwrap();
    }
    age_dirs(&first, count);
    age_dirs(&last, count);
}

fn small_file(root: &Path, file: usize) -> PathBuf {
    let dir = file / FILES_PER_DIR;
    root.join(format!("d{:03}/d{dir:05}/file{file:07}", dir / 100))
}

/// Appends a line's worth to every `step`-th of `count` small files, each in another directory.
pub(crate) fn append_to_small_files(root: &Path, count: usize, step: usize) {
    for file in (0..count).step_by(step) {
        append(&small_file(root, file), 100);
    }
}

/// Gives the root an old time: rsync leaves a time of the same second as it is.
pub(crate) fn age(root: &Path) {
    set_mtime(root, BASE_TIME, 0);
}

/// Removes the first `count` small files with their directories.
pub(crate) fn remove_small_files(root: &Path, count: usize) {
    for file in (0..count).step_by(FILES_PER_DIR) {
        fs::remove_dir_all(small_file(root, file).parent().unwrap()).unwrap();
    }
}

/// Makes one incompressible file of `len` bytes, another one for each seed.
pub(crate) fn large_file(path: &Path, len: u64, seed: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut rng = Rng::new(seed);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let mut left = usize::try_from(len).unwrap();
    while left > 0 {
        let part = left.min(1 << 20);
        out.write_all(&rng.bytes(part)).unwrap();
        left -= part;
    }
    out.flush().unwrap();
    set_mtime(path, BASE_TIME, 0);
}

/// Makes one file of `len` written zeros.
pub(crate) fn zeros(path: &Path, len: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut out = File::create(path).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), len), &mut out).unwrap();
    set_mtime(path, BASE_TIME, 0);
}

/// Rewrites one in a hundred of the file's pages in place.
pub(crate) fn rewrite_pages(path: &Path) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let pages = file.metadata().unwrap().len() / PAGE_LEN;
    let mut rng = Rng::new(9);
    for _ in 0..pages / 100 {
        let page = rng.next() % pages;
        let data = rng.bytes(usize::try_from(PAGE_LEN).unwrap());
        file.write_all_at(&data, page * PAGE_LEN).unwrap();
    }
    set_mtime(path, BASE_TIME + 1, 0);
}

/// Puts `len` bytes before everything else.
pub(crate) fn insert_at_front(path: &Path, len: usize) {
    let old = fs::read(path).unwrap();
    let mut out = File::create(path).unwrap();
    out.write_all(&Rng::new(5).bytes(len)).unwrap();
    out.write_all(&old).unwrap();
    set_mtime(path, BASE_TIME + 1, 0);
}

/// Adds `len` bytes at the end.
pub(crate) fn append(path: &Path, len: usize) {
    let mut out = fs::OpenOptions::new().append(true).open(path).unwrap();
    out.write_all(&Rng::new(6).bytes(len)).unwrap();
    set_mtime(path, BASE_TIME + 1, 0);
}

/// Gives all that is there a label, as SELinux does.
pub(crate) fn label(source: &Path) {
    let set = "setfattr -h -n security.selinux -v system_u:object_r:httpd_sys_content_t:s0 {} +";
    let find = Command::new("find")
        .arg(source)
        .arg("-exec")
        .args(set.split(' '))
        .status();
    assert!(find.unwrap().success(), "only root labels");
}
