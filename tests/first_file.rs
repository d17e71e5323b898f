//! `hasync init`: what it asks, what it refuses before anything is written, and that what it prints
//! can be typed as it stands.

use crate::pairing::{CONFIG, INIT, pair, says};
use crate::support::clean_root::CleanPair;

#[test]
fn init_asks_what_no_option_says() {
    let pair = CleanPair::boot("exec sleep 100000");
    let foo0 = &pair.foo0;
    foo0.install();
    foo0.types("hasync init")
        .expect_error(1, &["nobody is at the terminal", "--manager"]);
    let done = foo0.types_and_answers("hasync init", "no such\n");
    assert_eq!(done.code, 1, "{done}");
    assert_eq!(foo0.reads(CONFIG), None);
    // What makes no sense is asked for again, with the reason.
    let answers = "hartbeat\nheartbeat\n10.0.0.1 10.0.0.2\n\nfoo0=10.0.0.1\n10.0.0.1:22\n\
                   10.0.0.1\nfoo0\nfoo1\n10.0.0.1\n10.0.0.2\n10.0.0\n10.0.0.2\n\
                   10.0.0.100\n\nhtml\nhtml=srv\nhtml=/etc\nhtml=/srv/html html=/srv/mail\n\
                   html=/srv/html mail=/srv/mail\nn\n";
    let done = foo0.types_and_answers("hasync init", answers).expect(0);
    says(
        &done,
        &[
            "is none of these",
            "is the name of this node",
            "is the host of this node",
            "is no address",
            "a host with a port",
            "the peer's host",
            "at least one tree",
            "NAME=VALUE",
            "not absolute",
            "own system and configuration, /etc/hasync",
            "two trees have the name",
            "hasync.toml is right",
            "scp /etc/hasync/hasync.toml 10.0.0.2:/etc/hasync/hasync.toml",
            "foo0 10.0.0.100 mirror",
            "*/10 * * * * root /usr/local/bin/hasync cycle -q",
        ],
    );
    let options = "hasync init --print --node foo0=10.0.0.1 --node foo1=10.0.0.2 --address \
                   10.0.0.100 --tree html=/srv/html --tree mail=/srv/mail --manager heartbeat";
    let printed = foo0.types(options).expect(0);
    assert_eq!(foo0.reads(CONFIG).unwrap(), printed.stdout_text());
    foo0.types("hasync check-config").expect(0);
    // A file that is there is told of before anything is asked.
    let again = foo0.types_and_answers("hasync init", "");
    assert_eq!(again.code, 78, "{again}");
    says(&again, &["hasync.toml is there", "hasync pair"]);
    assert!(!again.stdout_text().contains('?'), "{again}");
    let nowhere = foo0.types_and_answers("hasync init --config /etc/passwd/x.toml", "");
    assert!(nowhere.stdout_text().contains("cannot write"), "{nowhere}");
    let there = "hasync init --node foo0=fd00::1 --node foo1=fd00::2 --user admin --port 2222 \
                 --tree html=/srv/html --manager cron --config /etc/other.toml";
    let done = foo0.types(there).expect(0);
    says(
        &done,
        &[
            "scp -P 2222 /etc/other.toml admin@[fd00::2]:/etc/other.toml",
            "hasync pair --config /etc/other.toml",
            "hasync push --all --config /etc/other.toml",
            "/usr/local/bin/hasync cycle -q --config /etc/other.toml",
        ],
    );
}

/// What no pair could work by is refused before anything is written, without a word of a file that
/// is not there.
#[test]
fn init_writes_nothing_that_cannot_work() {
    let pair = CleanPair::boot("exec sleep 100000");
    let foo0 = &pair.foo0;
    foo0.install();
    let nodes = "--node foo0=10.0.0.1 --node foo1=10.0.0.2";
    let html = "--tree html=/srv/html";
    for (code, options, word) in [
        (
            1,
            "--node foo0=10.0.0.1:2222 --node foo1=10.0.0.2 --tree html=/srv",
            "--port",
        ),
        (
            1,
            "--node foo0=foo0=1 --node foo1=10.0.0.2 --tree html=/srv",
            "not a host",
        ),
        (
            78,
            "--node foo0=10.0.0.1 --node foo1=10.0.0.1 --tree html=/srv",
            "one host",
        ),
        (
            78,
            "--node a=10.0.0.1 --node b=10.0.0.2 --tree html=/srv",
            "this node is foo0",
        ),
        (
            78,
            &format!("{nodes} {html} --address 10.0.0.1"),
            "does not move",
        ),
        (
            78,
            &format!("{nodes} {html} --address 10.0.0.2"),
            "does not move",
        ),
        (
            1,
            &format!("{nodes} {html} --interval 1ms"),
            "less than a second",
        ),
        (1, &format!("{nodes} {html} --user 'a b'"), "name of a user"),
        (
            78,
            &format!("{nodes} --tree all=/etc"),
            "own system and configuration",
        ),
        (
            78,
            &format!("{nodes} --group key=/etc/hasync/id_ed25519"),
            "own system",
        ),
        (
            78,
            &format!("{nodes} {html} --tree html=/srv/b"),
            "two trees",
        ),
    ] {
        let done = foo0.types(&format!("hasync init {options} --manager cron"));
        assert_eq!(done.code, code, "{options}\n{done}");
        says(&done, &[word]);
        assert!(!done.stderr.contains(".toml:"), "{done}");
        assert_eq!(foo0.reads(CONFIG), None, "{options}");
    }
}

/// Every line that is printed does what it says, from any directory, wherever the file is.
#[test]
fn what_is_printed_is_typed_as_it_stands() {
    let pair = pair();
    let (foo0, foo1) = (&pair.foo0, &pair.foo1);
    foo0.types("ssh-keyscan 10.0.0.2 >.ssh/known_hosts 2>/dev/null")
        .expect(0);
    foo0.writes("/srv/html/a", "1");
    let init = |file: &str| format!("cd /etc && {INIT} --config {file}");
    let done = foo0.types(&init("rel.toml")).expect(0).stdout_text();
    assert_eq!(foo0.reads(CONFIG), None);
    let lines = done.lines().filter_map(|line| line.strip_prefix("  "));
    let mut typed = 0;
    for line in lines {
        let line = line.strip_prefix("*/10 * * * * root ").unwrap_or(line);
        assert!(line.contains("/etc/rel.toml"), "{line}");
        let done = foo0.types_and_answers(line, "y\n");
        // To look at it by the first push alone: what would change.
        let expected = if line.starts_with("hasync status") {
            0..=1
        } else {
            0..=0
        };
        assert!(expected.contains(&done.code), "{line}\n{done}");
        typed += 1;
    }
    assert_eq!(typed, 10, "{done}");
    assert_eq!(foo0.reads("/etc/rel.toml"), foo1.reads("/etc/rel.toml"));
    for host in [foo0, foo1] {
        let list = host.reads("root/.ssh/authorized_keys").unwrap();
        assert!(list.contains("serve --config /etc/rel.toml "), "{list}");
        assert_eq!(host.reads(CONFIG), None);
    }

    // And if it is written by the login.
    let done = foo0.types(&format!("{} --pair --yes", init("./b.toml")));
    says(
        &done.expect(0),
        &["both directions work", "configuration of 10.0.0.2: written"],
    );
    assert_eq!(foo0.reads("/etc/b.toml"), foo1.reads("/etc/b.toml"));
    foo1.types("hasync check-config --peer --config /etc/b.toml")
        .expect(0);
}
