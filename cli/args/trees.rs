//! The options of `hasync push` that name trees of the configuration, and which others go with
//! them: what a tree is, is written down once and not typed differently each time.

use std::path::PathBuf;

use clap::{ArgMatches, Args};

use super::lists;
use super::push::{NAMED, last_index};

/// `--tree`, `--all` and `--config`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TreeArgs {
    /// Push the tree of this name (repeatable)
    #[arg(long, value_name = "NAME", action = clap::ArgAction::Append)]
    #[arg(help_heading = NAMED)]
    pub(crate) tree: Vec<String>,
    /// Push all of them, groups of files first
    #[arg(long, conflicts_with = "tree", help_heading = NAMED)]
    pub(crate) all: bool,
    /// Push although much would be deleted, or the source looks unmounted
    #[arg(long, help_heading = NAMED, hide_short_help = true)]
    pub(crate) no_brake: bool,
    /// The configuration, in place of /etc/hasync/hasync.toml
    #[arg(long, value_name = "FILE", help_heading = NAMED, hide_short_help = true)]
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
        let ids = matches.ids().map(|id| id.as_str());
        let typed = ids.filter_map(|id| Some((last_index(matches, id)?, id)));
        let first = typed
            .filter(|(_, id)| !FREE.contains(id) && !lists::changes_nothing(id))
            .min();
        self.refused = first.map(|(_, id)| {
            let id = id
                .strip_prefix("no_")
                .filter(|id| *id != "fsync")
                .unwrap_or(id);
            match id {
                "devices_and_specials" => "-D".to_owned(),
                id => format!("--{}", id.replace('_', "-")),
            }
        });
    }
}

/// What a run with named trees may be told. Of everything else either the configuration decides,
/// so that all runs mirror the same, or a generation does not allow it.
const FREE: &[&str] = &[
    "operands",
    "tree",
    "all",
    "no_brake",
    "config",
    "max_delete",
    "checksum",
    "no_checksum",
    "dry_run",
    "verbose",
    "no_verbose",
    "quiet",
    "itemize_changes",
    "no_itemize_changes",
    "stats",
    "human_readable",
    "no_human_readable",
    "progress",
    "no_progress",
    "partial_progress",
    "info",
    "whole_file",
    "no_whole_file",
    "atomic",
    "timeout",
    "no_timeout",
    "compress",
    "no_compress",
    "compress_choice",
    "compress_level",
    "bwlimit",
    "no_bwlimit",
    "contimeout",
    "no_contimeout",
    "ipv4",
    "ipv6",
    "port",
    "identity",
    "ssh_config",
    "known_hosts",
    "remote_bin",
    "rsh",
];
