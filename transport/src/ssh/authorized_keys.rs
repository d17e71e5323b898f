//! authorized_keys: who may log in to the server, with the options that restrict a key. As in sshd
//! the first line counts that has the key and admits it.

mod expiry;
mod from;
mod options;
#[cfg(test)]
mod oracle;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use russh::keys::ssh_key::PublicKey;

pub(crate) use self::from::FromList;
use self::options::KeyOptions;
pub use self::options::option_value;
use super::command_line::serve_arguments;
use super::key_words::{BLANKS, KeyWords};
use super::keys::{RSA_MIN_BITS, rsa_bits, too_small};
use super::trusted::{self, Distrust};
use hasync_engine::describe;

/// A key that may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) comment: String,
    /// What stands behind `hasync serve` in the line's `command="…"`, if it has one.
    pub(crate) forced: Option<Vec<String>>,
}

/// Whether the arguments of a forced command make sense; if not, why.
pub(crate) type JudgeForced<'a> = &'a dyn Fn(&[String]) -> Result<(), String>;

/// The file as it was when a client connected. The process that serves it is confined afterwards,
/// and does not reach the file itself: what it may open it may also chmod, as root.
pub(crate) struct AuthorizedKeys {
    file: PathBuf,
    /// Or why nobody may log in by it.
    text: Result<String, String>,
}

impl AuthorizedKeys {
    pub(crate) fn read(file: &Path) -> Self {
        AuthorizedKeys {
            file: file.to_owned(),
            text: read(file),
        }
    }

    /// Looks `blob` up for a client at `address`; the reason if it may not log in.
    pub(crate) fn look_up(
        &self,
        blob: &[u8],
        address: IpAddr,
        judge: JudgeForced<'_>,
    ) -> Result<Grant, String> {
        let text = self.text.as_ref().map_err(String::clone)?;
        look_up(&self.file, text, blob, address, judge)
    }
}

fn look_up(
    file: &Path,
    text: &str,
    blob: &[u8],
    address: IpAddr,
    judge: JudgeForced<'_>,
) -> Result<Grant, String> {
    let mut reason = format!("it is not in {}", file.display());
    for (index, line) in text.split('\n').enumerate() {
        let Some(entry) = Entry::parse(line).filter(|entry| entry.blob == blob) else {
            continue;
        };
        match entry.admits(address.to_canonical(), SystemTime::now(), judge) {
            Ok(grant) => return Ok(grant),
            Err(refusal) => {
                let (why, is_final) = match refusal {
                    Refusal::Line(why) => (why, false),
                    Refusal::Key(why) => (why, true),
                };
                reason = format!("{}:{}: {why}", file.display(), index + 1);
                if is_final {
                    break;
                }
            }
        }
    }
    Err(reason)
}

/// The `from=` lists of all lines of `file` that make sense.
pub(crate) fn from_lists(file: &Path) -> Result<Vec<FromList>, String> {
    let text = read(file)?;
    let entries = text.split('\n').filter_map(Entry::parse);
    let options = entries.filter_map(|entry| KeyOptions::parse(entry.options?).ok());
    Ok(options.filter_map(|options| options.from).collect())
}

/// What a line that has the key does not admit it for.
enum Refusal {
    /// A later line may.
    Line(String),
    /// sshd would run this line's command: what a later line allows does not count.
    Key(String),
}

/// Reads the file unless somebody else could have written it.
pub(crate) fn read(file: &Path) -> Result<String, String> {
    match trusted::read(file, FILE_MAX_LEN) {
        Ok(text) => Ok(text),
        Err(Distrust::Unreadable(e)) => Err(format!("{}: {}", file.display(), describe(&e))),
        Err(Distrust::Others(why)) => Err(why),
    }
}

