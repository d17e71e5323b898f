//! The table *situation x way of pushing*: what arrives on file systems of every kind, plain,
//! `--atomic`, by name and undone. A situation that this machine cannot make says so.
//!
//! The normal run leaves out cells that tell little beside the others; the soak has all of them.

mod borders;
mod cell;
mod handed_on;
mod lesser;
mod place;
mod removal;
mod source;
mod squatted;
mod stubborn;
mod subvolumes;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cell::{Expected, Way, check};
use place::{ALL, Keeps, NotHere, Place, kernel_has};

use crate::support::process::run_ok;
use crate::support::{Hasync, Sshd, TempTree, report, soak};

const WAYS: [Way; 3] = [Way::Plain, Way::Atomic, Way::Named];

/// Runs a row of the table, or says why it is not here. The normal run has the `normal` ways.
fn row(name: &str, normal: &[Way], make: fn() -> Result<Place, NotHere>, expected: Expected) {
    let ways = if soak() { &WAYS[..] } else { normal };
    for way in ways {
        match make() {
            Ok(place) => check(&place, *way, expected),
            Err(why) => return report(&format!("situation {name} is not here: {why}")),
        }
    }
    report(&format!("situation {name}: {ways:?}"));
}

macro_rules! rows {
    ($($name:ident: $normal:expr, $make:expr, $expected:expr;)*) => {
        $(#[test]
        fn $name() {
            row(stringify!($name), &$normal, $make, $expected);
        })*
    };
}

const KEPT: Expected = Expected {
    lost: &[],
    refused: None,
};

const MKFS_EXT4: [&str; 5] = ["mkfs.ext4", "-q", "-F", "-m", "0"];

fn ext4(more: &[&str], options: &str) -> Result<Place, NotHere> {
    let mut place = Place::new();
    place.disk(&[&MKFS_EXT4[..], more].concat(), 24, options, "target")?;
    Ok(place)
}

fn xfs() -> Result<Place, NotHere> {
    let mut place = Place::new();
    place.disk(&["mkfs.xfs", "-q"], 300, "nouuid", "target")?;
    Ok(place)
}

fn btrfs() -> Result<Place, NotHere> {
    let mut place = Place::new();
    place.disk(&["mkfs.btrfs", "-q"], 120, "", "target")?;
    Ok(place)
}

/// Two names of one file have two numbers, sometimes at least.
const UNLINKED: Keeps = Keeps {
    hard_links: false,
    ..ALL
};

/// Whole seconds.
const SECONDS: Keeps = Keeps {
    step_ns: 1_000_000_000,
    ..ALL
};

fn old_ext4() -> Result<Place, NotHere> {
    Ok(ext4(&["-I", "128"], "")?.keeping(SECONDS))
}

fn old_ext4_below() -> Result<Place, NotHere> {
    let mut place = Place::new();
    place.disk(
        &[&MKFS_EXT4[..], &["-I", "128"]].concat(),
        24,
        "",
        "target/special",
    )?;
    place.special_keeps = SECONDS;
    Ok(place)
}

fn tmpfs() -> Result<Place, NotHere> {
    let mut place = Place::new();
    place.mount(
        &["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs"],
        "target",
    )?;
    Ok(place)
}

/// A lower layer with an older version in it, so that directories and files of it are replaced.
fn lower(place: &Place) {
    older(&place.path("lower"));
}

/// Writes an older version.
fn older(top: &Path) {
    for dir in ["", "special/"] {
        for name in [
            "dir/inner/file",
            "dir-next/deep/older",
            "gone/older",
            "bare/no more",
        ] {
            let path = top.join(dir).join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "of the lower layer").unwrap();
        }
        std::fs::write(top.join(dir).join("same"), "older").unwrap();
    }
}

fn layers(place: &Place) -> String {
    lower(place);
    let [lower, upper, work] = ["lower", "disk/upper", "disk/work"].map(|name| place.mkdir(name));
    format!("lowerdir={lower},upperdir={upper},workdir={work}")
}

