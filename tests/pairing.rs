//! `hasync pair` where something is there already, or in the way: what is not its own it leaves
//! alone, and what does not work it says.

use crate::support::clean_root::{CleanPair, CleanRoot, SSHD};
use crate::support::{Finished, await_that};

pub(crate) const CONFIG: &str = "/etc/hasync/hasync.toml";
pub(crate) const INIT: &str = "hasync init --node foo0=10.0.0.1 --node foo1=10.0.0.2 --tree \
                               html=/srv/html --manager cron";

/// Both nodes with the program, a tree, and an sshd that the administrator may use.
pub(crate) fn pair() -> CleanPair {
    let pair = CleanPair::boot(SSHD);
    pair.let_the_administrator_in();
    for host in [&pair.foo0, &pair.foo1] {
        host.install();
        host.types("mkdir /srv/html").expect(0);
    }
    pair
}

fn fingerprint(host: &CleanRoot) -> String {
    let line = host.types("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub");
    let line = line.expect(0).stdout_text();
    line.split(' ').nth(1).unwrap().to_owned()
}

/// Everything that pairing may write.
fn files(host: &CleanRoot) -> String {
    let list = "cd /; find etc/hasync root/.ssh -type f 2>/dev/null | sort | xargs -r sha256sum";
    host.types(list).expect(0).stdout_text()
}

#[track_caller]
pub(crate) fn says(done: &Finished, words: &[&str]) {
    let said = format!("{}{}", done.stdout_text(), done.stderr);
    for word in words {
        assert!(said.contains(word), "{word:?}\n{done}");
    }
}

#[test]
fn a_script_pairs_by_fingerprint_alone() {
    let pair = pair();
    let (foo0, foo1) = (&pair.foo0, &pair.foo1);
    foo0.types(INIT).expect(0);
    let before = [files(foo0), files(foo1)];

    // What only prints, and what is not trusted, changes nothing but the key of this node.
    let done = foo0.types("hasync pair --print").expect(0);
    says(
        &done,
        &["command=\"/usr/local/bin/hasync serve --tree html --receive-only\",restrict"],
    );
    assert_eq!([files(foo0), files(foo1)], before);
    for (options, words) in [
        ("", "--yes"),
        ("--yes", "--fingerprint"),
        (
            "--yes --fingerprint SHA256:AAAA",
            "--fingerprint has another",
        ),
    ] {
        let done = foo0.types(&format!("hasync pair {options}"));
        assert_eq!(done.code, if options.is_empty() { 1 } else { 76 }, "{done}");
        says(&done, &[words]);
        assert_eq!(files(foo1), before[1]);
        assert_eq!(foo0.reads("/etc/hasync/known_hosts"), None);
    }

    let done = foo0.types_and_answers("hasync pair", "n\n");
    assert_eq!(done.code, 76, "{done}");
    says(
        &done,
        &["Is it the same? [y/N]", "nothing was written for it"],
    );
    assert_eq!(foo0.reads("/etc/hasync/known_hosts"), None);
    assert_eq!(files(foo1), before[1]);

    // The other node has no configuration yet.
    let pin = format!("--yes --fingerprint {}", fingerprint(foo1));
    // What is left to type is told, however the pairing ends.
    let done = foo0.types(&format!("{INIT} --pair --yes"));
    assert_eq!(done.code, 76, "{done}");
    let left = [
        "not paired yet",
        "scp /etc/hasync/hasync.toml 10.0.0.2:/etc/hasync/hasync.toml",
        "hasync promote --all",
        "root /usr/local/bin/hasync cycle -q",
    ];
    says(&done, &left);
    let done = foo0.types(&format!("hasync pair {pin}"));
    assert_eq!(done.code, 78, "{done}");
    says(
        &done,
        &["there is no /etc/hasync/hasync.toml", "hasync init"],
    );

    let again = foo0.types(&format!("{INIT} --pair {pin}")).expect(0);
    says(
        &again,
        &["both directions work", "configuration: is there already"],
    );
    assert_eq!(foo0.reads(CONFIG), foo1.reads(CONFIG));
    let complete = [files(foo0), files(foo1)];
    // From either side, and with nobody at the terminal.
    for host in [foo0, foo1] {
        let done = match std::ptr::eq(host, foo0) {
            true => host.types("hasync pair --yes").expect(0),
            false => host.types("hasync pair --yes"),
        };
        assert_eq!([files(foo0), files(foo1)], complete, "{done}");
    }
    let second = foo0.types("hasync pair").expect(0);
    says(&second, &["nothing was to be changed"]);
}

