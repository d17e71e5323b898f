//! heartbeat's list of who runs what: which service addresses stand on the line of a resource.
//!
//! A line is `NODE RESOURCE...`; `\` at its end continues it, `#` begins a comment. A resource is
//! a name, with arguments as `NAME::ARGUMENT::...`, or an address alone, which is short for
//! `IPaddr::ADDRESS`. After the address may come `/NETMASK/INTERFACE/BROADCAST`.

use std::net::IpAddr;

/// The addresses on the first line that has `resource`; `None` if there is no such line or no
/// address on it.
pub(super) fn addresses(text: &str, resource: &str) -> Option<Vec<IpAddr>> {
    let joined = text.replace("\\\n", " ");
    let lines = joined
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let has = |word: &&str| word.split("::").next() == Some(resource);
    let line = lines
        .map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>())
        .find(|words| words.iter().any(has))?;
    let found: Vec<IpAddr> = line.iter().filter_map(|word| address(word)).collect();
    (!found.is_empty()).then_some(found)
}

fn address(word: &str) -> Option<IpAddr> {
    let value = match word.split_once("::") {
        // "fd00::5" is an address, not the resource fd00.
        Some((name, arguments)) if name.starts_with("IPaddr") || name == "IPv6addr" => arguments,
        _ => word,
    };
    value.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&[&str]>) {
        let found = addresses(text, "mirror");
        let expected = expected.map(|list| {
            let parsed = list.iter().filter_map(|address| address.parse().ok());
            parsed.collect::<Vec<IpAddr>>()
        });
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn addresses_stand_on_the_line_of_the_resource() {
        check("foo0 10.0.0.100 mirror httpd\n", Some(&["10.0.0.100"]));
        check("foo0 10.0.0.100/24/eth0 mirror", Some(&["10.0.0.100"]));
        check(
            "foo0 IPaddr::10.0.0.5/24 IPaddr2::10.0.0.6 mirror",
            Some(&["10.0.0.5", "10.0.0.6"]),
        );
        check("foo0 IPv6addr::fd00::5/64 mirror::a::b", Some(&["fd00::5"]));
        check("foo0 fd00::5 mirror", Some(&["fd00::5"]));
        check(
            "# foo0 1.2.3.4 mirror\nfoo0 \\\n 10.0.0.1 \\\n mirror # x\n",
            Some(&["10.0.0.1"]),
        );
        check(
            "foo1 10.0.0.9 httpd\nfoo0 10.0.0.1 mirror\n",
            Some(&["10.0.0.1"]),
        );
    }

    #[test]
    fn without_the_resource_or_an_address_there_is_none() {
        check("", None);
        check("foo0 10.0.0.1 httpd", None);
        check("foo0 httpd mirror", None);
        check("mirror 10.0.0.1 httpd", None);
        check("foo0 10.0.0.1 mirrors", None);
    }
}
