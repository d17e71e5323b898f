//! Decides on the key a host shows, and says what to do when it is refused.

use std::net::SocketAddr;
use std::path::PathBuf;

use russh::keys::ssh_key::{Fingerprint, HashAlg, PublicKey};

use super::address::shown_ip;
use super::config::{HostKeyPolicy, Settings};
use super::config_file::Place;
use super::keys::rsa_bits;
use super::known_hosts::{self, KnownHost, Verdict, line_for, listed_name};
use crate::{Error, ErrorKind};

/// What is known of the host before it shows a key.
pub(crate) struct HostKeys {
    listed: Listed,
    /// Its address, where `CheckHostIP` wants no other key known for that.
    address: Option<Listed>,
    policy: HostKeyPolicy,
    rsa_min_bits: u32,
    /// Where a new key goes.
    file: Option<PathBuf>,
    hash_name: bool,
}

/// A name, and what known_hosts has under it.
struct Listed {
    name: String,
    known: KnownHost,
}

impl Listed {
    /// Reads the known_hosts files that `settings` names.
    fn load(settings: &Settings, name: String, bare: Option<&str>) -> Result<Listed, Error> {
        let files = settings
            .known_hosts
            .iter()
            .chain(&settings.global_known_hosts);
        Ok(Listed {
            known: KnownHost::load(files, &name, bare)?,
            name,
        })
    }
}

impl HostKeys {
    /// Reads what the files say about the host of `settings`; and of the address that it is reached
    /// at, if that is known.
    pub(crate) fn load(
        settings: &Settings,
        address: Option<&SocketAddr>,
    ) -> Result<HostKeys, Error> {
        let (host, port) = (&settings.host_name, settings.port);
        let (name, bare) = match &settings.host_key_alias {
            Some(alias) => (alias.clone(), None),
            None => (listed_name(host, port), (port != 22).then_some(&**host)),
        };
        let by_ip = settings.check_host_ip && settings.host_key_alias.is_none();
        let ip = address.filter(|_| by_ip).map(shown_ip);
        let ip = ip.filter(|ip| ip != host);
        let address = ip.map(|ip| Listed::load(settings, listed_name(&ip, port), None));
        Ok(HostKeys {
            listed: Listed::load(settings, name, bare)?,
            address: address.transpose()?,
            policy: settings.host_keys,
            rsa_min_bits: settings.key_limits.rsa_min_bits,
            file: settings.known_hosts.first().cloned(),
            hash_name: settings.hash_known_hosts,
        })
    }

    /// The key types to ask for first.
    pub(crate) fn key_types(&self) -> Vec<String> {
        self.listed.known.key_types()
    }

    /// Accepts the key, adding it to known_hosts where the policy says so, or tells why not.
    pub(crate) fn check(&self, key: &PublicKey) -> Result<(), Error> {
        let is_new = self.is_new(key, self.policy)?;
        if is_new && self.policy == HostKeyPolicy::AddNew && self.file.is_some() {
            self.add(key)?;
        }
        Ok(())
    }

    /// Whether the host is known by this key, and by no other.
    pub(crate) fn knows(&self, key: &PublicKey) -> Result<bool, Error> {
        Ok(!self.is_new(key, HostKeyPolicy::AddNew)?)
    }

    /// Adds the key to the first file of known hosts, and gives that.
    pub(crate) fn add(&self, key: &PublicKey) -> Result<PathBuf, Error> {
        let name = &self.listed.name;
        let file = self.file.as_ref().ok_or_else(|| {
            let what = format!("{name}: no file of known hosts is configured for its key");
            Error::new(ErrorKind::Config, what)
        })?;
        known_hosts::add(
            file,
            name,
            self.hash_name,
            &key_type(key),
            &blob(name, key)?,
        )?;
        Ok(file.clone())
    }

    /// Whether no key is known of the host, or why this one is not to be taken.
    fn is_new(&self, key: &PublicKey, policy: HostKeyPolicy) -> Result<bool, Error> {
        let name = &self.listed.name;
        let (key_type, blob) = (key_type(key), blob(name, key)?);
        let shown = Shown {
            key_type: &key_type,
            blob: &blob,
            text: format!("{key_type} {}", fingerprint(key)),
        };
        if let Some(bits) = rsa_bits(key).filter(|bits| *bits < self.rsa_min_bits) {
            let min = self.rsa_min_bits;
            let why = format!("has {bits} bits, and RequiredRSASize wants {min}");
            return Err(refused(name, format_args!("{why}: {}", shown.text)));
        }
        let verdict = self.listed.known.judge(&key_type, &blob);
        let is_new = matches!(verdict, Verdict::Unknown { .. });
        self.agree(&self.listed, verdict, policy, &shown)?;
        if let Some(address) = &self.address {
            match address.known.judge(&key_type, &blob) {
                Verdict::Known | Verdict::Unknown { .. } => {}
                verdict => self.agree(address, verdict, policy, &shown)?,
            }
        }
        Ok(is_new)
    }

