//! `--list-only` shows what rsync shows, and pushes nothing.

use std::process::Command;

use filetime::{FileTime, set_symlink_file_times};

use crate::support::process::Running;
use crate::support::{Hasync, TempTree, need_root, rsync};

fn scene() -> TempTree {
    let trees = TempTree::new();
    trees.write("s/big", vec![b'x'; 123_456]);
    trees.write("s/setuid", "1");
    trees.write("s/dir/in/deep", "12");
    trees.write("s/new\nline", "");
    trees.write("s/skipped.o", "");
    trees.symlink("big", "s/link");
    trees.fifo("s/fifo");
    trees.socket("s/socket");
    trees.char_device("s/null", 1, 3);
    trees.block_device("s/disk", 7, 0);
    for (name, mode) in [
        ("setuid", 0o4711),
        ("dir", 0o1777),
        ("dir/in", 0o700),
        ("fifo", 0o622),
    ] {
        trees.chmod(format!("s/{name}"), mode);
    }
    for entry in walkdir::WalkDir::new(trees.path("s")).contents_first(true) {
        let (path, at) = (entry.unwrap().into_path(), |secs| {
            FileTime::from_unix_time(secs, 0)
        });
        set_symlink_file_times(path, at(1_400_000_000), at(1_500_000_000)).unwrap();
    }
    trees
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_list_is_that_of_rsync() {
    need_root();
    assert!(rsync::is_the_oracle());
    let trees = scene();
    let (contents, dir) = (trees.contents_of("s"), trees.text("s"));
    let files = [
        trees.text("s/big"),
        trees.text("s/link"),
        trees.text("none"),
    ];
    let [contents, dir] = [&contents, &dir].map(std::slice::from_ref);
    for (options, sources) in [
        (&["-a"][..], contents),
        (&["-r"], contents),
        (&[], contents),
        (&["-l"], contents),
        (&["-a"], dir),
        (&[], dir),
        (&["-a", "--no-h"], contents),
        (&["-ah"], contents),
        (&["-ahh"], contents),
        (&["-a", "--exclude=*.o", "--exclude=dir/in"], contents),
        (&["-a", "--chmod=a=,Du+w"], contents),
        (&["-a", "-q"], contents),
        (&["-a", "-i"], contents),
        (&["-aU"], contents),
        (&["-aUU", "-h"], dir),
        (&["-a"], &files),
    ] {
        let mut command = Command::new("rsync");
        command
            .env("TZ", "UTC")
            .arg("--list-only")
            .args(options)
            .args(sources);
        let target = (sources.len() > 1).then(|| trees.text("d"));
        command.args(&target);
        let expected = Running::start(command).finish();
        let list = Hasync::push(&["--list-only"])
            .args(options)
            .args(sources)
            .args(&target);
        let done = list.run();
        assert_eq!(done.code, expected.code, "{options:?} {done}");
        let (ours, theirs) = (done.stdout_text(), expected.stdout_text());
        assert_eq!(sorted(&ours), sorted(&theirs), "{options:?} {sources:?}");
        assert!(!trees.path("d").exists());
    }
}
