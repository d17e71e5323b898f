//! Judging entries that differ, and making at once what needs no content.

use rustix::fs::{AtFlags, unlinkat};

use super::content::file_entry;
use super::dirs::{DirState, Phase};
use super::local::Recalled;
use super::told::Told;
use super::wanted::Wanted;
use super::{Receiver, Replacement, ends_push};
use crate::apply::{create_file, create_node};
use crate::change::{Over, Staged};
use crate::compare::{Decision, LinkState, Replaced};
use crate::delete::Doomed;
use crate::entries::EntryList;
use crate::entry::{Body, Entry};
use crate::error::Error;
use crate::fs::{Attrs, Listed, can_hold};
use crate::observer::{Action, Differences, Kind};
use crate::path::RelPath;
use crate::refusal::Refusal;
use crate::session::SIGNATURE_LEN_MIN;
use crate::session::bases::Job;
use crate::session::{prefix, prints};
use crate::source::{open_file, stat_name, sum_file};
use crate::wire::{DirIndex, ToSender, Verdict, Want};

/// Directories with entries that one push replaces by something else.
const IN_THE_WAY_MAX: usize = 1 << 16;

/// A file that may be too long for where it belongs has more bytes than this.
const LEN_ASKED_MIN: u64 = i32::MAX as u64;

