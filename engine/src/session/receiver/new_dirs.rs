//! Directories that the target lacks: announced as entries, then with their own entries, made in
//! staging and put in place one by one.

use super::announced::AnnouncedDirs;
use super::awaited::Outstanding;
use super::begun::Begun;
use super::dir::{Announced, New};
use super::held::ByDir;
use super::links::Links;
use super::site::Site;
use super::wanted::Wanted;
use crate::apply::{create_node, set_node_attrs};
use crate::entry::{Body, Entry};
use crate::error::Error;
use crate::path::RelPath;
use crate::refusal::Refusal;
use crate::session::place::path_below;
use crate::wire::{DirIndex, ToSender};

#[derive(Default)]
pub(super) struct NewDirs {
    /// Those that have been announced as entries and not been begun.
    announced: AnnouncedDirs,
    /// Those that the target lacks and the sender has not begun to send.
    lacking: ByDir<RelPath>,
    /// The last of these; nothing below it needs an answer.
    lacking_root: Option<RelPath>,
    /// The directories from a lacking one down to the one sent last.
    ancestors: Vec<(DirIndex, RelPath)>,
    /// The one whose content is coming.
    open: Option<DirIndex>,
}

impl NewDirs {
    /// Whether a directory is in one that the target lacks, of which nothing more is said.
    pub(super) fn is_within_lacking(&self, path: &RelPath) -> bool {
        let root = self.lacking_root.as_ref();
        root.is_some_and(|root| path.is_within(root))
    }

    /// The target has no such directory, and is not to get it.
    pub(super) fn leave_out(&mut self, path: RelPath) {
        self.lacking_root = Some(path);
    }

    /// The target has no such directory.
    pub(super) fn lacks(&mut self, site: &Site, dir: DirIndex, path: RelPath) -> Result<(), Error> {
        if site.door.is_real() {
            self.lacking.insert(dir, path.clone())?;
        }
        self.lacking_root = Some(path);
        site.say(&ToSender::Lacks { dir })
    }

    /// A directory is to be made in `dir`, which may be new itself.
    pub(super) fn add(&mut self, dir: &RelPath, entry: &Entry, in_new: bool) -> Result<(), Error> {
        self.announced.add(dir, entry, in_new)
    }

    /// The sender begins to send a directory.
    pub(super) fn open(
        &mut self,
        site: &mut Site,
        dir: DirIndex,
        parent: DirIndex,
        name: &[u8],
    ) -> Result<New, Error> {
        if self.open.replace(dir).is_some() {
            return Err(Error::peer(Refusal::NewDirInNewDir { dir }));
        }
        let path = match self.lacking.remove(dir) {
            Some(path) => {
                self.ancestors = vec![(dir, path.clone())];
                path
            }
            None => path_below(&mut self.ancestors, dir, parent, name)?,
        };
        let begun = self.begin(site, &path)?;
        let mut list = Announced::new(path);
        let passed_on = begun.as_ref().map(Begun::passes_on);
        list.inherited = passed_on.unwrap_or_default();
        let all_announced = false;
        Ok(New {
            list,
            all_announced,
            begun,
        })
    }

    /// The sender has sent all of it but for what comes later: it can be seen.
    pub(super) fn close(&mut self, site: &mut Site, dir: DirIndex, new: New) -> Result<(), Error> {
        self.open.take_if(|open| *open == dir);
        let New {
            list,
            all_announced,
            begun,
        } = new;
        if !all_announced {
            return Err(Error::peer(Refusal::NotAwaited { dir }));
        }
        let count = list.wanted.len();
        match begun {
            Some(_) if count > 0 => {
                let first = format!("content of directory {}", site.door.shown(&list.path));
                Err(Error::peer(Refusal::Outstanding { count, first }))
            }
            Some(begun) => begun.place(site, &list.path),
            None => Ok(()),
        }
    }

    /// Begins the directory at `path` as it was announced. `None` if that fails for it alone.
    pub(super) fn begin(
        &mut self,
        site: &mut Site,
        path: &RelPath,
    ) -> Result<Option<Begun>, Error> {
        match self.announced.take(path) {
            Some(entry) => Begun::make(site, path, &entry),
            None => vanished(site, path).map(|()| None),
        }
    }

    /// Another part of the entries of a directory: what has no content is made at once.
    pub(super) fn fill(
        &mut self,
        site: &mut Site,
        links: &mut Links,
        new: &mut New,
        first: usize,
    ) -> Result<(), Error> {
        let Some(begun) = &new.begun else {
            return Ok(());
        };
        let list = &mut new.list;
        let mut fresh = list.entries.walk_from(first);
        let mut numbers = u32::try_from(first).unwrap_or(u32::MAX)..;
        while let Some((entry, number)) = fresh.next().zip(numbers.next()) {
            if entry.link_to.is_some() {
                site.tell_lost_links(&list.path, entry)?;
                links.pend(site, &list.path, entry)?;
                continue;
            }
            match entry.body {
                Body::Unmirrored(_) | Body::Gone => {}
                Body::File { .. } => list.wanted.insert(number, Wanted::default()),
                Body::Dir | Body::Way => self.announced.add(&list.path, entry, true)?,
                _ => {
                    site.tell_lost(&list.path, entry)?;
                    let attrs = site
                        .rules
                        .made_attrs(&list.path, entry, None, list.inherited);
                    let (dir, name) = (&begun.fd, &entry.name);
                    let room = &site.door.real()?.room;
                    let made = room.with(|| create_node(dir, name, entry));
                    let set = || set_node_attrs(dir, name, entry, &attrs);
                    match made.map(|()| room.with(set)) {
                        Err(e) => site.failed("make", &list.path.join(name), &e)?,
                        Ok(Err(e)) => {
                            site.warn_of("set the metadata of", &list.path.join(name), &e)?;
                        }
                        Ok(Ok(())) => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes the directories that were announced and whose entries never came: mount points under
    /// `-x`, those that take the place of something else under `--existing`, and those that were
    /// here when they were compared.
    pub(super) fn make_bare(self, site: &mut Site) -> Result<(), Error> {
        let options = &site.rules.options;
        let may_be_bare = options.one_file_system || options.existing;
        self.announced.drain(|path, entry| {
            if !may_be_bare {
                vanished(site, path)?;
            }
            site.door.run()?;
            match Begun::make(site, path, entry)? {
                Some(begun) => begun.place(site, path),
                None => Ok(()),
            }
        })
    }

    /// New directories whose entries never came. Under `-x` those in other new ones may be mount
    /// points, which are made empty.
    pub(super) fn outstanding(&self, site: &Site) -> Option<Outstanding> {
        let may_be_bare = site.rules.options.one_file_system;
        let below = self.announced.in_new().filter(|_| !may_be_bare);
        let lacking = self.lacking.iter().min_by_key(|&(dir, _)| dir);
        let first = lacking.map(|(_, path)| path);
        let first = first.or(below.as_ref().map(|(_, path)| path))?;
        let first = format!("the new directory {}", site.door.shown(first));
        let count = self.lacking.len() + below.map_or(0, |(count, _)| count);
        Some(Outstanding { count, first })
    }
}

fn vanished(site: &mut Site, path: &RelPath) -> Result<(), Error> {
    let shown = site.door.shown(path);
    site.warn(format!(
        "directory {shown} vanished on the target while it was compared; push again"
    ))
}
