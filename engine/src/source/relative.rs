//! What a name means under `-R`: the part that is kept in the tree, and the directory that this
//! begins in.

/// A name under `-R`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relative<'a> {
    /// What stands before `/./`, or the root for a name that begins with a slash.
    pub(super) base: Option<&'a [u8]>,
    /// The names that are kept, joined by single slashes. Empty for the base itself.
    pub(super) path: Vec<u8>,
    /// It ends in a slash, or means the base: what is in that directory.
    pub(super) is_contents: bool,
    /// It begins with `./`, or means the base: that is part of the tree.
    pub(super) has_base: bool,
}

impl<'a> Relative<'a> {
    /// Reads a name. `None` if `..` stands in what is kept.
    pub(super) fn parse(name: &'a [u8]) -> Option<Self> {
        let (base, kept) = split(name);
        let mut names = kept.split(|&b| b == b'/').peekable();
        let has_base = names.peek() == Some(&&b"."[..]);
        let names: Vec<&[u8]> = names.filter(|name| !matches!(*name, b"" | b".")).collect();
        if names.contains(&&b".."[..]) {
            return None;
        }
        let is_base = names.is_empty();
        Some(Relative {
            base,
            path: names.join(&b'/'),
            is_contents: is_base || kept.ends_with(b"/") || kept.ends_with(b"/."),
            has_base: has_base || is_base,
        })
    }
}

fn split(name: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let root = || name.starts_with(b"/").then_some(&b"/"[..]);
    match name.windows(3).position(|window| window == b"/./") {
        Some(0) => (Some(b"/"), strip_slashes(&name[3..])),
        Some(at) => (Some(&name[..at]), strip_slashes(&name[at + 3..])),
        None => (root(), strip_slashes(name)),
    }
}

fn strip_slashes(name: &[u8]) -> &[u8] {
    let is_slash = |&&b: &&u8| b == b'/';
    &name[name.iter().take_while(is_slash).count()..]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_kept_begins_after_a_dot() {
        for (name, base, path, is_contents, has_base) in [
            ("a/b", None, "a/b", false, false),
            ("a/b/", None, "a/b", true, false),
            ("a/b/.", None, "a/b", true, false),
            ("./a//b", None, "a/b", false, true),
            ("/a/b", Some("/"), "a/b", false, false),
            ("/a/./b/c", Some("/a"), "b/c", false, false),
            ("/./b", Some("/"), "b", false, false),
            ("a/././b", Some("a"), "b", false, true),
            ("a/.//b/./c", Some("a"), "b/c", false, false),
            ("a/./", Some("a"), "", true, true),
            ("a/.", None, "a", true, false),
            (".", None, "", true, true),
            ("/", Some("/"), "", true, true),
            ("../a/./b", Some("../a"), "b", false, false),
            ("..a/b..", None, "..a/b..", false, false),
        ] {
            let expected = Relative {
                base: base.map(str::as_bytes),
                path: path.as_bytes().to_vec(),
                is_contents,
                has_base,
            };
            assert_eq!(
                Relative::parse(name.as_bytes()).unwrap(),
                expected,
                "{name}"
            );
        }
        for name in ["..", "a/..", "a/../b", "x/./../a"] {
            assert_eq!(Relative::parse(name.as_bytes()), None, "{name}");
        }
    }
}
