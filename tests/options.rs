//! One option at a time: each test fails if its option is taken and ignored.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use filetime::{FileTime, set_file_mtime, set_symlink_file_times};

use crate::support::process::Finished;
use crate::support::{Hasync, TempTree, need_root};

/// Two trees that differ in one way each: `same`, `time` and `long` lie on both sides, `new` is on
/// the source alone, `extra` on the target.
fn pair() -> TempTree {
    let trees = TempTree::new();
    for (name, data) in [
        ("same", "1"),
        ("time", "ab"),
        ("long", "12345"),
        ("new", "123"),
    ] {
        trees.write(format!("source/{name}"), data);
    }
    for (name, data) in [("same", "1"), ("time", "xy"), ("long", "1"), ("extra", "")] {
        trees.write(format!("target/{name}"), data);
    }
    trees.write("source/sub/new", "1");
    for name in ["same", "long", "new", "time", "sub/new"] {
        at(&trees.path(format!("source/{name}")), 1_000_000_000);
    }
    at(&trees.path("target/same"), 1_000_000_000);
    at(&trees.path("target/time"), 1_000_000_002);
    at(&trees.path("target/long"), 1_000_000_000);
    trees
}

fn at(path: &Path, secs: i64) {
    set_file_mtime(path, FileTime::from_unix_time(secs, 0)).unwrap();
}

fn push(trees: &TempTree, options: &[&str]) -> Finished {
    let paths = [trees.contents_of("source"), trees.text("target")];
    Hasync::push(options).args(paths).run()
}

/// The lines of a push that ends well.
fn lines(trees: &TempTree, options: &[&str]) -> Vec<String> {
    let done = push(trees, options).expect(0);
    let lines = done.lines();
    lines
        .iter()
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect()
}

/// A push with `-rti` and `options` prints these lines.
fn check(options: &[&str], expected: &[&str]) {
    let trees = pair();
    let all = [&["-rtiO"], options].concat();
    let mut found = lines(&trees, &all);
    found.sort();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected, "{options:?}");
}

const TIME: &str = ">f..t...... time";
const LONG: &str = ">f.s....... long";
const NEW: &str = ">f+++++++++ new";
const SUB: [&str; 2] = ["cd+++++++++ sub/", ">f+++++++++ sub/new"];

#[test]
fn files_are_chosen_by_what_they_are_on_either_side() {
    check(&[], &[TIME, LONG, NEW, SUB[0], SUB[1]]);
    check(&["--existing"], &[TIME, LONG]);
    check(&["--ignore-non-existing"], &[TIME, LONG]);
    check(&["--ignore-existing"], &[NEW, SUB[0], SUB[1]]);
    check(&["--existing", "--ignore-existing"], &[]);
    check(&["--max-size=2"], &[TIME, SUB[0], SUB[1]]);
    check(&["--min-size=3"], &[LONG, NEW, SUB[0]]);
    check(&["--max-size=3", "--min-size=3-1"], &[TIME, NEW, SUB[0]]);
}

#[test]
fn files_are_compared_as_asked() {
    let others = [LONG, NEW, SUB[0], SUB[1]];
    check(
        &["--size-only"],
        &[&others[..], &[".f..t...... time"]].concat(),
    );
    check(
        &["-I"],
        &[&others[..], &[TIME, ">f......... same"]].concat(),
    );
    check(&["--modify-window=1"], &[&others[..], &[TIME]].concat());
    check(&["--modify-window=2"], &others);
    check(&["-@", "2"], &others);
    // -c outranks the others.
    let summed = [NEW, SUB[0], SUB[1], ">fc.t...... time", ">fcs....... long"];
    check(&["--size-only", "-c"], &summed);
}

#[test]
fn what_is_left_alone_is_not_deleted() {
    let trees = pair();
    push(&trees, &["-rt", "--delete", "--max-size=1"]).expect(0);
    assert!(trees.path("target/long").exists() && !trees.path("target/extra").exists());
    assert_eq!(trees.read("target/long"), b"1");
    push(&trees, &["-rt", "--delete", "--existing"]).expect(0);
    assert!(!trees.path("target/new").exists());
}

