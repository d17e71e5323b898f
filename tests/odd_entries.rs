//! Entries that a sound local file system does not have: damaged times, names that are too long for
//! most, symlinks to nothing. Each costs itself at most, and none ends a push or is sent for ever.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::loopfs::LoopFs;
use crate::support::mounted::Mounted;
use crate::support::process::run_ok;
use crate::support::{Finished, Hasync, TempTree, need_root};

const ODD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/odd/fs.py");

/// The file system that the script serves.
struct OddFs {
    server: Child,
    mounted: String,
}

impl OddFs {
    fn at(dir: &Path) -> Self {
        need_root();
        let mounted = dir.display().to_string();
        let mut server = Command::new("python3")
            .args([ODD, &mounted])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(server.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        assert_eq!(said, "mounted\n");
        OddFs { server, mounted }
    }
}

impl Drop for OddFs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mounted).output();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn push(source: &str, target: &str, more: &[&str]) -> Finished {
    Hasync::push(&["-a", "-i"])
        .args(more)
        .args([source, target])
        .run()
}

#[test]
fn odd_names_and_symlinks_cost_themselves_alone() {
    for more in [&[][..], &["--atomic"], &["--delete"]] {
        let trees = TempTree::new();
        let odd = OddFs::at(&trees.mkdir("source"));
        let (source, target) = (trees.contents_of("source"), trees.text("target"));
        let first = push(&source, &target, more).expect(23);
        for name in ["plain", "twice"] {
            assert_eq!(
                trees.read(format!("target/{name}")),
                trees.read(format!("source/{name}")),
                "{first}"
            );
        }
        let left_out = ["l".repeat(256), "m".repeat(1023), "d".repeat(300)];
        let left_out = left_out.iter().map(String::as_str);
        let said = &first.stderr;
        for name in left_out.chain(["link-to-nothing"]) {
            assert!(said.contains(name), "{name}: {first}");
            assert!(!trees.path(format!("target/{name}")).exists());
        }
        assert!(!said.contains("protocol error"), "{first}");
        let again = push(&source, &target, more).expect(23);
        for name in ["plain", "twice"] {
            assert!(!again.stdout_text().contains(name), "{again}");
        }
        drop(odd);
    }
}

#[test]
fn nanoseconds_that_no_second_has_are_the_last_of_theirs() {
    need_root();
    let trees = TempTree::new();
    let image = trees.text("image");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(16 << 20)
        .unwrap();
    run_ok("mkfs.ext4", &["-q", "-F", &image]);
    let mount = |words: &str| {
        trees.mkdir(words);
        run_ok("mount", &["-o", "loop", &image, &trees.text(words)]);
    };
    mount("source");
    trees.write("source/small", "small");
    trees.write("source/large", [7; 300_000]);
    trees.mkdir("source/dir");
    trees.symlink("small", "source/link");
    run_ok("umount", &[&trees.text("source")]);
    // The upper 30 bits are the nanoseconds: 2^30 - 1 of them.
    for name in ["", "small", "large", "dir", "link"] {
        let request = format!("set_inode_field /{name} mtime_extra 0xfffffffc");
        run_ok("debugfs", &["-w", "-R", &request, &image]);
    }
    mount("source");
    let _unmount = Unmount(trees.text("source"));
    let (source, target) = (trees.contents_of("source"), trees.text("target"));
    for more in [&[][..], &["--atomic"]] {
        push(&source, &target, more).expect(0);
        let again = push(&source, &target, more).expect(0);
        assert_eq!(again.stdout_text(), "", "{again}");
        assert_eq!(trees.read("target/large"), [7; 300_000]);
        std::fs::remove_dir_all(trees.path("target")).unwrap();
    }
}

struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).output();
    }
}

/// An ext2 here keeps whole seconds up to 2038, a tmpfs all there are.
#[test]
fn a_time_in_the_last_second_or_beyond_is_sent_once() {
    let ext2 = LoopFs::new("ext2", 8);
    let trees = TempTree::new();
    let tmpfs = Mounted::at(trees.path("tmpfs"));
    let last = i64::from(i32::MAX);
    for (number, secs) in [last - 1, last, last + 1, -last - 1, -last - 2]
        .into_iter()
        .enumerate()
    {
        for nanos in [0, 1, 999_999_999] {
            let name = format!("source/{number}-{nanos}");
            trees.write(&name, "content");
            trees.mtime(&name, secs, nanos);
        }
    }
    let source = trees.contents_of("source");
    for target in [ext2.path("target"), tmpfs.path().join("target")] {
        let target = target.display().to_string();
        push(&source, &target, &[]).expect(0);
        let again = push(&source, &target, &[]).expect(0);
        assert_eq!(again.stdout_text(), "", "{again}");
    }
}
