//! A tree with a name, on this node: what the verbs about it do.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clock::AsOf;
use super::durable::{Done, recover};
use super::head::{Generation, GenerationId};
use super::lock_file::LockFile;
use super::node::{Adopted, CommitLock, Node};
use super::ordinal::Epoch;
use crate::error::{Error, ErrorKind};
use crate::fs::{Lock, Root, names};
use crate::history::kept::{self, Pinned};
use crate::history::store::Store;
use crate::history::undo::UndoPolicy;
use crate::path::RelPath;

/// A tree with a name: where its data and its records are on this node, and who this node is.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The same on both nodes: 1 to 64 of `a-z`, `0-9`, `-` and `_`.
    pub name: String,
    /// The directory that is mirrored, or that holds the files of the group.
    pub root: PathBuf,
    /// A group of files, among others in that directory.
    pub is_group: bool,
    /// This node's name.
    pub node: String,
    /// Where this node keeps what it knows about its trees, such as `/var/lib/hasync`.
    pub state_dir: PathBuf,
    /// What is kept of the past.
    pub undo: UndoPolicy,
    /// A file to hold a POSIX record lock on, as `lckpwdf` does on `/etc/.pwd.lock`, while the
    /// files are read here, or changed here.
    pub lock_file: Option<PathBuf>,
}

/// What a node is to a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRole {
    /// It has neither sent nor received the tree.
    New,
    /// It was promoted, or made the first push.
    Primary,
    /// It receives.
    Standby,
}

/// What `status` tells.
#[derive(Clone, Debug)]
pub struct TreeStatus {
    /// What this node is.
    pub role: NodeRole,
    /// As standby that has received nothing since it was primary: whether its last push had taken
    /// all it had.
    pub was_primary: Option<bool>,
    /// The epoch that it is in.
    pub epoch: Epoch,
    /// The generation that its data is: received, acknowledged or begun by a promotion.
    pub head: Option<Generation>,
    /// As of when the standby is, or was last known to be, equal to the primary.
    pub as_of: Option<AsOf>,
    /// As primary: a generation that was asked for, and nothing heard of since.
    pub open: Option<GenerationId>,
    /// The data here is given up for that, which the next push brings.
    pub adopted: Option<Adopted>,
    /// A commit was cut off, and has to be brought to its end before anybody reads the tree.
    pub is_interrupted: bool,
    /// What pushes, running or interrupted, have staged.
    pub staged: Vec<LeftOver>,
    /// What can be undone, the last first.
    pub undo: Vec<Generation>,
    /// Those of them that are kept until they are [forgotten](Tree::forget).
    pub pinned: Vec<Pinned>,
}

/// A directory with staged entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOver {
    /// Its name below `.hasync/stage` in the root.
    pub name: String,
    /// The push that made it is running; otherwise the next one takes from it what it needs, and
    /// removes it.
    pub is_running: bool,
}

/// An interrupted commit that was brought to its end.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The generation that the tree is now.
    pub head: Option<Generation>,
    /// What could not be carried out, one line each.
    pub failed: Vec<String>,
}

impl Tree {
    /// Makes this node the primary of the tree, in a new epoch. An interrupted commit is brought
    /// to its end first.
    ///
    /// # Errors
    ///
    /// If the records cannot be read or written.
    pub fn promote(&self) -> Result<Generation, Error> {
        self.promote_above(Epoch::default())
    }

