//! Where hasync deliberately does otherwise than rsync 3.5.0. The README quotes these
//! sentences; the oracle forgives exactly what they say and nothing else.

use super::generate::Case;
use crate::support::snapshot::{Entry, Snapshot};

/// One deliberate difference.
pub(crate) struct Deviation {
    pub(crate) name: &'static str,
    /// What the README says of it.
    pub(crate) sentence: &'static str,
}

/// All of them. A name is used by the code below that forgives it.
pub(crate) const LIST: &[Deviation] = &[
    Deviation {
        name: "nanoseconds",
        sentence: "Modification times are compared to the nanosecond; rsync compares whole \
                   seconds.",
    },
    Deviation {
        name: "missing source",
        sentence: "Nothing is deleted when a SRC is missing or a part of the source could not \
                   be read; rsync still deletes after a missing SRC.",
    },
    Deviation {
        name: "max-delete",
        sentence: "Above --max-delete=N nothing at all is deleted; rsync deletes the first N.",
    },
    Deviation {
        name: "kept directories",
        sentence: "A directory that must stay because it holds excluded entries is kept without \
                   a message; rsync says `cannot delete non-empty directory`.",
    },
    Deviation {
        name: "unmirrored directory times",
        sentence: "The time of a directory that is not itself mirrored (no -t, or DST when SRC \
                   has no trailing slash) may change by the writing inside it.",
    },
    Deviation {
        name: "device kinds",
        sentence: "A character device in the place of a block device with the same numbers is \
                   replaced; rsync 3.5.0 takes them as equal.",
    },
    Deviation {
        name: "separate files",
        sentence: "Target files linked to each other that are separate in the source become \
                   separate files when their attributes differ; rsync changes one through the \
                   other on every run.",
    },
    Deviation {
        name: "exit codes",
        sentence: "A DST that cannot be a directory or be made exits 11; rsync exits 3 or 11.",
    },
];

/// The options rsync is given so that its result is the one hasync promises.
pub(crate) fn rsync_options(case: &Case, stopped_by_max_delete: bool) -> Vec<String> {
    let no_deletes = case.missing_source || stopped_by_max_delete;
    case.options
        .iter()
        .filter(|option| !(no_deletes && *option == "--delete"))
        .cloned()
        .collect()
}

/// The exit code that hasync owes where rsync's was `code`, run without its deletions when
/// `stopped_by_max_delete`.
pub(crate) fn exit_code(code: i32, stopped_by_max_delete: bool) -> i32 {
    match code {
        0 if stopped_by_max_delete => 25,
        3 => 11,
        other => other,
    }
}

/// A line of rsync that hasync does not print.
pub(crate) fn is_unsaid(line: &[u8]) -> bool {
    line.starts_with(b"cannot delete non-empty directory: ")
}

/// Takes out of a snapshot what no promise covers. `NOW` stands for any time of the run.
pub(crate) fn without_unpromised_times(case: &Case, tree: Snapshot, rsync: &Snapshot) -> Snapshot {
    let mirrored = case.keeps("t");
    tree.map(|path, entry| {
        if entry.kind != 'd' {
            return;
        }
        let theirs = rsync.entries.get(path).map(|entry| entry.mtime);
        let outside = path.is_empty() && !case.root_is_mirrored;
        if !mirrored || outside || theirs == Some(NOW) {
            entry.mtime = NOW;
        }
    })
}

/// Any time that a run of either program left.
pub(crate) const NOW: (i64, u32) = (i64::MAX, 0);

/// Generated times are all before this second.
const RUN_STARTS_AFTER: i64 = 1_700_000_000;

/// Replaces times that the run itself made by `NOW`.
pub(crate) fn with_now(tree: Snapshot) -> Snapshot {
    tree.map(|_, entry: &mut Entry| {
        if entry.mtime.0 > RUN_STARTS_AFTER {
            entry.mtime = NOW;
        }
    })
}