#[test]
fn a_directory_in_the_place_of_something_else_exists_but_nothing_in_it_does() {
    for make in [
        |at: PathBuf| fs::write(at, "").unwrap(),
        |at: PathBuf| symlink("nowhere", at).unwrap(),
        |at: PathBuf| symlink(".", at).unwrap(),
    ] {
        for options in [
            &["-a"][..],
            &["-aH"],
            &["-a", "--atomic"],
            &["-a", "--delete"],
        ] {
            let trees = pair();
            make(trees.path("target/sub"));
            let done = push(&trees, &[options, &["--existing"]].concat());
            assert_eq!(done.expect(0).stderr, "", "{options:?}");
            let below = fs::read_dir(trees.path("target/sub")).unwrap();
            assert_eq!(below.count(), 0, "{options:?}");
        }
    }
}

#[test]
fn a_second_push_is_silent_whatever_counts_as_equal() {
    for options in [
        &["-a", "--size-only"][..],
        &["-rl", "--size-only"],
        &["-a", "--modify-window=1"],
        &["-a", "--modify-window=0"],
        &["-a", "--existing"],
        &["-a", "--ignore-existing"],
        &["-a", "--max-size=2"],
        &["-a", "--min-size=2", "--delete"],
        &["-aO"],
        &["-aJ"],
        &["-aOJ", "--delete", "--force"],
    ] {
        let trees = pair();
        symlink("new", trees.path("source/link")).unwrap();
        push(&trees, options).expect(0);
        let second = [options, &["-i"]].concat();
        assert_eq!(lines(&trees, &second), Vec::<String>::new(), "{options:?}");
    }
}

#[test]
fn times_of_directories_and_links_are_left_out() {
    for (options, dir_kept, link_kept) in [
        (&["-a"][..], true, true),
        (&["-aO"], false, true),
        (&["-aJ"], true, false),
        (&["-aOJ", "--no-O"], true, false),
    ] {
        let trees = pair();
        let time = FileTime::from_unix_time(1_000_000_000, 0);
        symlink("new", trees.path("source/link")).unwrap();
        set_symlink_file_times(trees.path("source/link"), time, time).unwrap();
        at(&trees.path("source/sub"), 1_000_000_000);
        push(&trees, options).expect(0);
        let is_kept = |name: &str| {
            let meta = fs::symlink_metadata(trees.path(name)).unwrap();
            FileTime::from_last_modification_time(&meta) == time
        };
        assert_eq!(is_kept("target/sub"), dir_kept, "{options:?}");
        assert_eq!(is_kept("target/link"), link_kept, "{options:?}");
    }
}

#[test]
fn a_full_directory_gives_way_by_force_alone() {
    for (options, gives_way) in [(&["-a"][..], false), (&["-a", "--force"], true)] {
        let trees = pair();
        trees.write("target/new/inside", "1");
        push(&trees, options).expect(if gives_way { 0 } else { 23 });
        assert_eq!(trees.path("target/new").is_file(), gives_way);
        assert!(trees.path("target/extra").exists());
    }
}

#[test]
fn a_source_that_is_not_there_is_none() {
    let trees = pair();
    let paths = [
        trees.text("nothing"),
        trees.text("source/new"),
        trees.text("target/"),
    ];
    let run = |options: &[&str]| Hasync::push(options).args(&paths).run();
    run(&["-a"]).expect(23);
    run(&["-a", "--ignore-missing-args"]).expect(0);
    assert!(trees.path("target/new").exists());
}

#[test]
fn errors_stop_deletions_unless_told() {
    for (options, deletes) in [(&[][..], false), (&["--ignore-errors"], true)] {
        let trees = pair();
        let paths = [
            trees.contents_of("source"),
            trees.text("nothing"),
            trees.text("target"),
        ];
        let all = [&["-a", "--delete"], options].concat();
        Hasync::push(&all).args(paths).run().expect(23);
        assert_eq!(!trees.path("target/extra").exists(), deletes, "{options:?}");
    }
}

