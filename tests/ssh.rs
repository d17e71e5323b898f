//! The plain story over real SSH: first copy, update, delete; once through a sshd on
//! loopback, once between two network namespaces as between two nodes, and once to the server
//! that hasync has in itself.

use std::path::Path;

use crate::support::netns::{NetNs, STANDBY};
use crate::support::own_server::OwnServer;
use crate::support::process::run_ok;
use crate::support::{Hasync, Rng, Snapshot, Sshd, TempTree, versions};

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
fn copy_update_delete_with_its_own_server() {
    let server = OwnServer::start();
    tell_the_story(|options, source, target| server.push(options, source, target));
}

/// The address of an interface that needs no set-up is good for that interface alone.
#[test]
fn copy_update_delete_over_a_link_local_address() {
    let nodes = NetNs::pair();
    for (on, address) in [
        (nodes.on_primary(), "fe80::1/64"),
        (nodes.on_standby(), "fe80::2/64"),
    ] {
        let assign = ["ip", "addr", "add", address, "dev", "link0", "nodad"];
        run_ok(on[0], &[&on[1..], &assign].concat());
    }
    let server = OwnServer::start_at(&nodes.on_standby(), "[fe80::2%link0]", &["--root", "/"]);
    tell_the_story(|options, source, target| {
        let push = server.push(options, source, target);
        push.under(&nodes.on_primary())
    });
}

#[test]
fn its_own_server_shows_what_its_host_key_is_known_by() {
    let server = OwnServer::start();
    let shown = run_ok("ssh-keygen", &["-l", "-f", &server.text("host_key.pub")]);
    let fingerprint = shown.split(' ').nth(1).unwrap();
    assert!(fingerprint.starts_with("SHA256:"), "{shown}");
    assert!(server.greeting.contains(fingerprint), "{}", server.greeting);
    // A client that does not know the key shows the same.
    std::fs::write(server.dir.path("known_hosts"), "").unwrap();
    let trees = TempTree::new();
    let source = trees.mkdir("source");
    let push = server.push(&["-a"], &source.display().to_string(), &trees.path("t"));
    push.run().expect_error(76, &[fingerprint]);
}

#[test]
fn keys_are_renewed_by_sshd_in_mid_push() {
    let sshd = Sshd::start_with("LogLevel DEBUG1\nRekeyLimit 16M\n");
    push_one_large_file(|source, target| sshd.push(&["-a", "--no-fsync"], source, target));
    assert!(renewals(&sshd) >= 5, "{} renewals", renewals(&sshd));
}

#[test]
fn keys_are_renewed_by_the_client_in_mid_push() {
    let sshd = Sshd::start_with("LogLevel DEBUG1\n");
    let config = sshd.file("ssh_config");
    let mut lines = std::fs::read_to_string(&config).unwrap();
    lines.push_str("  RekeyLimit 8M\n");
    std::fs::write(&config, lines).unwrap();
    push_one_large_file(|source, target| sshd.push(&["-a", "--no-fsync"], source, target));
    assert!(renewals(&sshd) >= 10, "{} renewals", renewals(&sshd));
}

#[test]
fn keys_are_renewed_with_its_own_server_in_mid_push() {
    let server = OwnServer::start();
    server.dir.write("ssh_config", "RekeyLimit 8M\n");
    let config = server.text("ssh_config");
    push_one_large_file(|source, target| {
        server.push(
            &["-a", "--no-fsync", "--ssh-config", &config],
            source,
            target,
        )
    });
}

/// Key exchanges that the server logged, the first not counted.
fn renewals(sshd: &Sshd) -> usize {
    let log = std::fs::read_to_string(sshd.file("log")).unwrap();
    let exchanges = log.matches("SSH2_MSG_NEWKEYS received").count();
    exchanges.saturating_sub(1)
}

/// 100 MB that do not compress.
fn push_one_large_file(push: impl Fn(&str, &Path) -> Hasync) {
    let trees = TempTree::new();
    trees.write("source/large", Rng::new(7).bytes(100_000_000));
    let target = trees.path("target");
    push(&trees.contents_of("source"), &target).run().expect(0);
    Snapshot::of(&trees.path("source")).assert_same(&Snapshot::of(&target));
}

#[test]
fn a_slow_link_gets_compressed_data_unless_told_otherwise() {
    let sshd = Sshd::start();
    let trees = TempTree::new();
    trees.write(
        "source/text",
        b"one line of a log, like all the others\n".repeat(50_000),
    );
    trees.write("source/very-noisy", Rng::new(8).bytes(1_000_000));
    // Noise beside text, and what is too long for a pack last.
    for at in 0..20 {
        trees.write(format!("source/mixed/{at}.jpg"), Rng::new(at).bytes(20_000));
        let line = format!("line of log {at}, like all the others\n");
        trees.write(format!("source/mixed/{at}.log"), line.repeat(500));
    }
    trees.write("source/mixed/video", Rng::new(100).bytes(200_000));
    let target = trees.path("target");
    let sent = |options: &[&str]| {
        let _ = std::fs::remove_dir_all(&target);
        let all = [&["-a", "--stats", "--no-fsync"], options].concat();
        let push = sshd.push(&all, &trees.contents_of("source"), &target);
        let finished = push.run().expect(0);
        Snapshot::of(&trees.path("source")).assert_same(&Snapshot::of(&target));
        let count = |line: &str| {
            let text = String::from_utf8_lossy(&finished.stdout).into_owned();
            let found = text.lines().find_map(|l| l.strip_prefix(line));
            found.unwrap().replace(',', "").parse::<u64>().unwrap()
        };
        (
            count("Bytes sent before compression: "),
            count("Total bytes sent: "),
        )
    };
    let least = 1_600_000;
    let (plain, packed) = sent(&["-z"]);
    assert!(plain > 2_900_000 && packed > least, "{plain} {packed}");
    assert!(packed < least + 50_000, "{packed}");
    let (plain, unpacked) = sent(&["--no-compress"]);
    assert_eq!(plain, unpacked);
    let (_, packed) = sent(&["--compress-choice=zstd", "--compress-level=9"]);
    assert!(packed > least && packed < least + 50_000, "{packed}");
    // A limit makes any link a slow one.
    let (_, packed) = sent(&["--bwlimit=2M"]);
    assert!(packed > least && packed < least + 50_000, "{packed}");
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