    /// The same, in an epoch above the peer's, which somebody says who has seen it: what a peer
    /// says of itself in passing is not remembered.
    ///
    /// # Errors
    ///
    /// Besides, if that epoch is out of reach.
    pub fn promote_above(&self, above: Epoch) -> Result<Generation, Error> {
        let mut held = self.hold()?;
        held.recover(self)?;
        let data = held.data()?;
        let known = held.node.epoch(data.as_ref());
        if !above.next().is_some_and(|epoch| epoch.is_near(known)) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "epoch {above} is too far above epoch {known} of tree {}: no peer receives \
                     from there",
                    self.name
                ),
            ));
        }
        let id = GenerationId::random().map_err(|e| self.cannot("promote", &e))?;
        held.node.promote(self, id, data.as_ref(), above)
    }

    /// Makes this node a standby of the tree: it pushes no more, and receives from whoever its
    /// data led to. Returns the generation that its data is.
    ///
    /// What the first push that it receives then replaces is pinned: it may be nowhere else. Unless
    /// it is `handed_over`: a last push has just taken everything, and nothing writes any more.
    ///
    /// # Errors
    ///
    /// If the records cannot be read or written.
    pub fn demote(&self, handed_over: bool) -> Result<Option<Generation>, Error> {
        let mut held = self.hold()?;
        held.recover(self)?;
        held.node.demote(handed_over)?;
        let data = held.data()?;
        Ok(held.node.own_head(data.as_ref()))
    }

    /// Gives the data here up for a generation of the peer's: its next push is received although
    /// the nodes have diverged. What that replaces can be undone.
    ///
    /// # Errors
    ///
    /// If this node is primary of the tree, or has nothing to give up.
    pub fn adopt(&self, adopted: Adopted) -> Result<(), Error> {
        let mut held = self.hold()?;
        let name = &self.name;
        if held.node.record().is_primary {
            return Err(Error::new(
                ErrorKind::Fenced,
                format!(
                    "this node is primary of tree {name} and receives nothing: run `hasync demote \
                     {name}` here first"
                ),
            ));
        }
        let data = held.data()?;
        if held.node.own_heads(data.as_ref()).is_empty() {
            return Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "this node has no generation of tree {name} to give up: it receives the first \
                     push as it is"
                ),
            ));
        }
        held.node.adopt(adopted, data.as_ref())
    }

    /// Brings a commit to its end that was cut off; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the file system refuses; what has been done stays done, and it can be tried again.
    pub fn recover(&self) -> Result<Option<Recovered>, Error> {
        self.hold()?.recover(self)
    }

    /// What there is to tell about the tree. Changes nothing.
    ///
    /// # Errors
    ///
    /// If the records cannot be read.
    pub fn status(&self) -> Result<TreeStatus, Error> {
        let node = Node::look(&self.state_dir, &self.name)?;
        let root = self.open_root()?;
        let store = self.store(root.as_ref())?;
        let read = |e: std::io::Error| self.cannot("read the records of", &e);
        let mut data = store.as_ref().map_or(Ok(None), Store::head).map_err(read)?;
        let record = node.record();
        // What a partial push left out has come with a later one that found nothing to change.
        if let (Some(store), Some(head)) = (&store, &mut data)
            && head.partial.is_some()
            && store.seen(head.id).map_err(read)?.is_some()
        {
            head.partial = None;
        }
        let role = match (&data, record.is_primary) {
            (_, true) => NodeRole::Primary,
            (None, false) if node.own_heads(None).is_empty() => NodeRole::New,
            _ => NodeRole::Standby,
        };
        let was_primary = node.was_primary(data.as_ref());
        let sends = record.is_primary || was_primary.is_some();
        let received = match &store {
            Some(store) if !sends => store.as_of().map_err(read)?,
            _ => None,
        };
        Ok(TreeStatus {
            pinned: match &store {
                Some(store) => kept::pinned(store).map_err(read)?,
                None => Vec::new(),
            },
            role,
            was_primary,
            epoch: node.epoch(data.as_ref()),
            head: node.own_head(data.as_ref()),
            as_of: received.or_else(|| record.as_of.filter(|_| sends)),
            open: node.open_head(data.as_ref()),
            adopted: node.adopted(data.as_ref()).cloned(),
            is_interrupted: match &store {
                Some(store) => store.is_interrupted().map_err(read)?,
                None => false,
            },
            staged: root.map_or_else(Vec::new, |root| left_over(&root)),
            undo: match &store {
                Some(store) => kept::generations(store).map_err(read)?,
                None => Vec::new(),
            },
        })
    }

    /// The generations that this node made, sent or received, oldest first.
    ///
    /// # Errors
    ///
    /// If the records cannot be read.
    pub fn log(&self) -> Result<Vec<Generation>, Error> {
        let mut log = Node::look(&self.state_dir, &self.name)?.log()?;
        if let Some(store) = self.store(self.open_root()?.as_ref())? {
            let beside = store
                .log()
                .map_err(|e| self.cannot("read the log of", &e))?;
            let known: HashSet<GenerationId> = beside.iter().map(|g| g.id).collect();
            log.retain(|generation| !known.contains(&generation.id));
            log.extend(beside);
        }
        log.sort_by_key(|generation| (generation.number, generation.made_ns));
        Ok(log)
    }

    /// Removes what a pinned generation replaced; it cannot be undone any more.
    ///
    /// # Errors
    ///
    /// If that generation is not pinned, or if the file system refuses.
    pub fn forget(&self, id: GenerationId) -> Result<Generation, Error> {
        let held = self.hold()?;
        let none = || {
            let name = &self.name;
            let message = format!(
                "generation {id} of tree {name} is not among those that are pinned; see `hasync \
                 status {name}`"
            );
            Error::new(ErrorKind::Usage, message)
        };
        let store = held.store.as_ref().ok_or_else(none)?;
        let forgotten =
            kept::forget(store, id).map_err(|e| self.cannot("forget what is kept of", &e))?;
        forgotten.ok_or_else(none)
    }

    /// Makes what receiving the tree takes outside its root, for a process that will not be able
    /// to: its place in the state directory, and the file to lock.
    ///
    /// # Errors
    ///
    /// If the file system refuses; receiving the tree will meet the same.
    pub fn prepare(&self) -> Result<(), Error> {
        Node::open(&self.state_dir, &self.name)?;
        self.lock_file.as_deref().map_or(Ok(()), LockFile::make)
    }

    /// Takes the locks under which the tree's records may change.
    pub(crate) fn hold(&self) -> Result<Held, Error> {
        self.hold_with(|| self.open_root())
    }

    /// The same for a tree whose root, if it is there, is open already.
    pub(crate) fn hold_at(&self, root: Option<&Arc<Root>>) -> Result<Held, Error> {
        self.hold_with(|| Ok(root.cloned()))
    }

    fn hold_with(
        &self,
        root: impl FnOnce() -> Result<Option<Arc<Root>>, Error>,
    ) -> Result<Held, Error> {
        let mut node = Node::open(&self.state_dir, &self.name)?;
        let commit_lock = node.lock_commit()?;
        node.refresh()?;
        let store = self.store(root()?.as_ref())?;
        Ok(Held {
            node,
            store,
            lock_file: None,
            _commit_lock: commit_lock,
        })
    }

    /// Takes the lock on the files themselves, where there is one.
    pub(crate) fn lock_files(&self) -> Result<Option<LockFile>, Error> {
        self.lock_file.as_deref().map(LockFile::take).transpose()
    }

    fn store(&self, root: Option<&Arc<Root>>) -> Result<Option<Store>, Error> {
        let Some(root) = root else {
            return Ok(None);
        };
        Store::open(root, Some(&self.name)).map_err(|e| self.cannot("read the records of", &e))
    }

    fn open_root(&self) -> Result<Option<Arc<Root>>, Error> {
        match Root::open(&self.root) {
            Ok(root) => Ok(Some(Arc::new(root))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.cannot("open", &e)),
        }
    }

    /// Makes sure that the root, if there is one, can be opened on this node.
    ///
    /// # Errors
    ///
    /// Why it cannot: it is no directory, or a symlink of somebody else leads there.
    pub fn check_root(&self) -> Result<(), Error> {
        self.open_root().map(|_| ())
    }

    fn cannot(&self, verb: &str, e: &std::io::Error) -> Error {
        let root = shown_path(&self.root);
        Error::file(format_args!("{verb} tree {} in {root}", self.name), e)
    }
}

