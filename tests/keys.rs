//! What a key may do: bound to roots and trees, and without deletions, devices or setuid bits; by
//! the options of `serve`, by a forced command under sshd, and by one of hasync's own server.
//! What is left out by rights is said once and is no difference: a second push is silent.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use crate::support::hasync::{FakeRsh, Reachable};
use crate::support::own_server::OwnServer;
use crate::support::pair::Node::Foo0;
use crate::support::pair::{Node, Pair};
use crate::support::{Hasync, Sshd, TempTree, need_root};

/// What makes the command line of a push, of options, a source and a target.
pub(crate) type Push = Box<dyn Fn(&[&str], &str, &Path) -> Hasync>;

/// Every way to confine the receiving half to these options of `serve`.
pub(crate) fn confined_to(options: &str) -> Vec<(&'static str, Push)> {
    let words: Vec<&str> = options.split_whitespace().collect();
    let forced = format!("restrict,command=\"/x/hasync serve {options}\" KEY\n");
    let by_option = OwnServer::with(&[&["--root", "/"], &words[..]].concat());
    let by_key = OwnServer::start();
    by_key.authorize(&forced);
    let sshd = Sshd::start();
    let public = std::fs::read_to_string(sshd.file("user_key.pub")).unwrap();
    let program = Hasync::program().display().to_string();
    let line = forced
        .replace("/x/hasync", &program)
        .replace("KEY\n", &public);
    std::fs::write(sshd.file("authorized_keys"), line).unwrap();
    vec![
        ("option", Box::new(move |o, s, t| by_option.push(o, s, t))),
        ("key", Box::new(move |o, s, t| by_key.push(o, s, t))),
        ("sshd", Box::new(move |o, s, t| sshd.push(o, s, t))),
    ]
}

