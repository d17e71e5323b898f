//! Which algorithms are offered, in which order, and how configuration changes that.

use std::borrow::Cow;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, kex, mac};

/// The offer without any configuration: AES-GCM first, because it is the fastest by far on any
/// processor with AES instructions; no SHA-1 anywhere.
pub(crate) fn preferred() -> Preferred {
    Preferred {
        key: Cow::Borrowed(HOST_KEYS),
        cipher: Cow::Borrowed(CIPHERS),
        ..Preferred::DEFAULT
    }
}

/// Applies a `Ciphers` list.
pub(crate) fn set_ciphers(preferred: &mut Preferred, list: &str) -> Result<(), String> {
    let names = edited(list, CIPHERS, CIPHERS_ON_REQUEST)?;
    preferred.cipher = Cow::Owned(names);
    Ok(())
}

/// Applies a `MACs` list.
pub(crate) fn set_macs(preferred: &mut Preferred, list: &str) -> Result<(), String> {
    let names = edited(
        list,
        &Preferred::DEFAULT.mac,
        &[mac::HMAC_SHA1_ETM, mac::HMAC_SHA1],
    )?;
    preferred.mac = Cow::Owned(names);
    Ok(())
}

/// Applies a `KexAlgorithms` list.
pub(crate) fn set_kex(preferred: &mut Preferred, list: &str) -> Result<(), String> {
    let (marks, methods): (Vec<kex::Name>, Vec<kex::Name>) = Preferred::DEFAULT
        .kex
        .iter()
        .partition(|name| name.as_ref().starts_with("ext-") || name.as_ref().starts_with("kex-"));
    let mut names = edited(list, &methods, KEX_ON_REQUEST)?;
    // These announce protocol extensions and are no methods to choose from.
    names.extend(marks);
    preferred.kex = Cow::Owned(names);
    Ok(())
}

/// Applies a `HostKeyAlgorithms` list.
pub(crate) fn set_host_keys(preferred: &mut Preferred, list: &str) -> Result<(), String> {
    let named =
        |keys: &[Algorithm]| -> Vec<String> { keys.iter().map(ToString::to_string).collect() };
    let names = edited(
        list,
        &named(HOST_KEYS),
        &named(&[Algorithm::Rsa { hash: None }]),
    )?;
    let keys = names
        .iter()
        .filter_map(|name| Algorithm::new(name).ok())
        .collect();
    preferred.key = Cow::Owned(keys);
    Ok(())
}

/// What a `PubkeyAcceptedAlgorithms` list leaves of the algorithms that users' keys sign with.
pub(crate) fn user_keys(list: &str) -> Result<Vec<Algorithm>, String> {
    let named: Vec<String> = HOST_KEYS.iter().map(ToString::to_string).collect();
    let names = edited(list, &named, &[])?;
    let keys = HOST_KEYS
        .iter()
        .filter(|key| names.contains(&key.to_string()));
    Ok(keys.cloned().collect())
}

/// The hash that an RSA key signs with: one that is accepted on this side, and not better than the
/// best that the server takes. SHA-1 is not among them.
pub(crate) fn rsa_hash(accepted: Option<&[Algorithm]>, best: Option<HashAlg>) -> Option<HashAlg> {
    let takes: &[HashAlg] = match best {
        Some(HashAlg::Sha512) => &[HashAlg::Sha512, HashAlg::Sha256],
        Some(_) => &[HashAlg::Sha256],
        None => &[],
    };
    let accepted = |hash: &&HashAlg| {
        let algorithm = Algorithm::Rsa { hash: Some(**hash) };
        accepted.is_none_or(|accepted| accepted.contains(&algorithm))
    };
    takes.iter().find(accepted).copied()
}

/// Puts the host key algorithms that can prove a key of `known_types` first, so that the server
/// shows a key we can recognise.
pub(crate) fn prefer_known_host_keys(preferred: &mut Preferred, known_types: &[String]) {
    let known = |algorithm: &Algorithm| {
        known_types.iter().any(|known| match algorithm {
            Algorithm::Rsa { .. } => known == "ssh-rsa",
            other => known == other.as_str(),
        })
    };
    let mut keys = preferred.key.to_vec();
    keys.sort_by_key(|algorithm| !known(algorithm));
    preferred.key = Cow::Owned(keys);
}