/// A tree whose records this process may change.
pub(crate) struct Held {
    pub(crate) node: Node,
    pub(crate) store: Option<Store>,
    lock_file: Option<LockFile>,
    _commit_lock: CommitLock,
}

impl Held {
    /// Gives up the locks and what is beside the data.
    pub(crate) fn into_node(self) -> Node {
        self.node
    }

    /// Refuses to go on while a commit is cut off, for who must not bring it to its end.
    pub(crate) fn refuse_interrupted(&self, tree: &Tree) -> Result<(), Error> {
        let interrupted = self.store.as_ref().map_or(Ok(false), Store::is_interrupted);
        let interrupted = interrupted.map_err(|e| tree.cannot("read the records of", &e))?;
        if interrupted {
            let Tree { name, node, .. } = tree;
            return Err(Error::new(
                ErrorKind::FileIo,
                format!(
                    "a commit to tree {name} was cut off on {node}: run `hasync recover {name}` \
                     there first"
                ),
            ));
        }
        Ok(())
    }

    /// Takes the lock on the files themselves, for who is going to change them. Whoever changes
    /// records alone does without: other programs may hold it, and a failover does not wait.
    pub(crate) fn lock_files(&mut self, tree: &Tree) -> Result<(), Error> {
        if self.lock_file.is_none() {
            self.lock_file = tree.lock_files()?;
        }
        Ok(())
    }

