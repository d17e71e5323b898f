//! Large files that change in place: what reaches the disk where the file system can share
//! blocks, and how much memory either side takes for a file of many gigabytes.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::loopfs::LoopFs;
use crate::support::temptree::set_mtime;
use crate::support::{Hasync, Rng, TempTree, report, rounds};

const MIB: u64 = 1 << 20;
const PAGE_LEN: u64 = 8 << 10;

/// Rewrites one page in a hundred.
fn rewrite_pages(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    let page_count = file.metadata().unwrap().len() / PAGE_LEN;
    let mut rng = Rng::new(3);
    for _ in 0..page_count / 100 {
        let page = rng.next() % page_count;
        let bytes = rng.bytes(usize::try_from(PAGE_LEN).unwrap());
        file.write_all_at(&bytes, page * PAGE_LEN).unwrap();
    }
}

fn sync(path: &Path) {
    let directory = File::open(path).unwrap();
    rustix::fs::syncfs(&directory).unwrap();
}

#[test]
fn the_disk_is_written_what_changed_where_blocks_can_be_shared() {
    for kind in ["btrfs", "xfs"] {
        let disk = LoopFs::new(kind, 1200);
        let trees = TempTree::new();
        let len = 300 * MIB;
        let basis = Rng::new(1).bytes(usize::try_from(len).unwrap());
        trees.write("source/image", &basis);
        let target = disk.path("target");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("image"), &basis).unwrap();
        rewrite_pages(&trees.path("source/image"));
        set_mtime(&target.join("image"), 1_600_000_000, 0);
        sync(&target);
        let before = disk.written_bytes();
        Hasync::push(&["-a", "--no-whole-file"])
            .arg(trees.contents_of("source"))
            .arg(&target)
            .run()
            .expect(0);
        sync(&target);
        let written = disk.written_bytes() - before;
        assert!(fs::read(target.join("image")).unwrap() == trees.read("source/image"));
        report(&format!(
            "1 % of the pages of {} MiB changed on {kind}: {:.2} % of it written to the device",
            len / MIB,
            written as f64 * 100.0 / len as f64,
        ));
        assert!(written * 100 <= len * 3, "{kind}: {written} of {len} bytes");
    }
}

/// Runs a program under time(1) and tells its peak RSS in MiB.
fn measured(work: &TempTree, name: &str) -> (PathBuf, PathBuf) {
    let (script, report) = (work.path(name), work.path(format!("{name}.rss")));
    let program = Hasync::program();
    let text = format!(
        "#!/bin/sh\nexec /usr/bin/time -f %M -o {} {} \"$@\"\n",
        report.display(),
        program.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    (script, report)
}

#[test]
fn memory_does_not_follow_the_length() {
    let gibibytes = rounds("GiB of a sparse file with scattered changes", 2, 16) as u64;
    let trees = TempTree::new();
    for side in ["source", "target"] {
        trees.mkdir(side);
        let file = File::create(trees.path(side).join("image")).unwrap();
        file.set_len(gibibytes << 30).unwrap();
        for at in (0..gibibytes << 30).step_by(97 << 20) {
            let content = format!("{at}").repeat(1000);
            file.write_all_at(content.as_bytes(), at).unwrap();
            if side == "source" && at % 3 == 0 {
                file.write_all_at(b"changed", at + 5000).unwrap();
            }
        }
    }
    // Times of the same second count as equal.
    set_mtime(&trees.path("target/image"), 1_600_000_000, 0);
    let (near, near_rss) = measured(&trees, "near");
    let (far, far_rss) = measured(&trees, "far");
    let rsh = trees.path("rsh");
    fs::write(
        &rsh,
        "#!/bin/sh\n[ \"$1\" = -l ] && shift 2\nshift\nexec sh -c \"$*\"\n",
    )
    .unwrap();
    fs::set_permissions(&rsh, fs::Permissions::from_mode(0o755)).unwrap();
    let status = Command::new(near)
        .args(["push", "-a", "-e"])
        .arg(&rsh)
        .arg("--remote-bin")
        .arg(far)
        .arg(trees.contents_of("source"))
        .arg(format!("standby:{}", trees.path("target").display()))
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    let (source, target) = (trees.path("source/image"), trees.path("target/image"));
    assert!(
        Command::new("cmp")
            .args([&source, &target])
            .status()
            .unwrap()
            .success()
    );
    assert!(
        fs::metadata(&target).unwrap().blocks() * 512 < 64 * MIB,
        "holes were filled"
    );
    for (side, rss) in [("sender", near_rss), ("receiver", far_rss)] {
        let text = fs::read_to_string(rss).unwrap();
        let kib: u64 = text.lines().last().unwrap().trim().parse().unwrap();
        report(&format!(
            "peak RSS of the {side} for {gibibytes} GiB: {} MiB",
            kib >> 10
        ));
        assert!(kib <= 64 << 10, "{side}: {kib} KiB");
    }
}
