//! Lets tests see what a receiver that has been taken over can do: in a build with debug
//! assertions and with `HASYNC_TAKEN_OVER=DIR:PORT:PID`, a receiver that has just been confined
//! tries what an intruder would, against a directory, a listening port and a process outside. What
//! came of it, one line each, is in the file `attempts` in the place that it may write to.

use std::ffi::{CStr, CString};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{self as unix, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use hasync_engine::{Attrs, ByName, Inode, Time};
use nix::unistd::{Gid, Uid, setgid, setuid};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags, chownat, fchmod,
    fsetxattr, futimens, lremovexattr, lsetxattr, openat, removexattr, setxattr, utimensat,
};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, Signal, kill_process, pidfd_getfd,
    pidfd_open, pidfd_send_signal, prlimit, setpriority_process,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, sched_getaffinity, sched_setaffinity,
    set_capabilities,
};

use super::landlock::Place;
use crate::serve::helper::Helper;

/// An attempt by its name; success is what must not be.
type Attempt<'a> = (&'static str, Box<dyn Fn() -> io::Result<()> + 'a>);

pub(super) fn try_all(places: &[Place], helper: &Helper) {
    let home = places.iter().find(|place| place.reach.is_tree());
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
        metadata_of_held(&outside),
        by_the_helper(&outside, home, helper),
        names(&outside, home),
        others(&outside, port, pid),
        processes(pid),
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
        attempt("keys of the clients", || {
            let mut words = std::env::args_os();
            let _ = words.find(|word| word == "--authorized-keys");
            File::open(words.next().ok_or(io::ErrorKind::NotFound)?).map(drop)
        }),
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
    let link = || outside.join("link");
    let flags = XattrFlags::empty();
    vec![
        attempt("chmod", move || fs::set_permissions(file(), setuid_mode())),
        attempt("chown", move || unix::chown(file(), Some(1), Some(1))),
        attempt("chown the link", move || {
            unix::lchown(link(), Some(1), Some(1))
        }),
        attempt("utimes", move || {
            Ok(utimensat(CWD, file(), &A_TIME, AtFlags::empty())?)
        }),
        attempt("utimes of the link", move || {
            Ok(utimensat(CWD, link(), &A_TIME, AtFlags::SYMLINK_NOFOLLOW)?)
        }),
        attempt("setxattr", move || {
            Ok(setxattr(file(), "user.hasync", b"x", flags)?)
        }),
        attempt("setxattr of the directory", move || {
            Ok(lsetxattr(outside, "user.hasync", b"x", flags)?)
        }),
        attempt("setxattr of the link", move || {
            Ok(lsetxattr(link(), "security.hasync", b"x", flags)?)
        }),
        attempt("chmod of a directory that is opened", move || {
            File::open(outside.join("dir"))?.set_permissions(setuid_mode())
        }),
        attempt("removexattr", move || Ok(removexattr(file(), "user.kept")?)),
        attempt("removexattr, not following", move || {
            Ok(lremovexattr(file(), "user.kept")?)
        }),
    ]
}

/// Anything can be held without a right to it.
fn metadata_of_held(outside: &Path) -> Vec<Attempt<'_>> {
    let held = move || {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        openat(CWD, outside.join("file"), flags, Mode::empty())
    };
    let through_proc = |held: &OwnedFd| format!("/proc/self/fd/{}", held.as_raw_fd());
    let owner = Some(rustix::fs::Uid::from_raw(1));
    vec![
        attempt("chmod a descriptor", move || {
            Ok(fchmod(held()?, Mode::RWXU)?)
        }),
        attempt("chmod a descriptor through /proc", move || {
            fs::set_permissions(through_proc(&held()?), setuid_mode())
        }),
        attempt("chown a descriptor", move || {
            Ok(chownat(held()?, "", owner, None, AtFlags::EMPTY_PATH)?)
        }),
        attempt("chown a descriptor itself", move || {
            Ok(rustix::fs::fchown(held()?, owner, None)?)
        }),
        attempt("chown a descriptor through /proc", move || {
            unix::chown(through_proc(&held()?), Some(1), Some(1))
        }),
        attempt("utimes of a descriptor", move || {
            Ok(utimensat(held()?, "", &A_TIME, AtFlags::EMPTY_PATH)?)
        }),
        attempt("utimes of a descriptor itself", move || {
            Ok(futimens(held()?, &A_TIME)?)
        }),
        attempt("utimes of a descriptor through /proc", move || {
            let path = through_proc(&held()?);
            Ok(utimensat(CWD, path, &A_TIME, AtFlags::empty())?)
        }),
        attempt("setxattr of a descriptor", move || {
            let (name, flags) = ("user.hasync", XattrFlags::empty());
            Ok(fsetxattr(held()?, name, b"x", flags)?)
        }),
        attempt("setxattr of a descriptor through /proc", move || {
            let (path, flags) = (through_proc(&held()?), XattrFlags::empty());
            Ok(setxattr(path, "user.hasync", b"x", flags)?)
        }),
    ]
}

