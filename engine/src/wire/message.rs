//! The messages, one enum for each direction. Directories are named by index; entries by their
//! position in the list in which the sender announced them.

use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::digest::DirDigest;
use crate::entry::{Entry, Sum};
use crate::error::{Error, ErrorKind};
use crate::ids::{IdKind, NamedGroup, SETTABLE_GROUPS_MAX, check_id};
use crate::keeps::Keeps;
use crate::lineage::claim::{Claim, Standing};
use crate::lineage::generation::{Partial, Sealed};
use crate::mounted::MountedBelow;
use crate::namespaces::Namespaces;
use crate::node_id::NodeId;
use crate::observer::{Action, Differences, Kind, Warning};
use crate::options::Options;
use crate::overlap::Whereabouts;
use crate::path::check_name;
use crate::policy::{Powers, Wish};
use crate::refusal::Refusal;
use crate::since::{Meta, Since};
use crate::term::Term;

/// Number of a directory: its position in the sender's canonical order. 0 is the root.
pub(crate) type DirIndex = u64;

/// What a half that is alive does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pulse {
    /// A number that grows with the work done: see [`crate::work`].
    pub(crate) done: u64,
    /// It waits for a file system to write what it holds.
    pub(crate) flushing: bool,
}

/// A question about a tree with a name, for which no push begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) tree: String,
    /// Who asks.
    pub(crate) node_id: NodeId,
    /// What is asked besides.
    pub(crate) service: Wish,
}

/// The first message of the sender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) options: Options,
    /// Target path as the user typed it.
    #[serde(with = "serde_bytes")]
    pub(crate) destination: Vec<u8>,
    /// The source is one entry that is not a directory, so that the destination may name it.
    pub(crate) single: bool,
    /// Key of this session's digests, random.
    pub(crate) digest_key: [u8; 32],
    /// A tree with a name, in whose root the receiver finds the target by itself.
    pub(crate) claim: Option<Claim>,
    pub(crate) whereabouts: Whereabouts,
    /// Extended attributes that the sender can read.
    pub(crate) readable: Namespaces,
    /// Names of the receiver's users and groups, whose numbers are asked for.
    pub(crate) accounts: Vec<(IdKind, String)>,
}

/// The receiver's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HelloReply {
    pub(crate) powers: Powers,
    pub(crate) settable_groups: Vec<NamedGroup>,
    /// What the target's file system keeps, and what others below the target root do.
    pub(crate) keeps: Keeps,
    pub(crate) mounted: MountedBelow,
    /// The most bytes that a file can have on the target's file system.
    pub(crate) len_max: u64,
    /// Name that the single source entry gets.
    #[serde(with = "serde_bytes")]
    pub(crate) rename: Option<Vec<u8>>,
    /// The target root was missing, and was made or in a dry run would be.
    pub(crate) created_root: bool,
    /// The receiver understands runs.
    pub(crate) runs: bool,
    /// The numbers of the `accounts` of the hello, in their order; none for who is not known.
    pub(crate) accounts: Vec<Option<u32>>,
}

impl HelloReply {
    /// Checks the answer to a hello with so many accounts, whose source may get another name.
    pub(crate) fn check(&self, asked: usize, may_rename: bool) -> Result<(), Error> {
        self.keeps.check()?;
        self.mounted.check()?;
        let (told, max) = (self.accounts.len(), SETTABLE_GROUPS_MAX);
        let name = self.rename.as_deref();
        let refusal = match name.map_or(Ok(()), check_name) {
            Err(error) => Refusal::TargetName { error },
            Ok(()) if name.is_some() && !may_rename => Refusal::RenameUnasked,
            Ok(()) if told != asked => Refusal::Accounts { asked, told },
            Ok(()) if self.settable_groups.len() > max => Refusal::TooManyGroups { max },
            Ok(()) if !self.ids().all(|id| check_id(id).is_ok()) => Refusal::NoId,
            Ok(()) => return Ok(()),
        };
        Err(Error::peer(refusal))
    }

