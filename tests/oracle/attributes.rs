//! Random cases with ACLs, extended attributes and capabilities on both sides, pushed to a host on
//! which some users and groups have other numbers, and some are not there at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::mem::discriminant;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::generate::{Case, Kind, Node, Spec};
use super::{capabilities, deviations, linked, size, thin};
use crate::support::acl::{
    ACCESS, DEFAULT, GROUP, GROUP_OBJ, MASK, NOBODY, OTHER, USER, USER_OBJ, kernel,
};
use crate::support::hasync::FakeRsh;
use crate::support::temptree::name;
use crate::support::xattrs::OfTree;
use crate::support::{Rng, Snapshot, TempTree, xattrs};

/// Whom ACLs name: some have one number on both sides, some have two, and some none there.
const NAMED: &[u32] = &[0, 1, 2, 3, 5, 7, 4001, 54321, 65534];

/// The accounts of the far side: `daemon`, `bin` and the group `sys` have other numbers, `sys` and
/// `games` are missing, and 4001 has a name.
const PASSWD: &str = "root:x:0:0::/root:/bin/sh\ndaemon:x:1001:1::/:/bin/false\n\
                      bin:x:2002:2::/:/bin/false\nfar:x:4001:7::/:/bin/false\n\
                      nobody:x:65534:65534::/:/bin/false\n";
const GROUP_FILE: &str = "root:x:0:\ndaemon:x:1:\nbin:x:2002:\nsys:x:3003:\nfar:x:7:\n\
                          nogroup:x:65534:\n";

/// A name, and whether what is neither a file nor a directory can have it.
const NAMES: &[(&str, bool)] = &[
    ("user.a", false),
    ("user.b", false),
    ("user.c", false),
    ("user.rsync.x", false),
    ("user.with space\nand more", false),
    ("trusted.t", true),
    ("trusted.overlay.opaque", true),
    ("security.s", true),
];

/// Rules about names. With any of them rsync takes the system's attributes for extended ones, which
/// the last one of each set takes back.
const RULES: &[&[&str]] = &[
    &["-x_user.a"],
    &["-x_user.*"],
    &["-x!_user.*"],
    &["+x_user.a", "-x_*"],
    &["-x_trusted.*", "-x_security.*"],
    &["-sx_user.b"],
    &["-rx_user.b"],
    &["-x_user.[ab]", "-_*.o"],
];

/// The case of a seed.
pub(super) fn case(seed: u64) -> Case {
    let mut case = Case::of(seed, size(seed));
    case.far = true;
    // There rsync would put attributes of any length.
    case.options.retain(|option| option != "--temp-dir=/tmp");
    let kept = [
        ("-K", 8),
        ("--ignore-existing", 4),
        ("--suffix=", 2),
        ("--delete-after", 2),
    ];
    thin(&mut case, seed, &kept);
    let mut rng = Rng::new(seed ^ 0x00ac_1000);
    let has_room = has_room(seed);
    for source in &mut case.sources {
        for node in source.values_mut() {
            if rng.chance(60) {
                node.attributes = attributes(&mut rng, node, has_room);
            }
        }
    }
    let source = case.sources[0].clone();
    let names: Vec<Vec<u8>> = case.target.keys().cloned().collect();
    for path in names {
        age(&mut rng, &source, &mut case.target, &path, has_room);
    }
    // rsync reads the attributes of the symlinks themselves.
    let follows = deviations::follows(&case);
    for (option, percent) in [("-A", 70), ("-X", if follows { 0 } else { 70 })] {
        if rng.chance(percent) {
            case.options.push(option.into());
        }
    }
    // With several SRC rsync may make an empty directory that they share.
    if case.sources.len() > 1 {
        case.options.retain(|option| option != "-m");
    }
    // rsync tells the receiver of rules if something is deleted, and heeds none for the attributes
    // of the directories on the way to what is named.
    let tells = case.has("--delete") && !case.misses_a_source() && case.chosen.is_none();
    let is_limit = |option: &String| option.starts_with("--max-delete=");
    if tells && !case.options.iter().any(is_limit) && rng.chance(40) {
        let rules = rng.pick(RULES).iter().chain(&["-x_system.*"]);
        case.options
            .extend(rules.map(|rule| format!("--filter={rule}")));
    }
    // With numbers, rsync maps owners alone.
    let is_mapped = |option: &String| {
        let maps = ["--chown=", "--usermap=", "--groupmap="];
        maps.iter().any(|map| option.starts_with(map))
    };
    if case.has("-A") && case.options.iter().any(is_mapped) {
        case.options.retain(|option| option != "--numeric-ids");
    }
    case
}

