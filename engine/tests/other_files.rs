//! Sources that are not what they were when they were listed, or never what they say: what is
//! published has the metadata of the very file or directory that was read, and a file that cannot
//! be had is said to be that, keeps nothing from being deleted and is not sent in vain.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod halves;

use std::fs::{self, File, Metadata, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use halves::{push_some, run, unflushed};
use hasync_engine::Options;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

const USER: u32 = 4242;

/// Does something over and over while it lives.
struct Meanwhile {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meanwhile {
    fn new(mut act: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                act();
            }
        });
        Meanwhile {
            stop,
            thread: Some(thread),
        }
    }

    /// Exchanges two names.
    fn flip(one: PathBuf, other: PathBuf) -> Self {
        Meanwhile::new(move || {
            renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
        })
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

fn make(path: &Path, content: &[u8], owner: u32, mode: u32) {
    fs::write(path, content).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whose it is, and who may read it.
fn access(found: &Metadata) -> (u32, u32, u32) {
    (found.uid(), found.gid(), found.mode() & 0o7777)
}

/// The ways in which content comes to be sent.
fn ways() -> Vec<(&'static str, Options, usize, bool)> {
    let with = |change: fn(&mut Options)| {
        let mut options = unflushed();
        change(&mut options);
        options
    };
    vec![
        ("packed", unflushed(), 1000, false),
        ("as ops", unflushed(), 300_000, false),
        ("replaced", unflushed(), 1000, true),
        ("as a delta", unflushed(), 300_000, true),
        ("as a long delta", unflushed(), 3 << 20, true),
        ("-H", with(|options| options.hard_links = true), 1000, false),
        ("-c", with(|options| options.checksum = true), 1000, false),
        (
            "-c, there",
            with(|options| options.checksum = true),
            1000,
            true,
        ),
        (
            "--atomic",
            with(|options| options.atomic = true),
            1000,
            true,
        ),
    ]
}

#[test]
fn content_has_the_metadata_that_it_was_read_with() {
    if !is_root() {
        return;
    }
    for (way, options, len, is_there) in ways() {
        let temp = tempfile::tempdir().unwrap();
        let (source, target) = (temp.path().join("s"), temp.path().join("t"));
        fs::create_dir(&source).unwrap();
        chown(&source, Some(USER), Some(USER)).unwrap();
        // Other names give the exchange more time.
        for number in 0..300 {
            fs::write(source.join(format!("between {number}")), b"").unwrap();
        }
        make(&source.join("open"), &vec![b'o'; len], USER, 0o644);
        make(&source.join("secret"), &vec![b's'; len], 0, 0o600);
        let old = filetime(1_000_000_000);
        let (mut seen, began) = ([0; 2], Instant::now());
        let flip = Meanwhile::flip(source.join("open"), source.join("secret"));
        while seen.iter().any(|&count| count < 5) && began.elapsed() < Duration::from_secs(5) {
            if is_there {
                fs::create_dir_all(&target).unwrap();
                for name in ["open", "secret"] {
                    make(&target.join(name), &vec![b'x'; len], 0, 0o600);
                    let file = File::options().write(true).open(target.join(name)).unwrap();
                    file.set_modified(old).unwrap();
                }
            }
            push_some(&source, &target, &options);
            for name in ["open", "secret"] {
                let Ok(content) = fs::read(target.join(name)) else {
                    continue;
                };
                let found = access(&fs::metadata(target.join(name)).unwrap());
                let (at, expected) = match content[0] {
                    b's' => (0, (0, 0, 0o600)),
                    b'o' => (1, (USER, USER, 0o644)),
                    // It was vanished in between.
                    _ => continue,
                };
                assert_eq!(found, expected, "{way}: {name} is {:?}", content[0] as char);
                seen[at] += 1;
            }
            fs::remove_dir_all(&target).unwrap();
        }
        drop(flip);
        assert!(seen.iter().all(|&count| count > 0), "{way}: {seen:?}");
    }
}

fn filetime(secs: u64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + Duration::from_secs(secs)
}

/// The directory with the secret in it is closed, and the other one stays open, new or not.
#[test]
fn a_directory_has_the_metadata_that_it_was_read_with() {
    if !is_root() {
        return;
    }
    for is_there in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let (source, target) = (temp.path().join("s"), temp.path().join("t"));
        for (name, owner, mode) in [("open", USER, 0o755), ("closed", 0, 0o700)] {
            fs::create_dir_all(source.join(name)).unwrap();
            for number in 0..20 {
                fs::write(source.join(name).join(format!("{name} {number}")), name).unwrap();
            }
            chown(source.join(name), Some(owner), Some(owner)).unwrap();
            fs::set_permissions(source.join(name), Permissions::from_mode(mode)).unwrap();
        }
        for number in 0..50 {
            fs::create_dir_all(source.join(format!("a {number}/b"))).unwrap();
        }
        let (mut seen, began) = ([0; 2], Instant::now());
        let flip = Meanwhile::flip(source.join("open"), source.join("closed"));
        while seen.iter().any(|&count| count < 10) && began.elapsed() < Duration::from_secs(10) {
            if is_there {
                fs::create_dir_all(target.join("open")).unwrap();
                fs::create_dir_all(target.join("closed")).unwrap();
            }
            push_some(&source, &target, &unflushed());
            for name in ["open", "closed"] {
                let Ok(within) = fs::read_dir(target.join(name)) else {
                    continue;
                };
                let content: Vec<Vec<u8>> = within
                    .map(|file| fs::read(file.unwrap().path()).unwrap())
                    .collect();
                let found = access(&fs::metadata(target.join(name)).unwrap());
                if content.iter().any(|content| content == b"closed") {
                    assert_eq!(found, (0, 0, 0o700), "{name}, there: {is_there}");
                    seen[0] += 1;
                } else if !content.is_empty() {
                    assert_eq!(found, (USER, USER, 0o755), "{name}, there: {is_there}");
                    seen[1] += 1;
                }
            }
            fs::remove_dir_all(&target).unwrap();
        }
        drop(flip);
        assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
    }
}

#[test]
fn a_symlink_leads_where_its_own_inode_says() {
    if !is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    fs::create_dir(&source).unwrap();
    for (name, leads_to, owner) in [("one", "of root", 0), ("other", "of another", USER)] {
        symlink(leads_to, source.join(name)).unwrap();
        std::os::unix::fs::lchown(source.join(name), Some(owner), Some(owner)).unwrap();
    }
    let flip = Meanwhile::flip(source.join("one"), source.join("other"));
    for _ in 0..200 {
        push_some(&source, &target, &unflushed());
        for name in ["one", "other"] {
            let leads_to = fs::read_link(target.join(name)).unwrap();
            let owner = fs::symlink_metadata(target.join(name)).unwrap().uid();
            assert_eq!(leads_to == Path::new("of root"), owner == 0, "{name}");
        }
        fs::remove_dir_all(&target).unwrap();
    }
    drop(flip);
}

#[test]
fn a_file_that_is_replaced_every_ten_milliseconds_arrives() {
    for (way, options, len, is_there) in ways() {
        let temp = tempfile::tempdir().unwrap();
        let (source, target) = (temp.path().join("s"), temp.path().join("t"));
        fs::create_dir(&source).unwrap();
        make(&source.join("file"), &vec![0; len], 0, 0o600);
        if is_there {
            push_some(&source, &target, &options);
        }
        let (at, next) = (source.join("file"), temp.path().join("next"));
        let mut round = 0_u8;
        let replacing = Meanwhile::new(move || {
            round = round.wrapping_add(1);
            let mode = if round.is_multiple_of(2) {
                0o600
            } else {
                0o640
            };
            make(&next, &vec![round; len], 0, mode);
            fs::rename(&next, &at).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        });
        for _ in 0..5 {
            let (summary, log) = push_some(&source, &target, &options);
            assert!(
                !summary.partial && !summary.vanished,
                "{way}: {:?}",
                log.warnings
            );
            let content = fs::read(target.join("file")).unwrap();
            assert!(content.len() == len && content.iter().all(|byte| *byte == content[0]));
            let mode = if content[0] % 2 == 0 { 0o600 } else { 0o640 };
            let found = fs::metadata(target.join("file")).unwrap().mode() & 0o777;
            assert!(
                !is_root() || found == mode,
                "{way}: {found:o} of {}",
                content[0]
            );
        }
        drop(replacing);
    }
}

/// The device is one that can be read without end, and a fifo without a writer is waited for.
#[test]
fn fifos_and_devices_in_the_place_of_files_hold_nothing_up() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    fs::create_dir(&source).unwrap();
    fs::set_permissions(&source, Permissions::from_mode(0o777)).unwrap();
    let mut flips = Vec::new();
    let zero = rustix::fs::makedev(1, 5);
    for (kind, number) in [(FileType::Fifo, 0), (FileType::CharacterDevice, zero)] {
        let [file, other] = ["file", "other"].map(|name| source.join(format!("{name} {kind:?}")));
        fs::write(&file, b"content").unwrap();
        if mknodat(CWD, &other, kind, Mode::RUSR | Mode::WUSR, number).is_ok() {
            flips.push(Meanwhile::flip(file, other));
        }
    }
    for checksum in [false, true] {
        for _ in 0..30 {
            let options = Options {
                checksum,
                ..unflushed()
            };
            let (done, finished) = std::sync::mpsc::channel();
            let (from, to) = (source.clone(), target.clone());
            std::thread::spawn(move || done.send(push_some(&from, &to, &options).0.partial));
            finished.recv_timeout(Duration::from_secs(60)).unwrap();
            fs::remove_dir_all(&target).unwrap();
        }
    }
}

