//! Numeric addresses, read as the C library reads them: IPv4 in its short forms, IPv6 with the
//! interface that a link-local address is good for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use nix::net::if_::{if_indextoname, if_nametoindex};

/// Reads `ADDR:PORT` or `[ADDR]:PORT`; after an IPv6 address may stand `%INTERFACE`.
pub fn parse_socket_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
                Err("a link-local address needs its interface, as in [fe80::1%eth0]:22".to_owned())
            }
            _ => Ok(address),
        };
    }
    let scoped = text.strip_prefix('[').and_then(|text| {
        let (address, port) = text.rsplit_once("]:")?;
        let (ip, scope) = address.split_once('%')?;
        Some((ip.parse().ok()?, scope, port.parse().ok()?))
    });
    let (ip, scope, port) =
        scoped.ok_or("an address and a port are needed, as in 0.0.0.0:22 or [::]:22")?;
    match scope_id(ip, scope) {
        Some(id) => Ok(SocketAddrV6::new(ip, port, 0, id).into()),
        None => Err(format!("there is no network interface {scope} for {ip}")),
    }
}

/// The address that `host` is, if it is a numeric one; its port is 0.
pub(crate) fn parse_ip(host: &str) -> Option<SocketAddr> {
    if let Some((ip, scope)) = host.split_once('%') {
        let ip = ip.parse().ok()?;
        return Some(SocketAddrV6::new(ip, 0, 0, scope_id(ip, scope)?).into());
    }
    let ip = host.parse().ok();
    let ip = ip.or_else(|| short_ipv4(host).map(IpAddr::V4))?;
    Some(SocketAddr::new(ip, 0))
}

/// The one way to write a host, as ssh looks it up in known_hosts.
pub(crate) fn canonical_host(host: &str) -> String {
    parse_ip(host).map_or_else(|| host.to_ascii_lowercase(), |ip| shown_ip(&ip))
}

/// The one way to write `address`.
pub(crate) fn shown_ip(address: &SocketAddr) -> String {
    let ip = address.ip();
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => match if_indextoname(v6.scope_id()) {
            Ok(name) if has_interface(v6.ip()) => format!("{ip}%{}", name.to_string_lossy()),
            _ => format!("{ip}%{}", v6.scope_id()),
        },
        _ => ip.to_string(),
    }
}

/// The number of an interface; names stand only behind addresses that are good for one link.
fn scope_id(ip: Ipv6Addr, scope: &str) -> Option<u32> {
    let named = has_interface(&ip).then(|| if_nametoindex(scope).ok());
    named.flatten().or_else(|| scope.parse().ok())
}

fn has_interface(ip: &Ipv6Addr) -> bool {
    // Unicast, or multicast on one link or one node.
    let [first, ..] = ip.segments();
    ip.is_unicast_link_local() || matches!(first & 0xff0f, 0xff01 | 0xff02)
}

/// `127.1`, `0x7f000001` and `0177.0.0.1`, as inet_aton(3) takes them.
fn short_ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (&last, front) = parts.split_last()?;
    let front_bits = 8 * u32::try_from(front.len()).ok().filter(|len| *len <= 3)?;
    if front.iter().any(|part| *part > 255) || u64::from(last) >> (32 - front_bits) != 0 {
        return None;
    }
    let front = front
        .iter()
        .fold(0_u64, |sum, part| sum << 8 | u64::from(*part));
    let address = front << (32 - front_bits) | u64::from(last);
    u32::try_from(address).ok().map(Ipv4Addr::from)
}

/// Decimal, octal after `0`, hexadecimal after `0x`.
fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // No sign, which from_str_radix would take.
    let first = digits.chars().next()?;
    first
        .is_digit(radix)
        .then(|| u32::from_str_radix(digits, radix).ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numeric_hosts_have_one_name() {
        for (host, shown) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("127.1", Some("127.0.0.1")),
            ("10.258", Some("10.0.1.2")),
            ("1.2.772", Some("1.2.3.4")),
            ("2130706433", Some("127.0.0.1")),
            ("0x7f.0.0.1", Some("127.0.0.1")),
            ("0177.1", Some("127.0.0.1")),
            ("FD00:0::02", Some("fd00::2")),
            ("fe80::1%lo", Some("fe80::1%lo")),
            ("fe80::1%1", Some("fe80::1%lo")),
            ("b", None),
            ("", None),
            ("10.0.0.256", None),
            ("1.2.3.4.5", None),
            ("256.1", None),
            ("10.b", None),
            ("+1", None),
            ("0x", None),
            ("4294967296", None),
            ("fd00::1%lo", None),
            ("fe80::1%none", None),
        ] {
            let read = parse_ip(host).map(|address| shown_ip(&address));
            assert_eq!(read.as_deref(), shown, "{host}");
        }
    }

    #[test]
    fn an_interface_may_stand_behind_a_listening_address() {
        for (text, address) in [
            ("127.0.0.1:22", Some("127.0.0.1:22")),
            ("[::1]:0", Some("[::1]:0")),
            ("[fe80::1%lo]:22", Some("[fe80::1%1]:22")),
            ("[fe80::1%1]:22", Some("[fe80::1%1]:22")),
            ("[ff02::1%lo]:22", Some("[ff02::1%1]:22")),
            ("[fe80::1]:22", None),
            ("[fe80::1%none]:22", None),
            ("[fd00::1%lo]:22", None),
            ("[fe80::1%]:22", None),
            ("fe80::1%lo:22", None),
            ("[127.0.0.1%lo]:22", None),
            ("[fe80::1%lo]:70000", None),
            ("[fe80::1%lo]", None),
            ("", None),
        ] {
            let read = parse_socket_address(text);
            let shown = read.as_ref().map(ToString::to_string).ok();
            assert_eq!(shown.as_deref(), address, "{text}: {read:?}");
        }
    }
}
