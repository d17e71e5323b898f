//! The sentences about who is primary, and of which generation.

use super::*;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            what: "two new nodes",
            happens: |pair| pair.write(Foo0, "html/index.html", "one"),
            level: UNKNOWN,
            condition: "new",
            sentence: "nothing was sent or received yet",
            next: "on the node with the data `hasync push --tree html`",
            ..ROW
        },
        Row {
            what: "all is well, on the primary",
            happens: mirrored,
            condition: "equal",
            sentence: "primary, epoch 1, generation 1 (",
            next: NOTHING,
            ..ROW
        },
        Row {
            what: "all is well, on the standby",
            happens: mirrored,
            on: Foo1,
            condition: "equal",
            sentence: "; the standby is equal as of 2",
            next: NOTHING,
            ..ROW
        },
        Row {
            what: "a former primary that has handed over",
            happens: switched,
            condition: "handed-over",
            sentence: "it handed over to the other node, which had all of it as of 2",
            next: NOTHING,
            ..ROW
        },
        Row {
            what: "a switchover before the first push",
            happens: switched,
            on: Foo1,
            condition: "unsent",
            sentence: "it was promoted, and has not pushed since; the standby is equal as of 2",
            next: "`hasync push --tree html`",
            ..ROW
        },
        Row {
            what: "a last push that did not come to its end",
            happens: |pair| {
                mirrored(pair);
                pair.write(Foo0, "html/late", "x");
                pair.sshd().stop();
                pair.run(Foo0, &["mirror", "stop"]).expect(0);
                pair.sshd().start_again();
            },
            condition: "broke-off",
            sentence: "it was primary and has received nothing since: what changed here after that \
                       may be here alone",
            next: "nothing needs to be done; to go on with what is here, `hasync promote html`",
            way: 1,
            ..ROW
        },
        Row {
            what: "an undo on the standby, which goes on with it",
            happens: undone,
            on: Foo1,
            level: WARNING,
            condition: "undone",
            sentence: "that is by an undo here: the mirror stands still, the next push of foo0 is \
                       refused (81)",
            next: "to go on with what is here, `hasync promote html`; to take what foo0 has, \
                   `hasync adopt html --from foo0 --generation ",
            // foo0 is primary as well; it is said there what follows.
            mend: |pair| drop(pair.run(Foo0, &["demote", "html"]).expect(0)),
            ..ROW
        },
        Row {
            what: "an undo on the standby, given up",
            happens: undone,
            on: Foo1,
            level: WARNING,
            condition: "undone",
            sentence: "the next push of foo0 is refused (81)",
            next: "; to take what foo0 has, `hasync adopt html --from foo0 --generation ",
            way: 1,
            ..ROW
        },
        Row {
            what: "an undo on a former primary, given up",
            happens: |pair| {
                for text in ["zero", "one"] {
                    pair.write(Foo1, "html/index.html", text);
                    push(pair, Foo1, 0);
                }
                pair.run(Foo1, &["mirror", "stop"]).expect(0);
                pair.run(Foo0, &["mirror", "start"]).expect(0);
                pair.write(Foo0, "html/other", "two");
                push(pair, Foo0, 0);
                pair.run(Foo0, &["mirror", "stop"]).expect(0);
                pair.run(Foo1, &["mirror", "start"]).expect(0);
                pair.run(Foo0, &["undo", "html"]).expect(0);
            },
            level: WARNING,
            condition: "undone",
            sentence: "the next push of foo1 is refused (81)",
            next: "; to take what foo1 has, `hasync adopt html --from foo1 --generation ",
            way: 1,
            ..ROW
        },
        Row {
            what: "a push after an undo on the standby, which is kept",
            happens: undone_and_pushed,
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push failed: the nodes have diverged on tree html",
            next: "to keep what foo0 has: on foo1 `hasync adopt html --from foo0 --generation ",
            way: 1,
            ..ROW
        },
        Row {
            what: "a push after an undo on the standby, which is given up",
            happens: undone_and_pushed,
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push failed: the nodes have diverged on tree html",
            next: "; to keep what foo1 has: on foo0 `hasync demote html`, on foo1 `hasync promote \
                   html --force`, on foo1 `hasync push --tree html`",
            ..ROW
        },
        Row {
            what: "data that is given up",
            happens: |pair| {
                undone(pair);
                pair.run(Foo1, &["adopt", "--all", "--from", "foo0"])
                    .expect(0);
            },
            on: Foo1,
            level: WARNING,
            condition: "given-up",
            sentence: " of foo0, whose next push is received",
            next: "on foo0 `hasync push --tree html`",
            ..ROW
        },
        Row {
            what: "the service came, nobody started the mirror, and a cycle pushes",
            happens: |pair| {
                by_role(pair, "1h");
                mirrored(pair);
                pair.serve(Foo1, true);
                pair.run(Foo1, &["cycle"]).expect(80);
            },
            on: Foo1,
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push failed: this node is a standby of tree html",
            next: "on foo0 `hasync push --tree html`; to go on with what is here, `hasync promote \
                   html`",
            ..ROW
        },
        Row {
            what: "an undo on the primary",
            happens: |pair| {
                mirrored(pair);
                pair.write(Foo0, "html/index.html", "two");
                push(pair, Foo0, 0);
                pair.run(Foo0, &["mirror", "stop"]).expect(0);
                pair.run(Foo1, &["mirror", "start"]).expect(0);
                push(pair, Foo1, 0);
                pair.run(Foo1, &["undo", "html"]).expect(0);
            },
            on: Foo1,
            condition: "unsent",
            sentence: "that is by an undo here, and not pushed yet; the standby is equal as of 2",
            next: "`hasync push --tree html`",
            ..ROW
        },
        Row {
            what: "both promoted, to keep this one",
            happens: both_promoted,
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push failed: the standby is primary of tree html itself",
            next: "to keep what foo0 has: on foo1 `hasync adopt html --from foo0",
            ..ROW
        },
        Row {
            what: "both promoted, to keep the other",
            happens: both_promoted,
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push failed: the standby is primary of tree html itself",
            next: "; to keep what foo1 has: on foo0 `hasync demote html`",
            way: 1,
            ..ROW
        },
        Row {
            what: "both promoted, where nobody pushed",
            happens: both_promoted,
            on: Foo1,
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push to this node was refused: the standby is primary of tree html \
                       itself",
            next: "`hasync diverged html` lists what differs and the two ways out",
            mend: |pair| drop(pair.run(Foo0, &["demote", "html"]).expect(0)),
            ..ROW
        },
        Row {
            what: "a former primary that serves no more and was never told",
            happens: |pair| {
                by_role(pair, "1h");
                pair.serve(Foo0, true);
                mirrored(pair);
                pair.serve(Foo0, false);
                pair.serve(Foo1, true);
                pair.run(Foo1, &["promote", "html", "--force"]).expect(0);
                pair.write(Foo1, "html/index.html", "two");
                pair.run(Foo0, &["cycle"]).expect(0);
            },
            level: CRITICAL,
            condition: "failing",
            sentence: "it does not follow by itself: foo1 was promoted of tree html since this \
                       node was",
            next: "`hasync diverged html` lists what differs and the two ways out",
            mend: |pair| drop(pair.run(Foo0, &["demote", "html"]).expect(0)),
            ..ROW
        },
        Row {
            what: "the service came, and nobody started the mirror",
            happens: |pair| {
                by_role(pair, "1s");
                pair.serve(Foo0, true);
                mirrored(pair);
                pair.run(Foo0, &["mirror", "stop"]).expect(0);
                await_level(pair, Foo0, WARNING);
            },
            level: WARNING,
            condition: "mismatch",
            sentence: "html is recorded as standby's here and is not pushed, and by [role] this \
                       node serves",
            next: "`hasync mirror start`",
            ..ROW
        },
        Row {
            what: "the service went, and nobody stopped the mirror",
            happens: |pair| {
                by_role(pair, "1h");
                mirrored(pair);
            },
            level: WARNING,
            condition: "mismatch",
            sentence: "html is recorded as primary's here and receives nothing, and by [role] this \
                       node does not serve",
            next: "`hasync mirror stop`",
            // Then the other node takes over.
            mend: |pair| pair.serve(Foo1, true),
            ..ROW
        },
        Row {
            what: "between mirror stop and the release of the address",
            happens: |pair| {
                by_role(pair, "1h");
                pair.serve(Foo0, true);
                mirrored(pair);
                pair.run(Foo0, &["mirror", "stop"]).expect(0);
                pair.run(Foo0, &["cycle"]).expect(0);
            },
            condition: "moving",
            sentence: "it was demoted just now, and by [role] the service is still here",
            next: "nothing needs to be done while the cluster moves it",
            ..ROW
        },
    ]
}
