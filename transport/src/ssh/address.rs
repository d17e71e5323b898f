//! Numeric addresses, read as the C library reads them: IPv6 with the interface that a link-local
//! address is good for.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use nix::net::if_::if_nametoindex;

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

#[cfg(test)]
mod tests {
    use super::*;

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
