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
    check_of(
        &theirs,
        &ours,
        &[theirs.contents_of("source")],
        (options, ours_alone),
        new,
    );
}

/// The same with these sources, where both targets stand.
fn check_of(
    theirs: &TempTree,
    ours: &TempTree,
    sources: &[String],
    (options, ours_alone): (&[&str], &[&str]),
    new: &str,
) {
    let rsh = FakeRsh::plain();
    let words: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    let target = theirs.path("target").join(new);
    let done = rsync::push(&rsh, &words, sources, &target).unwrap();
    done.expect(0);
    let to = ours.path("target").join(new).display().to_string();
    let push = Hasync::push(options).args(ours_alone).args(sources);
    push.arg(to).run().expect(0);
    let (expected, found) = (acls(theirs), acls(ours));
    assert!(expected.len() > 10, "{expected:?}");
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

/// What only leads to what is mirrored has nothing of the source's, with -p neither.
#[test]
fn directories_on_the_way_get_what_a_default_acl_leaves() {
    need_oracle();
    for options in [
        &["-aR", "--no-implied-dirs"][..],
        &["-rlR", "--no-implied-dirs"],
        &["-rlpXR", "--no-implied-dirs", "--chown=bin:daemon"],
        &["-aR"],
    ] {
        for ours_alone in [&[][..], &["--atomic"]] {
            for new in ["", "made"] {
                let (theirs, ours) = (TempTree::new(), TempTree::new());
                make_source(&theirs);
                make_target(&theirs);
                make_target(&ours);
                let paths = [
                    "newdir/deep/file",
                    "sub/newdir/deep/file",
                    "plain/newdir/deep",
                    "open/newdir/deep/file",
                    "setgid/newdir/deep/file",
                ];
                let place = |path: &&str| format!("{}/./{path}", theirs.text("source"));
                let sources: Vec<String> = paths.iter().map(place).collect();
                check_of(&theirs, &ours, &sources, (options, ours_alone), new);
            }
        }
    }
}

/// Whom an ACL names is mapped as owners are, whichever of the two comes first.
#[test]
fn users_and_groups_of_acls_are_mapped_as_owners_are() {
    need_oracle();
    for maps in [
        &["--usermap=4001:4011,4002:4012"][..],
        &["--usermap=4001:4002,4002:4001"],
        &["--groupmap=4001-4003:7", "--usermap=4003:0"],
        &["--usermap=0:4001,4001:0"],
        &["--chown=4001:4002"],
        &["--usermap=4001:daemon"],
        &["--usermap=4001:daemon", "--numeric-ids"],
    ] {
        let (theirs, ours) = (TempTree::new(), TempTree::new());
        for (name, owner, acl) in [
            // An id is met in an ACL first, as an owner first, and as one of them alone.
            ("a", 0, "u:4001:rw"),
            ("b", 4001, "g:4001:r"),
            ("c", 4002, "u:4003:r"),
            ("d", 4003, "g:4002:rw,u:4002:r"),
            ("dir/e", 4001, "u:4002:rw"),
            ("dir", 4002, "d:u:4001:rwx,d:g:4003:r,u:4003:rx"),
            (".", 4001, "u:4001:rwx,d:g:4001:rx"),
        ] {
            let file = format!("source/{name}");
            if name.len() == 1 && name != "." || name == "dir/e" {
                theirs.write(&file, name);
            }
            theirs.chown(&file, owner, owner);
            run_ok("setfacl", &["-m", acl, &theirs.text(&file)]);
        }
        let from = theirs.contents_of("source");
        let words = [&["-aA"], maps].concat();
        let push = |to: &str| Hasync::push(&words).args([&from, to]).run().expect(0);
        push(&ours.text("target"));
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let (rsh, sources) = (FakeRsh::plain(), [from.clone()]);
        let done = rsync::push(&rsh, &words, &sources, &theirs.path("target"));
        done.unwrap().expect(0);
        // With numbers, rsync maps owners alone.
        let expected = match maps.contains(&"--numeric-ids") {
            true => acls(&theirs)
                .iter()
                .map(|acl| acl.replace("user:4001:", "user:1:"))
                .collect(),
            false => acls(&theirs),
        };
        assert_eq!(expected, acls(&ours), "{maps:?}");
        let again = Hasync::push(&["-aAi"]).args(maps);
        let again = again.args([&from, &ours.text("target")]).run().expect(0);
        assert_eq!(again.stdout_text(), "", "{maps:?}");
    }
}
