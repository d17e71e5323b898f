//! What a receiver takes from a peer that may not have everything done: what is left out is no
//! difference, a dry run says the same as the push, and the push after it has nothing to do.

#![allow(missing_docs, clippy::unwrap_used)]

mod halves;

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use halves::{Log, duplex, options, tree};
use hasync_engine::{
    Action, Connection, Error, ErrorKind, Options, Rights, ServePolicy, Summary, serve,
};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

fn push(
    source: &Path,
    target: &Path,
    options: &Options,
    rights: Rights,
) -> (Result<Summary, Error>, Log) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let policy = ServePolicy {
        rights,
        ..ServePolicy::default()
    };
    let receiver = duplex(&theirs);
    let half = std::thread::spawn(move || serve(receiver, &policy));
    let mut log = Log::default();
    let sources = [format!("{}/", source.display()).into()];
    let target = target.as_os_str().as_encoded_bytes();
    let mut connection = Connection::open(duplex(&ours));
    let result = connection.push(&sources, target, options, &mut log);
    drop(connection);
    assert_eq!(half.join().unwrap().is_ok(), result.is_ok());
    (result, log)
}

/// Pushes dry, then really, then once more, and gives what the first two said.
fn thrice(
    source: &Path,
    target: &Path,
    options: &Options,
    rights: Rights,
) -> Vec<(Action, String)> {
    let dry = Options {
        dry_run: true,
        ..options.clone()
    };
    let (_, would) = push(source, target, &dry, rights);
    let (done, did) = push(source, target, options, rights);
    done.unwrap();
    assert_eq!(would.lines, did.lines, "{options:?}");
    assert_eq!(would.notes, did.notes);
    assert_eq!(did.warnings, Vec::<String>::new());
    let (again, nothing) = push(source, target, options, rights);
    assert_eq!(nothing.lines, [], "{options:?}");
    assert_eq!(again.unwrap().transferred_files, 0);
    assert_eq!(nothing.notes, did.notes);
    // The time of the root goes with what the tests themselves do there.
    did.lines
        .into_iter()
        .filter(|(_, path)| path != ".")
        .collect()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn make(path: &Path, mode: u32) {
    fs::write(path, path.as_os_str().as_encoded_bytes()).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn setuid_and_setgid_of_files_stay_away() {
    let rights = Rights {
        setuid: false,
        ..Rights::default()
    };
    for atomic in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let (source, target) = (temp.path().join("s"), temp.path().join("t"));
        fs::create_dir_all(source.join("new")).unwrap();
        let modes = [0o4755, 0o2755, 0o6711, 0o1644, 0o755];
        for mode in modes {
            make(&source.join(format!("{mode:o}")), mode);
            make(&source.join("new").join(format!("{mode:o}")), mode);
        }
        fs::set_permissions(source.join("new"), Permissions::from_mode(0o3755)).unwrap();
        let options = Options {
            atomic,
            hard_links: true,
            ..options()
        };
        thrice(&source, &target, &options, rights);
        for bits in modes {
            for dir in [target.clone(), target.join("new")] {
                assert_eq!(mode(&dir.join(format!("{bits:o}"))), bits & 0o1777);
            }
        }
        assert_eq!(mode(&target.join("new")), 0o3755);

        // Back again for one that may, and no difference for one that may not.
        let all = thrice(&source, &target, &options, Rights::default());
        assert_eq!(all.len(), 6, "{all:?}");
        assert_eq!(mode(&target.join("6711")), 0o6711);
        assert_eq!(thrice(&source, &target, &options, rights), []);
        assert_eq!(mode(&target.join("6711")), 0o6711);
        // New content does not come to have them, not even without -p.
        for perms in [false, true] {
            fs::write(source.join("6711"), format!("other {perms}")).unwrap();
            fs::set_permissions(target.join("6711"), Permissions::from_mode(0o6711)).unwrap();
            let options = Options {
                perms,
                ..options.clone()
            };
            let lines = thrice(&source, &target, &options, rights);
            assert_eq!(lines, [(Action::Transfer, "6711".to_owned())]);
            assert_eq!(mode(&target.join("6711")), 0o711);
        }
    }
}

#[test]
fn devices_are_not_made_nor_touched() {
    assert!(rustix::process::geteuid().is_root(), "makes devices");
    let rights = Rights {
        devices: false,
        ..Rights::default()
    };
    let device = |path: &Path| {
        let (mode, null) = (Mode::from_raw_mode(0o600), makedev(1, 3));
        mknodat(CWD, path, FileType::CharacterDevice, mode, null).unwrap();
    };
    for atomic in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let (source, target) = (temp.path().join("s"), temp.path().join("t"));
        fs::create_dir_all(source.join("new")).unwrap();
        fs::write(source.join("new/file"), "f").unwrap();
        for name in ["null", "new/null", "kept"] {
            device(&source.join(name));
        }
        let fifo = source.join("new/fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let options = Options {
            atomic,
            ..options()
        };
        thrice(&source, &target, &options, rights);
        assert!(!target.join("null").exists() && !target.join("new/null").exists());
        assert!(target.join("new/fifo").exists());

        // One that is there stays as it is, whatever the source's is like by now.
        device(&target.join("kept"));
        fs::set_permissions(source.join("kept"), Permissions::from_mode(0o666)).unwrap();
        assert_eq!(thrice(&source, &target, &options, rights), []);
        assert_eq!(mode(&target.join("kept")), 0o600);
        // A device is no file: one that the source has no more is deleted with everything else.
        fs::remove_file(source.join("kept")).unwrap();
        let gone = thrice(&source, &target, &options, rights);
        assert_eq!(gone, [(Action::Delete, "kept".to_owned())]);
        // Whoever may have devices made gets all of them.
        let all = thrice(&source, &target, &options, Rights::default());
        assert_eq!(all.len(), 2, "{all:?}");
        let made = fs::symlink_metadata(target.join("new/null")).unwrap();
        assert!(made.file_type().is_char_device());
    }
}

