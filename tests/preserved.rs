//! Everything that a mirror must preserve, compared entry by entry after one push:
//! kinds, modes, owners, times, names, depth, holes, links, and changes of kind.

use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags};

use crate::support::temptree::name;
use crate::support::{Finished, Hasync, Snapshot, TempTree, need_root};

/// Pushes `source/` to `target` and compares the trees.
#[track_caller]
fn mirror(trees: &TempTree, options: &[&str]) -> Finished {
    let from = trees.contents_of("source");
    let done = Hasync::push(options)
        .arg(from)
        .arg(trees.path("target"))
        .run()
        .expect(0);
    let there = Snapshot::of(&trees.path("target"));
    assert!(
        there.litter().is_empty(),
        "left behind: {:?}",
        there.litter()
    );
    Snapshot::of(&trees.path("source")).assert_same(&there);
    done
}

#[test]
fn every_kind_of_entry() {
    need_root();
    let trees = TempTree::new();
    trees.write("source/file", "data");
    trees.write("source/empty", "");
    trees.mkdir("source/empty-dir");
    trees.symlink("file", "source/link");
    trees.symlink("/no/such/place\n\\#012", "source/dangling");
    trees.fifo("source/fifo");
    trees.socket("source/socket");
    trees.char_device("source/null", 1, 3);
    trees.block_device("source/loop", 7, 4095);
    for (index, entry) in ["file", "link", "dangling", "fifo", "socket", "null", "loop"]
        .iter()
        .enumerate()
    {
        let seconds = 1_400_000_000 + i64::try_from(index).unwrap();
        trees.chown(format!("source/{entry}"), 1, 2);
        trees.mtime(format!("source/{entry}"), seconds, 987_654_321);
    }
    mirror(&trees, &["-a"]);
}

#[test]
fn every_mode_bit_and_owner() {
    need_root();
    let trees = TempTree::new();
    for mode in [
        0o0, 0o400, 0o777, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777, 0o4000,
    ] {
        let file = format!("source/f{mode:o}");
        trees.write(&file, "x");
        trees.chown(&file, 12345, 65534);
        trees.chmod(&file, mode);
        let dir = format!("source/d{mode:o}");
        trees.write(format!("{dir}/inside"), "x");
        trees.chown(&dir, 65534, 23456);
        trees.chmod(&dir, mode);
    }
    mirror(&trees, &["-a"]);
    // The same bits again when only metadata has to change.
    for mode in [0o0, 0o1777, 0o4755, 0o7777] {
        trees.chown(format!("target/f{mode:o}"), 0, 0);
        trees.chmod(format!("target/d{mode:o}"), 0o700);
    }
    mirror(&trees, &["-a"]);
    mirror(&trees, &["-a", "--numeric-ids"]);
}

#[test]
fn names_of_any_bytes() {
    let trees = TempTree::new();
    trees.mkdir("source");
    let mut all: Vec<Vec<u8>> = vec![
        b"new\nline".to_vec(),
        b"\xff\xfe\x80".to_vec(),
        b"esc\x1b[2J".to_vec(),
        b"-rf".to_vec(),
        b" lead and trail ".to_vec(),
        b"back\\slash".to_vec(),
        b"a\\#012b".to_vec(),
        b"$(touch x)`;&|'\"".to_vec(),
        b"*?[a]".to_vec(),
        b"host:name".to_vec(),
        b"...".to_vec(),
        b"\x7f\x01\r\t".to_vec(),
        "日本".as_bytes().to_vec(),
        vec![b'n'; 255],
        vec![0xff; 255],
    ];
    all.extend(
        (1..=255u8)
            .filter(|byte| *byte != b'/' && *byte != b'.')
            .map(|byte| vec![byte]),
    );
    for bytes in &all {
        trees.write(PathBuf::from("source/dir").join(name(bytes)), bytes);
        trees.symlink(name(bytes), PathBuf::from("source").join(name(bytes)));
    }
    let done = mirror(&trees, &["-ai"]);
    let controls = |byte: &u8| *byte < b' ' && *byte != b'\n' && *byte != b'\t';
    assert!(
        !done.stdout.iter().any(controls),
        "control bytes reach the terminal"
    );
    // Each name twice, `./`, `dir/`, and `created directory`.
    assert_eq!(done.lines().len(), 2 * all.len() + 3);
}

