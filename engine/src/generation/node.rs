//! What a node knows about a tree apart from the data: whether it is the primary, in which epoch,
//! and which generations it answers for. Kept in `<state directory>/trees/<tree>/`, on another
//! file system than the data where the admin likes.
//!
//! Lineage is compared by ids. A node's *own heads* are what its data is: the generation that was
//! last received, or, on a primary, its promotion or the one acknowledged last, and one that it has
//! asked for without hearing whether it was committed. A primary's *ancestors* are the heads from
//! which its promotions led to the present one. A push fits if one of the receiver's own heads is
//! an own head or an ancestor of the sender's.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::clock::{AsOf, now_ns};
use super::head::{Generation, GenerationCounts, GenerationId, GenerationKind};
use super::lineage::Claim;
use super::node_id::NodeId;
use super::ordinal::{Epoch, Number};
use super::record::{self, RecordKind};
use super::tree::{Tree, shown_path};
use crate::error::{Error, ErrorKind};
use crate::fs::Lock;
use crate::history::space::Space;
use crate::history::store::{log_once, read_log};
use crate::state::{Attempt, StateDir};

const NODE: RecordKind = RecordKind {
    letters: *b"ND",
    name: "node",
};

/// The coarsest step in which a file system on Linux keeps times.
const TICK_NS: i64 = 2_000_000_000;

/// Longest line of promotions without a push between that a primary remembers.
const ANCESTORS_MAX: usize = 64;

/// How long a commit is waited for: whoever takes over has to get on.
pub(crate) const COMMIT_WAIT: Duration = Duration::from_secs(60);

/// A node's record about one tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    /// It was promoted and not demoted since.
    pub(crate) is_primary: bool,
    /// The highest epoch that it was in.
    pub(crate) epoch: Epoch,
    /// As primary: its own head, then the generation that it asked for last, if that is open.
    heads: Vec<GenerationId>,
    ancestors: Vec<GenerationId>,
    /// As primary: the generation that is its own head.
    pub(crate) head: Option<Generation>,
    /// The head beside the data when this node became primary: another one there means that it
    /// has received since, and what it was as primary no longer counts.
    base: Option<GenerationId>,
    /// The generation received last.
    pub(crate) received: Option<GenerationId>,
    /// As of when the standby was last known to be equal.
    pub(crate) as_of: Option<AsOf>,
    /// The data here was given up for that,
    adopted: Option<Adopted>,
    /// when this was the head beside it: under another one there, that is over.
    adopted_on: Option<GenerationId>,
    /// It was demoted after a push that took all it had: nothing is here alone.
    handed_over: bool,
    /// As primary: until when the last push that counts may have read files, in nanoseconds since
    /// 1970; the largest number while nothing was heard of it.
    read_until_ns: i64,
}

/// A generation of the peer's that was accepted by hand in place of the data here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// The peer's name.
    pub node: String,
    /// The generation that it has, or that led to the one it has by then.
    pub id: GenerationId,
}

impl Adopted {
    /// Whether a push is from that peer, of that generation or of what it led to.
    pub(crate) fn names(&self, claim: &Claim) -> bool {
        self.node == claim.node && claim.leads_from(self.id)
    }
}

/// What a node says about itself when a push begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its name.
    pub node: String,
    /// Its identity.
    pub(crate) node_id: NodeId,
    /// It pushes the tree, and receives nothing.
    pub is_primary: bool,
    /// The highest epoch that it was in.
    pub epoch: Epoch,
    /// The generation that its data is, if any.
    pub head: Option<Generation>,
    /// The file system that the tree is on, or would be; `None` if it does not tell.
    pub space: Option<Space>,
    /// The ids that say what its data is, and those that led there.
    pub(super) heads: Vec<GenerationId>,
    pub(super) ancestors: Vec<GenerationId>,
}

impl Standing {
    /// Whether this node's data led to the other's, so that a push from there fits.
    #[must_use]
    pub fn led_to(&self, other: &Standing) -> bool {
        let fits = |id: &GenerationId| other.heads.contains(id) || other.ancestors.contains(id);
        self.heads.is_empty() || self.heads.iter().any(fits)
    }
}

/// A node's record about one tree, held open.
#[derive(Debug)]
pub(crate) struct Node {
    /// Missing where nothing has been written yet, and only looked at.
    dir: Option<StateDir>,
    tree: String,
    record: NodeRecord,
}

