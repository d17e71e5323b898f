//! known_hosts files: which keys are known for a host, and what that says about the key it shows.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::config_file::Place;
use super::pattern;
use crate::{Error, ErrorKind};

/// The lines of all known_hosts files that concern one host.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownHost {
    lines: Vec<Line>,
    /// Only `@cert-authority` lines concern it, the first of them here.
    authority: Option<Place>,
}

#[derive(Clone, Debug)]
struct Line {
    place: Place,
    revoked: bool,
    /// Lists the host without its port: good for recognising a key, not for calling it changed.
    portless: bool,
    key_type: String,
    blob: Vec<u8>,
}

/// What the files say about a key.
#[derive(Debug)]
pub(crate) enum Verdict {
    Known,
    /// No line, or only `@cert-authority` lines, for this host.
    Unknown {
        authority: Option<Place>,
    },
    /// The host is known by another key.
    Changed {
        place: Place,
        key_type: String,
        blob: Vec<u8>,
    },
    Revoked {
        place: Place,
    },
}

/// The name under which a host is listed: `host`, or `[host]:port` for a port other than 22.
pub(crate) fn listed_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 {
        host
    } else {
        format!("[{host}]:{port}")
    }
}

impl KnownHost {
    /// Collects the lines for `name` (see [`listed_name`]); `bare` is the host alone where `name`
    /// has a port. Missing files are empty.
    pub(crate) fn load<'a>(
        files: impl IntoIterator<Item = &'a PathBuf>,
        name: &str,
        bare: Option<&str>,
    ) -> Result<KnownHost, Error> {
        let mut known = KnownHost::default();
        for file in files {
            let text = match std::fs::read(file) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io(format_args!("reading {}", file.display()), &e)),
            };
            for (index, text) in text.lines().enumerate() {
                let place = Place {
                    file: file.clone(),
                    line: index + 1,
                };
                known.line(text, place, name, bare);
            }
        }
        if !known.lines.is_empty() {
            known.authority = None;
        }
        Ok(known)
    }

    /// The key types known for the host.
    pub(crate) fn key_types(&self) -> Vec<String> {
        let usable = self.lines.iter().filter(|line| !line.revoked);
        usable.map(|line| line.key_type.clone()).collect()
    }

    /// Judges the key that the host shows.
    pub(crate) fn judge(&self, key_type: &str, blob: &[u8]) -> Verdict {
        let same = |line: &&Line| line.blob == blob;
        if let Some(line) = self.lines.iter().filter(same).find(|line| line.revoked) {
            return Verdict::Revoked {
                place: line.place.clone(),
            };
        }
        let usable = self.lines.iter().filter(|line| !line.revoked);
        if usable.clone().any(|line| same(&line)) {
            return Verdict::Known;
        }
        // A conflicting key of the same type says more than one of another type.
        let with_port = || usable.clone().filter(|line| !line.portless);
        let conflict = with_port().find(|line| line.key_type == key_type);
        match conflict.or_else(|| with_port().next()) {
            Some(line) => Verdict::Changed {
                place: line.place.clone(),
                key_type: line.key_type.clone(),
                blob: line.blob.clone(),
            },
            None => Verdict::Unknown {
                authority: self.authority.clone(),
            },
        }
    }

    fn line(&mut self, text: &str, place: Place, name: &str, bare: Option<&str>) {
        let mut words = text.split_ascii_whitespace().peekable();
        let marker = words.next_if(|word| word.starts_with('@'));
        let (Some(hosts), Some(key_type), Some(key)) = (words.next(), words.next(), words.next())
        else {
            return;
        };
        if hosts.starts_with('#') {
            return;
        }
        let exact = lists(hosts, name);
        let portless = !exact && bare.is_some_and(|bare| lists(hosts, bare));
        if !exact && !portless {
            return;
        }
        let Ok(blob) = BASE64.decode(key.as_bytes()) else {
            return;
        };
        match marker {
            None | Some("@revoked") => self.lines.push(Line {
                place,
                revoked: marker.is_some(),
                portless,
                key_type: key_type.to_owned(),
                blob,
            }),
            Some("@cert-authority") => {
                self.authority.get_or_insert(place);
            }
            Some(_) => {}
        }
    }
}

fn lists(hosts: &str, name: &str) -> bool {
    match hosts.strip_prefix("|1|") {
        Some(hashed) => hash_matches(hashed, name).unwrap_or(false),
        None => pattern::list_matches(hosts.split(','), name),
    }
}

fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let salt = BASE64.decode(salt.as_bytes()).ok()?;
    let hash = BASE64.decode(hash.as_bytes()).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    Some(hmac::verify(&key, name.as_bytes(), &hash).is_ok())
}

/// The line that makes a key known: `NAME TYPE BASE64`.
pub(crate) fn line_for(name: &str, key_type: &str, blob: &[u8]) -> String {
    format!("{name} {key_type} {}", BASE64.encode(blob))
}

