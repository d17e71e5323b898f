//! known_hosts files: which keys are known for a host, and what that says about the key it shows.
//! What is accepted here, ssh accepts: `hostkey_oracle_tests` asks it.

use std::io::Write;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use hasync_engine::{make_dirs, open_log};

use super::config_file::Place;
use super::known_hosts_line::{Marker, hashed_name, parse};
use crate::Error;

/// The lines of all known_hosts files that concern one host.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownHost {
    /// Those that list it as it is connected to.
    listed: Lines,
    /// Those that list it without its port. They count where the others know no key at all: a key
    /// on another port is not this server's.
    portless: Lines,
}

#[derive(Clone, Debug, Default)]
struct Lines {
    keys: Vec<Line>,
    revoked: Vec<Line>,
    /// The first `@cert-authority`.
    authority: Option<Place>,
}

#[derive(Clone, Debug)]
struct Line {
    place: Place,
    key_type: String,
    blob: Vec<u8>,
}

/// What the files say about a key.
#[derive(Debug)]
pub(crate) enum Verdict {
    Known,
    /// No key is known for this host, though maybe an authority that could vouch for one.
    Unknown {
        authority: Option<Place>,
    },
    /// The host is known by another key.
    Changed {
        place: Place,
        key_type: String,
        blob: Vec<u8>,
        authority: Option<Place>,
    },
    Revoked {
        place: Place,
    },
}

/// The name under which a host is listed: `host`, or `[host]:port` for a port other than 22.
pub(crate) fn listed_name(host: &str, port: u16) -> String {
    if port == 22 {
        host.to_owned()
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
            for (index, text) in text.split('\n').enumerate() {
                let place = || Place {
                    file: file.clone(),
                    line: index + 1,
                };
                known.listed.add(text, name, place);
                if let Some(bare) = bare {
                    known.portless.add(text, bare, place);
                }
            }
        }
        Ok(known)
    }

    /// The key types known for the host as it is connected to.
    pub(crate) fn key_types(&self) -> Vec<String> {
        let keys = self.listed.keys.iter();
        keys.map(|line| line.key_type.clone()).collect()
    }

    /// Judges the key that the host shows.
    pub(crate) fn judge(&self, key_type: &str, blob: &[u8]) -> Verdict {
        match self.listed.judge(key_type, blob) {
            Verdict::Unknown { authority } => match self.portless.judge(key_type, blob) {
                verdict @ (Verdict::Known | Verdict::Revoked { .. }) => verdict,
                Verdict::Changed { .. } | Verdict::Unknown { .. } => Verdict::Unknown { authority },
            },
            verdict => verdict,
        }
    }
}

impl Lines {
    fn add(&mut self, text: &str, name: &str, place: impl Fn() -> Place) {
        let Some(entry) = parse(text, name) else {
            return;
        };
        let line = Line {
            place: place(),
            key_type: entry.key_type,
            blob: entry.blob,
        };
        match entry.marker {
            None => self.keys.push(line),
            Some(Marker::Revoked) => self.revoked.push(line),
            Some(Marker::CertAuthority) => {
                self.authority.get_or_insert(line.place);
            }
        }
    }

