//! Comparing paths with what they were, and making the difference in staging.

use std::collections::{HashMap, HashSet};
use std::io;

use crate::change::{Commit, JudgedFirst, Link, Over, Tree, copy};
use crate::error::{Error, ErrorKind};
use crate::fs::{Assigned, Attrs, Listed, Root, is_absent, own_scope};
use crate::history::UndoneChange;
use crate::history::past::{Past, Was};
use crate::path::{RelPath, is_reserved};
use crate::source::stat_name;

/// What has to happen, directories before what is in them.
#[derive(Default)]
pub(super) struct Plan {
    steps: Vec<Step>,
    /// Names that keep the inode that they have, by device and inode.
    staying: HashMap<(u64, u64), RelPath>,
    /// How many names of an inode with several are among the paths now.
    seen: HashMap<(u64, u64), u32>,
}

struct Step {
    path: RelPath,
    what: What,
    /// In a directory that is made as well, and told with it.
    inside: bool,
}

#[expect(
    clippy::large_enum_variant,
    reason = "most steps are of the large kind"
)]
enum What {
    Remove,
    /// With the entry as it is, and as it was.
    SetAttrs(Attrs, Listed, Was, Listed),
    Make(Was, Listed),
}

/// A path that is still to be compared.
struct Ahead {
    path: RelPath,
    was: Option<Was>,
    /// There is nothing at present where it belongs.
    inside: bool,
}

impl Plan {
    /// Compares the paths, and everything below them, with what they were.
    pub(super) fn make(root: &Root, past: &mut Past<'_>, paths: &[RelPath]) -> Result<Self, Error> {
        let mut plan = Plan::default();
        let mut made = HashSet::new();
        for path in paths {
            let at = |e: io::Error| Error::file(format_args!("examine {}", root.shown(path)), &e);
            let inside = plan.make_above(root, past, path, &mut made)?;
            let before = plan.steps.len();
            let is_known = plan.compare(root, past, path, inside).map_err(at)?;
            if !is_known && plan.steps.len() == before {
                let shown = root.shown(path);
                let message = format!("{shown} is not there, and was not then");
                return Err(Error::new(ErrorKind::Usage, message));
            }
        }
        plan.spare_other_names();
        Ok(plan)
    }

    /// Directories above `path` that it needs and that are gone. Returns whether there are any.
    fn make_above(
        &mut self,
        root: &Root,
        past: &mut Past<'_>,
        path: &RelPath,
        made: &mut HashSet<RelPath>,
    ) -> Result<bool, Error> {
        let at = |e: io::Error| Error::file(format_args!("examine {}", root.shown(path)), &e);
        let was_there = match past.find(path) {
            Some(was) => past.stat(&was).map_err(at)?.is_some(),
            None => false,
        };
        let mut above = RelPath::root();
        let mut inside = false;
        for name in path
            .split()
            .map(|(dir, _)| dir)
            .unwrap_or_default()
            .components()
        {
            above = above.join(name);
            if made.contains(&above) {
                inside = true;
                continue;
            }
            let present = if inside {
                None
            } else {
                now(root, &above).map_err(at)?
            };
            match present {
                Some(listed) if listed.entry.is_dir() => continue,
                _ if !was_there => return Ok(true),
                Some(_) => {
                    let (shown, above) = (root.shown(path), root.shown(&above));
                    return Err(Error::new(
                        ErrorKind::Usage,
                        format!("{above} is not a directory now: undo that to bring {shown} back"),
                    ));
                }
                None => {}
            }
            if let Some(was) = past.find(&above)
                && let Some(listed) = past.stat(&was).map_err(at)?
            {
                self.add(&above, What::Make(was, listed), inside);
                made.insert(above.clone());
            }
            inside = true;
        }
        Ok(inside)
    }

