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
    for (dir, acl) in [("target", "d:u:1:rwx"), ("target/sub", "d:u:2:rw,d:g:3:r")] {
        run_ok("setfacl", &["-m", acl, &trees.text(dir)]);
    }
}

#[test]
fn default_acls_apply_as_with_rsync() {
    assert!(
        rsync::is_the_oracle(),
        "rsync 3.5.0 is needed: run tests/run.sh"
    );
    let (theirs, ours) = (TempTree::new(), TempTree::new());
    for dir in ["", "sub/", "plain/"] {
        theirs.write(format!("source/{dir}new"), "new");
        theirs.write(format!("source/{dir}replaced"), "newer");
        theirs.write(format!("source/{dir}newdir/deep/file"), "new");
        theirs.fifo(format!("source/{dir}fifo"));
        theirs.symlink("new", format!("source/{dir}link"));
        theirs.chmod(format!("source/{dir}new"), 0o640);
    }
    make_target(&theirs);
    make_target(&ours);
    let from = theirs.contents_of("source");
    let rsh = FakeRsh::plain();
    let options = ["-a".to_owned()];
    let target = theirs.path("target");
    let sources = [from.clone()];
    let done = rsync::push(&rsh, &options, &sources, &target).unwrap();
    done.expect(0);
    let push = Hasync::push(&["-a"]).args([from, ours.text("target")]);
    push.run().expect(0);
    let (expected, found) = (acls(&theirs), acls(&ours));
    assert!(expected.len() > 20, "{expected:?}");
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found);
    }
    assert_eq!(expected.len(), found.len());
}
