//! A cluster manager on both nodes of a pair in namespaces, as Debian has it: heartbeat 3,
//! keepalived or Pacemaker with corosync. Each node has a host name, a configuration and processes
//! of its own, and hasync as the resource that follows the service address.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::netns::{PRIMARY, STANDBY};
use super::pair::Node::{self, Foo0, Foo1};
use super::pair::Pair;
use super::process::run_ok;
use super::service::SERVICE;
use super::{Finished, Hasync, TempTree};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    /// foo0 is preferred at first; `fails_back`: whenever it is there.
    Heartbeat { fails_back: bool },
    /// The same, by priority.
    Keepalived { fails_back: bool },
    /// Two nodes without quorum and without fencing.
    Pacemaker,
}

use Manager::{Heartbeat, Keepalived, Pacemaker};

/// Its daemons on one node, with the processes of their namespace; gone on drop.
pub(crate) struct Member {
    dir: TempTree,
    child: Child,
}

impl Member {
    pub(crate) fn start(manager: Manager, pair: &Pair, node: Node) -> Self {
        let dir = TempTree::new();
        let (mounts, start, stop) = match manager {
            Heartbeat { fails_back } => heartbeat(&dir, node, fails_back),
            Keepalived { fails_back } => keepalived(&dir, node, fails_back),
            Pacemaker => pacemaker(&dir, node),
        };
        new_boot(pair, node);
        // The process that a drill waits for is the last one to go.
        let script = format!(
            "set -e\nhostname {}\nmount --bind {} /proc/sys/kernel/random/boot_id\n\
             mount -t tmpfs none /run\nmkdir -p /run/lock\ncp {} /run/hasync.toml\n\
             {mounts}{start}\n\
             while [ ! -e {} ]; do sleep 0.05; done\n{stop}\ntouch {}\nexec sleep 100000\n",
            node.name(),
            pair.path(node, "boot_id").display(),
            pair.path(node, "hasync.toml").display(),
            dir.text("stop"),
            dir.text("stopped"),
        );
        dir.write("start", script);
        let net = pair.net.as_ref().unwrap();
        let launcher = match node {
            Foo0 => net.on_primary(),
            Foo1 => net.on_standby(),
        };
        let errors = std::fs::File::create(dir.path("errors")).unwrap();
        let child = Command::new(launcher[0])
            .args(&launcher[1..])
            .args(["unshare", "-muipf", "--mount-proc", "--kill-child", "sh"])
            .arg(dir.path("start"))
            .stdin(Stdio::null())
            .stdout(errors.try_clone().unwrap())
            .stderr(errors)
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

    /// The node dies at once, and its addresses with it.
    pub(crate) fn crash(mut self, pair: &Pair, node: Node) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        pair.serve(node, false);
    }

    /// What it said, for a test that fails.
    pub(crate) fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.dir.path(name)).unwrap_or_default();
        format!("{}{}", read("log"), read("errors"))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The node is in another boot from now on.
fn new_boot(pair: &Pair, node: Node) {
    static LAST: AtomicU32 = AtomicU32::new(1);
    let serial = LAST.fetch_add(1, Ordering::Relaxed);
    let boot = format!("{serial:08x}-0000-4000-8000-000000000000\n");
    pair.write(node, "boot_id", boot);
}

/// Runs hasync in a new boot of a node.
pub(crate) fn in_boot(pair: &Pair, node: Node, words: &[&str]) -> Finished {
    new_boot(pair, node);
    pair.in_its_boot(node, words).run().expect(0)
}

fn needed(program: &str, package: &str) {
    let is_there = std::path::Path::new(program).exists();
    assert!(
        is_there,
        "package {package} is not installed: run tests/run.sh"
    );
}

/// What a manager needs: lines that mount, the line that starts it, the line that stops it.
type Lines = (String, String, String);

