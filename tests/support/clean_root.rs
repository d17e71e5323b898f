//! A host as it is after its installation: a root directory of its own with the system's programs
//! in it, an `/etc`, a home, and a name, in a network namespace. What is typed there finds no key,
//! no configuration and no state.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::netns::NetNs;
use super::process::{Finished, Running, run_ok};
use super::{Hasync, TempTree, await_that};

/// What a program sees of the host's system as it is.
const SYSTEM: [&str; 6] = ["bin", "sbin", "lib", "lib64", "dev", "proc"];

/// The addresses of a pair, as the README gives them.
const ADDRESSES: [&str; 2] = ["10.0.0.1", "10.0.0.2"];

/// An sshd as a distribution starts it.
pub(crate) const SSHD: &str = "ssh-keygen -A >/dev/null\nprintf 'UsePAM no\\nPermitRootLogin \
                               yes\\nSetEnv SHLVL=1\\nSubsystem sftp internal-sftp\\n' \
                               >/etc/ssh/sshd_config\nexec /usr/sbin/sshd -D -e";

/// Two of them, foo0 and foo1, which call each other primary and standby.
pub(crate) struct CleanPair {
    _net: NetNs,
    pub(crate) foo0: CleanRoot,
    pub(crate) foo1: CleanRoot,
}

impl CleanPair {
    /// Boots both; `main` is what runs on each.
    pub(crate) fn boot(main: &str) -> Self {
        let net = NetNs::pair();
        let launchers = [net.on_primary(), net.on_standby()];
        for (launcher, address) in launchers.iter().zip(ADDRESSES) {
            let address = format!("{address}/24");
            let add = ["ip", "addr", "add", &address, "dev", "link0"];
            let words = [&launcher[..], &add].concat();
            run_ok(words[0], &words[1..]);
        }
        let foo0 = CleanRoot::boot(&launchers[0], "foo0", main);
        let foo1 = CleanRoot::boot(&launchers[1], "foo1", main);
        for host in [&foo0, &foo1] {
            host.adds(
                "/etc/hosts",
                "10.0.0.1 primary foo0\n10.0.0.2 standby foo1\n",
            );
        }
        CleanPair {
            _net: net,
            foo0,
            foo1,
        }
    }

    /// The administrator of foo0 may log in on foo1, and has not done so yet.
    pub(crate) fn let_the_administrator_in(&self) {
        let key = "mkdir -pm 700 .ssh && ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519 && \
                   cat .ssh/id_ed25519.pub";
        let key = self.foo0.types(key).expect(0).stdout_text();
        self.foo1.types("mkdir -pm 700 .ssh").expect(0);
        self.foo1.adds("root/.ssh/authorized_keys", &key);
        self.await_sshd();
    }

    /// Both take logins.
    pub(crate) fn await_sshd(&self) {
        for host in [&self.foo0, &self.foo1] {
            await_that("sshd listens", || {
                host.types("ssh-keyscan 127.0.0.1").code == 0
            });
        }
    }
}

/// A running host; gone on drop.
pub(crate) struct CleanRoot {
    dir: TempTree,
    child: Child,
}

impl CleanRoot {
    /// Boots one of this name, under a launcher that puts it into its network. `main` is what runs
    /// there as long as the host does.
    pub(crate) fn boot(launcher: &[&str], name: &str, main: &str) -> Self {
        let dir = TempTree::new();
        for sub in [
            "usr", "etc/ssh", "home", "srv", "var/lib", "var/tmp", "run/sshd", "tmp",
        ] {
            dir.mkdir(sub);
        }
        dir.mkdir("root");
        dir.chmod("root", 0o700);
        dir.chmod("tmp", 0o1777);
        dir.chmod("var/tmp", 0o1777);
        for file in [
            "passwd",
            "group",
            "shadow",
            "gshadow",
            "nsswitch.conf",
            "ld.so.cache",
        ] {
            let from = format!("/etc/{file}");
            if std::path::Path::new(&from).exists() {
                run_ok("cp", &["-p", &from, &dir.text(&format!("etc/{file}"))]);
            }
        }
        dir.write("etc/hosts", "127.0.0.1 localhost\n");
        let root = dir.text("");
        let root = root.trim_end_matches('/');
        let mut script = format!(
            "set -e\nhostname {name}\nmount --rbind /usr {root}/usr\nmount -t tmpfs none \
             {root}/usr/local\nmkdir {root}/usr/local/bin\n"
        );
        for top in SYSTEM {
            let from = std::path::Path::new("/").join(top);
            if let Ok(target) = fs::read_link(&from) {
                std::os::unix::fs::symlink(target, dir.path(top)).unwrap();
            } else if from.exists() {
                dir.mkdir(top);
                script.push_str(&format!("mount --rbind /{top} {root}/{top}\n"));
            }
        }
        dir.write("main", format!("#!/bin/sh\n{main}\n"));
        script.push_str(&format!(
            "touch {root}/booted\nexec chroot {root} sh /main\n"
        ));
        dir.write("boot", script);
        let boot = dir.text("boot");
        let words = [launcher, &["unshare", "-mu", "sh", &boot]].concat();
        let log = fs::File::create(dir.path("log")).unwrap();
        let child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let host = Self { dir, child };
        await_that("the host boots", || host.dir.path("booted").exists());
        host
    }

    /// Puts the program under test where the README puts it.
    pub(crate) fn install(&self) {
        let program = fs::read(Hasync::program()).unwrap();
        let mut copy = self.shell("cat >/usr/local/bin/hasync && chmod 755 /usr/local/bin/hasync");
        let mut child = copy.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&program).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn shell(&self, line: &str) -> Command {
        let id = self.child.id().to_string();
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &id, "-m", "-u", "-n", "-r", "-w", "--"])
            .args(["env", "-i", "HOME=/root", "TERM=dumb"])
            .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["sh", "-c", &format!("cd; {line}")]);
        command
    }

    /// Types a line there.
    #[track_caller]
    pub(crate) fn types(&self, line: &str) -> Finished {
        Running::start(self.shell(line)).finish()
    }

    /// Types a line at a terminal, and answers what is asked.
    #[track_caller]
    pub(crate) fn types_and_answers(&self, line: &str, answers: &str) -> Finished {
        let quoted = line.replace('\'', "'\\''");
        let answers = answers.replace('\n', "\\n");
        self.types(&format!(
            "printf '{answers}' | script -qec '{quoted}' /dev/null"
        ))
    }

    /// What runs there reads its configuration anew.
    pub(crate) fn rereads(&self) {
        let main = Pid::from_child(&self.child);
        kill_process(main, Signal::HUP).unwrap();
    }

    /// Starts something there that goes on.
    pub(crate) fn starts(&self, line: &str) -> Child {
        let mut command = self.shell(&format!("exec {line}"));
        let log = fs::File::create(self.dir.path("server")).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// What that has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.dir.path("server")).unwrap_or_default()
    }

    pub(crate) fn writes(&self, path: &str, text: &str) {
        self.dir.write(path.trim_start_matches('/'), text);
    }

    pub(crate) fn adds(&self, path: &str, text: &str) {
        let path = self.dir.path(path.trim_start_matches('/'));
        let mut file = fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn reads(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.dir.path(path.trim_start_matches('/'))).ok()
    }

    /// The permissions of a file.
    pub(crate) fn mode(&self, path: &str) -> u32 {
        let path = self.dir.path(path.trim_start_matches('/'));
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }
}

impl Drop for CleanRoot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
