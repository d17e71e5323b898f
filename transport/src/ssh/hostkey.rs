//! Decides on the key a host shows, and says what to do when it is refused.

use std::path::PathBuf;

use russh::keys::ssh_key::{Fingerprint, HashAlg, PublicKey};

use super::config::{HostKeyPolicy, Settings};
use super::known_hosts::{self, KnownHost, Verdict, line_for, listed_name};
use crate::{Error, ErrorKind};

/// What is known of the host before it shows a key.
pub(crate) struct HostKeys {
    /// The host as known_hosts lists it.
    name: String,
    known: KnownHost,
    policy: HostKeyPolicy,
    /// Where a new key goes.
    file: Option<PathBuf>,
    hash_name: bool,
}

impl HostKeys {
    /// Reads the known_hosts files that `settings` names.
    pub(crate) fn load(settings: &Settings, host: &str) -> Result<HostKeys, Error> {
        let (name, bare) = match &settings.host_key_alias {
            Some(alias) => (alias.to_ascii_lowercase(), None),
            None => {
                let bare = (settings.port != 22).then(|| host.to_ascii_lowercase());
                (listed_name(host, settings.port), bare)
            }
        };
        let files = settings
            .known_hosts
            .iter()
            .chain(&settings.global_known_hosts);
        Ok(HostKeys {
            known: KnownHost::load(files, &name, bare.as_deref())?,
            name,
            policy: settings.host_keys,
            file: settings.known_hosts.first().cloned(),
            hash_name: settings.hash_known_hosts,
        })
    }

    /// The key types to ask for first.
    pub(crate) fn key_types(&self) -> Vec<String> {
        self.known.key_types()
    }

    /// Accepts the key, adding it to known_hosts where the policy says so, or tells why not.
    pub(crate) fn check(&self, key: &PublicKey) -> Result<(), Error> {
        let algorithm = key.algorithm();
        let key_type = if algorithm.clone().is_rsa() {
            "ssh-rsa"
        } else {
            algorithm.as_str()
        };
        let blob = key.to_bytes().map_err(|e| {
            Error::new(
                ErrorKind::HostKey,
                format!("{}: bad host key: {e}", self.name),
            )
        })?;
        let shown = format!("{key_type} {}", fingerprint(key));
        match (self.known.judge(key_type, &blob), self.policy) {
            (Verdict::Known, _) => Ok(()),
            (Verdict::Revoked { place }, _) => Err(self.refused(format_args!(
                "is revoked: {shown} stands at {place} as @revoked"
            ))),
            (_, HostKeyPolicy::Any) => Ok(()),
            (Verdict::Unknown { .. }, HostKeyPolicy::AddNew) => match &self.file {
                Some(file) => known_hosts::add(file, &self.name, self.hash_name, key_type, &blob),
                None => Ok(()),
            },
            (Verdict::Unknown { authority }, HostKeyPolicy::Known) => {
                let but = authority.map_or_else(String::new, |place| {
                    format!(" (the @cert-authority at {place} does not count here)")
                });
                Err(self.refused(format_args!(
                    "is not known: it shows {shown}{but}; after comparing the fingerprint, accept \
                     it with: {}",
                    self.accepting(key_type, &blob)
                )))
            }
            (
                Verdict::Changed {
                    place,
                    key_type: old_type,
                    blob: old,
                },
                _,
            ) => {
                let old = known_fingerprint(&old);
                let file = quoted(&place.file.to_string_lossy());
                Err(self.refused(format_args!(
                    "has changed: it shows {shown}, but {place} has {old_type} {old}; unless the \
                     host was reinstalled, somebody is in between; if the new fingerprint is \
                     right, accept it with: sed -i {}d {file} && {}",
                    place.line,
                    self.accepting(key_type, &blob)
                )))
            }
        }
    }

    fn refused(&self, why: std::fmt::Arguments<'_>) -> Error {
        Error::new(
            ErrorKind::HostKey,
            format!("the host key of {} {why}", self.name),
        )
    }

    /// The shell command that makes the key known.
    fn accepting(&self, key_type: &str, blob: &[u8]) -> String {
        let line = line_for(&self.name, key_type, blob);
        let file = match &self.file {
            Some(file) => file.to_string_lossy().into_owned(),
            None => "KNOWN_HOSTS_FILE".to_owned(),
        };
        format!("echo {} >> {}", quoted(&line), quoted(&file))
    }
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
fn quoted(word: &str) -> String {
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
