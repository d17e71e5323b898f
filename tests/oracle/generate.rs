//! Random cases from a seed: a source tree (or two), a target derived from it by random
//! mutations and extras, and a set of options. All times are whole seconds of 2020, so that
//! times which a run makes stand out.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::support::Rng;
use crate::support::temptree::{make_node, name, set_mtime};

/// What a path holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Which content, and which variant of it (0 is the source's).
    File {
        content: u64,
        variant: u8,
    },
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
    /// Entries of one tree with the same number are links to one inode.
    group: Option<usize>,
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
    pub(crate) missing_source: bool,
    /// The sources are named with a trailing slash.
    pub(crate) slash: bool,
    /// The root of the target is itself an entry of the transfer.
    pub(crate) root_is_mirrored: bool,
    /// What is pushed of the only source, if not all of it.
    pub(crate) chosen: Option<Chosen>,
}

/// Paths of a source, some with a slash at their end.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// They are in a list (`--files-from`), not on the command line (`-R`).
    listed: bool,
    paths: Vec<Vec<u8>>,
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
const PATTERNS: &[&str] = &[
    "--exclude=*.o",
    "--exclude=/a",
    "--exclude=sub/",
    "--exclude=dir/*",
    "--exclude=b",
    "--include=x.o",
    "--include=*/",
    "--exclude=/*/c",
    "--exclude=**/z.c",
    "--exclude=[ab]",
    "--include=/dir/***",
    "--exclude=?",
];
const CHANGES: &[&str] = &[
    "--chmod=D755,F644",
    "--chmod=ug=rwX,o=",
    "--chmod=a+s,Fo+t",
    "--chmod=g=u,o-w",
    "--chmod=4750",
    "--chmod=Fa-x --chmod=Fu+X,Dg+w",
];
const OWNERS: &[&str] = &[
    "--chown=bin:daemon",
    "--chown=:bin",
    "--usermap=0-2:12345",
    "--usermap=daemon:bin,bin:root --groupmap=*:2",
    "--groupmap=:1,nogroup:0",
    "--usermap=[nb]*:65534",
];
const BACKUPS: &[&str] = &[
    "-b",
    "-b --suffix=.old",
    "--backup-dir=bak",
    "--backup-dir=bak/k --suffix=~",
];
const EPOCH: i64 = 1_600_000_000;

impl Case {
    /// The case of a seed; `size` bounds the number of entries.
    pub(crate) fn of(seed: u64, size: usize) -> Self {
        let mut rng = Rng::new(seed);
        let options = options(&mut rng);
        let hard_links = options.iter().any(|option| option == "-H");
        let source_count = if rng.chance(15) { 2 } else { 1 };
        let sources: Vec<Spec> = (0..source_count).map(|_| source(&mut rng, size)).collect();
        let target = target(&mut rng, &sources[0], hard_links);
        let slash = source_count == 2 || rng.chance(75);
        let missing_source = rng.chance(4);
        let is_chosen = source_count == 1 && slash && !missing_source && !hard_links;
        let chosen = (is_chosen && rng.chance(40)).then(|| Chosen::of(&mut rng, &sources[0]));
        let chosen = chosen.filter(|chosen| !chosen.paths.is_empty());
        Self {
            root_is_mirrored: slash && chosen.is_none(),
            chosen,
            sources,
            target,
            options,
            missing_source,
            slash,
        }
    }

    /// The paths of the directories of all sources.
    pub(crate) fn dirs(&self) -> impl Iterator<Item = &[u8]> {
        let nodes = self.sources.iter().flatten();
        let dirs = nodes.filter(|(_, node)| node.kind == Kind::Dir);
        dirs.map(|(path, _)| &path[..])
    }

