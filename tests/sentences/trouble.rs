//! The sentences about pushes that fail, and about what a node lacks.

use super::*;

/// A file of the standby cannot be changed, and was to be.
fn stuck(pair: &mut Pair) {
    mirrored(pair);
    stick(pair, "+i");
    pair.write(Foo0, "html/index.html", "two");
    pair.write(Foo0, "html/other", "x");
    push(pair, Foo0, 23);
}

/// Whether the standby can give up its file.
fn stick(pair: &Pair, flag: &str) {
    run_ok("chattr", &[flag, &pair.dir.text("foo1/html/index.html")]);
}

fn read(pair: &Pair, name: &str) -> Vec<u8> {
    std::fs::read(pair.path(Foo1, name)).unwrap()
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            what: "a standby whose tree was emptied",
            happens: |pair| {
                mirrored(pair);
                std::fs::remove_dir_all(pair.path(Foo1, "html")).unwrap();
                std::fs::create_dir(pair.path(Foo1, "html")).unwrap();
            },
            on: Foo1,
            level: CRITICAL,
            condition: "emptied",
            sentence: "html is empty, and this node has had data of html",
            next: "mount its disk; if it is a new one, on ",
            ..ROW
        },
        Row {
            what: "a former primary whose tree was emptied",
            happens: |pair| {
                switched(pair);
                std::fs::remove_dir_all(pair.path(Foo0, "html")).unwrap();
                std::fs::create_dir(pair.path(Foo0, "html")).unwrap();
            },
            level: CRITICAL,
            condition: "emptied",
            sentence: "html is empty, and this node has had data of html",
            next: "mount its disk; if it is a new one, on foo1 `hasync promote html`, then \
                   on foo1 `hasync push --tree html` fills it",
            ..ROW
        },
        Row {
            what: "a standby whose records beside the data are gone",
            happens: |pair| {
                mirrored(pair);
                std::fs::remove_dir_all(pair.path(Foo1, "html/.hasync")).unwrap();
            },
            on: Foo1,
            level: CRITICAL,
            condition: "unrecorded",
            sentence: "html has no record of html beside it (.hasync)",
            next: "mount its disk; if it is a new one, `rm -r ",
            ..ROW
        },
        Row {
            what: "a commit that was cut off",
            happens: |pair| {
                mirrored(pair);
                pair.write(Foo0, "html/index.html", "two");
                let script = pair.read(Foo1, "hasync");
                let ends = "#!/bin/sh\nexport HASYNC_END_AT=journal";
                pair.write(Foo1, "hasync", script.replacen("#!/bin/sh", ends, 1));
                push(pair, Foo0, 12);
                pair.write(Foo1, "hasync", script);
            },
            on: Foo1,
            level: CRITICAL,
            condition: "interrupted",
            sentence: "a commit was cut off and the tree may be a mixture",
            next: "`hasync recover html`",
            ..ROW
        },
        Row {
            what: "a file that the standby cannot give up",
            happens: stuck,
            level: WARNING,
            condition: "failing",
            sentence: "the last push failed: partial: 1 entry was not mirrored, first: ",
            next: "mend that, then `hasync push --tree html`",
            mend: |pair| stick(pair, "-i"),
            ..ROW
        },
        Row {
            what: "a file that the standby could not give up, on the standby",
            happens: stuck,
            on: Foo1,
            level: WARNING,
            condition: "partial",
            sentence: "1 entry is not as on the source, first: ",
            next: "mend that, then on foo0 `hasync push --tree html`",
            mend: |pair| stick(pair, "-i"),
            ..ROW
        },
        Row {
            what: "a standby whose clock was set back over a boot",
            happens: |pair| {
                let script = pair.read(Foo1, "hasync");
                // As the half of hasync there knew it, an hour later and in another boot.
                let (_, exec) = script.rsplit_once("\nexec ").unwrap();
                let boot = pair.path(Foo1, "boot_id").display().to_string();
                pair.write(Foo1, "boot_id", "00000002-0000-4000-8000-000000000000\n");
                let before = format!(
                    "#!/bin/sh\nexport HASYNC_CLOCK_OFFSET=3600 HASYNC_RUN_DIR={}\nexec unshare \
                     -m sh -c 'mount --bind {boot} /proc/sys/kernel/random/boot_id && exec {}' \
                     hasync \"$@\"\n",
                    pair.run_dir(Foo1).display(),
                    exec.trim_end()
                );
                pair.write(Foo1, "hasync", before);
                mirrored(pair);
                pair.write(Foo1, "hasync", script);
            },
            on: Foo1,
            level: UNKNOWN,
            condition: "ageless",
            sentence: "how long ago is unknown because a clock was set",
            next: "on foo0 `hasync push --tree html`",
            ..ROW
        },
        Row {
            what: "a standby whose records are damaged",
            happens: |pair| {
                mirrored(pair);
                pair.write(Foo1, "record", read(pair, "state/trees/html/node"));
                pair.write(Foo1, "state/trees/html/node", "hasync");
            },
            on: Foo1,
            level: CRITICAL,
            condition: "unreadable",
            sentence: "cannot read the state of tree html",
            next: "mend that, then `hasync status html`",
            mend: |pair| {
                let record = read(pair, "record");
                pair.write(Foo1, "state/trees/html/node", record);
            },
            ..ROW
        },
        Row {
            what: "a source that was emptied",
            happens: |pair| {
                mirrored(pair);
                std::fs::remove_file(pair.path(Foo0, "html/index.html")).unwrap();
                push(pair, Foo0, 25);
            },
            level: CRITICAL,
            condition: "emptied",
            sentence: "html is empty, and this node has had data of html",
            next: "; to empty the standby too, `hasync push --tree html --no-brake`",
            way: 1,
            ..ROW
        },
        Row {
            what: "a push that would delete too much",
            happens: |pair| {
                for name in 0..200 {
                    pair.write(Foo0, &format!("html/{name}"), "x");
                }
                mirrored(pair);
                for name in 0..200 {
                    std::fs::remove_file(pair.path(Foo0, &format!("html/{name}"))).unwrap();
                }
                push(pair, Foo0, 25);
            },
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push failed: ",
            next: "nothing was deleted; if that is meant, `hasync push --tree html --no-brake`",
            ..ROW
        },
        Row {
            what: "a path that is not there",
            happens: |pair| {
                mirrored(pair);
                set_config(pair, "path = ", "path = \"/nonexistent/htlm\"");
                assert_ne!(pair.run(Foo0, &["push", "--tree", "html"]).code, 0);
            },
            level: CRITICAL,
            condition: "emptied",
            sentence: "/nonexistent/htlm is not there, and this node has had data of html",
            next: "mount its disk, or correct its path; ",
            mend: |pair| {
                restore_config(pair);
                pair.write(Foo0, "html/more", "x");
            },
            way: 1,
            ..ROW
        },
        Row {
            what: "a peer that is down",
            happens: |pair| {
                mirrored(pair);
                pair.sshd().stop();
                push(pair, Foo0, 69);
            },
            condition: "failing",
            sentence: "the last push failed: ",
            next: "the next cycle tries again; see whether 127.0.0.1 is up",
            mend: |pair| pair.sshd().start_again(),
            ..ROW
        },
        Row {
            what: "a peer with another host key",
            happens: |pair| {
                mirrored(pair);
                set_config(pair, "known_hosts = ", "known_hosts = \"/dev/null\"");
                push(pair, Foo0, 76);
            },
            level: WARNING,
            condition: "failing",
            sentence: "the last push failed: ",
            next: "compare the host key of 127.0.0.1 with known_hosts of [peer], correct that, \
                   then `hasync push --tree html`",
            mend: restore_config,
            ..ROW
        },
        Row {
            what: "a peer that takes no key",
            happens: |pair| {
                mirrored(pair);
                let config = pair.read(Foo0, "hasync.toml");
                let key = config.lines().find(|line| line.starts_with("identity = "));
                set_config(
                    pair,
                    "identity = ",
                    &key.unwrap().replace("user_key", "other_key"),
                );
                push(pair, Foo0, 77);
            },
            level: WARNING,
            condition: "failing",
            sentence: "the last push failed: ",
            next: "add the public key of this node to authorized_keys on 127.0.0.1, then `hasync \
                   push --tree html`",
            mend: restore_config,
            ..ROW
        },
        Row {
            what: "a peer without hasync",
            happens: |pair| {
                mirrored(pair);
                set_config(
                    pair,
                    "remote_bin = ",
                    "remote_bin = \"/nonexistent/hasync\"",
                );
                push(pair, Foo0, 127);
            },
            level: WARNING,
            condition: "failing",
            sentence: "the last push failed: ",
            next: "install hasync on 127.0.0.1, or name it by remote_bin of [peer] in ",
            mend: restore_config,
            ..ROW
        },
        Row {
            what: "a standby that is configured wrongly",
            happens: |pair| {
                mirrored(pair);
                pair.write(Foo1, "before", pair.read(Foo1, "hasync.toml"));
                let broken = pair.read(Foo1, "hasync.toml") + "what = 1\n";
                pair.write(Foo1, "hasync.toml", broken);
                push(pair, Foo0, 78);
            },
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push failed: ",
            next: "here or there, then `hasync check-config`",
            mend: |pair| {
                pair.write(Foo1, "hasync.toml", pair.read(Foo1, "before"));
                push(pair, Foo0, 0);
            },
            ..ROW
        },
    ]
}
