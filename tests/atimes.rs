//! `-U`: times of the last access are mirrored, and the source is read without setting them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use filetime::{FileTime, set_symlink_file_times};

use crate::support::{Hasync, TempTree, need_root};

const READ: i64 = 1_300_000_000;
const WRITTEN: i64 = 1_400_000_000;

fn set(path: &Path, read: i64) {
    let (read, written) = (
        FileTime::from_unix_time(read, 5),
        FileTime::from_unix_time(WRITTEN, 0),
    );
    // Not by opening it: a fifo would be waited for.
    set_symlink_file_times(path, read, written).unwrap();
}

fn read(path: &Path) -> (i64, i64) {
    let metadata = path.symlink_metadata().unwrap();
    (metadata.atime(), metadata.atime_nsec())
}

fn scene() -> TempTree {
    let trees = TempTree::new();
    trees.write("s/file", "content");
    trees.write("s/dir/deep", "content");
    trees.write("s/large", "x".repeat(300_000));
    trees.fifo("s/fifo");
    for name in ["file", "dir/deep", "large", "fifo"] {
        set(&trees.path(format!("s/{name}")), READ);
    }
    trees
}

fn lines(trees: &TempTree, options: &[&str]) -> Vec<String> {
    let paths = [trees.contents_of("s"), trees.text("d")];
    let done = Hasync::push(options).arg("-i").args(paths).run().expect(0);
    let lines = done.lines();
    lines
        .iter()
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect()
}

#[test]
fn times_of_access_are_mirrored_and_left_alone() {
    need_root();
    for options in [
        &["-aU"][..],
        &["-aU", "--atomic"],
        &["-aUc"],
        &["-aUW"],
        &["-rlU"],
        &["-aU", "--no-atimes", "-U"],
    ] {
        let trees = scene();
        lines(&trees, options);
        for name in ["file", "dir/deep", "large"] {
            for root in ["s", "d"] {
                let at = trees.path(format!("{root}/{name}"));
                assert_eq!(read(&at), (READ, 5), "{options:?} {root}/{name}");
            }
        }
        if options.contains(&"-rlU") {
            continue;
        }
        assert_eq!(read(&trees.path("d/fifo")), (READ, 5), "{options:?}");
        assert!(lines(&trees, options).is_empty(), "{options:?}");
        // Once read, a file has another, which alone is set.
        set(&trees.path("s/file"), READ + 9);
        set(&trees.path("s/fifo"), READ + 9);
        let found = lines(&trees, options);
        assert_eq!(
            found,
            [".S......u.. fifo", ".f......u.. file"],
            "{options:?}"
        );
        assert_eq!(read(&trees.path("d/file")), (READ + 9, 5));
        assert!(lines(&trees, options).is_empty(), "{options:?}");
    }
}

/// Without the option they are nobody's business, but for what `--open-noatime` leaves.
#[test]
fn without_it_times_of_access_do_not_count() {
    need_root();
    for (options, is_left) in [(&["-a"][..], false), (&["-a", "--open-noatime"], true)] {
        let trees = scene();
        lines(&trees, options);
        let at = trees.path("s/file");
        assert_eq!(read(&at) == (READ, 5), is_left, "{options:?}");
        assert_ne!(read(&trees.path("d/file")), (READ, 5), "{options:?}");
        set(&at, READ + 1);
        assert!(lines(&trees, options).is_empty(), "{options:?}");
    }
}

/// What a file is made from may have names that stay, or be kept.
#[test]
fn to_make_a_file_from_another_is_no_access() {
    need_root();
    for options in [
        &["-a"][..],
        &["-aU"],
        &["-aH", "--atomic"],
        &["-aU", "--size-only"],
        &["-aU", "-b", "--suffix=.old"],
        &["-ac", "--backup-dir=bak"],
    ] {
        let trees = scene();
        trees.write("s/large", "y".repeat(300_001));
        trees.write("d/large", "x".repeat(300_000));
        trees.hard_link("d/large", "d/stays");
        set(&trees.path("d/large"), READ);
        lines(&trees, options);
        assert_eq!(trees.read("d/large"), trees.read("s/large"), "{options:?}");
        for (kept, is_kept) in [
            ("stays", true),
            ("large.old", options.contains(&"-b")),
            ("bak/large", options.contains(&"--backup-dir=bak")),
        ] {
            let at = trees.path(format!("d/{kept}"));
            assert_eq!(at.exists(), is_kept, "{options:?} {kept}");
            if is_kept && !options.contains(&"-ac") {
                assert_eq!(read(&at), (READ, 5), "{options:?} {kept}");
            }
        }
    }
}
