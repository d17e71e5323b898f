//! The configuration that the last verb which acts went by. A failover does not wait until a broken
//! file is mended: `mirror stop` goes by this one then. It is in one fixed place, since where the
//! node keeps its state is what the broken file says.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hasync_engine::StateDir;

use super::sections::STATE_DIR;
use super::{DEFAULT_FILE, MAX_FILE_LEN};

/// Longest name that the copy of another file than the default one gets, in bytes.
const NAME_LEN_MAX: usize = 250;

/// Keeps the text of `file`. Who may not, or cannot, goes on without.
pub(super) fn keep(file: &Path, text: &str) {
    let Some((dir, name)) = place(file).filter(|(dir, _)| !file.starts_with(dir)) else {
        return;
    };
    let is_kept = |dir: &StateDir| dir.read(&name, MAX_FILE_LEN).ok()?;
    if let Ok(dir) = StateDir::open(&dir)
        && is_kept(&dir).as_deref() != Some(text.as_bytes())
    {
        let _ = dir.replace(&name, text.as_bytes());
    }
}

/// The text that is kept of `file`, and where.
pub(super) fn find(file: &Path) -> Option<(PathBuf, String)> {
    let (path, name) = place(file)?;
    let dir = StateDir::look(&path).ok()??;
    let text = dir.read(&name, MAX_FILE_LEN).ok()??;
    // A power cut may have emptied it.
    let text = String::from_utf8(text)
        .ok()
        .filter(|text| !text.is_empty())?;
    Some((path.join(name), text))
}

fn place(file: &Path) -> Option<(PathBuf, String)> {
    let file = std::path::absolute(file).ok()?;
    Some((dir(), name(&file)?))
}

/// The directory of all that is kept.
pub(super) fn dir() -> PathBuf {
    #[cfg(debug_assertions)]
    if let Some(dir) = std::env::var_os("HASYNC_LAST_GOOD_DIR") {
        return dir.into();
    }
    STATE_DIR.into()
}

/// The name of the copy: each file that a node is run by has one of its own.
fn name(file: &Path) -> Option<String> {
    if file == Path::new(DEFAULT_FILE) {
        return Some("last-good.toml".to_owned());
    }
    let file: &OsStr = file.as_os_str();
    let mut name = "last-good".to_owned();
    for byte in file.as_bytes() {
        match byte {
            b'/' => name.push('-'),
            b'.' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => name.push(char::from(*byte)),
            // Writing to memory does not fail.
            byte => drop(write!(name, "%{byte:02x}")),
        }
    }
    (name.len() <= NAME_LEN_MAX).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_a_copy_of_its_own() {
        let cases = [
            (DEFAULT_FILE, "last-good.toml"),
            ("/etc/hasync.toml", "last-good-etc-hasync.toml"),
            ("/etc/a-b/c d", "last-good-etc-a%2db-c%20d"),
            ("/etc/a/b/c d", "last-good-etc-a-b-c%20d"),
        ];
        for (file, expected) in cases {
            assert_eq!(name(Path::new(file)).as_deref(), Some(expected), "{file}");
        }
        assert_eq!(name(Path::new(&"x".repeat(1000))), None);
    }
}
