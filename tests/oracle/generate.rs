//! Random cases from a seed: a source tree (or two), a target derived from it by random
//! mutations and extras, and a set of options. All times are of 2020, so that times which a run
//! makes stand out.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::chosen::Chosen;
use super::options;
use crate::support::temptree::{make_node, name, set_mtime};
use crate::support::{Rng, xattrs};

/// What a path holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Which content, and which variant of it (0 is the source's).
    File {
        content: u64,
        variant: u8,
    },
    /// A file of filter rules.
    Rules(&'static str),
    Dir,
    Link(Vec<u8>),
    Fifo,
    Socket,
    Char(u32),
    Block(u32),
}

/// One entry of a tree to be made.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    nanos: u32,
    /// Entries of one tree with the same number are links to one inode.
    pub(super) group: Option<usize>,
    /// Names and values, as the kernel takes them.
    pub(super) attributes: Vec<(String, Vec<u8>)>,
}

/// A tree to be made, parents before children; the empty path is the root.
pub(crate) type Spec = BTreeMap<Vec<u8>, Node>;

/// A push to be made by both programs.
pub(crate) struct Case {
    pub(crate) sources: Vec<Spec>,
    pub(crate) target: Spec,
    /// Without `-i` and `-n`.
    pub(crate) options: Vec<String>,
    /// A SRC that does not exist is added.
    missing_source: bool,
    /// The sources are named with a trailing slash.
    pub(crate) slash: bool,
    /// The root of the target is itself an entry of the transfer.
    pub(crate) root_is_mirrored: bool,
    /// The target is on another host, which has other accounts.
    pub(crate) far: bool,
    /// What is pushed of the only source, if not all of it.
    pub(crate) chosen: Option<Chosen>,
}

const NAMES: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"dir",
    b"sub",
    b"x.o",
    b"y.o",
    b"z.c",
    b".hid",
    b"-dash",
    b"sp ace",
    b"new\nline",
    b"\xff\xfe",
    b"esc\x1b[1m",
    b"a\\#012b",
    b"\xc3\xbcml",
    b"tab\t",
    b"B",
    b"b.",
    b"a-",
];
const IDS: &[u32] = &[0, 0, 0, 1, 2, 65534, 12345];
const MODES: &[u32] = &[
    0o644, 0o644, 0o600, 0o755, 0o444, 0o4755, 0o2750, 0o1777, 0o000,
];
const TIMES: &[i64] = &[0, 0, 0, 0, 100, -100, 5000];
const NANOS: &[u32] = &[0, 0, 0, 1, 500_000_000, 999_999_999];
const EPOCH: i64 = 1_600_000_000;

impl Case {
    /// The case of a seed; `size` bounds the number of entries.
    pub(crate) fn of(seed: u64, size: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mut options = options::random(&mut rng);
        if options.contains(&"-K".into()) {
            options.insert(0, "--filter=P kept-*".into());
        }
        let has = |option: &str| options.iter().any(|given| given == option);
        // rsync has rules in the root of one source count for that of the next.
        let may_unite = !options::look_in_dirs(&options);
        let source_count = if may_unite && rng.chance(15) { 2 } else { 1 };
        let mut sources: Vec<Spec> = (0..source_count).map(|_| source(&mut rng, size)).collect();
        if options::look_in_dirs(&options) {
            sources
                .iter_mut()
                .for_each(|spec| add_rules(&mut rng, spec));
        }
        if has("-L") || has("-k") {
            sources.iter_mut().for_each(without_loops);
        }
        let mut target = target(&mut rng, &sources[0], has("-H"));
        if options::look_in_dirs(&options) && rng.chance(50) {
            add_rules(&mut rng, &mut target);
        }
        if has("-K") {
            target = with_dirs_elsewhere(&mut rng, target);
        }
        if has("-u") || has("-U") {
            // Of these rsync compares whole seconds.
            let nodes = sources.iter_mut().chain([&mut target]);
            nodes.flatten().for_each(|(_, node)| node.nanos = 0);
        }
        let slash = source_count == 2 || rng.chance(75);
        let missing_source = rng.chance(8);
        let is_chosen = source_count == 1 && slash;
        let chosen = (is_chosen && rng.chance(40)).then(|| Chosen::of(&mut rng, &sources[0]));
        let chosen = chosen.map(|chosen| chosen.without_repetitions(has("-m")));
        let chosen = chosen.filter(|chosen| {
            // Members of one link group could.
            let share_a_name = has("-H") && chosen.more == Some("--no-R");
            !chosen.paths.is_empty() && !share_a_name
        });
        if chosen.as_ref().is_some_and(|chosen| chosen.listed) {
            options.insert(0, "-0".into());
        }
        Self {
            root_is_mirrored: slash && chosen.is_none(),
            missing_source: missing_source && chosen.is_none(),
            chosen,
            sources,
            target,
            options,
            slash,
            far: false,
        }
    }

