//! What is done about a push that the peer refused because of the lineage: where the peer has
//! nothing that could be lost, this node goes above it, and the push can be tried again.

use std::ffi::OsString;

use super::Connection;
use crate::error::Error;
use crate::generation::{Reconcile, Reconciled, Tree, note_differing, reconcile, to_reconcile};
use crate::observer::{Change, Differences, Kind, Note, Observer, Warning};
use crate::options::Options;
use crate::policy::Wish;

impl Connection {
    /// Finds out whether the refusal of a push from here has to stand, which has just happened over
    /// another connection. Both sides may be read in full for that, once for each pair of heads.
    ///
    /// # Errors
    ///
    /// As [`compare_tree`](Self::compare_tree).
    pub fn reconcile(
        &mut self,
        sources: &[OsString],
        tree: &Tree,
        options: &Options,
    ) -> Result<Reconciled, Error> {
        let (_, peer, _) = self.ask(tree, Wish::Nothing)?;
        let decided = to_reconcile(tree, &peer)?;
        let heads = match decided {
            Reconcile::No => return Ok(Reconciled::No),
            Reconcile::Empty => return Ok(Reconciled::Empty),
            Reconcile::Rise => {
                let risen = reconcile(tree, &peer, decided)?;
                return Ok(risen.map_or(Reconciled::No, Reconciled::Risen));
            }
            Reconcile::Compare(here, there) => (here, there),
        };
        let options = Options {
            checksum: true,
            max_delete: None,
            ..options.clone()
        };
        let mut found = Found::default();
        let compared = self.compare_tree(sources, tree, &options, &mut found)?;
        if found.differs {
            note_differing(tree, &peer, heads)?;
            return Ok(Reconciled::No);
        }
        if found.is_unsure || compared.summary.partial || compared.summary.vanished {
            return Ok(Reconciled::No);
        }
        let equal = reconcile(tree, &compared.there, decided)?;
        Ok(equal.map_or(Reconciled::No, Reconciled::Equal))
    }
}

/// What a comparison has found.
#[derive(Default)]
struct Found {
    differs: bool,
    /// Something could not be compared.
    is_unsure: bool,
}

impl Observer for Found {
    fn change(&mut self, change: &Change<'_>) {
        let of_time = Differences {
            time: true,
            ..Differences::default()
        };
        // What goes from a directory and comes again, as `.hasync` does, leaves a time behind. The
        // push sets it.
        let is_trace = change.kind == Kind::Dir && change.differences == of_time;
        self.differs |= !is_trace;
    }

    fn warn(&mut self, _warning: &Warning) {
        self.is_unsure = true;
    }

    fn note(&mut self, note: &Note<'_>) {
        self.is_unsure |= matches!(note, Note::NotEmpty(_));
    }
}
