//! The filter options as typed. Their order decides, across all of them, and clap keeps
//! each apart: here they are put into one row.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;

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
pub(super) fn in_order(matches: &ArgMatches) -> Vec<FilterWord> {
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
