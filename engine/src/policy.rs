//! What a receiver accepts and what a peer may have done, as the node that runs it decides.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::entry::{Body, Entry};
use crate::error::{Error, ErrorKind};
use crate::generation::Tree;
use crate::ids::{Accounts, OwnAccounts};
use crate::namespaces::Namespaces;
use crate::observer::Kind;
use crate::options::Options;
use crate::refusal::Refusal;
use crate::served_root::ServedRoot;
use crate::term::Term;

/// Two full windows of a sender: what differs is seldom more.
const HELD_ENTRIES: usize = 131_072;

/// What a receiver accepts in one session.
#[derive(Clone, Debug)]
pub struct ServePolicy {
    /// Directories that targets must be in or below; empty means anywhere. A relative destination
    /// is taken from the first.
    pub roots: Vec<ServedRoot>,
    /// Stands for a leading `~/` in a destination.
    pub home: Option<PathBuf>,
    /// All trees of this node. Those in or below the roots can be pushed by name; into what any of
    /// them holds nothing else can be pushed.
    pub trees: Vec<Tree>,
    /// If there are any, nothing but the trees of these names can be pushed.
    pub only_trees: Option<Vec<String>>,
    /// What is the same on both nodes, for a peer that asks: of trees, of those that it can push.
    pub terms: Vec<Term>,
    /// Asked before a tree is received by its name.
    pub ready: Option<Ready>,
    /// Asked whether this node has the service.
    pub service: Option<Service>,
    /// Called when the peer has said for the first time what it wants: until then it has less
    /// time.
    pub greeted: Option<Greeted>,
    /// How long a sender may stand still although it is not silent; zero is the default limit.
    pub stall: Duration,
    /// With that many entries held of directories that differ, until it has been said what, a
    /// further one is read again instead.
    pub held_entries: usize,
    /// What the peer may have done.
    pub rights: Rights,
    /// Whom files can be given to by name.
    pub accounts: Arc<dyn Accounts>,
    /// Hears how each push of a named tree ended.
    pub over: Option<Over>,
    /// How this process is confined once it is known where the first push leads, and what it is to
    /// set; `None` if it stays as it is.
    pub confinement: Option<Arc<dyn Confinement>>,
}

impl Default for ServePolicy {
    fn default() -> Self {
        ServePolicy {
            roots: Vec::new(),
            home: None,
            trees: Vec::new(),
            terms: Vec::new(),
            ready: None,
            service: None,
            greeted: None,
            stall: Duration::ZERO,
            held_entries: HELD_ENTRIES,
            rights: Rights::default(),
            only_trees: None,
            accounts: Arc::new(OwnAccounts),
            over: None,
            confinement: None,
        }
    }
}

impl ServePolicy {
    /// The served root that an absolute path is in by its text, and what follows it there: of
    /// several the innermost.
    pub(crate) fn root_of<'a>(&'a self, path: &'a Path) -> Option<(&'a ServedRoot, &'a Path)> {
        let below = |root: &'a ServedRoot| Some((root, path.strip_prefix(root.path()).ok()?));
        let climbs = |(_, below): &(_, &Path)| {
            let mut components = below.components();
            components.any(|component| component == Component::ParentDir)
        };
        let holders = self
            .roots
            .iter()
            .filter_map(below)
            .filter(|found| !climbs(found));
        holders.min_by_key(|(_, below)| below.components().count())
    }

    /// The tree that can be pushed by this name.
    #[must_use]
    pub fn tree(&self, name: &str) -> Option<&Tree> {
        self.served_trees().find(|tree| tree.name == name)
    }

    /// Refuses a push that asks for more than it may have, before anything is opened or told. A dry
    /// run and a comparison are refused as well: they would promise something that is not to be
    /// had.
    pub(crate) fn allow(&self, options: &Options, tree: Option<&str>) -> Result<(), Error> {
        let refuse = |kind, message: String| Err(Error::new(kind, message));
        let deletes = options.deletes() && !self.rights.deletes;
        match tree {
            None if self.only_trees.is_some() => refuse(
                ErrorKind::Usage,
                "this key is for named trees alone (serve --tree): push with --tree NAME"
                    .to_owned(),
            ),
            None if deletes => refuse(
                ErrorKind::Usage,
                "nothing may be deleted with this key (serve --no-delete): push without --delete \
                 and --force"
                    .to_owned(),
            ),
            Some(tree) if deletes => refuse(
                ErrorKind::Config,
                format!(
                    "nothing may be deleted with this key (serve --no-delete): set delete = false \
                     for tree {tree}, or take the restriction from the key on the standby"
                ),
            ),
            _ => Ok(()),
        }
    }

    /// The trees that can be pushed by name.
    pub fn served_trees(&self) -> impl Iterator<Item = &Tree> {
        let is_served = |tree: &&Tree| self.roots.is_empty() || self.root_of(&tree.root).is_some();
        let is_named = |tree: &&Tree| {
            let only = self.only_trees.as_ref();
            only.is_none_or(|names| names.contains(&tree.name))
        };
        self.trees.iter().filter(is_served).filter(is_named)
    }
}