impl Receiver {
    /// Judges the root itself; the answer is a verdict on entry 0 of directory 0.
    pub(super) fn root_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        if self.trail.next() > 0 {
            return Err(Error::peer(Refusal::LateRootEntry));
        }
        entry.check().map_err(Error::peer)?;
        let local = self.root_listed().filter(|_| !self.created_root);
        let decision = self
            .judge()
            .decide(&self.ids, entry, local.as_ref(), LinkState::NotLinked);
        let verdict = match decision {
            Decision::SetAttrs { differences, attrs } => {
                self.set_root_attrs(attrs)?;
                Some((Action::Attributes, differences))
            }
            Decision::Make {
                action,
                differences,
            } => {
                let attrs = self.judge().made_attrs(&self.ids, entry, None, None);
                self.set_root_attrs(attrs)?;
                Some((action, differences))
            }
            Decision::Keep | Decision::KeepNewer => None,
        };
        let verdicts = verdict.map(|(action, differences)| Verdict {
            entry: 0,
            action,
            differences,
            want: Want::Nothing,
        });
        let verdicts = verdicts.into_iter().collect();
        self.say(&ToSender::Verdicts {
            dir: 0,
            verdicts,
            last: true,
        })
    }

    fn set_root_attrs(&mut self, attrs: Attrs) -> Result<(), Error> {
        let Some(commit) = &mut self.commit else {
            return Ok(());
        };
        commit.set_root_attrs(attrs)
    }

    /// The entries that differ in a directory both sides have.
    pub(super) fn entries(
        &mut self,
        dir: DirIndex,
        entries: Vec<Entry>,
        last: bool,
        unmatched: &[u32],
        matched: [u8; 8],
    ) -> Result<(), Error> {
        let mut state = self.dirs.remove(dir).ok_or_else(|| not_awaited(dir))?;
        self.toll.announced(&entries);
        state.announce(dir, entries, last, self.fields.powers)?;
        state.unmatched.extend(unmatched);
        if !last {
            self.dirs.insert(dir, state)?;
            return Ok(());
        }
        let mut told = Told::new(dir);
        match std::mem::replace(&mut state.phase, Phase::Judged) {
            Phase::Differs {
                local,
                complete,
                full,
            } => {
                if let Some(recalled) = self.recall(&state.path, local)? {
                    let Recalled { local, changed } = recalled;
                    // Otherwise some that differ share a print.
                    let is_told = full
                        || self.total_without(&state.path, &local, &state.unmatched) == matched;
                    if changed || !is_told {
                        return self.ask_again(dir, state.path, local, complete);
                    }
                    self.judge_dir(dir, &mut state, local, complete, &mut told)?;
                }
            }
            Phase::Resumed => self.resume_dir(dir, &mut state, &mut told)?,
            Phase::Failed => {}
            Phase::Judged | Phase::New { .. } | Phase::Dropped => return Err(not_awaited(dir)),
        }
        for entry in self.end_of_verdicts(told)? {
            let wanted = file_entry(&state, dir, entry)?;
            let basis = state.wanted.known(entry);
            let basis = basis.and_then(|wanted| wanted.basis.as_ref()?.try_clone().ok());
            let job = Job {
                file: (dir, entry),
                path: state.path.join(&wanted.name),
                basis,
                result_len: wanted.len(),
            };
            if let Some(bases) = &self.bases {
                bases.describe(job)?;
            }
        }
        if !state.wanted.is_empty() {
            state.keep_wanted();
            self.dirs.insert(dir, state)?;
        }
        Ok(())
    }

    /// Says the prints of a directory once more, in full.
    fn ask_again(
        &mut self,
        dir: DirIndex,
        path: RelPath,
        local: EntryList,
        complete: bool,
    ) -> Result<(), Error> {
        self.say_prints((dir, &path), &local, prints::FULL_LEN)?;
        let phase = Phase::Differs {
            local: self.hold(local),
            complete,
            full: true,
        };
        self.dirs.insert(dir, DirState::new(path, phase))?;
        Ok(())
    }

    pub(super) fn judge_dir(
        &mut self,
        dir: DirIndex,
        state: &mut DirState,
        mut local: EntryList,
        complete: bool,
        told: &mut Told,
    ) -> Result<(), Error> {
        state.inherited_gid = self.inherited_gid(&state.path)?;
        let unmatched = std::mem::take(&mut state.unmatched);
        local
            .keep(&unmatched)
            .map_err(|print| Error::peer(Refusal::Unmatched { dir, print }))?;
        drop(unmatched);
        let mut counterparts = vec![false; local.len()];
        let entries = std::mem::take(&mut state.entries);
        let (mut walk, mut numbers) = (entries.walk(), 0_u32..);
        let mut finder = local.finder();
        while let Some((entry, number)) = walk.next().zip(numbers.next()) {
            let at = finder.find(entry);
            if let Some(found) = at.and_then(|at| counterparts.get_mut(at)) {
                *found = true;
            }
            let local = at
                .and_then(|at| local.get_listed(at))
                .or_else(|| self.hidden(&state.path, entry));
            if let Some(verdict) = self.judge_entry(state, number, entry, local.as_ref())? {
                self.tell(told, verdict)?;
            }
        }
        drop((walk, finder));
        state.entries = entries;
        let deletes = self.options.delete && complete && self.may_delete_in(&state.path);
        local.retain(|at| deletes && counterparts.get(at) == Some(&false));
        let stuck = std::mem::take(&mut state.stuck);
        self.extraneous.add((dir, &state.path), &stuck, &local);
        Ok(())
    }

    /// Under `-x`, deletions stay on the file system of the target root.
    fn may_delete_in(&self, dir: &RelPath) -> bool {
        let dev = |dir: &RelPath| {
            let fd = self.root.as_ref()?.open_dir(dir).ok()?;
            Some(rustix::fs::fstat(fd).ok()?.st_dev)
        };
        !self.options.one_file_system || dev(dir) == dev(&RelPath::root())
    }

    /// What stands in the way of an entry although the filters leave it out of the mirror: they
    /// may exclude directories alone, as `name/` does.
    fn hidden(&self, dir: &RelPath, entry: &Entry) -> Option<Listed> {
        if self.filter.is_empty() {
            return None;
        }
        let path = dir.join(&entry.name);
        if !self.filter.is_excluded(&path.as_bytes(), !entry.is_dir()) {
            return None;
        }
        let dir = self.root.as_ref()?.open_dir(dir).ok()?;
        let found = stat_name(dir, &entry.name).ok()?;
        (found.entry.is_dir() != entry.is_dir()).then_some(found)
    }

    fn judge_entry(
        &mut self,
        state: &mut DirState,
        number: u32,
        entry: &Entry,
        local: Option<&Listed>,
    ) -> Result<Option<Verdict>, Error> {
        let path = state.path.join(&entry.name);
        let found = self.as_found(&path, entry);
        let entry = found.as_ref().unwrap_or(entry);
        let summed = local.and_then(|local| self.sum_if_asked(&state.path, entry, local));
        let local = summed.as_ref().or(local);
        let link = self.link_state(entry, local)?;
        let judge = self.judge_in(&state.path);
        let decision = judge.decide(&self.ids, entry, local, link);
        let verdict = |action, differences, want| {
            Ok(Some(Verdict {
                entry: number,
                action,
                differences,
                want,
            }))
        };
        match decision {
            Decision::Keep => Ok(None),
            Decision::KeepNewer => {
                if self.options.hard_links {
                    self.unlinkable.insert(&path.as_bytes(), b"");
                }
                verdict(Action::KeepNewer, Differences::default(), Want::Nothing)
            }
            Decision::SetAttrs { differences, attrs } => {
                if let (Some(local), Some(commit)) = (local, &mut self.commit) {
                    commit.set_attrs(&state.path, local, attrs)?;
                }
                verdict(Action::Attributes, differences, Want::Nothing)
            }
            Decision::Make {
                action,
                differences,
            } => {
                let is_dir = |listed: &Listed| listed.entry.is_dir();
                let mut in_the_way = false;
                if local.is_some_and(is_dir) && !entry.is_dir() {
                    match self.may_replace_dir(state, &path)? {
                        Replace::Refused => return Ok(None),
                        Replace::AtOnce => {}
                        Replace::WithDeletions => in_the_way = true,
                    }
                }
                if self.is_too_long(&state.path, entry)? {
                    return Ok(None);
                }
                if let Some(local) = local {
                    self.toll.replaces(&local.entry);
                }
                let replaced = local.map(Replaced::from);
                let want = self.make(state, number, entry, replaced, action, in_the_way)?;
                // Whether the directory can go is known when everything has been compared.
                let action = if in_the_way { Action::Delete } else { action };
                verdict(action, differences, want)
            }
        }
    }

    /// Whether a file is longer than any can be where it belongs, which is said: then its content
    /// need not be read. What the file system of the root can hold, the sender knows.
    fn is_too_long(&mut self, dir: &RelPath, entry: &Entry) -> Result<bool, Error> {
        let len = entry.len();
        let Some(commit) = self.commit.as_mut().filter(|_| len > LEN_ASKED_MIN) else {
            return Ok(false);
        };
        let staged = match commit.stage_for(dir) {
            Err(e) if ends_push(&e) => return Err(e),
            // The same comes again when it is staged.
            Err(_) => return Ok(false),
            Ok(staged) => staged,
        };
        let Ok(file) = create_file(&*staged.stage, &staged.name, 0o600) else {
            return Ok(false);
        };
        let _ = unlinkat(&*staged.stage, &*staged.name, AtFlags::empty());
        let holds = can_hold(&file, len);
        if !holds {
            let shown = self.shown(&dir.join(&entry.name));
            self.warn(format!(
                "cannot make {shown} on the target: it has {len} bytes, more than a file can have \
                 there; it stays as it is"
            ))?;
        }
        Ok(!holds)
    }

    /// A file with the sum of its content, if the sender asks for that and it passes the quick
    /// check.
    fn sum_if_asked(&self, dir: &RelPath, entry: &Entry, local: &Listed) -> Option<Listed> {
        let fields = self.fields.at(dir);
        let stored = |entry: &Entry| fields.of(entry).keeps.time_store.stored(entry.mtime);
        let is_asked = matches!(entry.body, Body::File { sum: Some(_), .. })
            && !self.options.checksum
            && entry.len() == local.entry.len()
            && stored(entry) == stored(&local.entry);
        let mut summed = is_asked.then(|| local.clone())?;
        if let Body::File { sum, .. } = &mut summed.entry.body
            && let Some(root) = &self.root
        {
            // Unreadable counts as different: it is replaced.
            *sum = root
                .open_dir(dir)
                .and_then(|dir| open_file(&dir, &entry.name))
                .and_then(|file| sum_file(&file))
                .ok();
        }
        Some(summed)
    }

    /// How the target stands with the hard link that the source's entry is.
    fn link_state(&self, entry: &Entry, local: Option<&Listed>) -> Result<LinkState, Error> {
        let Some(first) = &entry.link_to else {
            return Ok(LinkState::NotLinked);
        };
        let first =
            RelPath::parse(first).map_err(|error| Error::peer(Refusal::LinkTo { error }))?;
        if self.unlinkable.contains(&first.as_bytes()) {
            return Ok(LinkState::NotLinked);
        }
        let inode = first.split().and_then(|(dir, name)| {
            let dir = self.root.as_ref()?.open_dir(&dir).ok()?;
            let listed = stat_name(dir, name).ok()?;
            Some((listed.dev, listed.ino))
        });
        let same = local.is_some_and(|local| inode == Some((local.dev, local.ino)));
        Ok(if same {
            LinkState::SameInode
        } else {
            LinkState::Apart
        })
    }

    /// Whether a directory may give way to something else.
    fn may_replace_dir(&mut self, state: &mut DirState, path: &RelPath) -> Result<Replace, Error> {
        let Some(root) = self.root.clone() else {
            return Ok(Replace::AtOnce);
        };
        let mut doomed = Doomed::default();
        let all = doomed.add_contents(&root, path, &self.filter);
        if all && doomed.len() == 0 {
            return Ok(Replace::AtOnce);
        }
        let is_room = self.in_the_way.len() < IN_THE_WAY_MAX;
        if all && self.options.delete && is_room {
            return Ok(Replace::WithDeletions);
        }
        let why = if !is_room {
            "too many directories would be replaced by one push; push again"
        } else if self.options.delete {
            // It has no counterpart: what is not excluded in it goes all the same.
            state.stuck.push((path.clone(), Kind::Dir));
            "parts of it are excluded"
        } else if self.rights.deletes {
            "give --delete"
        } else {
            "nothing may be deleted with this key"
        };
        let shown = self.shown(path);
        self.warn(format!(
            "cannot replace the non-empty directory {shown} on the target: {why}"
        ))?;
        Ok(Replace::Refused)
    }

    /// Makes an entry, or arranges for it; returns the content it needs from the sender.
    fn make(
        &mut self,
        state: &mut DirState,
        number: u32,
        entry: &Entry,
        replaced: Option<Replaced>,
        action: Action,
        in_the_way: bool,
    ) -> Result<Want, Error> {
        self.tell_lost(&state.path)?;
        if in_the_way {
            let path = state.path.join(&entry.name);
            let by = match action {
                Action::HardLink => Replacement::Link,
                _ => Replacement::Awaited,
            };
            self.in_the_way.insert(path, by);
        }
        if action == Action::HardLink {
            self.pend_link(&state.path, entry);
            return Ok(Want::Nothing);
        }
        match &entry.body {
            Body::File { len, .. } => {
                let basis_len = replaced.map_or(0, |replaced| replaced.len);
                let is_long = basis_len.min(*len) >= SIGNATURE_LEN_MIN;
                let may_be_prefix = basis_len < *len && basis_len >= prefix::LEN_MIN;
                let delta =
                    !self.options.whole_file && (is_long || may_be_prefix) && self.commit.is_some();
                let wanted = Wanted {
                    replaced,
                    basis: None,
                    in_the_way,
                    delta,
                    copy: None,
                };
                let Some(wanted) = self.resume_file(state, entry, wanted)? else {
                    return Ok(Want::Nothing);
                };
                let delta = wanted.delta;
                state.wanted.insert(number, wanted);
                Ok(if delta { Want::Delta } else { Want::Whole })
            }
            Body::Dir => {
                if self.commit.is_some() {
                    self.new_dirs.add(&state.path, entry, false)?;
                }
                Ok(Want::Nothing)
            }
            _ => {
                let inherited = state.inherited_gid;
                let attrs = self
                    .judge_in(&state.path)
                    .made_attrs(&self.ids, entry, replaced, inherited);
                self.make_node(&state.path, entry, &attrs, in_the_way)?;
                Ok(Want::Nothing)
            }
        }
    }

    /// What replaces a directory in the way is ready.
    pub(super) fn replace_later(&mut self, path: &RelPath, staged: Staged) {
        if let Some(by) = self.in_the_way.get_mut(path) {
            *by = Replacement::Staged(staged);
        }
    }

    /// What replaces a directory in the way is a hard link after all.
    pub(super) fn link_later(&mut self, path: &RelPath) {
        if let Some(by) = self.in_the_way.get_mut(path) {
            *by = Replacement::Link;
        }
    }

    pub(super) fn pend_link(&mut self, dir: &RelPath, entry: &Entry) {
        if let Some(first) = &entry.link_to
            && let Ok(first) = RelPath::parse(first)
        {
            self.links.push(&first, dir, &entry.name);
        }
    }

    fn make_node(
        &mut self,
        dir: &RelPath,
        entry: &Entry,
        attrs: &Attrs,
        in_the_way: bool,
    ) -> Result<(), Error> {
        let Some(commit) = &mut self.commit else {
            return Ok(());
        };
        let staged = match commit.stage_for(dir) {
            Err(e) if ends_push(&e) => return Err(e),
            Err(e) => return self.warn(e.message),
            Ok(staged) => staged,
        };
        if let Err(e) = create_node(&*staged.stage, &staged.name, entry, attrs) {
            let path = dir.join(&entry.name);
            let e = Error::file(format_args!("make {} on the target", self.shown(&path)), &e);
            return if ends_push(&e) {
                Err(e)
            } else {
                self.warn(e.message)
            };
        }
        if in_the_way {
            self.replace_later(&dir.join(&entry.name), staged);
            return Ok(());
        }
        let (dir, name) = (dir.clone(), entry.name.clone());
        self.commit()?.place(&staged, dir, name, Over::default())
    }
}

enum Replace {
    Refused,
    AtOnce,
    WithDeletions,
}

pub(super) fn not_awaited(dir: DirIndex) -> Error {
    Error::peer(Refusal::NotAwaited { dir })
}

/// The kind that is shown for an entry on its way out.
pub(super) fn deleted(path: &[u8], kind: Kind) -> ToSender {
    ToSender::Deleted {
        path: path.to_vec(),
        kind,
    }
}
