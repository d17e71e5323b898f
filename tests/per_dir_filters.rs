//! Files of filter rules in each directory: what they leave out and protect is what rsync leaves
//! out and protects, on both sides, and nobody is led astray by one.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::process::Command;

use crate::support::hasync::FakeRsh;
use crate::support::process::Running;
use crate::support::{Hasync, Snapshot, TempTree, need_root};

/// Entries of both trees.
const SHARED: &[&str] = &["a", "b.o", "sub/a", "sub/b.o", "sub/deep/a", "sub/deep/b.o"];
const SOURCE: &[&str] = &[
    "new.o",
    "sub/new.o",
    "sub/deep/new",
    "CVS/x",
    "sub/x y",
    "sub/#c",
];
const TARGET: &[&str] = &[
    "old.o",
    "old",
    "sub/old.o",
    "sub/old",
    "sub/deep/old.o",
    "gone/a",
    "gone/b.o",
    "gone/in/c.o",
];

struct Scene {
    what: &'static str,
    options: &'static [&'static str],
    /// Files of both trees.
    both: &'static [(&'static str, &'static str)],
    /// Files of the target alone.
    target: &'static [(&'static str, &'static str)],
}

const fn scene(
    what: &'static str,
    options: &'static [&'static str],
    both: &'static [(&'static str, &'static str)],
    target: &'static [(&'static str, &'static str)],
) -> Scene {
    Scene {
        what,
        options,
        both,
        target,
    }
}

const O: &[(&str, &str)] = &[(".rules", "- *.o\n")];
const IN_SUB: &[(&str, &str)] = &[("sub/.rules", "- *.o\n")];