    /// The users and groups of the receiver that it tells.
    fn ids(&self) -> impl Iterator<Item = u32> {
        let groups = self.settable_groups.iter().map(|&(id, _)| id);
        groups.chain(self.accounts.iter().copied().flatten())
    }
}

#[cfg(any(test, fuzzing))]
impl HelloReply {
    /// The answer of a receiver with all rights, whose file systems keep everything.
    pub(crate) fn plain(runs: bool) -> Self {
        HelloReply {
            powers: Powers::new(true, crate::policy::Rights::default()),
            settable_groups: Vec::new(),
            keeps: Keeps::default(),
            mounted: MountedBelow::default(),
            len_max: u64::MAX,
            rename: None,
            created_root: false,
            runs,
            accounts: Vec::new(),
        }
    }
}

/// What the sender says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ToReceiver {
    Hello(Box<Hello>),
    /// Name of an id, before its first use.
    Id {
        kind: IdKind,
        id: u32,
        #[serde(with = "serde_bytes")]
        name: Vec<u8>,
    },
    /// The root's own metadata, before the root's `Dir`, if the root itself is mirrored; its name
    /// means nothing. The answer is a `Verdicts` on directory 0, before any other.
    RootEntry(Entry),
    /// A directory of the source, in canonical order. The receiver answers `Differs`, `Lacks`, or
    /// nothing but a later `Compared` if the digests are equal.
    /// It is told by what sets it apart from the one announced before, which is little.
    Dir {
        /// Directories left out since: the receiver lacks them.
        skipped: u64,
        /// Levels from the one before up to the parent of this.
        up: u32,
        /// How much of its name the name of the one before begins with, in bytes, and the rest.
        shared: u8,
        #[serde(with = "serde_bytes")]
        rest: Vec<u8>,
        digest: DirDigest,
        /// Whether the whole directory is known, so that what it lacks may be deleted.
        complete: bool,
    },
    /// Answer to `Differs`, in parts: the entries whose prints were not among the receiver's, and
    /// the receiver's prints that matched nothing, by position. With the last part, what the full
    /// prints of those that did match add up to.
    Entries {
        dir: DirIndex,
        entries: Vec<Entry>,
        last: bool,
        unmatched: Vec<u32>,
        matched: [u8; 8],
    },
    /// A directory that the receiver lacks, with all its entries; content follows unasked.
    NewDir {
        dir: DirIndex,
        parent: DirIndex,
        #[serde(with = "serde_bytes")]
        name: Vec<u8>,
        entries: Vec<Entry>,
        last: bool,
    },
    /// The content of the entries of these numbers, which ascend over all parts, follows when
    /// everything has been compared, directory by directory in the order of these messages: first
    /// files of link groups. Before the `NewDirDone` of their directory, or after its `Verdicts`.
    Later {
        dir: DirIndex,
        entries: Vec<u32>,
    },
    /// All other content of a `NewDir` has been sent.
    NewDirDone {
        dir: DirIndex,
    },
    /// Make this first file of a link group by linking it to another of the group, at path `to`,
    /// which the target has as it should be. In place of its content.
    LinkFirst {
        dir: DirIndex,
        entry: u32,
        #[serde(with = "serde_bytes")]
        to: Vec<u8>,
    },
    /// `Data` frames with the ops of this file follow, then `FileEnd`.
    FileBegin {
        dir: DirIndex,
        entry: u32,
        /// Length that the file had when it was opened.
        len: u64,
        /// Its metadata then, as far as they are not what was announced.
        since: Since,
    },
    /// The file is complete and has this sum; without a sum it is to be thrown away.
    FileEnd {
        sum: Option<Sum>,
    },
    /// The content cannot be read: the entry stays as it is.
    FileSkipped {
        dir: DirIndex,
        entry: u32,
    },
    /// Everything asked for has been sent. `deletable`: the source was read completely and
    /// without an error, so that deletions may run.
    ContentDone {
        deletable: bool,
        /// What could not be read: the target will not be equal to the source.
        problems: Partial,
    },
    /// The sender is alive.
    Ping(Pulse),
    /// The directory just announced by `Dir`, or begun by `NewDir`, has these metadata, not those
    /// that the one above has for it.
    OtherDir {
        dir: DirIndex,
        meta: Meta,
        attributes: Attributes,
    },
    /// In place of a hello: how does this node stand to that tree? The answer is `Told`.
    Ask(Ask),
    /// An id of the sender, before its first use, is this one of the receiver, whatever their
    /// names are.
    MappedId {
        kind: IdKind,
        id: u32,
        becomes: u32,
    },
}

