//! Random histories of a tree with everything that a tree can hold, and what there is to compare.

#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Everything about a tree's entries by path: the inode of what may
/// have several names, and the rest.
pub type Scan = BTreeMap<String, (u64, String)>;

pub fn scan(root: &Path) -> Scan {
    let mut scan = Scan::new();
    let walk = walkdir::WalkDir::new(root).sort_by_file_name();
    let inside = |entry: &walkdir::DirEntry| entry.file_name() != ".hasync";
    for entry in walk.into_iter().filter_entry(inside) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(root).unwrap();
        let path = path.display().to_string();
        let meta = entry.path().symlink_metadata().unwrap();
        let content = if meta.is_file() {
            sum_of(entry.path())
        } else if meta.is_symlink() {
            fs::read_link(entry.path()).unwrap().display().to_string()
        } else {
            String::new()
        };
        let shown = format!(
            "{:o} {}:{} {}.{:09} {} {content}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.rdev(),
        );
        scan.insert(path, (meta.ino(), shown));
    }
    scan
}

/// The entries that `of` takes, each with the first of them that is the same inode.
pub fn part(scan: &Scan, of: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let mut firsts: BTreeMap<u64, String> = BTreeMap::new();
    let taken = scan.iter().filter(|(path, _)| of(path));
    let shown = |(path, (ino, shown)): (&String, &(u64, String))| {
        let first = firsts.entry(*ino).or_insert_with(|| path.clone());
        (path.clone(), format!("{shown} {first}"))
    };
    taken.map(shown).collect()
}

pub fn state(root: &Path) -> BTreeMap<String, String> {
    part(&scan(root), |_| true)
}

fn sum_of(path: &Path) -> String {
    fs::read(path)
        .unwrap()
        .iter()
        .fold(0_u64, |sum, &byte| {
            sum.rotate_left(7).wrapping_mul(31) ^ u64::from(byte)
        })
        .to_string()
}

/// One change of the source.
#[derive(Clone, Debug)]
pub enum Edit {
    Write(u8, u16),
    WriteIn(u8, u8, u16),
    Link(u8, u8),
    Symlink(u8, u8),
    Remove(u8),
    Rename(u8, u8),
    Chmod(u8, u8),
    Touch(u8, u16),
    Fifo(u8),
    /// Needs root; left out without.
    Device(u8, u8),
}

pub fn edit() -> impl Strategy<Value = Edit> {
    let name = 0_u8..8;
    let other = 0_u8..8;
    prop_oneof![
        (name.clone(), any::<u16>()).prop_map(|(a, b)| Edit::Write(a, b)),
        (name.clone(), other.clone(), any::<u16>()).prop_map(|(a, b, c)| Edit::WriteIn(a, b, c)),
        (name.clone(), other.clone()).prop_map(|(a, b)| Edit::Link(a, b)),
        (name.clone(), other.clone()).prop_map(|(a, b)| Edit::Symlink(a, b)),
        name.clone().prop_map(Edit::Remove),
        (name.clone(), other).prop_map(|(a, b)| Edit::Rename(a, b)),
        (name.clone(), any::<u8>()).prop_map(|(a, b)| Edit::Chmod(a, b)),
        (name.clone(), any::<u16>()).prop_map(|(a, b)| Edit::Touch(a, b)),
        name.clone().prop_map(Edit::Fifo),
        (name, any::<u8>()).prop_map(|(a, b)| Edit::Device(a, b)),
    ]
}

/// Gives a new entry a time of its own: what is made within one tick of the kernel's clock has one
/// time, and like rsync a push leaves linked what only differs by being linked.
fn stamp(path: &Path) -> std::io::Result<()> {
    static NEXT: AtomicI64 = AtomicI64::new(1_500_000_000);
    let secs = NEXT.fetch_add(1, Ordering::Relaxed);
    let time = filetime::FileTime::from_unix_time(secs, 1);
    filetime::set_symlink_file_times(path, time, time)
}

fn node(path: &Path, kind: FileType, rdev: u64) -> std::io::Result<()> {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), rdev)?;
    stamp(path)
}

pub fn apply(root: &Path, edit: &Edit) {
    // What makes no sense on the present tree is left out.
    let at = |name: u8| root.join(format!("n{name}"));
    let _ = match *edit {
        // Opening a fifo would wait for a reader.
        Edit::Write(name, _) if at(name).metadata().is_ok_and(|m| !m.is_file()) => Ok(()),
        Edit::Write(name, seed) => fs::write(at(name), vec![seed as u8; usize::from(seed) % 5000])
            .and_then(|()| stamp(&at(name))),
        Edit::WriteIn(dir, name, seed) => fs::create_dir_all(at(dir))
            .and_then(|()| fs::write(at(dir).join(format!("m{name}")), seed.to_string())),
        // As with rsync, the attributes of linked fifos that part later stay shared.
        Edit::Link(from, _) if !at(from).symlink_metadata().is_ok_and(|m| m.is_file()) => Ok(()),
        Edit::Link(from, to) => fs::hard_link(at(from), at(to)),
        Edit::Symlink(to, name) => {
            symlink(format!("n{to}"), at(name)).and_then(|()| stamp(&at(name)))
        }
        Edit::Remove(name) if at(name).is_dir() => fs::remove_dir_all(at(name)),
        Edit::Remove(name) => fs::remove_file(at(name)),
        Edit::Rename(from, to) => fs::rename(at(from), at(to)),
        Edit::Chmod(name, mode) if at(name).symlink_metadata().is_ok_and(|m| !m.is_symlink()) => {
            let mode = 0o700 | u32::from(mode);
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode))
        }
        Edit::Touch(name, secs) if at(name).symlink_metadata().is_ok_and(|m| !m.is_symlink()) => {
            let time = filetime::FileTime::from_unix_time(1_600_000_000 + i64::from(secs), 5);
            filetime::set_symlink_file_times(at(name), time, time)
        }
        Edit::Chmod(..) | Edit::Touch(..) => Ok(()),
        Edit::Fifo(name) => node(&at(name), FileType::Fifo, 0),
        Edit::Device(name, minor) => {
            let rdev = rustix::fs::makedev(1, u32::from(minor));
            node(&at(name), FileType::CharacterDevice, rdev)
        }
    };
}

/// The same histories each time, but others and more in a soak.
#[expect(
    clippy::disallowed_methods,
    reason = "the one switch between the two counts"
)]
pub fn histories() -> ProptestConfig {
    let (cases, rng_seed) = match std::env::var_os("HASYNC_SOAK") {
        None => (200, RngSeed::Fixed(1)),
        Some(_) => (20_000, RngSeed::Random),
    };
    let mut out = std::io::stdout();
    writeln!(out, "random histories: {cases} (normal 200, soak 20000)").unwrap();
    ProptestConfig {
        cases,
        rng_seed,
        ..ProptestConfig::default()
    }
}
