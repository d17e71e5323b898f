//! The first configuration: the text of one file that is right on both nodes.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::steps;

/// What a first configuration needs.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Both nodes, with their hosts.
    pub(super) nodes: [(String, String); 2],
    pub(super) user: Option<String>,
    pub(super) port: Option<u16>,
    /// The service address; without it a role is what was recorded.
    pub(super) address: Option<IpAddr>,
    pub(super) interval: Duration,
    pub(super) groups: Vec<(String, Vec<PathBuf>)>,
    pub(super) trees: Vec<(String, PathBuf)>,
}

impl Wanted {
    /// The file.
    pub(super) fn text(&self) -> String {
        let [(one, one_host), (other, other_host)] = &self.nodes;
        let mut text = format!(
            "# The same file on both nodes. `hasync check-config` tells how it is understood;\n\
             # hasync.toml(5) has every other key.\n\n\
             [peer]\n\
             hosts = {{ {} = {}, {} = {} }}\n",
            toml_string(one),
            toml_string(one_host),
            toml_string(other),
            toml_string(other_host),
        );
        if let Some(user) = &self.user {
            let _ = writeln!(text, "user = {}", toml_string(user));
        }
        if let Some(port) = self.port {
            let _ = writeln!(text, "port = {port}");
        }
        text.push_str(
            "identity = \"/etc/hasync/id_ed25519\"\nknown_hosts = \"/etc/hasync/known_hosts\"\n",
        );
        if let Some(address) = self.address {
            let _ = write!(
                text,
                "\n# The node that has the service address is the primary.\n\
                 [role]\naddress = \"{address}\"\n"
            );
        }
        let interval = steps::time(self.interval);
        let _ = write!(
            text,
            "\n[cycle]\ninterval = \"{interval}\"\n\n[notify]\nsyslog = true\n"
        );
        for (name, files) in &self.groups {
            let files: Vec<String> = files.iter().map(|file| toml_path(file)).collect();
            let files = files.join(", ");
            let _ = write!(text, "\n[[tree]]\nname = \"{name}\"\nfiles = [{files}]\n");
        }
        for (name, dir) in &self.trees {
            let dir = toml_path(dir);
            let _ = write!(text, "\n[[tree]]\nname = \"{name}\"\npath = {dir}\n");
        }
        text
    }
}

fn toml_path(path: &Path) -> String {
    toml_string(&path.to_string_lossy())
}

/// A string as TOML has it.
fn toml_string(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Config, Content, RoleTest};

    #[test]
    fn the_text_is_right_on_both_nodes_whatever_is_in_it() {
        let odd = "/srv/a \"b\" \\c\u{e9}\t";
        let wanted = |address: Option<&str>, port, user: Option<&str>| Wanted {
            nodes: [("foo0", "10.0.0.1"), ("foo1.x", "fd00::2")]
                .map(|(name, host)| (name.to_owned(), host.to_owned())),
            user: user.map(str::to_owned),
            port,
            address: address.map(|address| address.parse().unwrap()),
            interval: Duration::from_secs(90),
            groups: vec![("conf".to_owned(), vec!["/etc/a".into(), "/etc/b c".into()])],
            trees: vec![
                ("html".to_owned(), "/srv/html".into()),
                ("odd".to_owned(), odd.into()),
            ],
        };
        for wanted in [
            wanted(None, None, None),
            wanted(Some("10.0.0.100"), Some(8730), Some("root")),
            wanted(Some("fd00::64"), None, None),
        ] {
            for (node, peer) in [("foo0", "fd00::2"), ("foo1.x", "10.0.0.1")] {
                let text = format!("{}\n[node]\nname = \"{node}\"\n", wanted.text());
                let config = Config::parse(Path::new("x"), &text).unwrap();
                assert_eq!(config.peer.host.as_deref(), Some(peer), "{text}");
                assert_eq!(config.peer.port, wanted.port);
                assert_eq!(config.peer.user, wanted.user);
                assert_eq!(config.cycle.interval.0, wanted.interval);
                let recorded = config.role == RoleTest::Recorded;
                assert_eq!(recorded, wanted.address.is_none());
                let dir = |name: &str| config.tree(name).unwrap().content.clone();
                assert!(matches!(dir("odd"), Content::Dir(dir) if dir == Path::new(odd)));
                assert_eq!(config.trees.len(), 3);
            }
        }
    }
}