#[test]
fn trees_deeper_than_path_max() {
    let trees = TempTree::new();
    let mut dir = rustix::fs::openat(
        CWD,
        trees.mkdir("source"),
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .unwrap();
    let long = std::ffi::OsString::from_vec(vec![b'd'; 250]);
    for _ in 0..40 {
        rustix::fs::mkdirat(&dir, &long, Mode::from_raw_mode(0o755)).unwrap();
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        dir = rustix::fs::openat(&dir, &long, flags, Mode::empty()).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let bottom = rustix::fs::openat(&dir, "bottom", flags, Mode::from_raw_mode(0o640)).unwrap();
    rustix::io::write(&bottom, b"deep").unwrap();
    mirror(&trees, &["-a"]);
    assert!(
        Snapshot::of(&trees.path("target"))
            .entries
            .keys()
            .any(|path| path.len() > 10_000)
    );
    rustix::fs::unlinkat(&dir, "bottom", rustix::fs::AtFlags::empty()).unwrap();
    mirror(&trees, &["-a", "--delete"]);
}

#[test]
fn changes_of_kind_in_every_direction() {
    need_root();
    let kinds = [
        "file", "dir", "full dir", "symlink", "fifo", "socket", "char", "block",
    ];
    let make = |trees: &TempTree, at: &str, kind: &str| match kind {
        "file" => trees.write(at, kind),
        "dir" => drop(trees.mkdir(at)),
        "full dir" => trees.write(format!("{at}/in/side"), kind),
        "symlink" => trees.symlink("elsewhere", at),
        "fifo" => trees.fifo(at),
        "socket" => trees.socket(at),
        "char" => trees.char_device(at, 1, 3),
        _ => trees.block_device(at, 7, 9),
    };
    let trees = TempTree::new();
    trees.write("outside/precious", "must survive");
    for (from, to) in kinds
        .iter()
        .flat_map(|from| kinds.iter().map(move |to| (from, to)))
    {
        trees.mkdir("source");
        trees.mkdir("target");
        make(&trees, &format!("source/{from} {to}").replace(' ', "-"), to);
        make(
            &trees,
            &format!("target/{from} {to}").replace(' ', "-"),
            from,
        );
    }
    trees.symlink(trees.path("outside"), "target/to-outside");
    trees.write("source/to-outside/new", "new");
    mirror(&trees, &["-a", "--delete"]);
    assert_eq!(std::fs::read_dir(trees.path("outside")).unwrap().count(), 1);
}

#[test]
fn hard_links_stay_one_file_with_h_and_only_with_h() {
    let trees = TempTree::new();
    trees.write("source/a/first", "shared");
    trees.mkdir("source/b");
    trees.hard_link("source/a/first", "source/b/second");
    trees.hard_link("source/a/first", "source/third");
    trees.symlink("x", "source/link");
    trees.hard_link("source/link", "source/a/link");
    trees.fifo("source/fifo");
    trees.hard_link("source/fifo", "source/a/fifo");
    mirror(&trees, &["-aH"]);

    // A link that is broken up at the target is joined again, and the other way round.
    std::fs::remove_file(trees.path("target/third")).unwrap();
    trees.write("target/third", "own");
    mirror(&trees, &["-aH"]);
    std::fs::remove_file(trees.path("source/third")).unwrap();
    trees.write("source/third", "separate now");
    mirror(&trees, &["-aH"]);
    trees.write("source/a/first", "both are rewritten");
    mirror(&trees, &["-aH"]);

    let from = trees.contents_of("source");
    Hasync::push(&["-a"])
        .arg(from)
        .arg(trees.path("plain"))
        .run()
        .expect(0);
    assert!(
        Snapshot::of(&trees.path("plain"))
            .entries
            .values()
            .all(|entry| entry.linked_to.is_none())
    );
}

/// The receiver keeps of a directory that long no more than the files whose content is to come.
#[test]
fn linked_files_are_themselves_among_a_thousand_others() {
    let trees = TempTree::new();
    trees.mkdir("source");
    for at in 0..1000 {
        let to = format!("a-target-that-takes-some-memory-{at:050}");
        trees.symlink(to, format!("source/link-{at}"));
        if at % 100 == 50 {
            trees.write(format!("source/link-{at}-file"), format!("content of {at}"));
            trees.hard_link(
                format!("source/link-{at}-file"),
                format!("source/other-{at}"),
            );
            trees.write(format!("source/plain-{at}"), format!("plain {at}"));
        }
    }
    trees.mkdir("target");
    mirror(&trees, &["-aH"]);
}

#[test]
fn holes_take_no_space_with_s() {
    let trees = TempTree::new();
    trees.write("source/sparse", "head");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(trees.path("source/sparse"))
        .unwrap();
    file.set_len(64 << 20).unwrap();
    trees.write("source/written-zeros", vec![0; 8 << 20]);
    mirror(&trees, &["-aS"]);
    for entry in ["target/sparse", "target/written-zeros"] {
        let blocks = std::fs::metadata(trees.path(entry)).unwrap().blocks();
        assert!(blocks * 512 <= 1 << 20, "{entry} takes {blocks} blocks");
    }
    // And when the file exists already, full of data.
    trees.write("target/sparse", vec![7; 64 << 20]);
    mirror(&trees, &["-aS"]);
    let blocks = std::fs::metadata(trees.path("target/sparse"))
        .unwrap()
        .blocks();
    assert!(
        blocks * 512 <= 1 << 20,
        "sparse takes {blocks} blocks over old data"
    );
}

#[test]
fn directory_times_survive_changes_inside() {
    let trees = TempTree::new();
    trees.write("source/dir/sub/file", "1");
    trees.write("source/dir/gone", "1");
    for (dir, nanos) in [
        ("source/dir/sub", 1),
        ("source/dir", 2),
        ("source", 999_999_999),
    ] {
        trees.mtime(dir, 1_234_567_890, nanos);
    }
    mirror(&trees, &["-a"]);
    trees.write("source/dir/sub/file", "22");
    std::fs::remove_file(trees.path("source/dir/gone")).unwrap();
    for (dir, nanos) in [
        ("source/dir/sub", 1),
        ("source/dir", 2),
        ("source", 999_999_999),
    ] {
        trees.mtime(dir, 1_234_567_890, nanos);
    }
    mirror(&trees, &["-a", "--delete"]);
}

#[test]
fn times_far_from_now() {
    let trees = TempTree::new();
    for (index, seconds) in [0, 1, -1, -86_400 * 3650, 2_147_483_648, 4_294_967_296]
        .iter()
        .enumerate()
    {
        let file = format!("source/{index}");
        trees.write(&file, "x");
        trees.mtime(&file, *seconds, 1);
    }
    mirror(&trees, &["-a"]);
}

#[test]
fn large_files_change_in_every_shape() {
    let mut rng = crate::support::Rng::new(7);
    let base = rng.bytes(6 << 20);
    let trees = TempTree::new();
    let shapes: [(&str, Vec<u8>); 8] = [
        ("same", base.clone()),
        ("grown", [&base[..], &rng.bytes(100_000)].concat()),
        ("cut", base[..3_000_001].to_vec()),
        ("inserted", [&rng.bytes(1237), &base[..]].concat()),
        ("page", {
            let mut data = base.clone();
            data[4_000_000..4_008_192].fill(9);
            data
        }),
        ("swapped", [&base[3 << 20..], &base[..3 << 20]].concat()),
        ("zeros", vec![0; 6 << 20]),
        ("other", rng.bytes(6 << 20)),
    ];
    for (shape, data) in &shapes {
        trees.write(format!("target/{shape}"), &base);
        trees.mtime(format!("target/{shape}"), 1_600_000_000, 0);
        trees.write(format!("source/{shape}"), data);
        trees.mtime(format!("source/{shape}"), 1_600_000_001, 0);
    }
    mirror(&trees, &["-a"]);
    for (shape, _) in &shapes {
        trees.write(format!("target/{shape}"), &base);
    }
    mirror(&trees, &["-aW"]);
    for (shape, _) in &shapes {
        trees.write(format!("target/{shape}"), &base);
    }
    let rsh = crate::support::hasync::FakeRsh::plain();
    Hasync::push(&["-a"])
        .args(rsh.options())
        .arg(trees.contents_of("source"))
        .arg(format!("host:{}", trees.text("target")))
        .run()
        .expect(0);
    Snapshot::of(&trees.path("source")).assert_same(&Snapshot::of(&trees.path("target")));
}

/// First files of link groups wait until everything has been compared, whatever they replace.
#[test]
fn first_names_of_links_take_the_place_of_anything() {
    for more in [&["--no-fsync"][..], &["--atomic"]] {
        let trees = TempTree::new();
        for name in ["a", "b", "c", "d", "e"] {
            trees.write(format!("source/dir/{name}"), name);
            trees.mkdir("source/other");
            let [first, other] = ["dir", "other"].map(|dir| format!("source/{dir}/{name}"));
            std::fs::hard_link(trees.path(first), trees.path(other)).unwrap();
        }
        trees.write("target/dir/b/in", "a full directory");
        trees.symlink("nowhere", "target/dir/d");
        trees.write("target/dir/e", "an older file");
        let to = [trees.contents_of("source"), trees.text("target")];
        let done = Hasync::push(&["-aH", "--delete"]).args(more).args(to).run();
        let done = done.expect(0);
        let diff = Snapshot::of(&trees.path("source")).diff(&Snapshot::of(&trees.path("target")));
        assert!(diff.is_empty(), "{more:?} {diff}{done}");
    }
}
