//! What of the sources is pushed, and what symlinks stand for: each option does what it does in
//! rsync, in the tree, in what is said of it, and in the exit code.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::process::Command;

use crate::support::hasync::FakeRsh;
use crate::support::local_user::{LOCAL_USER, plant};
use crate::support::process::{Finished, Running};
use crate::support::temptree::set_mtime;
use crate::support::{Hasync, Snapshot, TempTree, need_root};

const ENTRIES: &[&str] = &[
    "top",
    "a/b/f",
    "a/b/g",
    "a/c/h",
    "a/e/",
    "d/deep/er/i",
    "d/j",
    "empty/er/",
    "hollow/",
    "sp ace",
    "#x",
];

const LINKS: &[(&str, &str)] = &[
    ("to_a", "a"),
    ("to_top", "top"),
    ("to_nothing", "nothing"),
    ("out", "../outside/dir"),
    ("a/up", "../top"),
    ("a/to_b", "b"),
    ("a/over", "../../outside/file"),
    ("d/abs", "/etc/hostname"),
    ("hollow/nowhere", "nothing"),
];

/// What a target has already.
const THERE: &[&str] = &[
    "top",
    "a/b/f",
    "a/b/old",
    "a/x/y",
    "gone",
    "gone_dir/z",
    "gone_empty/",
    "to_nothing",
    "d/deep/old",
    "old/o",
];

/// A source `src` with things of its own beside it, and a target for each program.
fn scene() -> TempTree {
    let trees = TempTree::new();
    let make = |top: &str, names: &[&str], text: &str| {
        for name in names {
            let path = format!("{top}/{name}");
            match name.strip_suffix('/') {
                Some(_) => drop(trees.mkdir(path)),
                None => trees.write(path, format!("{text} {name}")),
            }
        }
    };
    make("src", ENTRIES, "new");
    make("outside", &["file", "dir/k"], "out");
    for (name, to) in LINKS {
        trees.symlink(to, format!("src/{name}"));
    }
    trees.write("src/.rules", "- top\n- d/\n");
    trees.write("src/a/.rules", "- c/\n- g\n");
    for target in ["by-hasync", "by-rsync"] {
        make(target, THERE, "there");
        set_times(&trees.path(target), 500);
    }
    set_times(&trees.path("src"), 0);
    set_times(&trees.path("outside"), 100);
    trees
}

/// Gives all that is in a directory, and itself, old times.
fn set_times(dir: &std::path::Path, more: i64) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => set_times(&entry.path(), more),
            false => set_mtime(&entry.path(), 1_600_000_000 + more, 0),
        }
    }
    set_mtime(dir, 1_600_000_000 + more, 0);
}

/// Runs one of the programs where the scene is.
fn run(trees: &TempTree, mut command: Command) -> Finished {
    command.current_dir(trees.root());
    Running::start(command).finish()
}

pub(crate) fn by_hasync(trees: &TempTree, words: &[&str], target: &str) -> Finished {
    run(
        trees,
        Hasync::push(&["-i"]).args(words).arg(target).command(),
    )
}

fn by_rsync(trees: &TempTree, words: &[&str], target: &str) -> Finished {
    let mut command = Command::new("rsync");
    let rsh = FakeRsh::plain();
    command.arg("-e").arg(rsh.path()).arg("-i").args(words);
    command.arg(format!("host:{}", trees.path(target).display()));
    run(trees, command)
}

