//! The trees of the configuration: a directory with its filters, or a group of files of one
//! directory that change together. What is read here is also checked against the other trees,
//! since two trees over one file would undo each other's work.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hasync_engine::FilterRule;
use hasync_engine::filter::{RuleLine, RuleList};
use hasync_engine::generation;
use hasync_engine::history::UndoPolicy;
use hasync_engine::{Differences, Options};
use serde::Deserialize;
use toml::Spanned;

use super::units::{AbsPath, Line, Size, Time, TreeName, shown};
use super::{Fault, Node};
use crate::filters::FilterFiles;

/// The most trees in one file.
const MAX_TREES: usize = 1000;
/// The most files in one group.
const MAX_GROUP_FILES: usize = 1000;

/// One `[[tree]]`, checked.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// What the command line and the standby call it.
    pub(crate) name: String,
    /// What belongs to it.
    pub(crate) content: Content,
    /// What is mirrored of each entry, and what is left out.
    pub(crate) options: Options,
    /// What is kept of replaced generations.
    pub(crate) undo: Undo,
    /// A path below the root that must be there, or nothing is pushed.
    pub(crate) sentinel: Option<PathBuf>,
    /// A file that other programs lock while they change the files of the group.
    pub(crate) lock: Option<PathBuf>,
}

/// The password files, and the file that their tools lock.
const PASSWORD_FILES: [&str; 4] = ["passwd", "shadow", "group", "gshadow"];
const PASSWORD_LOCK: &str = "/etc/.pwd.lock";

/// What belongs to a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Everything below a directory.
    Dir(PathBuf),
    /// These names in a directory, and nothing else in it.
    Group {
        /// The directory of all of them.
        dir: PathBuf,
        /// Their names, in the order of the file.
        names: Vec<OsString>,
    },
}

impl Tree {
    /// The directory that holds what is mirrored.
    pub(crate) fn dir(&self) -> &Path {
        match &self.content {
            Content::Dir(dir) | Content::Group { dir, .. } => dir,
        }
    }

    /// The tree as the engine keeps it on this node.
    pub(crate) fn on(&self, node: &Node) -> generation::Tree {
        generation::Tree {
            name: self.name.clone(),
            root: self.dir().to_owned(),
            files: match &self.content {
                Content::Dir(_) => Vec::new(),
                Content::Group { names, .. } => names.clone(),
            },
            node: node.name.clone(),
            state_dir: node.state.clone(),
            undo: UndoPolicy {
                keep: self.undo.keep,
                max_age_s: self.undo.max_age.map(|age| age.0.as_secs()),
                max_bytes: self.undo.max_bytes.map(|size| size.0),
                floor: self.undo.floor,
            },
            lock_file: self.lock.clone(),
        }
    }

    /// Whether it is a group of files.
    pub(crate) fn is_group(&self) -> bool {
        matches!(self.content, Content::Group { .. })
    }

    /// The sources of a push of it, as they would be typed.
    pub(crate) fn sources(&self) -> Vec<OsString> {
        match &self.content {
            Content::Dir(dir) => vec![dir.join("").into_os_string()],
            Content::Group { dir, names } => names
                .iter()
                .map(|name| dir.join(name).into_os_string())
                .collect(),
        }
    }
}

/// How much of the past a tree keeps on the standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Undo {
    /// Generations that can be undone; 0 keeps nothing.
    pub(crate) keep: u32,
    /// Older ones go.
    pub(crate) max_age: Option<Time>,
    /// The oldest go until the rest takes no more than this.
    pub(crate) max_bytes: Option<Size>,
    /// So many stay, even if a push finds no room.
    pub(crate) floor: u32,
}

impl Default for Undo {
    fn default() -> Self {
        Undo {
            keep: 3,
            max_age: None,
            max_bytes: None,
            floor: 1,
        }
    }
}

/// What the standby's file system need not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Lossy {
    /// Users and groups.
    Owners,
    /// Permission bits.
    Modes,
    /// Access and default ACLs.
    Acls,
    /// Extended attributes, with file capabilities.
    Xattrs,
    /// Hard links: each name gets a file of its own.
    Links,
}

/// One `[[tree]]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTree {
    name: Spanned<TreeName>,
    path: Option<Spanned<AbsPath>>,
    files: Option<Spanned<Vec<Spanned<AbsPath>>>>,
    filters: Option<Spanned<Vec<Spanned<String>>>>,
    delete: Option<Spanned<bool>>,
    max_delete: Option<Spanned<u64>>,
    hard_links: Option<bool>,
    acls: Option<bool>,
    xattrs: Option<bool>,
    numeric_ids: Option<bool>,
    one_file_system: Option<bool>,
    checksum: Option<bool>,
    sparse: Option<bool>,
    #[serde(default)]
    lossy: Vec<Lossy>,
    sentinel: Option<Spanned<Line>>,
    lock: Option<Spanned<AbsPath>>,
    #[serde(default)]
    undo: Undo,
}