const SCENES: &[Scene] = &[
    scene("nothing to be found", &["-f: .rules"], &[], &[]),
    scene("in the root, inherited", &["-f: .rules"], O, &[]),
    scene("in a directory", &["-f: .rules"], IN_SUB, &[]),
    scene("long name", &["--filter=dir-merge .rules"], IN_SUB, &[]),
    scene("underscore", &["-f:_.rules"], IN_SUB, &[]),
    scene("n: not inherited", &["-f:n .rules"], O, &[]),
    scene("n in a directory", &["-f:n .rules"], IN_SUB, &[]),
    scene("e: without itself", &["-f:e .rules"], IN_SUB, &[]),
    scene(
        "w: words",
        &["-f:w .rules"],
        &[("sub/.rules", "-_*.o -_/x\n+_a")],
        &[],
    ),
    scene(
        "w-: bare words",
        &["-f:w- .rules"],
        &[("sub/.rules", "*.o #c\ta")],
        &[],
    ),
    scene(
        "-: bare patterns",
        &["-f:- .rules"],
        &[("sub/.rules", "*.o\n- a\n# c\n;\n")],
        &[],
    ),
    scene(
        "-: no clearing",
        &["-f:- .rules"],
        &[(".rules", "*.o"), ("sub/.rules", "!\na")],
        &[],
    ),
    scene(
        "+",
        &["-f:+ .rules", "-f- *"],
        &[(".rules", "a\nsub\n"), ("sub/.rules", "deep")],
        &[],
    ),
    scene("s: the sender's", &["-f:s .rules"], O, &[]),
    scene("r: the receiver's", &["-f:r .rules"], O, &[]),
    scene(
        "p: perishable",
        &["-f:p .rules"],
        &[(".rules", "- *.o\n- gone")],
        &[],
    ),
    scene("p, within what goes", &["-f:p .rules"], O, &[]),
    scene(
        "what goes keeps its rules",
        &["-f: .rules"],
        &[],
        &[("gone/.rules", "P b.o\n")],
    ),
    scene(
        "deeper in what goes",
        &["-f: .rules"],
        &[],
        &[("gone/.rules", "- *.o\n- .rules")],
    ),
    scene(
        "C",
        &["-f:C"],
        &[("sub/.cvsignore", "*.o  a"), (".cvsignore", "new.o")],
        &[],
    ),
    scene("C clears", &["-f:C"], &[("sub/.cvsignore", "*.o ! a")], &[]),
    scene(
        "C of another name",
        &["-f:C .rules"],
        &[("sub/.rules", "*.o\n#c")],
        &[],
    ),
    scene(
        "anchored",
        &["-f: .rules"],
        &[("sub/.rules", "- /a\n- /deep/b.o\n")],
        &[],
    ),
    scene(
        "anchored dirs",
        &["-f: .rules"],
        &[("sub/.rules", "- /deep/\n- /a/\n")],
        &[],
    ),
    scene(
        "anchored stars",
        &["-f: .rules"],
        &[("sub/.rules", "- /*.o\n+ /**/a\n- /**/?\n")],
        &[],
    ),
    scene(
        "inner slash",
        &["-f: .rules"],
        &[("sub/.rules", "- deep/a\n- sub/b.o\n")],
        &[],
    ),
    scene(
        "nearer first",
        &["-f: .rules"],
        &[(".rules", "- *.o"), ("sub/.rules", "+ b.o")],
        &[],
    ),
    scene(
        "cleared below",
        &["-f: .rules"],
        &[(".rules", "- *.o"), ("sub/.rules", "!\n- a")],
        &[],
    ),
    scene(
        "cleared in between",
        &["-f: .rules"],
        &[("sub/.rules", "- a\n!\n- *.o")],
        &[],
    ),
    scene("behind a rule", &["-f+ b.o", "-f: .rules"], O, &[]),
    scene(
        "before a rule",
        &["-f: .rules", "-f- *.o"],
        &[("sub/.rules", "+ b.o")],
        &[],
    ),
    scene(
        "two names",
        &["-f: .rules", "-f: .more"],
        &[(".more", "+ b.o"), (".rules", "- a")],
        &[],
    ),
    scene("the same twice", &["-f:s .rules", "-f: .rules"], O, &[]),
    scene(
        "sides in it",
        &["-f: .rules"],
        &[(".rules", "H *.o\nP old\nR b.o\nS a\n")],
        &[],
    ),
    scene(
        "hide and protect",
        &["-f: .rules"],
        &[("sub/.rules", "hide,p a\nprotect old.o")],
        &[],
    ),
    scene(
        "another one",
        &["-f: .rules"],
        &[(".rules", ": .more"), ("sub/.more", "- *.o")],
        &[],
    ),
    scene(
        "another one, further down",
        &["-f: .rules"],
        &[
            ("sub/.rules", ":n .more"),
            ("sub/deep/.more", "- a"),
            (".more", "- b.o"),
        ],
        &[],
    ),
    scene(
        "merges one",
        &["-f: .rules"],
        &[("sub/.rules", ". list"), ("list", "- *.o\n")],
        &[],
    ),
    scene(
        "merges by path",
        &["-f: .rules"],
        &[("sub/.rules", ". deep/l"), ("sub/deep/l", "- a")],
        &[],
    ),
    scene(
        "merges from above",
        &["-f: .rules"],
        &[("sub/.rules", ".- ../l"), ("l", "a")],
        &[],
    ),
    scene("by its path", &["-f: sub/.rules"], IN_SUB, &[]),
    scene("by a path above", &["-f: ../.rules"], IN_SUB, &[]),
    scene("from the root of all", &["-f: /.rules"], IN_SUB, &[]),
    scene("-F", &["-F"], &[("sub/.rsync-filter", "- *.o\n")], &[]),
    scene("-FF", &["-FF"], &[("sub/.rsync-filter", "- *.o\n")], &[]),
    scene(
        "-FFF behind a rule",
        &["-f+ b.o", "-FFF"],
        &[("sub/.rsync-filter", "- *.o")],
        &[],
    ),
    scene(
        "-F once more",
        &["-F", "-f+ .rsync-filter", "-F"],
        &[("sub/.rsync-filter", "- a")],
        &[],
    ),
    scene(
        "-C",
        &["-C"],
        &[("sub/.cvsignore", "a"), (".cvsignore", "old")],
        &[],
    ),
    scene(
        "-C, and its list",
        &["-C", "-f+ b.o"],
        &[("sub/.cvsignore", "deep")],
        &[],
    ),
    scene(
        "--delete-excluded",
        &["-f: .rules", "--delete-excluded"],
        &[(".rules", "- *.o\nP old")],
        &[],
    ),
    scene(
        "deletes excluded words",
        &["-f:-w .rules", "--delete-excluded"],
        &[(".rules", "*.o")],
        &[],
    ),
    scene(
        "the target's own",
        &["-f: .rules"],
        &[],
        &[(".rules", "- *.o\n"), ("sub/.rules", "P old")],
    ),
    scene(
        "lets in more",
        &["-f: .rules", "-f- *"],
        &[(".rules", "+ */\n+ *.o\n+ .rules")],
        &[],
    ),
    scene(
        "protects more",
        &["-f: .rules", "-f- *.o"],
        &[(".rules", "+ b.o")],
        &[("sub/.rules", "R *.o")],
    ),
    scene(
        "full path",
        &["-f-/ SRC/sub/a", "-f-/ /nowhere/b.o"],
        &[],
        &[],
    ),
    scene(
        "full paths of a file",
        &["-f:/ .rules"],
        &[("sub/.rules", "- /sub/a\n- sub/b.o")],
        &[],
    ),
    scene("full path, last components", &["-f-/ source/b.o"], &[], &[]),
    scene(
        "empty and comments",
        &["-f: .rules"],
        &[("sub/.rules", "\n# - a\n; - a\n\r\n- b.o")],
        &[],
    ),
];

