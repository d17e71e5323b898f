//! `~` is the home directory of the password database, whatever `HOME` says; `HOME` counts for a
//! user whom the database does not know, and without either `~` is refused.

use crate::support::hasync::{FakeRsh, Reachable};
use crate::support::mountns::with_passwd;
use crate::support::{Finished, Hasync, Sshd, TempTree, need_root};

/// What init, cron and sudo may leave in the environment: words for `env`.
const HOMES: [&[&str]; 4] = [
    &["env", "HOME=/"],
    &["env", "-u", "HOME"],
    &["env", "HOME="],
    &["env", "HOME=relative"],
];

/// A tree with `home` as the home of root, in `passwd`.
fn with_home() -> TempTree {
    let trees = TempTree::within(std::path::Path::new("/tmp"));
    trees.write("src/file", "x");
    trees.mkdir("home/.ssh");
    trees.chmod("home/.ssh", 0o700);
    let home = trees.text("home");
    trees.write("passwd", format!("root:x:0:0::{home}:/bin/sh\n"));
    trees
}

fn push(trees: &TempTree, launcher: &[&str], destination: &str) -> Finished {
    let rsh = FakeRsh::plain();
    let namespace = with_passwd(&trees.path("passwd"));
    let launcher = launcher.iter().map(|&word| word.to_owned()).collect();
    Hasync::push(&["-rt", "-e", &rsh.path()])
        .arg("--remote-bin")
        .arg(Hasync::program())
        .arg(trees.contents_of("src"))
        .arg(format!("b:{destination}"))
        .under(&[namespace, launcher].concat())
        .run()
}

#[test]
fn a_destination_in_the_home_directory_is_where_ssh_has_it() {
    need_root();
    for (index, home) in HOMES.iter().enumerate() {
        let trees = with_home();
        let name = format!("d{index}");
        push(&trees, home, &format!("~/{name}")).expect(0);
        assert_eq!(trees.read(format!("home/{name}/file")), b"x", "{home:?}");
    }
    let trees = with_home();
    let set = format!("HOME={}", trees.text("src"));
    push(&trees, &["env", &set], "~/d").expect(0);
    assert_eq!(trees.read("home/d/file"), b"x");
    assert!(!trees.path("src/d").exists());
}

#[test]
fn without_an_entry_home_counts_and_without_either_it_is_said() {
    need_root();
    let reachable = Reachable::new();
    let rsh = FakeRsh::plain();
    std::fs::set_permissions(
        std::path::Path::new(&rsh.path()).parent().unwrap(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let trees = with_home();
    trees.chown("home", 4242, 4242);
    let home = format!("HOME={}", trees.text("home"));
    let push = |home: &[&str]| {
        let user = ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups"];
        Hasync::push(&["-rt", "-e", &rsh.path()])
            .by_nobody(&reachable)
            .arg("--remote-bin")
            .arg(reachable.program())
            .arg(trees.contents_of("src"))
            .arg("b:~/d")
            .under(&[&user, home].concat())
            .run()
    };
    push(&["env", &home]).expect(0);
    assert_eq!(trees.read("home/d/file"), b"x");
    for unset in HOMES.iter().filter(|home| home.last() != Some(&"HOME=/")) {
        let words = ["~/d", "home directory", "write the path from /"];
        push(unset).expect_error(1, &words);
        assert!(!trees.path("~").exists());
    }
}

#[test]
fn ssh_files_are_those_of_the_home_directory() {
    need_root();
    let sshd = Sshd::start();
    for home in HOMES {
        let trees = with_home();
        for (from, to) in [("user_key", "id_ed25519"), ("known_hosts", "known_hosts")] {
            std::fs::copy(sshd.file(from), trees.path(format!("home/.ssh/{to}"))).unwrap();
        }
        let launcher: Vec<String> = home.iter().map(|&word| word.to_owned()).collect();
        let launcher = [with_passwd(&trees.path("passwd")), launcher].concat();
        let push = || {
            Hasync::push(&["-rt", "--port", &sshd.port().to_string()])
                .arg("--remote-bin")
                .arg(Hasync::program())
                .arg(trees.contents_of("src"))
                .arg(format!("root@127.0.0.1:{}", trees.text("dst")))
                .under(&launcher)
                .run()
        };
        push().expect(0);
        assert_eq!(trees.read("dst/file"), b"x");
        // The advice names the file that the next push reads.
        trees.write("home/.ssh/known_hosts", "");
        push().expect_error(76, &[&trees.text("home/.ssh/known_hosts")]);
    }
}
