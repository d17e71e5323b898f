//! The one command line that the server runs: `hasync serve …`, quoted as for a shell, though no
//! shell ever sees it.

/// The arguments after `serve`, or why the command is refused.
pub(crate) fn serve_arguments(command: &[u8]) -> Result<Vec<String>, &'static str> {
    if command.len() > COMMAND_MAX_LEN {
        return Err("it is too long");
    }
    let command = std::str::from_utf8(command).map_err(|_| "it is not UTF-8")?;
    let mut words = split(command)?.into_iter();
    let program = words.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    if name != "hasync" || words.next().as_deref() != Some("serve") {
        return Err("only hasync serve can be run");
    }
    Ok(words.collect())
}

/// Splits into words. What only a shell could make sense of is refused rather than guessed at.
fn split(command: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("it has an open quote"),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => return Err("it has an open quote"),
                        },
                        Some('$' | '`') => return Err("it needs a shell"),
                        Some(c) => word.push(c),
                        None => return Err("it has an open quote"),
                    }
                }
            }
            '\\' => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("it ends in a backslash"),
            },
            ' ' | '\t' => words.extend(word.take()),
            c if c.is_control() || "|&;<>()$`*?[]{}#!~".contains(c) => {
                return Err("it needs a shell");
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

const COMMAND_MAX_LEN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn serve_with_arguments() {
        let arguments = |text: &str| serve_arguments(text.as_bytes()).unwrap();
        assert_eq!(arguments("hasync serve"), Vec::<String>::new());
        let quoted = "/opt/hasync  serve --root '/a b' \"c \\\"d\" e\\ f ''";
        assert_eq!(arguments(quoted), ["--root", "/a b", "c \"d", "e f", ""]);
    }

    #[test]
    fn nothing_else() {
        for command in [
            "",
            "sh",
            "hasync",
            "hasync push",
            "hasync-serve serve",
            "serve hasync",
            "hasync serve; sh",
            "hasync serve $(id)",
            "hasync serve \"`id`\"",
            "hasync serve 'x",
            "hasync serve > /x",
            "FOO=1 hasync serve",
            "hasync serve\nsh",
            "hasync serve *",
            "internal-sftp",
            "'hasync serve'",
            "hasync serve \\",
        ] {
            assert!(serve_arguments(command.as_bytes()).is_err(), "{command}");
        }
        assert!(serve_arguments(b"hasync serve \xff").is_err());
    }
}
