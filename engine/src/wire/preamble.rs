//! The first bytes each way: they tell a peer that is not hasync (a login banner, an error text)
//! from one of another version before anything is decoded.

use crate::error::{Error, ErrorKind};
use crate::escape::escape;

/// Length of the preamble in bytes.
pub(crate) const PREAMBLE_LEN: usize = 8;

const MAGIC: &[u8; 6] = b"hasync";

/// Both sides must have the same; there is no older version to speak yet.
const VERSION: u16 = 1;

/// The preamble that this version sends.
pub(crate) fn preamble() -> [u8; PREAMBLE_LEN] {
    let mut bytes = [0; PREAMBLE_LEN];
    bytes[..6].copy_from_slice(MAGIC);
    bytes[6..].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// Whether a preamble begins like this, or this like a preamble.
pub(crate) fn may_be_preamble(bytes: &[u8]) -> bool {
    bytes.iter().zip(MAGIC).all(|(said, due)| said == due)
}

/// Checks the peer's preamble, as far as it came.
pub(crate) fn check_preamble(bytes: &[u8]) -> Result<(), Error> {
    if !may_be_preamble(bytes) {
        let got = escape(bytes);
        return Err(Error::new(
            ErrorKind::Stream,
            format!(
                "the peer does not speak hasync's protocol: it sent \"{got}\" first; is something \
                 printing text at login there?"
            ),
        ));
    }
    let Some(&version) = bytes.get(6..).and_then(|rest| rest.first_chunk::<2>()) else {
        return Err(Error::new(
            ErrorKind::Stream,
            "the peer closed the connection before it said anything",
        ));
    };
    let version = u16::from_le_bytes(version);
    if version == VERSION {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Incompatible,
        format!(
            "the peer speaks protocol version {version}, this hasync speaks {VERSION}; install \
             the same version on both nodes"
        ),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_banner_a_cut_and_another_version_are_told_apart() {
        assert!(check_preamble(&preamble()).is_ok());
        assert!(
            check_preamble(b"Welcome\n")
                .unwrap_err()
                .message
                .contains("Welcome\\#012")
        );
        assert_eq!(
            check_preamble(b"hasync").unwrap_err().kind,
            ErrorKind::Stream
        );
        assert_eq!(check_preamble(b"").unwrap_err().kind, ErrorKind::Stream);
        let mut other = preamble();
        other[6] = 9;
        assert_eq!(
            check_preamble(&other).unwrap_err().kind,
            ErrorKind::Incompatible
        );
    }
}
