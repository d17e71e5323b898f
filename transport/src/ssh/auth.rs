//! Public key authentication of the client: which keys are tried, in which order, and what is said
//! when none was accepted.
//!
//! A server counts every key it is offered, usually up to six. So keys that the user named come
//! first, and no key is offered twice.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::MethodKind;
use russh::client::{AuthResult, Handle};
use russh::keys::PrivateKeyWithHashAlg;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::ssh_key::{Algorithm, HashAlg, PrivateKey, PublicKey};
use tokio::net::UnixStream;

use super::algorithms::rsa_hash;
use super::client::Callbacks;
use super::config::{KeyLimits, Settings};
use super::hostkey::fingerprint;
use super::keys::{KeyFile, KeyFileError, read_private_key, read_public_key, rsa_bits};
use crate::{Error, ErrorKind};

type Agent = AgentClient<UnixStream>;

/// Logs in with the first key that the server accepts.
pub(crate) async fn authenticate(
    session: &mut Handle<Callbacks>,
    settings: &Settings,
    uid: u32,
) -> Result<(), Error> {
    let mut attempt = Attempt {
        session,
        user: &settings.user,
        limits: &settings.key_limits,
        server_rsa_hash: None,
        left_out: false,
        tried: Vec::new(),
    };
    let mut agent = Held::connect(settings, attempt.session, &mut attempt.tried).await;
    for candidate in candidates(settings, uid, agent.as_ref(), &mut attempt.tried) {
        if attempt.offer(candidate, agent.as_mut()).await? {
            return Ok(());
        }
    }
    let certificate = agent.and_then(|agent| agent.certificate);
    Err(attempt.failed("no key was accepted", settings, certificate))
}

/// An agent and the keys it holds.
struct Held {
    client: Agent,
    keys: Vec<(PublicKey, String)>,
    /// The comment of a certificate, which is not used here.
    certificate: Option<String>,
}

impl Held {
    /// Why there is none, if it was asked for, goes to `notes`.
    async fn connect(
        settings: &Settings,
        session: &Handle<Callbacks>,
        notes: &mut Vec<String>,
    ) -> Option<Held> {
        let socket = settings.agent_socket.as_ref()?;
        let held = async {
            let mut client = Agent::connect_uds(socket).await?;
            if let Some(binding) = session.agent_session_binding() {
                // Older agents do not know how to be bound to one session, and serve anyway.
                let _ = client.bind_session(binding, false).await;
            }
            let (mut keys, mut certificate) = (Vec::new(), None);
            for identity in client.request_identities().await? {
                match identity {
                    AgentIdentity::PublicKey { key, comment } => keys.push((key, comment)),
                    AgentIdentity::Certificate { comment, .. } => certificate = Some(comment),
                }
            }
            Ok::<_, russh::keys::Error>(Held {
                client,
                keys,
                certificate,
            })
        };
        match held.await {
            Ok(held) => Some(held),
            Err(e) => {
                notes.push(format!("agent {} (cannot be used: {e})", socket.display()));
                None
            }
        }
    }

    fn holds(&self, key: &PublicKey) -> bool {
        self.keys
            .iter()
            .any(|(held, _)| held.key_data() == key.key_data())
    }
}

/// A key to offer.
struct Candidate {
    name: String,
    key: Key,
}

enum Key {
    File(Box<PrivateKey>),
    /// Signed for by the agent.
    Agent(PublicKey),
}

impl Key {
    fn public(&self) -> &PublicKey {
        match self {
            Key::File(key) => key.public_key(),
            Key::Agent(key) => key,
        }
    }
}

