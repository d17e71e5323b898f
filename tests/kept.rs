//! What generations replaced, listed and copied out: whether it is pinned or not, whether there is
//! a way back or not.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use serde_json::Value;

use crate::support::Finished;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;

/// foo1 has replaced and removed entries of several kinds, in generation 2.
fn replaced() -> Pair {
    let pair = Pair::here("");
    pair.write(Foo0, "html/page", "one");
    pair.write(Foo0, "html/gone/deep/file", "deep");
    pair.write(Foo0, "html/gone/other", "other");
    pair.write(Foo0, "html/stays", "stays");
    let at = |name: &str| pair.path(Foo0, name);
    symlink("page", at("html/link")).unwrap();
    std::fs::hard_link(at("html/gone/other"), at("html/gone/twin")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(at("html/page"), mode).unwrap();
    filetime::set_file_mtime(at("html/page"), filetime::FileTime::from_unix_time(1000, 0)).unwrap();
    filetime::set_file_mtime(at("html/gone"), filetime::FileTime::from_unix_time(2000, 0)).unwrap();
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    pair.write(Foo0, "html/page", "two!");
    std::fs::remove_file(at("html/link")).unwrap();
    symlink("stays", at("html/link")).unwrap();
    std::fs::remove_dir_all(at("html/gone")).unwrap();
    pair.run(Foo0, &["push", "--tree", "html", "--no-brake"])
        .expect(0);
    pair
}

fn extract(pair: &Pair, generation: &str, to: &Path, more: &[&str]) -> Finished {
    let to = to.display().to_string();
    let words = [&["kept", "html", "--extract", generation, &to], more].concat();
    pair.run(Foo1, &words)
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn what_a_generation_replaced_is_listed_and_copied_out_as_it_was() {
    let pair = replaced();
    let before = pair.html(Foo1);
    for list in [&["kept", "html"][..], &["kept", "html", "--list"]] {
        let told = pair.run(Foo1, list).expect(0).stdout_text();
        assert!(told.starts_with("generation 2 ("), "{told}");
        for line in ["removed ", "gone/", "replaced ", "page", "link"] {
            assert!(told.contains(line), "{line}: {told}");
        }
    }
    let told = pair
        .run(Foo1, &["kept", "html", "--path", "gone/deep/file"])
        .expect(0);
    let told = told.stdout_text();
    assert!(
        told.contains("gone/deep/file") && !told.contains("page"),
        "{told}"
    );

    let to = pair.dir.path("out");
    extract(&pair, "2", &to, &[]).expect(0);
    let page = to.join("page");
    assert_eq!(read(&page), "one");
    let found = page.metadata().unwrap();
    assert_eq!((found.mode() & 0o7777, found.mtime()), (0o640, 1000));
    assert_eq!(
        std::fs::read_link(to.join("link")).unwrap(),
        Path::new("page")
    );
    assert_eq!(read(to.join("gone/deep/file")), "deep");
    assert_eq!(to.join("gone").metadata().unwrap().mtime(), 2000);
    let ino = |name: &str| to.join(name).metadata().unwrap().ino();
    assert_eq!(
        ino("gone/other"),
        ino("gone/twin"),
        "one file with two names"
    );
    assert!(!to.join("stays").exists());
    // One path, in what was removed with all above it; by identity, and absolute.
    let id = pair
        .run(Foo1, &["status", "html", "--json"])
        .expect(0)
        .stdout;
    let id: Value = serde_json::from_slice(&id).unwrap();
    let id = id["trees"][0]["head"]["id"].as_str().unwrap();
    let path = pair.path(Foo1, "html/gone/deep").display().to_string();
    let one = pair.dir.path("one");
    extract(&pair, id, &one, &["--path", &path]).expect(0);
    assert_eq!(read(one.join("gone/deep/file")), "deep");
    assert!(!one.join("gone/other").exists() && !one.join("page").exists());
    // Nothing here has changed, and what is there is not written over.
    assert_eq!(pair.html(Foo1).diff(&before), "");
    extract(&pair, "2", &to, &[]).expect_error(11, &["it is not empty"]);
    extract(&pair, "7", &pair.dir.path("none"), &[]).expect_error(1, &["no generation 7"]);
    let outside = ["--path", "../etc"];
    extract(&pair, "2", &pair.dir.path("none"), &outside).expect_error(1, &["is not in "]);
}

/// Pinned data outlives the ways back, until it is forgotten.
#[test]
fn pinned_data_can_be_had_when_undo_leads_there_no_more() {
    let pair = Pair::here("");
    pair.keep_undo("keep = 1");
    pair.write(Foo0, "html/index.html", "one");
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    // foo1 was primary, and broke off with something that nobody else has.
    pair.run(Foo0, &["mirror", "stop"]).expect(0);
    pair.run(Foo1, &["mirror", "start"]).expect(0);
    pair.run(Foo1, &["push", "--tree", "html"]).expect(0);
    pair.write(Foo1, "html/alone", "only here");
    pair.run(Foo0, &["promote", "html", "--force"]).expect(0);
    pair.run(Foo1, &["demote", "html"]).expect(0);
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    for content in ["two", "three", "four"] {
        pair.write(Foo0, "html/index.html", content);
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    }
    let state = |pair: &Pair| -> Value {
        let json = pair
            .run(Foo1, &["status", "html", "--json"])
            .expect(0)
            .stdout;
        serde_json::from_slice::<Value>(&json).unwrap()["trees"][0].clone()
    };
    let told = state(&pair);
    let number = &told["pinned"][0]["number"];
    let undo = told["undo"].as_array().unwrap();
    assert!(undo.iter().all(|one| one["number"] != *number), "{told:#}");
    assert!(told["bytes"]["kept"].as_u64().unwrap() > 0, "{told:#}");
    pair.run(Foo1, &["undo", "html", "--to", "1"]).expect(1);
    let number = number.to_string();
    let to = pair.dir.path("out");
    extract(&pair, &number, &to, &[]).expect(0);
    assert_eq!(read(to.join("alone")), "only here");
    pair.run(Foo1, &["undo", "html", "--forget", &number])
        .expect(0);
    extract(&pair, &number, &pair.dir.path("again"), &[]).expect(1);
}

/// What `status` says can be undone, can be undone, each of them; and undo says what follows.
#[test]
fn what_is_said_to_be_undoable_is_undone() {
    for at in 0..3 {
        let pair = Pair::here("");
        for content in ["one", "two", "three", "four"] {
            pair.write(Foo0, "html/index.html", content);
            pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
        }
        let json = pair
            .run(Foo1, &["status", "html", "--json"])
            .expect(0)
            .stdout;
        let json: Value = serde_json::from_slice(&json).unwrap();
        let undo = json["trees"][0]["undo"].as_array().unwrap().clone();
        let Some(one) = undo.get(at) else {
            panic!("{at} of {json:#}")
        };
        let before = one["parent"].as_str().unwrap();
        let dry = pair
            .run(Foo1, &["undo", "html", "--to", before, "-n"])
            .expect(0);
        assert!(
            dry.stdout_text()
                .starts_with("html: this node is standby, and the mirror would")
        );
        let done = pair.run(Foo1, &["undo", "html", "--to", before]).expect(0);
        let told = done.stdout_text();
        let (first, last) = told.trim_end().split_once('\n').unwrap();
        assert!(
            first.contains("the next push of foo0 is refused (81)"),
            "{told}"
        );
        assert!(first.contains("`hasync promote html`; to take what foo0 has, `hasync adopt html"));
        assert!(last.contains(" restored"), "{told}");
        assert_eq!(
            pair.read(Foo1, "html/index.html"),
            ["three", "two", "one"][at]
        );
        // What the undo replaced is kept like anything else.
        let kept = pair.run(Foo1, &["kept", "html"]).expect(0).stdout_text();
        assert!(kept.starts_with("generation 5 ("), "{kept}");
        let to = pair.dir.path("out");
        extract(&pair, "5", &to, &[]).expect(0);
        assert_eq!(read(to.join("index.html")), "four");
    }
}

/// Written on the standby by accident: told by the push and there, and kept.
#[test]
fn what_was_written_on_the_standby_is_told_and_kept() {
    let pair = Pair::here("");
    let at = |name: &str| pair.path(Foo1, &format!("html/{name}"));
    for name in ["edited", "backdated", "mode", "untouched", "gone"] {
        pair.write(Foo0, &format!("html/{name}"), "source");
    }
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    // A push that replaces what nobody has touched tells nothing.
    for name in ["untouched", "edited", "backdated", "mode"] {
        pair.write(Foo0, &format!("html/{name}"), "source, second");
    }
    let quiet = pair
        .run(Foo0, &["push", "--tree", "html"])
        .expect(0)
        .stdout_text();
    assert!(!quiet.contains("written on the peer"), "{quiet}");
    // The clock of a file system goes in ticks.
    std::thread::sleep(std::time::Duration::from_millis(20));
    std::fs::write(at("edited"), "by accident").unwrap();
    std::fs::write(at("new"), "by accident").unwrap();
    std::fs::write(at("backdated"), "by accident").unwrap();
    let old = filetime::FileTime::from_unix_time(1000, 0);
    filetime::set_file_mtime(at("backdated"), old).unwrap();
    std::fs::set_permissions(at("mode"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::remove_file(pair.path(Foo0, "html/gone")).unwrap();
    pair.write(Foo0, "html/untouched", "source, third");
    let told = pair
        .run(Foo0, &["push", "--tree", "html"])
        .expect(0)
        .stdout_text();
    let words = "generation 3 replaced 4 entries that had been written on the peer since the one \
                 before: ";
    assert!(told.contains(words), "{told}");
    let json = pair
        .run(Foo1, &["status", "html", "--json"])
        .expect(0)
        .stdout;
    let json: Value = serde_json::from_slice(&json).unwrap();
    let written = &json["trees"][0]["written_here"];
    assert_eq!(
        (&written[0]["number"], &written[0]["count"]),
        (&3.into(), &4.into()),
        "{json:#}"
    );
    let mut paths: Vec<&str> = written[0]["paths"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(Value::as_str)
        .collect();
    paths.sort_unstable();
    assert_eq!(paths, ["backdated", "edited", "mode", "new"]);
    let status = pair.run(Foo1, &["status", "html"]).expect(0).stdout_text();
    assert!(
        status.contains("generation 3 replaced 4 entries that had been written here"),
        "{status}"
    );
    let to = pair.dir.path("out");
    extract(&pair, "3", &to, &[]).expect(0);
    for name in ["edited", "new", "backdated"] {
        assert_eq!(read(to.join(name)), "by accident", "{name}");
    }
    // And the next push has nothing more to tell.
    pair.write(Foo0, "html/edited", "source, fourth");
    let quiet = pair
        .run(Foo0, &["push", "--tree", "html"])
        .expect(0)
        .stdout_text();
    assert!(!quiet.contains("written on the peer"), "{quiet}");
}

/// Names that go with what was kept are no writing: the change times of their other names move.
#[test]
fn links_to_what_was_kept_are_nobodys_writing() {
    let pair = Pair::here("");
    pair.keep_undo("keep = 1");
    let at = |name: &str| pair.path(Foo0, &format!("html/{name}"));
    pair.write(Foo0, "html/first", "one inode");
    for name in ["second", "third", "fourth"] {
        std::fs::hard_link(at("first"), at(name)).unwrap();
    }
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    for (round, name) in ["first", "second", "third", "fourth"].iter().enumerate() {
        std::fs::remove_file(at(name)).unwrap();
        pair.write(Foo0, "html/round", round.to_string());
        let told = pair
            .run(Foo0, &["push", "--tree", "html"])
            .expect(0)
            .stdout_text();
        assert!(!told.contains("written on the peer"), "{name}: {told}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
