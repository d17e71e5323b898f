//! The only door through which entries of the target become visible, change or vanish. It owns the
//! staging and everything that is carried out; it knows files and names, and deliberately nothing
//! of generations, peers or what is kept of the past.
//!
//! [`op`] says what one change is, [`roll`] carries it out, with [`place`] for names, [`aside`] for
//! what leaves them, [`rights`] for the order in which rights change, and [`failed`] and
//! [`failures`] for what could not be done. [`commit`] feeds it for a push: a plain one as it goes,
//! an atomic one as a whole, which its `pending` lays over the tree until then; its `links` makes
//! hard links, its `metadata` sets that of what stays, and [`dirs`] is what directories get at the
//! end. [`copied`] finds what a list is about in a copy of its tree.
//! [`stage`] is where entries are made, and [`session`] one place for that. Recovery and undo feed
//! the same executor with the lists that were written down.
//!
//! The order of durable effects:
//! 1. an entry is complete in staging, content checked and metadata set, before its op is added;
//! 2. *atomic:* everything is staged; flush: that is on disk;
//! 3. *atomic:* the journal of all ops is on disk;
//! 4. directories lose the rights that they are to lose;
//! 5. ops are carried out in the order in which they were added, removals after everything else;
//! 6. directories get their times and gain their rights, children before parents, the root last;
//! 7. *all or nothing, and something failed:* the journal says on disk that it leads back; then the
//!    ops that lead back are carried out, 4 to 6 once more; nothing has changed;
//! 8. *atomic, and something failed:* the journal without that is on disk;
//! 9. flush, once for each mounted file system: that is on disk; *atomic:* so are backups outside
//!    of the target before 3;
//! 10. *atomic:* the head says so: from here on this is the generation;
//! 11. *atomic:* what was replaced goes to undo, or away; the journal with it;
//! 12. the push is acknowledged.
//!
//! Cut off before 3, nothing has happened but staging, which the next push removes. Cut off between
//! 3 and 10, the journal is carried out again from its beginning, the way that it says; a mixture
//! of old and new may be on disk until then, and nothing should read the tree. Cut off after 10,
//! what is left is 11.

mod aside;
mod commit;
mod copied;
mod copy;
mod dirs;
mod failed;
mod failures;
mod op;
mod place;
mod rights;
mod roll;
mod session;
mod stage;
#[cfg(test)]
mod tests;

pub(crate) use aside::take_away;
pub(crate) use commit::{Commit, Elsewhere, JudgedFirst, Link, Staged};
pub(crate) use copy::copy;
pub(crate) use failed::{Failed, Lines, Told, is_mount_point};
pub(crate) use failures::Failures;
pub(crate) use op::{Changes, Op, Ops, Over, SessionPlace, Slot, Tree, reversed};
pub(crate) use roll::{OnFailure, Roll};
pub(crate) use session::{lock_session, not_ours, open_stage, remove_if_empty, remove_session};
pub(crate) use stage::{Stage, clean_leftovers};