/// A lower layer of which nothing can be changed at all.
fn overlay_over_an_image() -> Result<Place, NotHere> {
    kernel_has("overlay")?;
    kernel_has("squashfs")?;
    let mut place = Place::new();
    place.mount(&["mount", "-t", "tmpfs", "tmpfs"], "disk")?;
    lower(&place);
    let image = place.text("image");
    run_ok(
        "mksquashfs",
        &[&place.text("lower"), &image, "-quiet", "-no-progress"],
    );
    place.mount(&["mount", "-o", "loop", &image], "packed")?;
    let [packed, upper, work] = ["packed", "disk/upper", "disk/work"].map(|name| place.mkdir(name));
    let options = format!("lowerdir={packed},upperdir={upper},workdir={work}");
    place.mount(
        &["mount", "-t", "overlay", "overlay", "-o", &options],
        "target",
    )?;
    Ok(place)
}

fn overlay(more: &str) -> Result<Place, NotHere> {
    kernel_has("overlay")?;
    let mut place = Place::new();
    place.mount(&["mount", "-t", "tmpfs", "tmpfs"], "disk")?;
    let options = format!("{}{more}", layers(&place));
    place.mount(
        &["mount", "-t", "overlay", "overlay", "-o", &options],
        "target",
    )?;
    Ok(place)
}

fn fuse_overlay() -> Result<Place, NotHere> {
    let mut place = Place::new();
    place.disk(&MKFS_EXT4, 32, "", "disk")?;
    let options = layers(&place);
    place.fuse(&["fuse-overlayfs", "-o", &options])?;
    Ok(place.keeping(UNLINKED))
}

/// A FUSE file system over another directory.
fn over(command: &[&str]) -> Result<Place, NotHere> {
    let mut place = Place::new();
    let below = place.mkdir("below");
    place.fuse(&[command, &[below.as_str()]].concat())?;
    Ok(place)
}

/// As an NFS server that takes root for nobody.
fn squashed() -> Result<Place, NotHere> {
    let nobody = ["--create-for-user=65534", "--create-for-group=65534"];
    over(&[&["bindfs", "--chown-deny", "--chgrp-deny"], &nobody[..]].concat())
}

/// Several disks as one tree, whose older version lies on both: each directory in parts, and files
/// on one or the other.
fn mergerfs() -> Result<Place, NotHere> {
    let mut place = Place::new();
    let [one, other] = ["one", "other"].map(|name| place.mkdir(name));
    let mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs"];
    place.mount(&mount, "other")?;
    older(&place.path("other"));
    for dir in ["dir/inner", "gone/too", "special/gone", "special/bare"] {
        std::fs::create_dir_all(place.path("one").join(dir)).unwrap();
        std::fs::write(place.path("one").join(dir).join("here"), "older").unwrap();
    }
    place.fuse(&[
        "mergerfs",
        "-o",
        "minfreespace=1M",
        &format!("{one}:{other}"),
    ])?;
    Ok(place.keeping(UNLINKED))
}

fn fuse2fs() -> Result<Place, NotHere> {
    let mut place = Place::new();
    let image = place.image(&MKFS_EXT4, 32);
    place.fuse(&["fuse2fs", "-o", "rw", &image])?;
    let _ = std::fs::remove_dir(place.root.join("lost+found"));
    Ok(place.keeping(SECONDS))
}

fn sshfs() -> Result<Place, NotHere> {
    let mut place = Place::new();
    let sshd = Sshd::start_with("Subsystem sftp internal-sftp\n");
    let below = format!("127.0.0.1:{}", place.mkdir("below"));
    let options = format!(
        "Port={},IdentityFile={},UserKnownHostsFile={},StrictHostKeyChecking=yes",
        sshd.port(),
        sshd.file("user_key").display(),
        sshd.file("known_hosts").display(),
    );
    place.fuse(&["sshfs", "-F", "/dev/null", "-o", &options, &below])?;
    // A symlink would have neither owner nor time.
    let keeps = Keeps {
        specials: false,
        symlinks: false,
        hard_links: false,
        ..SECONDS
    };
    Ok(place.served_by(sshd).keeping(keeps))
}

/// A file system in memory that is odd in this way.
fn memory(way: &str) -> Result<Place, NotHere> {
    const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/odd/memory.py");
    let mut place = Place::new();
    place.fuse(&["python3", SERVER, way])?;
    // Nothing of it outlives the mount.
    place.stays = true;
    Ok(place)
}

