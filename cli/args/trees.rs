//! The options of `hasync push` that name trees of the configuration, and which others go with
//! them: what a tree is, is written down once and not typed differently each time.

use std::path::PathBuf;

use clap::{ArgMatches, Args};

use super::{NAMED, last_index};

/// `--tree`, `--all` and `--config`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TreeArgs {
    /// Push the tree of this name in the configuration (repeatable)
    #[arg(long, value_name = "NAME", action = clap::ArgAction::Append)]
    #[arg(help_heading = NAMED)]
    pub(crate) tree: Vec<String>,
    /// Push all of them, groups of files first
    #[arg(long, conflicts_with = "tree", help_heading = NAMED)]
    pub(crate) all: bool,
    /// Push although much would be deleted, or the source looks unmounted
    #[arg(long, help_heading = NAMED)]
    pub(crate) no_brake: bool,
    /// The configuration, in place of /etc/hasync/hasync.toml
    #[arg(long, value_name = "FILE", help_heading = NAMED)]
    pub(crate) config: Option<PathBuf>,
    /// The first option typed that a named tree does not take.
    #[arg(skip)]
    pub(crate) refused: Option<String>,
}

impl TreeArgs {
    /// Whether trees are named at all.
    pub(crate) fn any(&self) -> bool {
        self.all || !self.tree.is_empty()
    }

    /// Notes which option, if any, does not go with a named tree.
    pub(super) fn settle(&mut self, matches: &ArgMatches) {
        let typed = DECIDED.iter().filter_map(|id| {
            let ids = [(*id).to_owned(), format!("no_{id}")];
            let known = |id: &String| matches.try_contains_id(id).is_ok();
            let index = ids
                .iter()
                .filter(|id| known(id))
                .find_map(|id| last_index(matches, id))?;
            Some((index, *id))
        });
        let first = typed.min_by_key(|(index, _)| *index);
        self.refused = first.map(|(_, id)| match id {
            "devices_and_specials" => "-D".to_owned(),
            id => format!("--{}", id.replace('_', "-")),
        });
    }
}

/// What the configuration decides, or what a generation does not allow.
const DECIDED: &[&str] = &[
    "archive",
    "recursive",
    "links",
    "perms",
    "times",
    "group",
    "owner",
    "devices_and_specials",
    "devices",
    "specials",
    "hard_links",
    "sparse",
    "numeric_ids",
    "delete",
    "exclude",
    "include",
    "exclude_from",
    "include_from",
    "update",
    "one_file_system",
    "follow_untrusted",
    "no_fsync",
];
