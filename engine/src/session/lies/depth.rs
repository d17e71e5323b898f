//! A sender that goes deep, or wide below something deep: each of its messages is short, and what
//! they would make of the receiver is not. A process of its own plays them, so that it can be seen
//! what memory each takes.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use super::{End, duplex};
use crate::digest::DirDigest;
use crate::entry::{Body, Entry};
use crate::error::{Error, Fault};
use crate::fs::{Listed, Root, remove_tree};
use crate::options::{Compression, Options};
use crate::overlap::Whereabouts;
use crate::path::PATH_LEN_MAX;
use crate::policy::ServePolicy;
use crate::session::serve;
use crate::wire::{DirIndex, FrameWriter, Hello, ToReceiver, preamble};

/// What the receiver may take, with whoever lies to it, in kB.
const MEMORY_MAX_KB: u64 = 160 << 10;

/// The name of new directories in one another, and how many of those a path can hold.
const NAME: &[u8] = &[b'd'; 255];
const LEVELS_MAX: u64 = PATH_LEN_MAX as u64 / 256;

type Lie = Box<dyn Iterator<Item = ToReceiver> + Send>;

fn dir(up: u32, name: &[u8]) -> ToReceiver {
    ToReceiver::Dir {
        skipped: 0,
        up,
        shared: 0,
        rest: name.to_vec(),
        digest: DirDigest::default(),
        complete: true,
    }
}

fn entry(name: &[u8], body: Body, link_to: Option<&[u8]>) -> Entry {
    Entry {
        name: name.to_vec(),
        mode: 0o755,
        body,
        link_to: link_to.map(<[u8]>::to_vec),
        ..Listed::blank().entry
    }
}

fn new_dir(index: DirIndex, parent: DirIndex, name: &[u8], entries: Vec<Entry>) -> ToReceiver {
    ToReceiver::NewDir {
        dir: index,
        parent,
        name: name.to_vec(),
        entries,
        last: true,
    }
}

/// The target, which is empty, lacks a directory.
fn lacks_one() -> Vec<ToReceiver> {
    let entries = ToReceiver::Entries {
        dir: 0,
        entries: vec![entry(NAME, Body::Dir, None)],
        last: true,
        unmatched: Vec::new(),
        matched: [0; 8],
    };
    vec![dir(0, b""), entries, dir(0, NAME)]
}

/// Makes new directories, each in the one before, so many levels deep; `inside` is in the last.
fn chain(levels: u64, inside: Vec<Entry>) -> Lie {
    let link = move |index| {
        let below = vec![entry(NAME, Body::Dir, None)];
        let entries = if index == levels {
            inside.clone()
        } else {
            below
        };
        let done = ToReceiver::NewDirDone { dir: index };
        [new_dir(index, index - 1, NAME, entries), done]
    };
    Box::new(lacks_one().into_iter().chain((1..=levels).flat_map(link)))
}

fn numbered(number: u64, len: usize) -> Vec<u8> {
    format!("{number:0len$}").into_bytes()
}

