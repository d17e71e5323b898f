//! The sections beside the trees: this node, its peer and how it is reached.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::Fault;
use super::units::{AbsPath, Command, Host, Line, NodeName, Speed, Stall, Time, User};

/// Where a node keeps what it knows about its trees, unless the file says otherwise.
pub(super) const STATE_DIR: &str = "/var/lib/hasync";

/// `[node]`: who this is.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Its name, as it stands in generations.
    pub(crate) name: String,
    /// Where it keeps roles, epochs and locks.
    pub(crate) state: PathBuf,
    /// Whether the file gives the name, and not the host.
    pub(crate) is_named: bool,
}

/// `[peer]`: the other node, and how it is reached. Everything has a default but the host.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Name or address; `None` if it is neither given nor follows from this node's name.
    pub(crate) host: Option<String>,
    /// This node, as the other one reaches it, if the file says it.
    pub(crate) own_host: Option<String>,
    /// Whether it follows from this node's name.
    pub(crate) is_derived: bool,
    /// The line of the file that gives it.
    pub(crate) host_line: Option<usize>,
    /// Who logs in there.
    pub(crate) user: Option<String>,
    /// The port of its SSH server.
    pub(crate) port: Option<u16>,
    /// The private key to log in with.
    pub(crate) identity: Option<PathBuf>,
    /// Its host key.
    pub(crate) known_hosts: Option<PathBuf>,
    /// A file in the place of ssh's own two.
    pub(crate) ssh_config: Option<PathBuf>,
    /// The program there.
    pub(crate) remote_bin: Option<String>,
    /// Bytes per second to it at most.
    pub(crate) bwlimit: Option<u64>,
    /// When what goes to it is compressed.
    pub(crate) compress: Compress,
    /// Its longest silence.
    pub(crate) timeout: Option<Time>,
    /// How long it may stand still although it is not silent.
    pub(crate) stall: Option<Stall>,
    /// What a node runs before it receives trees: it does not while this fails.
    pub(crate) check: Option<Command>,
}

/// `compress` of `[peer]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compress {
    /// While the link is what a push waits for.
    #[default]
    Auto,
    /// However fast the link is.
    Zstd,
    /// Never.
    None,
}

/// `[node]` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawNode {
    name: Option<NodeName>,
    state: Option<AbsPath>,
}

impl RawNode {
    pub(super) fn settle(self) -> Node {
        Node {
            is_named: self.name.is_some(),
            name: self.name.map_or_else(host_name, |name| name.0),
            state: self.state.map_or_else(|| STATE_DIR.into(), |dir| dir.0),
        }
    }
}

/// The name that the kernel knows, up to its first dot.
fn host_name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// `[peer]` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPeer {
    host: Option<Spanned<Host>>,
    hosts: Option<Spanned<BTreeMap<String, Host>>>,
    user: Option<User>,
    port: Option<std::num::NonZeroU16>,
    identity: Option<AbsPath>,
    known_hosts: Option<AbsPath>,
    ssh_config: Option<AbsPath>,
    remote_bin: Option<Line>,
    bwlimit: Option<Speed>,
    compress: Compress,
    timeout: Option<Time>,
    stall: Option<Stall>,
    check: Option<Command>,
}

impl Peer {
    /// How long it may stand still; zero is the engine's own limit.
    pub(crate) fn stall(&self) -> Duration {
        self.stall.map_or(Duration::ZERO, |stall| stall.0.0)
    }
}

impl RawPeer {
    /// `line_of` gives the line of an offset in the file.
    pub(super) fn settle(
        self,
        node: &str,
        line_of: impl Fn(usize) -> usize,
    ) -> Result<Peer, Fault> {
        let listed = self.hosts.as_ref().map(|hosts| hosts.span().start);
        let given = self.host.as_ref().map(|host| host.span().start);
        if let (Some(_), Some(offset)) = (listed, given) {
            let message = "[peer] goes by one of host and hosts; leave the other out";
            return Err(Fault::new(offset, message));
        }
        let host_line = listed.or(given).map(line_of);
        let (own_host, given) = match self.hosts {
            Some(hosts) => {
                let (own, other) = own_and_other(hosts, node)?;
                (Some(own), Some(other))
            }
            None => (None, self.host.map(|host| host.into_inner().0)),
        };
        let is_derived = given.is_none();
        Ok(Peer {
            host: given.or_else(|| pair_address(node)),
            own_host,
            is_derived,
            host_line,
            user: self.user.map(|user| user.0),
            port: self.port.map(std::num::NonZeroU16::get),
            identity: self.identity.map(|file| file.0),
            known_hosts: self.known_hosts.map(|file| file.0),
            ssh_config: self.ssh_config.map(|file| file.0),
            remote_bin: self.remote_bin.map(|line| line.0),
            bwlimit: self.bwlimit.and_then(|speed| speed.0.0),
            compress: self.compress,
            timeout: self.timeout,
            stall: self.stall,
            check: self.check,
        })
    }
}

/// Of both nodes with their hosts, the host of `node`, and that of the other one.
fn own_and_other(
    hosts: Spanned<BTreeMap<String, Host>>,
    node: &str,
) -> Result<(String, String), Fault> {
    let offset = hosts.span().start;
    let hosts: Vec<(String, Host)> = hosts.into_inner().into_iter().collect();
    match &hosts[..] {
        [(one, host), (other, same)] if Host::is_same(&host.0, &same.0) => {
            let [one, other, host] = [one, other, &host.0].map(|word| super::units::shown(word));
            Err(Fault::new(
                offset,
                format!(
                    "[peer] hosts gives {one} and {other} one host, {host}; give each its own on \
                     the private link"
                ),
            ))
        }
        [(name, own), (_, other)] | [(_, other), (name, own)] if name == node => {
            Ok((own.0.clone(), other.0.clone()))
        }
        [(one, _), (other, _)] => {
            let [one, other, node] = [one, other, node].map(super::units::shown);
            Err(Fault::new(
                offset,
                format!(
                    "[peer] hosts names {one} and {other}, and this node is {node}; correct it, or \
                     give the node another name by [node] name"
                ),
            ))
        }
        _ => Err(Fault::new(
            offset,
            "[peer] hosts names both nodes, as in { foo0 = \"10.0.0.1\", foo1 = \"10.0.0.2\" }",
        )),
    }
}

/// The classic pair: of `foo0` and `foo1`, each reaches the other over the private link, where
/// they are `local0` and `local1`. `None` for a name that ends otherwise.
fn pair_address(node: &str) -> Option<String> {
    let other = match node.as_bytes() {
        [_, .., b'0'] => 1,
        [_, .., b'1'] => 0,
        _ => return None,
    };
    // "web10" is the tenth of many, not one of two.
    let stem = node.get(..node.len() - 1)?;
    (!stem.ends_with(|c: char| c.is_ascii_digit())).then(|| format!("local{other}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_reaches_each_other_over_the_private_link() {
        let cases = [
            ("foo0", Some("local1")),
            ("foo1", Some("local0")),
            ("foo2", None),
            ("foo", None),
            ("0", None),
            ("web10", None),
            ("", None),
        ];
        for (node, peer) in cases {
            assert_eq!(pair_address(node).as_deref(), peer, "{node}");
        }
    }
}