    /// Compares `path` and everything below it. Returns whether it is, or was, there at all.
    fn compare(
        &mut self,
        root: &Root,
        past: &mut Past<'_>,
        path: &RelPath,
        inside: bool,
    ) -> io::Result<bool> {
        let mut is_known = false;
        let mut ahead = vec![Ahead {
            path: path.clone(),
            was: past.find(path),
            inside,
        }];
        while let Some(Ahead { path, was, inside }) = ahead.pop() {
            let now = if inside { None } else { now(root, &path)? };
            if let Some(now) = now.as_ref().filter(|now| has_names(now)) {
                *self.seen.entry((now.dev, now.ino)).or_default() += 1;
            }
            let then = match &was {
                Some(was) => past.stat(was)?,
                None => None,
            };
            is_known |= now.is_some() || then.is_some();
            let (Some(was), Some(then)) = (was, then) else {
                if now.is_some() {
                    self.add(&path, What::Remove, false);
                }
                continue;
            };
            if !then.entry.is_dir() {
                match now {
                    Some(now) if (now.dev, now.ino) == (then.dev, then.ino) => {
                        self.stay(&path, &now, was, then);
                    }
                    _ => self.add(&path, What::Make(was, then), inside),
                }
                continue;
            }
            let mut names = past.names(&was)?;
            let stays = now.filter(|now| now.entry.is_dir());
            let inside_new = stays.is_none();
            match stays {
                Some(now) => {
                    names.extend(crate::fs::names(&root.open_dir(&path)?)?);
                    names.retain(|name| !is_reserved(name));
                    self.stay(&path, &now, was.clone(), then);
                }
                None => self.add(&path, What::Make(was.clone(), then), inside),
            }
            // The last one in is the next one out.
            for name in names.into_iter().rev() {
                ahead.push(Ahead {
                    path: path.join(&name),
                    was: past.child(&was, &name),
                    inside: inside_new,
                });
            }
        }
        Ok(is_known)
    }

    /// The entry keeps its inode.
    fn stay(&mut self, path: &RelPath, now: &Listed, was: Was, then: Listed) {
        let attrs = attrs_to_set(now, &then);
        if !attrs.is_empty() {
            self.add(path, What::SetAttrs(attrs, now.clone(), was, then), false);
        } else if has_names(now) {
            self.staying.insert((now.dev, now.ino), path.clone());
        }
    }

    fn add(&mut self, path: &RelPath, what: What, inside: bool) {
        self.steps.push(Step {
            path: path.clone(),
            what,
            inside,
        });
    }

    /// An inode that has names elsewhere too does not change: the paths get one of their own.
    fn spare_other_names(&mut self) {
        let mut done = HashSet::new();
        let steps = std::mem::take(&mut self.steps);
        for mut step in steps {
            if let What::SetAttrs(attrs, now, was, then) = step.what {
                let id = (then.dev, then.ino);
                let is_whole = self.seen.get(&id).is_none_or(|seen| *seen == then.nlink);
                if has_names(&then) && !is_whole {
                    step.what = What::Make(was, then);
                } else if has_names(&then) && !done.insert(id) {
                    continue;
                } else {
                    if has_names(&then) {
                        self.staying.insert(id, step.path.clone());
                    }
                    step.what = What::SetAttrs(attrs, now, was, then);
                }
            }
            self.steps.push(step);
        }
    }

    /// Whether the paths are like that already.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The steps for people.
    pub(super) fn changes(&self) -> Vec<(UndoneChange, Vec<u8>)> {
        let outer = self.steps.iter().filter(|step| !step.inside);
        outer
            .map(|step| {
                let change = match step.what {
                    What::Remove => UndoneChange::Removed,
                    What::SetAttrs(..) => UndoneChange::Attributes,
                    What::Make(..) => UndoneChange::Restored,
                };
                (change, step.path.as_bytes().into_owned())
            })
            .collect()
    }