/// The trees in the order of the file, each right in itself and beside the others, and where in the
/// text its path stands.
pub(super) fn check(raw: Vec<Spanned<RawTree>>) -> Result<Vec<(Tree, usize)>, Fault> {
    let mut trees: Vec<(Tree, usize)> = Vec::new();
    for raw in raw {
        let offset = raw.span().start;
        if trees.len() == MAX_TREES {
            let message = format!("more than {MAX_TREES} trees; join some of them");
            return Err(Fault::new(offset, message));
        }
        let raw = raw.into_inner();
        let name_offset = raw.name.span().start;
        let path_offset = raw
            .path
            .as_ref()
            .map(Spanned::span)
            .or_else(|| raw.files.as_ref().map(Spanned::span))
            .map_or(name_offset, |span| span.start);
        let tree = tree(raw)?;
        for (other, _) in &trees {
            if other.name == tree.name {
                let message = format!(
                    "two trees have the name \"{}\"; give each its own",
                    tree.name
                );
                return Err(Fault::new(name_offset, message));
            }
            if let Some(shared) = overlap(&tree, other) {
                let message = format!(
                    "the trees \"{}\" and \"{}\" overlap: both hold \"{}\"; \
                     leave it to one of them",
                    other.name,
                    tree.name,
                    shown_path(&shared)
                );
                return Err(Fault::new(path_offset, message));
            }
        }
        trees.push((tree, path_offset));
    }
    Ok(trees)
}

fn tree(raw: RawTree) -> Result<Tree, Fault> {
    let name_offset = raw.name.span().start;
    let name = raw.name.into_inner().0;
    let (content, for_groups) = match (raw.path, raw.files) {
        (Some(path), None) => (Content::Dir(tree_dir(path)?), false),
        (None, Some(files)) => (group(files)?, true),
        (Some(_), Some(files)) => {
            return Err(Fault::new(
                files.span().start,
                format!("the tree \"{name}\" has path and files; give one of them"),
            ));
        }
        (None, None) => {
            return Err(Fault::new(
                name_offset,
                format!(
                    "the tree \"{name}\" has no content; give path = \"/a/directory\" or \
                     files = [\"/a/file\"]"
                ),
            ));
        }
    };
    if for_groups {
        // Nothing but the named files is touched: these would have no effect.
        let spans = [
            ("filters", raw.filters.as_ref().map(Spanned::span)),
            ("delete", raw.delete.as_ref().map(Spanned::span)),
            ("max_delete", raw.max_delete.as_ref().map(Spanned::span)),
            ("sentinel", raw.sentinel.as_ref().map(Spanned::span)),
        ];
        for (key, span) in spans {
            if let Some(span) = span {
                let message = format!("{key} has no meaning beside files; leave it out");
                return Err(Fault::new(span.start, message));
            }
        }
    }
    if let (false, Some(lock)) = (for_groups, &raw.lock) {
        let message = "lock has a meaning beside files alone; leave it out";
        return Err(Fault::new(lock.span().start, message));
    }
    let lock = raw.lock.map(|lock| lock.into_inner().0);
    let lock = lock.or_else(|| password_lock(&content));
    let delete = !for_groups && raw.delete.is_none_or(Spanned::into_inner);
    if let (false, Some(limit)) = (delete, &raw.max_delete) {
        let message = "max_delete has no meaning beside delete = false; leave one out";
        return Err(Fault::new(limit.span().start, message));
    }
    Ok(Tree {
        content,
        options: Options {
            hard_links: raw.hard_links.unwrap_or(true),
            acls: raw.acls.unwrap_or(true),
            xattrs: raw.xattrs.unwrap_or(true),
            numeric_ids: raw.numeric_ids.unwrap_or(false),
            one_file_system: raw.one_file_system.unwrap_or(false),
            checksum: raw.checksum.unwrap_or(false),
            sparse: raw.sparse.unwrap_or(false),
            lossy: Differences {
                perms: raw.lossy.contains(&Lossy::Modes),
                owner: raw.lossy.contains(&Lossy::Owners),
                group: raw.lossy.contains(&Lossy::Owners),
                acl: raw.lossy.contains(&Lossy::Acls),
                xattr: raw.lossy.contains(&Lossy::Xattrs),
                links: raw.lossy.contains(&Lossy::Links),
                ..Differences::default()
            },
            delete,
            max_delete: raw.max_delete.map(Spanned::into_inner),
            filters: raw.filters.map_or(Ok(Vec::new()), rules)?,
            ..Options::archive()
        },
        undo: raw.undo,
        sentinel: raw.sentinel.map(sentinel).transpose()?,
        lock,
        name,
    })
}

/// What passwd(1) and the like lock is locked here too.
fn password_lock(content: &Content) -> Option<PathBuf> {
    let Content::Group { dir, names } = content else {
        return None;
    };
    let is_one = |name: &OsString| PASSWORD_FILES.iter().any(|file| name == file);
    (dir == Path::new("/etc") && names.iter().any(is_one)).then(|| PASSWORD_LOCK.into())
}