fn heartbeat(dir: &TempTree, node: Node, fails_back: bool) -> Lines {
    const DAEMON: &str = "/usr/libexec/heartbeat/heartbeat";
    needed(DAEMON, "heartbeat");
    run_ok("cp", &["-r", "/etc/ha.d", &dir.text("ha.d")]);
    run_ok("cp", &["-a", "/var/lib/heartbeat", &dir.text("lib")]);
    let peer = if node == Foo0 { STANDBY } else { PRIMARY };
    let back = if fails_back { "on" } else { "off" };
    dir.write(
        "ha.d/ha.cf",
        format!(
            "logfile {}\nkeepalive 200ms\ndeadtime 2\nwarntime 1\ninitdead 3\nudpport 6694\n\
             ucast link0 {peer}\nauto_failback {back}\ncrm no\nnode foo0 foo1\n",
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
    let mounts = format!(
        "mkdir -p /run/heartbeat/rsctmp /run/heartbeat/ccm /run/heartbeat/dopd\n\
         chown hacluster:haclient /run/heartbeat/*\nmount --bind {} /etc/ha.d\n\
         mount --bind {} /var/lib/heartbeat\n",
        dir.text("ha.d"),
        dir.text("lib"),
    );
    (mounts, DAEMON.to_owned(), format!("{DAEMON} -k"))
}

/// Its scripts run beside one another, and after the address has moved.
fn keepalived(dir: &TempTree, node: Node, fails_back: bool) -> Lines {
    const DAEMON: &str = "/usr/sbin/keepalived";
    needed(DAEMON, "keepalived");
    let (own, peer, priority) = match node {
        Foo0 => (PRIMARY, STANDBY, 150),
        Foo1 => (STANDBY, PRIMARY, 100),
    };
    let stays = if fails_back { "" } else { "nopreempt\n" };
    let program = Hasync::program().display().to_string();
    let mirror = |verb: &str| format!("\"{program} mirror {verb} --config /run/hasync.toml\"");
    let (start, stop) = (mirror("start"), mirror("stop"));
    dir.write(
        "keepalived.conf",
        format!(
            "global_defs {{\n script_user root\n}}\nvrrp_instance HA {{\n state BACKUP\n {stays} \
             interface link0\n virtual_router_id 51\n priority {priority}\n advert_int 0.2\n \
             unicast_src_ip {own}\n unicast_peer {{\n {peer}\n }}\n virtual_ipaddress {{\n \
             {SERVICE}/24 dev link0\n }}\n notify_master {start}\n notify_backup {stop}\n \
             notify_fault {stop}\n notify_stop {stop}\n}}\n"
        ),
    );
    let start = format!(
        "{DAEMON} -P -n -l -D -f {} -p /run/k.pid -r /run/v.pid >{} 2>&1 &",
        dir.text("keepalived.conf"),
        dir.text("log"),
    );
    let stop = "kill $(cat /run/k.pid); while kill -0 $(cat /run/k.pid) 2>/dev/null; \
                do sleep 0.05; done";
    (String::new(), start, stop.to_owned())
}

fn pacemaker(dir: &TempTree, node: Node) -> Lines {
    needed("/usr/sbin/corosync", "corosync");
    needed("/usr/sbin/pacemakerd", "pacemaker");
    dir.write(
        "etc/corosync.conf",
        format!(
            "totem {{\n version: 2\n cluster_name: ha\n transport: udpu\n token: 1000\n}}\n\
             nodelist {{\n node {{\n ring0_addr: {PRIMARY}\n name: foo0\n nodeid: 1\n }}\n \
             node {{\n ring0_addr: {STANDBY}\n name: foo1\n nodeid: 2\n }}\n}}\n\
             quorum {{\n provider: corosync_votequorum\n two_node: 1\n wait_for_all: 0\n}}\n\
             logging {{\n to_stderr: no\n to_logfile: yes\n logfile: {}\n to_syslog: no\n}}\n",
            dir.text("log")
        ),
    );
    // A resource agent around the verbs; Pacemaker wants 7 for what does not run.
    dir.write(
        "ocf/mirror",
        include_str!("mirror.ocf").replace("HASYNC", &Hasync::program().display().to_string()),
    );
    let agent = dir.path("ocf/mirror");
    std::fs::set_permissions(agent, std::fs::Permissions::from_mode(0o755)).unwrap();
    dir.write(
        "resources.xml",
        include_str!("pacemaker.xml").replace("SERVICE", SERVICE),
    );
    let mounts = format!(
        "mkdir /run/shm\nmount --rbind /dev/shm /run/shm\n\
         for d in /dev/shm /var/lib/corosync /var/lib/pacemaker /var/log; do \
         mount -t tmpfs -o mode=755 none $d; done\n\
         for d in /run/shm/hasync-test-*; do own=/dev/shm/${{d##*/}}; mkdir -p $own; \
         mount --rbind $d $own; done\n\
         mkdir -p /var/log/cluster /var/log/pacemaker /var/lib/pacemaker/cib \
         /var/lib/pacemaker/pengine /var/lib/pacemaker/blackbox /var/lib/pacemaker/cores\n\
         chown -R hacluster:haclient /var/lib/pacemaker /var/log/pacemaker\nchmod 1777 /dev/shm\n\
         mkdir -p /run/resource-agents /run/crm\nchown hacluster:haclient /run/crm\n\
         mount --bind {} /etc/corosync\nmount --bind {} /usr/lib/ocf/resource.d/pacemaker\n",
        dir.text("etc"),
        dir.text("ocf"),
    );
    let join = match node {
        Foo0 => format!(
            "until cibadmin --replace --scope configuration --xml-file {} 2>/dev/null; \
             do sleep 0.1; done\n",
            dir.text("resources.xml")
        ),
        Foo1 => String::new(),
    };
    let start = format!(
        "corosync -f &\nuntil corosync-cfgtool -s >/dev/null 2>&1; do sleep 0.1; done\n\
         pacemakerd &\ndaemon=$!\n{join}"
    );
    (
        mounts,
        start,
        "kill $daemon; wait $daemon || true".to_owned(),
    )
}