    /// Makes everything in staging, and says what is to be done with it.
    pub(super) fn stage(
        self,
        root: &Root,
        past: &mut Past<'_>,
        commit: &mut Commit,
    ) -> Result<(), Error> {
        let mut made = self.staying;
        let mut removals = Vec::new();
        for Step { path, what, .. } in self.steps {
            let Some((dir, name)) = path.split() else {
                continue;
            };
            let name = name.to_vec();
            match what {
                What::Remove => removals.push((dir, name)),
                What::SetAttrs(attrs, now, ..) => commit.set_attrs(&dir, &now, attrs)?,
                What::Make(was, then) => {
                    let id = (then.dev, then.ino);
                    if has_names(&then)
                        && let Some(first) = made.get(&id).cloned()
                    {
                        commit.link(Link {
                            first,
                            judged: JudgedFirst {
                                number: None,
                                file_type: then.entry.body.file_type(),
                                uid: None,
                            },
                            dir,
                            name,
                            over: OVER_ALL,
                        })?;
                        continue;
                    }
                    let staged = commit.stage_for(&dir)?;
                    let (is_dir, attrs) = (then.entry.is_dir(), then.attrs(own_scope()));
                    let mut now = attrs.clone();
                    if is_dir {
                        now.mtime = None;
                        now.mode = now.mode.map(|mode| match commit.needs_more(mode) {
                            true => mode | 0o700,
                            false => mode,
                        });
                    }
                    let at = |e: io::Error| {
                        let shown = root.shown(&path);
                        Error::file(format_args!("bring {shown} back; nothing was undone"), &e)
                    };
                    let from = past.place(&was).map_err(at)?;
                    copy(
                        (&*from.0, &*from.1),
                        &then,
                        &now,
                        &staged.stage,
                        &staged.name,
                    )
                    .map_err(at)?;
                    if has_names(&then) {
                        made.insert(id, path.clone());
                    }
                    if is_dir {
                        let made = RelPath::root().join(&staged.name);
                        let fd = staged.stage.open_dir(&made).map_err(at)?;
                        commit.place_dir(&staged, &fd, &path, &attrs, OVER_ALL)?;
                    } else {
                        commit.place(&staged, dir, name, OVER_ALL)?;
                    }
                }
            }
        }
        removals
            .into_iter()
            .try_for_each(|(dir, name)| commit.remove((dir, None), name, Tree::Any))
    }
}

/// Whatever is there gives way.
const OVER_ALL: Over = Over {
    tree: Tree::Any,
    len: 0,
};

/// What is at `path` now.
fn now(root: &Root, path: &RelPath) -> io::Result<Option<Listed>> {
    let (dir, name) = path.split().ok_or(io::ErrorKind::InvalidInput)?;
    match root
        .open_dir(&dir)
        .and_then(|dir| stat_name(dir, name, own_scope()))
    {
        Ok(listed) => Ok(Some(listed)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

fn has_names(listed: &Listed) -> bool {
    !listed.entry.is_dir() && listed.nlink > 1
}

/// What turns the metadata of `now` into that of `then`.
fn attrs_to_set(now: &Listed, then: &Listed) -> Attrs {
    let (now, then) = (&now.entry, &then.entry);
    let is_symlink = then.symlink_target().is_some();
    let owned = now.uid != then.uid || now.gid != then.gid;
    // A change of owner takes permission bits with it.
    let mode = (now.mode != then.mode || owned) && !is_symlink;
    let is_other = now.attributes != then.attributes;
    // And with it file capabilities.
    let attributes = is_other || owned && !then.attributes.is_empty();
    Attrs {
        uid: (now.uid != then.uid).then_some(then.uid),
        gid: (now.gid != then.gid).then_some(then.gid),
        mode: mode.then_some(then.mode),
        mtime: (now.mtime != then.mtime).then_some(then.mtime),
        atime: None,
        attributes: match attributes {
            true => Assigned::new(own_scope(), &then.attributes),
            false => None,
        },
    }
}
