//! Nothing but ACLs and attributes differs: it is told, kept, given up and brought back as content
//! is.

use std::path::Path;

use crate::diverged::{follow, way_out};
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::{Node, Pair};
use crate::support::process::run_ok;
use crate::support::xattrs::{self, OfTree};

/// Each with what is done to it. A capability is one of version 2.
const ENTRIES: &[(&str, &str)] = &[
    ("acl", "ACL"),
    ("dir", "default ACL"),
    ("user", "user.a"),
    ("trusted", "trusted.a"),
    ("link", "trusted.a"),
    ("capable", "security.capability"),
    ("several", "user.a"),
];

fn pair() -> Pair {
    let pair = Pair::here("");
    for (name, _) in ENTRIES {
        match *name {
            "dir" => pair.write(Foo0, "html/dir/file", "x"),
            "link" => std::os::unix::fs::symlink("acl", pair.path(Foo0, "html/link")).unwrap(),
            name => pair.write(Foo0, &format!("html/{name}"), "x"),
        }
    }
    std::fs::hard_link(
        pair.path(Foo0, "html/several"),
        pair.path(Foo0, "html/dir/several"),
    )
    .unwrap();
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    pair
}

/// Gives each entry something, or something else.
fn change(html: &Path, version: u8) {
    for (name, what) in ENTRIES {
        let at = html.join(name);
        let shown = at.display().to_string();
        match *what {
            "ACL" => drop(run_ok(
                "setfacl",
                &["-m", &format!("u:{version}:rw"), &shown],
            )),
            "default ACL" => drop(run_ok(
                "setfacl",
                &["-m", &format!("d:g:{version}:rw"), &shown],
            )),
            "security.capability" => {
                let value = [0x0200_0001, 1 << version, 0, 0, 0].map(u32::to_le_bytes);
                xattrs::give(&at, what.as_bytes(), &value.concat());
            }
            name => xattrs::give(&at, name.as_bytes(), &[version]),
        }
    }
}

fn html(pair: &Pair, node: Node) -> OfTree {
    let mut all = xattrs::of(&pair.path(node, "html"));
    all.retain(|path, _| !path.starts_with(b".hasync"));
    all
}

#[test]
fn what_is_changed_on_the_standby_is_told_and_kept() {
    let pair = pair();
    change(&pair.path(Foo0, "html"), 1);
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    let first = html(&pair, Foo1);
    // The clock of a file system goes in ticks.
    std::thread::sleep(std::time::Duration::from_millis(20));
    change(&pair.path(Foo1, "html"), 2);
    let by_accident = html(&pair, Foo1);
    assert_ne!(first, by_accident);
    let told = pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    // A directory is changed by all that is done in it, and a file with two names is one.
    let count = ENTRIES.len() - 1;
    let words = format!("replaced {count} entries that had been written on the peer");
    assert!(told.stdout_text().contains(&words), "{told}");
    assert_eq!(html(&pair, Foo1), first);
    pair.run(Foo1, &["undo", "html"]).expect(0);
    assert_eq!(html(&pair, Foo1), by_accident);
    pair.run(Foo1, &["undo", "html"]).expect(0);
    assert_eq!(html(&pair, Foo1), first);
}

#[test]
fn nodes_that_differ_in_attributes_alone_have_diverged() {
    for (kept, given_up) in [(Foo0, Foo1), (Foo1, Foo0)] {
        let pair = pair();
        pair.run(Foo1, &["promote", "html"]).expect(0);
        pair.run(Foo0, &["demote", "html"]).expect(0);
        pair.run(Foo0, &["promote", "html", "--force"]).expect(0);
        change(&pair.path(Foo0, "html"), 1);
        change(&pair.path(Foo1, "html"), 2);
        let wanted = html(&pair, kept);
        let lost = html(&pair, given_up);
        let list = pair.run(Foo0, &["diverged", "html"]);
        let text = list.stdout_text();
        for (name, _) in ENTRIES {
            assert!(text.contains(name), "{name}: {list}");
        }
        follow(&pair, &way_out(&list, kept.name()));
        assert_eq!(html(&pair, Foo0), wanted);
        assert_eq!(html(&pair, Foo1), wanted);
        pair.run(Foo0, &["diverged", "html"]).expect(0);
        pair.run(given_up, &["undo", "html"]).expect(0);
        assert_eq!(html(&pair, given_up), lost);
    }
}
