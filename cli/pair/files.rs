//! The list of keys that may log in, with one line for the other node: what the line says, and how
//! the file changes. Every file is whole at any time, keeps its mode and owner, and a new one gets
//! its mode at birth.

use std::io::{self, Read};
use std::path::Path;

use hasync_engine::{Existing, make_dirs, open_file, put_file};
use hasync_transport::ssh;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure, cause, of_io};
use crate::shell;

/// What came of the line in a list of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Admission {
    /// The list.
    pub(super) file: String,
    /// The command that the key is bound to.
    pub(super) command: String,
    /// The addresses that it is taken from, if not from all.
    pub(super) from: Option<String>,
    pub(super) change: Change,
}

/// How the list had to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Change {
    /// The line was there.
    None,
    /// The key was not.
    Added,
    /// The key was bound to another `hasync serve`.
    Rebound,
    /// The key stands there with options that are not ours: it is left to people.
    Foreign,
}

impl Admission {
    pub(super) fn is_new(&self) -> bool {
        matches!(self.change, Change::Added | Change::Rebound)
    }

    /// The line about it: whose key may do what, and on which node.
    pub(super) fn told(&self, whose: &str, on: &str) -> String {
        let from = self.from.as_ref();
        let from = from.map_or_else(String::new, |from| format!(" from {from} alone"));
        let (file, command) = (&self.file, format!("`{}`{from}", self.command));
        let what = match self.change {
            Change::None => format!("is bound already to {command}, in {file}"),
            Change::Added => format!("may run {command} and nothing else, by a line in {file}"),
            Change::Rebound => format!("is bound anew to {command}, in {file}"),
            Change::Foreign => format!(
                "stands in {file} with options of somebody else's; it should be bound to {command}"
            ),
        };
        format!("authorized_keys: on {on} the key of {whose} {what}")
    }
}

/// What a key may do: run one command, and nothing else.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    /// The command.
    pub(super) words: Vec<String>,
    /// The addresses that it is taken from; without them, those that it is bound to already.
    pub(super) from: Option<String>,
    /// `TYPE BASE64`.
    pub(super) key: String,
    pub(super) comment: String,
}

impl Binding {
    /// The line of a list that says so.
    pub(super) fn line(&self) -> String {
        let from = self.from.as_ref();
        let from = from.map_or_else(String::new, |from| {
            format!("from={},", ssh::option_value(from))
        });
        let command = ssh::option_value(&shell::command(&self.words));
        let (key, comment) = (&self.key, &self.comment);
        format!("{from}command={command},restrict {key} {comment}")
    }
}

/// Has the line of this key stand in the list.
pub(super) fn admit(file: &Path, mut binding: Binding) -> Result<Admission, Failure> {
    let cannot = |e: io::Error| {
        let (file, why) = (file.display(), cause(&e));
        Failure::new(of_io(&e), format!("cannot add a key to {file}: {why}"))
    };
    let old = match read(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        old => old.map_err(cannot)?,
    };
    let old = String::from_utf8(old).map_err(|_| {
        let what = format!("{} is no text; nothing was added to it", file.display());
        Failure::new(Exit::Config, what)
    })?;
    let (new, change) = with_line(&old, &mut binding);
    if let Some(new) = new {
        make_parent(file, 0o700).map_err(cannot)?;
        let replaced = put_file(file, new.as_bytes(), 0o600, Existing::IsReplaced);
        replaced.map_err(cannot)?;
    }
    Ok(Admission {
        file: file.display().to_string(),
        command: shell::command(&binding.words),
        from: binding.from,
        change,
    })
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open_file(file, &mut |_| Ok(()))?.read_to_end(&mut bytes);
    read.map(|_| bytes)
}

/// The text with the line in it, if it has to change. What narrows the key already stays.
fn with_line(text: &str, binding: &mut Binding) -> (Option<String>, Change) {
    let key = binding.key.clone();
    let is_of_key = |old: &&str| !old.trim_start().starts_with('#') && old.contains(&key);
    let found: Vec<&str> = text.lines().filter(is_of_key).collect();
    if let [old] = found[..]
        && let Some(from) = narrowed_by(old, &key)
    {
        binding.from = binding.from.take().or(from);
    }
    let line = binding.line();
    if found.iter().any(|old| old.trim() == line) {
        return (None, Change::None);
    }
    match found[..] {
        [] => {
            let gap = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            (Some(format!("{text}{gap}{line}\n")), Change::Added)
        }
        [old] if narrowed_by(old, &key).is_some() => {
            let lines: Vec<&str> = text
                .lines()
                .map(|kept| if kept == old { &line } else { kept })
                .collect();
            (Some(format!("{}\n", lines.join("\n"))), Change::Rebound)
        }
        _ => (None, Change::Foreign),
    }
}

/// The `from=` of a line that `hasync pair` made: a command that serves, `restrict`, and no more.
/// Nothing if somebody else had a hand in it.
fn narrowed_by(line: &str, key: &str) -> Option<Option<String>> {
    let options = line.split(key).next().unwrap_or_default().trim();
    let (from, rest) = match options.strip_prefix("from=\"") {
        Some(rest) => {
            let (from, rest) = rest.split_once("\",")?;
            (Some(from.to_owned()), rest)
        }
        None => (None, options),
    };
    let command = rest.strip_prefix("command=\"")?;
    let command = command.strip_suffix("\",restrict")?;
    let is_plain = !command.replace("\\\"", "").contains('"');
    (is_plain && command.contains(" serve ")).then_some(from)
}

