//! One line of a known_hosts file, read as ssh reads it: `[@MARKER] HOSTS TYPE BASE64 [COMMENT]`.

use data_encoding::BASE64;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::key_words::{BLANKS, KeyWords};
use super::pattern;
use crate::{Error, ErrorKind};

/// A key on a line that lists the host asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) marker: Option<Marker>,
    pub(crate) key_type: String,
    pub(crate) blob: Vec<u8>,
}

/// What a line says about its key, if not that it is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marker {
    CertAuthority,
    Revoked,
}

/// The key on this line, if the line lists `name` and is well formed.
pub(crate) fn parse(line: &str, name: &str) -> Option<Entry> {
    let line = line.trim_start_matches(BLANKS);
    let (marker, rest) = match line.split_once(BLANKS) {
        Some(("@cert-authority", rest)) => (Some(Marker::CertAuthority), rest),
        Some(("@revoked", rest)) => (Some(Marker::Revoked), rest),
        _ => (None, line),
    };
    // To ssh a NUL ends the hosts, and after them the line.
    let (hosts, rest) = rest
        .trim_start_matches(BLANKS)
        .split_once([' ', '\t', '\0'])?;
    // More markers, unknown ones, comments.
    if hosts.starts_with(['@', '#']) || !lists(hosts, name) {
        return None;
    }
    let rest = rest.split('\0').next()?;
    let key = KeyWords::take(rest.trim_start_matches(BLANKS))?;
    Some(Entry {
        marker,
        key_type: key.key_type.to_owned(),
        blob: key.blob,
    })
}

fn lists(hosts: &str, name: &str) -> bool {
    match hosts.strip_prefix('|') {
        Some(hashed) => hash_matches(hashed, name).unwrap_or(false),
        None => pattern::list_matches(hosts.split(','), name),
    }
}

fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.strip_prefix("1|")?.split_once('|')?;
    let salt = BASE64.decode(salt.as_bytes()).ok()?;
    let hash = BASE64.decode(hash.as_bytes()).ok()?;
    (salt.len() == SALT_LEN).then_some(())?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    Some(hmac::verify(&key, name.as_bytes(), &hash).is_ok())
}

/// The name in a form that says whose line it is only to who asks for that name.
pub(crate) fn hashed_name(name: &str) -> Result<String, Error> {
    let mut salt = [0; SALT_LEN];
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| Error::new(ErrorKind::Io, "the system gives no random numbers"))?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    let hash = hmac::sign(&key, name.as_bytes());
    Ok(format!(
        "|1|{}|{}",
        BASE64.encode(&salt),
        BASE64.encode(hash.as_ref())
    ))
}

/// As long as a SHA-1 sum.
const SALT_LEN: usize = 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5";

    fn is_listed(line: &str, name: &str) -> bool {
        parse(&line.replace("KEY", KEY), name).is_some()
    }

    #[test]
    fn lists_and_patterns() {
        for hosts in ["b", "a,b", "*", "b,!c", "?", "B", " \tb"] {
            assert!(is_listed(&format!("{hosts} KEY comment"), "b"), "{hosts}");
        }
        let long = "*".repeat(1023);
        for hosts in [
            "a", "!b,*", "[b]:22", "b.lan", "#b", "\"b\"", "|2|*,*", &long,
        ] {
            assert!(!is_listed(&format!("{hosts} KEY"), "b"), "{hosts}");
        }
    }

    #[test]
    fn hashed_names_match_what_they_were_made_of() {
        let line = format!("{} KEY", hashed_name("[b]:2222").unwrap());
        assert!(is_listed(&line, "[b]:2222") && !is_listed(&line, "[c]:2222"));
        assert!(!is_listed("|1|x|y KEY", "b"));
    }

    #[test]
    fn markers() {
        let marker = |line: &str| parse(&line.replace("KEY", KEY), "b").map(|line| line.marker);
        assert_eq!(marker("b KEY"), Some(None));
        assert_eq!(marker("@revoked * KEY"), Some(Some(Marker::Revoked)));
        assert_eq!(
            marker("@cert-authority b KEY"),
            Some(Some(Marker::CertAuthority))
        );
        for line in [
            "@revoked @revoked b KEY",
            "@other b KEY",
            "@revoked",
            "@revoked #b KEY",
        ] {
            assert_eq!(marker(line), None, "{line}");
        }
    }

    #[test]
    fn malformed_lines_say_nothing() {
        for line in [
            "",
            "b",
            "b ssh-ed25519",
            "b ssh-rsa AAAAC3NzaC1lZDI1NTE5",
            "b KEY=",
            "b\x0cKEY",
            "b ssh-ed25519 AAAA",
            "b 1024 35 12345",
        ] {
            assert!(!is_listed(line, "b"), "{line:?}");
        }
        for line in [
            "b KEY\r",
            "b\0KEY",
            "b KEY\r\r",
            "b KEY\0=",
            "b\tKEY\tx",
            "b KEY\x0b",
        ] {
            assert!(is_listed(line, "b"), "{line:?}");
        }
    }
}
