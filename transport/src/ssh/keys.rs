//! Private key files: reading them the way ssh does, and making new ones.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hasync_engine::{Existing, describe, put_file};
use ring::rand::{SecureRandom, SystemRandom};
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::ssh_key::{LineEnding, PrivateKey, PublicKey};

use super::introduce::PublicHalf;
use super::openssh_key;
use super::trusted::{self, Distrust};
use crate::{Error, ErrorKind};

/// What a private key file gives.
pub(crate) enum KeyFile {
    Usable(Box<PrivateKey>),
    /// Protected by a passphrase: an agent may hold it.
    Encrypted(Option<Box<PublicKey>>),
}

/// Reads a private key in OpenSSH or PEM format. A file that others may read is refused, as ssh
/// does; so are files larger than any key.
pub(crate) fn read_private_key(path: &Path, uid: u32) -> Result<KeyFile, KeyFileError> {
    read_opened(File::open(path).map_err(|e| cannot(&e))?, path, uid)
}

fn cannot(e: &std::io::Error) -> KeyFileError {
    match e.kind() {
        std::io::ErrorKind::NotFound => KeyFileError::Missing,
        _ => KeyFileError::Unusable(describe(e)),
    }
}

fn read_opened(file: File, path: &Path, uid: u32) -> Result<KeyFile, KeyFileError> {
    let metadata = file.metadata().map_err(|e| cannot(&e))?;
    if metadata.uid() == uid && metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o777;
        return Err(KeyFileError::Unusable(format!(
            "mode {mode:03o} lets others read it (chmod 600)"
        )));
    }
    let mut text = String::new();
    file.take(KEY_FILE_MAX_LEN)
        .read_to_string(&mut text)
        .map_err(|e| cannot(&e))?;
    parse_private_key(&text, path)
}

/// Why a key file gives no key.
pub(crate) enum KeyFileError {
    Missing,
    Unusable(String),
}

fn parse_private_key(text: &str, path: &Path) -> Result<KeyFile, KeyFileError> {
    let public_beside = || {
        let mut name = path.as_os_str().to_owned();
        name.push(".pub");
        read_public_key(Path::new(&name)).map(Box::new)
    };
    if text.contains(openssh_key::BEGIN) {
        let key = openssh_key::parse(text)
            .map_err(|e| KeyFileError::Unusable(format!("no usable private key: {e}")))?;
        if key.is_encrypted() {
            return Ok(KeyFile::Encrypted(Some(Box::new(key.public_key().clone()))));
        }
        return Ok(KeyFile::Usable(Box::new(key)));
    }
    if text.contains("ENCRYPTED") {
        return Ok(KeyFile::Encrypted(public_beside()));
    }
    match russh::keys::decode_secret_key(text, None) {
        Ok(key) => Ok(KeyFile::Usable(Box::new(key))),
        Err(russh::keys::Error::KeyIsEncrypted) => Ok(KeyFile::Encrypted(public_beside())),
        Err(e) => Err(KeyFileError::Unusable(format!(
            "no usable private key: {e}"
        ))),
    }
}

/// The length of an RSA key's modulus.
pub(crate) fn rsa_bits(key: &PublicKey) -> Option<u32> {
    let modulus = key.key_data().rsa()?.n().as_positive_bytes()?;
    let first = modulus.first()?.leading_zeros();
    (modulus.len() as u32).checked_mul(8)?.checked_sub(first)
}

/// Why an RSA key of so few bits is not taken.
pub(crate) fn too_small(bits: u32) -> String {
    format!("it has {bits} bits, and RSA keys need {RSA_MIN_BITS} or more")
}

/// The public key in a `.pub` file.
pub(crate) fn read_public_key(path: &Path) -> Option<PublicKey> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(KEY_FILE_MAX_LEN)
        .read_to_string(&mut text)
        .ok()?;
    PublicKey::from_openssh(text.trim()).ok()
}

