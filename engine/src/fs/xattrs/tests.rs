//! What is set on entries of each type is read again, and nothing else is.

#![allow(clippy::print_stderr, clippy::unwrap_used)]
use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::geteuid;

use super::*;
use crate::fs::{Assigned, Attrs, set_attrs, set_fd_attrs};

const ROOT_ONLY: &str = "only root sets what is trusted";

/// Attributes by name; ACLs are `a` and `d`.
fn of(all: &[(&str, &[u8])]) -> Attributes {
    let one = |(name, value): &(&str, &[u8])| match *name {
        "a" => (AttributeKind::AccessAcl, value.to_vec()),
        "d" => (AttributeKind::DefaultAcl, value.to_vec()),
        name => {
            let value = extended_value(name.as_bytes(), value);
            (AttributeKind::Extended, value)
        }
    };
    Attributes::of(all.iter().map(one).collect()).unwrap()
}

fn attrs(scope: Scope, all: &Attributes) -> Attrs {
    Attrs {
        attributes: Assigned::new(scope, all),
        ..Attrs::default()
    }
}

/// A directory with one entry of each type.
fn populated() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), b"x").unwrap();
    fs::create_dir(temp.path().join("dir")).unwrap();
    symlink("file", temp.path().join("link")).unwrap();
    let dir = File::open(temp.path()).unwrap();
    rustix::fs::mknodat(&dir, c"fifo", FileType::Fifo, Mode::RUSR, 0).unwrap();
    temp
}

fn read(dir: &Path, name: &str) -> Attributes {
    let dir = File::open(dir).unwrap();
    let name = CString::new(name).unwrap();
    let listed = crate::fs::stat(&dir, &name, Scope::ALL).unwrap();
    listed.entry.attributes
}

fn set(dir: &Path, name: &str, attrs: &Attrs) -> io::Result<()> {
    let dir = File::open(dir).unwrap();
    let name = CString::new(name).unwrap();
    set_attrs(&dir, &name, None, attrs)
}

const ACL: &[u8] = &[5, 0, 6, 1, 0, 0, 0, 1, 4, 7, 0, 0, 0];
const DEFAULT: &[u8] = &[7, 5, 7, 0, 0, 6, 1, 0, 0, 0];
const PLAIN_DEFAULT: &[u8] = &[7, 5, 8, 0];
const NO_CAPABILITY: &[u8] = b"\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Each type gets each of what it can have, in place of each other, and of nothing.
#[test]
fn what_is_set_is_read_and_replaces_what_was_there() {
    if !geteuid().is_root() {
        eprintln!("{ROOT_ONLY}");
        return;
    }
    let temp = populated();
    let long = vec![b'v'; 3000];
    let trusted: [&[(&str, &[u8])]; 3] = [
        &[],
        &[("trusted.a", b"1"), ("security.b", b"")],
        &[("trusted.a", b"2"), ("trusted.c", b"\0\xff")],
    ];
    let files: [&[(&str, &[u8])]; 4] = [
        &[("a", ACL)],
        &[
            ("a", &[7]),
            ("user.a", b""),
            ("security.capability", NO_CAPABILITY),
        ],
        &[("user.a", &long), ("user.b", b"x"), ("user.c", b"y")],
        &[("user.rsync.x", b"x")],
    ];
    let dirs: [&[(&str, &[u8])]; 3] = [
        &[("d", DEFAULT)],
        &[("a", ACL), ("d", PLAIN_DEFAULT)],
        &[("user.a", b"1")],
    ];
    let fifos: [&[(&str, &[u8])]; 1] = [&[("a", ACL)]];
    for (name, others) in [
        ("file", &files[..]),
        ("dir", &dirs),
        ("fifo", &fifos),
        ("link", &[]),
    ] {
        let states: Vec<Attributes> = trusted.iter().chain(others).map(|all| of(all)).collect();
        for before in &states {
            for after in &states {
                for state in [before, after] {
                    set(temp.path(), name, &attrs(Scope::ALL, state)).unwrap();
                    assert_eq!(read(temp.path(), name), *state, "{name}");
                }
            }
        }
    }
    // Nothing went through the symlink.
    assert_eq!(read(temp.path(), "file"), of(files[3]));
}