/// The itemized lines, with one letter for content that is sent.
fn lines(done: &Finished) -> Vec<String> {
    let text = done.stdout_text().replace("\n>", "\n<");
    let text = text
        .strip_prefix('>')
        .map_or(text.clone(), |text| format!("<{text}"));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What differs between the two programs, or nothing; and what was made.
fn compare(words: &[&str]) -> (String, Snapshot) {
    let trees = scene();
    let write = |name: &str, text: &str| trees.write(name, text);
    write(
        "list",
        "a/b/f\n# no\n; no\n\n/d/deep/\n../top\na/../#x\n./sp ace\n",
    );
    write("zeros", "a/b/f\0#no\0sp ace\0d/\0");
    write("missing", "a/b/f\nnone\ntop/none\na/none/x\nto_a/c/h\n");
    write("whole", "./\ntop\n");
    write("removed", "a/b/f\ngone\ngone_dir\ngone_empty\n");
    let ours = by_hasync(&trees, words, "by-hasync");
    let theirs = by_rsync(&trees, words, "by-rsync");
    let mut out = String::new();
    if ours.code != theirs.code {
        out += &format!("exit {} and rsync's {}\n", ours.code, theirs.code);
    }
    if lines(&ours) != lines(&theirs) {
        out += &format!("{ours}\n--- rsync\n{theirs}\n");
    }
    let [made, expected] =
        ["by-hasync", "by-rsync"].map(|target| Snapshot::of(&trees.path(target)));
    let differs = without_now(&expected, &expected).diff(&without_now(&made, &expected));
    (out + &differs, made)
}

/// Times that one of the programs has made by what it did are no matter of either.
fn without_now(tree: &Snapshot, expected: &Snapshot) -> Snapshot {
    let is_now = |time: (i64, u32)| time.0 > 1_700_000_000;
    tree.clone().map(|path, entry| {
        let theirs = expected.entries.get(path);
        if is_now(entry.mtime) || theirs.is_some_and(|theirs| is_now(theirs.mtime)) {
            entry.mtime = (0, 0);
        }
    })
}

/// Each command line does what it does in rsync, and some do something else without the option.
fn check(option: &str, lines: &[&str]) {
    let (mut failures, mut matters) = (String::new(), false);
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().map(unquoted).collect();
        let (differs, made) = compare(&words);
        if !differs.is_empty() {
            failures += &format!("=== {line}\n{differs}\n");
        }
        let without: Vec<&str> = words
            .iter()
            .copied()
            .filter(|word| *word != option)
            .collect();
        if without.len() < words.len() {
            let trees = scene();
            for (name, text) in [("list", "top\n"), ("zeros", "top\0"), ("removed", "gone\n")] {
                trees.write(name, text);
            }
            by_hasync(&trees, &without, "by-hasync");
            let plain = Snapshot::of(&trees.path("by-hasync"));
            let differs = without_now(&plain, &made).diff(&without_now(&made, &made));
            matters |= !differs.is_empty();
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(matters, "{option} makes no difference");
}

/// A blank in a word is written so.
fn unquoted(word: &str) -> &str {
    match word {
        "H_dirs" => "--filter=H b/",
        "P_empty" => "--filter=P empty/",
        "per_dir" => "--filter=: .rules",
        word => word,
    }
}

#[test]
fn files_from_pushes_what_is_listed() {
    check(
        "--files-from=list",
        &[
            "-a --files-from=list src",
            "-a --files-from=list src/",
            "-ar --files-from=list src",
            "-rt --files-from=list src",
            "-t --files-from=list src",
            "-a --no-d --files-from=list src",
            "-a --no-implied-dirs --files-from=list src",
            "-a --no-R --files-from=list src",
            "-ar --no-R --files-from=list src",
            "-a --delete --files-from=list src",
            "-ar --delete --files-from=list src",
            "-a --exclude=f --exclude=/d/deep/* --files-from=list src",
            "-a --exclude=/a --files-from=list src",
            "-a --exclude=* --files-from=list src",
            "-a --include=#x --exclude=* --files-from=list src",
            "-a --exclude=. --files-from=list src",
            "-ar --exclude=. --files-from=whole src",
            "-ar --exclude=* --files-from=whole src",
            "-a --exclude=sp* --exclude=top --files-from=list src",
            "-a -m --files-from=list src",
            "-a -L --files-from=list src",
        ],
    );
    check(
        "-0",
        &[
            "-a -0 --files-from=zeros src",
            "-ar --from0 --files-from=zeros src",
        ],
    );
    check(
        "--ignore-missing-args",
        &[
            "-a --files-from=missing src",
            "-a --ignore-missing-args --files-from=missing src",
        ],
    );
}

#[test]
fn relative_names_keep_their_paths() {
    check(
        "-R",
        &[
            "-a -R src/a/b/f",
            "-a -R src/./a/b",
            "-a -R src/./a/b/f",
            "-a -R src/././a/b/f src/./d/j",
            "-a -R ./src/d",
            "-a -R src/./",
            "-a -R src/. src/./a",
            "-a -R src/./a/b/ src/./d/deep",
            "-a -R src/./to_a",
            "-a -R src/./to_a/",
            "-a -R src/./to_a/b/f",
            "-a -R src/./to_a src/./to_a/b/f",
            "-a -R src/./out/k",
            "-R src/a/b/f src/a",
            "-d -R src/a/b src/a/c/",
            "-a -R --delete src/./a/b src/./d",
            "-a -R --exclude=b src/./a src/./a/b/f",
            "-a -R --exclude=f src/././a/b/f",
            "-a -R src/././none",
            "-a -R -m src/./empty/er src/./a/b",
            "-a -R src/./none src/./top",
            "-a -R src/./top/x src/./d/j",
            "-a -R -x src/./a/b",
            "-a -R -H src/./a src/./d",
            "-a -R --no-R src/a/b",
            "-a -R src/./a/b outside/./file",
            "-a -R src/./a outside/./dir src/a/./c",
        ],
    );
    check(
        "--no-implied-dirs",
        &[
            "-a -R --no-implied-dirs src/./a/b/f src/./d/deep/er/i",
            "-a -R --no-implied-dirs src/./a/b src/./a/c/h",
            "-a -R --no-implied-dirs src/./",
            "-a -R --no-implied-dirs src/./a/b/f src/./.",
            "-a -R --no-implied-dirs src/././a/b/f",
        ],
    );
    let trees = scene();
    let done = by_hasync(&trees, &["-aR", "src/a/../d"], "by-hasync");
    done.expect(1);
}

/// Those count that a walk comes along: not the one of the directory that names begin in, and none
/// where only names are pushed.
#[test]
fn files_of_rules_count_for_what_is_named_as_in_rsync() {
    check(
        "--filter=: .rules",
        &[
            "-a -R per_dir src/./top",
            "-a -R per_dir src/./top src/./d src/./a/b/f",
            "-a -R per_dir src/././top",
            "-a -R per_dir src/./ src/./top",
            "-a -R per_dir src/./a src/./d",
            "-a -R per_dir src/a",
            "-a -R per_dir --no-implied-dirs src/./top src/./d/j",
            "-l -R per_dir src/./top src/./a/g",
            "-l -d -R per_dir src/./top src/./a/",
            "-a per_dir --files-from=list src",
            "-a -r per_dir --files-from=list src",
            "-a per_dir --files-from=zeros -0 src",
        ],
    );
}

#[test]
fn dirs_are_pushed_without_what_is_in_them() {
    check(
        "-d",
        &[
            "-d src/",
            "-dt src",
            "-d src/a src/d/",
            "-d -t --delete src/",
            "-d --delete src/a src/d/",
            "-d -l src/",
            "-d -k src/",
            "-d -m src/",
            "-d --exclude=a src/",
            "-d -r src/",
        ],
    );
    check("--old-dirs", &["--old-dirs -t src/", "--old-d -t src"]);
}

#[test]
fn directories_without_files_are_pruned() {
    check(
        "-m",
        &[
            "-a -m src/",
            "-a -m src",
            "-a -m --delete src/",
            "-a -m --exclude=f --exclude=g src/",
            "-a -m P_empty src/",
            "-a -m H_dirs --delete src/",
            "-r -m src/",
            "-a -m --max-size=1 src/",
            "-a -m -L --exclude=to_nothing src/",
            "-a -m -L src/hollow src/a",
        ],
    );
    check(
        "--prune-empty-dirs",
        &["-a --prune-empty-dirs --exclude=f src/ outside/dir"],
    );
}

#[test]
fn symlinks_are_followed_as_asked() {
    check(
        "-L",
        &[
            "-a -L --exclude=to_nothing src/",
            "-a -L --exclude=to_nothing src",
            "-r -L --exclude=to_nothing src/",
            "-a -L src/to_a src/to_top",
            "-a -L --exclude=to_nothing -H src/",
            "-a -L --exclude=to_nothing --copy-unsafe-links -k src/",
            "-a -L --exclude=to_*/ --exclude=to_nothing src/",
            "-a -L --exclude=to_nothing -c src/",
        ],
    );
    check("--copy-links", &["-a --copy-links src/"]);
    check(
        "-k",
        &[
            "-a -k src/",
            "-a -k src",
            "-r -k src/",
            "-a -k src/to_a src/to_top",
        ],
    );
    check(
        "--copy-unsafe-links",
        &[
            "-a --copy-unsafe-links src/",
            "-a --copy-unsafe-links src",
            "-r --copy-unsafe-links src/",
            "-a -k --copy-unsafe-links src/",
            "-a --copy-unsafe-links --safe-links src/",
        ],
    );
    check(
        "--safe-links",
        &[
            "-a --safe-links src/",
            "-a --safe-links --delete src",
            "-r --safe-links src/",
        ],
    );
}

#[test]
fn missing_sources_are_removed_from_the_target() {
    check(
        "--delete-missing-args",
        &[
            "-a --delete-missing-args src/gone src/gone_dir src/gone_empty src/top",
            "-a --delete-missing-args --force src/gone src/gone_dir src/top",
            "-a --delete --delete-missing-args src/gone_dir src/top",
            "-a --delete-missing-args --exclude=top src/gone src/top src/gone_empty",
            "-a --delete-missing-args --files-from=removed src",
            "-a -R --delete-missing-args src/./a/x/y src/./top src/./gone",
            "-ar --delete-missing-args --files-from=removed src",
            "-aL --delete-missing-args src/to_nothing src/top",
            "-aL --ignore-missing-args src/to_nothing src/top",
            "-aL -R --delete-missing-args src/./to_nothing src/./top",
            "-a --delete-missing-args src/to_nothing src/top",
            "-ak --delete-missing-args src/to_nothing src/top",
        ],
    );
}

/// rsync lets the first of them win, and deletes what it has just been told to copy.
#[test]
fn what_one_source_has_does_not_go_for_what_another_lacks() {
    for (made, what) in [
        ("other/gone", "file"),
        ("other/gone", "symlink"),
        ("other/gone", "fifo"),
        ("other/gone/deep/x", "file"),
        ("other/gone", "hard link"),
    ] {
        for sources in [
            &["src/gone", "other/"][..],
            &["other/", "src/gone"],
            &["src/gone", "other/gone"],
            &["src/gone", "none/gone", "other/"],
            &["other/gone", "src/gone", "none/gone"],
        ] {
            let trees = scene();
            trees.mkdir("other");
            match what {
                "symlink" => trees.symlink("to", made),
                "fifo" => trees.fifo(made),
                "hard link" => {
                    trees.write("other/a", "two names");
                    trees.hard_link("other/a", made);
                }
                _ => trees.write(made, "of the other source"),
            }
            trees.mkdir("none");
            let words = [&["-aH", "--force", "--delete-missing-args"], sources].concat();
            for _ in 0..2 {
                by_hasync(&trees, &words, "by-hasync").expect(0);
                let name = made.replace("other", "by-hasync");
                let [made, there] = [made, &name].map(|name| {
                    let found = fs::symlink_metadata(trees.path(name));
                    found.map(|found| (found.mode(), found.len())).ok()
                });
                assert!(made.is_some());
                assert_eq!(made, there, "{what} {name} {sources:?}");
            }
            let lacked = [&["-a", "--delete-missing-args"], &["src/gone"][..]].concat();
            by_hasync(&trees, &[&lacked[..], &["--force"]].concat(), "by-hasync").expect(0);
            assert!(!trees.path("by-hasync/gone").exists());
        }
    }
}

/// Root follows nobody's links but its own and its users', wherever it is to follow any.
#[test]
fn root_follows_no_planted_symlinks() {
    need_root();
    let trees = TempTree::new();
    trees.write("secret/file", "nobody's business");
    trees.write("src/own/f", "f");
    trees.chown("src/own", LOCAL_USER, LOCAL_USER);
    plant("../../secret/file".as_ref(), &trees.path("src/own/file"));
    plant("../../secret".as_ref(), &trees.path("src/own/dir"));
    for (words, codes) in [
        (&["-aL", "src/"][..], [23, 0]),
        (&["-ak", "src/"], [0, 0]),
        (&["-a", "--copy-unsafe-links", "src/"], [23, 0]),
        (&["-aR", "src/./own/dir/file"], [23, 0]),
        (&["-a", "--files-from=list", "src"], [23, 0]),
    ] {
        trees.write("list", "own/dir/file\n");
        for (more, code) in [(&[][..], codes[0]), (&["--follow-untrusted"], codes[1])] {
            let target = TempTree::new();
            let to = target.text("dst");
            let done = by_hasync(&trees, &[more, words].concat(), &to).expect(code);
            let leaked = ["own/file", "own/dir/file"].iter().any(|name| {
                let copy = target.path("dst").join(name);
                fs::symlink_metadata(&copy).is_ok_and(|found| found.is_file())
            });
            assert_eq!(leaked, !more.is_empty(), "{words:?} {done}");
        }
    }
}

#[test]
fn lists_are_opened_as_control_files_are() {
    need_root();
    let trees = scene();
    trees.write("secret", "nobody's business\n");
    symlink("secret", trees.path("planted")).unwrap();
    lchown(trees.path("planted"), Some(65534), Some(65534)).unwrap();
    for (list, code, words) in [
        ("planted", 11, "planted"),
        ("none", 11, "none"),
        ("host:list", 1, "another host"),
        ("src", 11, "src"),
    ] {
        let option = format!("--files-from={list}");
        let done = by_hasync(&trees, &["-a", &option, "src"], "by-hasync").expect(code);
        assert!(done.stderr.contains(words), "{done}");
        assert!(!done.stderr.contains("business"), "{done}");
    }
    trees.write("list", "top\n");
    let both = by_hasync(
        &trees,
        &["-a", "--files-from=list", "src", "outside"],
        "by-hasync",
    );
    both.expect(1);
    let dashed = "ulimit -c 0; printf 'a/b/f\\n' | \"$0\" push -a --files-from=- src by-hasync";
    let mut shell = Command::new("sh");
    shell.args(["-c", dashed]).arg(Hasync::program());
    run(&trees, shell).expect(0);
    let copy = fs::read(trees.path("by-hasync/a/b/f")).unwrap();
    assert_eq!(copy, b"new a/b/f");
}