/// What sysfs and proc say of their files' lengths is not so.
#[test]
fn a_length_that_lies_is_said_to_lie() {
    let lying = ["/proc/version", "/proc/self/status", "/sys/kernel/notes"];
    let lying = lying
        .iter()
        .chain(&["/sys/kernel/mm/transparent_hugepage/enabled"]);
    let mut tried = 0;
    for path in lying {
        let Ok(content) = fs::read(path) else {
            continue;
        };
        if content.len() as u64 == fs::metadata(path).unwrap().len() {
            continue;
        }
        tried += 1;
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("t");
        fs::create_dir(&target).unwrap();
        let (result, log) = run(&[(*path).to_owned()], &target, &unflushed());
        assert!(result.unwrap().partial);
        assert_eq!(log.warnings.len(), 1, "{:?}", log.warnings);
        let line = &log.warnings[0];
        assert!(
            line.contains(path) && line.contains("does not have the length"),
            "{line}"
        );
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    }
    assert!(tried > 0);
}

/// A large file is sent once, then there is one line; a small one is not sent at all.
#[test]
fn a_file_that_is_always_rewritten_keeps_nothing_from_being_deleted() {
    for (len, most) in [(1000, 1.0), (32 << 20, 1.5)] {
        let temp = tempfile::tempdir().unwrap();
        let (source, target) = (temp.path().join("s"), temp.path().join("t"));
        fs::create_dir_all(source.join("sub")).unwrap();
        fs::create_dir_all(target.join("sub/old")).unwrap();
        fs::write(target.join("gone"), b"gone").unwrap();
        fs::write(source.join("sub/good"), b"good").unwrap();
        let path = source.join("rewritten");
        let mut noise = vec![0; len];
        let mut random = blake3::Hasher::new().finalize_xof();
        random.fill(&mut noise);
        fs::write(&path, noise).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let rewriting = Meanwhile::new(move || {
            let mut next = [0; 16];
            random.fill(&mut next);
            let at = u64::from(u16::from_le_bytes([next[0], next[1]])) * 512;
            file.write_all_at(&next, at % (len as u64 - 16)).unwrap();
        });
        let (summary, log) = push_some(&source, &target, &unflushed());
        drop(rewriting);
        assert!(!target.join("gone").exists() && !target.join("sub/old").exists());
        assert_eq!(fs::read(target.join("sub/good")).unwrap(), b"good");
        let times = summary.sent_bytes as f64 / len as f64;
        // A small one may be met between two writes.
        if summary.partial || len > 1000 {
            assert_eq!(log.warnings.len(), 1, "{:?}", log.warnings);
            assert!(
                log.warnings[0].contains("keeps changing"),
                "{:?}",
                log.warnings
            );
            assert!(times < most, "{len} sent {times} times");
        }
    }
}

