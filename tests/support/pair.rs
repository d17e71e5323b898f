//! Two nodes, foo0 and foo1, each with a configuration, a state and trees of its own, that reach
//! each other through a real sshd: in two network namespaces, or side by side on this host.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::hasync::{LAST_GOOD_DIR, RUN_DIR};
use super::netns::{NetNs, PRIMARY, STANDBY};
use super::{Finished, Hasync, Snapshot, Sshd, TempTree};

/// The port of either sshd in its namespace.
const PORT: u16 = 2222;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Foo0,
    Foo1,
}

use Node::{Foo0, Foo1};

impl Node {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Foo0 => "foo0",
            Foo1 => "foo1",
        }
    }

    pub(crate) fn other(self) -> Node {
        match self {
            Foo0 => Foo1,
            Foo1 => Foo0,
        }
    }

    fn address(self) -> &'static str {
        match self {
            Foo0 => PRIMARY,
            Foo1 => STANDBY,
        }
    }
}

/// Both nodes.
pub(crate) struct Pair {
    pub(crate) dir: TempTree,
    /// In namespaces, or `None` side by side.
    pub(crate) net: Option<NetNs>,
    /// One for each node in namespaces, or one for both.
    sshds: Vec<Sshd>,
}

impl Pair {
    /// Side by side. `lines` go into both configurations, before the trees.
    pub(crate) fn here(lines: &str) -> Self {
        let pair = Self {
            dir: TempTree::new(),
            net: None,
            sshds: vec![Sshd::start()],
        };
        pair.configure(lines);
        pair
    }

    /// The same with everything of the standby foo1 in `standby`, such as on a disk of its own.
    pub(crate) fn with_standby_on(standby: &std::path::Path) -> Self {
        let pair = Self {
            dir: TempTree::new(),
            net: None,
            sshds: vec![Sshd::start()],
        };
        std::fs::create_dir(standby).unwrap();
        std::os::unix::fs::symlink(standby, pair.dir.path("foo1")).unwrap();
        pair.configure("");
        pair
    }

    /// In two network namespaces.
    pub(crate) fn in_namespaces(lines: &str) -> Self {
        let net = NetNs::pair();
        let start = |node: Node| {
            let launcher = match node {
                Foo0 => net.on_primary(),
                Foo1 => net.on_standby(),
            };
            Sshd::start_at(&launcher, node.address(), PORT)
        };
        let sshds = vec![start(Foo0), start(Foo1)];
        let pair = Self {
            dir: TempTree::new(),
            net: Some(net),
            sshds,
        };
        pair.configure(lines);
        pair
    }

    /// Writes both configurations anew, with a tree `html` and a group `conf` of `a` and `b`.
    pub(crate) fn configure(&self, lines: &str) {
        for node in [Foo0, Foo1] {
            self.configure_one(node, lines);
        }
    }

