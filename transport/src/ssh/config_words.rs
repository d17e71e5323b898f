//! The words of ssh configuration: splitting a line, `%` tokens, `~`, `${VAR}` and file globs.

use std::path::{Path, PathBuf};

use super::pattern;
use crate::home::no_home;

/// Splits a line into its lower-case keyword and arguments. `None` for blank lines and comments.
pub(crate) fn split_line(line: &str) -> Result<Option<(String, Vec<String>)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let end = line
        .find(|c: char| c.is_whitespace() || c == '=')
        .unwrap_or(line.len());
    let (keyword, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    Ok(Some((keyword.to_ascii_lowercase(), split_arguments(rest)?)))
}

/// Splits arguments at white space; quotes hold one together, `#` ends the line.
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
            None if c.is_whitespace() => arguments.extend(current.take()),
            None => current.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("unterminated quote");
    }
    arguments.extend(current);
    Ok(arguments)
}

/// What `%` tokens stand for, in the order host-first: `('h', "b.example.com")`.
pub(crate) type Tokens<'a> = [(char, &'a str)];

/// Replaces `%x` tokens.
pub(crate) fn expand_tokens(text: &str, tokens: &Tokens<'_>) -> Result<String, String> {
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
                None => return Err(format!("token %{token} is not supported")),
            },
            None => return Err("a single % at its end".to_owned()),
        }
    }
    Ok(expanded)
}

/// Expands a file name: `${VAR}`, `%` tokens, then a leading `~/`.
pub(crate) fn expand_path(
    text: &str,
    tokens: &Tokens<'_>,
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
        None if expanded.starts_with('~') => Err("~USER is not supported".to_owned()),
        None => Ok(expanded.into()),
    }
}

/// The existing files that a path with `*` and `?` in any component names, sorted.
pub(crate) fn glob(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in path.components() {
        let name = component.as_os_str().to_string_lossy();
        if !name.contains(['*', '?']) {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        }
        found = found
            .iter()
            .flat_map(|directory| matching_entries(directory, &name))
            .collect();
    }
    found.retain(|path| path.exists());
    found.truncate(GLOB_MAX_FILES);
    found
}

fn matching_entries(directory: &Path, name_pattern: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            (name_pattern.starts_with('.') || !name.starts_with('.'))
                && pattern::matches(name_pattern, &name)
        })
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
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
        let tokens = [('h', "b"), ('p', "22")];
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
        for name in ["b.conf", "a.conf", ".c.conf", "d.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = glob(&dir.path().join("*.conf"));
        assert_eq!(
            found,
            [dir.path().join("a.conf"), dir.path().join("b.conf")]
        );
        assert_eq!(glob(&dir.path().join("e.conf")), Vec::<PathBuf>::new());
    }
}
