//! Lets tests see what a receiver that has been taken over can do: in a build with debug
//! assertions and with `HASYNC_TAKEN_OVER=DIR:PORT:PID`, a receiver that has just been confined
//! tries what an intruder would, against a directory, a listening port and a process outside. What
//! came of it, one line each, is in the file `attempts` in the place that it may write to.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{self as unix, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Gid, Uid, setgid, setuid};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, XattrFlags, openat, setxattr};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities};

use super::landlock::{Place, Reach};

/// An attempt by its name; success is what must not be.
type Attempt<'a> = (&'static str, Box<dyn Fn() -> io::Result<()> + 'a>);

pub(super) fn try_all(places: &[Place]) {
    let home = places
        .iter()
        .find(|place| matches!(place.reach, Reach::Tree | Reach::TreeWithoutDevices));
    let Some(home) = home.map(|place| place.held.as_fd()) else {
        return;
    };
    let Ok(told) = std::env::var("HASYNC_TAKEN_OVER") else {
        return;
    };
    let mut words = told.split(':');
    let outside = PathBuf::from(words.next().unwrap_or_default());
    let mut number = || words.next().and_then(|word| word.parse::<u32>().ok());
    let (port, pid) = (number().unwrap_or(0), number().unwrap_or(0));
    let attempts = [
        files(&outside, home),
        metadata(&outside),
        names(&outside, home),
        others(&outside, port, pid),
        rights(&outside),
    ];
    let mut report = String::new();
    for (name, attempt) in attempts.into_iter().flatten() {
        let came = match attempt() {
            Ok(()) => "done".to_owned(),
            Err(e) => format!("refused: {e}"),
        };
        let _ = writeln!(report, "{name}: {came}");
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = openat(home, "attempts", flags, Mode::RUSR | Mode::WUSR);
    let _ = file.map(|file| io::Write::write_all(&mut File::from(file), report.as_bytes()));
}

fn attempt<'a>(name: &'static str, act: impl Fn() -> io::Result<()> + 'a) -> Attempt<'a> {
    (name, Box::new(act))
}

fn files<'a>(outside: &'a Path, home: BorrowedFd<'a>) -> Vec<Attempt<'a>> {
    let file = outside.join("file");
    let (f1, f2, f3, f4) = (file.clone(), file.clone(), file.clone(), file);
    vec![
        attempt("read", move || File::open(&f1).map(drop)),
        attempt("write", move || {
            OpenOptions::new().write(true).open(&f2).map(drop)
        }),
        attempt("cut off", move || File::create(&f3).map(drop)),
        attempt("make", move || File::create(outside.join("new")).map(drop)),
        attempt("list", move || fs::read_dir(outside).map(drop)),
        attempt("passwords", move || File::open("/etc/shadow").map(drop)),
        attempt("keys", move || {
            OpenOptions::new()
                .append(true)
                .open("/etc/passwd")
                .map(drop)
        }),
        attempt("device", move || File::open("/dev/mem").map(drop)),
        attempt("climb", move || {
            let up = format!("../../../../../../../..{}", f4.display());
            Ok(openat(home, up, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map(drop)?)
        }),
        attempt("through a symlink", move || {
            let _ = rustix::fs::symlinkat(outside.join("file"), home, "way out");
            let way = openat(
                home,
                "way out",
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            );
            Ok(way.map(drop)?)
        }),
    ]
}

fn metadata(outside: &Path) -> Vec<Attempt<'_>> {
    let file = || outside.join("file");
    vec![
        attempt("chmod", move || {
            fs::set_permissions(file(), fs::Permissions::from_mode(0o4777))
        }),
        attempt("chown", move || unix::chown(file(), Some(1), Some(1))),
        attempt("chown the link", move || {
            unix::lchown(outside.join("link"), Some(1), Some(1))
        }),
        attempt("utimes", move || {
            let time = rustix::fs::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            let times = rustix::fs::Timestamps {
                last_access: time,
                last_modification: time,
            };
            Ok(rustix::fs::utimensat(
                CWD,
                file(),
                &times,
                AtFlags::empty(),
            )?)
        }),
        attempt("setxattr", move || {
            Ok(setxattr(file(), "user.hasync", b"x", XattrFlags::empty())?)
        }),
        attempt("chmod a descriptor", move || {
            let held = openat(CWD, file(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
            fs::set_permissions(path, fs::Permissions::from_mode(0o4777))
        }),
        attempt("chown a descriptor", move || {
            let held = openat(CWD, file(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            let owner = Some(rustix::fs::Uid::from_raw(1));
            Ok(rustix::fs::chownat(
                held,
                "",
                owner,
                None,
                AtFlags::EMPTY_PATH,
            )?)
        }),
    ]
}

fn names<'a>(outside: &'a Path, home: BorrowedFd<'a>) -> Vec<Attempt<'a>> {
    vec![
        attempt("unlink", move || fs::remove_file(outside.join("file"))),
        attempt("rmdir", move || fs::remove_dir(outside.join("dir"))),
        attempt("mkdir", move || fs::create_dir(outside.join("new dir"))),
        attempt("symlink", move || {
            unix::symlink("file", outside.join("new link"))
        }),
        attempt("fifo", move || {
            let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::RWXU);
            Ok(rustix::fs::mknodat(
                CWD,
                outside.join("new fifo"),
                kind,
                mode,
                0,
            )?)
        }),
        attempt("link in", move || {
            let flags = AtFlags::empty();
            Ok(rustix::fs::linkat(
                CWD,
                outside.join("file"),
                home,
                "stolen",
                flags,
            )?)
        }),
        attempt("rename in", move || {
            Ok(rustix::fs::renameat(
                CWD,
                outside.join("file"),
                home,
                "stolen",
            )?)
        }),
        attempt("exchange", move || {
            let own = openat(home, "own", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU);
            own?;
            let how = RenameFlags::EXCHANGE;
            Ok(rustix::fs::renameat_with(
                home,
                "own",
                CWD,
                outside.join("file"),
                how,
            )?)
        }),
    ]
}

fn others(outside: &Path, port: u32, pid: u32) -> Vec<Attempt<'_>> {
    let here = std::net::Ipv4Addr::LOCALHOST;
    let of_process = move |name: &str| format!("/proc/{pid}/{name}");
    let open = |path: String| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map(drop)
    };
    vec![
        attempt("TCP connect", move || {
            TcpStream::connect((here, port as u16)).map(drop)
        }),
        attempt("TCP listen", move || TcpListener::bind((here, 0)).map(drop)),
        attempt("UDP", move || UdpSocket::bind((here, 0)).map(drop)),
        attempt("socket connect", move || {
            UnixStream::connect(outside.join("socket")).map(drop)
        }),
        attempt("socket listen", move || {
            UnixListener::bind(outside.join("new socket")).map(drop)
        }),
        attempt("datagrams", move || UnixDatagram::unbound().map(drop)),
        attempt("exec", move || Command::new("/bin/true").status().map(drop)),
        attempt("exec itself", move || {
            Command::new("/proc/self/exe")
                .arg("--version")
                .status()
                .map(drop)
        }),
        attempt("signal", move || {
            let process = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::NotFound)?;
            Ok(kill_process(process, Signal::TERM)?)
        }),
        attempt("signal the parent", move || {
            let process = rustix::process::getppid().ok_or(io::ErrorKind::NotFound)?;
            Ok(kill_process(process, Signal::CONT)?)
        }),
        attempt("memory", move || open(of_process("mem"))),
        attempt("memory of init", move || open("/proc/1/mem".to_owned())),
        attempt("environment", move || {
            File::open(of_process("environ")).map(drop)
        }),
        attempt("through a root", move || {
            File::open(of_process(&format!(
                "root{}",
                outside.join("file").display()
            )))
            .map(drop)
        }),
    ]
}

fn rights(outside: &Path) -> Vec<Attempt<'_>> {
    vec![
        attempt("mount", move || {
            let flags = rustix::mount::MountFlags::empty();
            Ok(rustix::mount::mount(
                "none",
                outside.join("dir"),
                "tmpfs",
                flags,
                None,
            )?)
        }),
        attempt("namespaces", move || {
            #[expect(deprecated, reason = "files are not unshared")]
            Ok(rustix::thread::unshare(UnshareFlags::NEWNS)?)
        }),
        attempt("chroot", move || Ok(rustix::process::chroot(outside)?)),
        attempt("setuid", move || {
            Ok(setuid(Uid::from_raw(u32::from(Uid::current().is_root())))?)
        }),
        attempt("setgid", move || Ok(setgid(Gid::from_raw(1))?)),
        attempt("capset", move || {
            let all = CapabilitySet::all();
            let sets = CapabilitySets {
                effective: all,
                permitted: all,
                inheritable: all,
            };
            Ok(set_capabilities(None, sets)?)
        }),
        attempt("host name", move || {
            Ok(rustix::system::sethostname(b"taken")?)
        }),
        attempt("core pattern", || {
            let mut how = OpenOptions::new();
            how.write(true)
                .open("/proc/sys/kernel/core_pattern")
                .map(drop)
        }),
    ]
}