/// What the receiver is to do about one entry of an `Entries` list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) entry: u32,
    pub(crate) action: Action,
    pub(crate) differences: Differences,
    pub(crate) want: Want,
}

impl Verdict {
    /// The target's entry stays as it is, or missing, though it is not equal.
    pub(crate) fn stays(entry: u32) -> Self {
        Verdict {
            entry,
            action: Action::Attributes,
            differences: Differences::default(),
            want: Want::Nothing,
        }
    }

    /// The entry is not there as it is on the source, or was not.
    pub(crate) fn leaves_bare(&self) -> bool {
        self.differences.new || self.is_silent()
    }

    /// Nothing happens to the entry, and it is not said to be as it should.
    pub(crate) fn is_silent(&self) -> bool {
        *self == Self::stays(self.entry)
    }
}

/// The content that a verdict asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Want {
    Nothing,
    /// The whole content.
    Whole,
    /// A delta against a basis, which is described in exchanges.
    Delta,
}

/// What the receiver says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ToSender {
    /// How the receiver's node stands to the named tree; before the answer to the hello, or before
    /// the refusal.
    Standing(Box<Standing>),
    HelloReply(Box<HelloReply>),
    /// The digests differ; these are the first `print_len` bytes of the prints of the receiver's
    /// entries, in canonical order. Said again, with full prints, where these did not tell enough.
    Differs {
        dir: DirIndex,
        print_len: u8,
        #[serde(with = "serde_bytes")]
        prints: Vec<u8>,
        last: bool,
    },
    /// The receiver has no such directory, nor anything below it.
    Lacks {
        dir: DirIndex,
    },
    /// Every directory below this index that needed an answer has had it.
    Compared {
        below: DirIndex,
    },
    /// What happens to the entries of an `Entries` list; entries not named are as they should be.
    Verdicts {
        dir: DirIndex,
        verdicts: Vec<Verdict>,
        last: bool,
    },
    /// A delta ended in a wrong sum: send the whole file.
    Again {
        dir: DirIndex,
        entry: u32,
    },
    /// A delta is applied, or was given up: the sender may forget the file.
    Settled {
        dir: DirIndex,
        entry: u32,
    },
    /// An entry that is, or in a dry run would be, removed.
    Deleted {
        #[serde(with = "serde_bytes")]
        path: Vec<u8>,
        kind: Kind,
    },
    /// What `--max-delete` kept from being removed.
    DeletionsStopped {
        count: u64,
    },
    Warning(Warning),
    /// A directory stays because the filters protect something in it.
    NotEmpty {
        #[serde(with = "serde_bytes")]
        path: Vec<u8>,
    },
    /// The session ends here, for this reason.
    Fatal {
        kind: ErrorKind,
        message: String,
    },
    /// Everything is done. `durable`: and flushed to disk.
    Done {
        durable: bool,
        /// What a named tree is now.
        sealed: Option<Box<Sealed>>,
        /// Entries that had no room before the deletions made some: push again.
        starved: u64,
    },
    /// The receiver is alive.
    Ping(Pulse),
    /// The answer to `Ask`: `None` for a tree that this peer cannot push, and for a service whose
    /// whereabouts nobody knows, or which was not asked for.
    Told {
        standing: Option<Box<Standing>>,
        serves: Option<bool>,
        /// If they were asked for.
        terms: Vec<Term>,
    },
}