    /// Whether the policy goes with what is known under one name.
    fn agree(
        &self,
        listed: &Listed,
        verdict: Verdict,
        policy: HostKeyPolicy,
        shown: &Shown<'_>,
    ) -> Result<(), Error> {
        let (name, text) = (&listed.name, &shown.text);
        match (verdict, policy) {
            (Verdict::Known, _) => Ok(()),
            (Verdict::Revoked { place }, _) => Err(refused(
                name,
                format_args!("is revoked: {text} stands at {place} as @revoked"),
            )),
            (_, HostKeyPolicy::Any) | (Verdict::Unknown { .. }, HostKeyPolicy::AddNew) => Ok(()),
            (Verdict::Unknown { authority }, HostKeyPolicy::Known) => Err(refused(
                name,
                format_args!(
                    "is not known: it shows {text}{}; after comparing the fingerprint, accept it \
                     with: {}",
                    but(authority),
                    self.accepting(name, shown)
                ),
            )),
            (
                Verdict::Changed {
                    place,
                    key_type: old_type,
                    blob: old,
                    authority,
                },
                _,
            ) => {
                let old = known_fingerprint(&old);
                let file = quoted(&place.file.to_string_lossy());
                Err(refused(
                    name,
                    format_args!(
                        "has changed: it shows {text}, but {place} has {old_type} {old}{}; unless \
                         the host was reinstalled, somebody is in between; if the new fingerprint \
                         is right, accept it with: sed -i {}d {file} && {}",
                        but(authority),
                        place.line,
                        self.accepting(name, shown)
                    ),
                ))
            }
        }
    }

    /// The shell command that makes the key known.
    fn accepting(&self, name: &str, shown: &Shown<'_>) -> String {
        let line = line_for(name, shown.key_type, shown.blob);
        let file = match &self.file {
            Some(file) => file.to_string_lossy().into_owned(),
            None => "KNOWN_HOSTS_FILE".to_owned(),
        };
        format!("echo {} >> {}", quoted(&line), quoted(&file))
    }
}

/// The key that the host shows.
struct Shown<'a> {
    key_type: &'a str,
    blob: &'a [u8],
    /// Type and fingerprint.
    text: String,
}

fn refused(name: &str, why: std::fmt::Arguments<'_>) -> Error {
    let what = format!("the host key of {name} {why}");
    Error::new(ErrorKind::HostKey, what)
}

/// What a host with a certificate can do instead.
fn but(authority: Option<Place>) -> String {
    authority.map_or_else(String::new, |place| {
        format!(" (only -e ssh takes a certificate of the @cert-authority at {place})")
    })
}

/// The name that files have for the type of a key: one for RSA, whatever it signs with.
pub(crate) fn key_type(key: &PublicKey) -> String {
    let algorithm = key.algorithm();
    if algorithm.clone().is_rsa() {
        return "ssh-rsa".to_owned();
    }
    algorithm.as_str().to_owned()
}

fn blob(name: &str, key: &PublicKey) -> Result<Vec<u8>, Error> {
    let bad = |e| Error::new(ErrorKind::HostKey, format!("{name}: bad host key: {e}"));
    key.to_bytes().map_err(bad)
}

/// `SHA256:…` as ssh-keygen -l prints it.
pub(crate) fn fingerprint(key: &PublicKey) -> Fingerprint {
    key.fingerprint(HashAlg::Sha256)
}

fn known_fingerprint(blob: &[u8]) -> String {
    match PublicKey::from_bytes(blob) {
        Ok(key) => fingerprint(&key).to_string(),
        Err(_) => "an unreadable key".to_owned(),
    }
}

/// A word for a shell, quoted where it has to be.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(
            quoted("/home/me/.ssh/known_hosts"),
            "/home/me/.ssh/known_hosts"
        );
        assert_eq!(quoted("[b]:2 x"), "'[b]:2 x'");
        assert_eq!(quoted("a'b"), "'a'\\''b'");
    }
}
