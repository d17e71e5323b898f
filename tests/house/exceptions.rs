//! What breaks a rule of the engine's house today, and why it does. Nothing is added here.

/// Files that lead to each other.
pub(super) const CIRCLES: &[(&str, &str)] = &[
    (
        "entries.rs fs/dir.rs",
        "a directory is listed into what packs its entries",
    ),
    (
        "history/kept.rs history/prune.rs history/undo.rs",
        "what is kept goes, and leads back",
    ),
    (
        "generation/held.rs generation/tree.rs",
        "what is held of a tree says where that is",
    ),
    (
        "generation/node.rs history/store.rs",
        "both keep a log, and wait alike for a lock",
    ),
    (
        "lineage/claim.rs lineage/record.rs lineage/view.rs",
        "a record is viewed, and claimed by, what it is changed by",
    ),
    (
        "fs/deep.rs fs/root.rs",
        "a root opens what is deep through directories that it opened itself",
    ),
];

pub(super) const LONG_FILES: &[(&str, &str)] = &[
    ("delta/staged_copy.rs", "one idea, but long"),
    ("wire/run.rs", "packing and unpacking are in one file"),
];

pub(super) const LONG_FUNCTIONS: &[(&str, &str)] = &[];

pub(super) const WIDE_STRUCTS: &[(&str, &str)] = &[
    ("delta/search.rs Search", "the state of one loop"),
    (
        "observer.rs Summary",
        "one field for each line that `--stats` prints",
    ),
    ("options.rs Options", "one field for each option"),
];
