//! What the receiver waits for. A sender that says that it has sent everything is not believed as
//! long as there is any of it: the tree would be taken for what it is not.

use super::Receiver;
use crate::error::Error;
use crate::refusal::Refusal;

/// How much is outstanding, and what comes first.
pub(super) struct Outstanding {
    pub(super) count: usize,
    pub(super) first: String,
}

impl Receiver {
    /// Refuses the end of the push as long as something is awaited. In a dry run no content is, and
    /// no new directory; one may end before its root has been announced.
    pub(super) fn nothing_awaited(&self) -> Result<(), Error> {
        let is_real = self.site.door.is_real();
        let outstanding = self.in_dirs().or_else(|| self.in_the_end()).or_else(|| {
            let begins = || self.no_root().filter(|_| is_real);
            begins().or_else(|| self.new_dirs.outstanding(&self.site))
        });
        let Some(Outstanding { count, first }) = outstanding else {
            return Ok(());
        };
        Err(Error::peer(Refusal::Outstanding { count, first }))
    }

    /// Entries and content of directories that were announced.
    fn in_dirs(&self) -> Option<Outstanding> {
        let (count, first) = self.dirs.awaited();
        let first = first?.first_awaited(|path| self.site.door.shown(path));
        Some(Outstanding { count, first })
    }

    /// Content that was to come in the end.
    fn in_the_end(&self) -> Option<Outstanding> {
        let count = self.dirs.shelf.count();
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
}