fn candidates(
    settings: &Settings,
    uid: u32,
    agent: Option<&Held>,
    notes: &mut Vec<String>,
) -> Vec<Candidate> {
    let mut from_files = Vec::new();
    for path in &settings.identities {
        let name = path.display().to_string();
        // A public key alone selects one of the agent's.
        let held_public = |key: &PublicKey| agent.is_some_and(|agent| agent.holds(key));
        let key = match read_private_key(path, uid) {
            Ok(KeyFile::Usable(key)) if is_on_token(key.public_key()) => {
                if !held_public(key.public_key()) {
                    let way = "ssh-add it to an agent, or use -e ssh";
                    notes.push(format!("{name} (a FIDO key, whose token signs: {way})"));
                    continue;
                }
                Key::Agent(key.public_key().clone())
            }
            Ok(KeyFile::Usable(key)) => Key::File(key),
            Ok(KeyFile::Encrypted(Some(key))) if held_public(&key) => Key::Agent(*key),
            Ok(KeyFile::Encrypted(_)) => {
                notes.push(format!("{name} (has a passphrase: ssh-add it to an agent)"));
                continue;
            }
            Err(KeyFileError::Missing) => {
                if settings.identities_are_explicit {
                    notes.push(format!("{name} (no such file)"));
                }
                continue;
            }
            Err(KeyFileError::Unusable(why)) => match read_public_key(path) {
                Some(key) if held_public(&key) => Key::Agent(key),
                _ => {
                    notes.push(format!("{name} ({why})"));
                    continue;
                }
            },
        };
        from_files.push(Candidate { name, key });
    }
    let mut from_agent = Vec::new();
    for (key, comment) in agent.iter().flat_map(|agent| &agent.keys) {
        let name = format!("agent key {comment} {}", fingerprint(key));
        from_agent.push(Candidate {
            name,
            key: Key::Agent(key.clone()),
        });
    }
    let mut ordered: Vec<Candidate> =
        match (settings.identities_only, settings.identities_are_explicit) {
            (true, _) => from_files,
            (false, true) => from_files.into_iter().chain(from_agent).collect(),
            (false, false) => from_agent.into_iter().chain(from_files).collect(),
        };
    let mut seen = Vec::new();
    ordered.retain(|candidate| {
        let data = candidate.key.public().key_data().clone();
        let new = !seen.contains(&data);
        seen.push(data);
        new
    });
    ordered
}

/// Whether the file of a key says only which token has it.
fn is_on_token(key: &PublicKey) -> bool {
    use Algorithm::{SkEcdsaSha2NistP256, SkEd25519};
    matches!(key.algorithm(), SkEd25519 | SkEcdsaSha2NistP256)
}

struct Attempt<'a> {
    session: &'a mut Handle<Callbacks>,
    user: &'a str,
    limits: &'a KeyLimits,
    /// The best that the server takes from RSA keys, once asked.
    server_rsa_hash: Option<Option<HashAlg>>,
    /// Whether a key was not offered because of `limits`.
    left_out: bool,
    /// What was tried, or why not, for the message.
    tried: Vec<String>,
}