/// Takes from this process what it does not need for the pushes that it receives. Each step is
/// taken once, while the process has one thread. The error is why that failed.
pub trait Confinement: fmt::Debug + Send + Sync {
    /// Whether it is confined already to what it serves.
    fn is_bound(&self) -> bool;

    /// The first hello has been read: what it names is opened next.
    ///
    /// # Errors
    ///
    /// Why the process has not got the rights for that.
    fn about_to_open(&self) -> Result<(), String>;

    /// From now on nothing but these directories can be reached: the target of the push, and that
    /// of its backups if it is not in there. Without any, what is served by name.
    ///
    /// # Errors
    ///
    /// Why the process is not confined.
    fn confine(&self, dirs: &[BorrowedFd<'_>]) -> Result<(), String>;

    /// From now on nothing is set that is trusted, nor any label.
    ///
    /// # Errors
    ///
    /// Why the process still could.
    fn forgo_trusted(&self) -> Result<(), String>;
}

/// What a peer may have done where it pushes to: everything, unless something is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Removing names that the source does not have. What is under a name may be replaced all the
    /// same, as long as nothing below it goes: that is what a push is for.
    pub deletes: bool,
    /// Making and changing device nodes.
    pub devices: bool,
    /// Setuid and setgid bits of what is no directory, and file capabilities. On a directory those
    /// bits lend nobody's rights to anybody: new entries take over its group, that is all.
    pub setuid: bool,
}

impl Default for Rights {
    fn default() -> Self {
        Rights {
            deletes: true,
            devices: true,
            setuid: true,
        }
    }
}

impl Rights {
    /// Both restrictions at once.
    #[must_use]
    pub fn and(self, other: Rights) -> Rights {
        Rights {
            deletes: self.deletes && other.deletes,
            devices: self.devices && other.devices,
            setuid: self.setuid && other.setuid,
        }
    }
}

/// What the receiver does with metadata in this session, by what it can and what the peer may have
/// done. Both halves compare by it, so that what stays away is no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Powers {
    /// Owners, and groups of all kinds.
    pub(crate) owners: bool,
    pub(crate) devices: bool,
    /// Setuid and setgid bits of what is no directory.
    pub(crate) setuid: bool,
    /// Extended attributes in these namespaces.
    pub(crate) xattrs: Namespaces,
}

impl Powers {
    pub(crate) fn new(privileged: bool, rights: Rights) -> Self {
        Powers {
            owners: privileged,
            devices: privileged && rights.devices,
            setuid: rights.setuid,
            xattrs: match (privileged, rights.setuid) {
                (true, true) => Namespaces::ALL,
                // They lend rights as setuid does.
                (true, false) => Namespaces::ALL.without(Namespaces::CAPABILITY),
                (false, _) => Namespaces::USER,
            },
        }
    }

    /// The same with extended attributes in none but these namespaces.
    pub(crate) fn with(self, xattrs: Namespaces) -> Self {
        Powers {
            xattrs: self.xattrs.within(xattrs),
            ..self
        }
    }

    /// As much of a mode as counts.
    pub(crate) fn mode(self, mode: u32, kind: Kind) -> u32 {
        if self.setuid || kind == Kind::Dir {
            mode
        } else {
            mode & !SETUID_BITS
        }
    }

    /// Refuses an entry that a sender should have left out or masked: it has been told.
    pub(crate) fn check(self, entry: &Entry) -> Result<(), Error> {
        match entry.body {
            Body::Unmirrored(_) | Body::Gone => Ok(()),
            Body::CharDevice { .. } | Body::BlockDevice { .. } if !self.devices => {
                Err(Error::peer(Refusal::Device))
            }
            _ if self.mode(entry.mode, entry.kind()) != entry.mode => {
                Err(Error::peer(Refusal::Setuid))
            }
            _ => Ok(()),
        }
    }
}