/// The directory of a file, with this mode if it has to be made.
pub(super) fn make_parent(file: &Path, mode: u32) -> io::Result<()> {
    match file.parent() {
        Some(dir) => Ok(make_dirs(dir, mode)?),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAkey";

    fn binding(words: &str, key: &str) -> Binding {
        Binding {
            words: words.split(' ').map(str::to_owned).collect(),
            from: None,
            key: key.to_owned(),
            comment: "hasync@foo0".to_owned(),
        }
    }

    #[test]
    fn a_list_gets_one_line_for_a_key() {
        let wanted = binding("/usr/bin/hasync serve --tree html mail --receive-only", KEY);
        let new = wanted.line();
        let old = binding("/usr/bin/hasync serve --tree html --receive-only", KEY).line();
        let here = |line: &str| format!("from=\"10.0.0.1,fd00::1\",{line}");
        let others = "# mine\nssh-rsa BBBB me\n";
        for (text, expected, change) in [
            (String::new(), Some(format!("{new}\n")), Change::Added),
            (
                others.to_owned(),
                Some(format!("{others}{new}\n")),
                Change::Added,
            ),
            (
                "ssh-rsa BBBB me".to_owned(),
                Some(format!("ssh-rsa BBBB me\n{new}\n")),
                Change::Added,
            ),
            (format!("{others}{new}\n"), None, Change::None),
            (format!("{new}\n{others}"), None, Change::None),
            (
                format!("{old}\n{others}"),
                Some(format!("{new}\n{others}")),
                Change::Rebound,
            ),
            // What narrows it stays.
            (format!("{}\n", here(&new)), None, Change::None),
            (
                format!("{}\n", here(&old)),
                Some(format!("{}\n", here(&new))),
                Change::Rebound,
            ),
            // What somebody else has decided stays.
            (format!("{KEY} root\n"), None, Change::Foreign),
            (format!("restrict {KEY}\n"), None, Change::Foreign),
            (format!("pty,{old}\n"), None, Change::Foreign),
            (
                format!("from=\"10.0.0.1\",pty,{old}\n"),
                None,
                Change::Foreign,
            ),
            (format!("from=\"10.0.0.1\"{old}\n"), None, Change::Foreign),
            (old.replace(",restrict", ""), None, Change::Foreign),
            (
                old.replace(
                    "serve --tree html --receive-only\"",
                    "serve \",pty,environment=\"A=B\"",
                ),
                None,
                Change::Foreign,
            ),
            // Two lines for one key: sshd takes the first.
            (format!("{old}\n{KEY} root\n"), None, Change::Foreign),
            (
                format!("# {old}\n"),
                Some(format!("# {old}\n{new}\n")),
                Change::Added,
            ),
        ] {
            let done = with_line(&text, &mut wanted.clone());
            assert_eq!(done, (expected, change), "{text}");
        }
        let mut narrowed = wanted;
        narrowed.from = Some("10.0.0.9".to_owned());
        for old in [format!("{new}\n"), format!("{}\n", here(&old))] {
            let expected = Some(format!("from=\"10.0.0.9\",{new}\n"));
            let done = with_line(&old, &mut narrowed.clone());
            assert_eq!(done, (expected, Change::Rebound), "{old}");
        }
    }

    #[test]
    fn a_list_behind_a_planted_symlink_is_left_alone() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("victim")).unwrap();
        fs::write(at("victim/keys"), "ssh-rsa BBBB me\n").unwrap();
        for (name, target) in [
            ("dir", "victim"),
            ("list", "victim/keys"),
            ("new", "victim/new"),
        ] {
            std::os::unix::fs::symlink(target, at(name)).unwrap();
            std::os::unix::fs::lchown(at(name), Some(4242), Some(4242)).unwrap();
        }
        for name in ["dir/keys", "dir/new", "dir/sub/new", "list", "new"] {
            let admitted = admit(&at(name), binding("h serve -x", KEY));
            let why = admitted.unwrap_err().message;
            assert!(why.contains("is a symlink to"), "{name}: {why}");
        }
        assert_eq!(
            fs::read_to_string(at("victim/keys")).unwrap(),
            "ssh-rsa BBBB me\n"
        );
        assert_eq!(fs::read_dir(at("victim")).unwrap().count(), 1);
    }

    #[test]
    fn a_command_survives_the_list_and_the_shell() {
        let words = [
            "/opt/my tools/hasync",
            "serve",
            "--tree",
            "it's",
            "a\"b",
            "c\\d",
            "e\\\"f",
            "g\\",
        ];
        let words: Vec<String> = words.map(str::to_owned).into();
        let bound = Binding {
            words: words.clone(),
            ..binding("", KEY)
        };
        let line = bound.line();
        let quoted = line.strip_prefix("command=\"").unwrap();
        let quoted = quoted
            .strip_suffix(&format!("\",restrict {KEY} hasync@foo0"))
            .unwrap();
        // As sshd and the transport read it.
        let command = quoted.replace("\\\"", "\"");
        let shown = std::process::Command::new("sh")
            .args(["-c", &format!("printf '%s\\n' {command}")])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(shown.stdout).unwrap(),
            words.join("\n") + "\n"
        );
    }

    #[test]
    fn files_keep_their_mode_and_new_ones_get_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let list = dir.path().join("new/authorized_keys");
        let admitted = || admit(&list, binding("h serve -x", KEY)).unwrap();
        assert_eq!(admitted().change, Change::Added);
        assert_eq!((mode(list.parent().unwrap()), mode(&list)), (0o700, 0o600));
        fs::set_permissions(&list, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(admitted().change, Change::None);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&list, &link).unwrap();
        let other = admit(&link, binding("x", "k o"));
        assert_eq!(other.unwrap().change, Change::Added);
        assert!(link.is_symlink());
        assert_eq!(mode(&list), 0o640);
        assert_eq!(fs::read_to_string(&list).unwrap().lines().count(), 2);
    }
}