fn make(trees: &TempTree, target: &str, scene: &Scene) {
    for name in SHARED.iter().chain(SOURCE) {
        trees.write(format!("source/{name}"), "1");
    }
    for name in SHARED.iter().chain(TARGET) {
        trees.write(format!("{target}/{name}"), "22");
    }
    for (name, text) in scene.both {
        trees.write(format!("source/{name}"), text);
        trees.write(format!("{target}/{name}"), text);
    }
    for (name, text) in scene.target {
        trees.write(format!("{target}/{name}"), text);
    }
    // What a user has at home.
    trees.write("home/.cvsignore", "new ! deep\n");
}

/// What of the target is there in the end, and whether it came from the source.
fn outcome(trees: &TempTree, target: &str) -> BTreeSet<(String, u64)> {
    let entries = Snapshot::of(&trees.path(target)).entries;
    let of = |(path, _): (&Vec<u8>, _)| {
        let path = String::from_utf8(path.clone()).unwrap();
        let found = fs::metadata(trees.path(format!("{target}/{path}"))).unwrap();
        let len = if found.is_file() { found.len() } else { 0 };
        (path, len)
    };
    entries.iter().map(of).collect()
}

/// What hasync makes of the target, and rsync.
fn both(scene: &Scene, options: &[&str], slash: &str) -> [BTreeSet<(String, u64)>; 2] {
    let (trees, rsh) = (TempTree::new(), FakeRsh::plain());
    ["ours", "theirs"].map(|target| {
        let root = match slash {
            "/" => target.to_owned(),
            _ => format!("{target}/source"),
        };
        make(&trees, &root, scene);
        let source = format!("{}{slash}", trees.text("source"));
        let full = |option: &&str| option.replace("SRC", &trees.text("source"));
        let options: Vec<String> = options.iter().map(full).collect();
        let mut command = match target {
            "ours" => Hasync::push(&[]).args(&options).command(),
            _ => {
                let mut rsync = Command::new("rsync");
                rsync.arg("-e").arg(rsh.path()).args(&options);
                rsync
            }
        };
        command.arg(source).env("HOME", trees.path("home"));
        command.env("CVSIGNORE", "x  #c");
        match target {
            "ours" => command.arg(trees.path(target)),
            _ => command.arg(format!("host:{}", trees.path(target).display())),
        };
        Running::start(command).finish().expect(0);
        outcome(&trees, &root)
    })
}

