//! A list of what is pushed of a source (`--files-from`), as it is read from a file: paths below
//! the source that cannot leave it, whatever the file says.

use std::fmt;
use std::sync::Arc;

/// Paths below a source, in the order in which they were listed. A slash at the end of one means
/// what is in that directory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SourceList {
    /// Each path followed by a zero byte.
    paths: Arc<[u8]>,
}

impl SourceList {
    /// Reads a list: one path a line, or with `zeros` each followed by a zero byte. Lines that are
    /// empty, or begin with `#` or `;`, say nothing. A leading slash goes, and `..` leads up at
    /// most to the source.
    #[must_use]
    pub fn parse(text: &[u8], zeros: bool) -> Self {
        let ends = |byte: &u8| match zeros {
            true => *byte == 0,
            false => matches!(byte, b'\n' | b'\r' | 0),
        };
        let mut paths = Vec::with_capacity(text.len() + 1);
        for line in text.split(ends) {
            if !matches!(line.first(), None | Some(b'#' | b';')) {
                clamp(line, &mut paths);
                paths.push(0);
            }
        }
        SourceList {
            paths: paths.into(),
        }
    }

    /// The paths, one after another.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        let paths = self.paths.strip_suffix(&[0]);
        let paths = paths.map(|paths| paths.split(|&byte| byte == 0));
        paths.into_iter().flatten()
    }
}

impl fmt::Debug for SourceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceList({} paths)", self.paths().count())
    }
}

/// Adds a path without what would lead out of where it begins: leading slashes, and each `..` with
/// the name before it. `.` stays, since `/./` and a leading `./` have a meaning.
fn clamp(line: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    let mut kept: Vec<&[u8]> = Vec::new();
    for name in line.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
        match name {
            b".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    out.extend_from_slice(&kept.join(&b'/'));
    if out.len() == begin {
        out.push(b'.');
    }
    if line.ends_with(b"/") || line.ends_with(b"/..") {
        out.push(b'/');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, zeros: bool) -> Vec<String> {
        let list = SourceList::parse(text.as_bytes(), zeros);
        let paths = list.paths();
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        paths.map(text).collect()
    }

    #[test]
    fn lines_are_paths_below_the_source() {
        let text = "a/b\n\n# c\n;d\r\n/etc/passwd\n../../up\na/../../b\nc/..\n/\nd//e/\n./f\ng/./h";
        let expected = [
            "a/b",
            "etc/passwd",
            "up",
            "b",
            "./",
            "./",
            "d/e/",
            "./f",
            "g/./h",
        ];
        assert_eq!(read(text, false), expected);
        assert_eq!(read("", false), [""; 0]);
        assert_eq!(read("#a\n", false), [""; 0]);
    }

    #[test]
    fn zero_bytes_end_paths_with_any_other_byte() {
        assert_eq!(read("a\nb\0#c\0\0d", true), ["a\nb", "d"]);
    }
}
