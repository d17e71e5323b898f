//! A node whose state can be kept no more: nothing is sent or received, and no failure is
//! remembered, but it is told, on the node that has the trouble.

use super::*;
use crate::support::mounted::Mounted;

/// Whether the disk of the state is full, or read-only.
#[derive(Clone, Copy, Debug)]
enum Disk {
    IsFull,
    IsReadOnly,
}

use Disk::{IsFull, IsReadOnly};

#[test]
fn a_state_that_cannot_be_written_is_told_until_it_can() {
    for (node, disk, exit) in [
        (Foo0, IsFull, 82),
        (Foo0, IsReadOnly, 11),
        (Foo1, IsFull, 82),
        (Foo1, IsReadOnly, 11),
    ] {
        let what = format!("{} {disk:?}", node.name());
        let pair = Pair::here("");
        let state = pair.path(node, "state");
        let mounted = Mounted::at(state.clone());
        pair.write(Foo0, "html/index.html", "one");
        pair.write(Foo0, "etc/a", "1");
        pair.write(Foo0, "etc/b", "1");
        pair.run(Foo0, &["push", "--all"]).expect(0);
        await_level(&pair, node, OK);
        let read_only = match disk {
            IsFull => {
                drop(std::fs::write(state.join("filler"), vec![0; 20 << 20]));
                None
            }
            IsReadOnly => Some(Mounted::read_only(&state)),
        };
        pair.write(Foo0, "html/late", "x");
        let done = pair.run(Foo0, &["push", "--tree", "html"]);
        assert_ne!(done.code, 0, "{what}: {done}");
        let check = pair.run(node, &["check"]).expect(CRITICAL);
        let says = "nothing can be written to ";
        assert!(check.stdout_text().contains(says), "{what}: {check}");
        let told = &json(&pair, node)["trees"][0];
        assert_eq!(told["condition"], "failing", "{what}: {told:#}");
        assert_eq!(told["last_failure"]["exit"], exit, "{what}: {told:#}");
        assert_eq!(told["promotable"], false, "{what}: {told:#}");
        // It ends in time, and says that this node may be primary all the same.
        let stop = pair.run(node, &["mirror", "stop"]).expect(0);
        let may_be = "this node may still be primary of conf, html: cannot ";
        assert_eq!(stop.stderr.contains(may_be), node == Foo0, "{what}: {stop}");
        pair.run(node, &["check"]).expect(CRITICAL);
        drop(read_only);
        let _ = std::fs::remove_file(state.join("filler"));
        pair.run(Foo0, &["cycle"]).expect(0);
        for node in [Foo0, Foo1] {
            await_level(&pair, node, OK);
        }
        pair.assert_equal();
        await_that("nobody has it open", || mounted.unmount());
    }
}
