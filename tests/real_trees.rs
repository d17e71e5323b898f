//! The `/usr` and `/etc` of this machine, with capabilities, ACLs, attributes and setuid files put
//! in: mirrored over sshd without a name and with one, they are on the standby as they were, as
//! other programs find them. Undone they are the version before, and undone again the last one. The
//! normal run takes a part of them, the soak all.

use std::path::Path;
use std::process::Command;

use crate::attributes::{assert_same, seen};
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::{Running, run_ok};
use crate::support::{Sshd, TempTree, need_root, report, soak};

/// What the normal run copies.
const PART: &[&str] = &[
    "/etc",
    "/usr/sbin",
    "/usr/share/zoneinfo",
    "/usr/share/perl5",
    "/usr/lib/openssh",
];
const ALL: &[&str] = &["/etc", "/usr"];

/// What `sh` puts in, from within the copy: each line reaches one file in many.
const FIRST: &str = r#"
every() { find . -type "$1" | LC_ALL=C sort | awk "NR % $2 == $3"; }
every f 97 1 | while read -r f; do setcap cap_net_raw,cap_net_admin=ep "$f"; done
every f 89 2 | while read -r f; do chmod u+s,g+s "$f"; done
every f 83 3 | while read -r f; do setfacl -m u:1:rw,u:54321:r,g:games:rx,m:rx "$f"; done
every d 19 4 | while read -r d; do setfacl -m u:1:rwx,d:u:2:rwx,d:g:5:rx,d:o:- "$d"; done
every f 79 5 | while read -r f; do setfattr -n user.origin -v "$f" "$f"; done
every d 23 6 | while read -r d; do setfattr -n trusted.overlay.opaque -v y "$d"; done
every l 41 7 | while read -r l; do setfattr -h -n trusted.link -v "$l" "$l"; done
every f 11 8 | while read -r f; do
    setfattr -n security.selinux -v system_u:object_r:bin_t:s0 "$f"
done
every f 103 9 | while read -r f; do chown 1:54321 "$f"; chmod 4711 "$f"; done
"#;

/// What the second version has otherwise: metadata alone, content, and what is gone or of another
/// type.
const SECOND: &str = r#"
every() { find . -type "$1" | LC_ALL=C sort | awk "NR % $2 == $3"; }
every f 97 1 | while read -r f; do setcap -r "$f" 2>/dev/null || setcap cap_chown=p "$f"; done
every f 83 3 | while read -r f; do setfacl -b "$f"; done
every f 113 4 | while read -r f; do setfacl -m g:54321:x "$f"; done
every d 19 4 | while read -r d; do setfacl -k -m u:7:r "$d"; done
every f 79 5 | while read -r f; do
    setfattr -x user.origin "$f" 2>/dev/null || true
    chown 7 "$f"
done
every l 41 7 | while read -r l; do setfattr -h -n trusted.link -v other "$l"; done
every f 127 6 | while read -r f; do echo more >> "$f"; done
every f 131 7 | while read -r f; do rm "$f"; done
every f 137 8 | while read -r f; do rm "$f"; ln -s elsewhere "$f"; done
every f 139 9 | while read -r f; do rm "$f"; mkdir "$f"; setfacl -m d:u:1:r "$f"; done
every d 149 1 | tail -1 | while read -r d; do [ "$d" = . ] || rm -r "$d"; done
"#;

/// Everything that other programs tell of a tree, but for what a file system decides by itself: how
/// a directory is indexed, and that files are in extents.
fn walk(tree: &Path) -> String {
    let told = |script: &str| {
        let mut command = Command::new("sh");
        command.current_dir(tree).args(["-c", script]);
        let text = Running::start(command).finish().expect(0).stdout_text();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    [
        seen(tree),
        told("find . ! -type d -printf '%P %s %T@\\n'"),
        // Which names are one file; what is kept for an undo may have more.
        told(
            "find . ! -type d -links +1 -printf '%i\\t%P\\n' | LC_ALL=C sort -t '\t' -k 2 | \
             awk -F '\t' '{ if (!($1 in one)) one[$1] = $2; print one[$1] \"\\t\" $2 }' | \
             awk -F '\t' '$1 != $2'",
        ),
        told("find . -type d -printf '%P %T@\\n'"),
        told(
            "find . \\( -type f -o -type d \\) -exec lsattr -d {} + | \
             awk '{ gsub(/[eI]/, \"-\", $1); print }'",
        ),
        told("find . -type f -exec cksum {} +"),
    ]
    .join("\n--\n")
}

fn in_source(source: &Path, script: &str) {
    let mut command = Command::new("sh");
    command.current_dir(source).args(["-ec", script]);
    Running::start(command).finish().expect(0);
}

#[test]
fn real_trees_arrive_as_they_are() {
    need_root();
    // On a disk: they are large.
    let trees = TempTree::within(Path::new("/tmp"));
    // Beside it the standby keeps what it knows of the tree.
    let source = trees.mkdir("source/all");
    for part in if soak() { ALL } else { PART } {
        let to = source.join(part.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        run_ok("cp", &["-a", part, &to.display().to_string()]);
    }
    in_source(&source, FIRST);
    let sshd = Sshd::start();
    let pair = Pair::here("");
    for (node, root) in [(Foo0, "source"), (Foo1, "html")] {
        trees.mkdir(root);
        pair.set(node, "path = ", &format!("path = \"{}\"", trees.text(root)));
    }
    let (target, html) = (trees.mkdir("target"), trees.path("html/all"));
    let mirror = || {
        let is = walk(&source);
        let push = sshd.push(&["--ha", "-i"], &trees.contents_of("source"), &target);
        push.run().expect(0);
        assert_same(&is, &walk(&target.join("all")));
        assert_eq!(push.run().expect(0).stdout_text(), "");
        let named = || pair.run(Foo0, &["push", "--tree", "html", "-i"]).expect(0);
        let done = named();
        assert_eq!(done.stderr, "", "{done}");
        assert_same(&is, &walk(&html));
        let again = named().stdout_text();
        assert!(
            again.contains("unchanged") && again.lines().count() == 1,
            "{again}"
        );
        is
    };
    let first = mirror();
    // A tree that was given nothing proves nothing.
    for given in [
        "cap_net_raw",
        "user.origin",
        "trusted.overlay.opaque",
        "trusted.link",
        "security.selinux",
        "54321",
    ] {
        assert!(first.contains(given), "no {given}");
    }
    in_source(&source, SECOND);
    let second = mirror();
    assert_ne!(first, second);
    for version in [&first, &second, &first] {
        pair.run(Foo1, &["undo", "html"]).expect(0);
        assert_same(version, &walk(&html));
    }
    let entries = walkdir::WalkDir::new(&source).into_iter().count();
    report(&format!("real trees: {entries} entries, 0 differences"));
}