    /// True when a letter of `-a` is in force.
    pub(crate) fn keeps(&self, letter: &str) -> bool {
        let is_on = self.has("-a") || self.has(&format!("-{letter}"));
        letter == "p" && self.has("-A") || is_on && !self.has(&format!("--no-{letter}"))
    }

    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|given| given == option)
    }

    /// A source is not there, and that is an error which keeps all from being deleted.
    pub(crate) fn misses_a_source(&self) -> bool {
        let is_missing = self.missing_source || self.chosen.as_ref().is_some_and(|c| c.misses);
        let options = [
            "--ignore-missing-args",
            "--delete-missing-args",
            "--ignore-errors",
        ];
        is_missing && !options.iter().any(|option| self.has(option))
    }

    /// Times that are as near as that, in nanoseconds, count as equal.
    pub(crate) fn window_ns(&self) -> Option<i128> {
        let mut options = self.options.iter().rev();
        let word = options.find_map(|option| option.strip_prefix("--modify-window="))?;
        let seconds: i128 = word.parse().unwrap();
        Some(seconds.max(0) * 1_000_000_000)
    }

    pub(crate) fn keeps_backups(&self) -> bool {
        self.options
            .iter()
            .any(|option| option == "-b" || option.starts_with("--backup-dir"))
    }

    /// Makes the sources under `dir`; gives the SRC arguments.
    pub(crate) fn make_sources(&self, dir: &Path) -> Vec<String> {
        let mut arguments = Vec::new();
        for (file, text) in options::NAMED_FILES {
            std::fs::write(dir.join(file), text).unwrap();
        }
        // What symlinks of the root lead to that lead out of it.
        for outside in ["c", "sub/f"] {
            let outside = dir.join(outside);
            std::fs::create_dir_all(outside.parent().unwrap()).unwrap();
            std::fs::write(&outside, "out").unwrap();
            set_mtime(&outside, EPOCH, 0);
        }
        set_mtime(&dir.join("sub"), EPOCH, 0);
        if let Some(chosen) = &self.chosen {
            let root = dir.join("src0");
            make(&root, &self.sources[0]);
            return chosen.arguments(&root);
        }
        for (index, spec) in self.sources.iter().enumerate() {
            let root = dir.join(format!("src{index}"));
            make(&root, spec);
            let slash = if self.slash { "/" } else { "" };
            arguments.push(format!("{}{slash}", root.display()));
        }
        if self.missing_source {
            arguments.push(dir.join("missing").display().to_string());
        }
        arguments
    }

    /// Makes one copy of the target tree, where the sources will be mirrored to.
    pub(crate) fn make_target(&self, root: &Path) {
        if self.slash {
            make(root, &self.target);
        } else {
            std::fs::create_dir(root).unwrap();
            make(&root.join("src0"), &self.target);
            set_mtime(root, EPOCH, 0);
        }
    }
}

/// Makes a tree on disk.
fn make(root: &Path, spec: &Spec) {
    let mut groups: BTreeMap<usize, PathBuf> = BTreeMap::new();
    let place = |path: &[u8]| {
        if path.is_empty() {
            root.to_owned()
        } else {
            root.join(name(path))
        }
    };
    for (path, node) in spec {
        let at = place(path);
        if let Some(first) = node.group.and_then(|group| groups.get(&group)) {
            std::fs::hard_link(first, &at).unwrap();
            continue;
        }
        match &node.kind {
            Kind::File { content, variant } => {
                std::fs::write(&at, bytes(*content, *variant)).unwrap();
            }
            Kind::Rules(text) => std::fs::write(&at, text).unwrap(),
            Kind::Dir => std::fs::create_dir(&at).unwrap(),
            Kind::Link(to) => std::os::unix::fs::symlink(name(to), &at).unwrap(),
            Kind::Fifo => make_node(&at, FileType::Fifo, 0, 0),
            Kind::Socket => make_node(&at, FileType::Socket, 0, 0),
            Kind::Char(minor) => make_node(&at, FileType::CharacterDevice, 1, *minor),
            Kind::Block(minor) => make_node(&at, FileType::BlockDevice, 7, 100 + minor),
        }
        if let Some(group) = node.group {
            groups.insert(group, at);
        }
    }
    for (path, node) in spec.iter().rev() {
        let at = place(path);
        std::os::unix::fs::lchown(&at, Some(node.uid), Some(node.gid)).unwrap();
        if !matches!(node.kind, Kind::Link(_)) {
            std::fs::set_permissions(&at, std::fs::Permissions::from_mode(node.mode)).unwrap();
        }
        for (name, value) in &node.attributes {
            xattrs::give(&at, name.as_bytes(), value);
        }
        set_mtime(&at, EPOCH + node.mtime, node.nanos);
    }
}