#[test]
fn what_is_not_theirs_stays() {
    let pair = pair();
    let (foo0, foo1) = (&pair.foo0, &pair.foo1);
    // Start files that talk, a list of keys without its last newline, a key that exists.
    foo1.adds("root/.bashrc", "echo welcome to foo1\n");
    foo0.types("mkdir -p /etc/hasync && ssh-keygen -q -t ed25519 -N '' -f /etc/hasync/id_ed25519")
        .expect(0);
    let key = foo0.reads("/etc/hasync/id_ed25519");
    foo0.types("printf 'ssh-rsa AAAA me' >.ssh/authorized_keys")
        .expect(0);
    let pin = format!("--yes --fingerprint {}", fingerprint(foo1));
    foo0.types(&format!("{INIT} --pair {pin}")).expect(0);
    assert_eq!(foo0.reads("/etc/hasync/id_ed25519"), key);
    let list = foo0.reads("root/.ssh/authorized_keys").unwrap();
    assert!(list.starts_with("ssh-rsa AAAA me\ncommand="), "{list}");

    // Another tree: the keys are bound anew, and stand there once.
    for host in [foo0, foo1] {
        host.types("mkdir /srv/mail").expect(0);
        host.adds(
            CONFIG,
            "\n[[tree]]\nname = \"mail\"\npath = \"/srv/mail\"\n",
        );
    }
    let done = foo0.types("hasync pair --yes").expect(0);
    says(&done, &["is bound anew", "tree mail"]);
    for host in [foo0, foo1] {
        let list = host.reads("root/.ssh/authorized_keys").unwrap();
        assert_eq!(list.matches("hasync@foo").count(), 1, "{list}");
        assert!(list.contains("serve --tree html mail"), "{list}");
    }

    // Options of somebody else's are left as they are.
    foo1.types("sed -i 's/^command=/pty,command=/' .ssh/authorized_keys")
        .expect(0);
    let list = foo1.reads("root/.ssh/authorized_keys");
    let done = foo0.types("hasync pair --yes").expect(0);
    says(&done, &["options of somebody else's"]);
    assert_eq!(foo1.reads("root/.ssh/authorized_keys"), list);

    // A configuration that says something else is never written over, here or there.
    let other = INIT.replace("/srv/html", "/srv/other");
    foo0.types(&other)
        .expect_error(78, &["says something else", "nothing is written over it"]);
    let text = foo0.reads(CONFIG).unwrap();
    foo1.types("sed -i 's/\"10m\"/\"1h\"/' /etc/hasync/hasync.toml")
        .expect(0);
    foo0.types("rm /etc/hasync/hasync.toml").expect(0);
    let done = foo0.types(&format!("{INIT} --pair --yes"));
    assert_eq!(done.code, 78, "{done}");
    says(&done, &["10.0.0.2: ", "says something else"]);
    assert_ne!(Some(text), foo0.reads(CONFIG));
}

