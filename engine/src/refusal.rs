//! What a peer can say that the protocol does not allow: one variant for each rule that it breaks,
//! with the numbers that it broke it by. Whoever tests lies goes through all of them.

use crate::delta::exchange::MessageError;
use crate::delta::{OpsError, SignatureError};
use crate::filter::FilterError;
use crate::path::NameError;

/// Declares the refusals, each with the sentence that tells it.
macro_rules! refusals {
    ($($name:ident $({ $($field:ident: $type:ty),+ })? => $words:literal,)+) => {
        /// A rule of the protocol that the peer broke.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Refusal {
            $($name $({ $($field: $type),+ })?,)+
        }

        impl std::fmt::Display for Refusal {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Refusal::$name $({ $($field),+ })? => write!(f, $words),)+
                }
            }
        }

        #[cfg(test)]
        impl Refusal {
            /// The names of all refusals.
            pub(crate) const ALL: &[&str] = &[$(stringify!($name),)+];

            pub(crate) fn name(&self) -> &'static str {
                match self {
                    $(Refusal::$name { .. } => stringify!($name),)+
                }
            }
        }
    };
}

impl std::error::Error for Refusal {}

refusals! {
    // Frames and their encoding.
    FrameKind { kind: u8 } => "unknown frame kind {kind}",
    FrameLen { len: usize, max: usize } => "a frame of {len} bytes, above {max}",
    RunFromReceiver => "a run from the receiver",
    RunWithoutLength => "a run without a length",
    RunLen { len: usize, max: usize } => "a run of {len} bytes, not 1 to {max}",
    RunDamaged { why: String } => "a run that does not unpack: {why}",
    RunOtherLen { len: usize } => "a run of {len} bytes that is not as long as it says",
    RunCut => "a run that ends within one of its frames",
    Undecodable { why: String } => "a message that does not decode: {why}",
    MessageRest { rest: usize } => "a message with {rest} bytes after its end",
    FieldCut { due: usize, len: usize } => "{len} bytes where {due} are due",

    // The beginning of a push, as the receiver sees it.
    NoHello => "no hello",
    HelloInRun => "a hello within a run",
    ContentBeforeHello => "content where the hello is due",
    MessageBeforeHello => "another message where the hello is due",
    SecondHello => "a second hello",
    Filter { error: FilterError } => "a filter rule that does not compile: {error}",
    Backup => "backups without a place of their own",
    ComparesForReal => "a comparison that is no dry run",
    NamedNotAtomic => "a named tree without --atomic",
    TooManySources { max: usize } => "more than {max} directories of the source",
    ClaimWithoutTree => "a claim about a tree without a name",
    ClaimWithoutHead => "a push without a head or an epoch",
    NodeName { len: usize } => "a node whose name is {len} bytes long, not 1 to 255",
    TooManyAncestors { heads: usize, ancestors: usize } =>
        "{heads} heads and {ancestors} ids that led to them, more than a tree has",
    TooFar {
        peer: String,
        what: &'static str,
        claimed: u64,
        tree: String,
        step: u64,
        known: u64
    } =>
        "{peer} claims {what} {claimed} of tree {tree}, more than {step} above {known}, which is \
         the highest known here: it lies, or its records are damaged; nothing was changed. \
         Compare `hasync status {tree}` on both nodes",
    NotNew { id: String, tree: String } =>
        "generation {id} of tree {tree}, which is to be made, is not a new one; nothing was \
         changed",

    IdName { len: usize } => "a user or group with a name of {len} bytes",
    IdOfNobody => "the name of a user or group that is empty, or more than a line",
    IdOfRoot => "a name for root's user or group, which is root's everywhere",
    TooManyIds { max: usize } => "more than {max} users and groups",
    AccountsLen { max: usize } => "more than {max} bytes of names of users and groups",

    // Directories and their entries.
    LateRootEntry => "the root's metadata after its directory",
    DirNumber => "a number of a directory beyond all",
    DirBeforeRoot => "another directory before the root",
    DirShared { dir: u64 } => "directory {dir} shares more than there is",
    DirAboveRoot { dir: u64 } => "directory {dir} above the root",
    DirOrder { dir: u64 } => "directory {dir} out of order",
    DirName { dir: u64, error: NameError } => "{error} for directory {dir}",
    DirParent { dir: u64, parent: u64 } =>
        "directory {dir} in directory {parent}, which is not above it",
    PathLen { max: usize } => "a path longer than {max} bytes",
    NewDirInNewDir { dir: u64 } => "new directory {dir} before the end of another",
    TooMuchAwaited { max: usize } => "more than {max} bytes about directories at once",
    NotAwaited { dir: u64 } => "something for directory {dir} that was not asked for",
    EntryName { error: NameError } => "an entry with {error}",
    Mode { mode: u32 } => "an entry with permission bits {mode:#o}, above 0o7777",
    NoId => "the number of a user or group that stands for none",
    Nanos { nanos: u32 } => "a time with {nanos} nanoseconds in a second",
    LinkTarget => "an empty symlink target, or one with a zero byte",
    LinkedDir => "a hard-linked directory",
    AttributesLen { max: usize } => "attributes of more than {max} bytes",
    AttributesCut => "attributes that are cut off",
    AttributesOrder => "attributes out of order",
    AttributeKind { kind: u16 } => "an attribute of unknown kind {kind}",
    AttributeValue { kind: u16 } => "an attribute of kind {kind} that its entry cannot have",
    EntriesAfterLast { dir: u64 } => "entries of directory {dir} after the last",
    EntriesOrder { dir: u64 } => "entries of directory {dir} out of order",
    Device => "a device, of which none is made for it",
    Setuid => "setuid or setgid on an entry, which is not set for it",
    Unmatched { dir: u64, print: u32 } =>
        "print {print} of directory {dir} is not one that was sent, or not after the one before",
    LinkTo { error: NameError } => "a hard link to {error}",
    LinkForward => "a hard link to what is not before it",
    LinkFirst { dir: u64, entry: u32 } =>
        "a link of entry {entry} of directory {dir} to what was not found to be of its group",

    // Content.
    DryContent => "content in a dry run",
    PackWithoutSum => "a pack without a sum",
    PackSum => "a pack that has not its sum",
    PackFlags { flags: u8 } => "unknown flags {flags:#x} in a pack",
    FileInFile => "a file within another",
    OpsWithoutFile => "ops without a file",
    EndWithoutFile => "the end of no file",
    Ops { error: OpsError } => "{error}",
    FileLen { len: u64, more: u64, max: u64 } =>
        "delta adds {more} bytes to {len}, the limit is {max}",
    HoleInCopy => "a hole in a file that is made from a copy",
    FileSum { path: String, sum: String } => "{path} has not the sum {sum}",
    ExchangeLast { last: u8 } => "{last} where an exchange says if a message ends",
    AskedTooMuch { max: usize } => "more than {max} bytes asked at once",
    Ask { error: MessageError } => "{error}",
    AskNotOffered => "an ask about a basis that was not offered",
    AskOfNothing => "an ask about a basis that there is nothing to ask about",
    AskLen { max: usize } => "an ask longer than {max} bytes",

    Outstanding { count: usize, first: String } =>
        "the end while {count} things are awaited, first {first}",

    // The beginning and the end of a push, as the sender sees it.
    NotReply => "something else where the answer to the hello is due",
    SecondReply => "a second answer to the hello",
    LateStanding => "a standing after the answer to the hello",
    NoStanding { tree: String } => "no word of how it stands to tree {tree}",
    LetIn => "a push let in that had to be fenced",
    HeadAboveEpoch => "a generation above the epoch of its node",
    TimeStore { granularity_ns: u32, min_secs: i64, max_secs: i64 } =>
        "times that no file system has: from second {min_secs} to {max_secs}, in steps of \
         {granularity_ns} ns",
    TooManyMounts { max: usize } =>
        "more than {max} mounts below the target, or bytes of their paths",
    MountsOrder => "mounts below the target out of order",
    MountPath { error: NameError } => "{error} as a mount below the target",
    Lost { lost: u16 } => "a file system that loses {lost:#x}",
    TargetName { error: NameError } => "{error} as the target's name",
    RenameUnasked => "a name for a source that keeps its own",
    TooManyGroups { max: usize } => "more than {max} groups that it can set",
    Accounts { asked: usize, told: usize } =>
        "{told} users and groups where {asked} were asked for",
    OtherGeneration => "the acknowledgement of another generation",
    EarlyDone => "the end before everything was sent",
    NotDurable => "an end before everything is on disk",
    NotSealed => "an end without a word of what the tree is now",
    SealedUnasked => "a generation of a tree without a name",
    IdleMessage => "a message while no push is running",

    // Answers.
    ContentFromReceiver => "file content from the receiver",
    NotDue { dir: u64 } => "an answer about directory {dir} that is not due",
    PrintsLen { total: usize, len: u8 } => "{total} bytes of prints that are {len} bytes long",
    TooManyPrints { max: usize } => "more than {max} prints",
    VerdictsOrder { dir: u64 } => "verdicts on directory {dir} out of order",
    WantWithoutContent { dir: u64, entry: u32 } =>
        "content wanted of entry {entry} of directory {dir}, which has none",
    NoDelta { dir: u64, entry: u32 } =>
        "word of entry {entry} of directory {dir}, which was not sent as a delta",
    BasisUnannounced => "a basis that was not announced",
    AnswerLen { max: usize } => "more than {max} bytes about a basis in one message",
    TooManyExchanges { max: usize } => "more than {max} exchanges at once",
    PrefixSum => "a sum of a basis that is none",
    Signature { error: SignatureError } => "{error}",
    Exchange { error: MessageError } => "{error}",
    DeletedUnasked => "a deletion that nobody asked for",
    StoppedUnasked { count: u64 } =>
        "word that {count} deletions were stopped, though nothing can have stopped them",
    NotEmptyUnasked => "a directory that stays, though none was to go",
    StarvedUnasked { starved: u64 } =>
        "{starved} entries without room, though no deletion made some",
    DeletedPath { error: NameError } => "{error} deleted, or kept",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_known_by_a_name_of_its_own() {
        let names: std::collections::HashSet<_> = Refusal::ALL.iter().collect();
        assert_eq!(names.len(), Refusal::ALL.len());
        let refusal = Refusal::DirParent { dir: 2, parent: 1 };
        assert!(names.contains(&refusal.name()));
        let words = "directory 2 in directory 1, which is not above it";
        assert_eq!(refusal.to_string(), words);
    }
}
