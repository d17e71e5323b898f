//! `from="…"`: where a key may be used from. As in sshd a network has no bits beyond its length;
//! besides, whatever looks like an address and is none is refused, since it would never match and
//! its administrator believes that it does.

use std::net::IpAddr;

use super::super::pattern;

/// Addresses, with wildcards or as CIDR; `!` takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FromList(Vec<Item>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    negated: bool,
    addresses: Addresses,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Addresses {
    Network(IpAddr, u32),
    /// Compared with the text of the address. That of a name never is one: none is looked up.
    Pattern(String),
}

impl FromList {
    pub(super) fn parse(list: &str) -> Result<FromList, String> {
        let items: Result<_, String> = list.split(',').map(Item::parse).collect();
        items.map(FromList)
    }

    /// Whether it holds `address`, which must be canonical.
    pub(crate) fn admits(&self, address: IpAddr) -> bool {
        let hit = |item: &&Item| item.addresses.hold(address);
        let hits: Vec<&Item> = self.0.iter().filter(hit).collect();
        !hits.is_empty() && !hits.iter().any(|item| item.negated)
    }
}

impl Item {
    fn parse(text: &str) -> Result<Item, String> {
        let (negated, rest) = text
            .strip_prefix('!')
            .map_or((false, text), |rest| (true, rest));
        let addresses = match rest.split_once('/') {
            Some((network, len)) => parse_network(network, len),
            None => match rest.parse::<IpAddr>() {
                Ok(address) => Some(Addresses::Network(address, width(address))),
                Err(_) => is_pattern(rest).then(|| Addresses::Pattern(rest.to_ascii_lowercase())),
            },
        };
        let addresses = addresses.ok_or_else(|| format!("its from= has a bad address {text:?}"))?;
        if negated && is_name(rest) {
            return Err(format!(
                "its from= has {text:?}, and names are not looked up here"
            ));
        }
        Ok(Item { negated, addresses })
    }
}

impl Addresses {
    fn hold(&self, address: IpAddr) -> bool {
        match self {
            Addresses::Network(network, len) => {
                width(*network) == width(address)
                    && beyond(bits(*network) ^ bits(address), *len) == 0
            }
            Addresses::Pattern(pattern) => pattern::matches(pattern, &address.to_string()),
        }
    }
}

fn parse_network(network: &str, len: &str) -> Option<Addresses> {
    let network: IpAddr = network.parse().ok()?;
    // `parse` takes a sign as well.
    let digits = len.bytes().all(|c| c.is_ascii_digit());
    let len: u32 = len
        .parse()
        .ok()
        .filter(|len| digits && *len <= width(network))?;
    let host_bits = bits(network).checked_shl(len).unwrap_or(0);
    (host_bits == 0).then_some(Addresses::Network(network, len))
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The bits of an address, from the highest on.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first `len` bits.
fn beyond(bits: u128, len: u32) -> u128 {
    bits.checked_shr(128 - len).unwrap_or(0)
}

/// Whether an address or a host name can be meant by what is neither an address nor a network.
fn is_pattern(text: &str) -> bool {
    let of = |more: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        !text.is_empty() && text.chars().all(known)
    };
    if text.contains(':') {
        let fits = |group: &str| group.len() <= 4 + group.matches('*').count();
        let hex = |c: char| c.is_ascii_hexdigit() || ":.*?".contains(c);
        let wild = text.contains(['*', '?']);
        wild && !text.contains(":::") && text.chars().all(hex) && text.split(':').all(fits)
    } else if text
        .chars()
        .all(|c| c.is_ascii_digit() || ".*?".contains(c))
    {
        let parts = text.split('.').count();
        let fits = if text.contains('*') {
            parts <= 4
        } else {
            parts == 4
        };
        fits && text.contains(['*', '?']) && text.split('.').all(is_octet_pattern)
    } else {
        of("-_.*?")
    }
}

