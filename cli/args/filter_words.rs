//! The filter options as typed. Their order decides, across all of them, and clap keeps
//! each apart: here they are put into one row.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, ArgMatches, Args};

use super::push::{CHOICE, WHAT};

/// What is left out.
#[derive(Args, Clone, Debug)]
pub(crate) struct FilterArgs {
    /// Leave out what matches PATTERN
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append)]
    #[arg(allow_hyphen_values = true, help_heading = CHOICE)]
    exclude: Vec<OsString>,
    /// Keep it, whatever a later --exclude says
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append)]
    #[arg(allow_hyphen_values = true, help_heading = CHOICE)]
    include: Vec<OsString>,
    /// Add a rule: - + H S P R PATTERN, . FILE, : FILE in each directory, or ! to forget all before
    #[arg(short = 'f', long, value_name = "RULE", action = ArgAction::Append)]
    #[arg(allow_hyphen_values = true, help_heading = CHOICE, hide_short_help = true)]
    filter: Vec<OsString>,
    /// Look for rules in the files .rsync-filter; -FF leaves these out themselves
    #[arg(short = 'F', action = ArgAction::Append, num_args = 0)]
    #[arg(default_missing_value = ".rsync-filter", help_heading = CHOICE, hide_short_help = true)]
    per_dir: Vec<OsString>,
    /// Leave out what CVS does, and what the files .cvsignore say
    #[arg(short = 'C', long, help_heading = CHOICE, hide_short_help = true)]
    pub(crate) cvs_exclude: bool,
    /// Zero bytes end what is read from files of patterns
    #[arg(short = '0', long, help_heading = CHOICE, hide_short_help = true)]
    pub(crate) from0: bool,
    /// Remove what is left out too
    #[arg(long, help_heading = WHAT, hide_short_help = true)]
    pub(crate) delete_excluded: bool,
    /// Read exclude patterns from FILE, one a line; - is stdin
    #[arg(long, value_name = "FILE", action = ArgAction::Append, help_heading = CHOICE)]
    #[arg(hide_short_help = true)]
    exclude_from: Vec<PathBuf>,
    /// Read include patterns from FILE, one a line; - is stdin
    #[arg(long, value_name = "FILE", action = ArgAction::Append, help_heading = CHOICE)]
    #[arg(hide_short_help = true)]
    include_from: Vec<PathBuf>,
    /// All but the switches, in the order in which they were typed.
    #[arg(skip)]
    pub(crate) words: Vec<FilterWord>,
}

impl FilterArgs {
    /// Takes the words together; `on` tells whether a switch is.
    pub(super) fn settle(&mut self, matches: &ArgMatches, on: impl Fn(&str) -> bool) {
        self.cvs_exclude = on("cvs_exclude");
        self.from0 = on("from0");
        self.words = in_order(matches);
    }
}

/// One filter option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FilterWord {
    /// `--exclude PATTERN`
    Exclude(OsString),
    /// `--include PATTERN`
    Include(OsString),
    /// `--filter RULE`
    Filter(OsString),
    /// `-F`: the files `.rsync-filter`, and the second time without themselves.
    PerDir,
    /// `--exclude-from FILE`
    ExcludeFrom(PathBuf),
    /// `--include-from FILE`
    IncludeFrom(PathBuf),
}

/// All that were typed, in their order.
fn in_order(matches: &ArgMatches) -> Vec<FilterWord> {
    let typed = |id: &str, word: fn(OsString) -> FilterWord| {
        let indices = matches.indices_of(id).into_iter().flatten();
        let values = matches.get_raw(id).into_iter().flatten();
        indices
            .zip(values.map(|value| word(value.to_owned())))
            .collect::<Vec<_>>()
    };
    let mut filters = typed("exclude", FilterWord::Exclude);
    filters.extend(typed("include", FilterWord::Include));
    filters.extend(typed("filter", FilterWord::Filter));
    filters.extend(typed("per_dir", |_| FilterWord::PerDir));
    filters.extend(typed("exclude_from", |file| {
        FilterWord::ExcludeFrom(file.into())
    }));
    filters.extend(typed("include_from", |file| {
        FilterWord::IncludeFrom(file.into())
    }));
    filters.sort_by_key(|(index, _)| *index);
    filters.into_iter().map(|(_, word)| word).collect()
}