const NTFS: [&str; 3] = ["mkntfs", "-F", "-Q"];

fn ntfs(program: &str, options: &str) -> Result<Place, NotHere> {
    let mut place = Place::new();
    let image = place.image(&NTFS, 32);
    place.fuse(&[program, "-o", options, &image])?;
    let keeps = Keeps {
        step_ns: 100,
        ..ALL
    };
    Ok(place.keeping(keeps))
}

fn fat_like(step_ns: u64) -> Keeps {
    Keeps {
        owners: false,
        modes: false,
        symlinks: false,
        hard_links: false,
        specials: false,
        step_ns,
    }
}

/// With everybody allowed everything, or `umask=077`.
fn exfat(options: &str) -> Result<Place, NotHere> {
    let mut place = Place::new();
    let image = place.image(&["mkfs.exfat"], 32);
    // It takes a block device, which is to go with the mount.
    let attached = "device=$(losetup --find --show \"$0\") || exit
                    mount.exfat-fuse -o \"$1\" \"$device\" \"$2\"; came=$?
                    losetup -d \"$device\"; exit $came";
    place.fuse(&["sh", "-c", attached, &image, options])?;
    Ok(place.keeping(fat_like(2_000_000_000)))
}

fn without(place: Result<Place, NotHere>, owners: bool, modes: bool) -> Result<Place, NotHere> {
    Ok(place?.keeping(Keeps {
        owners,
        modes,
        ..ALL
    }))
}

/// A kernel file system that this project's own machines do not have.
fn of_kernel(kind: &str, mkfs: &[&str], keeps: Keeps) -> Result<Place, NotHere> {
    kernel_has(kind)?;
    let mut place = Place::new();
    place.disk(mkfs, 64, "", "target")?;
    Ok(place.keeping(keeps))
}

/// A directory that makes what is in it belong to a project.
fn project(place: Result<Place, NotHere>) -> Result<Place, NotHere> {
    let place = place?;
    let special = place.special();
    run_ok("xfs_io", &["-c", "chproj 42", &special]);
    run_ok("xfs_io", &["-c", "chattr +P", &special]);
    Ok(place)
}

/// A tree that was given to a project with what was in it belonging to none.
fn given_to_a_project(place: Result<Place, NotHere>, private: &str) -> Result<Place, NotHere> {
    let place = place?;
    older(&place.root);
    for dir in Path::new(private)
        .ancestors()
        .filter(|dir| !dir.as_os_str().is_empty())
    {
        let dir = place.root.join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
    }
    run_ok(
        "xfs_io",
        &["-c", "chproj 42", &place.root.display().to_string()],
    );
    run_ok(
        "xfs_io",
        &["-c", "chattr +P", &place.root.display().to_string()],
    );
    Ok(place)
}

fn encrypted() -> Result<Place, NotHere> {
    let mut place = ext4(&["-O", "encrypt"], "")?;
    let (root, special) = (place.root.display().to_string(), place.special());
    // The key is 64 bytes on the standard input.
    let script = format!(
        "key=$(head -c 64 /dev/zero | tr '\\0' k | xfs_io -c add_enckey '{root}') && \
         xfs_io -c \"set_encpolicy ${{key##* }}\" '{special}'"
    );
    run_ok("bash", &["-c", &script]);
    // The key goes with the mount.
    place.stays = true;
    Ok(place)
}

/// A directory with flags that it hands on.
fn flagged(place: Result<Place, NotHere>, flags: &str) -> Result<Place, NotHere> {
    let place = place?;
    run_ok("chattr", &[flags, &place.special()]);
    Ok(place)
}

fn subvolume() -> Result<Place, NotHere> {
    let place = btrfs()?;
    let special = place.root.join("special").display().to_string();
    run_ok("btrfs", &["-q", "subvolume", "create", &special]);
    Ok(place)
}

fn bound_below() -> Result<Place, NotHere> {
    let mut place = Place::new();
    place.disk(&MKFS_EXT4, 24, "", "disk")?;
    let [root, elsewhere] = ["disk/target", "disk/elsewhere"].map(|name| place.mkdir(name));
    place.mount(&["mount", "--bind", &elsewhere], "disk/target/special")?;
    place.root = root.into();
    Ok(place)
}

