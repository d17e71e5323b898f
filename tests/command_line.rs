//! The command line as admins' scripts use it: usage errors exit 1 and say what is wrong,
//! help and version exit 0, options combine as in rsync.

use crate::support::process::{Running, run_ok};
use crate::support::{Finished, Hasync, Snapshot, TempTree};

#[test]
fn unknown_option_is_a_usage_error() {
    for option in ["--nope", "-Q", "-aQ", "--nope=1"] {
        Hasync::push(&[option, "a", "b"])
            .run()
            .expect(1)
            .assert_says("unknown option");
    }
}

#[test]
fn missing_or_impossible_arguments_are_usage_errors() {
    let cases: [&[&str]; 6] = [
        &["push"],
        &["push", "-a", "only-one"],
        &["push", "-a", "host:a", "host:b"],
        &["push", "--delete", "a", "b"],
        &["push", "-a", "--max-delete=x", "a", "b"],
        &["no-such-verb"],
    ];
    for arguments in cases {
        let done = Hasync::new().args(arguments).run().expect(1);
        assert!(!done.stderr.is_empty(), "{done}");
    }
}

#[test]
fn help_and_version_answer_on_stdout() {
    for arguments in [
        &["--help"][..],
        &["push", "--help"],
        &["serve", "--help"],
        &["demo", "--help"],
    ] {
        let done = Hasync::new().args(arguments).run().expect(0);
        assert!(
            done.stdout_text().to_lowercase().contains("usage"),
            "{done}"
        );
    }
    let done = Hasync::new().arg("--version").run().expect(0);
    assert!(
        done.stdout_text().contains(env!("CARGO_PKG_VERSION")),
        "{done}"
    );
}

#[test]
fn without_a_verb_the_help_is_on_stderr() {
    let done = Hasync::new().run().expect(1);
    assert!(done.stdout.is_empty(), "{done}");
    for words in ["Usage: hasync", "\nSet up:\n", "\n  pair "] {
        done.assert_says(words);
    }
}

#[test]
fn short_options_combine_and_long_ones_take_equals() {
    let trees = TempTree::new();
    trees.write("source/a", "1");
    trees.write("source/skipped.o", "1");
    let done = Hasync::push(&["-naurvli", "--delete", "--exclude=*.o", "--timeout=60"])
        .args([trees.contents_of("source"), trees.text("target")])
        .run()
        .expect(0);
    assert!(done.stdout_text().contains("f+++++++++ a\n"), "{done}");
    assert!(!done.stdout_text().contains("skipped.o"), "{done}");
    assert!(!trees.path("target").exists(), "-n writes nothing");
}

#[test]
fn exclude_from_reads_rules_from_a_file() {
    let trees = TempTree::new();
    for file in ["keep.c", "drop.o", "sub/drop.o", "sub/keep.o"] {
        trees.write(format!("source/{file}"), "x");
    }
    trees.write("rules", "# objects\n\n+ keep.o\n*.o\n");
    Hasync::push(&["-a", "--exclude-from", &trees.text("rules")])
        .args([trees.contents_of("source"), trees.text("target")])
        .run()
        .expect(0);
    let there = Snapshot::of(&trees.path("target"));
    let names: Vec<&[u8]> = there.entries.keys().map(Vec::as_slice).collect();
    assert_eq!(names, [&b""[..], b"keep.c", b"sub", b"sub/keep.o"]);
}

#[test]
fn quiet_says_nothing_and_verbose_says_names() {
    let trees = TempTree::new();
    trees.write("source/a", "1");
    let to = |target: &str, option: &str| {
        let from = trees.contents_of("source");
        Hasync::push(&["-a", option])
            .args([from, trees.text(target)])
            .run()
            .expect(0)
    };
    let quiet = to("t1", "-q");
    assert!(
        quiet.stdout.is_empty() && quiet.stderr.is_empty(),
        "{quiet}"
    );
    let verbose = to("t2", "-v");
    assert!(
        verbose.stdout_text().lines().any(|line| line == "a"),
        "{verbose}"
    );
    assert!(
        verbose.stdout_text().contains("total size is 1 "),
        "{verbose}"
    );
}

