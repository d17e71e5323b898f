//! The words of ssh configuration: splitting a line, `%` tokens, `~`, `${VAR}` and file globs.

use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, glob_with};

use super::config_tokens::Token;
use crate::home::no_home;

/// Splits a line into its lower-case keyword and arguments. `None` for blank lines and comments.
pub(crate) fn split_line(line: &str) -> Result<Option<(String, Vec<String>)>, &'static str> {
    let line = line.trim_end_matches([' ', '\t', '\r', '\n', '\x0c']);
    let line = line.trim_start_matches(BLANKS);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let end = line
        .find(|c| c == '=' || BLANKS.contains(&c))
        .unwrap_or(line.len());
    let (keyword, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(BLANKS);
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    Ok(Some((keyword.to_ascii_lowercase(), split_arguments(rest)?)))
}

/// Splits arguments at blanks; quotes hold one together, `#` ends the line.
fn split_arguments(text: &str) -> Result<Vec<String>, &'static str> {
    let mut arguments = Vec::new();
    let mut current: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            Some(open) if c == open => quote = None,
            _ if c == '\\'
                && chars
                    .peek()
                    .is_some_and(|next| matches!(next, '"' | '\'' | '\\')) =>
            {
                current.get_or_insert_default().extend(chars.next());
            }
            Some(_) => current.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                current.get_or_insert_default();
            }
            None if c == '#' && current.is_none() => break,
            None if matches!(c, ' ' | '\t') => arguments.extend(current.take()),
            None => current.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("unterminated quote");
    }
    arguments.extend(current);
    Ok(arguments)
}

/// What parts a keyword from its arguments: to ssh nothing else is white space.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// Replaces `%x` tokens.
pub(crate) fn expand_tokens(text: &str, tokens: &[Token]) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            expanded.push(c);
            continue;
        }
        match chars.next() {
            Some('%') => expanded.push('%'),
            Some(token) => match tokens.iter().find(|(name, _)| *name == token) {
                Some((_, value)) => expanded.push_str(value),
                None => return Err(format!("token %{token} is not supported here: use -e ssh")),
            },
            None => return Err("a single % at its end".to_owned()),
        }
    }
    Ok(expanded)
}

/// Expands a file name: `${VAR}`, `%` tokens, then a leading `~/`.
pub(crate) fn expand_path(
    text: &str,
    tokens: &[Token],
    home: Option<&Path>,
) -> Result<PathBuf, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or("a ${ without its }")?;
        let value = std::env::var(name).map_err(|_| format!("${{{name}}} is not set"))?;
        expanded.push_str(before);
        // A value is text, not a pattern to expand again.
        expanded.push_str(&value.replace('%', "%%"));
        rest = after;
    }
    expanded.push_str(rest);
    let expanded = expand_tokens(&expanded, tokens)?;
    if expanded == "~" {
        return home.map(Path::to_owned).ok_or_else(no_home);
    }
    match expanded.strip_prefix("~/") {
        Some(below) => Ok(home.ok_or_else(no_home)?.join(below)),
        None if expanded.starts_with('~') => {
            Err("~USER is not supported here: use -e ssh".to_owned())
        }
        None => Ok(expanded.into()),
    }
}

/// The files that a path with `*`, `?` and `[...]` names, sorted. As ssh has it, directories say
/// nothing, and a name that begins with a dot is only matched by one.
pub(crate) fn glob(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let mut text = pattern.to_string_lossy().into_owned();
    // Two stars would reach into subdirectories.
    while text.contains("**") {
        text = text.replace("**", "*");
    }
    let options = MatchOptions {
        require_literal_separator: true,
        ..MatchOptions::new()
    };
    let dotted = |name: Component<'_>| name.as_os_str().as_encoded_bytes().starts_with(b".");
    let hidden = |path: &Path| {
        let mut names = path.components().zip(pattern.components());
        names.any(|(found, asked)| dotted(found) && !dotted(asked))
    };
    let mut files = Vec::new();
    let found = glob_with(&text, options).map_err(|e| e.to_string())?;
    for path in found.take(GLOB_MAX_FILES) {
        let path = path.map_err(|e| e.to_string())?;
        if !path.is_dir() && !hidden(&path) {
            files.push(path);
        }
    }
    Ok(files)
}

/// More files than this one `Include` does not name.
const GLOB_MAX_FILES: usize = 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn split(line: &str) -> Option<(String, Vec<String>)> {
        split_line(line).unwrap()
    }

    #[test]
    fn lines() {
        assert_eq!(split("  # x"), None);
        assert_eq!(
            split("Port=22").unwrap(),
            ("port".into(), vec!["22".into()])
        );
        assert_eq!(
            split("Port = 22 # x").unwrap(),
            ("port".into(), vec!["22".into()])
        );
        assert_eq!(
            split("\tHost a \"b c\" 'd'#e").unwrap(),
            ("host".into(), vec!["a".into(), "b c".into(), "d#e".into()])
        );
        assert_eq!(split(r#"User a\"b"#).unwrap().1, [r#"a"b"#]);
        assert_eq!(split("User").unwrap().1, Vec::<String>::new());
        assert!(split_line("User \"a").is_err());
    }

    #[test]
    fn tokens_and_paths() {
        let tokens = [('h', "b".to_owned()), ('p', "22".to_owned())];
        let home = Some(Path::new("/home/x"));
        assert_eq!(expand_tokens("%h:%p%%", &tokens).unwrap(), "b:22%");
        assert!(expand_tokens("%z", &tokens).is_err());
        assert!(expand_tokens("%", &tokens).is_err());
        let path = |text| expand_path(text, &tokens, home).unwrap();
        assert_eq!(path("~/.ssh/%h"), Path::new("/home/x/.ssh/b"));
        assert_eq!(Some(path("~").as_path()), home);
        assert!(expand_path("~/x", &tokens, None).is_err());
        assert_eq!(path("/etc/%h"), Path::new("/etc/b"));
        assert!(expand_path("~bob/x", &tokens, home).is_err());
        assert!(expand_path("${HASYNC_NOT_SET}/x", &tokens, home).is_err());
    }

    #[test]
    fn globs_are_sorted_and_skip_what_is_hidden() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b.conf",
            "a.conf",
            ".c.conf",
            "d.txt",
            "below/f.conf",
            "7.conf",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::create_dir(dir.path().join("dir.conf")).unwrap();
        for (pattern, names) in [
            ("*.conf", &["7.conf", "a.conf", "b.conf"][..]),
            ("**.conf", &["7.conf", "a.conf", "b.conf"]),
            ("[ab].conf", &["a.conf", "b.conf"]),
            ("[!a-z]*", &["7.conf"]),
            ("?.txt", &["d.txt"]),
            (".*.conf", &[".c.conf"]),
            ("*/*.conf", &["below/f.conf"]),
            ("a.conf", &["a.conf"]),
            ("e.conf", &[]),
        ] {
            let paths: Vec<PathBuf> = names.iter().map(|name| dir.path().join(name)).collect();
            assert_eq!(glob(&dir.path().join(pattern)).unwrap(), paths, "{pattern}");
        }
    }
}
