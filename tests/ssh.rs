//! The plain story over real SSH: first copy, update, delete; once through a sshd on
//! loopback and once between two network namespaces, as between two nodes.

use std::path::Path;

use crate::support::netns::{NetNs, STANDBY};
use crate::support::{Hasync, Snapshot, Sshd, TempTree, versions};

#[test]
fn copy_update_delete_over_loopback_sshd() {
    let sshd = Sshd::start();
    tell_the_story(|options, source, target| sshd.push(options, source, target));
}

#[test]
fn copy_update_delete_between_two_nodes() {
    let nodes = NetNs::pair();
    let sshd = Sshd::start_at(&nodes.on_standby(), STANDBY, 2200);
    tell_the_story(|options, source, target| {
        sshd.push(options, source, target)
            .under(&nodes.on_primary())
    });
}

#[test]
fn the_users_own_rsh_carries_a_push() {
    let sshd = Sshd::start();
    let rsh = format!("ssh -F {}", sshd.file("ssh_config").display());
    let program = Hasync::program().display().to_string();
    tell_the_story(|options, source, target| {
        Hasync::push(options)
            .args(["-e", &rsh, "--remote-bin", &program, source])
            .arg(format!("standby:{}", target.display()))
    });
}

#[test]
fn several_sources_over_sshd_keep_their_names() {
    let sshd = Sshd::start();
    let trees = TempTree::new();
    trees.write("one/a", "1");
    trees.write("two/b", "2");
    trees.write("three", "3");
    trees.mkdir("target");
    let target = trees.path("target");
    let push = sshd.push(&["-a"], &trees.text("one"), &target);
    // A local SRC after the remote DST is a mistake; several SRC come before it.
    push.arg(trees.text("two")).run().expect_error(1, &[]);
    Hasync::push(&["-a"])
        .args(sshd.options())
        .args([trees.text("one"), trees.text("two"), trees.text("three")])
        .arg(format!("standby:{}", target.display()))
        .run()
        .expect(0);
    for (name, data) in [("one/a", "1"), ("two/b", "2"), ("three", "3")] {
        assert_eq!(std::fs::read(target.join(name)).unwrap(), data.as_bytes());
    }
}

fn tell_the_story(push: impl Fn(&[&str], &str, &Path) -> Hasync) {
    let trees = TempTree::new();
    let (source, target) = (trees.mkdir("source"), trees.path("target"));
    versions::write_tree(&source, 300, 1, 50);
    trees.write("source/large", versions::content(0, 1, 500_000));
    trees.symlink("large", "source/link");
    let from = trees.contents_of("source");

    push(&["-a"], &from, &target).run().expect(0);
    assert_mirrored(&source, &target);

    versions::write_tree(&source, 40, 2, 60);
    trees.write("source/large", versions::content(0, 2, 500_100));
    trees.write("source/new/deep/er/file", "new");
    push(&["-a"], &from, &target).run().expect(0);
    assert_mirrored(&source, &target);

    std::fs::remove_dir_all(source.join("dir3")).unwrap();
    std::fs::remove_file(source.join("link")).unwrap();
    push(&["-a"], &from, &target).run().expect(0);
    assert!(
        target.join("dir3").exists(),
        "without --delete nothing is deleted"
    );
    let done = push(&["-ai", "--delete"], &from, &target).run().expect(0);
    assert!(done.stdout_text().contains("*deleting   dir3/\n"), "{done}");
    assert_mirrored(&source, &target);
}

#[track_caller]
fn assert_mirrored(source: &Path, target: &Path) {
    let there = Snapshot::of(target);
    assert!(
        there.litter().is_empty(),
        "left behind: {:?}",
        there.litter()
    );
    Snapshot::of(source).assert_same(&there);
}
