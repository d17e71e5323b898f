//! `-b`, `--backup-dir` and `--suffix`: where a push keeps what it replaces or removes, and the
//! rules by which a later push does not remove that.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use hasync_engine::{Backup, BackupPlace};

use crate::args::{FilterWord, PushArgs};
use crate::exit::Failure;
use crate::target::Target;

/// What is asked for; `target` is DST.
pub(crate) fn asked(args: &PushArgs, target: &Target) -> Result<Option<Backup>, Failure> {
    if !args.backup && args.backup_dir.is_none() {
        return Ok(None);
    }
    let dir = args.backup_dir.as_deref();
    let place = dir.map_or(BackupPlace::Beside, |dir| place(Path::new(dir), target));
    let usual: &[u8] = if args.backup_dir.is_some() { b"" } else { b"~" };
    let suffix = args
        .suffix
        .as_ref()
        .map_or(usual, |suffix| suffix.as_bytes());
    if suffix.contains(&b'/') {
        return Err(Failure::usage("--suffix cannot contain a slash"));
    }
    if suffix.is_empty() && place == BackupPlace::Beside {
        return Err(Failure::usage(
            "without a --backup-dir a backup needs a name of its own: give a --suffix",
        ));
    }
    let suffix = suffix.to_vec();
    Ok(Some(Backup { place, suffix }))
}

/// Where a directory is, as it was typed: from DST, or in full.
fn place(dir: &Path, target: &Target) -> BackupPlace {
    let typed = Path::new(OsStr::from_bytes(target.path()));
    let target = match target {
        Target::Local(_) => std::path::absolute(typed).unwrap_or_else(|_| typed.to_owned()),
        Target::Remote { .. } => typed.to_owned(),
    };
    let below = match dir.is_absolute() {
        true => dir.strip_prefix(target).ok(),
        false => Some(dir),
    };
    match below.and_then(names) {
        // The target itself is where they are without such a directory.
        Some(names) if names.is_empty() => BackupPlace::Beside,
        Some(names) => BackupPlace::Below(names),
        None => BackupPlace::Elsewhere(dir.as_os_str().as_bytes().to_vec()),
    }
}

/// A path that leads down, without what means nothing in it.
fn names(path: &Path) -> Option<Vec<u8>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.as_bytes()),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(names.join(&b'/'))
}

/// The rule that protects backups in a directory from `--delete`. It comes first, and no word
/// clears it.
pub(crate) fn protected_dir(backup: &Backup) -> Option<FilterWord> {
    match &backup.place {
        BackupPlace::Below(dir) => Some(word([b"P /", &*literal(dir)].concat())),
        BackupPlace::Beside | BackupPlace::Elsewhere(_) => None,
    }
}

/// The same of those that have a suffix; as with rsync, all other rules come before it.
pub(crate) fn protected_suffix(backup: &Backup) -> Option<FilterWord> {
    let is_beside = backup.place == BackupPlace::Beside;
    is_beside.then(|| word([b"P *", &*backup.suffix].concat()))
}

fn word(rule: Vec<u8>) -> FilterWord {
    FilterWord::Filter(OsString::from_vec(rule))
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
    fn a_backup_dir_is_in_the_target_or_elsewhere() {
        let below = |dir: &str| BackupPlace::Below(dir.into());
        let elsewhere = |dir: &str| BackupPlace::Elsewhere(dir.into());
        let here = std::env::current_dir().unwrap();
        let here = here.to_str().unwrap();
        let local = |path: &str| Target::Local(path.into());
        let remote = |path: &str| Target::Remote {
            user: None,
            host: "host".into(),
            path: path.into(),
        };
        for (dir, target, found) in [
            ("bak", local("/dst/"), below("bak")),
            ("./a//b/", local("/dst/"), below("a/b")),
            ("/dst/k", local("/dst/"), below("k")),
            ("/dst/k", remote("/dst"), below("k")),
            ("/dst", local("/dst"), BackupPlace::Beside),
            (".", local("/dst"), BackupPlace::Beside),
            ("/dst2/k", local("/dst"), elsewhere("/dst2/k")),
            ("/", local("/dst"), elsewhere("/")),
            ("../out", local("/dst"), elsewhere("../out")),
            ("a/../../out", remote("dst"), elsewhere("a/../../out")),
            ("/dst/../out", local("/dst"), elsewhere("/dst/../out")),
            (&format!("{here}/dst/k"), local("dst"), below("k")),
            (&format!("{here}/dst/k"), local("./dst/"), below("k")),
            (
                &format!("{here}/dst/k"),
                remote("dst"),
                elsewhere(&format!("{here}/dst/k")),
            ),
        ] {
            assert_eq!(place(Path::new(dir), &target), found, "{dir} {target:?}");
        }
    }

    #[test]
    fn a_pattern_of_a_path_matches_that_alone() {
        assert_eq!(literal(b"a\\b"), b"a\\b");
        assert_eq!(literal(b"a\\[*"), b"a\\\\\\[\\*");
    }
}
