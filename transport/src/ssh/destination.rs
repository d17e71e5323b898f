//! Who is to be reached, and the few facts about the local user that configuration refers to.

use std::path::PathBuf;

use crate::home::home;

/// The target of a connection as the user wrote it, before any configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// `USER@`, if given.
    pub user: Option<String>,
    /// A host name, an address or a `Host` alias of ssh_config. IPv6 without brackets.
    pub host: String,
    /// `--port`, if given.
    pub port: Option<u16>,
}

impl Destination {
    /// Splits `[USER@]HOST`. The host may stand in brackets.
    pub fn parse(text: &str) -> Destination {
        let (user, host) = match text.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, text),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        Destination {
            user,
            host: bare.to_owned(),
            port: None,
        }
    }
}

/// The local user, for `~`, `%d`, `%u`, `%i`, the default remote user and the default agent.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The home directory, if there is one.
    pub home: Option<PathBuf>,
    /// The login name.
    pub user: String,
    /// The user id.
    pub uid: u32,
    /// `SSH_AUTH_SOCK`.
    pub agent_socket: Option<PathBuf>,
}

impl Environment {
    /// Reads the password database and `SSH_AUTH_SOCK`.
    pub fn current() -> Environment {
        let uid = nix::unistd::getuid();
        let entry = nix::unistd::User::from_uid(uid).ok().flatten();
        let agent = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
        Environment {
            home: home(),
            user: entry.map_or_else(|| uid.to_string(), |entry| entry.name),
            uid: uid.as_raw(),
            agent_socket: agent.map(PathBuf::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_user_and_host() {
        let parse = |text| {
            let destination = Destination::parse(text);
            (destination.user, destination.host)
        };
        assert_eq!(parse("b"), (None, "b".to_owned()));
        assert_eq!(parse("root@b"), (Some("root".to_owned()), "b".to_owned()));
        assert_eq!(
            parse("a@corp@[::1]"),
            (Some("a@corp".to_owned()), "::1".to_owned())
        );
    }
}
