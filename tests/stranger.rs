//! A stranger's first hour, from the README alone: two hosts as they are after their installation,
//! on which nothing is typed but what stands there, or what hasync printed before. The cluster
//! manager is played: the address moves, and the resource script is called as heartbeat does.

use std::process::Child;

use crate::support::clean_root::{CleanPair, CleanRoot, SSHD};
use crate::support::{Finished, await_that};

/// The service address of the README.
const SERVICE: &str = "10.0.0.100/24";

struct Hour(CleanPair);

impl Hour {
    /// Both nodes mirror: what the README says before the cluster manager is started.
    fn begins_to_mirror(&self) {
        for line in readme("The first pair", "hasync ") {
            if !line.starts_with("hasync init") {
                self.0.foo0.types(&line).expect(0);
            }
        }
        self.0.foo1.types("hasync check-config").expect(0);
        let status = self.0.foo1.types("hasync status").expect(0);
        assert!(status.stdout_text().contains("html"), "{status}");
    }

    /// The lines for the crontab and for heartbeat are put where they belong.
    fn installs_the_lines(&self) -> String {
        let cron = readme("The first pair", "*/10");
        let link = readme("The first pair", "ln -s");
        let (cron, link) = (cron.first().unwrap(), link.first().unwrap());
        for host in [&self.0.foo0, &self.0.foo1] {
            host.types("mkdir -p /etc/ha.d/resource.d").expect(0);
            host.types(link).expect(0);
        }
        let (_, command) = cron.split_once("root").unwrap();
        command.trim().to_owned()
    }

    /// The failover drill and the way back.
    fn plays_the_drill(&self, cron: &str) {
        let (foo0, foo1) = (&self.0.foo0, &self.0.foo1);
        starts(foo0);
        foo0.writes("/srv/html/before", "one");
        as_cron(foo0, cron).expect(0);
        assert_eq!(foo1.reads("/srv/html/before").as_deref(), Some("one"));
        let quiet = as_cron(foo1, cron).expect(0);
        assert!(
            quiet.stdout.is_empty() && quiet.stderr.is_empty(),
            "{quiet}"
        );
        foo0.types("hasync status").expect(0);

        foo0.writes("/srv/html/last", "two");
        stops(foo0);
        assert_eq!(foo1.reads("/srv/html/last").as_deref(), Some("two"));
        starts(foo1);
        let status = foo1.types("hasync mirror status").expect(0);
        assert!(status.stdout_text().starts_with("running"), "{status}");
        foo1.writes("/srv/html/there", "three");
        foo1.types("hasync cycle").expect(0);
        assert_eq!(foo0.reads("/srv/html/there").as_deref(), Some("three"));

        // Back at home.
        stops(foo1);
        starts(foo0);
        let status = foo0.types("hasync mirror status").expect(0);
        assert!(status.stdout_text().starts_with("running"), "{status}");
        foo0.writes("/srv/html/again", "four");
        as_cron(foo0, cron).expect(0);
        assert_eq!(foo1.reads("/srv/html/again").as_deref(), Some("four"));
        for host in [foo0, foo1] {
            let status = host.types("hasync status").expect(0);
            assert!(!status.stdout_text().contains("diverged"), "{status}");
        }
    }
}

/// The service comes to a node, as heartbeat starts the resources of a line.
fn starts(host: &CleanRoot) {
    host.types(&format!("ip addr add {SERVICE} dev link0"))
        .expect(0);
    host.types("/etc/ha.d/resource.d/mirror start").expect(0);
}

/// And goes from it, in the other order.
fn stops(host: &CleanRoot) {
    host.types("/etc/ha.d/resource.d/mirror stop").expect(0);
    host.types(&format!("ip addr del {SERVICE} dev link0"))
        .expect(0);
}

/// Cron knows few directories, and no terminal.
fn as_cron(host: &CleanRoot, command: &str) -> Finished {
    host.types(&format!(
        "env -i PATH=/usr/bin:/bin HOME=/ sh -c '{command}'"
    ))
}

/// The lines of code below a heading of the README that begin so, without their remarks.
fn readme(heading: &str, start: &str) -> Vec<String> {
    let text = include_str!("../README.md").replace("\\\n", " ");
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let code = section.split("```").skip(1).step_by(2);
    let lines = code
        .flat_map(str::lines)
        .filter(|line| line.starts_with(start));
    let lines: Vec<String> = lines
        .map(|line| line.split(" #").next().unwrap().trim().to_owned())
        .collect();
    assert!(!lines.is_empty(), "{heading}: nothing begins with {start}");
    lines
}

