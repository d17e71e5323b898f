//! What `config` makes of configurations.

#![allow(clippy::unwrap_used)]
use super::super::config_values::parse_seconds;
use super::*;
use crate::ssh::Environment;
use std::path::Path;

fn under(config: &str, to: &Destination) -> Result<Settings, Error> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    std::fs::write(&file, config).unwrap();
    let environment = Environment {
        home: Some("/home/me".into()),
        user: "me".into(),
        uid: 7,
        agent_socket: Some("/run/agent".into()),
    };
    let options = ClientOptions {
        config_file: Some(file),
        environment,
        ..ClientOptions::default()
    };
    settings(to, &options)
}

fn to_b() -> Destination {
    Destination {
        host: "b".into(),
        ..Destination::default()
    }
}

#[test]
fn defaults() {
    let settings = under("", &to_b()).unwrap();
    assert_eq!((settings.host_name.as_str(), settings.port), ("b", 22));
    assert_eq!(settings.user, "me");
    assert_eq!(
        settings.identities.first().unwrap(),
        Path::new("/home/me/.ssh/id_ed25519")
    );
    assert_eq!(
        settings.known_hosts.first().unwrap(),
        Path::new("/home/me/.ssh/known_hosts")
    );
    assert_eq!(settings.agent_socket.unwrap(), Path::new("/run/agent"));
    assert_eq!(settings.alive_interval, Some(Duration::from_secs(15)));
    assert_eq!(settings.host_keys, HostKeyPolicy::Known);
    assert!(!settings.identities_are_explicit);
}

#[test]
fn the_first_value_wins_and_the_destination_before_it() {
    let config = "Host b\n HostName %h.lan\n Port 2222\n User u\nHost *\n Port 1\n User v\n";
    let settings = under(config, &to_b()).unwrap();
    assert_eq!(settings.host_name, "b.lan");
    assert_eq!((settings.port, settings.user.as_str()), (2222, "u"));
    let given = Destination {
        user: Some("w".into()),
        port: Some(9),
        ..to_b()
    };
    let settings = under(config, &given).unwrap();
    assert_eq!((settings.port, settings.user.as_str()), (9, "w"));
}

#[test]
fn identity_files_add_up() {
    let config = "IdentityFile ~/.ssh/%n_%r\nHost *\n IdentityFile /k/%i\n IdentityAgent none\n\
                  IdentitiesOnly yes\n UserKnownHostsFile /a ~/b\n ConnectTimeout 1m5\n";
    let settings = under(config, &to_b()).unwrap();
    let expected = [Path::new("/home/me/.ssh/b_me"), Path::new("/k/7")];
    assert_eq!(settings.identities, expected);
    assert_eq!(
        settings.known_hosts,
        [Path::new("/a"), Path::new("/home/me/b")]
    );
    assert!(settings.identities_only && settings.agent_socket.is_none());
    assert_eq!(settings.connect_timeout, Duration::from_secs(65));
}

#[test]
fn what_cannot_be_left_out_stops_with_its_place() {
    for (config, named) in [
        (
            "Port 1\nProxyJump gate\n",
            "config:2: proxyjump gate is not supported",
        ),
        ("ProxyCommand nc %h %p\n", "config:1: proxycommand"),
        ("RevokedHostKeys /x\n", "revokedhostkeys"),
        (
            "PreferredAuthentications password\n",
            "preferredauthentications",
        ),
        ("NoSuchThing 1\n", "unknown directive nosuchthing"),
        ("Port x\n", "bad port"),
        ("User\n", "user needs a value"),
        ("Ciphers no-such\n", "none of no-such"),
    ] {
        let error = under(config, &to_b()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{config}");
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn what_says_nothing_is_passed_over() {
    let config = "ProxyJump none\nProxyCommand none\nSendEnv LANG LC_*\nHashKnownHosts yes\n\
                  GSSAPIAuthentication yes\nIgnoreUnknown No*\nNoSuchThing 1\nForwardX11 no\n\
                  Host c\n ProxyJump gate\n NoSuch 1\n";
    assert!(under(config, &to_b()).unwrap().hash_known_hosts);
}

#[test]
fn times_and_sizes() {
    assert_eq!(parse_seconds("1h2m3"), Some(3723));
    assert_eq!(parse_seconds(""), None);
    assert_eq!(parse_seconds("m"), None);
    assert_eq!(parse_seconds("99999999999999999999"), None);
    assert_eq!(
        under("RekeyLimit 16M 1h\n", &to_b()).unwrap().rekey_len,
        Some(16 << 20)
    );
}
