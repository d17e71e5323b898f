//! Getting to know a host before it is trusted: which key it shows, whether that is known, and how
//! it becomes known once somebody has compared it. Nothing is sent to a host that is only looked
//! at.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::BASE64;
use russh::client::Handler;
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::PublicKey;
use tokio::time::timeout;

use super::client::{lost, session_config};
use super::config::{self, Settings};
use super::dial::{Target, connect_tcp, resolve};
use super::hostkey::{HostKeys, fingerprint, key_type};
use super::runner::Running;
use super::{ClientOptions, Destination};
use crate::{Error, ErrorKind};

/// The public half of a host's or a user's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicHalf(PublicKey);

impl PublicHalf {
    /// Reads `TYPE BASE64`, with or without a comment.
    pub fn parse(line: &str) -> Option<PublicHalf> {
        let mut key = PublicKey::from_openssh(line.trim()).ok()?;
        key.set_comment("");
        Some(PublicHalf(key))
    }

    pub(crate) fn of(mut key: PublicKey) -> PublicHalf {
        key.set_comment("");
        PublicHalf(key)
    }

    /// `TYPE BASE64`, as files of keys have it.
    pub fn line(&self) -> String {
        let blob = self.0.to_bytes().unwrap_or_default();
        format!("{} {}", key_type(&self.0), BASE64.encode(&blob))
    }

    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.0).to_string()
    }

    /// Such as `ssh-ed25519`.
    pub fn key_type(&self) -> String {
        key_type(&self.0)
    }
}

/// Type and fingerprint, for people to compare.
impl fmt::Display for PublicHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key_type(), self.fingerprint())
    }
}

/// The key that a host shows to whoever connects.
///
/// # Errors
///
/// As [`connect`](super::connect) before it judges the key.
pub fn shown_key(to: &Destination, options: &ClientOptions) -> Result<PublicHalf, Error> {
    config::check_host(to)?;
    let settings = config::settings(to, options)?;
    let target = Target::new(to, &settings);
    let name = target.name.clone();
    in_time(&name, "the key exchange", options, look(target, settings))
}

/// The addresses of a host, each once.
///
/// # Errors
///
/// The configuration cannot be used, or the name cannot be resolved in time.
pub fn addresses(to: &Destination, options: &ClientOptions) -> Result<Vec<IpAddr>, Error> {
    config::check_host(to)?;
    let settings = config::settings(to, options)?;
    let target = Target::new(to, &settings);
    let name = target.name.clone();
    let found = in_time(&name, "the search for its addresses", options, async move {
        resolve(&target, settings.family).await
    })?;
    let mut found: Vec<IpAddr> = found
        .iter()
        .map(|found| found.ip().to_canonical())
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// Does `doing` on a thread of its own, for as long as a key exchange may take.
fn in_time<T: Send + 'static>(
    name: &str,
    doing: &str,
    options: &ClientOptions,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let limit = options.handshake_timeout;
    let running = Running::start("ssh client")?;
    let done = running.run(async move { timeout(limit, work).await });
    done.ok_or_else(|| Error::new(ErrorKind::Io, "the ssh thread ended"))?
        .map_err(|_| {
            let seconds = limit.as_secs();
            let what = format!("{name}: {doing} took longer than {seconds} s");
            Error::new(ErrorKind::Timeout, what)
        })?
}

async fn look(target: Target, settings: Settings) -> Result<PublicHalf, Error> {
    let tcp = connect_tcp(&target, &settings).await?;
    let host_keys = HostKeys::load(&settings, None)?;
    let config = Arc::new(session_config(&settings, &host_keys));
    let look = Look::default();
    let shown = Arc::clone(&look.0);
    let ended = russh::client::connect_stream(config, tcp, look).await;
    let key = shown.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (key, ended) {
        (Some(key), _) => Ok(PublicHalf::of(key)),
        (None, Err(error)) => {
            let error = lost("during key exchange", &error, settings.connect_timeout);
            Err(target.error(error.kind(), error))
        }
        (None, Ok(_)) => Err(target.error(ErrorKind::HostKey, "it shows no key")),
    }
}

/// Notes the key, and goes.
#[derive(Default)]
struct Look(Arc<Mutex<Option<PublicKey>>>);

impl Handler for Look {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        if let PublicKeyOrCertificate::PublicKey { key, .. } = key {
            let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *shown = Some(key.clone());
        }
        Ok(false)
    }
}

/// Whether the host is known by this key.
///
/// # Errors
///
/// It is known by another one, or this one is revoked.
pub fn is_known(
    to: &Destination,
    options: &ClientOptions,
    key: &PublicHalf,
) -> Result<bool, Error> {
    let settings = config::settings(to, options)?;
    HostKeys::load(&settings, None)?.knows(&key.0)
}

/// Makes a host known by this key, unless it is; gives the file of known hosts that says so now.
///
/// # Errors
///
/// As [`is_known`], and if no file can be written.
pub fn make_known(
    to: &Destination,
    options: &ClientOptions,
    key: &PublicHalf,
) -> Result<Option<PathBuf>, Error> {
    let settings = config::settings(to, options)?;
    let host_keys = HostKeys::load(&settings, None)?;
    if host_keys.knows(&key.0)? {
        return Ok(None);
    }
    host_keys.add(&key.0).map(Some)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_becomes_known_once_and_another_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let key = |name: &str| {
            let line = super::super::generate_key_pair(&dir.path().join(name), name).unwrap();
            PublicHalf::parse(&line).unwrap()
        };
        let (one, other) = (key("one"), key("other"));
        assert_eq!(one.line().split(' ').count(), 2);
        assert_eq!(PublicHalf::parse(&one.line()).unwrap(), one);
        let file = dir.path().join("known_hosts");
        let options = ClientOptions {
            config_file: Some("/dev/null".into()),
            known_hosts: Some(file.clone()),
            ..ClientOptions::default()
        };
        for (host, port) in [("b", None), ("c", Some(2222)), ("fd00::2", None)] {
            let to = Destination {
                host: host.to_owned(),
                user: None,
                port,
            };
            assert!(!is_known(&to, &options, &one).unwrap());
            assert_eq!(make_known(&to, &options, &one).unwrap(), Some(file.clone()));
            assert!(is_known(&to, &options, &one).unwrap());
            assert_eq!(make_known(&to, &options, &one).unwrap(), None);
            let refused = make_known(&to, &options, &other).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::HostKey, "{refused}");
        }
        assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 3);
        assert!(PublicHalf::parse("ssh-ed25519 AAAA").is_none());
    }

    #[test]
    fn a_host_has_the_addresses_of_what_the_configuration_makes_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        std::fs::write(&file, "Host b\n HostName 10.0.0.2\nHost c\n ProxyJump b\n").unwrap();
        let options = ClientOptions {
            config_file: Some(file),
            ..ClientOptions::default()
        };
        let of = |host: &str| {
            let to = Destination {
                host: host.to_owned(),
                user: None,
                port: None,
            };
            addresses(&to, &options)
        };
        for (host, expected) in [("b", "10.0.0.2"), ("fd00::2", "fd00::2")] {
            let expected: IpAddr = expected.parse().unwrap();
            assert_eq!(of(host).unwrap(), [expected]);
        }
        assert_eq!(of("c").unwrap_err().kind(), ErrorKind::Config);
        assert!(of("-x").is_err());
    }
}