/// Reads a server's host key: it has to exist, be root's or this user's, be readable by its owner
/// alone, and have no passphrase.
pub(crate) fn read_host_key(path: &Path, uid: u32) -> Result<PrivateKey, Error> {
    let wrong = |why: &str| {
        Error::new(
            ErrorKind::Config,
            format!("host key {}: {why}", path.display()),
        )
    };
    let opened = trusted::open(path).map_err(|distrust| match distrust {
        Distrust::Unreadable(e) => cannot(&e),
        Distrust::Others(why) => KeyFileError::Unusable(why),
    });
    match opened.and_then(|file| read_opened(file, path, uid)) {
        Ok(KeyFile::Usable(key)) => match rsa_bits(key.public_key()) {
            Some(bits) if bits < RSA_MIN_BITS => Err(wrong(&too_small(bits))),
            _ => Ok(*key),
        },
        Ok(KeyFile::Encrypted(_)) => Err(wrong("has a passphrase, and nobody is there to type it")),
        Err(KeyFileError::Missing) => Err(wrong(
            "does not exist (ssh-keygen -t ed25519 -N '' -f FILE makes one)",
        )),
        Err(KeyFileError::Unusable(why)) => Err(wrong(&why)),
    }
}

/// Makes a new ed25519 host key at `path` (mode 600; the file must not exist) and its public half
/// at `path.pub`. Gives the public half as a known_hosts or authorized_keys line has it:
/// `ssh-ed25519 BASE64`.
pub fn generate_host_key(path: &Path) -> Result<String, Error> {
    generate_key_pair(path, "")
}

/// The same for a user's key, with a comment.
pub fn generate_key_pair(path: &Path, comment: &str) -> Result<String, Error> {
    let failed = |what: &dyn std::fmt::Display| {
        Error::new(
            ErrorKind::Io,
            format!("making the key {}: {what}", path.display()),
        )
    };
    let mut seed = [0; 32];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| failed(&"the system gives no random numbers"))?;
    let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(pair, comment).map_err(|e| failed(&e))?;
    let private = key.to_openssh(LineEnding::LF).map_err(|e| failed(&e))?;
    let public = key.public_key().to_openssh().map_err(|e| failed(&e))?;
    let mut public_path = path.as_os_str().to_owned();
    public_path.push(".pub");
    let public_line = format!("{public}\n");
    for (path, bytes, mode) in [
        (path.as_os_str(), private.as_bytes(), 0o600),
        (&public_path, public_line.as_bytes(), 0o644),
    ] {
        let put = put_file(Path::new(path), bytes, mode, Existing::Stays);
        if !put.map_err(|e| failed(&describe(&e)))? {
            return Err(failed(&format_args!(
                "{} exists already",
                Path::new(path).display()
            )));
        }
    }
    Ok(public)
}

/// The public half of the private key in this file.
pub fn public_half(path: &Path) -> Result<PublicHalf, Error> {
    let wrong = |why: &str| {
        let what = format!("key {}: {why}", path.display());
        Error::new(ErrorKind::Config, what)
    };
    match read_private_key(path, nix::unistd::geteuid().as_raw()) {
        Ok(KeyFile::Usable(key)) => Ok(PublicHalf::of(key.public_key().clone())),
        Ok(KeyFile::Encrypted(_)) => Err(wrong("has a passphrase, and nobody is there to type it")),
        Err(KeyFileError::Missing) => Err(wrong("does not exist")),
        Err(KeyFileError::Unusable(why)) => Err(wrong(&why)),
    }
}

/// Smaller RSA keys are nobody's proof of anything: ssh and sshd take none either.
pub(crate) const RSA_MIN_BITS: u32 = 1024;
/// Larger than the largest RSA key file by far.
const KEY_FILE_MAX_LEN: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_made_key_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let public = generate_key_pair(&path, "me@here").unwrap();
        let key = read_host_key(&path, rustix::process::geteuid().as_raw()).unwrap();
        assert_eq!(key.public_key().to_openssh().unwrap(), public);
        let beside = read_public_key(&dir.path().join("key.pub")).unwrap();
        assert_eq!(beside.key_data(), key.public_key().key_data());
        assert!(
            generate_key_pair(&path, "").is_err(),
            "an existing key was overwritten"
        );
    }

    #[test]
    fn a_key_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        generate_host_key(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = read_host_key(&path, rustix::process::geteuid().as_raw()).unwrap_err();
        assert!(error.to_string().contains("mode 640"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Config);
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for text in [
            "",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n",
            "\u{0}garbage",
        ] {
            put_file(&path, text.as_bytes(), 0o600, Existing::IsReplaced).unwrap();
            let read = read_private_key(&path, rustix::process::geteuid().as_raw());
            assert!(matches!(read, Err(KeyFileError::Unusable(_))), "{text:?}");
        }
    }
}
