//! Undo of single paths: they become what they were in an earlier generation, and everything else
//! stays. What is kept is copied, not moved, so that the way back to every kept generation stays
//! open; the copies are committed like a push, as a generation that can itself be undone.
//!
//! A hard link between two of the paths' entries comes back as one. A name outside of the paths
//! keeps what it has, so an entry that was linked with it becomes one of its own.

mod plan;

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::journal::Journal;
use super::past::Past;
use super::undo::counts;
use super::undoing::{Undoing, Undone};
use crate::change::Commit;
use crate::error::{Error, ErrorKind};
use crate::fs::Root;
use crate::generation::durable::commit_staged;
use crate::generation::tree::{Tree, shown_path};
use crate::lineage::generation::GenerationId;
use crate::options::Options;
use crate::path::RelPath;

use plan::Plan;

impl Tree {
    /// Brings back what the paths, with everything below them, were in generation `wanted`, or,
    /// without one, before the head. It is a generation of its own, atomic, durable, and can itself
    /// be undone. `None` if they are like that already.
    ///
    /// The paths are below the root, or absolute and then in it.
    ///
    /// # Errors
    ///
    /// If the way back is not kept, if a path is not in the tree and was not, or if somebody else
    /// has changed it since: then nothing is undone.
    pub fn undo_paths(
        &self,
        wanted: Option<GenerationId>,
        paths: &[PathBuf],
        dry_run: bool,
    ) -> Result<Option<Undone>, Error> {
        let paths = self.parse_paths(paths)?;
        let concerns = |changed: &RelPath| {
            let mut paths = paths.iter();
            paths.any(|path| changed.is_within(path) || path.is_within(changed))
        };
        let (mut undoing, way_back) = Undoing::begin(self, wanted, concerns)?;
        let root = Arc::clone(undoing.store.root());
        let mut past = Past::new(&root, &way_back)
            .map_err(|e| Error::file("read what is kept for undo", &e))?;
        let plan = Plan::make(&root, &mut past, &paths)?;
        if plan.is_empty() {
            return Ok(None);
        }
        let changes = plan.changes();
        undoing.generation.state = undoing.generation.id;
        if dry_run {
            return Ok(Some(undoing.shown(changes)));
        }
        let mut commit = new_commit(&root);
        plan.stage(&root, &mut past, &mut commit)?;
        let mut journal = Journal::new(commit.seal()?);
        if let Some(line) = commit.take_warnings()?.iter().next() {
            let message = format!("{}; nothing was undone", line?);
            return Err(Error::new(ErrorKind::FileIo, message));
        }
        journal.keep = self.undo.keep > 0;
        undoing.generation.counts = counts(&journal.ops)?;
        let undone = undoing.commit(journal, changes, |store, journal| {
            commit_staged(store, journal, commit.stage())
        });
        undone.map(Some)
    }

    /// The paths below the root, none of them within another.
    pub(super) fn parse_paths(&self, paths: &[PathBuf]) -> Result<Vec<RelPath>, Error> {
        let mut parsed: Vec<RelPath> = Vec::new();
        for path in paths {
            parsed.push(self.parse_path(path)?);
        }
        parsed.sort_unstable();
        parsed.dedup();
        let all = parsed.clone();
        parsed.retain(|path| {
            let mut others = all.iter().filter(|other| *other != path);
            !others.any(|other| path.is_within(other))
        });
        Ok(parsed)
    }

    fn parse_path(&self, path: &Path) -> Result<RelPath, Error> {
        let refused = |why: &str| {
            let shown = shown_path(path);
            Error::new(ErrorKind::Usage, format!("--path {shown} {why}"))
        };
        let root = std::fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        let below = path
            .strip_prefix(&self.root)
            .or_else(|_| path.strip_prefix(&root))
            .unwrap_or(path);
        let mut parsed = RelPath::root();
        for component in below.components() {
            match component {
                Component::CurDir => {}
                Component::Normal(name) => {
                    let name = name.as_encoded_bytes();
                    let name = RelPath::parse(name).map_err(|e| refused(&format!("has {e}")))?;
                    parsed = parsed.join_path(&name);
                }
                _ => {
                    let root = shown_path(&self.root);
                    return Err(refused(&format!("is not in {root}")));
                }
            }
        }
        if parsed.is_root() {
            return Err(refused("is the whole tree: undo that without --path"));
        }
        Ok(parsed)
    }
}

fn new_commit(root: &Arc<Root>) -> Commit {
    let options = Options {
        atomic: true,
        ..Options::archive()
    };
    Commit::new(Arc::clone(root), &options)
}