const FEW: [Way; 2] = [Way::Plain, Way::Named];

rows! {
    on_ext4: [Way::Named], || ext4(&[], ""), KEPT;
    on_ext4_with_whole_seconds: WAYS, old_ext4, KEPT;
    on_ext4_with_whole_seconds_below_the_root: FEW, old_ext4_below, KEPT;
    on_ext4_that_lists_no_types: FEW,
        || ext4(&["-O", "^dir_index,^filetype,^has_journal"], ""), KEPT;
    on_ext4_with_content_in_inodes: FEW, || ext4(&["-O", "inline_data"], ""), KEPT;
    on_ext4_without_setuid: FEW, || ext4(&[], "nosuid,noexec,nodiratime,lazytime"), KEPT;
    on_xfs: [Way::Named], xfs, KEPT;
    on_btrfs: [Way::Named], btrfs, KEPT;
    on_tmpfs: WAYS, tmpfs, KEPT;
    on_overlay: WAYS, || overlay(""), KEPT;
    on_overlay_with_other_inode_numbers: FEW, || overlay(",xino=off,redirect_dir=off"), KEPT;
    on_overlay_that_keeps_data_below: FEW,
        || overlay(",metacopy=on,redirect_dir=on,index=on"), KEPT;
    on_overlay_over_an_image: FEW, overlay_over_an_image, KEPT;
    on_fuse_overlay: WAYS, fuse_overlay, KEPT;
    on_bindfs: WAYS, || over(&["bindfs"]), KEPT;
    on_bindfs_without_change_times: FEW, || over(&["bindfs", "--ctime-from-mtime"]), KEPT;
    on_mergerfs: WAYS, mergerfs, KEPT;
    on_fuse2fs: WAYS, fuse2fs, KEPT;
    on_sshfs: WAYS, sshfs, KEPT;
    on_fuse_that_folds_forms: FEW, || memory("form"), KEPT;
    on_fuse_that_renames_what_is_open: FEW, || memory("silly"), KEPT;
    on_fuse_that_counts_no_names: WAYS, || Ok(memory("linkless")?.keeping(UNLINKED)), KEPT;
    on_fuse_that_tells_nothing_of_itself: WAYS, || memory("mute"), KEPT;
    on_fuse_that_takes_few_bytes_at_a_time: WAYS, || memory("short"), KEPT;
    on_fuse_that_lists_names_twice: WAYS, || memory("twice"), KEPT;
    on_fuse_that_flushes_no_directory: WAYS, || memory("stiff"), KEPT;
    on_fuse_that_moves_times_to_whole_seconds: WAYS,
        || memory("whole").map(|place| place.keeping(SECONDS)), KEPT;
    on_ntfs: WAYS, || ntfs("ntfs-3g", "permissions"), KEPT;
    on_low_ntfs: WAYS, || ntfs("lowntfs-3g", "permissions"), KEPT;
    on_low_ntfs_without_case: WAYS, || ntfs("lowntfs-3g", "permissions,ignore_case"), KEPT;
    where_owners_and_modes_are_made_up: WAYS, || exfat("umask=077"),
        Expected { lost: &["owners", "modes"], refused: None };
    where_all_of_ntfs_is_roots: FEW,
        || ntfs("ntfs-3g", "umask=077").map(|place| place.keeping(Keeps {
            owners: false,
            modes: false,
            step_ns: 100,
            ..ALL
        })),
        Expected { lost: &["owners", "modes"], refused: None };
    where_everybody_may_do_everything: WAYS, || exfat("umask=0"),
        Expected { lost: &["owners", "modes"], refused: Some("private") };
    where_others_own_everything: WAYS,
        || without(over(&["bindfs", "--force-user=1000", "--force-group=1000"]), false, true),
        Expected { lost: &["owners"], refused: Some("private") };
    where_root_is_nobody: WAYS,
        || without(squashed(), false, true),
        Expected { lost: &["owners"], refused: Some("private") };
    where_modes_are_all_the_same: WAYS,
        || without(over(&["bindfs", "--perms=u=rwX:go=rX"]), true, false),
        Expected { lost: &["modes"], refused: None };
    where_owners_are_not_changed: FEW,
        || without(over(&["bindfs", "--chown-ignore", "--chgrp-ignore"]), false, true),
        Expected { lost: &["owners"], refused: None };
    where_modes_are_not_changed: FEW,
        || without(over(&["bindfs", "--chmod-deny"]), true, false),
        Expected { lost: &["modes"], refused: None };
    on_vfat: WAYS, || of_kernel("vfat", &["mkfs.vfat"], fat_like(2_000_000_000)),
        Expected { lost: &["owners", "modes"], refused: None };
    on_exfat: WAYS, || of_kernel("exfat", &["mkfs.exfat"], fat_like(10_000_000)),
        Expected { lost: &["owners", "modes"], refused: None };
    on_ntfs3: WAYS, || of_kernel("ntfs3", &NTFS, Keeps { step_ns: 100, ..ALL }), KEPT;
    with_a_project_on_xfs: WAYS, || project(xfs()), KEPT;
    with_a_project_on_ext4: WAYS,
        || project(ext4(&["-O", "project"], "")), KEPT;
    given_to_a_project_on_xfs: WAYS, || given_to_a_project(xfs(), ""), KEPT;
    given_to_a_project_with_a_hasync_on_xfs: WAYS,
        || given_to_a_project(xfs(), ".hasync"), KEPT;
    given_to_a_project_on_ext4: WAYS,
        || given_to_a_project(ext4(&["-O", "project"], ""), ""), KEPT;
    given_to_a_project_with_a_hasync_on_ext4: WAYS,
        || given_to_a_project(ext4(&["-O", "project"], ""), ".hasync"), KEPT;
    with_an_encrypted_directory: WAYS, encrypted, KEPT;
    with_a_subvolume: WAYS, subvolume, KEPT;
    with_the_same_disk_mounted_below: FEW, bound_below, KEPT;
    with_flags_on_ext4: FEW, || flagged(ext4(&[], ""), "+AdS"), KEPT;
    with_flags_on_btrfs: FEW, || flagged(btrfs(), "+C"), KEPT;
}

