//! Two network namespaces joined by one cable (a veth pair): two nodes with a private
//! link that can be pulled, and whose byte counters nothing else touches.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::need_root;
use super::process::run_ok;

/// The primary's and the standby's address on the private link.
pub(crate) const PRIMARY: &str = "10.99.0.1";
pub(crate) const STANDBY: &str = "10.99.0.2";

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// Both namespaces; deleted on drop, the cable with them.
pub(crate) struct NetNs {
    primary: String,
    standby: String,
}

impl NetNs {
    pub(crate) fn pair() -> Self {
        need_root();
        let id = format!(
            "{}-{}",
            std::process::id(),
            SERIAL.fetch_add(1, Ordering::Relaxed)
        );
        let pair = Self {
            primary: format!("ha-{id}-p"),
            standby: format!("ha-{id}-s"),
        };
        run_ok("ip", &["netns", "add", &pair.primary]);
        run_ok("ip", &["netns", "add", &pair.standby]);
        let (p, s) = (pair.primary.as_str(), pair.standby.as_str());
        run_ok(
            "ip",
            &[
                "-n", p, "link", "add", "link0", "type", "veth", "peer", "name", "link0", "netns",
                s,
            ],
        );
        for (ns, address) in [(p, PRIMARY), (s, STANDBY)] {
            run_ok(
                "ip",
                &[
                    "-n",
                    ns,
                    "addr",
                    "add",
                    &format!("{address}/24"),
                    "dev",
                    "link0",
                ],
            );
            run_ok("ip", &["-n", ns, "link", "set", "lo", "up"]);
            run_ok("ip", &["-n", ns, "link", "set", "link0", "up"]);
        }
        pair
    }

    /// The launcher that runs a program on the primary.
    pub(crate) fn on_primary(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.primary]
    }

    pub(crate) fn on_standby(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.standby]
    }

    /// Pulls the cable at the standby: packets vanish, nobody is told.
    pub(crate) fn cut(&self) {
        run_ok("ip", &["-n", &self.standby, "link", "set", "link0", "down"]);
    }

    pub(crate) fn mend(&self) {
        run_ok("ip", &["-n", &self.standby, "link", "set", "link0", "up"]);
        for ns in [&self.primary, &self.standby] {
            // That nobody was there to answer is remembered for a while.
            run_ok("ip", &["-n", ns, "neigh", "flush", "dev", "link0"]);
        }
    }

    /// Parts the nodes: packets vanish on the way, and either node sees its link up.
    pub(crate) fn part(&self) {
        let rules = "add table inet parted; add chain inet parted in { type filter hook input \
                     priority 0; policy drop; }; add rule inet parted in iif lo accept";
        let inside = ["ip", "netns", "exec", &self.standby, "nft", rules];
        run_ok(inside[0], &inside[1..]);
    }

    pub(crate) fn join(&self) {
        let inside = ["ip", "netns", "exec", &self.standby, "nft"];
        run_ok(
            inside[0],
            &[&inside[1..], &["delete table inet parted"]].concat(),
        );
    }

    /// Slows the primary's sending side, so that a push lasts long enough to be cut.
    pub(crate) fn limit_mbit(&self, mbit: u32) {
        let rate = format!("{mbit}mbit");
        let bucket = ["rate", &rate, "burst", "64kb", "latency", "50ms"];
        self.shape("add", &[&["tbf"], &bucket[..]].concat());
    }

    pub(crate) fn lift_limit(&self) {
        self.shape("del", &[]);
    }

    fn shape(&self, verb: &str, how: &[&str]) {
        let link = ["-n", &self.primary, "qdisc", verb, "dev", "link0", "root"];
        run_ok("tc", &[&link[..], how].concat());
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        for ns in [&self.primary, &self.standby] {
            let _ = Command::new("ip").args(["netns", "del", ns]).status();
        }
    }
}