#[test]
fn the_way_to_a_target_is_made() {
    let trees = pair();
    let to = |name: &str, options: &[&str]| {
        let paths = [trees.contents_of("source"), trees.text(name)];
        Hasync::push(options).args(paths).run()
    };
    to("a/b/c", &["-a"]).expect(11);
    let dry = to("a/b/c", &["-ain", "--mkpath"]).expect(0);
    assert!(!trees.path("a").exists());
    let real = to("a/b/c", &["-ai", "--mkpath"]).expect(0);
    assert_eq!(dry.stdout_text(), real.stdout_text());
    assert!(trees.path("a/b/c/new").exists());
    for name in ["f/g/file", "target/file", "target/f/file"] {
        let file = |options| {
            let paths = [trees.text("source/new"), trees.text(name)];
            Hasync::push(options).args(paths).run().expect(0)
        };
        let dry = file(&["-ain", "--mkpath"]);
        assert!(!trees.path(name).exists());
        let real = file(&["-ai", "--mkpath"]);
        assert_eq!(dry.stdout_text(), real.stdout_text(), "{name}");
    }
    symlink("nowhere", trees.path("dangling")).unwrap();
    to("dangling/b/c", &["-a", "--mkpath"]).expect(11);
    assert!(!trees.path("nowhere").exists());
}

#[test]
fn unchanged_entries_are_told_when_asked() {
    let trees = pair();
    push(&trees, &["-a"]).expect(0);
    let same = [
        ".d          ./",
        ".f          long",
        ".f          new",
        ".f          same",
    ];
    let found = lines(&trees, &["-aii"]);
    assert_eq!(&found[..4], same, "{found:?}");
    assert!(found.contains(&".d          sub/".to_owned()), "{found:?}");
    let found = lines(&trees, &["-avv"]);
    assert!(found.contains(&"same is uptodate".to_owned()), "{found:?}");
    assert!(!lines(&trees, &["-av"]).contains(&"same is uptodate".to_owned()));
}

#[test]
fn what_stays_other_than_the_source_is_not_told_as_unchanged() {
    for (options, code, left) in [
        (&["-a", "--existing"][..], 0, "new"),
        (&["-a", "--existing"], 0, "sub"),
        (&["-a", "--ignore-existing"], 0, "long"),
        (&["-rlu", "--size-only"], 0, "time"),
        (&["-rlc", "-u"], 0, "same"),
        (&["-a"], 23, "same"),
    ] {
        let trees = pair();
        at(&trees.path("target/same"), 1_500_000_000);
        if code == 23 {
            fs::remove_file(trees.path("target/same")).unwrap();
            trees.write("target/same/in", "");
        }
        push(&trees, &[options, &["-O"]].concat()).expect(code);
        let done = push(&trees, &[options, &["-O", "-ii"]].concat()).expect(code);
        let said = done.stdout_text();
        let is_said = |name: &str| {
            let mut names = said.lines().map(|line| line.get(12..).unwrap_or_default());
            names.any(|told| told.trim_end_matches('/') == name)
        };
        assert!(!is_said(left), "{options:?}: {said}");
        assert!(is_said("."), "{options:?}: {said}");
        let below = said.lines().find(|line| line.ends_with("sub/new"));
        assert!(left != "sub" || below.is_none(), "{options:?}: {said}");
    }
}

#[test]
fn info_words_choose_lines() {
    let trees = pair();
    let names = lines(&trees, &["-an", "--delete", "--info=name"]);
    assert!(names.contains(&"new".to_owned()) && !names.iter().any(|l| l.contains("extra")));
    let gone = lines(&trees, &["-anv", "--delete", "--info=del0,stats0,flist0"]);
    assert!(
        !gone
            .iter()
            .any(|line| line.contains("deleting") || line.contains("sent "))
    );
    assert!(gone.contains(&"new".to_owned()), "{gone:?}");
}

#[test]
fn lines_have_the_format_that_was_asked_for() {
    let trees = pair();
    at(&trees.path("source/new"), 1_600_000_000);
    fs::set_permissions(
        trees.path("source/new"),
        std::os::unix::fs::PermissionsExt::from_mode(0o640),
    )
    .unwrap();
    let found = lines(
        &trees,
        &["-an", "--delete", "--out-format=%o|%n|%l|%M|%B|%i"],
    );
    let expected = "send|new|3|2020/09/13-12:26:40|rw-r-----|>f+++++++++";
    assert!(found.contains(&expected.to_owned()), "{found:?}");
    assert!(
        found.iter().any(|line| line.starts_with("del.|extra|")),
        "{found:?}"
    );
    push(&trees, &["-a", "--out-format=%b"]).expect(1);
}