    /// True when a letter of `-a` is in force.
    pub(crate) fn keeps(&self, letter: &str) -> bool {
        self.options
            .iter()
            .any(|option| option == "-a" || *option == format!("-{letter}"))
    }

    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|given| given == option)
    }

    pub(crate) fn keeps_backups(&self) -> bool {
        self.options
            .iter()
            .any(|option| option == "-b" || option.starts_with("--backup-dir"))
    }

    /// Makes the sources under `dir`; gives the SRC arguments.
    pub(crate) fn make_sources(&self, dir: &Path) -> Vec<String> {
        let mut arguments = Vec::new();
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

impl Chosen {
    fn of(rng: &mut Rng, source: &Spec) -> Self {
        let listed = rng.chance(50);
        let is_typed = |path: &&Vec<u8>| !path.is_empty() && (listed || path.is_ascii());
        let all: Vec<&Vec<u8>> = source.keys().filter(is_typed).collect();
        let mut paths = Vec::new();
        for _ in 0..rng.below(4) + 1 {
            if all.is_empty() {
                break;
            }
            let path = *rng.pick(&all);
            let is_dir = source[path].kind == Kind::Dir;
            let slash: &[u8] = if is_dir && rng.chance(40) { b"/" } else { b"" };
            paths.push([path, slash].concat());
        }
        Self { listed, paths }
    }

    /// The words that push them; a list lies beside the source.
    fn arguments(&self, root: &Path) -> Vec<String> {
        let shown = root.display();
        if self.listed {
            let list = root.with_extension("list");
            std::fs::write(&list, self.paths.join(&0)).unwrap();
            let option = format!("--files-from={}", list.display());
            return vec!["-0".into(), option, format!("{shown}/")];
        }
        let typed = |path: &Vec<u8>| format!("{shown}/./{}", String::from_utf8_lossy(path));
        let paths = self.paths.iter().map(typed);
        ["-R".to_owned()].into_iter().chain(paths).collect()
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
        set_mtime(&at, EPOCH + node.mtime, 0);
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
    Node {
        kind,
        mode,
        uid,
        gid,
        mtime,
        group: None,
    }
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
    match rng.below(if kind_too { 6 } else { 5 }) {
        0 | 1 => match &mut node.kind {
            Kind::File { variant, .. } => *variant = 1 + rng.next() as u8 % 4,
            Kind::Link(to) => to.push(b'x'),
            Kind::Char(minor) | Kind::Block(minor) => *minor += 1,
            _ => node.mtime += 10,
        },
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

fn options(rng: &mut Rng) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    if rng.chance(60) {
        options.push("-a".into());
    } else {
        for letter in ["-r", "-l", "-p", "-t", "-g", "-o", "-D"] {
            if rng.chance(if letter == "-r" { 93 } else { 60 }) {
                options.push(letter.into());
            }
        }
    }
    let recursive = options
        .iter()
        .any(|option| option == "-a" || option == "-r");
    let shares = [
        ("-H", 45),
        ("-S", 15),
        ("-c", 15),
        ("-u", 15),
        ("-W", 15),
        ("-x", 10),
        ("--numeric-ids", 15),
        ("--size-only", 8),
        ("-I", 8),
        ("--max-size=900", 8),
        ("--min-size=20", 8),
        ("-O", 8),
        ("-J", 8),
        ("-E", 12),
        ("-U", 10),
        ("--force", 10),
        ("-m", 8),
        ("-k", 6),
        ("--copy-unsafe-links", 6),
        ("--safe-links", 8),
        ("--no-implied-dirs", 10),
    ];
    for (option, percent) in shares {
        if rng.chance(percent) {
            options.push(option.into());
        }
    }
    // The members of a link group would be in directories that only a followed symlink shows.
    if options.iter().any(|option| option == "-H") {
        options.retain(|option| option != "-k" && option != "--copy-unsafe-links");
    }
    // rsync passes over an entry of a type that is left out in silence then, unless it is new.
    if options.iter().any(|option| option == "-a") {
        for option in ["--existing", "--ignore-existing"] {
            let links = options.iter().any(|given| given == "-H");
            if rng.chance(8) && !(links && option == "--ignore-existing") {
                options.push(option.into());
            }
        }
    }
    let dirs = !recursive && rng.chance(60);
    if dirs {
        options.push("-d".into());
    }
    if (recursive || dirs) && rng.chance(55) {
        options.push("--delete".into());
        if rng.chance(15) {
            options.push(format!("--max-delete={}", rng.below(6)));
        }
    }
    // Which members of a link group are replaced, and kept, depends on who carries the content.
    let backups = if options.iter().any(|option| option == "-H") {
        0
    } else {
        20
    };
    for (words, percent) in [(CHANGES, 20), (OWNERS, 20), (BACKUPS, backups)] {
        if rng.chance(percent) {
            options.extend(rng.pick(words).split(' ').map(str::to_owned));
        }
    }
    if rng.chance(35) {
        for _ in 0..rng.below(3) + 1 {
            options.push((*rng.pick(PATTERNS)).into());
        }
    }
    options
}

/// A spec as a person reads it.
pub(crate) fn listing(spec: &Spec) -> String {
    let line = |(path, node): (&Vec<u8>, &Node)| {
        let shown = crate::support::snapshot::shown(path);
        format!("    {shown}: {node:?}\n")
    };
    spec.iter().map(line).collect()
}
