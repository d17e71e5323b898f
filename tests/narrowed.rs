//! By no option of a push does a key that is narrowed get what it may not: programs that lend
//! rights, devices, names removed.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::keys::{Push, confined_to};
use crate::support::{TempTree, need_root};

/// Pushes with a key that is bound to `hasync serve` with these options.
fn by_key(options: &str) -> Push {
    confined_to(options).swap_remove(1).1
}

/// What there is below a directory.
fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = WalkDir::new(dir).sort_by_file_name().into_iter();
    entries.map(|entry| entry.unwrap().into_path()).collect()
}

const NONE: [PathBuf; 0] = [];

/// Names in the target that lend their owner's rights to whoever runs them.
fn lending(target: &Path) -> Vec<PathBuf> {
    let mut buffer = [0; 64];
    let mut lends = |path: &Path| {
        let found = std::fs::symlink_metadata(path).unwrap();
        let has_bits = found.is_file() && found.permissions().mode() & 0o6000 != 0;
        has_bits || rustix::fs::lgetxattr(path, "security.capability", &mut buffer).is_ok()
    };
    below(target)
        .into_iter()
        .filter(|path| lends(path))
        .collect()
}

#[test]
fn by_no_option_does_a_file_come_to_lend_rights() {
    need_root();
    let push = by_key("--no-setuid");
    for options in [
        &["-aX"][..],
        &["-aAXH"],
        &["-aXc"],
        &["-aX", "--super"],
        &["-a", "--chmod=u+s,g+s"],
        &["-rlE", "--chmod=Fu+s"],
        &["-rlE"],
        &["-rlX"],
        &["-aXb", "--backup-dir=old"],
        &["-aX", "--usermap=0:1"],
        &["-aX", "--chown=1:1"],
        &["-aX", "--atomic"],
        &["-aX", "--size-only"],
        &["-aX", "--delete"],
    ] {
        let trees = TempTree::new();
        let target = trees.path("target");
        for (name, mode) in [("suid", 0o4755), ("sgid", 0o2755), ("cap", 0o755)] {
            trees.write(format!("source/{name}"), name);
            trees.chmod(format!("source/{name}"), mode);
        }
        trees.hard_link("source/suid", "source/twin");
        // cap_setuid, permitted and effective.
        let mut bytes = [0; 20];
        bytes[..5].copy_from_slice(&[1, 0, 0, 2, 0x80]);
        let flags = rustix::fs::XattrFlags::empty();
        let give = |name: &str| {
            let path = trees.path(name);
            rustix::fs::setxattr(path, "security.capability", &bytes, flags).unwrap();
        };
        give("source/cap");
        push(options, &trees.contents_of("source"), &target).run();
        assert_eq!(lending(&target), NONE, "{options:?}");
        // Those that were there lose it with another content or owner.
        for name in ["suid", "sgid", "cap"] {
            trees.write(format!("target/{name}"), "older content");
            trees.chown(format!("target/{name}"), 7, 7);
            trees.chmod(format!("target/{name}"), 0o6755);
            give(&format!("target/{name}"));
        }
        push(options, &trees.contents_of("source"), &target).run();
        let mut left = lending(&target);
        left.retain(|path| !path.starts_with(target.join("old")));
        assert_eq!(left, NONE, "{options:?}");
    }
}

#[test]
fn by_no_option_is_a_device_made() {
    need_root();
    let push = by_key("--no-devices");
    for options in [
        &["-aH"][..],
        &["-aHX", "--super"],
        &["-rD"],
        &["-rL", "--devices"],
        &["-a", "--copy-unsafe-links"],
        &["-a", "--atomic"],
        &["-aK", "--force"],
        &["-ab", "--backup-dir=old"],
        &["-a", "--chmod=a+rwx"],
    ] {
        let trees = TempTree::new();
        trees.write("source/dir/file", "f");
        trees.char_device("source/one", 1, 3);
        trees.hard_link("source/one", "source/two");
        trees.block_device("source/dir/disk", 7, 7);
        trees.symlink("../../source/one", "source/dir/link");
        trees.symlink("/dev/null", "source/null");
        trees.write("target/one", "no device");
        let done = push(options, &trees.contents_of("source"), &trees.path("target")).run();
        let has_arrived = trees.path("target/dir/file").exists();
        assert!(has_arrived, "{options:?}\n{done}");
        let mut made = below(&trees.path("target"));
        made.retain(|path| {
            let kind = std::fs::symlink_metadata(path).unwrap().file_type();
            kind.is_char_device() || kind.is_block_device()
        });
        assert_eq!(made, NONE, "{options:?}");
    }
}

#[test]
fn by_no_option_is_a_name_removed() {
    let push = by_key("--no-delete");
    for (options, is_refused) in [
        (&["-a", "--delete"][..], true),
        (&["-a", "--delete-before"], true),
        (&["-a", "--del"], true),
        (&["-a", "--delete-excluded", "--exclude=x"], true),
        (&["-a", "--delete", "--ignore-errors"], true),
        (&["-a", "--delete", "--max-delete=0"], true),
        (&["-a", "--force"], true),
        (&["-aR", "--delete-missing-args"], true),
        (
            &["-a", "--delete-missing-args", "--ignore-missing-args"],
            true,
        ),
        (&["-a"], false),
        (&["-a", "--atomic"], false),
        (&["-aK"], false),
        (&["-ab"], false),
        (&["-ab", "--suffix=d"], false),
        (&["-ab", "--backup-dir=full"], false),
        (&["-a", "--existing"], false),
        (&["-a", "--ignore-missing-args"], false),
        (&["-a", "--exclude=*"], false),
        (&["-a", "--filter=R in"], false),
        (&["-am"], false),
    ] {
        let trees = TempTree::new();
        for name in [
            "source/f",
            "source/full",
            "source/link/g",
            "target/f",
            "target/old",
        ] {
            trees.write(name, name);
        }
        trees.write("target/full/in", "in");
        trees.write("target/real/g", "old");
        trees.mkdir("source/old");
        trees.symlink("real", "target/link");
        let mut before = below(&trees.path("target"));
        let mut source = trees.contents_of("source");
        if options.contains(&"--delete-missing-args") {
            source.push_str("no");
        }
        let done = push(options, &source, &trees.path("target")).run();
        let codes: &[i32] = if is_refused { &[1] } else { &[0, 23] };
        assert!(codes.contains(&done.code), "{options:?}\n{done}");
        let after = below(&trees.path("target"));
        before.retain(|path| !after.contains(path));
        assert_eq!(before, NONE, "{options:?}\n{done}");
    }
}
