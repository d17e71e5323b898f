//! The tree as it was: what the way back would make of it, without going that way. An entry is
//! found where it lies now, in the tree or in what is kept, and stays there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::journal::Journal;
use crate::change::{Op, SessionPlace, Slot};
use crate::entry::Entry;
use crate::fs::{Attrs, Listed, Root, is_absent, names, numbers_hold, open_dir_below, own_scope};
use crate::path::{RelPath, is_reserved};
use crate::source::stat_name;

/// An earlier state of a tree.
pub(super) struct Past<'a> {
    root: &'a Root,
    sessions: Vec<OwnedFd>,
    /// Where something was moved from or to, and the directories above. The first is the root of
    /// the tree, the next ones are the sessions.
    nodes: Vec<Node>,
    /// Metadata that entries had then, by device and inode.
    attrs: HashMap<(u64, u64), Attrs>,
    /// Entries are asked for directory by directory.
    held_dir: Option<(Space, RelPath, Arc<OwnedFd>)>,
}

/// Position of the tree's root or of a session's among the nodes.
type Space = usize;

const TREE: Space = 0;

/// Where an entry of the past is now, if it was there at all.
#[derive(Clone, Debug)]
pub(super) struct Was {
    space: Space,
    path: RelPath,
    /// Its node, if it or something in it was moved.
    node: Option<usize>,
}

struct Node {
    space: Space,
    path: RelPath,
    /// Names below it that stand for something else than they do on disk, or for nothing.
    moved: BTreeMap<Vec<u8>, Option<usize>>,
}

impl<'a> Past<'a> {
    /// The state that `way_back` leads to.
    pub(super) fn new(root: &'a Root, way_back: &Journal) -> io::Result<Self> {
        let open = |place: &SessionPlace| {
            root.open_reserved(&place.holder, &place.within.join(&place.name))
        };
        let sessions = way_back
            .sessions
            .iter()
            .map(open)
            .collect::<io::Result<_>>()?;
        let node = |space| Node {
            space,
            path: RelPath::root(),
            moved: BTreeMap::new(),
        };
        let mut past = Past {
            root,
            sessions,
            nodes: (0..=way_back.sessions.len()).map(node).collect(),
            attrs: HashMap::new(),
            held_dir: None,
        };
        for op in way_back.ops.iter() {
            past.play(&op.map_err(io::Error::other)?)?;
        }
        Ok(past)
    }

    /// What was at `path`, if its directory was there.
    pub(super) fn find(&self, path: &RelPath) -> Option<Was> {
        let root = Was {
            space: TREE,
            path: RelPath::root(),
            node: Some(TREE),
        };
        path.components()
            .try_fold(root, |was, name| self.child(&was, name))
    }

    /// What had this name in a directory; nothing may have had.
    pub(super) fn child(&self, dir: &Was, name: &[u8]) -> Option<Was> {
        let node = dir.node.and_then(|node| self.nodes.get(node));
        match node.and_then(|node| node.moved.get(name)) {
            Some(None) => None,
            Some(Some(moved)) => self.nodes.get(*moved).map(|node| Was {
                space: node.space,
                path: node.path.clone(),
                node: Some(*moved),
            }),
            None => Some(Was {
                space: dir.space,
                path: dir.path.join(name),
                node: None,
            }),
        }
    }

    /// The entry with the metadata that it had; `None` if there was none.
    pub(super) fn stat(&mut self, was: &Was) -> io::Result<Option<Listed>> {
        let mut listed = self.stat_now(was)?;
        if let Some(listed) = &mut listed
            && let Some(attrs) = self.attrs.get(&(listed.dev, listed.ino))
        {
            let entry: &mut Entry = &mut listed.entry;
            entry.uid = attrs.uid.unwrap_or(entry.uid);
            entry.gid = attrs.gid.unwrap_or(entry.gid);
            entry.mode = attrs.mode.unwrap_or(entry.mode);
            entry.mtime = attrs.mtime.unwrap_or(entry.mtime);
            if let Some(assigned) = &attrs.attributes {
                entry.attributes = assigned.put_into(&entry.attributes)?;
            }
        }
        Ok(listed)
    }

    /// The names that a directory held, sorted.
    pub(super) fn names(&mut self, dir: &Was) -> io::Result<BTreeSet<Vec<u8>>> {
        let fd = self.open(dir.space, &dir.path)?;
        let mut found: BTreeSet<Vec<u8>> = names(&fd)?.into_iter().collect();
        found.retain(|name| !is_reserved(name));
        if let Some(node) = dir.node.and_then(|node| self.nodes.get(node)) {
            for (name, moved) in &node.moved {
                match moved {
                    Some(_) => found.insert(name.clone()),
                    None => found.remove(name),
                };
            }
        }
        Ok(found)
    }