/// The one line that hasync printed to be typed, which begins so.
#[track_caller]
fn printed(done: &Finished, start: &str) -> String {
    let text = done.stdout_text();
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with(start));
    line.unwrap_or_else(|| panic!("no line to type: {start}\n{done}"))
        .to_owned()
}

#[test]
fn with_sshd() {
    let hour = Hour(CleanPair::boot(SSHD));
    let (foo0, foo1) = (&hour.0.foo0, &hour.0.foo1);
    hour.0.let_the_administrator_in();
    foo0.install();
    foo0.writes("/srv/html/index.html", "hello");

    // The first push. The standby lacks the program at first.
    let pair = readme("The first real push", "hasync pair").remove(0);
    let missing = foo0.types_and_answers(&pair, "y\n");
    assert_eq!(missing.code, 127, "{missing}");
    assert!(
        missing
            .stdout_text()
            .contains("hasync not found on root@standby"),
        "{missing}"
    );
    foo1.install();
    let nobody = foo1.types("hasync pair --yes --root /srv root@primary");
    nobody.expect_error(76, &["not trusted", "--fingerprint"]);
    let paired = foo0.types_and_answers(&pair, "y\n").expect(0);
    assert!(
        paired.stdout_text().contains("both directions work"),
        "{paired}"
    );
    let again = foo0.types(&pair).expect(0).stdout_text();
    assert!(again.contains("nothing was to be changed"), "{again}");
    for push in readme("The first real push", "hasync push") {
        foo0.types(&push).expect(0);
    }
    assert_eq!(foo1.reads("/srv/html/index.html").as_deref(), Some("hello"));
    let elsewhere = "hasync push -a --identity /etc/hasync/id_ed25519 /etc/hosts standby:/etc/x";
    assert_ne!(foo0.types(elsewhere).code, 0);
    assert_eq!(foo1.reads("/etc/x"), None);

    // The first pair, with one file for both.
    let init = readme("The first pair", "hasync init").remove(0);
    let done = foo0.types_and_answers(&init, "y\n").expect(0);
    assert!(
        done.stdout_text().contains("both directions work"),
        "{done}"
    );
    let file = "/etc/hasync/hasync.toml";
    assert_eq!(foo0.reads(file), foo1.reads(file));
    for host in [foo0, foo1] {
        assert_eq!(host.mode(file), 0o644);
        assert_eq!(host.mode("/etc/hasync/id_ed25519"), 0o600);
    }
    assert_eq!(foo0.mode("root/.ssh/authorized_keys"), 0o600);
    let again = foo0.types(&init).expect(0).stdout_text();
    assert!(again.contains("nothing was to be changed"), "{again}");
    let printed_cron = printed(&done, "*/10");
    assert!(
        printed_cron.contains("/usr/local/bin/hasync cycle"),
        "{printed_cron}"
    );

    hour.begins_to_mirror();
    let cron = hour.installs_the_lines();
    hour.plays_the_drill(&cron);
}

#[test]
fn with_servers_of_its_own() {
    let hour = Hour(CleanPair::boot("exec sleep 100000"));
    let (foo0, foo1) = (&hour.0.foo0, &hour.0.foo1);
    let init = readme("The first pair", "hasync init").remove(0);
    let init = init.replace(" --pair", " --port 8730");
    for host in [foo0, foo1] {
        host.install();
        host.types("mkdir /srv/html").expect(0);
        host.types(&init).expect(0);
    }
    foo0.writes("/srv/html/index.html", "hello");
    let nobody = foo0.types("hasync pair");
    assert_eq!(nobody.code, 69, "{nobody}");
    assert!(
        nobody.stdout_text().contains("hasync pair --by-hand"),
        "{nobody}"
    );

    let first = foo0.types("hasync pair --by-hand").expect(0);
    let there = foo1
        .types(&printed(&first, "hasync pair --by-hand --key"))
        .expect(0);
    let here = foo0
        .types(&printed(&there, "hasync pair --by-hand --key"))
        .expect(0);
    let servers = Servers([(foo0, &here), (foo1, &there)].map(|(host, said)| {
        let server = host.starts(&printed(said, "hasync serve --listen"));
        await_that("the server listens", || {
            host.said().contains("listening on")
        });
        server
    }));
    hour.begins_to_mirror();
    assert_eq!(foo1.reads("/srv/html/index.html").as_deref(), Some("hello"));
    let cron = hour.installs_the_lines();
    hour.plays_the_drill(&cron);
    drop(servers);
}

/// Servers that end with the test.
struct Servers([Child; 2]);

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.0 {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
