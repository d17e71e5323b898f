//! What is said and heard in rsync's words: formats of lines, names of entries, the command that
//! reaches a host and the variables that scripts set.

use std::fs;
use std::process::Command;

use crate::support::hasync::FakeRsh;
use crate::support::mounted::Mounted;
use crate::support::process::{Finished, Running};
use crate::support::temptree::set_mtime;
use crate::support::{Hasync, Snapshot, TempTree, need_root, rsync};

/// A source, and a target for each program that lacks some of it and has more.
fn scene() -> TempTree {
    let trees = TempTree::new();
    let long = "x".repeat(12_345);
    for (file, data) in [
        ("src/a", "newer"),
        ("src/sub/f", &long),
        ("src/sub/same", "same"),
        ("more/g", "more"),
    ] {
        trees.write(file, data);
    }
    trees.symlink("../a", "src/sub/link");
    trees.hard_link("src/sub/f", "src/sub/linked");
    for target in ["by-rsync", "by-hasync"] {
        trees.write(format!("{target}/a"), "old");
        trees.write(format!("{target}/sub/same"), "same");
        trees.write(format!("{target}/sub/f"), "older");
        trees.write(format!("{target}/sub/gone"), "gone");
    }
    for entry in walkdir::WalkDir::new(trees.root()).contents_first(true) {
        set_mtime(entry.unwrap().path(), 1_600_000_000, 0);
    }
    trees
}

fn run(trees: &TempTree, mut command: Command) -> Finished {
    command.current_dir(trees.root());
    Running::start(command).finish()
}

/// Both programs with these options and sources, each on the way to its own target.
fn both(trees: &TempTree, words: &[String]) -> [Finished; 2] {
    let rsh = FakeRsh::plain();
    let target = |name: &str| format!("host:{}", trees.path(name).display());
    let mut theirs = Command::new("rsync");
    theirs.args(["-e", &rsh.path()]).args(words);
    theirs.arg(target("by-rsync"));
    let ours = Hasync::push(&[]).args(rsh.options()).args(words);
    let ours = ours.arg(target("by-hasync")).command();
    [theirs, ours].map(|command| run(trees, command).expect(0))
}

/// What both print, line by line, without their order.
fn lines(trees: &TempTree, words: &[String]) -> [Vec<String>; 2] {
    both(trees, words).map(|done| {
        let mut lines: Vec<String> = done.stdout_text().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    })
}