    /// Writes one configuration anew.
    pub(crate) fn configure_one(&self, node: Node, lines: &str) {
        let own = |name: &str| self.path(node, name).display().to_string();
        for dir in ["html", "etc", "state"] {
            std::fs::create_dir_all(own(dir)).unwrap();
        }
        let lines = lines.replace("NODE", node.name());
        let text = format!(
            "[node]\nname = \"{}\"\nstate = \"{}\"\n{}{lines}\n\
             [[tree]]\nname = \"html\"\npath = \"{}\"\n\
             [[tree]]\nname = \"conf\"\nfiles = [\"{}\", \"{}\"]\n",
            node.name(),
            own("state"),
            self.peer_section(node),
            own("html"),
            own("etc/a"),
            own("etc/b"),
        );
        std::fs::write(own("hasync.toml"), text).unwrap();
        // What sshd starts on this node: the program with this node's configuration.
        let program = Hasync::program();
        let script = format!(
            "#!/bin/sh\nexport HASYNC_RUN_DIR={}\nexec {} \"$@\" --config {}\n",
            self.run_dir(node).display(),
            program.display(),
            own("hasync.toml")
        );
        std::fs::write(own("hasync"), script).unwrap();
        std::fs::set_permissions(own("hasync"), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn peer_section(&self, node: Node) -> String {
        let peer = node.other();
        let (sshd, host, port) = match (&self.net, &self.sshds[..]) {
            (Some(_), [foo0, foo1]) => {
                let sshd = if peer == Foo0 { foo0 } else { foo1 };
                (sshd, peer.address(), PORT)
            }
            (_, [sshd, ..]) => (sshd, "127.0.0.1", sshd.port()),
            _ => panic!("no sshd"),
        };
        format!(
            "[peer]\nhost = \"{host}\"\nport = {port}\nidentity = \"{}\"\nknown_hosts = \"{}\"\n\
             ssh_config = \"/dev/null\"\nremote_bin = \"{}\"\ntimeout = \"20s\"\n",
            sshd.file("user_key").display(),
            sshd.file("known_hosts").display(),
            self.path(peer, "hasync").display(),
        )
    }

    /// The sshd of a pair side by side.
    pub(crate) fn sshd_id(&self) -> u32 {
        self.sshds.first().unwrap().id()
    }

    /// That sshd, to stop it and start it again.
    pub(crate) fn sshd(&mut self) -> &mut Sshd {
        self.sshds.first_mut().unwrap()
    }

    /// The sshd on one node of a pair in namespaces.
    pub(crate) fn sshd_of(&self, node: Node) -> &Sshd {
        let [foo0, foo1] = &self.sshds[..] else {
            panic!("one sshd for both");
        };
        if node == Foo0 { foo0 } else { foo1 }
    }

    /// Changes one line of a configuration, the one that begins so, in this and every later run.
    pub(crate) fn set(&self, node: Node, key: &str, line: &str) {
        let text = self.read(node, "hasync.toml");
        let old = text.lines().find(|old| old.starts_with(key)).unwrap();
        self.write(node, "hasync.toml", text.replacen(old, line, 1));
    }

    /// The standby keeps so much of the tree's past, as the configuration says it.
    pub(crate) fn keep_undo(&self, undo: &str) {
        let path = self.path(Foo1, "html").display().to_string();
        let lines = format!("path = \"{path}\"\nundo = {{ {undo} }}");
        self.set(Foo1, "path = ", &lines);
    }

    /// Numbers of the generations that the standby keeps of the tree `html`, the last one first.
    pub(crate) fn kept(&self) -> Vec<u64> {
        let told = self.run(Foo1, &["kept", "html"]).expect(0).stdout_text();
        let heads = told
            .lines()
            .filter_map(|line| line.strip_prefix("generation "));
        let numbers = heads.map(|head| head.split(' ').next().unwrap().parse().unwrap());
        numbers.collect()
    }

    /// Something of one node.
    pub(crate) fn path(&self, node: Node, name: &str) -> PathBuf {
        self.dir.path(node.name()).join(name)
    }

    /// Where its state stands for everybody: apart from what a push could touch.
    pub(crate) fn run_dir(&self, node: Node) -> PathBuf {
        self.dir.path(format!("{}-run", node.name()))
    }

    pub(crate) fn write(&self, node: Node, name: &str, data: impl AsRef<[u8]>) {
        let path = self.path(node, name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, data).unwrap();
    }

    pub(crate) fn read(&self, node: Node, name: &str) -> String {
        std::fs::read_to_string(self.path(node, name)).unwrap()
    }

    /// A push from the first node's tree `html` to a path of the other, without the tree's name.
    pub(crate) fn push_without_name(&self, options: &[&str], target: &Path) -> Hasync {
        let config = self.read(Node::Foo0, "hasync.toml");
        let value = |key: &str| {
            let line = config.lines().find(|line| line.starts_with(key)).unwrap();
            let (_, value) = line.split_once(" = ").unwrap();
            value.trim_matches('"').to_owned()
        };
        Hasync::push(options)
            .args(["--ssh-config", "none", "--port", &value("port")])
            .args(["--identity", &value("identity")])
            .args(["--known-hosts", &value("known_hosts")])
            .args(["--remote-bin", &value("remote_bin")])
            .arg(self.path(Node::Foo0, "html/"))
            .arg(format!("127.0.0.1:{}", target.display()))
    }

    /// A command line on one node, with its configuration.
    pub(crate) fn on(&self, node: Node, words: &[&str]) -> Hasync {
        let config = self.path(node, "hasync.toml");
        let hasync = Hasync::new().args(words).arg("--config").arg(config);
        let hasync = hasync
            .env(LAST_GOOD_DIR, self.dir.path("last-good"))
            .env(RUN_DIR, self.run_dir(node));
        match (&self.net, node) {
            (None, _) => hasync,
            (Some(net), Foo0) => hasync.under(&net.on_primary()),
            (Some(net), Foo1) => hasync.under(&net.on_standby()),
        }
    }

    #[track_caller]
    pub(crate) fn run(&self, node: Node, words: &[&str]) -> Finished {
        self.on(node, words).run()
    }

    /// The tree `html` of a node, without what hasync keeps beside it.
    pub(crate) fn html(&self, node: Node) -> Snapshot {
        let mut snapshot = Snapshot::of(&self.path(node, "html"));
        snapshot
            .entries
            .retain(|path, _| !path.starts_with(b".hasync"));
        snapshot
    }

    #[track_caller]
    pub(crate) fn assert_equal(&self) {
        let (here, there) = (self.html(Foo0), self.html(Foo1));
        let names = |snapshot: &Snapshot| snapshot.entries.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&here), names(&there));
        for name in names(&here) {
            let path = |node: Node| {
                let name = String::from_utf8(name.clone()).unwrap();
                self.path(node, "html").join(name)
            };
            if path(Foo0).is_file() {
                let read = |node| std::fs::read(path(node)).unwrap();
                assert_eq!(read(Foo0), read(Foo1), "{}", path(Foo0).display());
            }
        }
        for file in ["etc/a", "etc/b"] {
            assert_eq!(self.read(Foo0, file), self.read(Foo1, file), "{file}");
        }
    }
}