/// A list as ssh_config writes it: `a,b` replaces the default, `+a` appends, `-a*` removes, `^a`
/// puts first. Names that are not known here are left out, since lists are shared with ssh.
fn edited<N: AsRef<str> + Clone>(
    list: &str,
    default: &[N],
    on_request: &[N],
) -> Result<Vec<N>, String> {
    let (operator, names) = match list.chars().next() {
        Some(operator @ ('+' | '-' | '^')) => (Some(operator), list.get(1..).unwrap_or_default()),
        _ => (None, list),
    };
    let asked: Vec<&str> = names.split(',').map(str::trim).collect();
    let chosen = || {
        asked.iter().flat_map(|asked| {
            let all = default.iter().chain(on_request);
            all.filter(|name| super::pattern::matches(asked, name.as_ref()))
                .cloned()
        })
    };
    let mut result: Vec<N> = match operator {
        Some('+') => default.iter().cloned().chain(chosen()).collect(),
        Some('^') => chosen().chain(default.iter().cloned()).collect(),
        Some(_) => {
            let removed = |name: &N| {
                asked
                    .iter()
                    .any(|asked| super::pattern::matches(asked, name.as_ref()))
            };
            default
                .iter()
                .filter(|name| !removed(name))
                .cloned()
                .collect()
        }
        None => chosen().collect(),
    };
    let mut seen: Vec<String> = Vec::new();
    result.retain(|name| {
        let first = !seen.iter().any(|seen| seen == name.as_ref());
        seen.push(name.as_ref().to_owned());
        first
    });
    if result.is_empty() {
        let known: Vec<&str> = default
            .iter()
            .chain(on_request)
            .map(AsRef::as_ref)
            .collect();
        return Err(format!(
            "none of {names} is supported here (supported: {})",
            known.join(",")
        ));
    }
    Ok(result)
}

const CIPHERS: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];
const CIPHERS_ON_REQUEST: &[cipher::Name] = &[
    cipher::AES_256_CBC,
    cipher::AES_192_CBC,
    cipher::AES_128_CBC,
];
const KEX_ON_REQUEST: &[kex::Name] = &[
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_G14_SHA1,
];
const HOST_KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ciphers(list: &str) -> Vec<String> {
        let mut preferred = preferred();
        set_ciphers(&mut preferred, list).unwrap();
        preferred
            .cipher
            .iter()
            .map(|name| name.as_ref().to_owned())
            .collect()
    }

    #[test]
    fn lists_replace_append_remove_and_promote() {
        assert_eq!(
            ciphers("aes128-ctr,no-such,aes256-ctr"),
            ["aes128-ctr", "aes256-ctr"]
        );
        assert_eq!(ciphers("+aes128-cbc").last().unwrap(), "aes128-cbc");
        assert_eq!(ciphers("^aes128-ctr").first().unwrap(), "aes128-ctr");
        assert_eq!(ciphers("-*-ctr,chacha20*").len(), 2);
        assert!(set_ciphers(&mut preferred(), "3des-cbc").is_err());
    }

    #[test]
    fn kex_lists_keep_the_extension_marks() {
        let mut preferred = preferred();
        set_kex(&mut preferred, "curve25519-sha256").unwrap();
        let names: Vec<&str> = preferred.kex.iter().map(AsRef::as_ref).collect();
        assert!(names.contains(&"kex-strict-c-v00@openssh.com") && names.contains(&"ext-info-c"));
        assert_eq!(names.first(), Some(&"curve25519-sha256"));
    }

    #[test]
    fn known_key_types_come_first() {
        let mut preferred = preferred();
        prefer_known_host_keys(&mut preferred, &["ssh-rsa".to_owned()]);
        assert_eq!(preferred.key.first().unwrap().to_string(), "rsa-sha2-512");
        set_host_keys(&mut preferred, "ssh-ed25519,rsa-sha2-256").unwrap();
        assert_eq!(preferred.key.len(), 2);
    }

    #[test]
    fn an_rsa_key_never_signs_with_sha1() {
        use HashAlg::{Sha256, Sha512};
        let lists = |list: &str| user_keys(list).unwrap();
        for (list, best, expected) in [
            ("*", Some(Sha512), Some(Sha512)),
            ("*", Some(Sha256), Some(Sha256)),
            ("*", None, None),
            ("rsa-sha2-256", Some(Sha512), Some(Sha256)),
            ("rsa-sha2-512", Some(Sha256), None),
            ("ssh-ed25519", Some(Sha512), None),
            ("+ssh-rsa", None, None),
        ] {
            assert_eq!(
                rsa_hash(Some(&lists(list)), best),
                expected,
                "{list} {best:?}"
            );
        }
        assert_eq!(rsa_hash(None, Some(Sha512)), Some(Sha512));
        assert!(user_keys("ssh-rsa").is_err() && user_keys("-*").is_err());
    }
}
