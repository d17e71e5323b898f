//! What a directory hands on to what is made in it reaches what a push stages elsewhere and moves
//! in: flags, hints how to lay files out, names that are one by case or by Unicode form.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::place::{NotHere, Place};
use super::{btrfs, ext4, xfs};
use crate::support::process::run_ok;
use crate::support::{Finished, Hasync, TempTree, report};

/// What a program prints of an entry, but for its name.
fn print(command: &[&str], path: &Path) -> String {
    let done = Command::new(command[0])
        .args(&command[1..])
        .arg(path)
        .output()
        .unwrap();
    assert!(done.status.success(), "{command:?} {done:?}");
    let said = String::from_utf8(done.stdout).unwrap();
    said.split_whitespace().next().unwrap().to_owned()
}

/// A place whose directory `special` was given something by a command, and what tells it.
struct Case {
    name: &'static str,
    make: fn() -> Result<Place, NotHere>,
    give: &'static [&'static str],
    tell: &'static [&'static str],
}

const LSATTR: &[&str] = &["lsattr", "-d"];

const CASES: [Case; 8] = [
    Case {
        name: "+C on btrfs",
        make: btrfs,
        give: &["chattr", "+C"],
        tell: LSATTR,
    },
    Case {
        name: "+c on btrfs",
        make: btrfs,
        give: &["chattr", "+c"],
        tell: LSATTR,
    },
    Case {
        name: "+A on ext4",
        make: || ext4(&[], ""),
        give: &["chattr", "+A"],
        tell: LSATTR,
    },
    Case {
        name: "+S on ext4",
        make: || ext4(&[], ""),
        give: &["chattr", "+S"],
        tell: LSATTR,
    },
    Case {
        name: "+d on ext4",
        make: || ext4(&[], ""),
        give: &["chattr", "+d"],
        tell: LSATTR,
    },
    Case {
        name: "+ASdD on ext4",
        make: || ext4(&[], ""),
        give: &["chattr", "+ASdD"],
        tell: LSATTR,
    },
    Case {
        name: "+Ad on XFS",
        make: xfs,
        give: &["chattr", "+Ad"],
        tell: LSATTR,
    },
    Case {
        name: "extent size hints on XFS",
        make: xfs,
        give: &["xfs_io", "-c", "extsize 65536"],
        tell: &["xfs_io", "-r", "-c", "extsize"],
    },
];

fn push(trees: &TempTree, place: &Place, more: &[&str]) -> Finished {
    let to = [
        trees.contents_of("source"),
        place.root.display().to_string(),
    ];
    Hasync::push(&["-ai", "--delete"]).args(more).args(to).run()
}

#[test]
fn what_is_pushed_has_what_is_made_there() {
    for case in &CASES {
        let place = match (case.make)() {
            Ok(place) => place,
            Err(why) => {
                report(&format!("{} is not here: {why}", case.name));
                continue;
            }
        };
        let special = place.special();
        let (program, words) = case.give.split_first().unwrap();
        run_ok(program, &[words, &[&special]].concat());
        for (round, more) in [&[][..], &["--atomic"]].into_iter().enumerate() {
            let trees = TempTree::new();
            for dir in ["", "special/", "special/new/deep/"] {
                trees.write(format!("source/{dir}changed"), "x".repeat(1 + round));
                trees.write(format!("source/{dir}new-{round}"), vec![7; 300_000]);
            }
            push(&trees, &place, more).expect(0);
            let tell = |name: &str| print(case.tell, &place.root.join(name));
            for dir in ["", "special/", "special/new/deep/"] {
                let made = format!("{dir}made");
                fs::write(place.root.join(&made), "made there").unwrap();
                let of_made = tell(&made);
                for name in ["changed".to_owned(), format!("new-{round}")] {
                    let name = format!("{dir}{name}");
                    assert_eq!(tell(&name), of_made, "{}, {more:?}: {name}", case.name);
                }
                fs::remove_file(place.root.join(&made)).unwrap();
            }
            fs::create_dir(place.root.join("special/made")).unwrap();
            let of_made = tell("special/made");
            assert_eq!(tell("special/new"), of_made, "{}, {more:?}", case.name);
            fs::remove_dir(place.root.join("special/made")).unwrap();
            // Once for the times of directories that were written to here.
            push(&trees, &place, more).expect(0);
            let again = push(&trees, &place, more).expect(0);
            assert!(again.stdout.is_empty(), "{}: {again}", case.name);
        }
    }
}

