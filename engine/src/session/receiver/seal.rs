//! The end of an atomic push: everything is staged, nothing is changed. From here on it is
//! `generation/durable.rs` that makes it so; this file says which generation it becomes, and what
//! the sender is told.

use super::Receiver;
use super::named::Named;
use crate::change::Op;
use crate::error::{Error, ErrorKind};
use crate::fail::fail_point;
use crate::generation::{GenerationId, Sealed, commit_staged, note_equal};
use crate::history::{Journal, Store, counts, prune};
use crate::refusal::Refusal;

impl Receiver {
    /// Commits what is staged, and tells the sender; `true`, the push is finished.
    pub(super) fn seal(&mut self) -> Result<bool, Error> {
        let journal = Journal::new(self.commit()?.seal()?);
        self.catch_up()?;
        self.forget_interrupted();
        match self.named.take() {
            None => self.seal_unnamed(journal)?,
            Some(named) => self.seal_named(named, journal)?,
        }
        Ok(true)
    }

    fn seal_unnamed(&mut self, mut journal: Journal) -> Result<(), Error> {
        if journal.ops.is_empty() {
            // What an earlier push changed may not be on disk yet.
            let durable = self.commit()?.finish()?;
            return self.done(durable, None);
        }
        let store = self.make_store(None)?;
        self.carry_out(&store, &mut journal)?;
        self.done(true, None)
    }

    fn seal_named(&mut self, named: Named, mut journal: Journal) -> Result<(), Error> {
        let mut held = named.hold(self.root.as_ref())?;
        let problems = self.problems.take();
        let equal = named.equal(&held, &problems);
        let unchanged = equal.as_ref().filter(|(_, is_news)| !is_news);
        let unchanged = unchanged.map(|(head, _)| head.clone());
        let store = match held.store.take() {
            Some(store) => store,
            None => self.make_store(Some(&named.tree.name))?,
        };
        if let Some((head, is_news)) = equal.filter(|_| journal.ops.is_empty()) {
            self.commit()?
                .stage()
                .remove()
                .map_err(|e| Error::file("remove the staging directory", &e))?;
            let as_of = named.as_of(&problems);
            note_equal(&store, &head, is_news, as_of)?;
            if is_news {
                named.received(&mut held, &head)?;
                fail_point("acknowledged");
            }
            drop(named);
            let sealed = Sealed {
                head,
                changed: false,
                as_of,
                pinned: false,
            };
            return self.done(true, Some(sealed));
        }
        journal.notes_lineage = unchanged.is_none();
        let takes = journal.ops.iter().any(replaces);
        journal.pinned = takes && (named.is_first || held.view().may_be_alone());
        journal.keep = named.tree.undo.keep > 0 || journal.pinned;
        let mut generation = named.generation(&held, counts(&journal.ops), problems)?;
        if takes && named.is_first {
            // What was there is no generation, and yet a state that can be gone back to.
            let unknown = GenerationId::random();
            generation.parent_state =
                Some(unknown.map_err(|e| Error::file("get random numbers", &e))?);
        }
        journal.generation = Some(generation);
        let is_made = self.carry_out(&store, &mut journal)?;
        let head = if is_made {
            journal.generation
        } else {
            unchanged
        };
        let Some(head) = head else {
            return Err(Error::new(
                ErrorKind::FileIo,
                "nothing of the push could be carried out",
            ));
        };
        if !is_made {
            let sealed = Sealed {
                head,
                changed: false,
                as_of: None,
                pinned: false,
            };
            drop(named);
            return self.done(true, Some(sealed));
        }
        named.received(&mut held, &head)?;
        fail_point("acknowledged");
        let sealed = Sealed {
            as_of: head.as_of,
            changed: true,
            pinned: journal.pinned,
            head,
        };
        let policy = named.tree.undo;
        // Whoever hears that the push is over may push or undo at once: that waits for the commit
        // lock at most.
        drop(named);
        self.done(true, Some(sealed))?;
        self.outbox.lock().flush()?;
        // The push has succeeded. What goes of the past can go after the next one as well.
        let _ = prune(&store, &policy);
        Ok(())
    }

    fn make_store(&self, tree: Option<&str>) -> Result<Store, Error> {
        let root = self.root.as_ref();
        let root = root.ok_or_else(|| Error::peer(Refusal::DryContent))?;
        Store::make(root, tree).map_err(|e| {
            Error::file(
                format_args!("make .hasync in {}", root.path().display()),
                &e,
            )
        })
    }

    /// Returns whether the generation was made.
    fn carry_out(&mut self, store: &Store, journal: &mut Journal) -> Result<bool, Error> {
        let done = commit_staged(store, journal, self.commit()?.stage())?;
        done.failed
            .into_iter()
            .try_for_each(|line| self.warn(line))?;
        Ok(done.made)
    }
}

/// Whether an op takes something away that was there.
fn replaces(op: &Op) -> bool {
    match op {
        Op::Place { old, .. } => old.is_some(),
        Op::Remove { .. } | Op::Replace { .. } | Op::Discard { .. } | Op::SetAttrs { .. } => true,
        Op::SetDirAttrs { .. } => false,
    }
}