/// Each lie, and the refusal that it must meet; without one the stream ends before the push does.
fn lies() -> Vec<(&'static str, Option<&'static str>, Lie)> {
    let root = || std::iter::once(dir(0, b""));
    let down = |name: Vec<u8>| root().chain((0..100_000).map(move |_| dir(0, &name)));
    let up_and_down = (1..=300_000_u64).map(|number| match number {
        1..32_000 => dir(0, b"d"),
        number if number % 2 == 0 => dir(2, &[b"e", &*numbered(number, 12)].concat()),
        _ => dir(0, b"d"),
    });
    let wide = (1..=2_000_000).map(|number| dir(u32::from(number > 1), &numbered(number, 200)));
    let many_dirs = |number| entry(&numbered(number, 12), Body::Dir, None);
    let many_links = |number| {
        let body = Body::File { len: 0, sum: None };
        entry(&numbered(number, 12), body, Some(b"f"))
    };
    let fans = (1..2_000_u64).flat_map(move |index| {
        let name = if index == 1 {
            NAME.to_vec()
        } else {
            numbered(0, 200)
        };
        let below = (0..1_000).map(|number| entry(&numbered(number, 200), Body::Dir, None));
        let done = ToReceiver::NewDirDone { dir: index };
        [new_dir(index, index - 1, &name, below.collect()), done]
    });
    let far = vec![b'x'; PATH_LEN_MAX + 1];
    let far_link = entry(b"far", Body::File { len: 0, sum: None }, Some(&far));
    let far_link = ToReceiver::Entries {
        dir: 0,
        entries: vec![far_link],
        last: true,
        unmatched: Vec::new(),
        matched: [0; 8],
    };
    let twice = lacks_one().into_iter().chain([
        new_dir(1, 0, NAME, vec![entry(NAME, Body::Dir, None)]),
        new_dir(2, 1, NAME, Vec::new()),
    ]);
    vec![
        ("levels", Some("PathLen"), Box::new(down(b"d".to_vec()))),
        (
            "long levels",
            Some("PathLen"),
            Box::new(down(vec![b'd'; 255])),
        ),
        (
            "new levels",
            Some("PathLen"),
            chain(LEVELS_MAX + 1, Vec::new()),
        ),
        ("up and down", None, Box::new(root().chain(up_and_down))),
        (
            "siblings",
            Some("TooMuchAwaited"),
            Box::new(root().chain(wide)),
        ),
        (
            "a fan",
            None,
            chain(LEVELS_MAX - 1, (0..10_000).map(many_dirs).collect()),
        ),
        (
            "links",
            None,
            chain(LEVELS_MAX - 1, (0..10_000).map(many_links).collect()),
        ),
        (
            "fans",
            Some("TooMuchAwaited"),
            Box::new(lacks_one().into_iter().chain(fans)),
        ),
        (
            "far link",
            Some("LinkTo"),
            Box::new(root().chain([far_link])),
        ),
        ("new in new", Some("NewDirInNewDir"), Box::new(twice)),
        (
            "order",
            Some("DirOrder"),
            Box::new([dir(0, b""), dir(0, b"d"), dir(1, b"d")].into_iter()),
        ),
    ]
}

/// How a receiver ends that is told all this.
fn told(target: &Path, lie: Lie) -> Result<(), Error> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let hello = Hello {
        options: Options {
            compression: Compression::Never,
            hard_links: true,
            ..Options::archive()
        },
        destination: target.as_os_str().as_encoded_bytes().to_vec(),
        single: false,
        digest_key: [0; 32],
        claim: None,
        whereabouts: Whereabouts::default(),
        readable: crate::namespaces::Namespaces::ALL,
        accounts: Vec::new(),
    };
    std::thread::scope(|scope| {
        let half = scope.spawn(|| {
            let _end = End(&theirs);
            serve(duplex(&theirs), &ServePolicy::default())
        });
        scope.spawn(|| {
            let mut answers = ours.try_clone().unwrap();
            let mut buffer = vec![0; 1 << 16];
            while answers.read(&mut buffer).is_ok_and(|len| len > 0) {}
        });
        let mut writer = FrameWriter::new(Box::new(ours.try_clone().unwrap()));
        writer.raw(&preamble());
        let hello = ToReceiver::Hello(Box::new(hello));
        // It ends early where the receiver does.
        let _ = std::iter::once(hello)
            .chain(lie)
            .try_for_each(|message| writer.put_to_receiver(&message))
            .and_then(|()| writer.flush());
        drop(writer);
        let _ = ours.shutdown(std::net::Shutdown::Write);
        half.join().unwrap()
    })
}

fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    peak.unwrap().trim().parse().unwrap()
}

/// Runs [`depth_is_refused_or_held`] by itself.
#[test]
fn depth_costs_a_receiver_little_memory() {
    let name = format!("{}::depth_is_refused_or_held", module_path!());
    let name = name.split_once("::").unwrap().1;
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", name, "--ignored", "--nocapture"]);
    let output = alone.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let passed = output.status.success() && said.contains("1 passed");
    assert!(passed, "{said}");
}

#[test]
#[ignore = "measures its own process: run by the test above"]
fn depth_is_refused_or_held() {
    for (name, refused, lie) in lies() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let e = told(temp.path(), lie).unwrap_err();
        let peak_kb = peak_kb();
        // The standard library would go down as deep by recursion.
        remove_tree(Root::open(temp.path()).unwrap(), NAME, None).unwrap();
        let met = match &e.fault {
            Fault::Peer(refusal) => Some(refusal.name()),
            _ => None,
        };
        assert_eq!(met, refused, "{name}: {e:?}");
        assert!(peak_kb < MEMORY_MAX_KB, "{name}: {peak_kb} kB");
    }
}
