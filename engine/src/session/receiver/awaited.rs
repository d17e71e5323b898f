//! What the receiver waits for. A sender that says that it has sent everything is not believed as
//! long as there is any of it: the tree would be taken for what it is not.

use super::Receiver;
use super::dirs::{DirState, Phase};
use crate::error::Error;
use crate::refusal::Refusal;

/// How much is outstanding, and what comes first.
struct Outstanding {
    count: usize,
    first: String,
}

impl Receiver {
    /// Refuses the end of the push as long as something is awaited. In a dry run no content is, and
    /// no new directory; a sender that only asks how the node stands announces none at all.
    pub(super) fn nothing_awaited(&self) -> Result<(), Error> {
        let outstanding = self.in_dirs().or_else(|| self.in_the_end()).or_else(|| {
            let real = || self.no_root().or_else(|| self.not_made());
            (!self.options.dry_run).then(real).flatten()
        });
        let Some(Outstanding { count, first }) = outstanding else {
            return Ok(());
        };
        Err(Error::peer(Refusal::Outstanding { count, first }))
    }

    /// Entries and content of directories that were announced.
    fn in_dirs(&self) -> Option<Outstanding> {
        let dry_run = self.options.dry_run;
        let awaited = |state: &DirState| match state.phase {
            Phase::Judged | Phase::Dropped if dry_run => 0,
            Phase::Judged | Phase::Dropped => state.wanted.len(),
            _ => state.wanted.len() + 1,
        };
        let count = self.dirs.iter().map(|(_, state)| awaited(state)).sum();
        let open = self.dirs.iter().filter(|(_, state)| awaited(state) > 0);
        let (_, state) = open.min_by_key(|&(dir, _)| dir)?;
        let first = match state.wanted.first() {
            Some(number) => {
                let at = state.position(number);
                let name = at.and_then(|at| state.entries.name(at)).unwrap_or_default();
                format!("the content of {}", self.shown(&state.path.join(&name)))
            }
            None if state.all_announced => {
                format!("the end of directory {}", self.shown(&state.path))
            }
            None => format!("the entries of directory {}", self.shown(&state.path)),
        };
        Some(Outstanding { count, first })
    }

    /// Content that was to come in the end.
    fn in_the_end(&self) -> Option<Outstanding> {
        let count = self.shelf.count();
        let first = "the content of hard-linked files".to_owned();
        (count > 0).then_some(Outstanding { count, first })
    }

    /// A push begins with the root.
    fn no_root(&self) -> Option<Outstanding> {
        (self.trail.next() == 0).then(|| Outstanding {
            count: 1,
            first: "the root directory".to_owned(),
        })
    }

    /// New directories whose entries never came. Under `-x` those in other new ones may be mount
    /// points, which are made empty.
    fn not_made(&self) -> Option<Outstanding> {
        let may_be_bare = self.options.one_file_system;
        let below = self.new_dirs.in_new().filter(|_| !may_be_bare);
        let lacking = self.lacking.iter().min_by_key(|&(dir, _)| dir);
        let first = lacking.map(|(_, path)| path);
        let first = first.or(below.as_ref().map(|(_, path)| path))?;
        let first = format!("the new directory {}", self.shown(first));
        let count = self.lacking.len() + below.map_or(0, |(count, _)| count);
        Some(Outstanding { count, first })
    }
}