/// Two spellings of one name, in a directory where they are one.
const SPELLINGS: [(&str, &str); 5] = [
    ("README", "readme"),
    // Composed, and not.
    ("\u{e9}t\u{e9}", "e\u{301}te\u{301}"),
    ("\u{212b}", "\u{c5}"),
    ("\u{c4}hre", "\u{e4}hre"),
    ("stra\u{df}e", "STRASSE"),
];

/// Of ext4: by case and by form alike.
#[test]
fn spellings_that_are_one_name() {
    let place = match ext4(&["-O", "casefold", "-E", "encoding=utf8"], "") {
        Ok(place) => place,
        Err(why) => return report(&format!("an ext4 that folds case is not here: {why}")),
    };
    for more in [&[][..], &["--atomic"]] {
        for (from, to) in SPELLINGS {
            let special = place.root.join("special");
            let _ = fs::remove_dir_all(&special);
            run_ok("chattr", &["+F", &place.special()]);
            let trees = TempTree::new();
            let at = |name: &str| format!("source/special/{name}");
            trees.write(at(from), "first");
            trees.write(at(&format!("dir-{from}/file")), "in it");
            push(&trees, &place, more).expect(0);
            for name in ["", "dir-"] {
                let [old, new] =
                    [from, to].map(|spelled| trees.path(at(&format!("{name}{spelled}"))));
                fs::rename(old, new).unwrap();
            }
            trees.write(at(to), "first, renamed");
            let done = push(&trees, &place, more).expect(0);
            let read = |name: &str| fs::read_to_string(special.join(name));
            assert_eq!(read(to).unwrap(), "first, renamed", "{from} {to} {done}");
            assert_eq!(read(&format!("dir-{to}/file")).unwrap(), "in it", "{done}");
            let again = push(&trees, &place, more).expect(0);
            assert!(again.stdout.is_empty(), "{from} {to} {again}");
            trees.write(at(from), "both");
            for _ in 0..2 {
                let done = push(&trees, &place, more).expect(23);
                assert!(
                    done.stderr.contains(from) && done.stderr.contains(to),
                    "{done}"
                );
                assert!(read(to).is_ok(), "{done}");
            }
        }
    }
}

/// On a loop device, which some of its versions need, and which is gone with the mount.
fn exfat() -> Result<Place, NotHere> {
    let mut place = Place::new();
    let image = place.image(&["mkfs.exfat"], 32);
    let script = "disk=$(losetup -f --show \"$0\") && mount.exfat-fuse \"$disk\" \"$1\" && \
                  losetup -d \"$disk\"";
    place.fuse(&["sh", "-c", script, &image])?;
    Ok(place)
}

/// What a source lacks goes in the spelling that was named alone, and never for another source's.
#[test]
fn a_missing_spelling_takes_no_other_along() {
    let place = match exfat() {
        Ok(place) => place,
        Err(why) => return report(&format!("an exFAT is not here: {why}")),
    };
    for (there, has, lacks, stays) in [
        ("readme", &["README"][..], "readme", Some("newer")),
        ("README", &["README"], "readme", Some("newer")),
        ("readme", &["readme"], "README", Some("newer")),
        ("readme", &["Other"], "README", Some("old")),
        ("readme", &["Other"], "readme", None),
        ("readme/in", &["README/in"], "readme", Some("newer")),
        ("readme/in", &["Other"], "readme", None),
    ] {
        for first in [true, false] {
            let trees = TempTree::new();
            let root = place.root.join("root");
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(root.join(there).parent().unwrap()).unwrap();
            fs::write(root.join(there), "old").unwrap();
            has.iter().for_each(|name| trees.write(name, "newer"));
            let mut words: Vec<String> = has.iter().map(|name| trees.text(name)).collect();
            if let Some((dir, _)) = has[0].split_once('/') {
                words = vec![trees.text(dir)];
            }
            let at = if first { 0 } else { words.len() };
            words.insert(at, trees.text(lacks));
            let push = Hasync::push(&["-r", "--force", "--delete-missing-args"]);
            let done = push.args(words).arg(&root).run().expect(0);
            place.forget();
            let read = fs::read_to_string(root.join(there)).ok();
            assert_eq!(read.as_deref(), stays, "{there} {has:?} {lacks} {done}");
        }
    }
}