/// A directory that cannot be listed keeps everything, and one line says so and why.
#[test]
fn what_cannot_be_listed_is_said_to_stop_the_deletions() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&target).unwrap();
    fs::write(target.join("extra"), b"").unwrap();
    let missing = temp.path().join("missing");
    let sources = [
        format!("{}/", source.display()),
        missing.display().to_string(),
    ];
    for delete in [true, false] {
        let options = Options {
            delete,
            ..unflushed()
        };
        let (result, log) = run(&sources, &target, &options);
        assert!(result.unwrap().partial && target.join("extra").exists());
        let told = log
            .warnings
            .iter()
            .filter(|line| line.contains("nothing is deleted"));
        assert_eq!(told.count(), usize::from(delete), "{:?}", log.warnings);
        assert_eq!(log.warnings.len(), 1);
    }
}

/// Takes a write lease on a file; gives it up when it is asked to, after `wait` seconds.
struct LeaseHolder(Child);

impl LeaseHolder {
    fn new(path: &Path, wait: f64) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", HOLD_LEASE])
            .arg(path)
            .arg(wait.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        LeaseHolder(child)
    }
}

impl Drop for LeaseHolder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const HOLD_LEASE: &str = r"
import fcntl, os, signal, sys, time
F_SETLEASE = 1024
fd = os.open(sys.argv[1], os.O_RDWR)
def asked(*_):
    time.sleep(float(sys.argv[2]))
    fcntl.fcntl(fd, F_SETLEASE, fcntl.F_UNLCK)