const SETUID_BITS: u32 = 0o6000;

/// What is done when a peer has said what it wants.
#[derive(Clone)]
pub struct Greeted(pub Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Greeted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Greeted")
    }
}

/// Hears of each push of a named tree that it is over, by the name that the peer gave, and why it
/// was not received, if it was not.
#[derive(Clone)]
pub struct Over(pub Arc<Heard>);

type Heard = dyn Fn(&str, Option<&Error>) + Send + Sync;

impl fmt::Debug for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Over")
    }
}

/// Says in one line why this node is not ready to receive, if it is not.
#[derive(Clone)]
pub struct Ready(pub Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ready")
    }
}

/// What is asked together with a standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// Nothing.
    Nothing,
    /// Whether the node has it.
    Service,
    /// And if it has not, though it is recorded as primary, would it push a last time?
    LastPush,
    /// Where is its configuration another one?
    Terms,
}

/// Says whether this node has the service; `None` if nobody knows. Where it has not, the peer's
/// wish for a last push may be granted.
#[derive(Clone)]
pub struct Service(pub Arc<dyn Fn(Wish) -> Option<bool> + Send + Sync>);

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Attributes;
    use crate::entry::Time;

    #[test]
    fn more_than_is_allowed_is_refused_at_the_hello() {
        let html = || Some(vec!["html".to_owned()]);
        for (only_trees, deletes, delete, tree, refused) in [
            (None, true, true, None, None),
            (None, true, true, Some("html"), None),
            (None, false, false, None, None),
            (None, false, false, Some("html"), None),
            (None, false, true, None, Some(ErrorKind::Usage)),
            (None, false, true, Some("html"), Some(ErrorKind::Config)),
            (html(), true, true, Some("html"), None),
            (html(), true, false, None, Some(ErrorKind::Usage)),
            (html(), false, true, None, Some(ErrorKind::Usage)),
            (html(), false, true, Some("html"), Some(ErrorKind::Config)),
            (Some(Vec::new()), true, false, None, Some(ErrorKind::Usage)),
        ] {
            let policy = ServePolicy {
                only_trees,
                rights: Rights {
                    deletes,
                    ..Rights::default()
                },
                ..ServePolicy::default()
            };
            for dry_run in [false, true] {
                let options = Options {
                    delete,
                    dry_run,
                    ..Options::archive()
                };
                let kind = policy.allow(&options, tree).map_err(|e| e.kind).err();
                assert_eq!(kind, refused, "{policy:?} {delete} {tree:?}");
            }
        }
    }

    #[test]
    fn restrictions_add_up() {
        let all = Rights::default();
        let no_devices = Rights {
            devices: false,
            ..all
        };
        let no_setuid = Rights {
            setuid: false,
            ..all
        };
        assert_eq!(all.and(all), all);
        let both = no_devices.and(no_setuid);
        assert_eq!(both, no_setuid.and(no_devices));
        assert!(!both.devices && !both.setuid && both.deletes);
    }

    #[test]
    fn a_sender_that_was_told_sends_no_such_thing() {
        let entry = |mode, body| Entry {
            name: b"x".to_vec(),
            mode,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            body,
            atime: None,
            link_to: None,
            attributes: Attributes::default(),
        };
        let file = || Body::File { len: 0, sum: None };
        let none = Rights {
            devices: false,
            setuid: false,
            ..Rights::default()
        };
        for (entry, allowed) in [
            (entry(0o644, file()), true),
            (entry(0o1644, file()), true),
            (entry(0o4755, file()), false),
            (entry(0o2755, file()), false),
            (entry(0o4777, Body::Fifo), false),
            (entry(0o2777, Body::Socket), false),
            (entry(0o3777, Body::Dir), true),
            (entry(0o600, Body::CharDevice { rdev: 259 }), false),
            (entry(0o600, Body::BlockDevice { rdev: 1 }), false),
            (entry(0o4600, Body::Unmirrored(Kind::Device)), true),
        ] {
            let narrowed = Powers::new(true, none).check(&entry);
            assert_eq!(narrowed.is_ok(), allowed, "{entry:?}");
            assert!(Powers::new(true, Rights::default()).check(&entry).is_ok());
            let device = matches!(
                entry.body,
                Body::CharDevice { .. } | Body::BlockDevice { .. }
            );
            let unprivileged = Powers::new(false, Rights::default()).check(&entry);
            assert_eq!(unprivileged.is_ok(), !device, "{entry:?}");
        }
    }
}