/// Gives an entry of the target what the source's has, something like it, or something else.
fn age(rng: &mut Rng, source: &Spec, target: &mut Spec, path: &[u8], has_room: bool) {
    let Some(node) = target.get_mut(path) else {
        return;
    };
    let is_like = |theirs: &&Node| discriminant(&theirs.kind) == discriminant(&node.kind);
    let theirs = source.get(path).filter(is_like);
    let theirs = theirs.map_or_else(Vec::new, |theirs| theirs.attributes.clone());
    node.attributes = match rng.below(100) {
        0..45 => theirs,
        45..70 if !theirs.is_empty() => {
            let mut changed = theirs;
            let at = rng.below(changed.len());
            let (name, value) = &mut changed[at];
            match value.last_mut().filter(|_| name.starts_with("user.")) {
                Some(last) if rng.chance(60) => *last ^= 1,
                _ => drop(changed.remove(at)),
            }
            changed
        }
        70..90 => attributes(rng, node, has_room),
        _ => Vec::new(),
    };
}

/// Whether the trees of a seed are where attributes of any length have room.
fn has_room(seed: u64) -> bool {
    seed % 4 < 2
}

pub(super) fn scratch(seed: u64) -> TempTree {
    match has_room(seed) {
        true => TempTree::within(Path::new("/dev/shm")),
        false => TempTree::within(Path::new("/tmp")),
    }
}

/// The way to a host with other accounts: this one, seen with other files.
pub(super) fn rsh(trees: &TempTree) -> FakeRsh {
    trees.write("accounts/passwd", PASSWD);
    trees.write("accounts/group", GROUP_FILE);
    let accounts = trees.text("accounts");
    FakeRsh::with_script(&format!(
        "exec unshare --mount sh -c 'mount --bind {accounts}/passwd /etc/passwd && \
         mount --bind {accounts}/group /etc/group && exec sh -c \"$0\"' \"$*\""
    ))
}

fn attributes(rng: &mut Rng, node: &Node, has_room: bool) -> Vec<(String, Vec<u8>)> {
    let is_open = matches!(node.kind, Kind::File { .. } | Kind::Dir);
    let mut all = BTreeMap::new();
    if !matches!(node.kind, Kind::Link(_)) && rng.chance(50) {
        all.insert(ACCESS.to_owned(), acl(rng));
    }
    if node.kind == Kind::Dir && rng.chance(40) {
        all.insert(DEFAULT.to_owned(), acl(rng));
    }
    for _ in 0..rng.below(4) {
        let (name, anywhere) = *rng.pick(NAMES);
        if is_open || anywhere {
            all.insert(name.to_owned(), value(rng, has_room));
        }
    }
    if is_open && has_room && rng.chance(4) {
        let many = (0..200).map(|at| (format!("user.many-{at}"), vec![b'm'; at]));
        all.extend(many);
    }
    if matches!(node.kind, Kind::File { .. }) && rng.chance(20) {
        all.insert("security.capability".to_owned(), capability(rng));
    }
    all.into_iter().collect()
}

fn value(rng: &mut Rng, has_room: bool) -> Vec<u8> {
    let len = match rng.below(10) {
        0 => 0,
        1 if has_room => 65_536,
        2 if has_room => 3000,
        // rsync sends a sum of what is longer than 32 bytes first.
        3 => 32,
        4 => 33,
        5 => 200,
        len => len,
    };
    rng.bytes(len)
}

