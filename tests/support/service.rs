//! The service of a pair: one address that moves between the nodes, as whatever manages the cluster
//! moves it. On a pair side by side, where both nodes have all addresses, a file stands for it.

use super::pair::Node::{self, Foo0, Foo1};
use super::pair::Pair;
use super::process::run_ok;
use super::{Finished, Hasync};

/// The address that moves.
pub(crate) const SERVICE: &str = "10.99.0.100";

/// Who holds the service address pushes.
pub(crate) const BY_ADDRESS: &str = "[role]\naddress = \"10.99.0.100\"\n";

/// The same where a file stands for the address.
pub(crate) const BY_FILE: &str = "[role]\ncommand = \"test -e STATE/serves\"\n";

impl Pair {
    /// The service comes to a node, or goes from it, as far as hasync can see.
    pub(crate) fn serve(&self, node: Node, serves: bool) {
        let Some(net) = &self.net else {
            let file = self.path(node, "serves");
            return match serves {
                true => std::fs::write(file, "").unwrap(),
                false => drop(std::fs::remove_file(file)),
            };
        };
        let launcher = match node {
            Foo0 => net.on_primary(),
            Foo1 => net.on_standby(),
        };
        let address = format!("{SERVICE}/32");
        let words: &[&str] = match serves {
            true => &["ip", "addr", "replace", &address, "dev", "link0"],
            false => &["ip", "addr", "flush", "to", &address],
        };
        let words = [&launcher[..], words].concat();
        run_ok(words[0], &words[1..]);
    }

    /// Whether the service is on a node.
    pub(crate) fn serves(&self, node: Node) -> bool {
        let Some(net) = &self.net else {
            return self.path(node, "serves").exists();
        };
        let launcher = match node {
            Foo0 => net.on_primary(),
            Foo1 => net.on_standby(),
        };
        let words = [&launcher[..], &["ip", "-o", "addr", "show", "dev", "link0"]].concat();
        run_ok(words[0], &words[1..]).contains(&format!(" {SERVICE}/"))
    }

    /// As a group of resources is started: the address, then the mirror.
    pub(crate) fn take_over(&self, node: Node) -> Finished {
        self.serve(node, true);
        self.run(node, &["mirror", "start"])
    }

    /// As it is stopped: the mirror, then the address.
    pub(crate) fn give_up(&self, node: Node) -> Finished {
        let done = self.run(node, &["mirror", "stop"]);
        self.serve(node, false);
        done
    }

    /// A command on a node, which sees the identity in `boot_id` as that of the boot.
    pub(crate) fn in_its_boot(&self, node: Node, words: &[&str]) -> Hasync {
        self.under_its_boot(node, self.on(node, words))
    }

    /// The same for a command line that is there.
    pub(crate) fn under_its_boot(&self, node: Node, hasync: Hasync) -> Hasync {
        let boot = self.path(node, "boot_id");
        let mut launcher: Vec<String> = match (&self.net, node) {
            (None, _) => vec!["unshare".into(), "-m".into()],
            (Some(net), Foo0) => net.on_primary().map(str::to_owned).to_vec(),
            (Some(net), Foo1) => net.on_standby().map(str::to_owned).to_vec(),
        };
        let mount = "mount --bind $0 /proc/sys/kernel/random/boot_id && exec \"$@\"";
        launcher.extend(["sh", "-c", mount].map(str::to_owned));
        launcher.push(boot.display().to_string());
        hasync.under(&launcher)
    }
}
