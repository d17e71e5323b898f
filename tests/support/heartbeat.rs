//! heartbeat 3.0.6 on both nodes of a pair in namespaces: each with a host name, a configuration
//! and processes of its own, and with hasync as its resource `mirror`.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};

use super::netns::{PRIMARY, STANDBY};
use super::pair::Node::{self, Foo0, Foo1};
use super::pair::Pair;
use super::process::run_ok;
use super::{Hasync, TempTree};

/// The address that moves.
pub(crate) const SERVICE: &str = "10.99.0.100";

const DAEMON: &str = "/usr/libexec/heartbeat/heartbeat";

/// heartbeat on one node, with the processes of its namespace; gone on drop.
pub(crate) struct Heartbeat {
    dir: TempTree,
    child: Child,
}

impl Heartbeat {
    /// Starts it. foo0 is preferred at first, and nothing fails back by itself.
    pub(crate) fn start(pair: &Pair, node: Node) -> Self {
        assert!(
            std::path::Path::new(DAEMON).exists(),
            "package heartbeat is not installed"
        );
        let dir = TempTree::new();
        run_ok("cp", &["-r", "/etc/ha.d", &dir.text("ha.d")]);
        run_ok("cp", &["-a", "/var/lib/heartbeat", &dir.text("lib")]);
        let peer = if node == Foo0 { STANDBY } else { PRIMARY };
        dir.write(
            "ha.d/ha.cf",
            format!(
                "logfile {}\nkeepalive 200ms\ndeadtime 2\nwarntime 1\ninitdead 3\nudpport 6694\n\
                 ucast link0 {peer}\nauto_failback off\ncrm no\nnode foo0 foo1\n",
                dir.text("log")
            ),
        );
        dir.write("ha.d/authkeys", "auth 1\n1 crc\n");
        let keys = dir.path("ha.d/authkeys");
        std::fs::set_permissions(keys, std::fs::Permissions::from_mode(0o600)).unwrap();
        dir.write(
            "ha.d/haresources",
            format!("foo0 IPaddr2::{SERVICE}/24/link0 mirror::/run/hasync.toml\n"),
        );
        symlink(Hasync::program(), dir.path("ha.d/resource.d/mirror")).unwrap();
        let script = format!(
            "set -e\nhostname {}\nmount -t tmpfs none /run\n\
             mkdir -p /run/heartbeat/rsctmp /run/heartbeat/ccm /run/heartbeat/dopd /run/lock\n\
             chown hacluster:haclient /run/heartbeat/*\n\
             cp {} /run/hasync.toml\nmount --bind {} /etc/ha.d\n\
             mount --bind {} /var/lib/heartbeat\n{DAEMON}\n\
             while [ ! -e {} ]; do sleep 0.05; done\n{DAEMON} -k\ntouch {}\nexec sleep 100000\n",
            node.name(),
            pair.path(node, "hasync.toml").display(),
            dir.text("ha.d"),
            dir.text("lib"),
            dir.text("stop"),
            dir.text("stopped"),
        );
        dir.write("start", script);
        let net = pair.net.as_ref().unwrap();
        let launcher = match node {
            Foo0 => net.on_primary(),
            Foo1 => net.on_standby(),
        };
        let child = Command::new(launcher[0])
            .args(&launcher[1..])
            .args(["unshare", "-mupf", "--mount-proc", "--kill-child", "sh"])
            .arg(dir.path("start"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path("errors")).unwrap())
            .spawn()
            .unwrap();
        Self { dir, child }
    }

    /// Asks it to stop; its resources move first.
    pub(crate) fn ask_to_stop(&self) {
        self.dir.write("stop", "");
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.dir.path("stopped").exists()
    }

    /// The node dies at once; what it had configured stays, as with a crash it could.
    pub(crate) fn crash(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it said, for a test that fails.
    pub(crate) fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.dir.path(name)).unwrap_or_default();
        format!("{}{}", read("log"), read("errors"))
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
