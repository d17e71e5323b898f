//! Default ACLs of the target's directories: what is made in a directory gets that one's, as if
//! it had been made in place, and never another's by way of the staging.

use std::process::Command;

use crate::support::hasync::FakeRsh;
use crate::support::process::{Running, run_ok};
use crate::support::{Hasync, TempTree, rsync};

/// The ACL of every entry of a tree, in order.
fn acls(trees: &TempTree) -> Vec<String> {
    let mut command = Command::new("getfacl");
    command.current_dir(trees.path("target")).args(["-Rn", "."]);
    let done = Running::start(command).finish().expect(0);
    let text = done.stdout_text();
    let mut entries: Vec<String> = text.split("\n\n").map(str::to_owned).collect();
    entries.sort();
    entries
}

fn make_target(trees: &TempTree) {
    trees.write("target/replaced", "old");
    trees.write("target/sub/replaced", "old");
    trees.write("target/plain/replaced", "old");
    trees.write("target/open/replaced", "old");
    trees.mkdir("target/setgid");
    trees.chown("target/setgid", 0, 7);
    trees.chmod("target/setgid", 0o2755);
    for (dir, acl) in [
        ("target", "d:u:1:rwx"),
        ("target/sub", "d:u:2:rw,d:g:3:r"),
        ("target/open", "d:u::rwx,d:g::rwx,d:o::rwx"),
        ("target/setgid", "d:g::rwx,d:m::rx,d:o::-"),
    ] {
        run_ok("setfacl", &["-m", acl, &trees.text(dir)]);
    }
}

fn make_source(trees: &TempTree) {
    for dir in ["", "sub/", "plain/", "open/", "setgid/"] {
        trees.write(format!("source/{dir}new"), "new");
        trees.write(format!("source/{dir}replaced"), "newer");
        trees.write(format!("source/{dir}newdir/deep/file"), "new");
        trees.fifo(format!("source/{dir}fifo"));
        trees.symlink("new", format!("source/{dir}link"));
        trees.chmod(format!("source/{dir}new"), 0o640);
        trees.write(format!("source/{dir}all"), "new");
        for (entry, mode) in [("all", 0o6777), ("fifo", 0o666), ("newdir", 0o1777)] {
            trees.chmod(format!("source/{dir}{entry}"), mode);
        }
    }
}

/// Pushes with both programs into such a target, or into something new in it.
fn check(options: &[&str], ours_alone: &[&str], new: &str) {
    let (theirs, ours) = (TempTree::new(), TempTree::new());
    make_source(&theirs);
    make_target(&theirs);
    make_target(&ours);
    let from = theirs.contents_of("source");
    let rsh = FakeRsh::plain();
    let words: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    let target = theirs.path("target").join(new);
    let sources = [from.clone()];
    let done = rsync::push(&rsh, &words, &sources, &target).unwrap();
    done.expect(0);
    let to = ours.path("target").join(new).display().to_string();
    let push = Hasync::push(options).args(ours_alone).args([from, to]);
    push.run().expect(0);
    let (expected, found) = (acls(&theirs), acls(&ours));
    assert!(expected.len() > 20, "{expected:?}");
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found, "{options:?} {ours_alone:?} {new}");
    }
    assert_eq!(expected.len(), found.len());
}

fn need_oracle() {
    assert!(
        rsync::is_the_oracle(),
        "rsync 3.5.0 is needed: run tests/run.sh"
    );
}

#[test]
fn default_acls_apply_as_with_rsync() {
    need_oracle();
    check(&["-a"], &[], "");
}

/// They, and not the umask, decide the mode of what is made, in one commit or many.
#[test]
fn without_p_a_default_acl_decides_the_mode() {
    need_oracle();
    for options in [&["-rlD"][..], &["-rltgoD"], &["-rlpD", "--no-p"]] {
        for ours_alone in [&[][..], &["--atomic"]] {
            for new in ["", "made"] {
                check(options, ours_alone, new);
            }
        }
    }
}