#[test]
fn numbers_are_for_people_when_asked() {
    let trees = pair();
    trees.write("source/large", vec![7; 1_234_567]);
    let total = |options: &[&str]| {
        let found = lines(&trees, &[&["-an", "--stats"], options].concat());
        found
            .into_iter()
            .find(|line| line.starts_with("Total file size"))
            .unwrap()
    };
    assert_eq!(total(&[]), "Total file size: 1,234,579 bytes");
    assert_eq!(total(&["-h"]), "Total file size: 1.23M bytes");
    assert_eq!(total(&["-hh"]), "Total file size: 1.18M bytes");
    assert_eq!(total(&["--no-h"]), "Total file size: 1234579 bytes");
}

#[test]
fn a_log_file_holds_what_happened() {
    let trees = pair();
    let log = format!("--log-file={}", trees.text("log"));
    push(&trees, &["-a", &log]).expect(0);
    push(&trees, &["-a", "--delete", &log, "--log-file-format=%o %n"]).expect(0);
    let text = String::from_utf8(trees.read("log")).unwrap();
    let ends = ["building file list", ">f+++++++++ new", "del. extra"];
    for end in ends {
        assert!(
            text.lines().any(|line| line.ends_with(end)),
            "{end}: {text}"
        );
    }
    let is_stamped = |line: &str| line.get(4..5) == Some("/") && line.contains(" [");
    assert!(text.lines().all(is_stamped), "{text}");
    assert!(
        text.lines().last().unwrap().contains("total size"),
        "{text}"
    );
    // Its owner alone decided where a link leads.
    need_root();
    symlink("log", trees.path("planted")).unwrap();
    let planted = format!("--log-file={}", trees.text("planted"));
    push(&trees, &["-a", &planted]).expect(0);
    lchown(trees.path("planted"), Some(65534), Some(65534)).unwrap();
    push(&trees, &["-a", &planted]).expect(11);
}

#[test]
fn a_format_without_letters_passes_over_mere_metadata() {
    let lines = |format: &str| {
        let trees = pair();
        push(&trees, &["-a"]).expect(0);
        let file = trees.path("source").join("new");
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        let format = format!("--out-format={format}");
        push(&trees, &["-a", &format]).expect(0).stdout_text()
    };
    assert_eq!(lines("%n"), "");
    assert_eq!(lines("%%i %n"), "");
    assert_eq!(lines("%n %i"), "new .f...p.....\n");
}

#[test]
fn json_is_an_object_a_line_and_ends_with_a_summary() {
    let trees = pair();
    fs::write(trees.path("source").join("n\nl"), "").unwrap();
    let done = push(&trees, &["-a", "--delete", "--json", "-v", "--stats"]).expect(0);
    let events: Vec<serde_json::Value> = done
        .stdout_text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["event"], "begin");
    assert_eq!(events[0]["schema_version"], 1);
    let new = events.iter().find(|event| event["path"] == "new").unwrap();
    assert_eq!(
        (&new["action"], &new["kind"], &new["length"]),
        (&"transfer".into(), &"file".into(), &3.into())
    );
    let odd = events
        .iter()
        .find(|event| event["path_hex"] == "6e0a6c")
        .unwrap();
    assert_eq!(odd["path"], "n\\#012l");
    assert!(
        events
            .iter()
            .any(|event| event["action"] == "delete" && event["path"] == "extra")
    );
    let last = events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["exit"]),
        (&"summary".into(), &0.into())
    );
    assert_eq!(last["deleted"]["files"], 1);
    let words = ["-a", "--json", &trees.text("source"), &trees.text("x/y/z")];
    let missing = Hasync::push(&words).run().expect(11);
    let last: serde_json::Value =
        serde_json::from_str(missing.stdout_text().lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["exit"]),
        (&"failure".into(), &11.into())
    );
}

#[test]
fn progress_and_partial_are_one_letter() {
    let trees = pair();
    let text = push(&trees, &["-aP"]).expect(0);
    assert!(text.stdout_text().contains("100%"), "{text}");
}

#[test]
fn a_family_of_addresses_is_kept_to() {
    need_root();
    let trees = pair();
    let to = |family: &str, host: &str| {
        let target = format!("{host}:{}", trees.text("target"));
        // Nothing listens there: whether it was tried at all is told by the answer.
        let options = [
            "-a",
            family,
            "--port=1",
            "--ssh-config=none",
            "--contimeout=5",
        ];
        Hasync::push(&options)
            .args([trees.contents_of("source"), target])
            .run()
    };
    to("-4", "127.0.0.1").expect(69);
    to("-6", "127.0.0.1").expect(68);
    to("-4", "[::1]").expect(68);
}