/// The root of a tree.
fn tree_dir(path: Spanned<AbsPath>) -> Result<PathBuf, Fault> {
    let offset = path.span().start;
    let path = path.into_inner().0;
    if path.parent().is_none() {
        return Err(Fault::new(
            offset,
            "the path \"/\" would mirror this node's own system and configuration; name the \
             directories below it that the service needs",
        ));
    }
    refuse_reserved(&path, offset)?;
    Ok(path)
}

/// A group of files: all in one directory, each once.
fn group(files: Spanned<Vec<Spanned<AbsPath>>>) -> Result<Content, Fault> {
    let offset = files.span().start;
    let files = files.into_inner();
    if files.is_empty() || files.len() > MAX_GROUP_FILES {
        let message = format!("files names no file, or more than {MAX_GROUP_FILES}");
        return Err(Fault::new(offset, message));
    }
    let (mut group_dir, mut names) = (None::<PathBuf>, Vec::<OsString>::new());
    for file in files {
        let offset = file.span().start;
        let file = file.into_inner().0;
        refuse_reserved(&file, offset)?;
        let (Some(dir), Some(name)) = (file.parent(), file.file_name()) else {
            let message = "\"/\" is not a file; name the files themselves";
            return Err(Fault::new(offset, message));
        };
        match &group_dir {
            Some(group_dir) if group_dir != dir => {
                return Err(Fault::new(
                    offset,
                    format!(
                        "\"{}\" is not in \"{}\" as the files before it; files that change \
                         together are in one directory, so make a second group",
                        shown_path(&file),
                        shown_path(group_dir)
                    ),
                ));
            }
            Some(_) => {}
            None => group_dir = Some(dir.to_owned()),
        }
        if names.iter().any(|other| other == name) {
            let message = format!("\"{}\" is named twice", shown_path(&file));
            return Err(Fault::new(offset, message));
        }
        names.push(name.to_owned());
    }
    let dir = group_dir.unwrap_or_default();
    Ok(Content::Group { dir, names })
}

fn refuse_reserved(path: &Path, offset: usize) -> Result<(), Fault> {
    if path.iter().any(|part| part == ".hasync") {
        let message = format!(
            "\"{}\" leads through .hasync, where hasync keeps its own files; \
             that is never mirrored",
            shown_path(path)
        );
        return Err(Fault::new(offset, message));
    }
    Ok(())
}

/// The rules of a tree, in the language of `--filter`; files that they name by full paths are read
/// with the configuration.
fn rules(filters: Spanned<Vec<Spanned<String>>>) -> Result<Vec<FilterRule>, Fault> {
    let mut list = RuleList::new(false);
    for rule in filters.into_inner() {
        let offset = rule.span().start;
        let rule = rule.into_inner();
        let wrong =
            |why: &str| Fault::new(offset, format!("the filter \"{}\": {why}", shown(&rule)));
        let line = RuleLine::parse(rule.as_bytes()).map_err(|cause| wrong(&cause.to_string()))?;
        if let RuleLine::Merge(merge) = &line
            && !merge.per_dir
            && !merge.name.starts_with(b"/")
        {
            return Err(wrong("a file of rules is named by its full path"));
        }
        let added = list.add(line, &mut FilterFiles);
        added.map_err(|cause| wrong(&cause.to_string()))?;
    }
    Ok(list.into_rules())
}

fn sentinel(path: Spanned<Line>) -> Result<PathBuf, Fault> {
    let offset = path.span().start;
    let path = PathBuf::from(path.into_inner().0);
    let is_name = |part| matches!(part, std::path::Component::Normal(_));
    if path.components().all(is_name) {
        return Ok(path);
    }
    let message = "sentinel is a path below the tree's own path, such as \".mounted\"";
    Err(Fault::new(offset, message))
}

/// A path that both trees hold.
fn overlap(one: &Tree, other: &Tree) -> Option<PathBuf> {
    use Content::{Dir, Group};
    let file_in = |dir: &Path, root: &Path, names: &[OsString]| {
        let mut files = names.iter().map(|name| dir.join(name));
        files.find(|file| file.starts_with(root))
    };
    match (&one.content, &other.content) {
        (Dir(one), Dir(other)) if one.starts_with(other) => Some(one.clone()),
        (Dir(one), Dir(other)) if other.starts_with(one) => Some(other.clone()),
        (Dir(_), Dir(_)) => None,
        (Dir(root), Group { dir, names }) | (Group { dir, names }, Dir(root)) => {
            // A tree in the place of a file of the group overlaps with it too.
            let mut files = names.iter().map(|name| dir.join(name));
            file_in(dir, root, names).or_else(|| files.find(|file| root.starts_with(file)))
        }
        (
            Group { dir, names },
            Group {
                dir: in_dir,
                names: others,
            },
        ) => {
            let mut files = names.iter().map(|name| dir.join(name));
            files.find(|file| others.iter().any(|other| *file == in_dir.join(other)))
        }
    }
}

fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}