#[track_caller]
fn check(trees: &TempTree, words: &[String]) {
    let [theirs, ours] = lines(trees, words);
    assert_eq!(ours, theirs, "{words:?}");
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_format_has_rsyncs_values() {
    assert!(rsync::is_the_oracle());
    for format in [
        "%i %n%L",
        "%n",
        "%f",
        "%o %f %L",
        "[%20n][%-20n][%5o][%30M]",
        "[%L][%9L][%-12L]",
        "%a %h %m %P %u %z %",
        "%%%5%100%",
        "",
    ] {
        for options in ["-aH", "-aH --delete", "-aHi --delete"] {
            let mut words = words(options);
            words.extend([format!("--out-format={format}"), "src/".to_owned()]);
            check(&scene(), &words);
        }
    }
    // A new entry alone has all of these.
    for format in ["%U %G %B", "%'l|%''l|%'''l|%10'l|%'-10l|%l"] {
        let words = [
            "-a".to_owned(),
            format!("--out-format={format}"),
            "src/sub/f".to_owned(),
            "src/sub/link".to_owned(),
        ];
        check(&scene(), &words);
    }
}

#[test]
fn a_log_names_what_goes_as_rsyncs_does() {
    assert!(rsync::is_the_oracle());
    for format in ["%o %n%L", "%f", "%i %f"] {
        let said = ["by-rsync", "by-hasync"].map(|name| {
            let trees = scene();
            let mut words = words("-aH --delete");
            words.push(format!("--log-file={}", trees.path("log").display()));
            words.push(format!("--log-file-format={format}"));
            words.push("src/".to_owned());
            let rsh = FakeRsh::plain();
            let target = format!("host:{}", trees.path(name).display());
            let command = match name {
                "by-rsync" => {
                    let mut command = Command::new("rsync");
                    command.args(["-e", &rsh.path()]).args(words).arg(target);
                    command
                }
                _ => {
                    let push = Hasync::push(&[]).args(rsh.options()).args(words);
                    push.arg(target).command()
                }
            };
            run(&trees, command).expect(0);
            let text = fs::read_to_string(trees.path("log")).unwrap();
            let said = text.lines().filter_map(|line| line.split_once("] "));
            let said = said.map(|(_, said)| said.to_owned());
            let mut said: Vec<String> = said.filter(|said| !said.starts_with("sent ")).collect();
            said.sort();
            said
        });
        assert_eq!(said[1], said[0], "{format}");
    }
}

#[test]
fn an_entry_is_named_as_its_source_is() {
    assert!(rsync::is_the_oracle());
    for line in [
        "-aR HERE/src",
        "-aR HERE/./src",
        "-aR src",
        "-aR HERE/src more",
        "-aR --delete HERE/src HERE/more",
        "-a src more",
        "-a src/ more/",
        "-a HERE/src/../src/. more/g",
        "-a src/a",
        "-a --files-from=list src",
        "-a --files-from=list HERE",
    ] {
        for format in ["-i", "--out-format=%n|%f"] {
            let trees = scene();
            trees.write("list", "a\nsub/f\nsrc/a\n");
            let line = line.replace("HERE", &trees.root().display().to_string());
            check(
                &trees,
                &words(&format!("{format} --ignore-missing-args {line}")),
            );
        }
    }
}

#[test]
fn mount_points_are_left_out_when_x_is_doubled() {
    need_root();
    assert!(rsync::is_the_oracle());
    for options in [
        "-aix",
        "-aixx",
        "-aix -x",
        "-ai -xx --no-x",
        "-aixx --delete",
        "-axx --info=mount",
    ] {
        let trees = scene();
        trees.mkdir("src/sub/mounted");
        let mounted = Mounted::at(trees.path("src/sub/mounted"));
        mounted.write("in", "in");
        set_mtime(mounted.path(), 1_600_000_000, 0);
        set_mtime(&mounted.path().join("in"), 1_600_000_000, 0);
        set_mtime(&trees.path("src/sub"), 1_600_000_000, 0);
        check(&trees, &words(&format!("{options} src/")));
        let [theirs, ours] = ["by-rsync", "by-hasync"].map(|name| {
            let paths = Snapshot::of(&trees.path(name)).entries.into_keys();
            paths.collect::<Vec<_>>()
        });
        assert_eq!(ours, theirs, "{options}");
    }
}

#[test]
fn no_word_takes_the_protection_of_backups_back() {
    for clear in [
        "--filter=clear",
        "--filter=!",
        "--filter=. rules",
        "--exclude=!",
    ] {
        let trees = scene();
        trees.write("rules", "!\n");
        trees.write("by-hasync/bak/older", "kept");
        let words = [
            "-a",
            "--delete",
            "--backup-dir=bak",
            clear,
            "src/",
            "by-hasync",
        ];
        run(&trees, Hasync::push(&words).command()).expect(0);
        assert_eq!(trees.read("by-hasync/bak/older"), b"kept", "{clear}");
        assert_eq!(trees.read("by-hasync/bak/sub/gone"), b"gone", "{clear}");
    }
}

#[test]
fn the_environment_says_what_it_says_to_rsync() {
    let trees = scene();
    let rsh = FakeRsh::plain();
    let path = rsh.path();
    let push = |variable: &str, value: &str, words: &[&str]| {
        let bin = Hasync::program().display().to_string();
        let target = format!("nowhere.invalid:{}", trees.path("by-hasync").display());
        let all = [&["-a", "--remote-bin", &bin], words, &["src/", &target]].concat();
        let mut command = Hasync::push(&all).command();
        command.env(variable, value);
        run(&trees, command)
    };
    push("RSYNC_RSH", &path, &[]).expect(0);
    // What is typed comes before it.
    push("RSYNC_RSH", "/bin/false", &["-e", &path]).expect(0);
    push("RSYNC_RSH", &path, &["--port=22"]).expect(68);
    push("RSYNC_RSH", "", &[]).expect(68);
    push("RSYNC_RSH", "ssh 'x", &[]).expect_error(1, &["RSYNC_RSH"]);
    push("RSYNC_ICONV", "utf8,latin1", &["-e", &path]).expect_error(1, &["--no-iconv"]);
    for (value, word) in [("-", "--no-motd"), (".", "--no-iconv"), (".", "--iconv=-")] {
        push("RSYNC_ICONV", value, &["-e", &path, word]).expect(0);
    }
    for (variable, value) in [
        ("RSYNC_PARTIAL_DIR", ".part"),
        ("RSYNC_PROTECT_ARGS", "1"),
        ("RSYNC_OLD_ARGS", "1"),
        ("RSYNC_CONNECT_PROG", "false"),
        ("RSYNC_CHECKSUM_LIST", "md5"),
        ("RSYNC_COMPRESS_LIST", "zlib"),
        ("RSYNC_MAX_ALLOC", "1"),
        ("RSYNC_PROXY", "nowhere:1"),
        ("RSYNC_PASSWORD", "x"),
    ] {
        push(variable, value, &["-e", &path]).expect(0);
    }
}

#[test]
fn what_the_command_of_e_does_not_get_is_refused() {
    for (option, instead) in [
        ("--identity=k", "-i FILE"),
        ("--ssh-config=c", "-F FILE"),
        ("--known-hosts=k", "UserKnownHostsFile"),
        ("--contimeout=5", "ConnectTimeout"),
    ] {
        let push = Hasync::push(&["-a", "-e", "ssh", option, "src/", "host:dst"]);
        push.run().expect_error(1, &[instead]);
    }
}

/// Where there is nothing to push the far end has nothing to complain of.
#[test]
fn a_push_of_nothing_says_so_and_no_more() {
    let trees = TempTree::new();
    trees.write("src/file", "");
    for done in both(&trees, &["-t".to_owned(), "src".to_owned()]) {
        assert_eq!(done.stdout_text(), "skipping directory src\n", "{done}");
        assert_eq!(done.stderr, "", "{done}");
    }
}
