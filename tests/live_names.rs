//! While pushes replace files, readers keep opening them by name: a name is never absent
//! and a file is never a mixture, however the pushes end.

use crate::support::versions::{self, Watcher};
use crate::support::{Hasync, Sshd, TempTree, rounds};

const FILES: usize = 60;

#[test]
fn readers_never_miss_a_name_nor_see_half_a_file() {
    let trees = TempTree::new();
    let source = trees.mkdir("source");
    let push = |options: &[&str]| {
        Hasync::push(options)
            .arg(trees.contents_of("source"))
            .arg(trees.path("target"))
            .run()
    };
    versions::write_tree(&source, FILES, 1, 2000);
    push(&["-a"]).expect(0);
    let watcher = Watcher::start(&trees.path("target"), FILES);
    for version in 2..2 + u32::try_from(rounds("pushes under a reader", 12, 300)).unwrap() {
        // Every other version is of another length, every third comes whole.
        versions::write_tree(&source, FILES, version, 2000 + version as usize % 2 * 17);
        push(if version % 3 == 0 {
            &["-aW", "--delete"]
        } else {
            &["-a", "--delete"]
        })
        .expect(0);
    }
    let reads = watcher.finish();
    assert!(reads > 0, "nothing was watched");
}

#[test]
fn readers_on_a_standby_see_whole_files_over_sshd() {
    let sshd = Sshd::start();
    let trees = TempTree::new();
    let source = trees.mkdir("source");
    versions::write_tree(&source, FILES, 1, 3000);
    let push = sshd.push(&["-a"], &trees.contents_of("source"), &trees.path("target"));
    push.run().expect(0);
    let watcher = Watcher::start(&trees.path("target"), FILES);
    for version in 2..6 {
        versions::write_tree(&source, FILES, version, 3000);
        push.run().expect(0);
    }
    assert!(watcher.finish() > 0, "nothing was watched");
}