#[test]
fn what_is_in_no_scope_stays() {
    let temp = populated();
    let path = temp.path();
    let file = File::open(path.join("file")).unwrap();
    set_fd_attrs(
        &file,
        &attrs(own_scope(), &of(&[("a", ACL), ("user.a", b"1")])),
    )
    .unwrap();
    let user = Scope {
        acls: false,
        xattrs: Namespaces::USER,
    };
    let acls = Scope {
        acls: true,
        xattrs: Namespaces::NONE,
    };
    set(path, "file", &attrs(user, &of(&[("user.b", b"2")]))).unwrap();
    assert_eq!(read(path, "file"), of(&[("a", ACL), ("user.b", b"2")]));
    set(path, "file", &attrs(acls, &of(&[]))).unwrap();
    assert_eq!(read(path, "file"), of(&[("user.b", b"2")]));
    // Not even asked for.
    rustix::fs::setxattr(
        path.join("file"),
        "user.rsync.%stat",
        b"x",
        XattrFlags::empty(),
    )
    .unwrap();
    set(path, "file", &attrs(user, &of(&[]))).unwrap();
    assert_eq!(read(path, "file"), of(&[]));
    let kept = rustix::fs::getxattr(path.join("file"), "user.rsync.%stat", &mut [0; 8]);
    assert_eq!(kept, Ok(1));
}

/// A mode and an ACL that are set together are both there, in whatever order they came.
#[test]
fn an_acl_goes_with_its_mode() {
    let temp = populated();
    let path = temp.path().join("file");
    let file = File::open(&path).unwrap();
    let mode = || file.metadata().map(|found| found_mode(&found)).unwrap();
    for (bits, all) in [
        (0o4750, of(&[("a", ACL)])),
        (0o604, of(&[])),
        (0o640, of(&[("a", &[7])])),
        (0o2770, of(&[("a", ACL)])),
        (0o700, of(&[("a", &[0])])),
    ] {
        let with_mode = Attrs {
            mode: Some(bits),
            ..attrs(own_scope(), &all)
        };
        set_fd_attrs(&file, &with_mode).unwrap();
        assert_eq!(mode(), bits);
        assert_eq!(read(temp.path(), "file"), all);
        // Alone, it leaves the mode as it is.
        set_fd_attrs(&file, &attrs(own_scope(), &all)).unwrap();
        assert_eq!(mode(), bits);
    }
}

fn found_mode(found: &fs::Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt;
    found.mode() & 0o7777
}

#[test]
fn one_that_has_no_room_is_no_full_disk() {
    let temp = populated();
    let huge = vec![b'x'; LEN_MAX + 1];
    let file = File::open(temp.path().join("file")).unwrap();
    let set = rustix::fs::fsetxattr(&file, "user.a", &huge, XattrFlags::empty());
    let e = failed("set", b"user.a", set.unwrap_err());
    assert!(
        e.to_string().contains("cannot set its attribute user.a: "),
        "{e}"
    );
    for errno in [Errno::NOSPC, Errno::RANGE, Errno::TOOBIG] {
        assert!(!crate::error::is_no_space(&failed("set", b"user.a", errno)));
    }
}

#[test]
fn whom_an_acl_names_gains_nothing_while_it_goes() {
    let temp = populated();
    for (name, before, after) in [
        ("file", 0o600, 0o660),
        ("file", 0o640, 0o670),
        ("file", 0o644, 0o2775),
        ("dir", 0o700, 0o777),
        ("dir", 0o750, 0o750),
    ] {
        let acl = Attrs {
            mode: Some(before),
            ..attrs(Scope::ALL, &of(&[("a", ACL)]))
        };
        if let Err(e) = set(temp.path(), name, &acl) {
            eprintln!("no ACLs here: {e}");
            return;
        }
        let held = File::open(temp.path().join(name)).unwrap();
        let none = Attrs {
            mode: Some(after),
            ..attrs(Scope::ALL, &of(&[]))
        };
        let way = Way::Open(held.as_fd());
        let has_acl = || {
            let all = attributes_of(&held, Scope::ALL).unwrap();
            all.acl(AttributeKind::AccessAcl).is_some()
        };
        assert!(has_acl(), "{name}");
        let mut is_gone = false;
        let set_mode = |mode| {
            is_gone = !has_acl();
            Ok(way.set_mode(mode)?)
        };
        set_rights(&way, &none, set_mode).unwrap();
        assert!(is_gone && !has_acl(), "{name} {before:o} {after:o}");
        assert_eq!(way.mode().unwrap() & 0o7777, after);
    }
}
