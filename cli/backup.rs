//! `-b`, `--backup-dir` and `--suffix`: where a push keeps what it replaces or removes, and the
//! rules by which a later push does not remove that.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use hasync_engine::Backup;

use crate::args::{FilterWord, PushArgs};
use crate::exit::Failure;

/// What is asked for; `target` is DST.
pub(crate) fn asked(args: &PushArgs, target: &[u8]) -> Result<Option<Backup>, Failure> {
    if !args.backup && args.backup_dir.is_none() {
        return Ok(None);
    }
    let dir = args.backup_dir.as_deref();
    let dir = dir.map(|dir| below(Path::new(dir), target)).transpose()?;
    // The target itself is where they are without such a directory.
    let dir = dir.filter(|dir| !dir.is_empty());
    let usual: &[u8] = if args.backup_dir.is_some() { b"" } else { b"~" };
    let suffix = args
        .suffix
        .as_ref()
        .map_or(usual, |suffix| suffix.as_bytes());
    if suffix.contains(&b'/') {
        return Err(Failure::usage("--suffix cannot contain a slash"));
    }
    if suffix.is_empty() && dir.is_none() {
        return Err(Failure::usage(
            "without a --backup-dir in DST a backup needs a name of its own: give a --suffix",
        ));
    }
    let suffix = suffix.to_vec();
    Ok(Some(Backup { dir, suffix }))
}

/// The path of a directory below the target, as it was typed: from there, or in full.
fn below(dir: &Path, target: &[u8]) -> Result<Vec<u8>, Failure> {
    let target = Path::new(OsStr::from_bytes(target));
    let below = match dir.is_absolute() {
        true => dir.strip_prefix(target).ok(),
        false => Some(dir),
    };
    let mut names = Vec::new();
    for component in below.into_iter().flat_map(Path::components) {
        match component {
            Component::Normal(name) => names.push(name.as_bytes()),
            Component::CurDir => {}
            _ => return Err(outside(dir)),
        }
    }
    match below {
        Some(_) => Ok(names.join(&b'/')),
        None => Err(outside(dir)),
    }
}

fn outside(dir: &Path) -> Failure {
    let dir = hasync_engine::escape(dir.as_os_str().as_bytes());
    Failure::usage(format!(
        "--backup-dir {dir} is not in DST: a push changes nothing outside of it; name a directory \
         in DST, or the tree in hasync.toml, for hasync undo"
    ))
}

/// The rule that protects backups from `--delete`, and its place among all: as rsync has it, that
/// of a suffix comes last; that of a directory comes first.
pub(crate) fn protection(backup: &Backup, deletes_excluded: bool) -> Option<(usize, FilterWord)> {
    let (place, rule) = match &backup.dir {
        Some(dir) => (0, [b"P /", &*literal(dir)].concat()),
        None if deletes_excluded => return None,
        None => (usize::MAX, [b"P *", &*backup.suffix].concat()),
    };
    let rule = OsStr::from_bytes(&rule);
    Some((place, FilterWord::Filter(OsString::from(rule))))
}

/// A path as a pattern that matches nothing else.
fn literal(path: &[u8]) -> Vec<u8> {
    let is_wild = |byte: &u8| matches!(byte, b'*' | b'?' | b'[');
    if !path.iter().any(is_wild) {
        return path.to_vec();
    }
    let escaped = |&byte: &u8| match byte {
        b'\\' | b'*' | b'?' | b'[' => vec![b'\\', byte],
        byte => vec![byte],
    };
    path.iter().flat_map(escaped).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_backup_dir_is_in_the_target() {
        for (dir, found) in [
            ("bak", Some("bak")),
            ("./a//b/", Some("a/b")),
            ("/dst/k", Some("k")),
            ("/dst", Some("")),
            (".", Some("")),
            ("/dst2/k", None),
            ("/", None),
            ("../out", None),
            ("a/../../out", None),
            ("/dst/../out", None),
        ] {
            let below = below(Path::new(dir), b"/dst/");
            assert_eq!(below.ok().as_deref(), found.map(str::as_bytes), "{dir}");
        }
    }

    #[test]
    fn a_pattern_of_a_path_matches_that_alone() {
        assert_eq!(literal(b"a\\b"), b"a\\b");
        assert_eq!(literal(b"a\\[*"), b"a\\\\\\[\\*");
    }
}