/// A file's bytes: lengths repeat among contents, so that only bytes or only times differ.
fn bytes(content: u64, variant: u8) -> Vec<u8> {
    let len = [0, 1, 10, 10, 700, 20_000, 20_000, 90_000][usize::try_from(content % 8).unwrap()];
    let mut data = Rng::new(content).bytes(len);
    if content.is_multiple_of(3) && len > 10_000 {
        data[len / 4..len * 3 / 4].fill(0);
    }
    match variant {
        0 => {}
        1 => {
            if let Some(byte) = data.get_mut(len / 2) {
                *byte ^= 1;
            }
        }
        2 => data.splice(0..0, *b"inserted").for_each(drop),
        3 => data.truncate(len / 2),
        _ => data.extend_from_slice(&[0; 9000]),
    }
    data
}

fn source(rng: &mut Rng, size: usize) -> Spec {
    let mut spec = Spec::new();
    spec.insert(Vec::new(), node(rng, Kind::Dir));
    for _ in 0..rng.below(size.max(1)) + 1 {
        add(rng, &mut spec, true);
    }
    spec
}

/// Adds one random entry to a random directory of the tree.
fn add(rng: &mut Rng, spec: &mut Spec, with_links: bool) {
    let dirs: Vec<Vec<u8>> = spec
        .iter()
        .filter(|(_, node)| node.kind == Kind::Dir)
        .map(|(path, _)| path.clone())
        .collect();
    let parent = rng.pick(&dirs).clone();
    let mut path = parent;
    if path.iter().filter(|byte| **byte == b'/').count() > 3 {
        return;
    }
    if !path.is_empty() {
        path.push(b'/');
    }
    if rng.chance(2) {
        path.extend(std::iter::repeat_n(b'L', 255));
    } else {
        path.extend_from_slice(rng.pick::<&[u8]>(NAMES));
    }
    if spec.contains_key(&path) {
        return;
    }
    let others: Vec<Vec<u8>> = spec
        .iter()
        .filter(|(_, node)| node.kind != Kind::Dir)
        .map(|(path, _)| path.clone())
        .collect();
    if with_links && !others.is_empty() && rng.chance(15) {
        let first = rng.pick(&others).clone();
        let group = spec[&first].group.unwrap_or(spec.len());
        spec.get_mut(&first).unwrap().group = Some(group);
        let linked = spec[&first].clone();
        spec.insert(path, linked);
        return;
    }
    let kind = kind(rng);
    let node = node(rng, kind);
    spec.insert(path, node);
}

fn kind(rng: &mut Rng) -> Kind {
    match rng.below(100) {
        0..50 => Kind::File {
            content: rng.next() % 64,
            variant: 0,
        },
        50..72 => Kind::Dir,
        72..86 => {
            let up: &[u8] = if rng.chance(25) { b"../" } else { b"" };
            Kind::Link([up, rng.pick::<&[u8]>(NAMES)].concat())
        }
        86..91 => Kind::Fifo,
        91..94 => Kind::Socket,
        94..97 => Kind::Char(rng.next() as u32 % 3),
        _ => Kind::Block(rng.next() as u32 % 3),
    }
}

fn node(rng: &mut Rng, kind: Kind) -> Node {
    let mode = if kind == Kind::Dir {
        [0o755, 0o700, 0o2775, 0o1777][rng.below(4)]
    } else {
        *rng.pick(MODES)
    };
    let (uid, gid, mtime) = (*rng.pick(IDS), *rng.pick(IDS), *rng.pick(TIMES));
    let nanos = *rng.pick(NANOS);
    Node {
        kind,
        mode,
        uid,
        gid,
        mtime,
        nanos,
        group: None,
        attributes: Vec::new(),
    }
}

