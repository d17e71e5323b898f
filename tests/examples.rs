//! The example files for admins are what they say: each is read by the program it is for.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::hasync::RUN_DIR;
use crate::support::{Finished, Hasync, TempTree, process};

fn example(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("cli/examples")
        .join(name)
}

/// Runs a command line of an example with the program under test and the example configuration,
/// its roots moved to where nothing is.
fn run(line: &str) -> Finished {
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[0], "/usr/local/bin/hasync", "{line}");
    let dir = TempTree::new();
    let config = example("hasync.toml")
        .replace(
            "#state = \"/var/lib/hasync\"",
            &format!("state = \"{}\"", dir.text("state")),
        )
        .replace("/var/log/hasync.log", &dir.text("log"))
        .replace("\"/srv/html\"", &format!("\"{}\"", dir.text("html")))
        .replace("\"/var/spool/mail\"", &format!("\"{}\"", dir.text("mail")))
        .replace("\"/etc/", &format!("\"{}/", dir.text("etc")))
        .replace("[peer]\n", "[peer]\nhost = \"10.0.0.2\"\n");
    dir.write("hasync.toml", config);
    Hasync::new()
        .args(&words[1..])
        .args(["--config", &dir.text("hasync.toml")])
        .env(RUN_DIR, dir.path("run"))
        .run()
}

#[test]
fn the_crontab_and_the_services_start_what_there_is() {
    let crontab = example("crontab");
    let line = crontab.lines().find(|line| !line.starts_with('#')).unwrap();
    let (times_and_user, command) = line.split_once(" root ").unwrap();
    assert_eq!(times_and_user.split(' ').count(), 5);
    // This host has not the service address: there is nothing to do.
    let done = run(command).expect(0);
    assert!(done.stdout.is_empty() && done.stderr.is_empty(), "{done}");

    for (unit, said) in [
        ("hasync-cycle.service", ""),
        ("hasync-recover.service", "html: nothing to recover"),
    ] {
        let text = example(unit);
        let mut lines = text.lines();
        let command = lines
            .find_map(|line| line.strip_prefix("ExecStart="))
            .unwrap();
        let done = run(command).expect(0);
        assert!(done.stdout_text().contains(said), "{done}");
    }
}

#[test]
fn systemd_understands_the_units() {
    let Ok(found) = Command::new("systemd-analyze").arg("--version").output() else {
        println!("skipped: systemd-analyze is not installed");
        return;
    };
    assert!(found.status.success());
    let dir = TempTree::new();
    for unit in [
        "hasync-cycle.service",
        "hasync-cycle.timer",
        "hasync-recover.service",
    ] {
        // The program is looked for by systemd-analyze.
        let program = Hasync::program().display().to_string();
        dir.write(
            unit,
            example(unit).replace("/usr/local/bin/hasync", &program),
        );
    }
    for unit in [
        "hasync-cycle.service",
        "hasync-cycle.timer",
        "hasync-recover.service",
    ] {
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]).arg(dir.path(unit));
        let done = process::Running::start(verify).finish();
        let about_us: Vec<&str> = done
            .stderr
            .lines()
            .filter(|line| line.contains("hasync-"))
            .collect();
        assert!(about_us.is_empty(), "{unit}: {about_us:#?}\n{done}");
    }
}

#[test]
fn heartbeats_line_is_read_for_the_role() {
    let dir = TempTree::new();
    let file = path("haresources").display().to_string();
    dir.write(
        "hasync.toml",
        format!("[role]\nresource = \"mirror\"\nharesources = \"{file}\"\n"),
    );
    let done = Hasync::new()
        .args(["role", "--config", &dir.text("hasync.toml")])
        .run()
        .expect(0);
    assert!(
        done.stdout_text().starts_with("standby: 10.0.0.100 of "),
        "{done}"
    );
}
