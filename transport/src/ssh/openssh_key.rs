//! The OpenSSH format of private keys, read as freely as ssh reads it. `ssh-key` alone wants lines
//! of 70 characters and ECDSA scalars of at least 32 bytes; ssh writes a scalar without the zero
//! bytes that it begins with.

use data_encoding::BASE64;
use russh::keys::ssh_key::PrivateKey;

pub(crate) const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";

/// Reads the key between the marks.
pub(crate) fn parse(text: &str) -> Result<PrivateKey, String> {
    let body = text.split_once(BEGIN).map(|(_, body)| body);
    let (body, _) = body
        .and_then(|body| body.split_once(END))
        .ok_or("its end is missing")?;
    let body: Vec<u8> = body.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
    let key = BASE64.decode(&body).map_err(|e| e.to_string())?;
    let key = with_full_scalar(&key).unwrap_or(key);
    PrivateKey::from_bytes(&key).map_err(|e| e.to_string())
}

/// The same key with the zero bytes that its ECDSA scalar lacks; `None` if it lacks none, or is
/// another kind of key, or is malformed.
fn with_full_scalar(key: &[u8]) -> Option<Vec<u8>> {
    let mut rest = key.strip_prefix(MAGIC)?;
    for unencrypted in [&b"none"[..], b"none", b""] {
        (take_string(&mut rest)? == unencrypted).then_some(())?;
    }
    rest = rest.strip_prefix(&1_u32.to_be_bytes())?;
    take_string(&mut rest)?;
    let head = key.get(..key.len() - rest.len())?;
    let section = take_string(&mut rest)?;
    rest.is_empty().then_some(())?;

    let (_, mut rest) = section.split_at_checked(2 * size_of::<u32>())?;
    let scalar_len = match take_string(&mut rest)? {
        b"ecdsa-sha2-nistp256" => 32,
        b"ecdsa-sha2-nistp384" => 48,
        b"ecdsa-sha2-nistp521" => 66,
        _ => return None,
    };
    take_string(&mut rest)?;
    take_string(&mut rest)?;
    let before_scalar = section.get(..section.len() - rest.len())?;
    let scalar = take_string(&mut rest)?;
    let zeros = scalar_len - scalar.len().min(scalar_len);
    (zeros > 0).then_some(())?;
    let comment = take_string(&mut rest)?;
    rest.iter()
        .copied()
        .eq(1..=rest.len() as u8)
        .then_some(())?;

    let mut full = before_scalar.to_vec();
    put_string(&mut full, &[&vec![0; zeros], scalar].concat());
    put_string(&mut full, comment);
    let padding = full.len().next_multiple_of(BLOCK_LEN) - full.len();
    full.extend(1..=padding as u8);
    let mut key = head.to_vec();
    put_string(&mut key, &full);
    Some(key)
}

/// Takes four bytes of length and that many bytes off the front.
fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk()?;
    let (string, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    *rest = after;
    Some(string)
}

fn put_string(to: &mut Vec<u8>, string: &[u8]) {
    to.extend((string.len() as u32).to_be_bytes());
    to.extend(string);
}

const MAGIC: &[u8] = b"openssh-key-v1\0";
/// What an unencrypted section is padded to.
const BLOCK_LEN: usize = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use russh::keys::ssh_key::LineEnding;

    /// Every layout that ssh-keygen reads, and line ends as some editors leave them.
    #[test]
    fn lines_may_be_of_any_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        super::super::generate_key_pair(&path, "me").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let key = parse(&text).unwrap();
        let body = text.replace(BEGIN, "").replace(END, "").replace('\n', "");
        let (half, rest) = body.split_at(body.len() / 2);
        assert_eq!(parse(&text.replace('\n', "\r\n")).unwrap(), key);
        for layout in [
            format!("{BEGIN}\n{body}\n{END}\n"),
            format!("{BEGIN}\n{half}\n\n{rest}\n{END}\n"),
            format!("{text}trailing words\n"),
        ] {
            assert_eq!(parse(&layout).unwrap(), key, "{layout}");
            std::fs::write(&path, &layout).unwrap();
            let mut keygen = std::process::Command::new("ssh-keygen");
            let keygen = keygen.args(["-y", "-f"]).arg(&path).output().unwrap();
            assert!(keygen.status.success(), "ssh-keygen refuses {layout}");
        }
        for broken in [text.replace(END, ""), format!("{BEGIN}\nA\n{END}\n")] {
            assert!(parse(&broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn only_a_short_scalar_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        super::super::generate_key_pair(&path, "me").unwrap();
        let key = parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(with_full_scalar(&key.to_bytes().unwrap()), None);
        assert!(key.to_openssh(LineEnding::LF).is_ok());
        assert_eq!(with_full_scalar(b"openssh-key-v1\0\0\0\0\xff"), None);
    }
}
