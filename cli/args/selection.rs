//! The options that say what of the sources is pushed, and what symlinks stand for.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args};

use super::push::{CHOICE, WHAT, last_index};

/// What of the sources is pushed.
#[derive(Args, Clone, Debug)]
pub(crate) struct SelectionArgs {
    /// Only what FILE lists below SRC; - is stdin
    #[arg(long, value_name = "FILE", help_heading = CHOICE)]
    pub(crate) files_from: Option<PathBuf>,
    /// Names keep their paths, or what follows /./ in them
    #[arg(short = 'R', long, help_heading = CHOICE, hide_short_help = true)]
    pub(crate) relative: bool,
    /// Directories on the way to a name are not mirrored, only made
    #[arg(long, visible_alias = "no-i-d", help_heading = CHOICE, hide_short_help = true)]
    pub(crate) no_implied_dirs: bool,
    /// Directories without what is in them; with a slash at the end one level of it
    #[arg(short = 'd', long, help_heading = CHOICE, hide_short_help = true)]
    pub(crate) dirs: bool,
    /// Same as -r --exclude='/*/*'
    #[arg(long, visible_alias = "old-d", help_heading = CHOICE, hide_short_help = true)]
    pub(crate) old_dirs: bool,
    /// No directories without files
    #[arg(short = 'm', long, help_heading = CHOICE, hide_short_help = true)]
    pub(crate) prune_empty_dirs: bool,
    /// Remove from DST a SRC that is not there
    #[arg(long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) delete_missing_args: bool,
    /// Symlinks as what they lead to
    #[arg(short = 'L', long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) copy_links: bool,
    /// Symlinks to directories as directories
    #[arg(short = 'k', long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) copy_dirlinks: bool,
    /// Keep symlinks to directories in DST where SRC has directories
    #[arg(short = 'K', long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) keep_dirlinks: bool,
    /// Symlinks that may lead out of SRC as what they lead to
    #[arg(long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) copy_unsafe_links: bool,
    /// No symlinks that may lead out of SRC
    #[arg(long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) safe_links: bool,
}

/// Switches that a later `--no-` takes back, with the letters for which that works as well.
const SWITCHES: &[(&str, Option<&str>)] = &[
    ("relative", Some("R")),
    ("dirs", Some("d")),
    ("prune_empty_dirs", Some("m")),
    ("copy_links", Some("L")),
    ("copy_dirlinks", Some("k")),
    ("keep_dirlinks", Some("K")),
    ("copy_unsafe_links", None),
    ("safe_links", None),
];

/// What takes switches back.
pub(super) fn negations() -> Vec<Arg> {
    let plain = |id: String, long: String| {
        let arg = Arg::new(id).long(long);
        arg.action(ArgAction::SetTrue).hide(true)
    };
    let mut negations: Vec<Arg> = SWITCHES
        .iter()
        .map(|(id, letter)| {
            let arg = plain(format!("no_{id}"), format!("no-{}", id.replace('_', "-")));
            arg.aliases(letter.map(|letter| format!("no-{letter}")))
        })
        .collect();
    negations.push(plain("no_no_implied_dirs".into(), "implied-dirs".into()).alias("i-d"));
    negations
}

impl SelectionArgs {
    /// Lets the last word count. Returns whether `-r` counts, which `-a` does not mean where a list
    /// says what is pushed.
    pub(super) fn settle(&mut self, matches: &ArgMatches, recursive: bool) -> bool {
        let latest = |id: &str| last_index(matches, id);
        let is_on = |id: &str| latest(id) > latest(&format!("no_{id}"));
        let is_off = |id: &str| latest(&format!("no_{id}")) > latest(id);
        let has_list = self.files_from.is_some();
        self.relative = is_on("relative") || has_list && !is_off("relative");
        self.dirs = is_on("dirs") || has_list && !is_off("dirs");
        self.prune_empty_dirs = is_on("prune_empty_dirs");
        self.copy_links = is_on("copy_links");
        self.copy_dirlinks = is_on("copy_dirlinks");
        self.keep_dirlinks = is_on("keep_dirlinks");
        self.copy_unsafe_links = is_on("copy_unsafe_links");
        self.safe_links = is_on("safe_links");
        self.no_implied_dirs = latest("no_implied_dirs") > latest("no_no_implied_dirs");
        let explicit = latest("recursive") > latest("no_recursive");
        self.old_dirs || recursive && (explicit || !has_list)
    }
}
