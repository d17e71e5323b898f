//! `TYPE BASE64`: a key as ssh and sshd read it from known_hosts and authorized_keys.

use data_encoding::BASE64;

/// A key, and what comes after it.
pub(crate) struct KeyWords<'a> {
    /// One name for RSA, whatever it signs with.
    pub(crate) key_type: &'a str,
    pub(crate) blob: Vec<u8>,
    pub(crate) rest: &'a str,
}

impl<'a> KeyWords<'a> {
    /// Takes a key from the front of `text`, in which there is no NUL: to ssh the line ends there.
    pub(crate) fn take(text: &'a str) -> Option<Self> {
        let (key_type, rest) = text.split_once(BLANKS)?;
        let rest = rest.trim_start_matches(BLANKS);
        let (key, rest) = rest.split_once(BLANKS).unwrap_or((rest, ""));
        let ignored = |c: &u8| c.is_ascii_whitespace() || *c == VERTICAL_TAB;
        let key: Vec<u8> = key.bytes().filter(|c| !ignored(c)).collect();
        let blob = BASE64.decode(&key).ok()?;
        let key_type = match key_type {
            "rsa-sha2-256" | "rsa-sha2-512" => "ssh-rsa",
            other => other,
        };
        // The blob repeats its type behind a length.
        let named = [&(key_type.len() as u32).to_be_bytes(), key_type.as_bytes()].concat();
        blob.starts_with(&named).then_some(KeyWords {
            key_type,
            blob,
            rest,
        })
    }
}

/// What parts the words of a line.
pub(crate) const BLANKS: [char; 2] = [' ', '\t'];
const VERTICAL_TAB: u8 = 0x0b;