#[test]
fn files_of_rules_do_what_they_do_in_rsync() {
    let mut wrong = Vec::new();
    for scene in SCENES {
        for more in [&["-r"][..], &["-r", "--delete"]] {
            // A file that is named alone lies in the directory that the transfer begins in.
            let slashes = match scene.what {
                "merges one" => &["/"][..],
                _ => &["/", ""],
            };
            for &slash in slashes {
                let all = [more, scene.options].concat();
                let [ours, theirs] = both(scene, &all, slash);
                let ours_alone: Vec<_> = ours.difference(&theirs).collect();
                let theirs_alone: Vec<_> = theirs.difference(&ours).collect();
                if ours != theirs {
                    wrong.push(format!(
                        "{} {all:?} source{slash}: only ours {ours_alone:?}, only theirs \
                         {theirs_alone:?}",
                        scene.what
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_above_the_source_count_where_a_rule_says_so() {
    let trees = TempTree::new();
    trees.write("top/in/source/a", "1");
    trees.write("top/in/source/sub/b.o", "1");
    trees.write("top/in/source/sub/c", "1");
    trees.write("top/.rules", "- /in/source/a\n- /in/*/sub/b.o\n- /c\n");
    trees.write("top/in/.rules", "+ b.o\n");
    let left = |rule: &str| {
        let target = TempTree::new();
        let paths = [trees.contents_of("top/in/source"), target.contents_of("")];
        Hasync::push(&["-r", "-f", rule])
            .args(paths)
            .run()
            .expect(0);
        ["a", "sub/b.o", "sub/c"].map(|name| target.path(name).exists())
    };
    let from = trees.text("top");
    assert_eq!(left(&format!(": {from}/.rules")), [false, true, true]);
    assert_eq!(left(": ../../.rules"), [false, true, true]);
    assert_eq!(left(": ../.rules"), [true, true, true]);
    assert_eq!(left(&format!(":n {from}/.rules")), [true, true, true]);
    assert_eq!(left(": /nowhere/.rules"), [true, true, true]);
}

#[test]
fn nobody_plants_a_file_of_rules() {
    need_root();
    // Whose the link is, and whether it counts.
    for (owner, counts) in [(0, true), (65534, false)] {
        for (option, name) in [
            ("-F", ".rsync-filter"),
            ("-C", ".cvsignore"),
            ("-f:- .r", ".r"),
        ] {
            let trees = TempTree::new();
            trees.write("source/a", "1");
            trees.write("secret", "a\n");
            if option == "-F" {
                trees.write("secret", "- a\n");
            }
            symlink("../secret", trees.path(format!("source/{name}"))).unwrap();
            lchown(trees.path(format!("source/{name}")), Some(owner), None).unwrap();
            let paths = [trees.contents_of("source"), trees.text("target")];
            Hasync::push(&["-r", option]).args(paths).run().expect(0);
            let is_left_out = !trees.path("target/a").exists();
            assert_eq!(is_left_out, counts, "{option}, link of {owner}");
        }
    }
}

#[test]
fn a_file_of_rules_that_is_none_keeps_its_directory_as_it_is() {
    let is_fifo = |path: &std::path::Path| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
    };
    for side in ["source", "target"] {
        let trees = TempTree::new();
        for name in ["sub/a", "b"] {
            trees.write(format!("source/{name}"), "1");
        }
        trees.write("target/sub/old", "1");
        trees.write("target/old", "1");
        trees.write(
            format!("{side}/sub/.r"),
            "- fine\nno rule, and nobody's business\n",
        );
        let paths = [trees.contents_of("source"), trees.text("target")];
        let options = ["-r", "--delete", "-f: .r"];
        let done = Hasync::push(&options).args(&paths).run().expect(23);
        let text = &done.stderr;
        assert!(text.contains("line 2") && text.contains(".r"), "{done}");
        assert!(
            !text.contains("business") && text.contains("nothing is deleted"),
            "{done}"
        );
        assert!(trees.path("target/b").exists() && trees.path("target/sub/old").exists());
        assert!(trees.path("target/old").exists(), "{side}: {done}");
        // What is no file says nothing.
        fs::remove_file(trees.path(format!("{side}/sub/.r"))).unwrap();
        is_fifo(&trees.path(format!("{side}/sub/.r")));
        Hasync::push(&options).args(&paths).run().expect(0);
        assert!(!trees.path("target/old").exists());
    }
}

/// What is named in a directory whose rules cannot be told is not pushed for want of them.
#[test]
fn what_is_named_is_not_pushed_past_a_file_of_rules_that_is_none() {
    for rules in [
        "no rule\n".to_owned(),
        ". none\n".to_owned(),
        "- x\n".repeat(300_000),
    ] {
        for words in [
            &["-aR", "source/./sub/a", "source/./b"][..],
            &["-ar", "--files-from=list", "source"],
            &["-aR", "source/./sub/deep/c", "source/./b"],
        ] {
            let trees = TempTree::new();
            for name in ["sub/a", "sub/deep/c", "b"] {
                trees.write(format!("source/{name}"), "1");
            }
            trees.write("list", "sub/a\nb\n");
            trees.write("source/sub/.r", &rules);
            trees.mkdir("target");
            let target = trees.text("target");
            let push = |words: &[&str], code: i32| {
                let push = Hasync::push(&["-f: .r"]).args(words).arg(&target);
                let mut command = push.command();
                command.current_dir(trees.root());
                Running::start(command).finish().expect(code)
            };
            let done = push(words, 23);
            let has = |name: &str| trees.path("target").join(name).exists();
            assert!(has("b") && !has("sub"), "{words:?} {done}");
            trees.write("source/sub/.r", "- none\n");
            push(words, 0);
            assert!(has("sub"), "{words:?}");
        }
    }
}
