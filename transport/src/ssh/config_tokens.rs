//! What the `%` tokens of ssh configuration stand for.

use data_encoding::HEXLOWER;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::destination::{Destination, Environment};

/// A token, such as `h`, and its value.
pub(crate) type Token = (char, String);

/// What the directives read so far make of a destination.
pub(crate) struct Reached<'a> {
    pub(crate) host_name: &'a str,
    pub(crate) port: u16,
    pub(crate) user: &'a str,
    pub(crate) host_key_alias: Option<&'a str>,
}

impl Reached<'_> {
    /// The tokens of file names and of `Match exec`.
    pub(crate) fn tokens(&self, to: &Destination, environment: &Environment) -> Vec<Token> {
        let local_host = rustix::system::uname();
        let local_host = local_host.nodename().to_string_lossy().into_owned();
        let short = local_host.split('.').next().unwrap_or_default().to_owned();
        let port = self.port.to_string();
        let connection = [&local_host, self.host_name, &port, self.user].concat();
        let connection = digest(&SHA1_FOR_LEGACY_USE_ONLY, connection.as_bytes());
        let mut tokens = vec![
            ('C', HEXLOWER.encode(connection.as_ref())),
            ('h', self.host_name.to_owned()),
            ('i', environment.uid.to_string()),
            // The jump hosts: there are none, since ProxyJump is refused.
            ('j', String::new()),
            ('k', self.host_key_alias.unwrap_or(&to.host).to_owned()),
            ('L', short),
            ('l', local_host),
            ('n', to.host.clone()),
            ('p', port),
            ('r', self.user.to_owned()),
            ('u', environment.user.clone()),
        ];
        let home = environment.home.as_ref();
        tokens.extend(home.map(|home| ('d', home.to_string_lossy().into_owned())));
        tokens
    }
}
