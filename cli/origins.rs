//! Where the entries of a push come from, as rsync's lines have it: `%f` names an entry by its path
//! in the source, and under `-R` the name of an absolute SRC keeps its slash.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The sources of a push.
#[derive(Debug, Default)]
pub(crate) struct Origins(Vec<Origin>);

#[derive(Debug)]
struct Origin {
    /// Stands in front of the names of its entries, with a slash at its end unless it is empty.
    before: Vec<u8>,
    /// The name that it gets in the target; empty if only what is in it goes there.
    name: Vec<u8>,
    /// The path of the source begins with a slash.
    is_absolute: bool,
    /// So do the names that are said.
    is_from_top: bool,
}

impl Origins {
    /// Those of `sources`; `relative` is `-R`.
    pub(crate) fn new(sources: &[OsString], relative: bool) -> Self {
        let sources = sources.iter().map(|source| source.as_bytes());
        Origins(
            sources
                .map(|source| Origin::new(source, relative))
                .collect(),
        )
    }

    /// With `--files-from`: rsync names what is listed alone.
    pub(crate) fn listed() -> Self {
        Origins::default()
    }

    /// The path that an entry of the target has in the source, without a slash in front.
    pub(crate) fn path_of(&self, path: &[u8]) -> Vec<u8> {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let before = self.of(path).map_or(&b""[..], |origin| &origin.before);
        [before, path].concat()
    }

    /// The name of an entry with the slash in front, if it is said with one.
    pub(crate) fn with_slash(&self, path: &[u8]) -> Option<Vec<u8>> {
        // To find out which source has an entry takes a look at it.
        let may_be = path != b"." && self.0.iter().any(|origin| origin.is_from_top);
        let origin = may_be.then(|| self.of(path)).flatten()?;
        origin.is_from_top.then(|| [b"/", path].concat())
    }

    /// The first source that has the entry.
    fn of(&self, path: &[u8]) -> Option<&Origin> {
        let mut able = self.0.iter().filter(|origin| origin.may_have(path));
        match self.0.len() {
            1 => able.next(),
            _ => able.find(|origin| origin.has(path)),
        }
    }
}

impl Origin {
    fn new(source: &[u8], relative: bool) -> Self {
        if relative {
            let dot = source.windows(3).position(|bytes| bytes == b"/./");
            let (before, name) = match dot {
                Some(at) => (source.get(..at).unwrap_or_default(), source.get(at..)),
                None => (&b""[..], Some(source)),
            };
            return Origin {
                before: before_names(before),
                name: clean(name.unwrap_or_default()),
                is_absolute: source.starts_with(b"/"),
                is_from_top: dot.is_none() && source.starts_with(b"/"),
            };
        }
        let last = source.rsplit(|byte| *byte == b'/').next();
        let name = last.unwrap_or_default();
        let is_contents = matches!(name, b"" | b"." | b"..");
        let (before, name) = match is_contents {
            true => (source, &b""[..]),
            false => (&source[..source.len() - name.len()], name),
        };
        Origin {
            before: before_names(before),
            name: name.to_vec(),
            is_absolute: source.starts_with(b"/"),
            is_from_top: false,
        }
    }

    /// Whether a path of the target is that of an entry of this source, or leads to one.
    fn may_have(&self, path: &[u8]) -> bool {
        let leads = |from: &[u8], to: &[u8]| {
            let rest = to.strip_prefix(from);
            from.is_empty() || rest.is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        };
        leads(&self.name, path) || leads(path, &self.name)
    }

    /// Whether it is there.
    fn has(&self, path: &[u8]) -> bool {
        let top: &[u8] = if self.is_absolute { b"/" } else { b"" };
        let full = OsString::from_vec([top, &self.before, path].concat());
        Path::new(&full).symlink_metadata().is_ok()
    }
}

/// What stands in front of names in a directory.
fn before_names(dir: &[u8]) -> Vec<u8> {
    let mut before = clean(dir);
    if !before.is_empty() {
        before.push(b'/');
    }
    before
}

/// A path without what means nothing in it, and without a slash in front or at its end.
fn clean(path: &[u8]) -> Vec<u8> {
    let names = path.split(|byte| *byte == b'/');
    let names: Vec<&[u8]> = names.filter(|name| !matches!(*name, b"" | b".")).collect();
    names.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sources: &[&str], relative: bool, path: &str, expected: &str) {
        let sources: Vec<OsString> = sources.iter().map(OsString::from).collect();
        let found = Origins::new(&sources, relative).path_of(path.as_bytes());
        assert_eq!(String::from_utf8_lossy(&found), expected, "{sources:?}");
    }

    #[test]
    fn an_entry_has_the_path_that_it_has_in_the_source() {
        check(&["src/"], false, "d/f", "src/d/f");
        check(&["/srv/html/"], false, "d/f", "srv/html/d/f");
        check(&["/srv/html"], false, "html/f", "srv/html/f");
        check(&["src"], false, "src/f", "src/f");
        check(&["./src//d/"], false, "f", "src/d/f");
        check(&["a/../src/."], false, "f", "a/../src/f");
        check(&["."], false, "f", "f");
        check(&["src/a"], false, "a", "src/a");
        check(&["src/"], false, ".", "src/.");
        check(&["/srv/./html"], true, "html/f", "srv/html/f");
        check(&["/srv/html"], true, "srv/html/f", "srv/html/f");
        check(&["/srv/html"], true, "/srv/html/f", "srv/html/f");
        check(&["src/d"], true, "src/d/f", "src/d/f");
    }

    #[test]
    fn of_several_sources_the_one_that_has_the_entry_counts() {
        check(&["/proc/", "/etc/"], false, "passwd", "etc/passwd");
        check(&["/proc/", "/etc/"], false, "uptime", "proc/uptime");
        check(&["/proc/self", "/etc"], false, "etc/passwd", "etc/passwd");
        check(&["/proc/self", "/etc"], false, "gone", "gone");
    }

    #[test]
    fn under_relative_an_absolute_name_keeps_its_slash() {
        let told = |source: &str, path: &str| {
            let origins = Origins::new(&[OsString::from(source)], true);
            origins.with_slash(path.as_bytes())
        };
        assert_eq!(
            told("/srv/html", "srv/html/f"),
            Some(b"/srv/html/f".to_vec())
        );
        assert_eq!(told("/srv/html", "srv"), Some(b"/srv".to_vec()));
        assert_eq!(told("/srv/./html", "html"), None);
        assert_eq!(told("srv/html", "srv"), None);
        assert_eq!(told("/srv", "."), None);
    }
}
