//! How a node knows whether it is primary: by real addresses on real interfaces, by heartbeat's
//! resources, by a command.

use crate::support::netns::{NetNs, PRIMARY, STANDBY};
use crate::support::process::run_ok;
use crate::support::{Finished, Hasync, TempTree};

/// A configuration file in a directory of its own.
struct Configured {
    dir: TempTree,
}

impl Configured {
    fn with(text: &str) -> Self {
        let dir = TempTree::new();
        dir.write("hasync.toml", text);
        Self { dir }
    }

    fn role(&self, options: &[&str], under: &[&str]) -> Finished {
        let file = self.dir.text("hasync.toml");
        Hasync::new()
            .args(["role", "--config", &file])
            .args(options)
            .under(under)
            .run()
    }
}

#[test]
fn the_service_address_makes_the_primary_and_moves() {
    let nodes = NetNs::pair();
    for (address, label) in [("10.99.0.100", "24"), ("fd99::100", "64")] {
        let config = Configured::with(&format!("[role]\naddress = \"{address}\"\n"));
        let on = |launcher: &[&str], verb: &str| {
            let words = [
                "ip",
                "addr",
                verb,
                &format!("{address}/{label}"),
                "dev",
                "link0",
            ];
            let words = [launcher, &words, &["nodad"][..usize::from(label == "64")]].concat();
            run_ok(words[0], &words[1..]);
        };
        let (p, s) = (nodes.on_primary(), nodes.on_standby());
        for (holder, other) in [(&p, &s), (&s, &p)] {
            on(holder, "add");
            let here = config.role(&["--is", "primary"], holder).expect(0);
            assert_eq!(
                here.stdout_text(),
                format!("primary: {address} is on link0\n")
            );
            let there = config.role(&["--is", "primary"], other).expect(3);
            assert!(there.stdout_text().starts_with("standby: "), "{there}");
            config.role(&["--is", "standby", "-q"], other).expect(0);
            on(holder, "del");
        }
    }
}

#[test]
fn an_address_on_another_interface_is_not_the_service() {
    let nodes = NetNs::pair();
    let role = |interface: &str| {
        let text = format!("[role]\naddress = \"{PRIMARY}\"\ninterface = \"{interface}\"\n");
        let done = Configured::with(&text).role(&[], &nodes.on_primary());
        done.expect(0).stdout_text()
    };
    assert!(role("link0").starts_with("primary: "), "{}", role("link0"));
    assert!(role("lo").contains("is not on lo"), "{}", role("lo"));
}

#[test]
fn heartbeats_line_names_the_address() {
    let nodes = NetNs::pair();
    let lines = format!("foo0 \\\n  IPaddr::{PRIMARY}/24/link0 mirror httpd\n");
    let config = Configured::with("");
    config.dir.write("haresources", lines);
    let file = config.dir.text("haresources");
    config.dir.write(
        "hasync.toml",
        format!("[role]\nresource = \"mirror\"\nharesources = \"{file}\"\n"),
    );
    config
        .role(&["--is", "primary"], &nodes.on_primary())
        .expect(0);
    config
        .role(&["--is", "standby"], &nodes.on_standby())
        .expect(0);
    config
        .dir
        .write("haresources", format!("foo0 {STANDBY} httpd\n"));
    config
        .role(&[], &nodes.on_primary())
        .expect_error(78, &[&file, "mirror"]);
}

#[test]
fn a_command_decides_and_its_failure_is_no_role() {
    let role = |lines: &str| Configured::with(&format!("[role]\n{lines}\n")).role(&[], &[]);
    let says = |lines: &str, start: &str| {
        let done = role(lines).expect(0);
        assert!(done.stdout_text().starts_with(start), "{done}");
    };
    says("command = \"exit 0\"", "primary: ");
    says("command = \"exit 1\"", "standby: ");
    says("command = \"echo all\"\nexpect = \"all\"", "primary: ");
    says("command = \"echo none\"\nexpect = \"all\"", "standby: ");
    role("command = \"echo broken >&2; exit 1\"\nexpect = \"all\"")
        .expect_error(11, &["cannot tell the role", "broken"]);
    role("command = \"/nowhere/is-primary\"").expect_error(11, &["cannot tell the role"]);
    role("command = \"kill -TERM $$\"").expect_error(11, &["cannot tell the role"]);
    role("command = \"sleep 60\"\ntimeout = \"200ms\"")
        .expect_error(11, &["was ended after 0.2 s"]);
}
