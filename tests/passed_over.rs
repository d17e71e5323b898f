//! What a push says of ACLs and attributes that it does not mirror: how many entries have those
//! that nobody asked for, where that is known for free, and what the receiver has no right to set.

use std::os::unix::fs::chown;

use crate::support::hasync::Reachable;
use crate::support::process::run_ok;
use crate::support::{Finished, Hasync, Sshd, TempTree, need_root};

const CAPABILITY: &str = "0x0100000200200000000000000000000000000000";

fn source() -> TempTree {
    need_root();
    let trees = TempTree::within(std::path::Path::new("/tmp"));
    for name in ["one", "other", "program", "plain"] {
        trees.write(format!("source/{name}"), name);
    }
    trees.mkdir("source/dir");
    let give = |name: &str, value: &str, file: &str| {
        let at = trees.text(&format!("source/{file}"));
        run_ok("setfattr", &["-n", name, "-v", value, &at]);
    };
    for (file, acl) in [("one", "u:1:r"), ("dir", "d:u:1:rx")] {
        run_ok(
            "setfacl",
            &["-m", acl, &trees.text(&format!("source/{file}"))],
        );
    }
    give("security.capability", CAPABILITY, "program");
    give("trusted.t", "t", "other");
    trees
}

/// The lines on standard error.
fn said(done: &Finished) -> Vec<&str> {
    done.stderr.lines().collect()
}

#[test]
fn what_nobody_asked_for_is_counted_where_one_call_tells_anyway() {
    let trees = source();
    let acls = "hasync: 2 entries have ACLs: not mirrored without -A";
    let capabilities = "hasync: 1 entry has a capability: not mirrored without -X";
    for (options, expected) in [
        ("-a", &[][..]),
        ("-aA", &[capabilities]),
        ("-aX", &[acls]),
        ("-aAX", &[]),
        ("-naX", &[acls]),
    ] {
        let push = || {
            let to = [trees.contents_of("source"), trees.text(options)];
            Hasync::push(&[options]).args(to).run().expect(0)
        };
        assert_eq!(said(&push()), expected, "{options}");
        // It is as true of what is unchanged.
        assert_eq!(said(&push()), expected, "{options}");
    }
}

#[test]
fn what_the_receiver_has_no_right_to_is_said_and_refused_under_ha() {
    let trees = source();
    let reachable = Reachable::new();
    let sshd = Sshd::start();
    let by_nobody = format!(
        "#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups {} \"$@\"\n",
        reachable.program().display()
    );
    trees.write("as-nobody", by_nobody);
    trees.chmod("as-nobody", 0o755);
    trees.chmod("", 0o755);
    let push = |options: &[&str], to: &str| {
        let target = trees.mkdir(to);
        chown(&target, Some(65534), Some(65534)).unwrap();
        let from = trees.contents_of("source");
        sshd.push_with(&trees.path("as-nobody"), options, &from, &target)
            .run()
    };
    let done = push(&["-rltX"], "plain").expect(0);
    let line = "hasync: the receiver has no right to set capabilities or other attributes: at \
                least 1 of the entries are mirrored without them";
    assert!(said(&done).contains(&line), "{done}");
    push(&["--ha"], "ha").expect_error(78, &["does not act as root", "-rlptHAXS"]);
    assert!(!trees.path("ha/one").exists());
    push(&["--ha", "--no-o", "--no-g", "--no-D", "--no-X"], "less").expect(0);
}

/// A label that this kernel hands on to nothing keeps nobody from making something beside it.
#[test]
fn a_label_of_another_system_is_in_nobodys_way() {
    let trees = source();
    let reachable = Reachable::new();
    trees.chmod("", 0o755);
    trees.chmod("source/program", 0o644);
    let target = trees.mkdir("target");
    chown(&target, Some(65534), Some(65534)).unwrap();
    let label = ["-n", "security.selinux", "-v", "system_u:object_r:var_t:s0"];
    run_ok("setfattr", &[&label[..], &[&trees.text("target")]].concat());
    for options in [&["-rlt"][..], &["-rlt", "--atomic"]] {
        trees.write("source/plain", format!("{options:?}"));
        let to = [trees.contents_of("source"), trees.text("target")];
        let push = Hasync::push(options).args(to).by_nobody(&reachable);
        let done = push.run().expect(0);
        assert_eq!(said(&done), [] as [&str; 0], "{options:?}");
        assert_eq!(
            trees.read("target/plain"),
            format!("{options:?}").as_bytes()
        );
    }
}