signal.signal(signal.SIGIO, asked)
fcntl.fcntl(fd, F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
while True:
    signal.pause()
";

#[test]
fn a_leased_file_is_waited_for_and_comes_last() {
    for (way, options, len, is_there) in ways() {
        let temp = tempfile::tempdir().unwrap();
        let (source, target) = (temp.path().join("s"), temp.path().join("t"));
        let names = ["", "more/", "new/"].map(|dir| [format!("{dir}free"), format!("{dir}leased")]);
        for name in ["more", "new"] {
            fs::create_dir_all(source.join(name)).unwrap();
        }
        for name in names.as_flattened() {
            fs::write(source.join(name), vec![7; len]).unwrap();
        }
        if is_there {
            push_some(&source, &target, &options);
            for name in names.as_flattened() {
                fs::write(source.join(name), vec![8; len + 100]).unwrap();
            }
        }
        fs::create_dir_all(target.join("extra")).unwrap();
        // Those in new directories are given up one after another, the first of them late.
        let leased = names.each_ref().map(|[_, name]| source.join(name));
        let times = [0.2, 1.0, 0.0];
        let held: Vec<LeaseHolder> = (leased.iter().zip(times))
            .map(|(path, time)| LeaseHolder::new(path, time))
            .collect();
        let (summary, log) = push_some(&source, &target, &options);
        drop(held);
        assert!(!summary.partial, "{way}: {:?}", log.warnings);
        assert!(!target.join("extra").exists(), "{way}");
        for name in names.as_flattened() {
            let same = fs::read(target.join(name)).unwrap() == fs::read(source.join(name)).unwrap();
            assert!(same, "{way}: {name}");
        }
    }
}
