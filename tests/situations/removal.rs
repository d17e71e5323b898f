//! What goes where names are longer than a source can have, and where what is open goes to another
//! name until it is closed.

use std::fs::{self, File};

use super::place::{NotHere, Place};
use super::{bound_below, memory, ntfs, over, subvolume};
use crate::support::{Finished, Hasync, Snapshot, TempTree, await_that, report};

fn push(trees: &TempTree, place: &Place, more: &[&str]) -> Finished {
    let to = [
        trees.contents_of("source"),
        place.root.display().to_string(),
    ];
    Hasync::push(&["-ai", "--delete"]).args(more).args(to).run()
}

/// 400 and 699 bytes in letters that NTFS counts once.
fn long(letter: &str, end: &str) -> String {
    letter.repeat(if letter.len() == 2 { 200 } else { 233 }) + end
}

#[test]
fn long_names_are_protected_and_removed_as_others() {
    for more in [&[][..], &["--atomic"]] {
        let place = match ntfs("ntfs-3g", "permissions") {
            Ok(place) => place,
            Err(why) => return report(&format!("long names are not tried: {why}")),
        };
        let trees = TempTree::new();
        trees.write("source/kept", "kept");
        let [file, keep, dir] = [long("ü", ""), long("ü", "-keep"), long("字", "")];
        for name in [&file, &keep] {
            fs::write(place.root.join(name), name).unwrap();
        }
        for name in ["plain", &keep, &file] {
            let path = place.root.join(&dir).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let both = [more, &["--filter=P *-keep"]].concat();
        let dry = push(&trees, &place, &[&both[..], &["-n"]].concat());
        let done = push(&trees, &place, &both).expect(dry.code);
        assert_eq!(dry.stdout_text(), done.stdout_text(), "{done}");
        place.forget();
        let there = |path: &str| place.root.join(path).exists();
        assert!(there("kept") && there(&keep), "{done}");
        assert!(there(&format!("{dir}/{keep}")), "{done}");
        assert!(!there(&file) && !there(&format!("{dir}/{file}")), "{done}");
        assert!(!there(&format!("{dir}/plain")), "{done}");
        let done = push(&trees, &place, more).expect(0);
        place.forget();
        assert!(!there(&keep) && !there(&dir), "{done}");
        let litter = Snapshot::of(&place.root).litter();
        assert!(litter.is_empty(), "{litter:?} {done}");
    }
}

/// `lowntfs-3g` lists names of more than 255 bytes, and looks none of them up.
#[test]
fn what_can_be_listed_alone_stays_alone() {
    let place = match ntfs("ntfs-3g", "permissions") {
        Ok(place) => place,
        Err(why) => return report(&format!("long names are not tried: {why}")),
    };
    fs::write(place.root.join(long("ü", "")), "long").unwrap();
    fs::create_dir(place.root.join("dir")).unwrap();
    fs::write(place.root.join("dir").join(long("ü", "")), "long").unwrap();
    for name in ["goes", "dir/goes"] {
        fs::write(place.root.join(name), "not in the source").unwrap();
    }
    place.mount_by(&["lowntfs-3g", "-o", "permissions"]);
    for more in [&[][..], &["--atomic"]] {
        let trees = TempTree::new();
        trees.write("source/new", "new");
        trees.write("source/dir/new", "new");
        let done = push(&trees, &place, more).expect(23);
        assert!(place.root.join("dir/new").exists(), "{done}");
        for gone in ["goes", "dir/goes"] {
            assert!(!place.root.join(gone).exists(), "{done}");
        }
        let named = done.stderr.lines().filter(|line| line.contains("ü"));
        assert_eq!(named.count(), 2, "{done}");
        for name in ["new", "dir/new"] {
            fs::remove_file(trees.path(format!("source/{name}"))).unwrap();
        }
        fs::remove_dir(trees.path("source/dir")).unwrap();
        let done = push(&trees, &place, more).expect(23);
        assert!(
            done.stderr.contains("ü") && !place.root.join("new").exists(),
            "{done}"
        );
    }
}

/// A program on the standby reads what goes, by itself, with its directory, or to make place.
#[test]
fn what_is_open_ends_no_push() {
    let places: [fn() -> Result<Place, NotHere>; 2] = [|| over(&["bindfs"]), || memory("silly")];
    for (make, more) in places
        .iter()
        .flat_map(|make| [(make, &[][..]), (make, &["--atomic"])])
    {
        let place = match make() {
            Ok(place) => place,
            Err(why) => {
                report(&format!("what is open is not tried: {why}"));
                continue;
            }
        };
        let trees = TempTree::new();
        let names = [
            "changes",
            "goes",
            "dir/goes",
            "dir/deep/goes",
            "full/replaced",
        ];
        for name in names {
            trees.write(format!("source/{name}"), "first");
        }
        push(&trees, &place, more).expect(0);
        let open: Vec<File> = names
            .iter()
            .map(|name| File::open(place.root.join(name)).unwrap())
            .collect();
        trees.write("source/changes", "second, and longer");
        fs::remove_file(trees.path("source/goes")).unwrap();
        for dir in ["dir", "full"] {
            fs::remove_dir_all(trees.path(format!("source/{dir}"))).unwrap();
        }
        trees.write("source/full", "a file now");
        let done = push(&trees, &place, more);
        assert!(matches!(done.code, 0 | 23), "{done}");
        let read = |name: &str| fs::read_to_string(place.root.join(name)).unwrap();
        assert_eq!(read("changes"), "second, and longer", "{done}");
        assert_eq!(read("full"), "a file now", "{done}");
        assert!(!place.root.join("goes").exists(), "{done}");
        let again = push(&trees, &place, more);
        assert!(matches!(again.code, 0 | 23), "{again}");
        drop(open);
        // The server of the file system is told a little later.
        let all = || walkdir::WalkDir::new(&place.root).into_iter().flatten();
        let is_hidden = |name: &std::ffi::OsStr| {
            let begins = |prefix: &[u8]| name.as_encoded_bytes().starts_with(prefix);
            begins(b".fuse_hidden") || begins(b".nfs")
        };
        await_that("nothing is open", || {
            !all().any(|entry| is_hidden(entry.file_name()))
        });
        place.forget();
        let last = push(&trees, &place, more).expect(0);
        let diff = Snapshot::of(&trees.path("source")).diff(&Snapshot::of(&place.root));
        assert!(diff.is_empty(), "{diff}{done}{again}{last}");
    }
}

/// The first to go on a mount is deep in what goes after it.
#[test]
fn directories_go_piece_by_piece_on_a_mount_below() {
    for (make, more) in [bound_below, subvolume]
        .iter()
        .flat_map(|make| [(make, &[][..]), (make, &["--atomic"])])
    {
        let place = match make() {
            Ok(place) => place,
            Err(why) => {
                report(&format!("pieces on a mount are not tried: {why}"));
                continue;
            }
        };
        let special = place.root.join("special");
        for file in ["goes/stays", "goes/dir/deep/file", "goes/dir/file"] {
            let path = special.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let trees = TempTree::new();
        trees.mkdir("source/special");
        let both = [more, &["--filter=P stays"]].concat();
        let done = push(&trees, &place, &both).expect(0);
        assert!(special.join("goes/stays").exists(), "{more:?} {done}");
        assert!(!special.join("goes/dir").exists(), "{more:?} {done}");
        let litter = Snapshot::of(&place.root).litter();
        assert!(litter.is_empty(), "{litter:?} {done}");
    }
}