    /// Brings a commit to its end that was cut off.
    pub(crate) fn recover(&mut self, tree: &Tree) -> Result<Option<Recovered>, Error> {
        let interrupted = self.store.as_ref().map_or(Ok(false), Store::is_interrupted);
        if interrupted.map_err(|e| tree.cannot("read the records of", &e))? {
            self.lock_files(tree)?;
        }
        let Some(store) = &self.store else {
            return Ok(None);
        };
        let Some(Done { failed, made }) = recover(store)? else {
            return Ok(None);
        };
        let head = self.data()?;
        if let Some(head) = head.as_ref().filter(|_| made) {
            self.node.received(head)?;
        }
        Ok(Some(Recovered { head, failed }))
    }

    /// Whether that is the identity of a generation, or of something that stands for one, that
    /// this node has, had, or may still go back to.
    pub(crate) fn knows(&self, id: GenerationId, data: Option<&Generation>) -> Result<bool, Error> {
        if self.node.knows(id, data)? {
            return Ok(true);
        }
        let Some(store) = &self.store else {
            return Ok(false);
        };
        let knows = || -> std::io::Result<bool> {
            Ok(kept::has_like(store, id)? || store.log()?.iter().any(|old| old.names(id)))
        };
        knows().map_err(|e| Error::file("read the generations of the tree", &e))
    }

    /// As of when what was received here was equal to its source.
    pub(crate) fn received(&self) -> Result<Option<AsOf>, Error> {
        let as_of = self.store.as_ref().map_or(Ok(None), Store::as_of);
        as_of.map_err(|e| Error::file("read as of when the tree was received", &e))
    }

    /// The head beside the data.
    pub(crate) fn data(&self) -> Result<Option<Generation>, Error> {
        let Some(store) = &self.store else {
            return Ok(None);
        };
        store
            .head()
            .map_err(|e| Error::file("read the head of the tree", &e))
    }
}

/// What is in the staging of the root.
fn left_over(root: &Root) -> Vec<LeftOver> {
    let within = RelPath::root().join(b"stage");
    let Ok(dir) = root.open_reserved(&RelPath::root(), &within) else {
        return Vec::new();
    };
    let names = names(&dir).unwrap_or_default();
    let left = |name: Vec<u8>| {
        let session = root
            .open_reserved(&RelPath::root(), &within.join(&name))
            .ok()?;
        Some(LeftOver {
            name: String::from_utf8_lossy(&name).into_owned(),
            is_running: Lock::try_take(session).is_none(),
        })
    };
    names.into_iter().filter_map(left).collect()
}

pub(crate) fn shown_path(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    crate::path::Shown(path.as_os_str().as_bytes()).to_string()
}