/// Puts a file of rules into some of its directories.
fn add_rules(rng: &mut Rng, spec: &mut Spec) {
    let dirs = spec.iter().filter(|(_, node)| node.kind == Kind::Dir);
    let dirs: Vec<Vec<u8>> = dirs.map(|(path, _)| path.clone()).collect();
    for dir in dirs {
        if rng.chance(35) {
            let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
            let name = rng.pick::<&str>(options::RULE_FILES);
            let kind = Kind::Rules(rng.pick::<&str>(options::RULE_TEXTS));
            let node = node(rng, kind);
            spec.insert([&dir, slash, name.as_bytes()].concat(), node);
        }
    }
}

/// Lets no symlink lead up, which would go round for ever if it were followed; those of the root
/// lead out of the tree.
fn without_loops(spec: &mut Spec) {
    for (path, node) in spec {
        if let Kind::Link(to) = &mut node.kind
            && path.contains(&b'/')
            && to.starts_with(b"../")
        {
            to.drain(..3);
        }
    }
}

/// Puts symlinks in the place of some directories of the root, which are elsewhere then. All
/// symlinks are such as `-K` keeps.
fn with_dirs_elsewhere(rng: &mut Rng, spec: Spec) -> Spec {
    let mut moved = Spec::new();
    let mut elsewhere: Vec<Vec<u8>> = Vec::new();
    for (path, mut node) in spec {
        let first = path
            .split(|&b| b == b'/')
            .next()
            .unwrap_or_default()
            .to_vec();
        let may_move = node.kind == Kind::Dir && first == path && (1..200).contains(&path.len());
        if may_move && rng.chance(40) {
            elsewhere.push(path.clone());
            let link = Node {
                kind: Kind::Link([b"kept-", &first[..]].concat()),
                uid: 0,
                ..node.clone()
            };
            moved.insert(path.clone(), link);
        }
        if let Kind::Link(to) = &mut node.kind {
            node.uid = 0;
            to.retain(|&byte| byte != b'/');
        }
        match elsewhere.contains(&first) {
            true => moved.insert([b"kept-", &path[..]].concat(), node),
            false => moved.insert(path, node),
        };
    }
    moved
}

/// The source as it was some time ago, on another machine, with things of its own.
fn target(rng: &mut Rng, source: &Spec, hard_links: bool) -> Spec {
    let mut spec = Spec::new();
    let mut changed_groups: BTreeMap<usize, Node> = BTreeMap::new();
    for (path, theirs) in source {
        let parent = path
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(&[][..], |at| &path[..at]);
        let parent_is_there = path.is_empty()
            || spec
                .get(parent)
                .is_some_and(|node: &Node| node.kind == Kind::Dir);
        if !parent_is_there || (!path.is_empty() && rng.chance(15)) {
            continue;
        }
        let mut ours = theirs.clone();
        if let Some(group) = theirs.group.filter(|_| hard_links && rng.chance(70)) {
            let shared = changed_groups.entry(group).or_insert_with(|| {
                let mut node = theirs.clone();
                if rng.chance(40) {
                    mutate(rng, &mut node, false);
                }
                node
            });
            spec.insert(path.clone(), shared.clone());
            continue;
        }
        ours.group = None;
        if rng.chance(40) {
            mutate(rng, &mut ours, !path.is_empty());
        }
        spec.insert(path.clone(), ours);
    }
    for _ in 0..rng.below(6) {
        add(rng, &mut spec, false);
    }
    spec
}

fn mutate(rng: &mut Rng, node: &mut Node, kind_too: bool) {
    // What is no rule would end the run.
    let kind_too = kind_too && !matches!(node.kind, Kind::Rules(_));
    match rng.below(if kind_too { 6 } else { 5 }) {
        0 | 1 => match &mut node.kind {
            Kind::File { variant, .. } => *variant = 1 + rng.next() as u8 % 4,
            Kind::Link(to) => to.push(b'x'),
            Kind::Char(minor) | Kind::Block(minor) => *minor += 1,
            _ => node.mtime += 10,
        },
        2 if rng.chance(50) => node.nanos = *rng.pick(NANOS),
        2 => node.mtime += *rng.pick(&[-10, 10, 1]),
        3 => node.mode ^= 0o055,
        4 => {
            node.uid = *rng.pick(IDS);
            node.gid = *rng.pick(IDS);
        }
        _ => node.kind = kind(rng),
    }
    // Both at once is what really happens to files.
    if matches!(node.kind, Kind::File { .. }) && rng.chance(50) {
        node.mtime += *rng.pick(&[-10, 10]);
    }
}

/// A spec as a person reads it.
pub(crate) fn listing(spec: &Spec) -> String {
    let line = |(path, node): (&Vec<u8>, &Node)| {
        let shown = crate::support::snapshot::shown(path);
        format!("    {shown}: {node:?}\n")
    };
    spec.iter().map(line).collect()
}
