//! A local user without rights, who owns a part of a tree and plants there what he can: a process
//! of his own does it, so that the kernel lets him do no more than it would anywhere.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::TempTree;
use super::process::run_ok;

/// A number that no account has.
pub(crate) const LOCAL_USER: u32 = 4242;

const AS_HIM: [&str; 5] = [
    "--reuid=4242",
    "--regid=4242",
    "--clear-groups",
    "--pdeathsig=KILL",
    "--",
];

/// A directory of his.
pub(crate) fn home_of_local_user(trees: &TempTree, name: &str) {
    trees.mkdir(name);
    trees.chown(name, LOCAL_USER, LOCAL_USER);
}

/// He makes a symlink.
pub(crate) fn plant(target: &Path, link: &Path) {
    let words = [&target.display().to_string(), &link.display().to_string()];
    let command = [&AS_HIM[..], &["ln", "-s", "-T"]].concat();
    run_ok(
        "setpriv",
        &[&command[..], &words.map(String::as_str)].concat(),
    );
}

/// He exchanges two names, over and over.
pub(crate) struct Flipper(Child);

impl Flipper {
    pub(crate) fn start(one: &Path, other: &Path) -> Self {
        Self::start_as(one, other, "flips")
    }

    /// The same whenever both are there.
    pub(crate) fn start_lurking(one: &Path, other: &Path) -> Self {
        Self::start_as(one, other, "lurks")
    }

    fn start_as(one: &Path, other: &Path, how: &str) -> Self {
        let child = Command::new("setpriv")
            .args(AS_HIM)
            .args(["/usr/bin/python3", "-c", FLIP])
            .args([one, other])
            .arg(how)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut flipper = Self(child);
        // It says so when the first exchange has worked, or when it begins to lurk.
        let mut first = [0];
        flipper
            .0
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        flipper
    }

    /// Ends it, and says how often the names were exchanged.
    pub(crate) fn stop(mut self) -> u64 {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        let mut count = String::new();
        self.0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut count)
            .unwrap();
        assert!(self.0.wait().unwrap().success());
        count.trim().parse().unwrap()
    }
}

impl Drop for Flipper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const FLIP: &str = r#"
import ctypes, errno, os, platform, signal, sys

RENAMEAT2 = {"x86_64": 316, "aarch64": 276}[platform.machine()]
one, other = (os.fsencode(path) for path in sys.argv[1:3])
lurks = sys.argv[3] == "lurks"
libc = ctypes.CDLL(None, use_errno=True)
running = True
def stop(*_):
    global running
    running = False
signal.signal(signal.SIGTERM, stop)
flips = 0
if lurks:
    sys.stdout.write("+")
    sys.stdout.flush()
while running:
    if libc.syscall(RENAMEAT2, -100, one, -100, other, 2) != 0:
        if lurks and ctypes.get_errno() == errno.ENOENT:
            continue
        sys.exit(os.strerror(ctypes.get_errno()))
    flips += 1
    if flips == 1 and not lurks:
        sys.stdout.write("+")
        sys.stdout.flush()
print(flips)
"#;
