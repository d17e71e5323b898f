//! The end of an atomic push: everything is staged, nothing is changed. From here on it is
//! `generation/durable.rs` that makes it so; this file says which generation it becomes, and what
//! the sender is told.

use super::Receiver;
use super::named::Named;
use crate::error::{Error, ErrorKind};
use crate::fail::fail_point;
use crate::generation::{Generation, Sealed, commit_staged};
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
        let (mut held, data) = named.hold(self.root.as_ref())?;
        let problems = self.problems.take();
        // What a former primary's data is stands apart from it, until even an equal push notes it
        // beside the data.
        let own = held.node.own_head(data.as_ref());
        let is_noted = |data: &&Generation| {
            own.as_ref().is_some_and(|own| own.id == data.id) && named.leads_from(data.id)
        };
        let noted = data.as_ref().filter(is_noted);
        if let Some(head) = noted.filter(|_| journal.ops.is_empty()) {
            self.commit()?
                .stage()
                .remove()
                .map_err(|e| Error::file("remove the staging directory", &e))?;
            let as_of = named.as_of(&problems);
            if let (Some(as_of), Some(store)) = (as_of, &held.store) {
                store
                    .set_as_of(head.id, as_of)
                    .map_err(|e| Error::file("record that the tree is equal", &e))?;
            }
            let sealed = Sealed {
                head: head.clone(),
                changed: false,
                as_of,
                pinned: false,
            };
            drop(named);
            return self.done(true, Some(sealed));
        }
        let store = match held.store.take() {
            Some(store) => store,
            None => self.make_store(Some(&named.tree.name))?,
        };
        journal.notes_lineage = noted.is_none();
        journal.pinned = !journal.ops.is_empty() && held.node.may_be_alone(data.as_ref());
        journal.keep = named.tree.undo.keep > 0 || journal.pinned;
        let generation = named.generation(own.as_ref(), counts(&journal.ops), problems)?;
        journal.generation = Some(generation);
        let is_made = self.carry_out(&store, &mut journal)?;
        let head = if is_made { journal.generation } else { data };
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
        held.node.received(&head)?;
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