/// Pushes dry, really and once more. The first two say the same, the last is silent but for what
/// is left out by rights; that is said by each.
#[track_caller]
fn push_thrice(push: &Push, source: &str, target: &Path, said: &str) -> String {
    let would = push(&["-naiH"], source, target).run().expect(0);
    let done = push(&["-aiH"], source, target).run().expect(0);
    assert_eq!(would.stdout_text(), done.stdout_text());
    let again = push(&["-aiH"], source, target).run().expect(0);
    assert_eq!(again.stdout_text(), "", "{again}");
    for finished in [&would, &done, &again] {
        assert_eq!(finished.stderr.matches(said).count(), 1, "{finished}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
    }
    done.stdout_text()
}

#[test]
fn setuid_bits_of_files_stay_away() {
    for (way, push) in confined_to("--no-setuid") {
        let (trees, target) = setuid_tree();
        let source = trees.contents_of("source");
        push_thrice(&push, &source, &target, "no setuid or setgid bits");
        assert_eq!(modes(&target), [0o755, 0o755, 0o3755], "{way}");
        // New content without -p does not come to have them either.
        chmod(&target.join("suid"), 0o4755);
        trees.write("source/suid", "other");
        push(&["-rlt"], &source, &target).run().expect(0);
        assert_eq!(modes(&target), [0o755, 0o755, 0o3755], "{way}");
    }
}

#[test]
fn setuid_bits_stay_away_where_the_receiver_is_not_root() {
    need_root();
    let reachable = Reachable::new();
    let server = OwnServer::by_nobody(&["--root", "/"], &reachable);
    server.authorize("command=\"hasync serve --no-setuid --no-devices\" KEY\n");
    let (trees, target) = setuid_tree();
    trees.chown("", 65534, 65534);
    let push: Push = Box::new(move |options, source, target| {
        let options = [options, &["--no-owner", "--no-group"]].concat();
        server.push(&options, source, target)
    });
    let source = trees.contents_of("source");
    push_thrice(&push, &source, &target, "no setuid or setgid bits");
    assert_eq!(modes(&target), [0o755, 0o755, 0o3755]);
}

/// A source with a setuid and a setgid file and a setgid directory, and a target.
fn setuid_tree() -> (TempTree, std::path::PathBuf) {
    let trees = TempTree::new();
    for (name, mode) in [("suid", 0o4755), ("sgid", 0o2755)] {
        trees.write(format!("source/{name}"), name);
        chmod(&trees.path("source").join(name), mode);
    }
    chmod(&trees.mkdir("source/dir"), 0o3755);
    let target = trees.path("target");
    (trees, target)
}

fn modes(target: &Path) -> [u32; 3] {
    ["suid", "sgid", "dir"].map(|name| mode(&target.join(name)))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn devices_are_left_out() {
    need_root();
    for (way, push) in confined_to("--no-devices") {
        let trees = TempTree::new();
        trees.write("source/dir/file", "f");
        trees.char_device("source/null", 1, 3);
        trees.block_device("source/dir/disk", 7, 7);
        trees.fifo("source/dir/fifo");
        let (source, target) = (trees.contents_of("source"), trees.path("target"));
        let said = push_thrice(&push, &source, &target, "no devices are made");
        assert!(
            !said.contains("null") && !said.contains("disk"),
            "{way}: {said}"
        );
        assert!(
            !target.join("null").exists() && !target.join("dir/disk").exists(),
            "{way}"
        );
        let fifo = std::fs::symlink_metadata(target.join("dir/fifo")).unwrap();
        assert!(fifo.file_type().is_fifo(), "{way}");
        // One that the target has stays, as long as the source has one, too.
        trees.char_device("target/null", 1, 5);
        std::fs::remove_file(trees.path("source/dir/fifo")).unwrap();
        let gone = push(&["-ai", "--delete"], &source, &target).run().expect(0);
        assert!(
            gone.stdout_text().contains("*deleting   dir/fifo\n"),
            "{way}: {gone}"
        );
        assert!(!gone.stdout_text().contains("null"), "{way}: {gone}");
        assert!(target.join("null").exists(), "{way}");
    }
}

#[test]
fn nothing_is_deleted() {
    for (way, push) in confined_to("--no-delete") {
        let trees = TempTree::new();
        for file in [
            "source/new",
            "source/full",
            "source/empty",
            "target/old",
            "target/full/in",
        ] {
            trees.write(file, file);
        }
        trees.mkdir("target/empty");
        let (source, target) = (trees.contents_of("source"), trees.path("target"));
        for dry in [&["-n"][..], &[]] {
            let options = [&["-a", "--delete"], dry].concat();
            let refused = push(&options, &source, &target).run();
            refused.expect_error(1, &["nothing may be deleted", "without --delete"]);
            assert!(!target.join("new").exists(), "{way}");
        }
        let first = push(&["-ai"], &source, &target).run().expect(23);
        assert!(first.stderr.contains("full"), "{way}: {first}");
        assert_eq!(trees.read("target/old"), b"target/old", "{way}");
        assert_eq!(trees.read("target/full/in"), b"target/full/in", "{way}");
        assert_eq!(trees.read("target/empty"), b"source/empty", "{way}");
        std::fs::remove_file(trees.path("source/full")).unwrap();
        push(&["-a"], &source, &target).run().expect(0);
        let again = push(&["-ai"], &source, &target).run().expect(0);
        assert_eq!(again.stdout_text(), "", "{way}");
    }
}

#[test]
fn a_key_is_bound_to_its_root() {
    let trees = TempTree::new();
    trees.write("source/a", "a");
    let [one, two, link] = ["served/one", "served/two", "link"].map(|name| trees.path(name));
    trees.mkdir("served/one");
    trees.mkdir("served/two");
    trees.mkdir("outside");
    trees.symlink("served/one", "link");
    let server = OwnServer::with(&["--root", &trees.text("served")]);
    let push = |target: &Path| server.push(&["-a"], &trees.contents_of("source"), target);
    let bind = |root: &Path| {
        let root = root.display();
        server.authorize(&format!("command=\"hasync serve --root '{root}'\" KEY\n"));
    };
    bind(&one);
    push(&one.join("x")).run().expect(0);
    push(Path::new("y")).run().expect(0);
    assert!(one.join("x/a").exists() && one.join("y/a").exists());
    for target in [
        two.clone(),
        one.join("../two"),
        trees.path("served"),
        trees.path("outside"),
    ] {
        push(&target).run().expect_error(1, &["outside the roots"]);
    }
    assert!(!two.join("a").exists());
    // By way of a symlink into a root it is the same place.
    bind(&link);
    push(&link.join("z")).run().expect(0);
    assert!(one.join("z/a").exists());
    // A line without a command may do what the server's options allow.
    server.authorize("restrict KEY\n");
    push(&two).run().expect(0);
    assert!(two.join("a").exists());
}

#[test]
fn a_key_whose_command_is_no_restriction_is_refused() {
    let trees = TempTree::new();
    trees.write("source/a", "a");
    trees.mkdir("served");
    trees.symlink("/etc", "served/out");
    let served = trees.text("served");
    let target = trees.path("served/x");
    for (command, why) in [
        ("/bin/false".to_owned(), "only hasync serve"),
        (String::new(), "only hasync serve"),
        ("rsync --server .".to_owned(), "only hasync serve"),
        ("hasync push -a / x:/".to_owned(), "only hasync serve"),
        (format!("hasync serve --root {served}; id"), "needs a shell"),
        (
            format!("hasync serve --root {served} $SSH_ORIGINAL_COMMAND"),
            "needs a shell",
        ),
        (
            format!(
                "hasync serve --root {served} --listen 127.0.0.1:0 --authorized-keys /x \
                 --host-key /x"
            ),
            "--listen is no restriction",
        ),
        (
            "hasync serve --bogus".to_owned(),
            "unknown option '--bogus'",
        ),
        ("hasync serve --root /".to_owned(), "is in no root"),
        (format!("hasync serve --root {served}/out"), "is in no root"),
        (
            format!("hasync serve --root {served}/../source"),
            "without ..",
        ),
        (
            format!("hasync serve --root {served} --root /etc"),
            "is in no root",
        ),
        (
            "hasync serve --config /tmp/other.toml".to_owned(),
            "--config of its own",
        ),
    ] {
        // One server each: of many refusals in a row the log holds some. A later line of the same
        // key does not help.
        let server = OwnServer::with(&["--root", &served]);
        server.authorize(&format!("command=\"{command}\" KEY\nKEY\n"));
        let push = server.push(&["-a"], &trees.contents_of("source"), &target);
        push.run().expect_error(77, &[]);
        server.await_logged(why);
        assert!(!target.exists(), "{command}");
    }
    let server = OwnServer::with(&["--root", &served]);
    server.authorize("command=\"hasync serve --receive-only\" KEY\n");
    let push = server.push(&["-a"], &trees.contents_of("source"), &target);
    push.run().expect(0);
}

/// The standby's half of a pair behind a key that is confined to `options`, with its own server or
/// by sshd.
fn confined_pair(options: &str, own_server: bool) -> (Pair, Option<OwnServer>) {
    let mut pair = Pair::here("");
    for (name, data) in [("html/a", "a"), ("etc/a", "1"), ("etc/b", "2")] {
        pair.write(Foo0, name, data);
    }
    pair.write(Node::Foo1, "html/old", "old");
    let config = pair.path(Node::Foo1, "hasync.toml").display().to_string();
    if own_server {
        let root = pair.path(Node::Foo1, "").display().to_string();
        let server = OwnServer::with(&["--root", &root, "--config", &config]);
        server.authorize(&format!("command=\"hasync serve {options}\" KEY\n"));
        for (key, value) in [
            ("port", server.port().to_owned()),
            ("identity", format!("\"{}\"", server.text("user_key"))),
            ("known_hosts", format!("\"{}\"", server.text("known_hosts"))),
        ] {
            pair.set(Foo0, key, &format!("{key} = {value}"));
        }
        return (pair, Some(server));
    }
    let sshd = pair.sshd();
    let public = std::fs::read_to_string(sshd.file("user_key.pub")).unwrap();
    let program = Hasync::program().display().to_string();
    let line = format!("command=\"{program} serve {options} --config {config}\" {public}");
    std::fs::write(sshd.file("authorized_keys"), line).unwrap();
    (pair, None)
}

#[test]
fn a_key_is_bound_to_trees() {
    for own_server in [false, true] {
        let (pair, _server) = confined_pair("--tree html", own_server);
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
        pair.run(Foo0, &["push", "--tree", "conf"])
            .expect_error(78, &["no tree named conf for this key"]);
        for target in ["html", "other"] {
            pair.push_without_name(&["-a"], &pair.path(Node::Foo1, target))
                .run()
                .expect_error(1, &["named trees alone"]);
        }
        assert!(!pair.path(Node::Foo1, "other").exists());
        let again = pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
        assert!(again.stdout_text().contains("html: unchanged"), "{again}");
    }
}

#[test]
fn a_tree_with_delete_is_a_mistake_where_nothing_may_be_deleted() {
    for own_server in [false, true] {
        let (pair, _server) = confined_pair("--no-delete --no-setuid --no-devices", own_server);
        chmod(&pair.path(Foo0, "html/a"), 0o4755);
        for dry in [&["-n"][..], &[]] {
            let words = [&["push", "--tree", "html"], dry].concat();
            pair.run(Foo0, &words).expect_error(
                78,
                &["nothing may be deleted", "delete = false for tree html"],
            );
        }
        assert!(!pair.path(Node::Foo1, "html/a").exists());
        let path = format!("path = \"{}\"", pair.path(Foo0, "html").display());
        pair.set(Foo0, "path = ", &format!("{path}\ndelete = false"));
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
        assert_eq!(pair.read(Node::Foo1, "html/old"), "old");
        assert_eq!(mode(&pair.path(Node::Foo1, "html/a")), 0o755);
        let again = pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
        assert!(again.stdout_text().contains("html: unchanged"), "{again}");
        pair.run(Foo0, &["push", "--tree", "conf"]).expect(0);
    }
}

#[test]
fn an_unknown_tree_is_told_when_serve_starts() {
    let pair = Pair::here("");
    let serve = pair.on(Foo0, &["serve", "--tree", "html", "nothing"]);
    serve.run().expect_error(78, &["--tree nothing"]);
    let rsh = FakeRsh::with_script(&format!(
        "exec {} serve --tree html --root /proc --config {}",
        Hasync::program().display(),
        pair.path(Foo0, "hasync.toml").display()
    ));
    let trees = TempTree::new();
    let push = Hasync::push(&["-a"]).args(rsh.options());
    let done = push.args([trees.contents_of(""), "x:/y".to_owned()]).run();
    assert!(done.stderr.contains("--tree html"), "{done}");
}
