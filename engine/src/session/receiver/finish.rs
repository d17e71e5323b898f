//! The end of a push: what waited for everything else, deletions, the flush, the acknowledgement.

use std::collections::BTreeSet;

use super::pending_links::PendingLink;
use super::verdicts::deleted;
use super::{Receiver, Replacement};
use crate::change::{Commit, Link, Over};
use crate::delete::Doomed;
use crate::error::{Error, describe};
use crate::fs::Root;
use crate::generation::Sealed;
use crate::path::RelPath;
use crate::spill;
use crate::wire::ToSender;

/// A directory gives way, with everything that is in it.
const OVER_TREE: Over = Over { tree: true, len: 0 };

/// Directories in the way of hard links.
#[derive(Default)]
struct Ways {
    /// They give way.
    clear: BTreeSet<RelPath>,
    /// They had to, and could not.
    barred: BTreeSet<RelPath>,
}

impl Ways {
    fn barred(paths: impl Iterator<Item = RelPath>) -> Self {
        Ways {
            clear: BTreeSet::new(),
            barred: paths.collect(),
        }
    }
}

impl Receiver {
    /// Everything asked for has been sent and settled: finish the push, which is what `true` says.
    pub(super) fn content_done(&mut self, deletable: bool) -> Result<bool, Error> {
        self.nothing_awaited()?;
        self.catch_up()?;
        if self.commit.is_some() {
            self.make_bare_dirs()?;
            self.commit()?.run()?;
        }
        let ways = self.delete(deletable && !self.unread)?;
        spill::check()?;
        let Some(commit) = &self.commit else {
            self.done(false, None)?;
            return Ok(true);
        };
        let is_atomic = commit.is_atomic();
        self.link(&ways)?;
        spill::check()?;
        if is_atomic {
            return self.seal();
        }
        let durable = self.commit()?.finish()?;
        self.catch_up()?;
        self.done(durable, None)?;
        Ok(true)
    }

    pub(super) fn done(&self, durable: bool, sealed: Option<Sealed>) -> Result<(), Error> {
        let sealed = sealed.map(Box::new);
        self.say(&ToSender::Done { durable, sealed })
    }

    /// Removes what the source does not have, all or nothing as to `--max-delete`.
    fn delete(&mut self, deletable: bool) -> Result<Ways, Error> {
        let extraneous = std::mem::take(&mut self.extraneous);
        let in_the_way = std::mem::take(&mut self.in_the_way);
        let Some(root) = self.root.clone() else {
            return Ok(Ways::default());
        };
        if !deletable {
            self.brake_first(0, 0)?;
            if !in_the_way.is_empty() {
                self.say(&ToSender::DeletionsStopped { count: 0 })?;
            }
            for path in in_the_way.keys() {
                let shown = root.shown(path);
                self.warn(format!(
                    "did not replace the directory {shown}: not everything could be read"
                ))?;
            }
            return Ok(Ways::barred(in_the_way.into_keys()));
        }
        let mut doomed = extraneous.doom(&root, &self.filter);
        for path in in_the_way.keys() {
            doomed.add_contents(&root, path, &self.filter);
        }
        let (count, below) = (doomed.len(), doomed.below_len());
        self.brake_first(count, below)?;
        if self.brakes(count, below) {
            let line = format!("--max-delete stopped the removal of {count} entries");
            self.problems.borrow_mut().add_line(&line);
            self.say(&ToSender::DeletionsStopped { count })?;
            for path in in_the_way.keys() {
                let shown = root.shown(path);
                self.warn(format!(
                    "did not replace the directory {shown}: --max-delete"
                ))?;
            }
            return Ok(Ways::barred(in_the_way.into_keys()));
        }
        self.tell_doomed(&root, &doomed)?;
        let Some(commit) = &mut self.commit else {
            return Ok(Ways::default());
        };
        let mut walk = doomed.walk();
        while let Some((_, by_itself)) = walk.advance() {
            if let Some((dir, name)) = RelPath::of(walk.path()).split().filter(|_| by_itself) {
                commit.remove(dir, name.to_vec())?;
            }
        }
        drop(doomed);
        let mut ways = Ways::default();
        for (path, by) in in_the_way {
            match (by, path.split()) {
                (Replacement::Staged(staged), Some((dir, name))) => {
                    let name = name.to_vec();
                    self.commit()?.place(&staged, dir, name, OVER_TREE)?;
                }
                (Replacement::Link, _) => {
                    ways.clear.insert(path);
                }
                _ => {}
            }
        }
        self.commit()?.run()?;
        Ok(ways)
    }

    fn tell_doomed(&self, root: &Root, doomed: &Doomed) -> Result<(), Error> {
        let mut walk = doomed.walk();
        while let Some((kind, _)) = walk.advance() {
            self.say(&deleted(walk.path(), kind))?;
        }
        for path in &doomed.pinned {
            let path = path.as_bytes().into_owned();
            self.say(&ToSender::NotEmpty { path })?;
        }
        for path in &doomed.mounts {
            let shown = root.shown(path);
            self.warn(format!(
                "did not delete {shown} on the target: it is a mount point"
            ))?;
        }
        for (path, e) in &doomed.failed {
            let shown = root.shown(path);
            self.warn(format!(
                "cannot delete directory {shown} on the target: {}",
                describe(e)
            ))?;
        }
        Ok(())
    }

    /// Makes the hard links, now that what they point to is in place.
    fn link(&mut self, ways: &Ways) -> Result<(), Error> {
        let mut links = std::mem::take(&mut self.links);
        for PendingLink { first, dir, name } in links.walk() {
            let path = dir.join(&name);
            if ways.barred.contains(&path) {
                continue;
            }
            let over = match ways.clear.contains(&path) {
                true => OVER_TREE,
                false => Over::default(),
            };
            self.commit()?.link(Link {
                first,
                judged: None,
                dir,
                name,
                over,
            })?;
        }
        self.commit.as_mut().map_or(Ok(()), Commit::run)
    }
}