#[test]
fn no_name_goes_where_nothing_may_be_deleted() {
    let rights = Rights {
        deletes: false,
        ..Rights::default()
    };
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    for dir in ["s/becomes-dir", "t/full", "t/empty", "t/only-there"] {
        fs::create_dir_all(temp.path().join(dir)).unwrap();
    }
    for file in [
        "s/full",
        "s/empty",
        "s/becomes-dir/in",
        "t/becomes-dir",
        "t/full/in",
    ] {
        fs::write(temp.path().join(file), file).unwrap();
    }
    for dry_run in [true, false] {
        let deleting = Options {
            dry_run,
            ..options()
        };
        let (result, log) = push(&source, &target, &deleting, rights);
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage, "{error:?}");
        assert!(error.message.contains("without --delete"), "{error:?}");
        assert_eq!(log.lines, []);
    }
    for _ in 0..2 {
        let (result, log) = push(&source, &target, &Options::archive(), rights);
        result.unwrap();
        let [warning] = &log.warnings[..] else {
            unreachable!("{:?}", log.warnings)
        };
        assert!(warning.contains("nothing may be deleted"), "{warning}");
        assert_eq!(fs::read(target.join("full/in")).unwrap(), b"t/full/in");
        assert!(target.join("only-there").is_dir());
        // The name stays, and nothing was below it: replaced as any other entry.
        assert_eq!(fs::read(target.join("empty")).unwrap(), b"s/empty");
        assert_eq!(
            fs::read(target.join("becomes-dir/in")).unwrap(),
            b"s/becomes-dir/in"
        );
    }
}

#[test]
fn a_tree_that_deletes_is_a_mistake_where_nothing_may_be_deleted() {
    let temp = tempfile::tempdir().unwrap();
    let here = tree(temp.path(), "foo0", "html", 2);
    let there = tree(temp.path(), "foo1", "html", 2);
    fs::write(here.root.join("new"), "new").unwrap();
    fs::write(there.root.join("old"), "old").unwrap();
    let rights = Rights {
        deletes: false,
        ..Rights::default()
    };
    let policy = ServePolicy {
        trees: vec![there.clone()],
        only_trees: Some(vec!["html".to_owned()]),
        rights,
        ..ServePolicy::default()
    };
    let with = |run: &dyn Fn(&mut Connection) -> Result<(), Error>| {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let (receiver, policy) = (duplex(&theirs), policy.clone());
        let half = std::thread::spawn(move || serve(receiver, &policy));
        let mut connection = Connection::open(duplex(&ours));
        let result = run(&mut connection);
        drop(connection);
        let _ = half.join().unwrap();
        result
    };
    let sources = [format!("{}/", here.root.display()).into()];
    let push = |options: Options| {
        with(&|connection| {
            let log = &mut Log::default();
            let pushed = connection.push_tree(&sources, &here, &options, log);
            pushed.map(|_| ())
        })
    };
    for dry_run in [true, false] {
        let deleting = Options {
            dry_run,
            ..options()
        };
        let error = push(deleting).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config, "{error:?}");
        assert!(error.message.contains("delete = false"), "{error:?}");
    }
    assert!(!there.root.join("new").exists());
    // Not by its path either, since nothing without a name may be pushed.
    let path = there.root.as_os_str().as_encoded_bytes();
    let unnamed = with(&|connection| {
        let log = &mut Log::default();
        let pushed = connection.push(&sources, path, &Options::archive(), log);
        pushed.map(|_| ())
    });
    assert_eq!(unnamed.unwrap_err().kind, ErrorKind::Usage);

    push(Options::archive()).unwrap();
    assert_eq!(fs::read(there.root.join("old")).unwrap(), b"old");
    assert_eq!(fs::read(there.root.join("new")).unwrap(), b"new");
}
