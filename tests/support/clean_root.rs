//! A host as it is after its installation: a root directory of its own with the system's programs
//! in it, an `/etc`, a home, and a name, in a network namespace. What is typed there finds no key,
//! no configuration and no state.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use super::process::{Finished, Running, run_ok};
use super::{Hasync, TempTree, await_that};

/// What a program sees of the host's system as it is.
const SYSTEM: [&str; 6] = ["bin", "sbin", "lib", "lib64", "dev", "proc"];

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