/// The helper does by name what the receiver cannot.
fn by_the_helper<'a>(
    outside: &'a Path,
    home: BorrowedFd<'a>,
    helper: &'a Helper,
) -> Vec<Attempt<'a>> {
    let held = |dir: BorrowedFd<'_>, path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(dir, path, flags, Mode::empty())
    };
    let ask = move |dir: BorrowedFd<'_>, path: &Path, name: &CStr| {
        let dir = held(dir, path)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let judged = Inode::held(openat(&dir, name, flags, Mode::empty())?)?;
        helper.set_attrs(dir.as_fd(), name, &judged, &everything())
    };
    let climbing = || {
        let path = format!("../../../../../../../..{}/file", outside.display());
        CString::new(path).unwrap_or_default()
    };
    vec![
        attempt("ask for a file", move || ask(CWD, outside, c"file")),
        attempt("ask for a link", move || ask(CWD, outside, c"link")),
        attempt("ask for a directory", move || ask(CWD, outside, c"dir")),
        attempt("ask by a file", move || {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let file = openat(CWD, outside.join("file"), flags, Mode::empty())?;
            helper.set_attrs(file.as_fd(), c"", &Inode::held(&file)?, &everything())
        }),
        attempt("ask for what is above", move || {
            ask(home, Path::new("."), c"..")
        }),
        attempt("ask for the home itself", move || {
            ask(home, Path::new("."), c".")
        }),
        attempt("ask by what is above", move || {
            ask(home, Path::new(".."), c"hasync")
        }),
        attempt("ask for a path", move || {
            ask(home, Path::new("."), &climbing())
        }),
        attempt("ask for an absolute path", move || {
            let path = CString::new(outside.join("file").into_os_string().into_vec())?;
            ask(home, Path::new("."), &path)
        }),
        attempt("ask through a symlink", move || {
            let _ = rustix::fs::symlinkat(outside, home, "way to ask");
            ask(home, Path::new("way to ask"), c"file")
        }),
        attempt("ask for what a symlink leads to", move || {
            let _ = rustix::fs::symlinkat(outside.join("file"), home, "way to ask for");
            ask(home, Path::new("."), c"way to ask for")
        }),
        attempt("name another place", move || {
            helper.settle([held(CWD, outside)?.as_fd()].into_iter());
            ask(CWD, outside, c"file")
        }),
    ]
}

fn everything() -> Attrs {
    Attrs {
        uid: Some(1),
        gid: Some(1),
        mode: Some(0o777),
        mtime: Some(Time { secs: 1, nanos: 0 }),
        atime: None,
        attributes: None,
    }
}

fn setuid_mode() -> fs::Permissions {
    fs::Permissions::from_mode(0o4777)
}

const A_TIME: Timestamps = Timestamps {
    last_access: SECOND,
    last_modification: SECOND,
};
const SECOND: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

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

/// What a process of the same user can be done without a file of its own.
fn processes(pid: u32) -> Vec<Attempt<'static>> {
    let process = move || Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::NotFound);
    let held = move || io::Result::Ok(pidfd_open(process()?, PidfdFlags::empty())?);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    vec![
        attempt("limit", move || {
            Ok(prlimit(Some(process()?), Resource::Core, none).map(drop)?)
        }),
        attempt("limit init", move || {
            Ok(prlimit(Some(Pid::INIT), Resource::Core, none).map(drop)?)
        }),
        attempt("priority", move || {
            Ok(setpriority_process(Some(process()?), 19)?)
        }),
        attempt("processors", move || {
            let all = sched_getaffinity(Some(process()?))?;
            Ok(sched_setaffinity(Some(process()?), &all)?)
        }),
        attempt("signal a descriptor", move || {
            Ok(pidfd_send_signal(held()?, Signal::TERM)?)
        }),
        attempt("descriptor", move || {
            Ok(pidfd_getfd(held()?, 0, PidfdGetfdFlags::empty()).map(drop)?)
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
