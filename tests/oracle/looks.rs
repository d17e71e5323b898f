//! What rsync says, and hasync does not, because it looks again at what it has changed itself.

use super::generate::Case;

/// Leaves out lines about what one of the programs looks at and the other does not: whether an
/// entry of a type that is not mirrored is there, and DST once more for another SRC.
pub(crate) fn without_second_looks(case: &Case, mut lines: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    if case.has("--existing") || case.has("--ignore-existing") {
        lines.retain(|line| !line.starts_with(b"skipping non-regular file "));
    }
    // By then it has got a directory of backups.
    if case.sources.len() > 1 && case.keeps_backups() {
        // And so it is not as it should be.
        lines.retain(|line| line != b".d..t...... ./" && line != b".d          ./");
    }
    lines
}

/// Says of DST, in a second run, that its time is as it should be although backups of the first
/// have changed it.
pub(crate) fn without_times_of_backups(case: &Case, lines: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let is_changed = |line: &[u8]| case.keeps_backups() && line == b".d..t...... ./";
    let lines = lines
        .into_iter()
        .filter_map(|line| match is_changed(&line) {
            true => case.has("-i").then(|| b".d          ./".to_vec()),
            false => Some(line),
        });
    lines.collect()
}