    /// The directory that holds the entry now, and its name there.
    pub(super) fn place(&mut self, was: &Was) -> io::Result<(Arc<OwnedFd>, Vec<u8>)> {
        let (dir, name) = was.path.split().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.open(was.space, &dir)?, name.to_vec()))
    }

    fn stat_now(&mut self, was: &Was) -> io::Result<Option<Listed>> {
        let listed = match was.path.split() {
            Some((dir, name)) => self
                .open(was.space, &dir)
                .and_then(|dir| stat_name(&dir, name, own_scope())),
            None => self
                .open(was.space, &was.path)
                .and_then(|dir| stat_name(&dir, b".", own_scope())),
        };
        match listed {
            Ok(listed) => Ok(Some(listed)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn open(&mut self, space: Space, dir: &RelPath) -> io::Result<Arc<OwnedFd>> {
        if let Some((held_space, held, fd)) = &self.held_dir
            && *held_space == space
            && held == dir
        {
            return Ok(Arc::clone(fd));
        }
        let fd = Arc::new(match space.checked_sub(1) {
            None => self.root.open_dir(dir)?,
            Some(session) => {
                let session = self.sessions.get(session);
                open_dir_below(session.ok_or(io::ErrorKind::InvalidData)?, dir)?
            }
        });
        self.held_dir = Some((space, dir.clone(), Arc::clone(&fd)));
        Ok(fd)
    }

    /// Notes what an op would do.
    fn play(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::Place {
                dir,
                name,
                slot,
                old,
                ..
            } => self.exchange(dir, name, slot, old.is_some(), true),
            Op::Remove {
                dir, name, slot, ..
            } => self.exchange(dir, name, slot, true, false),
            Op::SetAttrs {
                dir,
                name,
                inode,
                new,
                ..
            } => {
                let was = self.find(&dir.join(name));
                let holds = inode.is_numbered() && numbers_hold(self.root);
                self.set_attrs(was, holds.then_some(inode.number), new)
            }
            Op::SetDirAttrs { dir, new, .. } => {
                let was = self.find(dir);
                self.set_attrs(was, None, new)
            }
            // Nothing of what they replace is kept, so none leads back.
            Op::Replace { .. } | Op::Discard { .. } => Ok(()),
        }
    }

    fn exchange(
        &mut self,
        dir: &RelPath,
        name: &[u8],
        slot: &Slot,
        in_dir: bool,
        in_slot: bool,
    ) -> io::Result<()> {
        let (slots, slot_name) = slot.path.split().ok_or(io::ErrorKind::InvalidData)?;
        let slots = self.node(slot.session as usize + 1, &slots);
        let (Some(dir), Some(slots)) = (self.node(TREE, dir), slots) else {
            // Nor could it be carried out.
            return Ok(());
        };
        let from_dir = in_dir.then(|| self.below(dir, name)).flatten();
        let from_slot = in_slot.then(|| self.below(slots, slot_name)).flatten();
        for (node, name, moved) in [(dir, name, from_slot), (slots, slot_name, from_dir)] {
            if let Some(node) = self.nodes.get_mut(node) {
                node.moved.insert(name.to_vec(), moved);
            }
        }
        Ok(())
    }

    fn set_attrs(&mut self, was: Option<Was>, ino: Option<u64>, new: &Attrs) -> io::Result<()> {
        let listed = match was {
            Some(was) => self.stat_now(&was)?,
            None => None,
        };
        if let Some(listed) = listed.filter(|listed| ino.is_none_or(|ino| ino == listed.ino)) {
            let attrs = self.attrs.entry((listed.dev, listed.ino)).or_default();
            attrs.uid = new.uid.or(attrs.uid);
            attrs.gid = new.gid.or(attrs.gid);
            attrs.mode = new.mode.or(attrs.mode);
            attrs.mtime = new.mtime.or(attrs.mtime);
            attrs.atime = new.atime.or(attrs.atime);
            attrs.attributes = match (&new.attributes, attrs.attributes.take()) {
                (Some(new), Some(old)) => Some(Box::new(new.after(&old)?)),
                (new, old) => new.clone().or(old),
            };
        }
        Ok(())
    }

    /// The node of a directory; `None` if there was none.
    fn node(&mut self, space: Space, dir: &RelPath) -> Option<usize> {
        dir.components()
            .try_fold(space, |node, name| self.below(node, name))
    }

    /// The node of a name in a directory that has one; `None` if the name stood for nothing.
    fn below(&mut self, dir: usize, name: &[u8]) -> Option<usize> {
        let next = self.nodes.len();
        let node = self.nodes.get_mut(dir)?;
        if let Some(moved) = node.moved.get(name) {
            return *moved;
        }
        node.moved.insert(name.to_vec(), Some(next));
        let new = Node {
            space: node.space,
            path: node.path.join(name),
            moved: BTreeMap::new(),
        };
        self.nodes.push(new);
        Some(next)
    }
}
