//! What a run leaves undone because not all of the source could be listed.

use crate::support::Finished;

/// Why nothing is deleted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    MaxDelete,
    /// Not all of the source could be listed: a full directory does not give way either.
    Unlisted,
}

/// Filters that keep what is in a directory of which not all could be listed, where
/// `--ignore-errors` lets the rest be deleted.
pub(crate) fn protections(dry: &Finished, sources: &[String]) -> Vec<String> {
    let lines = dry.stderr.lines();
    let quoted = lines.filter_map(|line| line.strip_prefix("symlink has no referent: \""));
    let dirs = quoted.filter_map(|path| sources.iter().find_map(|source| dir_of(path, source)));
    dirs.map(|dir| format!("--filter=P {dir}/*")).collect()
}

/// The directory of the transfer that a path is in, if it is of this source.
fn dir_of(path: &str, source: &str) -> Option<String> {
    let top = source.split("/./").next()?;
    let path = path.strip_prefix(top.trim_end_matches('/'))?;
    let (dir, _) = path.rsplit_once('/')?;
    let name = match top == source && !top.ends_with('/') {
        true => top.rsplit_once('/').map_or("", |(_, name)| name),
        false => "",
    };
    let slash = if name.is_empty() { "" } else { "/" };
    // Bytes that are shown as numbers.
    let mut pieces = dir.split("\\#");
    let first = pieces.next().unwrap_or_default().to_owned();
    let rest = pieces.map(|piece| format!("?{}", piece.get(3..).unwrap_or_default()));
    let dir: String = std::iter::once(first).chain(rest).collect();
    Some(format!("{slash}{name}{dir}"))
}