/// Any that a kernel takes: with a mask alone, with a few who are named, with many.
fn acl(rng: &mut Rng) -> Vec<u8> {
    let mut named = BTreeSet::new();
    let max = if rng.chance(5) { 60 } else { 4 };
    for _ in 0..rng.below(max) {
        let tag = if rng.chance(60) { USER } else { GROUP };
        let id = match max {
            60 => 100_000 + rng.below(1000) as u32,
            _ => *rng.pick(NAMED),
        };
        named.insert((tag, id));
    }
    let has_mask = !named.is_empty() || rng.chance(50);
    let mut perms = || rng.below(8) as u16;
    let mut entries = vec![(USER_OBJ, perms(), NOBODY)];
    entries.extend(named.iter().map(|(tag, id)| (*tag, perms(), *id)));
    entries.push((GROUP_OBJ, perms(), NOBODY));
    entries.push((OTHER, perms(), NOBODY));
    if has_mask {
        entries.push((MASK, perms(), NOBODY));
    }
    entries.sort_by_key(|(tag, _, id)| (*tag, *id));
    kernel(&entries)
}

/// In the form of Linux 2.6.25, or for the root of another user namespace.
fn capability(rng: &mut Rng) -> Vec<u8> {
    let is_of_another = rng.chance(30);
    let magic: u32 = if is_of_another {
        0x0300_0001
    } else {
        0x0200_0001
    };
    let permitted = 1_u32 << rng.below(20);
    let mut value = [magic, permitted, 0, 0, 0].map(u32::to_le_bytes).concat();
    if is_of_another {
        value.extend(100_000_u32.to_le_bytes());
    }
    value
}

/// In what the two targets differ, except for members of link groups: which of them an ACL or an
/// attribute comes from is another matter.
pub(super) fn diff(
    case: &Case,
    (tree, before): (&Snapshot, &OfTree),
    trees: &TempTree,
    linked: &BTreeSet<Vec<u8>>,
) -> String {
    let [rsync, hasync] = ["by-rsync", "by-hasync"].map(|name| xattrs::of(&trees.path(name)));
    let lost = lost_groups(tree, trees);
    let for_backups = linked::dirs_of_backups(case, tree);
    // Which of them is kept differs too.
    let of_linked = linked::backups_of(case, linked, false);
    let is_compared = |path: &Vec<u8>| {
        !linked.contains(path) && (for_backups.contains(path) || !of_linked.contains(path))
    };
    let mut out = String::new();
    for (path, theirs) in rsync.iter().filter(|(path, _)| is_compared(path)) {
        let mut theirs = theirs.clone();
        if let Some(ours) = hasync.get(path).filter(|ours| **ours != theirs) {
            let mut ours = ours.clone();
            deviations::forget_repeating_acls(&mut theirs, &mut ours);
            capabilities::forget_kept_capability(case, before.get(path), &theirs, &mut ours);
            if deviations::changes_modes(case) || lost.contains(path) {
                theirs.remove(ACCESS);
                ours.remove(ACCESS);
            }
            if for_backups.contains(path) {
                theirs.retain(|name, _| !name.contains("acl"));
                ours.retain(|name, _| !name.contains("acl"));
            }
            if ours == theirs {
                continue;
            }
            let path = path.escape_ascii();
            writeln!(out, "{path}: attributes {theirs:#?} != {ours:#?}").unwrap();
        }
    }
    out
}

/// Where rsync has left the group of an ACL nothing, because the entry becomes sticky or loses
/// setuid or setgid.
pub(super) fn lost_groups(before: &Snapshot, trees: &TempTree) -> BTreeSet<Vec<u8>> {
    let roots = ["by-rsync", "by-hasync"].map(|name| trees.path(name));
    let [rsync, hasync] = [0, 1].map(|at| xattrs::of(&roots[at]));
    let group = |entry: &&str| entry.starts_with("4.-1:");
    let others = |acl: &str| -> Vec<String> {
        let others = acl.split(' ').filter(|entry| !group(entry));
        others.map(str::to_owned).collect()
    };
    let is_lost = |path: &Vec<u8>| {
        let [theirs, ours] = [&rsync, &hasync].map(|tree| tree.get(path)?.get(ACCESS));
        let Some((theirs, ours)) = theirs.zip(ours) else {
            return false;
        };
        let mode = roots[0].join(name(path)).symlink_metadata().unwrap().mode();
        let had = before.entries.get(path).map_or(0, |entry| entry.mode);
        let is_sticky = mode & 0o170_000 == 0o040_000 && mode & 0o1000 != 0;
        (is_sticky || had & 0o6000 & !mode != 0)
            && theirs.split(' ').find(group) == Some("4.-1:0")
            && theirs != ours
            && others(theirs) == others(ours)
    };
    rsync.keys().filter(|path| is_lost(path)).cloned().collect()
}