/// Appends a line for a new host, with its name hashed if asked for.
pub(crate) fn add(
    file: &Path,
    name: &str,
    hash_name: bool,
    key_type: &str,
    blob: &[u8],
) -> Result<(), Error> {
    let cannot = |e| Error::io(format_args!("adding a host key to {}", file.display()), &e);
    let listed = if hash_name {
        hashed_name(name)?
    } else {
        name.to_owned()
    };
    if let Some(directory) = file.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(cannot)?;
    }
    let ends_open = std::fs::read(file).is_ok_and(|text| text.last().is_some_and(|&c| c != b'\n'));
    let line = line_for(&listed, key_type, blob);
    let text = if ends_open {
        format!("\n{line}\n")
    } else {
        format!("{line}\n")
    };
    let mut known_hosts = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file)
        .map_err(cannot)?;
    known_hosts.write_all(text.as_bytes()).map_err(cannot)
}

fn hashed_name(name: &str) -> Result<String, Error> {
    let mut salt = [0; 20];
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KEY: &[u8] = b"key one";
    const OTHER: &[u8] = b"key two";

    fn judge(text: &str, name: &str, bare: Option<&str>, blob: &[u8]) -> Verdict {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_hosts");
        let text = text
            .replace("KEY", &BASE64.encode(KEY))
            .replace("OTHER", &BASE64.encode(OTHER));
        std::fs::write(&file, text).unwrap();
        let missing = dir.path().join("missing");
        KnownHost::load([&missing, &file], name, bare)
            .unwrap()
            .judge("ssh-ed25519", blob)
    }

    #[test]
    fn plain_lists_and_patterns() {
        for hosts in ["b", "a,b", "*", "b,!c", "?"] {
            let text = format!("# x\n\n{hosts} ssh-ed25519 KEY comment\n");
            assert!(
                matches!(judge(&text, "b", None, KEY), Verdict::Known),
                "{hosts}"
            );
        }
        for hosts in ["a", "!b,*", "[b]:22", "b.lan", "#b"] {
            let text = format!("{hosts} ssh-ed25519 KEY\n");
            assert!(
                matches!(judge(&text, "b", None, KEY), Verdict::Unknown { .. }),
                "{hosts}"
            );
        }
    }

    #[test]
    fn a_conflict_names_its_line() {
        let text = "b ssh-rsa OTHER\nb ssh-ed25519 OTHER\n";
        match judge(text, "b", None, KEY) {
            Verdict::Changed {
                place, key_type, ..
            } => {
                assert_eq!((place.line, key_type.as_str()), (2, "ssh-ed25519"));
            }
            other => unreachable!("{other:?}"),
        }
        let other_type = judge("b ssh-rsa OTHER\n", "b", None, KEY);
        assert!(matches!(other_type, Verdict::Changed { .. }));
        let either = "b ssh-ed25519 OTHER\nb ssh-ed25519 KEY\n";
        assert!(matches!(judge(either, "b", None, KEY), Verdict::Known));
    }

    #[test]
    fn ports() {
        let name = listed_name("B", 2222);
        assert_eq!(name, "[b]:2222");
        let listed = judge("[b]:2222 ssh-ed25519 KEY\n", &name, Some("b"), KEY);
        assert!(matches!(listed, Verdict::Known));
        let same_key = judge("b ssh-ed25519 KEY\n", &name, Some("b"), KEY);
        assert!(matches!(same_key, Verdict::Known));
        let another_server = judge("b ssh-ed25519 OTHER\n", &name, Some("b"), KEY);
        assert!(matches!(another_server, Verdict::Unknown { .. }));
    }

    #[test]
    fn hashed_names_match_what_they_were_made_of() {
        let text = format!("{} ssh-ed25519 KEY\n", hashed_name("[b]:2222").unwrap());
        assert!(matches!(
            judge(&text, "[b]:2222", Some("b"), KEY),
            Verdict::Known
        ));
        assert!(matches!(
            judge(&text, "[c]:2222", Some("c"), KEY),
            Verdict::Unknown { .. }
        ));
        let broken = judge("|1|x|y ssh-ed25519 KEY\n", "b", None, KEY);
        assert!(matches!(broken, Verdict::Unknown { .. }));
    }

    #[test]
    fn markers() {
        let revoked = judge(
            "b ssh-ed25519 KEY\n@revoked * ssh-ed25519 KEY\n",
            "b",
            None,
            KEY,
        );
        assert!(matches!(revoked, Verdict::Revoked { place } if place.line == 2));
        let authority = judge("@cert-authority * ssh-ed25519 KEY\n", "b", None, KEY);
        assert!(matches!(authority, Verdict::Unknown { authority: Some(_) }));
    }

    #[test]
    fn an_added_line_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/known_hosts");
        add(&file, "b", false, "ssh-ed25519", KEY).unwrap();
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap().trim_end()).unwrap();
        add(&file, "c", true, "ssh-ed25519", OTHER).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.lines().count() == 2 && !text.contains("c ssh"),
            "{text}"
        );
        let known = KnownHost::load([&file], "c", None).unwrap();
        assert!(matches!(known.judge("ssh-ed25519", OTHER), Verdict::Known));
        assert_eq!(known.key_types(), ["ssh-ed25519"]);
    }
}
