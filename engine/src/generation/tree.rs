//! A tree with a name, on this node: what the verbs about it do.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::held::Held;
use super::lock_file::LockFile;
use super::node::{Node, SessionLock};
use super::place;
use crate::change::not_ours;
use crate::clock::{AsOf, Boot, boot};
use crate::error::{Error, ErrorKind};
use crate::fs::{Lock, Root, names};
use crate::history::kept::{self, Pinned};
use crate::history::prune::rubbish;
use crate::history::space::Space;
use crate::history::store::Store;
use crate::history::undo::{UndoPolicy, undoable};
use crate::lineage::claim::{Adopted, Me, Standing};
use crate::lineage::generation::{Generation, GenerationId, Partial};
use crate::lineage::ordinal::{Epoch, Number};
use crate::lineage::record::{NodeRecord, Promotion, Spent};
use crate::lineage::rules::{Data, Rejoin, Serves};
use crate::lineage::view::{NodeRole, Owes, View};
use crate::node_id::NodeId;
use crate::path::{RelPath, Shown};

/// A tree with a name: where its data and its records are on this node, and who this node is.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The same on both nodes: 1 to 64 of `a-z`, `0-9`, `-` and `_`.
    pub name: String,
    /// The directory that is mirrored, or that holds the files of the group.
    pub root: PathBuf,
    /// The names of its files in that directory, if it is a group of some among others there.
    pub files: Vec<std::ffi::OsString>,
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
    /// The time of the primary's state that the standby has, or was last known to have.
    pub as_of: Option<AsOf>,
    /// As primary: what a standby has not heard of, or has not answered.
    pub owes: Owes,
    /// The data here is given up for that, which the next push brings.
    pub adopted: Option<Adopted>,
    /// Whether what this node has had of the tree can be seen.
    pub data: Data,
    /// It may have data that the other node has not.
    pub may_be_alone: bool,
    /// The file system that the tree is on; `None` if it does not tell.
    pub space: Option<Space>,
    /// A commit was cut off, and has to be brought to its end before anybody reads the tree.
    pub is_interrupted: bool,
    /// What pushes, running or interrupted, have staged.
    pub staged: Vec<LeftOver>,
    /// What can be undone, the last first.
    pub undo: Vec<Generation>,
    /// What is kept until they are [forgotten](Tree::forget).
    pub pinned: Vec<Pinned>,
    /// What the kept generations replaced though somebody had written it here since the generation
    /// before: their paths.
    pub written: Vec<(Generation, Partial)>,
    /// Directories of what was kept once and could not be removed: the next push tries again.
    pub rubbish: Vec<PathBuf>,
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
    /// What could not be carried out.
    pub failed: Partial,
}

impl Tree {
    /// Makes this node the primary of the tree, in a new epoch. An interrupted commit is brought
    /// to its end first. On a node that is primary already nothing changes.
    ///
    /// # Errors
    ///
    /// If the records cannot be read or written.
    pub fn promote(&self) -> Result<Generation, Error> {
        self.promote_above(Epoch::default())
    }