/// What is typed for one node is typed on the other, and where its server looks.
#[test]
fn by_hand_both_nodes_get_the_same_options() {
    let pair = CleanPair::boot("exec sleep 100000");
    let (foo0, foo1) = (&pair.foo0, &pair.foo1);
    for host in [foo0, foo1] {
        host.install();
        host.types("mkdir /srv/html").expect(0);
        host.types(&format!("{INIT} --port 8730 --config '/etc/our file.toml'"))
            .expect(0);
    }
    let line_of = |done: &Finished, start: &str| {
        let text = done.stdout_text();
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with(start));
        line.unwrap().to_owned()
    };
    let by_hand = "hasync pair --by-hand";
    let options = "--authorized-keys '/etc/our keys' --config '/etc/our file.toml'";
    let first = foo0.types(&format!("{by_hand} {options}")).expect(0);
    let there = foo1.types(&line_of(&first, by_hand)).expect(0);
    let here = foo0.types(&line_of(&there, by_hand)).expect(0);
    let serve = "hasync serve --listen";
    let mut servers = [(foo0, &here), (foo1, &there)].map(|(host, said)| {
        assert_eq!(host.reads("/etc/hasync/authorized_keys"), None);
        let server = host.starts(&line_of(said, serve));
        await_that("the server listens", || {
            host.said().contains("listening on")
        });
        server
    });
    foo0.writes("/srv/html/a", "1");
    for verb in ["promote --all", "push --all", "check-config --peer"] {
        let line = format!("hasync {verb} --config '/etc/our file.toml'");
        foo0.types(&line).expect(0);
    }
    assert_eq!(foo1.reads("/srv/html/a").as_deref(), Some("1"));
    for server in &mut servers {
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

/// However the configuration and the directories are named, and whether a key is.
#[test]
fn what_is_paired_is_pushed_by_then() {
    let pair = pair();
    let (foo0, foo1) = (&pair.foo0, &pair.foo1);
    for host in [foo0, foo1] {
        host.types(INIT).expect(0);
        host.types("sed -i '/^identity/d' /etc/hasync/hasync.toml")
            .expect(0);
    }
    let pin = format!("--yes --fingerprint {}", fingerprint(foo1));
    let relative = format!("cd /etc && hasync pair --config ./hasync/hasync.toml {pin}");
    let done = foo0.types(&relative).expect(0);
    says(
        &done,
        &["made, /etc/hasync/id_ed25519", "both directions work"],
    );
    let list = foo0.reads("root/.ssh/authorized_keys").unwrap();
    assert!(
        list.contains(" --config /etc/hasync/hasync.toml "),
        "{list}"
    );
    foo1.writes("/srv/html/a", "1");
    foo1.types("cd /tmp && hasync promote --all && hasync push --all")
        .expect(0);
    assert_eq!(foo0.reads("/srv/html/a").as_deref(), Some("1"));
    foo1.types("hasync push --all --dry-run").expect(0);

    // The real sshd reads what stands in its list.
    for name in ["a b", "a\\b", "a\"b", "a\\\"b", "a\\", "it'\\''s"] {
        let dir = format!("'/srv/{name}'");
        for host in [foo0, foo1] {
            host.types(&format!(
                "mkdir {dir} && sed -i /^command=/d .ssh/authorized_keys"
            ))
            .expect(0);
        }
        let done = foo0
            .types(&format!("hasync pair --yes --root {dir}"))
            .expect(0);
        says(&done, &["both directions work"]);
    }
    // One directory is one, and what a node lacks is found before a key is bound.
    for host in [foo0, foo1] {
        host.types("mkdir /srv/both && sed -i /^command=/d .ssh/authorized_keys")
            .expect(0);
    }
    let both = "hasync pair --yes --root /srv/both --root /srv/both/ --root //srv/./both";
    foo0.types(both).expect(0);
    for host in [foo0, foo1] {
        let list = host.reads("root/.ssh/authorized_keys").unwrap();
        assert_eq!(list.matches("--root").count(), 1, "{list}");
    }
    foo0.types("mkdir /srv/here").expect(0);
    let before = [files(foo0), files(foo1)];
    for (root, node) in [
        ("/srv/nowhere", "foo0"),
        ("/srv/here", "foo1"),
        ("/etc/hosts", "foo0"),
    ] {
        let done = foo0.types(&format!("hasync pair --yes --root {root}"));
        assert_eq!(done.code, 11, "{done}");
        says(
            &done,
            &[&format!("--root {root} is no directory on {node}")],
        );
        let done = foo0.types(&format!("hasync pair --by-hand --root {root}"));
        assert_eq!(done.code == 11, node == "foo0", "{done}");
        assert_eq!(files(foo1), before[1]);
    }
    for host in [foo0, foo1] {
        host.types("mkdir \"$(printf '/srv/a\\nb')\"").expect(0);
    }
    foo0.types("hasync pair --yes --root \"$(printf '/srv/a\\nb')\"")
        .expect_error(1, &["line break"]);
}

#[test]
fn a_key_is_taken_from_the_other_nodes_address_alone() {
    let pair = pair();
    let (foo0, foo1) = (&pair.foo0, &pair.foo1);
    for host in [foo0, foo1] {
        host.types(INIT).expect(0);
    }
    let list = |host: &CleanRoot| host.reads("root/.ssh/authorized_keys").unwrap();
    let pin = format!("--yes --fingerprint {}", fingerprint(foo1));
    let done = foo0.types(&format!("hasync pair --from {pin}")).expect(0);
    says(&done, &["from 10.0.0.1 alone", "both directions work"]);
    let narrowed = [
        (foo0, "from=\"10.0.0.2\",command="),
        (foo1, "from=\"10.0.0.1\",command="),
    ];
    for (host, start) in narrowed {
        assert!(list(host).contains(start), "{}", list(host));
    }
    let printed = foo1.types("hasync pair --print --from").expect(0);
    says(&printed, &["from=\"10.0.0.2\",command="]);

    let told = foo0.types("hasync pair --by-hand --from --port 8730");
    let told = told.expect(0).stdout_text();
    let start = "hasync pair --by-hand --key ";
    let typed = told.lines().find(|line| line.trim().starts_with(start));
    foo1.types(typed.unwrap()).expect(0);
    let own_list = foo1.reads("/etc/hasync/authorized_keys").unwrap();
    assert!(
        own_list.starts_with("from=\"10.0.0.1\",command="),
        "{own_list}"
    );

    // The same key from elsewhere.
    foo0.types("ip addr add 10.0.0.9/24 dev link0").expect(0);
    foo0.writes("root/ssh_config", "BindAddress 10.0.0.9\n");
    foo0.writes("/srv/html/a", "1");
    let push = "hasync push --tree html -n --ssh-config ssh_config";
    foo0.types("hasync promote --all").expect(0);
    foo0.types(push).expect_error(77, &["10.0.0.2"]);
    foo0.types("sed -i s/9/1/ ssh_config").expect(0);
    foo0.types(push).expect(0);

    // Another tree: what narrows the keys stays, whether it is asked for again or not.
    for host in [foo0, foo1] {
        let mail = "\n[[tree]]\nname = \"mail\"\npath = \"/srv/mail\"\n";
        host.types("mkdir /srv/mail").expect(0);
        host.adds(CONFIG, mail);
    }
    let done = foo0.types("hasync pair --yes").expect(0);
    says(&done, &["is bound anew", "from 10.0.0.1 alone"]);
    let before = [files(foo0), files(foo1)];
    let done = foo0.types("hasync pair --yes --from").expect(0);
    says(&done, &["nothing was to be changed"]);
    assert_eq!([files(foo0), files(foo1)], before);
    for (host, start) in narrowed {
        assert!(list(host).contains(start), "{}", list(host));
        assert_eq!(list(host).matches("hasync@foo").count(), 1);
    }
}

/// By a password, and by way of another host: what ssh can do, the first login can.
#[test]
fn the_first_login_is_the_administrators() {
    let pair = CleanPair::boot(SSHD);
    pair.await_sshd();
    let (foo0, foo1) = (&pair.foo0, &pair.foo1);
    for host in [foo0, foo1] {
        host.install();
        host.types("mkdir /srv/html").expect(0);
    }
    let pin = format!("--yes --fingerprint {}", fingerprint(foo1));
    foo1.types("echo root:secret | chpasswd -c SHA512")
        .expect(0);
    let login = |password: &str, options: &str| {
        let asked = format!("printf '#!/bin/sh\necho {password}\n' >ask && chmod 755 ask");
        foo0.types(&asked).expect(0);
        let ask = "SSH_ASKPASS=$HOME/ask SSH_ASKPASS_REQUIRE=force";
        foo0.types(&format!(
            "{ask} hasync pair --root /srv {options} {pin} root@standby"
        ))
    };
    let refused = login("guess", "");
    assert_eq!(refused.code, 69, "{refused}");
    says(
        &refused,
        &[
            "Permission denied",
            "the login on root@standby",
            "hasync pair --by-hand standby",
        ],
    );
    assert!(!refused.stdout_text().contains("answers"), "{refused}");
    let done = login("secret", "").expect(0);
    says(&done, &["both directions work"]);

    // Where sshd reads another list.
    for host in [foo0, foo1] {
        host.adds(
            "/etc/ssh/sshd_config",
            "AuthorizedKeysFile /etc/ssh/keys/%u\n",
        );
        host.rereads();
    }
    await_that("sshd reads another list", || login("secret", "").code == 77);
    says(
        &login("secret", ""),
        &["AuthorizedKeysFile", "--authorized-keys"],
    );
    let list = "--authorized-keys /etc/ssh/keys/root";
    says(&login("secret", list).expect(0), &["both directions work"]);
    for host in [foo0, foo1] {
        host.types("sed -i /^AuthorizedKeys/d /etc/ssh/sshd_config")
            .expect(0);
        host.rereads();
    }

    // A host between them, as which the standby plays itself: only ssh finds the way.
    foo1.types("rm -r .ssh /etc/hasync").expect(0);
    foo0.types("rm -r .ssh /etc/hasync").expect(0);
    pair.let_the_administrator_in();
    foo0.writes(
        "root/.ssh/config",
        "Host far\n HostName 127.0.0.1\n HostKeyAlias standby\n ProxyJump root@standby\n",
    );
    foo0.types("ssh-keyscan standby >.ssh/known_hosts 2>/dev/null")
        .expect(0);
    let done = foo0.types("hasync pair --yes --root /srv root@far");
    assert_eq!(done.code, 78, "{done}");
    let words = [
        "proxyjump",
        "login: root@far answers",
        "the login came by way of another host",
        "cannot push into /srv",
    ];
    says(&done, &words);
    assert_eq!(foo1.reads("root/.ssh/known_hosts"), None);

    // With a configuration both know where the other one is, however the login goes.
    for host in [foo0, foo1] {
        host.types(INIT).expect(0);
    }
    let done = foo0.types(&format!("hasync pair {pin} root@far")).expect(0);
    says(&done, &["login: root@far answers", "both directions work"]);
}

#[test]
fn a_node_is_not_paired_with_itself() {
    let pair = pair();
    let foo0 = &pair.foo0;
    foo0.types("cat .ssh/id_ed25519.pub >>.ssh/authorized_keys")
        .expect(0);
    let pin = format!("--yes --fingerprint {}", fingerprint(foo0));
    let done = foo0.types(&format!("hasync pair --root /srv {pin} root@primary"));
    assert_eq!(done.code, 1, "{done}");
    says(&done, &["has this node's own key"]);
    assert_eq!(
        foo0.reads("root/.ssh/authorized_keys")
            .unwrap()
            .lines()
            .count(),
        1
    );
}

#[test]
fn what_does_not_work_is_said() {
    let pair = pair();
    let (foo0, foo1) = (&pair.foo0, &pair.foo1);
    let pin = format!("--yes --fingerprint {}", fingerprint(foo1));
    foo0.types(&format!("{INIT} --pair {pin}")).expect(0);

    // One direction alone.
    let deaf = "nft 'add table inet deaf; add chain inet deaf in { type filter hook input priority \
                0; }; add rule inet deaf in tcp dport 22 reject with tcp reset'";
    foo0.types(deaf).expect(0);
    let done = foo0.types("hasync pair --yes");
    assert_eq!(done.code, 69, "{done}");
    let words = [
        "this node can push to foo1: tree html",
        "foo1 cannot push tree html to this node",
    ];
    says(&done, &words);
    foo0.types("nft delete table inet deaf").expect(0);

    // The two configurations differ in a value, and in a tree.
    foo1.types("sed -i 's/interval = \"10m\"/interval = \"5m\"/' /etc/hasync/hasync.toml")
        .expect(0);
    foo1.types("mkdir /srv/mail").expect(0);
    foo1.adds(
        CONFIG,
        "\n[[tree]]\nname = \"mail\"\npath = \"/srv/mail\"\n",
    );
    let done = foo0.types("hasync check-config --peer");
    assert_eq!(done.code, 3, "{done}");
    says(&done, &["differs", "[cycle] interval"]);
    foo0.writes("/srv/html/a", "1");
    foo0.types("hasync promote --all && hasync push --all")
        .expect(0);
    let done = foo0.types("hasync cycle").expect(0);
    says(
        &done,
        &["the configuration of 10.0.0.2 differs", "[cycle] interval"],
    );

    // Another machine answers under the name.
    foo1.types("rm /etc/ssh/ssh_host_* && ssh-keygen -A")
        .expect(0);
    foo1.rereads();
    await_that("sshd has its new key", || {
        let now = foo0.types("ssh-keyscan -t ed25519 10.0.0.2 2>/dev/null");
        let known = foo0.reads("/etc/hasync/known_hosts").unwrap();
        let key = now.stdout_text();
        let key = key.split(' ').nth(2).unwrap_or_default().trim();
        !key.is_empty() && !known.contains(key)
    });
    let before = [files(foo0), files(foo1)];
    let done = foo0.types(&format!(
        "hasync pair --yes --fingerprint {}",
        fingerprint(foo1)
    ));
    assert_eq!(done.code, 76, "{done}");
    says(&done, &["has changed"]);
    assert_eq!([files(foo0), files(foo1)], before);
}
