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
    /// Two nodes without quorum; `fences`: one that cannot be heard loses its power first.
    Pacemaker { fences: bool },
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
            Pacemaker { fences } => pacemaker(&dir, pair, node, fences),
        };
        new_boot(pair, node);
        // The process that a drill waits for is the last one to go.
        let script = format!(
            "set -e\nhostname {}\nmount --bind {} /proc/sys/kernel/random/boot_id\n\
             mount -t tmpfs none /run\nmkdir -p /run/lock\ncp {} /run/hasync.toml\n\
             export HASYNC_LAST_GOOD_DIR=/run/last-good\n\
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

    /// Whether both nodes are members of one cluster, as this one sees it.
    pub(crate) fn has_joined(&self) -> bool {
        self.dir.path("joined").exists()
    }

    /// Runs a program on the node, among its processes.
    #[track_caller]
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> String {
        let init = self.init().unwrap();
        let inside = ["-t", &init, "-m", "-u", "-i", "-n", "-p", program];
        run_ok("nsenter", &[&inside[..], args].concat())
    }

    /// The first of its processes, if there is one yet.
    fn init(&self) -> Option<String> {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children
            .unwrap()
            .split_whitespace()
            .next()
            .map(str::to_owned)
    }

    /// Whether what the cluster shows has these words.
    pub(crate) fn cluster_says(&self, words: &str) -> bool {
        let shown = |_| self.run("sh", &["-c", "crm_mon -1A 2>&1 || true"]);
        self.init()
            .map(shown)
            .is_some_and(|shown| shown.contains(words))
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

/// As the example has it: the service of hasync beside it, which is there before and after it.
fn keepalived(dir: &TempTree, node: Node, fails_back: bool) -> Lines {
    const DAEMON: &str = "/usr/sbin/keepalived";
    needed(DAEMON, "keepalived");
    let (own, peer, priority) = match node {
        Foo0 => (PRIMARY, STANDBY, "150"),
        Foo1 => (STANDBY, PRIMARY, "100"),
    };
    let program = Hasync::program().display().to_string();
    let mut config = example("keepalived.conf");
    for (from, to) in [
        (
            "10.0.0.100/24 dev eth0",
            &*format!("{SERVICE}/24 dev link0"),
        ),
        ("interface eth1", "interface link0"),
        ("unicast_src_ip 10.0.0.1", &format!("unicast_src_ip {own}")),
        ("        10.0.0.2", &format!("        {peer}")),
        ("priority 150", &format!("priority {priority}")),
        (
            "    nopreempt\n",
            if fails_back { "" } else { "    nopreempt\n" },
        ),
        // It stands in a directory of the build, which others may write.
        ("    enable_script_security\n", ""),
        (
            "/usr/local/bin/hasync check",
            &format!("{program} check --config /run/hasync.toml"),
        ),
    ] {
        assert!(config.contains(from), "{from}");
        config = config.replace(from, to);
    }
    dir.write("keepalived.conf", config);
    let unit = example("hasync-keepalived.service");
    let service = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/hasync "));
    let start = format!(
        "{program} {} --config /run/hasync.toml >>{} 2>&1 &\nservice=$!\n\
         echo 'rm -f /run/*.pid; {DAEMON} -P -n -l -D -f {} -p /run/k.pid -r /run/v.pid \
         >>{} 2>&1 &' >/run/again\nsh /run/again",
        service.unwrap(),
        dir.text("errors"),
        dir.text("keepalived.conf"),
        dir.text("log"),
    );
    let stop = "kill $(cat /run/k.pid); while kill -0 $(cat /run/k.pid) 2>/dev/null; \
                do sleep 0.05; done\nkill $service; wait $service || true";
    (String::new(), start, stop.to_owned())
}

fn example(name: &str) -> String {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cli/examples");
    std::fs::read_to_string(dir.join(name)).unwrap()
}

/// As the example has it, with shorter intervals.
fn resources(pair: &Pair, fences: bool) -> String {
    let mut text = example("pacemaker.xml");
    for (from, to) in [
        ("10.0.0.100", SERVICE),
        ("value=\"eth0\"", "value=\"link0\""),
        ("/etc/hasync/hasync.toml", "/run/hasync.toml"),
        ("interval=\"10s\"", "interval=\"2s\""),
        ("interval=\"11s\"", "interval=\"3s\""),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let fencing = "name=\"stonith-enabled\" value=\"true\"/>";
    assert!(text.contains(fencing));
    // Both go on when they cannot hear each other: fencing decides, or nothing does.
    let quorum = "<nvpair id=\"quorum\" name=\"no-quorum-policy\" value=\"ignore\"/>";
    text = text.replace(
        fencing,
        &format!("name=\"stonith-enabled\" value=\"{fences}\"/>{quorum}"),
    );
    if fences {
        let device = |id: u8| {
            let op = format!("<op id=\"power{id}-m\" name=\"monitor\" interval=\"0\"/>");
            let hosts =
                format!("<nvpair id=\"power{id}-h\" name=\"pcmk_host_list\" value=\"foo{id}\"/>");
            format!(
                "<primitive id=\"power{id}\" class=\"stonith\" type=\"fence_netns\">\
                 <instance_attributes id=\"power{id}-a\">{hosts}</instance_attributes>\
                 <operations>{op}</operations></primitive>"
            )
        };
        let devices = format!("{}{}</resources>", device(0), device(1));
        text = text.replace("</resources>", &devices);
        let script = include_str!("fence_netns").replace("ASKS", &pair.dir.text("power"));
        pair.dir.mkdir("power");
        pair.dir.write("sbin/fence_netns", script);
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(pair.dir.path("sbin/fence_netns"), mode).unwrap();
    }
    text
}

fn pacemaker(dir: &TempTree, pair: &Pair, node: Node, fences: bool) -> Lines {
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
    for provider in ["heartbeat", "pacemaker"] {
        dir.mkdir(format!("ocf/{provider}"));
    }
    dir.mkdir("ocf/hasync");
    symlink(Hasync::program(), dir.path("ocf/hasync/mirror")).unwrap();
    dir.write("resources.xml", resources(pair, fences));
    // Directories of other tests come and go meanwhile.
    let mounts = format!(
        "mkdir /run/shm\nmount --rbind /dev/shm /run/shm\n\
         for d in /dev/shm /var/lib/corosync /var/lib/pacemaker /var/log; do \
         mount -t tmpfs -o mode=755 none $d; done\n\
         for d in /run/shm/hasync-test-*; do own=/dev/shm/${{d##*/}}; mkdir -p $own; \
         mount --rbind $d $own || rmdir $own; done\n\
         mkdir -p /var/log/cluster /var/log/pacemaker /var/lib/pacemaker/cib \
         /var/lib/pacemaker/pengine /var/lib/pacemaker/blackbox /var/lib/pacemaker/cores\n\
         mount --bind {2} /var/lib/pacemaker/cib\n\
         chown -R hacluster:haclient /var/lib/pacemaker /var/log/pacemaker\nchmod 1777 /dev/shm\n\
         mkdir -p /run/resource-agents /run/crm\nchown hacluster:haclient /run/crm\n\
         mount --bind {0} /etc/corosync\nocf=/usr/lib/ocf/resource.d\n\
         for d in heartbeat pacemaker; do mount --bind $ocf/$d {1}/$d; done\n\
         mount --rbind {1} $ocf\n",
        dir.text("etc"),
        dir.text("ocf"),
        // What the cluster is configured to outlives a boot.
        pair.dir.mkdir(format!("cib-{}", node.name())).display(),
    );
    let sbin = match fences {
        true => format!(
            "mount -t overlay none -o lowerdir={}:/usr/sbin /usr/sbin\n",
            pair.dir.text("sbin")
        ),
        false => String::new(),
    };
    // Once, when both are there: a node that joins later takes what the other has.
    let is_first = node == Foo0 && !pair.dir.path("configured").exists();
    pair.dir.write("configured", "");
    let configure = match is_first {
        true => format!(
            "until cibadmin --replace --scope configuration --xml-file {}; do sleep 0.1; done\n",
            dir.text("resources.xml")
        ),
        false => String::new(),
    };
    let start = format!(
        "corosync -f &\nuntil corosync-cfgtool -s >/dev/null 2>&1; do sleep 0.1; done\n\
         pacemakerd &\ndaemon=$!\n\
         (until [ \"$(crm_node -p 2>/dev/null | wc -w)\" = 2 ]; do sleep 0.2; done\n\
         {configure}touch {}) &",
        dir.text("joined")
    );
    (
        format!("{mounts}{sbin}"),
        start,
        "kill $daemon; wait $daemon || true".to_owned(),
    )
}