#[test]
fn a_terminal_gets_a_bar_and_a_pipe_nothing() {
    let trees = TempTree::new();
    // At that limit it takes two seconds, of which the first is silent.
    trees.write("source/large", vec![1; 16_000_000]);
    let push = |target: &str| {
        let program = Hasync::program().display().to_string();
        let (from, to) = (trees.contents_of("source"), trees.text(target));
        format!("{program} push -a --no-compress --bwlimit=8m {from} {to}")
    };
    let shown = run_ok("script", &["-qec", &push("t1"), "/dev/null"]);
    assert!(shown.contains("% of 16 MB  "), "{shown:?}");
    let last = shown.trim_end_matches('\r').rsplit('\r').next().unwrap();
    assert!(last.trim().is_empty(), "the bar stays there: {shown:?}");
    assert_eq!(run_ok("sh", &["-c", &push("t2")]), "");
}

#[test]
fn manual_pages_go_to_their_sections() {
    let pages = TempTree::new();
    Hasync::new()
        .arg("man")
        .arg(pages.path("man"))
        .run()
        .expect(0);
    for page in ["man8/hasync.8", "man8/hasync-push.8", "man5/hasync.toml.5"] {
        assert!(pages.path("man").join(page).exists(), "{page}");
    }
    pages.write("file", "");
    let done = Hasync::new().arg("man").arg(pages.path("file")).run();
    done.expect_error(11, &["cannot write ", "man8/hasync.8"]);
}

/// The demo in a temporary directory of its own.
fn demo(temp: &TempTree, options: &[&str]) -> Finished {
    let dir = temp.text("");
    let demo = Hasync::new().arg("demo").args(options).env("TMPDIR", dir);
    let done = demo.run().expect(0);
    let text = done.stdout_text();
    for line in [
        "first copy ",
        "nothing changed ",
        "1 % changed ",
        "the standby is as before the push, whole",
        "takes the push back, to the last file",
        "nothing is overwritten:",
    ] {
        assert!(text.contains(line), "{line:?} in\n{done}");
    }
    done
}

fn left_in(temp: &TempTree) -> usize {
    std::fs::read_dir(temp.path("")).unwrap().count()
}

#[test]
fn demo_leaves_nothing_behind() {
    let temp = TempTree::new();
    demo(&temp, &[]);
    assert_eq!(left_in(&temp), 0);
}

/// With `--keep` what it prints can be typed.
#[test]
fn demo_leaves_its_trees_where_that_is_asked_for() {
    let temp = TempTree::new();
    let text = demo(&temp, &["--keep"]).stdout_text();
    assert_eq!(left_in(&temp), 1);
    let (_, typed) = text.split_once("as either node:\n").unwrap();
    let script = format!("{typed}\nended=$?; kill %1; exit $ended");
    let script = script.replace(
        "again\n",
        "again\nuntil (exec 3<>/dev/tcp/PORT) 2>/dev/null; do sleep 0.05; done\n",
    );
    let serve = std::fs::read_dir(temp.path("")).unwrap().next().unwrap();
    let serve = std::fs::read_to_string(serve.unwrap().path().join("serve")).unwrap();
    let (_, address) = serve.split_once("--listen ").unwrap();
    let address = address.split(' ').next().unwrap().replace(':', "/");
    let script = script.replace("PORT", &address);
    let mut shell = std::process::Command::new("bash");
    shell.args(["-m", "-c", &script]);
    let done = Running::start(shell).finish().expect(3);
    let said = done.stdout_text();
    for words in ["generation", "web: ", "html/00/new.html"] {
        assert!(said.contains(words), "{words:?} in\n{done}");
    }
}

impl crate::support::Finished {
    #[track_caller]
    fn assert_says(&self, words: &str) {
        assert!(
            self.stderr.contains(words),
            "the error must say {words:?}\n{self}"
        );
    }
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let done = Hasync::new().args(["completions", shell]).run().expect(0);
        let words = ["push", "exclude-from", "max-delete"];
        for word in words {
            assert!(done.stdout_text().contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn a_script_of_an_admin_is_answered_option_by_option() {
    let trees = TempTree::new();
    trees.write("source/a", "1");
    let push = |options: &[&str]| {
        let paths = [trees.contents_of("source"), trees.text("target")];
        Hasync::push(options).args(paths).run()
    };
    push(&[
        "-a",
        "--partial-dir=.p",
        "--delete-after",
        "--inc-recursive",
        "-s",
        "-8",
    ])
    .expect(0);
    assert!(trees.path("target/a").is_file());
    let refused = push(&["-a", "--link-dest=../old"]).expect(1);
    refused.assert_says("--link-dest is refused");
    refused.assert_says("hasync undo");
}