impl Attempt<'_> {
    /// True if the key was accepted, false if another may be.
    async fn offer(
        &mut self,
        candidate: Candidate,
        agent: Option<&mut Held>,
    ) -> Result<bool, Error> {
        let Candidate { name, key } = candidate;
        let hash = match self.signature_hash(key.public()).await {
            Ok(hash) => hash,
            Err(why) => {
                self.left_out = true;
                self.tried.push(format!("{name} ({why})"));
                return Ok(false);
            }
        };
        let result = match (key, agent) {
            (Key::File(key), _) => {
                let key = PrivateKeyWithHashAlg::new(Arc::new(*key), hash);
                let result = self.session.authenticate_publickey(self.user, key).await;
                result.map_err(|e| e.to_string())
            }
            (Key::Agent(key), Some(agent)) => {
                let signer = &mut agent.client;
                let result = self
                    .session
                    .authenticate_publickey_with(self.user, key, hash, signer)
                    .await;
                result.map_err(|e| format!("the agent did not sign: {e}"))
            }
            (Key::Agent(_), None) => return Ok(false),
        };
        match result {
            Ok(AuthResult::Success) => return Ok(true),
            Ok(AuthResult::Failure {
                partial_success: true,
                ..
            }) => {
                let message = format!("{name} was accepted, but the server wants more than a key");
                return Err(Error::new(ErrorKind::Auth, message));
            }
            Ok(AuthResult::Failure {
                remaining_methods, ..
            }) if !self.session.is_closed() => {
                self.tried.push(format!("{name} (refused)"));
                if !remaining_methods.is_empty()
                    && !remaining_methods.contains(&MethodKind::PublicKey)
                {
                    let message = "the server accepts no public keys";
                    return Err(Error::new(ErrorKind::Auth, message));
                }
            }
            Ok(AuthResult::Failure { .. }) => self.tried.push(name),
            Err(why) => self.tried.push(format!("{name} ({why})")),
        }
        if self.session.is_closed() {
            let message = format!(
                "the server closed the connection during authentication (tried: {})",
                self.tried.join(", ")
            );
            return Err(Error::new(ErrorKind::Auth, message));
        }
        Ok(false)
    }

    /// The hash to sign with, which only RSA keys choose, or why the key must not be used.
    async fn signature_hash(&mut self, key: &PublicKey) -> Result<Option<HashAlg>, String> {
        let accepted = self.limits.accepted.as_ref();
        let left_out = |what: &str| match accepted {
            Some((_, place)) => format!("PubkeyAcceptedAlgorithms at {place} leaves {what} out"),
            None => format!("the server takes {what} only with SHA-1"),
        };
        let list = accepted.map(|(list, _)| list.as_slice());
        let algorithm = key.algorithm();
        let Some(bits) = rsa_bits(key) else {
            return match list {
                Some(list) if !list.contains(&algorithm) => Err(left_out(algorithm.as_str())),
                _ => Ok(None),
            };
        };
        let min = self.limits.rsa_min_bits;
        if bits < min {
            return Err(format!("{bits} bits, and RequiredRSASize wants {min}"));
        }
        let best = self.server_rsa_hash().await;
        match rsa_hash(list, best) {
            Some(hash) => Ok(Some(hash)),
            None => Err(left_out("ssh-rsa")),
        }
    }

    async fn server_rsa_hash(&mut self) -> Option<HashAlg> {
        if let Some(known) = self.server_rsa_hash {
            return known;
        }
        // A server that says nothing is asked for SHA-512, as ssh does.
        let hash = match self.session.best_supported_rsa_hash().await {
            Ok(Some(hash)) => hash,
            _ => Some(HashAlg::Sha512),
        };
        self.server_rsa_hash = Some(hash);
        hash
    }

    fn failed(&self, what: &str, settings: &Settings, held: Option<String>) -> Error {
        let tried = if self.tried.is_empty() {
            let files: Vec<String> = settings
                .identities
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let agent = if settings.agent_socket.is_some() {
                "; the agent holds none"
            } else {
                ""
            };
            format!("there is none: no {}{agent}", files.join(", "))
        } else {
            format!("tried: {}", self.tried.join(", "))
        };
        let certificate = held
            .map(|comment| format!("{comment} in the agent"))
            .or_else(|| {
                settings
                    .identities
                    .iter()
                    .find_map(|path| certificate_beside(path))
            });
        let hint = match certificate {
            Some(name) => format!("; only -e ssh logs in with a certificate, such as {name}"),
            None if self.left_out => "; -e ssh may have another kind of key".to_owned(),
            None => String::new(),
        };
        Error::new(ErrorKind::Auth, format!("{what} ({tried}){hint}"))
    }
}

/// The certificate that ssh would offer with a key.
fn certificate_beside(identity: &Path) -> Option<String> {
    let mut name = identity.as_os_str().to_owned();
    name.push("-cert.pub");
    let path = PathBuf::from(name);
    path.exists().then(|| path.display().to_string())
}
