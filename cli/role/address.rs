//! The addresses of this node, as the kernel lists them over netlink.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

/// Every address with the interface that has it.
pub(super) fn of_this_node() -> Result<Vec<(String, IpAddr)>, nix::Error> {
    let on_interface = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|found| IpAddr::V4(found.ip()));
        let v6 = || {
            address
                .as_sockaddr_in6()
                .map(|found| IpAddr::V6(found.ip()))
        };
        Some((entry.interface_name, v4.or_else(v6)?))
    };
    Ok(getifaddrs()?.filter_map(on_interface).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn loopback_is_there() {
        let addresses = of_this_node().unwrap();
        let loopback = ("lo".to_owned(), IpAddr::from([127, 0, 0, 1]));
        assert!(addresses.contains(&loopback), "{addresses:?}");
    }
}