struct Entry<'a> {
    options: Option<&'a str>,
    blob: Vec<u8>,
    comment: String,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Entry<'a>> {
        // To sshd a NUL ends the line.
        let line = line.split('\0').next()?.trim_start_matches(BLANKS);
        if line.starts_with('#') {
            return None;
        }
        // Options, if any, come before the key type and may hold blanks in quotes.
        let (options, key) = match KeyWords::take(line) {
            Some(key) => (None, key),
            None => {
                let (options, rest) = options::split(line)?;
                let key = KeyWords::take(rest.trim_start_matches(BLANKS))?;
                (Some(options), key)
            }
        };
        let words = key.rest.trim_end_matches('\r').split(BLANKS);
        let comment: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        Some(Entry {
            options,
            blob: key.blob,
            comment: comment.join(" "),
        })
    }

    fn admits(
        &self,
        address: IpAddr,
        now: SystemTime,
        judge: JudgeForced<'_>,
    ) -> Result<Grant, Refusal> {
        let line = |why: &str| Refusal::Line(why.to_owned());
        let options = match self.options {
            // It would be taken for what it was replaced by.
            Some(text) if text.contains(char::REPLACEMENT_CHARACTER) => {
                return Err(line("its options are not UTF-8"));
            }
            Some(text) => KeyOptions::parse(text).map_err(Refusal::Line)?,
            None => KeyOptions::default(),
        };
        if self.blob.get(4..7) == Some(b"sk-") {
            return Err(line("that its owner touched it cannot be checked here"));
        }
        let key = PublicKey::from_bytes(&self.blob).ok();
        if let Some(bits) = key
            .and_then(|key| rsa_bits(&key))
            .filter(|bits| *bits < RSA_MIN_BITS)
        {
            return Err(Refusal::Line(too_small(bits)));
        }
        if options.expiry.is_some_and(|expiry| now >= expiry) {
            return Err(line("it has expired"));
        }
        if options.from.is_some_and(|from| !from.admits(address)) {
            return Err(Refusal::Line(format!("its from= does not admit {address}")));
        }
        let forced = options.command.map(|command| {
            let arguments = serve_arguments(command.as_bytes()).map_err(str::to_owned);
            let judged = arguments.and_then(|found| judge(&found).map(|()| found));
            judged.map_err(|why| Refusal::Key(format!("its command={command:?}: {why}")))
        });
        Ok(Grant {
            comment: self.comment.clone(),
            forced: forced.transpose()?,
        })
    }
}