/// Held from the journal to the head, and by a promotion: one of them waits for the other.
#[derive(Debug)]
pub(crate) struct CommitLock(#[expect(dead_code, reason = "held")] Lock<File>);

/// Held by a push, so that a tree is pushed, or received, by one at a time.
#[derive(Debug)]
pub(crate) struct SessionLock(#[expect(dead_code, reason = "held")] Lock<File>);

impl Node {
    /// Opens the record of `tree` in the state directory, making what is missing.
    pub(crate) fn open(state_dir: &Path, tree: &str) -> Result<Self, Error> {
        let dir = StateDir::open(state_dir)?.sub("trees")?.sub(tree)?;
        let mut node = Node {
            dir: Some(dir),
            tree: tree.to_owned(),
            record: NodeRecord::default(),
        };
        node.refresh()?;
        Ok(node)
    }

    /// What the record of `tree` in the state directory says, without making or locking anything.
    pub(crate) fn look(state_dir: &Path, tree: &str) -> Result<Self, Error> {
        let trees = match StateDir::look(state_dir)? {
            Some(top) => top.look_sub("trees")?,
            None => None,
        };
        let dir = trees.map_or(Ok(None), |trees| trees.look_sub(tree))?;
        let is_there = dir.is_some();
        let mut node = Node {
            dir,
            tree: tree.to_owned(),
            record: NodeRecord::default(),
        };
        if is_there {
            node.refresh()?;
        }
        Ok(node)
    }

    /// What the record says.
    pub(crate) fn record(&self) -> &NodeRecord {
        &self.record
    }

    /// Reads the record again: another process may have promoted this node.
    pub(crate) fn refresh(&mut self) -> Result<(), Error> {
        self.record = record::read(self.dir()?, NODE)
            .map_err(|e| self.cannot("read", &e))?
            .unwrap_or_default();
        Ok(())
    }

    fn dir(&self) -> Result<&StateDir, Error> {
        let missing = || self.cannot("use", &io::ErrorKind::NotFound.into());
        self.dir.as_ref().ok_or_else(missing)
    }

    fn save(&self) -> Result<(), Error> {
        record::write(self.dir()?, NODE, &self.record).map_err(|e| self.cannot("write", &e))
    }

    fn cannot(&self, verb: &str, e: &io::Error) -> Error {
        Error::file(format_args!("{verb} the state of tree {}", self.tree), e)
    }

    /// Waits for the commit lock, as long as a commit may take.
    pub(crate) fn lock_commit(&self) -> Result<CommitLock, Error> {
        let lock = self.lock("commit.lock", COMMIT_WAIT)?;
        lock.map(CommitLock).ok_or_else(|| {
            let (tree, seconds) = (&self.tree, COMMIT_WAIT.as_secs());
            let message = format!(
                "another process has been changing the records of tree {tree} for {seconds} s; \
                 try again when it is done"
            );
            Error::new(ErrorKind::Locked, message)
        })
    }

    /// Takes the session lock, if nobody has it.
    pub(crate) fn lock_session(&self) -> Result<SessionLock, Error> {
        let lock = self.lock("session.lock", Duration::ZERO)?;
        lock.map(SessionLock).ok_or_else(|| {
            let message = format!(
                "another push of tree {} is running on this node; try again when it is done",
                self.tree
            );
            Error::new(ErrorKind::Locked, message)
        })
    }

    fn lock(&self, name: &str, wait: Duration) -> Result<Option<Lock<File>>, Error> {
        Ok(match self.dir()?.lock(name, Instant::now() + wait)? {
            Attempt::Taken(lock) => Some(lock),
            Attempt::Held(_) => None,
        })
    }

    /// The generations that this node made as primary or sent, oldest first.
    pub(crate) fn log(&self) -> Result<Vec<Generation>, Error> {
        let Some(dir) = &self.dir else {
            return Ok(Vec::new());
        };
        read_log(dir.as_fd()).map_err(|e| self.cannot("read the log in", &e))
    }

    /// Whether that identity occurs in what this node knows apart from the data, given the head
    /// beside it.
    pub(super) fn knows(&self, id: GenerationId, data: Option<&Generation>) -> Result<bool, Error> {
        let record = &self.record;
        let adopted = record.adopted.as_ref().map(|adopted| adopted.id);
        let single = [record.base, record.received, record.adopted_on, adopted];
        let generations = record.head.iter().chain(data);
        Ok(record.heads.contains(&id)
            || record.ancestors.contains(&id)
            || single.contains(&Some(id))
            || generations.chain(&self.log()?).any(|old| old.names(id)))
    }

    /// Whether what it was as primary still says what its data is.
    fn counts_as_primary(&self, data: Option<&Generation>) -> bool {
        !self.record.heads.is_empty() && self.record.base == data.map(|data| data.id)
    }

    /// The ids that say what this node's data is, given the head beside it.
    pub(crate) fn own_heads(&self, data: Option<&Generation>) -> Vec<GenerationId> {
        if self.counts_as_primary(data) {
            self.record.heads.clone()
        } else {
            data.map(|data| data.id).into_iter().collect()
        }
    }

    /// The generation that this node's data is, as far as it has a record of it.
    pub(crate) fn own_head(&self, data: Option<&Generation>) -> Option<Generation> {
        if self.counts_as_primary(data) {
            self.record.head.clone()
        } else {
            data.cloned()
        }
    }

    /// As primary: the generation that it asked for and heard nothing of.
    pub(crate) fn open_head(&self, data: Option<&Generation>) -> Option<GenerationId> {
        self.own_heads(data).get(1).copied()
    }

    pub(crate) fn epoch(&self, data: Option<&Generation>) -> Epoch {
        let data = data.map(|data| data.epoch).unwrap_or_default();
        self.record.epoch.max(data)
    }

    /// The highest number that it knows of.
    pub(crate) fn number(&self, data: Option<&Generation>) -> Number {
        let own = self.own_head(data);
        let numbers = own.iter().chain(data).map(|head| head.number);
        numbers.max().unwrap_or_default()
    }

    pub(crate) fn standing(
        &self,
        tree: &Tree,
        node_id: NodeId,
        data: Option<&Generation>,
    ) -> Standing {
        Standing {
            node: tree.node.clone(),
            node_id,
            space: Space::at(&tree.root),
            is_primary: self.record.is_primary,
            epoch: self.epoch(data),
            head: self.own_head(data),
            heads: self.own_heads(data),
            ancestors: if self.counts_as_primary(data) {
                self.record.ancestors.clone()
            } else {
                Vec::new()
            },
        }
    }

    /// Makes this node the primary of the tree, in a new epoch that is above `above` as well. To be
    /// called with the commit lock.
    pub(crate) fn promote(
        &mut self,
        tree: &Tree,
        id: GenerationId,
        data: Option<&Generation>,
        above: Epoch,
    ) -> Result<Generation, Error> {
        let own = self.own_head(data);
        let parents = self.own_heads(data);
        let known = self.epoch(data);
        let next = known.max(above).next();
        let promotion = Generation {
            id,
            epoch: next.ok_or_else(|| spent(tree, "epoch"))?,
            number: own
                .as_ref()
                .map_or(Some(Number::FIRST), |own| own.number.next())
                .ok_or_else(|| spent(tree, "number"))?,
            node: tree.node.clone(),
            is_group: tree.is_group,
            parent: own.as_ref().map(|own| own.id),
            kind: GenerationKind::Promotion,
            state: own.as_ref().map_or(id, |own| own.state),
            parent_state: own.as_ref().map(|own| own.state),
            made_ns: now_ns(),
            as_of: own.as_ref().and_then(|own| own.as_of),
            counts: GenerationCounts::default(),
            partial: None,
        };
        let mut ancestors = parents;
        if self.counts_as_primary(data) {
            ancestors.extend(&self.record.ancestors);
        }
        ancestors.truncate(ANCESTORS_MAX);
        self.record = NodeRecord {
            is_primary: true,
            epoch: promotion.epoch,
            heads: vec![promotion.id],
            ancestors,
            head: Some(promotion.clone()),
            base: data.map(|data| data.id),
            adopted: None,
            handed_over: false,
            ..self.record.clone()
        };
        self.save()?;
        self.log_once(&promotion)?;
        Ok(promotion)
    }

    /// Makes this node a standby; `handed_over` says that its last push took all it had. To be
    /// called with the commit lock.
    pub(crate) fn demote(&mut self, handed_over: bool) -> Result<(), Error> {
        if self.record.is_primary {
            self.record.handed_over = handed_over;
        }
        self.record.is_primary = false;
        self.save()
    }

    /// Whether this standby's data is what it had as primary; and if so, whether its last push had
    /// taken all of it.
    pub(crate) fn was_primary(&self, data: Option<&Generation>) -> Option<bool> {
        let was = self.counts_as_primary(data) && !self.record.is_primary;
        was.then_some(self.record.handed_over)
    }

    /// Whether this node may have data that nobody else has: it was primary until it broke off, or
    /// its data was given up by hand. The next push that it receives keeps that.
    pub(crate) fn may_be_alone(&self, data: Option<&Generation>) -> bool {
        let broke_off = self.counts_as_primary(data) && !self.record.handed_over;
        broke_off || self.adopted(data).is_some()
    }

    /// What the data here is given up for.
    pub(crate) fn adopted(&self, data: Option<&Generation>) -> Option<&Adopted> {
        let is_here = self.record.adopted_on == data.map(|data| data.id);
        self.record.adopted.as_ref().filter(|_| is_here)
    }

    /// The data here is given up: the peer's next push from that generation is received. To be
    /// called with the commit lock.
    pub(crate) fn adopt(
        &mut self,
        adopted: Adopted,
        data: Option<&Generation>,
    ) -> Result<(), Error> {
        self.record.adopted = Some(adopted);
        self.record.adopted_on = data.map(|data| data.id);
        self.save()
    }

    /// An undo has led this node's tree from one generation to another.
    pub(crate) fn undone(&mut self, from: &Generation, to: &Generation) -> Result<(), Error> {
        if self.counts_as_primary(Some(from)) {
            let before = std::mem::replace(&mut self.record.heads, vec![to.id]);
            self.record.ancestors.splice(0..0, before);
            self.record.ancestors.truncate(ANCESTORS_MAX);
            self.record.head = Some(to.clone());
            self.record.base = Some(to.id);
        }
        self.record.received = Some(to.id);
        self.save()
    }

    /// The modification times, in nanoseconds since 1970, at which a file may have changed once
    /// more after it was last compared, given as of when the data here was received: within one
    /// tick of a clock a second change shows in neither time nor length.
    pub(crate) fn recheck(&self, received: Option<AsOf>) -> Option<(i64, i64)> {
        let sent = self
            .record
            .as_of
            .map(|as_of| (as_of, self.record.read_until_ns));
        let received = received.map(|as_of| (as_of, i64::MAX));
        let both = [sent, received].into_iter().flatten();
        let (as_of, until) = both.max_by_key(|(as_of, _)| as_of.here_ns)?;
        // Times of what was received are the other node's.
        let from = as_of.source_ns.min(as_of.here_ns);
        let until = until.min(now_ns());
        Some((from.saturating_sub(TICK_NS), until.saturating_add(TICK_NS)))
    }

    /// As primary: `id` is about to be asked for.
    pub(crate) fn intend(&mut self, id: GenerationId) -> Result<(), Error> {
        self.record.read_until_ns = i64::MAX;
        self.record.heads.truncate(1);
        self.record.heads.push(id);
        self.save()
    }

    /// As primary: the standby has that generation, or, if it is `None`, still the one before.
    pub(crate) fn acknowledged(
        &mut self,
        generation: Option<&Generation>,
        as_of: Option<AsOf>,
    ) -> Result<(), Error> {
        if let Some(generation) = generation {
            self.record.heads = vec![generation.id];
            self.record.ancestors.clear();
            self.record.head = Some(generation.clone());
            self.log_once(generation)?;
        } else {
            // What was asked for last was not made.
            self.record.heads.truncate(1);
        }
        self.record.read_until_ns = now_ns();
        if as_of.is_some() {
            self.record.as_of = as_of;
            // Whatever it could not take then, it has now.
            if let Some(head) = &mut self.record.head {
                head.partial = None;
            }
        }
        self.save()
    }

    /// As standby: that generation is now beside the data.
    pub(crate) fn received(&mut self, generation: &Generation) -> Result<(), Error> {
        self.record.epoch = self.record.epoch.max(generation.epoch);
        self.record.received = Some(generation.id);
        self.record.adopted = None;
        self.save()
    }

    fn log_once(&self, generation: &Generation) -> Result<(), Error> {
        log_once(self.dir()?.as_fd(), generation).map_err(|e| self.cannot("write the log of", &e))
    }

    /// What a primary's push says of its lineage: the own heads, then the ancestors.
    pub(crate) fn claim(&self) -> (Vec<GenerationId>, Vec<GenerationId>) {
        (self.record.heads.clone(), self.record.ancestors.clone())
    }
}

/// There is nothing above the last epoch and the last number. No honest pair gets there.
pub(crate) fn spent(tree: &Tree, what: &str) -> Error {
    let (name, state_dir) = (&tree.name, shown_path(&tree.state_dir));
    let root = shown_path(&tree.root);
    Error::new(
        ErrorKind::Fenced,
        format!(
            "tree {name} has come to the last {what} that there is: begin its lineage anew, by \
             removing trees/{name} in {state_dir} and in .hasync of {root} on both nodes"
        ),
    )
}