/// Two spellings that are one entry: what is renamed from one to the other stays, and of two that
/// are both there one is named, the same each time.
#[test]
fn two_spellings_of_one_name() {
    let folds_case = ntfs("lowntfs-3g", "permissions,ignore_case").unwrap();
    two_spellings(&folds_case, ["README", "Readme"], ["Dir", "dir"]);
    let folds_forms = memory("form").unwrap();
    let accents = ["Caf\u{e9}", "Cafe\u{301}"];
    two_spellings(
        &folds_forms,
        accents,
        ["\u{c5}ngstr\u{f6}m", "A\u{30a}ngstro\u{308}m"],
    );
}

fn two_spellings(place: &Place, [file, other_file]: [&str; 2], [dir, other_dir]: [&str; 2]) {
    let trees = TempTree::new();
    let push = || {
        let to = [
            trees.contents_of("source"),
            place.root.display().to_string(),
        ];
        Hasync::push(&["-ai", "--delete"]).args(to).run()
    };
    let there = |name: &str| std::fs::read_to_string(place.root.join(name)).unwrap();
    trees.write(format!("source/{file}"), "first");
    trees.write(format!("source/{dir}/file"), "in it");
    push().expect(0);
    for (from, to) in [(file, other_file), (dir, other_dir)] {
        std::fs::rename(
            trees.path(format!("source/{from}")),
            trees.path(format!("source/{to}")),
        )
        .unwrap();
    }
    trees.write(format!("source/{other_file}"), "first, renamed");
    for round in 0..2 {
        // The kernel knows the other spelling for a second longer.
        place.forget();
        let done = push().expect(0);
        assert!(round == 0 || done.stdout.is_empty(), "{done}");
        assert_eq!(there(other_file), "first, renamed");
        assert_eq!(there(&format!("{other_dir}/file")), "in it");
    }
    trees.write(format!("source/{file}"), "second");
    let mut kept = None;
    for _ in 0..2 {
        place.forget();
        let done = push().expect(23);
        place.forget();
        assert!(
            done.stderr.contains(file) && done.stderr.contains(other_file),
            "{done}"
        );
        assert_eq!(there(other_file), there(file));
        kept.get_or_insert_with(|| there(file));
        assert_eq!(kept, Some(there(file)), "another one each time: {done}");
    }
}