const FILE_MAX_LEN: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ssh::quoted;
    use data_encoding::BASE64;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    /// A blob as a key of this type begins, so that lines parse.
    fn blob(key_type: &str, tail: &str) -> Vec<u8> {
        let mut blob = vec![0, 0, 0, u8::try_from(key_type.len()).unwrap()];
        blob.extend_from_slice(key_type.as_bytes());
        blob.extend_from_slice(tail.as_bytes());
        blob
    }

    /// Looks a key up in a file where `MINE` stands for it and `OTHER` for another. Each character
    /// of `text` is one byte.
    fn looked_up(text: &str, key_type: &str) -> Result<Grant, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        let key = |tail| format!("{key_type} {}", BASE64.encode(&blob(key_type, tail)));
        let filled = text
            .replace("MINE", &key("mine"))
            .replace("OTHER", &key("x"));
        let filled: Vec<u8> = filled.chars().map(|c| u8::try_from(c).unwrap()).collect();
        std::fs::write(&file, filled).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let judge = |arguments: &[String]| match arguments {
            [bad] if bad == "--bad" => Err("not that".to_owned()),
            _ => Ok(()),
        };
        let address = "10.0.0.1".parse().unwrap();
        AuthorizedKeys::read(&file).look_up(&blob(key_type, "mine"), address, &judge)
    }

    fn admitted(text: &str) -> Result<Grant, String> {
        looked_up(text, "ssh-ed25519")
    }

    #[test]
    fn comments_and_forced_commands_are_read() {
        let grant = admitted("# k\n\nOTHER\n  restrict MINE\n").unwrap();
        assert_eq!((grant.comment.as_str(), grant.forced), ("", None));
        let forced = r#"restrict,command="/x/hasync serve --root \"/a b\" --no-delete" MINE "#;
        let grant = admitted(forced).unwrap();
        assert_eq!(grant.forced.unwrap(), ["--root", "/a b", "--no-delete"]);
        assert_eq!(
            admitted("command=\"hasync serve\" MINE ").unwrap().forced,
            Some(vec![])
        );
    }

    #[test]
    fn what_is_written_as_a_command_is_read_as_that() {
        for word in [
            "/a b", "a\"b", "\"", "c\\d", "\\", "e\\\"f", "g\\\\\"", "\\\"\\", "it's", "'\\''",
            "a,b=c",
        ] {
            let command = format!("/x/hasync serve --root {}", quoted(word));
            let line = format!("command={},restrict MINE k", option_value(&command));
            assert_eq!(admitted(&line).unwrap().forced.unwrap(), ["--root", word]);
        }
    }

    #[test]
    fn a_command_that_is_not_served_refuses_the_key_and_not_the_line_alone() {
        for command in [
            "",
            "/bin/false",
            "hasync push",
            "sudo hasync serve",
            "env A=1 hasync serve",
            "hasync serve --bad",
            "hasync serve; id",
            "hasync serve $SSH_ORIGINAL_COMMAND",
            "hasync serve --root ~/x",
            "hasync serve --root 'a",
            "hasync serve | tee log",
            "hasync serve # rest",
            "exec hasync serve",
            "nothasync serve",
        ] {
            let text = format!("command=\"{command}\" MINE\nMINE\n");
            let why = admitted(&text).unwrap_err();
            assert!(why.contains("keys:1: its command="), "{why}");
            assert!(!why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn the_first_line_that_admits_the_key_counts() {
        let forced = |text: &str| admitted(text).unwrap().forced;
        let serve = "command=\"hasync serve\" MINE\n";
        assert_eq!(forced(&format!("{serve}MINE\n")), Some(vec![]));
        assert_eq!(forced(&format!("MINE\n{serve}")), None);
        for worthless in [
            "from=\"10.9.9.9\"",
            "expiry-time=\"20200101\"",
            "no-such",
            "from=\"x/8\"",
        ] {
            let text = format!("{worthless} MINE\n{serve}");
            assert_eq!(forced(&text), Some(vec![]), "{worthless}");
            let why = admitted(&format!("{worthless} MINE\nOTHER\n")).unwrap_err();
            assert!(why.contains("keys:1: "), "{why}");
        }
    }

    /// However sshd would still read it, a line is not passed over for a later one that says less.
    #[test]
    fn a_forced_command_counts_however_its_key_is_spelt() {
        let blob = blob("ssh-rsa", "mine");
        let key = BASE64.encode(&blob);
        let (front, end) = key.split_at(8);
        for spelt in [
            format!("ssh-rsa {key}"),
            format!("rsa-sha2-256 {key}"),
            format!("rsa-sha2-512\t {key}"),
            format!("ssh-rsa {front}\x0b\x0c\r{end}"),
            format!("ssh-rsa {key}\0 x"),
        ] {
            let text = format!("command=\"/bin/false\" {spelt}\nMINE\n");
            let why = looked_up(&text, "ssh-rsa").unwrap_err();
            assert!(why.contains("keys:1: its command="), "{spelt:?}: {why}");
            assert!(
                looked_up(&format!("{spelt}\n"), "ssh-rsa").is_ok(),
                "{spelt:?}"
            );
        }
    }

    #[test]
    fn what_is_not_utf_8_is_no_option() {
        assert!(admitted("MINE caf\u{e9}\n").is_ok());
        let options = "command=\"hasync serve --root /srv/caf\u{e9}\" MINE\n";
        let why = admitted(options).unwrap_err();
        assert!(why.contains("not UTF-8"), "{why}");
    }

    #[test]
    fn a_key_that_must_be_touched_is_not_taken() {
        for options in ["", "no-touch-required "] {
            let text = format!("{options}MINE\n");
            assert!(looked_up(&text, "sk-ssh-ed25519@openssh.com").is_err());
        }
    }

    #[test]
    fn a_small_rsa_key_is_not_taken() {
        for (bits, is_taken) in [(512, false), (768, false), (1023, false), (1024, true)] {
            let mut modulus = vec![0xff_u8; (bits as usize).div_ceil(8)];
            modulus[0] >>= (8 - bits % 8) % 8;
            // A first bit would be a sign.
            let sign: &[u8] = if modulus[0] >= 0x80 { &[0] } else { &[] };
            let modulus = [sign, &modulus].concat();
            let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
            let blob = [string(b"ssh-rsa"), string(&[3]), string(&modulus)].concat();
            let text = format!("ssh-rsa {}\n", BASE64.encode(&blob));
            let file = Path::new("keys");
            let found = look_up(file, &text, &blob, [10, 0, 0, 1].into(), &|_| Ok(()));
            assert_eq!(found.is_ok(), is_taken, "{bits}: {found:?}");
            assert!(is_taken || found.unwrap_err().contains(&format!("{bits} bits")));
        }
    }

    #[test]
    fn a_file_others_can_write_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o620)).unwrap();
        assert!(
            read(&file)
                .unwrap_err()
                .contains("can be written by others")
        );
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&file).unwrap(), "");
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(read(&file).is_err());
    }
}