    /// The same, in an epoch above the peer's, as the peer has just said, or as somebody says who
    /// has seen it: what a peer says of itself in passing is not remembered.
    ///
    /// # Errors
    ///
    /// Besides, if that epoch is out of reach.
    pub fn promote_above(&self, above: Epoch) -> Result<Generation, Error> {
        let mut held = self.hold_whole(None)?;
        let known = held.view().epoch();
        if !above.is_within_reach(known) {
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
        let promotion = Promotion {
            above: (above, Number::default()),
            ..held.promotion(self, id)?
        };
        held.promote(self, promotion)
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
        let mut held = self.hold_whole(None)?;
        held.step(|record, _| record.demote(handed_over))?;
        Ok(held.view().head().cloned())
    }

    /// Gives the data here up for a generation of the peer's: its next push is received although
    /// the nodes have diverged. What that replaces can be undone. A primary is a standby then.
    ///
    /// # Errors
    ///
    /// If this node has nothing to give up.
    pub fn adopt(&self, adopted: Adopted) -> Result<(), Error> {
        let mut held = self.hold_whole(None)?;
        let name = &self.name;
        if held.view().heads().is_empty() {
            return Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "this node has no generation of tree {name} to give up: it receives the first \
                     push as it is"
                ),
            ));
        }
        held.step(|record, data| record.give_up(adopted, data))
    }

    /// Notes that this node, if it is primary of the tree, acts as one now: should its peer be
    /// promoted, what is here has to be looked at before it follows.
    ///
    /// # Errors
    ///
    /// If the record cannot be read or written.
    pub fn serves(&self) -> Result<(), Error> {
        let is_known = |record: &NodeRecord| !record.clone().serves(boot());
        if is_known(&Node::look(&self.state_dir, &self.name)?.read()?) {
            return Ok(());
        }
        let mut node = Node::open(&self.state_dir, &self.name)?.lock()?;
        node.step(|record| record.serves(boot())).map(|_| ())
    }

    /// Makes this node, which is recorded as primary, a standby of a peer that was promoted since,
    /// if it can be known that it has not served meanwhile. What it alone has is pinned by the
    /// first push that it receives.
    ///
    /// # Errors
    ///
    /// If the records cannot be read or written.
    pub fn rejoin(&self, peer: &Standing, serves: Serves) -> Result<Rejoin, Error> {
        self.rejoin_in(peer, serves, boot())
    }

    fn rejoin_in(&self, peer: &Standing, serves: Serves, boot: Boot) -> Result<Rejoin, Error> {
        let mut held = self.hold_whole(None)?;
        let rejoin = held.view().rejoins(peer, serves, boot);
        if rejoin == Rejoin::Follows {
            held.step(|record, _| record.demote(false))?;
        }
        Ok(rejoin)
    }

    /// Whether the data that this node has of the tree can be seen: whoever is about to serve it
    /// has to know.
    ///
    /// # Errors
    ///
    /// If the records or the root cannot be read.
    pub fn data(&self) -> Result<Data, Error> {
        let record = Node::look(&self.state_dir, &self.name)?.read()?;
        let root = self.open_root()?;
        let store = self.store(root.as_ref())?;
        let read = |e: std::io::Error| self.cannot("read the records of", &e);
        let data = store.as_ref().map_or(Ok(None), Store::head).map_err(read)?;
        let found = place::find(root.as_deref(), self.is_group()).map_err(read)?;
        Ok(View::new(&record, data.as_ref()).finds(found.is_mount, found.is_empty))
    }

    /// Brings a commit to its end that was cut off; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the file system refuses; what has been done stays done, and it can be tried again.
    pub fn recover(&self) -> Result<Option<Recovered>, Error> {
        Ok(self.hold_whole(None)?.into_recovered())
    }

    /// What there is to tell about the tree. Changes nothing.
    ///
    /// # Errors
    ///
    /// If the records cannot be read.
    pub fn status(&self) -> Result<TreeStatus, Error> {
        let record = Node::look(&self.state_dir, &self.name)?.read()?;
        let root = self.open_root()?;
        let store = self.store(root.as_ref())?;
        let read = |e: std::io::Error| self.cannot("read the records of", &e);
        let mut data = store.as_ref().map_or(Ok(None), Store::head).map_err(read)?;
        // What a partial push left out has come with a later one that found nothing to change.
        if let (Some(store), Some(head)) = (&store, &mut data)
            && head.partial.is_some()
            && store.seen(head.id).map_err(read)?.is_some()
        {
            head.partial = None;
        }
        let found = place::find(root.as_deref(), self.is_group()).map_err(read)?;
        let view = View::new(&record, data.as_ref());
        let was_primary = view.was_primary();
        let sends = view.is_primary() || was_primary.is_some();
        let received = match &store {
            Some(store) if !sends => store.as_of().map_err(read)?,
            _ => None,
        };
        Ok(TreeStatus {
            pinned: match &store {
                Some(store) => kept::pinned(store).map_err(read)?,
                None => Vec::new(),
            },
            written: match &store {
                Some(store) => kept::written(store).map_err(read)?,
                None => Vec::new(),
            },
            role: view.role(),
            data: view.finds(found.is_mount, found.is_empty),
            may_be_alone: view.may_be_alone(),
            space: Space::at(&self.root),
            rubbish: match &store {
                Some(store) => rubbish(store).map_err(read)?,
                None => Vec::new(),
            },
            was_primary,
            epoch: view.epoch(),
            head: view.head().cloned(),
            as_of: received.or_else(|| view.sent_as_of().filter(|_| sends)),
            owes: view.owes(),
            adopted: view.adopted().cloned(),
            is_interrupted: match &store {
                Some(store) => store.is_interrupted().map_err(read)?,
                None => false,
            },
            staged: root.map_or_else(Vec::new, |root| left_over(&root)),
            undo: match (&store, data.as_ref()) {
                (Some(store), Some(head)) => undoable(store, head).map_err(read)?,
                _ => Vec::new(),
            },
        })
    }

    /// How this node stands to the tree. Changes and locks nothing.
    ///
    /// # Errors
    ///
    /// If the records cannot be read.
    pub fn standing(&self) -> Result<Standing, Error> {
        self.standing_at(self.open_root()?.as_ref())
    }

    /// The same for a tree whose root, if it is there, is open already.
    pub(crate) fn standing_at(&self, root: Option<&Arc<Root>>) -> Result<Standing, Error> {
        let record = Node::look(&self.state_dir, &self.name)?.read()?;
        let read = |e: std::io::Error| self.cannot("read the records of", &e);
        let data = self.store(root)?.as_ref().map_or(Ok(None), Store::head);
        let data = data.map_err(read)?;
        let found = place::find(root.map(|root| &**root), self.is_group()).map_err(read)?;
        let view = View::new(&record, data.as_ref());
        let is_seen = view.finds(found.is_mount, found.is_empty) != Data::NotMounted;
        Ok(Standing {
            space: Space::at(&self.root),
            ..view.standing(self.me()?, found.is_empty && is_seen)
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

    /// Takes the session lock, if nobody has it.
    pub(crate) fn lock_session(&self) -> Result<SessionLock, Error> {
        Node::open(&self.state_dir, &self.name)?.lock_session()
    }

    /// Takes the locks under which the tree's records may change.
    pub(crate) fn hold(&self) -> Result<Held, Error> {
        self.hold_at(self.open_root()?.as_ref(), None)
    }

    /// The same, and brings to its end what was cut off. The lock on the files is taken before if
    /// that needs it. Whoever changes records alone does without: other programs may hold it, and
    /// a failover does not wait.
    pub(crate) fn hold_whole(&self, files: Option<LockFile>) -> Result<Held, Error> {
        self.hold_whole_at(self.open_root()?.as_ref(), files)
    }

    /// The same for a tree whose root, if it is there, is open already.
    pub(crate) fn hold_whole_at(
        &self,
        root: Option<&Arc<Root>>,
        files: Option<LockFile>,
    ) -> Result<Held, Error> {
        let mut held = self.hold_at(root, files)?;
        if self.lock_file.is_some() && !held.has_files() && held.is_interrupted(self)? {
            drop(held);
            held = self.hold_at(root, self.lock_files()?)?;
        }
        held.recover(self)?;
        Ok(held)
    }

    pub(crate) fn hold_at(
        &self,
        root: Option<&Arc<Root>>,
        files: Option<LockFile>,
    ) -> Result<Held, Error> {
        let node = Node::open(&self.state_dir, &self.name)?.lock()?;
        let found = place::find(root.map(|root| &**root), self.is_group())
            .map_err(|e| self.cannot("look at", &e))?;
        Held::new(node, self.store(root)?, found, files)
    }

    /// This node, as it speaks of the tree.
    pub(crate) fn me(&self) -> Result<Me, Error> {
        Ok(Me {
            tree: self.name.clone(),
            node: self.node.clone(),
            node_id: NodeId::of(&self.state_dir)?,
        })
    }

    /// Takes the lock on the files themselves, where there is one.
    pub(crate) fn lock_files(&self) -> Result<Option<LockFile>, Error> {
        self.lock_file.as_deref().map(LockFile::take).transpose()
    }

    pub(crate) fn store(&self, root: Option<&Arc<Root>>) -> Result<Option<Store>, Error> {
        let Some(root) = root else {
            return Ok(None);
        };
        Store::open(root, Some(&self.name))
            .map_err(|e| self.cannot("read the records of", &not_ours(root, e)))
    }

    pub(crate) fn open_root(&self) -> Result<Option<Arc<Root>>, Error> {
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

    /// There is nothing above the last epoch and the last number.
    pub(crate) fn spent(&self, Spent(what): Spent) -> Error {
        let (name, state_dir) = (&self.name, shown_path(&self.state_dir));
        let root = shown_path(&self.root);
        Error::new(
            ErrorKind::Fenced,
            format!(
                "tree {name} has come to the last {what} that there is: begin its lineage anew, \
                 by removing trees/{name} in {state_dir} and in .hasync of {root} on both nodes"
            ),
        )
    }

    pub(crate) fn cannot(&self, verb: &str, e: &std::io::Error) -> Error {
        let root = shown_path(&self.root);
        Error::file(format_args!("{verb} tree {} in {root}", self.name), e)
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
    Shown(path.as_os_str().as_bytes()).to_string()
}