    fn judge(&self, key_type: &str, blob: &[u8]) -> Verdict {
        if let Some(line) = self.revoked.iter().find(|line| line.blob == blob) {
            return Verdict::Revoked {
                place: line.place.clone(),
            };
        }
        if self.keys.iter().any(|line| line.blob == blob) {
            return Verdict::Known;
        }
        let authority = self.authority.clone();
        // A conflicting key of the same type says more than one of another type.
        let same_type = self.keys.iter().find(|line| line.key_type == key_type);
        match same_type.or(self.keys.first()) {
            Some(line) => Verdict::Changed {
                place: line.place.clone(),
                key_type: line.key_type.clone(),
                blob: line.blob.clone(),
                authority,
            },
            None => Verdict::Unknown { authority },
        }
    }
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
        make_dirs(directory, 0o700).map_err(|e| cannot(e.into()))?;
    }
    let ends_open = std::fs::read(file).is_ok_and(|text| text.last().is_some_and(|&c| c != b'\n'));
    let line = line_for(&listed, key_type, blob);
    let text = if ends_open {
        format!("\n{line}\n")
    } else {
        format!("{line}\n")
    };
    let mut known_hosts = open_log(file, 0o600).map_err(|e| cannot(e.into()))?;
    known_hosts.write_all(text.as_bytes()).map_err(cannot)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KEY: &[u8] = b"\0\0\0\x0bssh-ed25519 one";
    const OTHER: &[u8] = b"\0\0\0\x0bssh-ed25519 two";
    const OTHER_TYPE: &[u8] = b"\0\0\0\x07ssh-rsa";

    fn judge(text: &str, name: &str, bare: Option<&str>, blob: &[u8]) -> Verdict {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_hosts");
        let text = text
            .replace("RSA", &BASE64.encode(OTHER_TYPE))
            .replace("KEY", &BASE64.encode(KEY))
            .replace("OTHER", &BASE64.encode(OTHER));
        std::fs::write(&file, text).unwrap();
        let missing = dir.path().join("missing");
        KnownHost::load([&missing, &file], name, bare)
            .unwrap()
            .judge("ssh-ed25519", blob)
    }

    #[test]
    fn a_conflict_names_its_line() {
        let text = "b ssh-rsa RSA\nb ssh-ed25519 OTHER\n";
        match judge(text, "b", None, KEY) {
            Verdict::Changed {
                place, key_type, ..
            } => {
                assert_eq!((place.line, key_type.as_str()), (2, "ssh-ed25519"));
            }
            other => unreachable!("{other:?}"),
        }
        let other_type = judge("b ssh-rsa RSA\n", "b", None, KEY);
        assert!(matches!(other_type, Verdict::Changed { .. }));
        let either = "b ssh-ed25519 OTHER\nb ssh-ed25519 KEY\n";
        assert!(matches!(judge(either, "b", None, KEY), Verdict::Known));
    }

    #[test]
    fn ports() {
        let name = listed_name("b", 2222);
        assert_eq!(name, "[b]:2222");
        let listed = judge("[b]:2222 ssh-ed25519 KEY\n", &name, Some("b"), KEY);
        assert!(matches!(listed, Verdict::Known));
        let same_key = judge("b ssh-ed25519 KEY\n", &name, Some("b"), KEY);
        assert!(matches!(same_key, Verdict::Known));
        let another_server = judge("b ssh-ed25519 OTHER\n", &name, Some("b"), KEY);
        assert!(matches!(another_server, Verdict::Unknown { .. }));
        // Known on this port by another key: what port 22 shows says nothing.
        let taken = "[b]:2222 ssh-ed25519 OTHER\nb ssh-ed25519 KEY\n";
        let judged = judge(taken, &name, Some("b"), KEY);
        assert!(matches!(judged, Verdict::Changed { place, .. } if place.line == 1));
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
    fn nothing_is_added_through_a_planted_symlink() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("victim")).unwrap();
        std::fs::write(at("victim/file"), "of root").unwrap();
        for (name, target) in [
            ("dir", "victim"),
            ("list", "victim/file"),
            ("new", "victim/new"),
        ] {
            std::os::unix::fs::symlink(target, at(name)).unwrap();
            std::os::unix::fs::lchown(at(name), Some(4242), Some(4242)).unwrap();
        }
        for name in [
            "dir/known_hosts",
            "dir/sub/known_hosts",
            "dir/file",
            "list",
            "new",
        ] {
            assert!(
                add(&at(name), "b", false, "ssh-ed25519", KEY).is_err(),
                "{name}"
            );
        }
        assert_eq!(std::fs::read(at("victim/file")).unwrap(), b"of root");
        assert_eq!(std::fs::read_dir(at("victim")).unwrap().count(), 1);
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