fn is_octet_pattern(part: &str) -> bool {
    if part.contains(['*', '?']) {
        return part.len() - part.matches('*').count() <= 3;
    }
    part.parse::<u8>()
        .is_ok_and(|octet| octet.to_string() == part)
}

/// Whether that can only match a host name.
fn is_name(text: &str) -> bool {
    let of_address = |c: char| c.is_ascii_hexdigit() || ":*?".contains(c);
    let of_octets = |c: char| c.is_ascii_digit() || "./*?".contains(c);
    !text.contains(['/', ':']) && !text.chars().all(of_octets) && !text.chars().all(of_address)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_list_holds() {
        for (list, address, expected) in [
            ("10.0.0.*", "10.0.0.7", true),
            ("10.*", "10.0.0.7", true),
            ("*", "fd00::1", true),
            ("10.0.0.1?", "10.0.0.17", true),
            ("10.0.0.1?", "10.0.0.1", false),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7/32", "10.0.0.7", true),
            ("10.0.0.0/24", "10.0.0.7", true),
            ("10.0.0.0/24", "10.0.1.7", false),
            ("10.0.0.0/08", "10.200.0.7", true),
            ("10.0.0.0/24,!10.0.0.7", "10.0.0.7", false),
            ("!10.0.0.7,10.0.0.0/24", "10.0.0.7", false),
            ("!10.0.0.7,10.0.0.0/24", "10.0.0.8", true),
            ("!10.0.0.7", "10.0.0.8", false),
            ("fd00::/8", "fd12::1", true),
            ("FD00:0:0::1", "fd00::1", true),
            ("fd00::*", "fd00::1:2", true),
            ("FD*", "fd00::1", true),
            ("0.0.0.0/0", "10.0.0.7", true),
            ("0.0.0.0/0", "fd12::1", false),
            ("::/0", "10.0.0.7", false),
            ("::/0", "fd12::1", true),
            ("::1/128", "::1", true),
            ("b.example.com", "10.0.0.7", false),
            ("*.example.com,10.0.0.7", "10.0.0.7", true),
        ] {
            let parsed = FromList::parse(list).unwrap();
            assert_eq!(
                parsed.admits(address.parse().unwrap()),
                expected,
                "{list} {address}"
            );
        }
    }

    #[test]
    fn what_is_no_list() {
        for item in [
            "",
            "!",
            "!!10.0.0.1",
            " 10.0.0.1",
            "10.0.0.1 ",
            "10.0.0.1;10.0.0.2",
            "10.0.0.1\t",
            // Networks.
            "10.0.0.0/33",
            "10.0.0/8",
            "10/8",
            "10.0.0.1/abc",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.0.0.0/255.0.0.0",
            "10.0.0.1/24",
            "10.0.0.0/ 8",
            "::1/129",
            "::1/64",
            "fd00::/4294967304",
            "fd00::g/8",
            "*/8",
            "10.0.0.*/24",
            "10.0.0.0/99999999999999999999",
            "example.com/24",
            "::ffff:10.0.0.1/24",
            // Addresses.
            "10.0.0",
            "10.0.0.",
            ".10.0.0.1",
            "10.0.0.256",
            "10.0.0.01",
            "10.0.0.1.1",
            "10",
            "...",
            "10..0.1",
            "fd00:::1",
            "fd00::12345",
            "fd00::1::2",
            "fd00::g",
            "fe80::1%eth0",
            "[::1]",
            "[::1]:22",
            "10.0.0.1:22",
            // Patterns.
            "10.0.0.0.*",
            "256.*",
            "10.0.0.????",
            "010.*",
            "10.0.?",
            "fd00:::*",
            "fd00:12345:*",
            "fg00:*",
            "10.0.0.[12]",
            // Names.
            "exa mple.com",
            "!bad.example.com",
            "!*.example.com",
            "b\u{e9}.example.com",
            "a@b",
        ] {
            for list in [item.to_owned(), format!("{item},*"), format!("*,{item}")] {
                assert!(FromList::parse(&list).is_err(), "{list:?}");
            }
        }
    }
}
