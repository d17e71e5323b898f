//! Judging entries that differ, and making at once what needs no content.

use std::collections::HashSet;

use rustix::fs::renameat;

use super::arrived::{Arrived, Place};
use super::deltas::left_of;
use super::dir::Announced;
use super::door;
use super::links::Links;
use super::new_dirs::NewDirs;
use super::one_name::{OneName, Spelt};
use super::removals::{GivesWay, Removals, Replacement};
use super::site::Site;
use super::told::Told;
use super::wanted::{Wanted, WantedFiles};
use crate::change::Over;
use crate::compare::{Decision, Replaced};
use crate::entries::EntryList;
use crate::entry::{Body, Entry};
use crate::error::Error;
use crate::filter::{Half, InForce};
use crate::fs::{Inherited, Listed, WhichDir, stat};
use crate::history::Interrupted;
use crate::observer::{Action, Differences};
use crate::path::RelPath;
use crate::session::{SIGNATURE_LEN_MIN, prefix};
use crate::since::Since;
use crate::source::{open_file, sum_file};
use crate::wire::{ToSender, Verdict, Want};

/// What takes part in it.
pub(super) struct Judging<'a> {
    pub(super) site: &'a mut Site,
    pub(super) new_dirs: &'a mut NewDirs,
    pub(super) links: &'a mut Links,
    pub(super) removals: &'a mut Removals,
    /// What interrupted pushes have left.
    pub(super) left: &'a Interrupted,
}

/// The directory that is being judged.
struct Within<'a> {
    path: &'a RelPath,
    inherited: Inherited,
    wanted: &'a mut WantedFiles,
    /// Directories of the target that could not give way to what the source has in their place.
    stuck: Vec<(RelPath, WhichDir)>,
    /// Positions of what is to go because the source was expected to have it, and has not.
    gone: HashSet<usize>,
}

impl Judging<'_> {
    /// Judges what was announced of a directory, of which the target has `local` that differs.
    pub(super) fn dir(
        &mut self,
        told: &mut Told,
        list: &mut Announced,
        mut local: EntryList,
        complete: bool,
    ) -> Result<(), Error> {
        self.site.door.judged_in(&list.path, local.found_in);
        list.inherited = self.site.inherited(&list.path);
        let mut within = Within {
            path: &list.path,
            inherited: list.inherited,
            wanted: &mut list.wanted,
            stuck: Vec::new(),
            gone: HashSet::new(),
        };
        let mut counterparts = vec![false; local.len()];
        let mut one_name = OneName::in_dir(self.site, &list.path);
        let (mut walk, mut numbers) = (list.entries.walk(), 0_u32..);
        let mut finder = local.finder();
        while let Some((entry, number)) = walk.next().zip(numbers.next()) {
            let mut at = finder.find(entry);
            if entry.body == Body::Gone {
                // Another spelling is another name.
                let found = at.and_then(|at| Some((at, local.get(at)?)));
                let goes = self.is_gone(&mut within, found)?;
                if let Some(stays) = at.and_then(|at| counterparts.get_mut(at)) {
                    *stays |= !goes;
                }
                continue;
            }
            if let Some(one_name) = &mut one_name {
                match one_name.find(self.site, entry, at, &local)? {
                    Spelt::As(found) => at = found,
                    Spelt::Taken => {
                        told.tell(&self.site.voice, Verdict::stays(number))?;
                        continue;
                    }
                }
            }
            if let Some(found) = at.and_then(|at| counterparts.get_mut(at)) {
                *found = true;
            }
            let local = at
                .and_then(|at| local.get_listed(at))
                .or_else(|| self.hidden(&within, entry))
                .map(|local| self.as_dir(within.path, entry, local));
            if let Some(verdict) = self.entry(&mut within, number, entry, local.as_ref())? {
                told.tell(&self.site.voice, verdict)?;
            }
        }
        drop(finder);
        let Within { stuck, gone, .. } = within;
        self.spare_protected(&list.path, &local, &mut counterparts)?;
        let deletes = self.site.rules.options.delete && complete && self.may_delete_in(&list.path);
        if deletes {
            self.spare_members(&list.path, &local, &mut counterparts)?;
        }
        let goes = |at: usize| deletes || gone.contains(&at);
        local.retain(|at| counterparts.get(at) == Some(&false) && goes(at));
        self.removals.add((told.dir(), &list.path), &stuck, &local);
        Ok(())
    }

    /// Lets go what the target has under a name that the source was expected to have. A directory
    /// with entries goes if they may. Returns whether it goes, unless something else has its place.
    fn is_gone(
        &mut self,
        within: &mut Within<'_>,
        found: Option<(usize, Entry)>,
    ) -> Result<bool, Error> {
        let options = &self.site.rules.options;
        let Some((at, entry)) = found.filter(|_| options.delete_missing) else {
            return Ok(false);
        };
        let path = within.path.join(&entry.name);
        if self
            .site
            .spares(within.path, &entry.name, self.leaves_backup(&entry))?
        {
            return Ok(false);
        }
        let options = &self.site.rules.options;
        let (filter, root) = (&self.site.rules.filter, self.site.door.root());
        let rules = root.map(|root| filter.in_dir(Half::Receiver, root, within.path));
        let protects = |rules: &InForce| rules.protects(&path.as_bytes(), entry.is_dir());
        if !rules.is_some_and(|rules| rules.is_ok_and(|rules| !protects(&rules))) {
            return Ok(false);
        }
        let goes_whole = options.delete || options.force;
        if entry.is_dir() && !goes_whole && !self.removals.is_empty_dir(self.site, &path) {
            let path = path.as_bytes().into_owned();
            return self.site.say(&ToSender::NotEmpty { path }).map(|()| false);
        }
        Ok(within.gone.insert(at))
    }

    /// What the target has where the source has a directory: under `-K`, and on the way to what is
    /// mirrored, a symlink is the directory that it leads to.
    fn as_dir(&self, dir: &RelPath, entry: &Entry, local: Listed) -> Listed {
        let options = &self.site.rules.options;
        let scope = self.site.rules.fields.attributes();
        let is_way = entry.body == Body::Way && !options.atomic;
        let may_be_led = is_way || options.keep_dirlinks && entry.is_dir();
        if !may_be_led || local.entry.symlink_target().is_none() {
            return local;
        }
        let led = self.site.door.open_dir(&dir.join(&entry.name));
        let found = led.and_then(|led| stat(led, c".", scope));
        found.map_or(local, |mut found| {
            found.entry.name.clone_from(&entry.name);
            found
        })
    }

    /// Counts entries as having a counterpart that stay without one, because the filters protect
    /// them although they are seen.
    fn spare_protected(
        &mut self,
        dir: &RelPath,
        local: &EntryList,
        counterparts: &mut [bool],
    ) -> Result<(), Error> {
        let (filter, root) = (&self.site.rules.filter, self.site.door.root());
        let Some(root) = root.filter(|_| filter.is_special() && counterparts.contains(&false))
        else {
            return Ok(());
        };
        let rules = match filter.in_dir(Half::Receiver, root, dir) {
            Ok(rules) => rules,
            Err(e) => {
                // What it protects is not known.
                counterparts.fill(true);
                return self.removals.not_read(self.site, dir, &e);
            }
        };
        let unmatched = counterparts
            .iter_mut()
            .enumerate()
            .filter(|(_, has)| !**has);
        for (at, has) in unmatched {
            if let Some(Listed { entry, .. }) = local.get_listed(at) {
                let path = dir.join(&entry.name);
                *has = rules.protects(&path.as_bytes(), entry.is_dir());
            }
        }
        Ok(())
    }

    /// Under `-x`, deletions stay on the file system of the target root.
    fn may_delete_in(&self, dir: &RelPath) -> bool {
        let dev = |dir: &RelPath| {
            let fd = self.site.door.open_dir(dir).ok()?;
            Some(rustix::fs::fstat(fd).ok()?.st_dev)
        };
        !self.site.rules.options.one_file_system || dev(dir) == dev(&RelPath::root())
    }

    /// What the target has for an entry although the filters leave it out of the mirror: they may
    /// exclude directories alone, as `name/` does, or what the sender was told to push all the
    /// same.
    fn hidden(&self, within: &Within<'_>, entry: &Entry) -> Option<Listed> {
        let filter = &self.site.rules.filter;
        if filter.is_empty() {
            return None;
        }
        let path = within.path.join(&entry.name);
        let passes = |is_dir| filter.passes_over(Half::Receiver, &path.as_bytes(), is_dir);
        let is_hidden = passes(true) || passes(false);
        let scope = self.site.rules.fields.attributes();
        let look = || self.site.door.look_closely(within.path, &entry.name, scope);
        is_hidden.then(|| look().ok())?
    }

    fn entry(
        &mut self,
        within: &mut Within<'_>,
        number: u32,
        entry: &Entry,
        local: Option<&Listed>,
    ) -> Result<Option<Verdict>, Error> {
        let path = within.path.join(&entry.name);
        let found = self.site.rules.as_found(&path, entry);
        let entry = found.as_ref().unwrap_or(entry);
        let summed = local.and_then(|local| self.sum_if_asked(within.path, entry, local));
        let local = summed.as_ref().or(local);
        let link = self.links.state(self.site, within.path, entry, local)?;
        let rules = &self.site.rules;
        let decision = rules
            .judge_in(within.path)
            .decide(&rules.ids, entry, local, link);
        let is_made = matches!(decision, Decision::Make { .. });
        let changes = is_made || matches!(decision, Decision::SetAttrs { .. });
        if changes && self.is_spared(within.path, entry, local, is_made)? {
            // Nothing may be linked to it as if it were the source's.
            self.links.refuse(&path);
            return Ok(Some(Verdict::stays(number)));
        }
        let options = &self.site.rules.options;
        let (action, differences, want) = match decision {
            Decision::Keep => return Ok(None),
            Decision::Skip => {
                if options.hard_links {
                    self.links.refuse(&path);
                }
                // What is there is told by none of the two, unless it is no directory.
                let is_there = local.is_some() && !entry.is_dir();
                return Ok((!is_there).then(|| Verdict::stays(number)));
            }
            Decision::KeepNewer => {
                if options.hard_links {
                    self.links.refuse(&path);
                }
                (Action::KeepNewer, Differences::default(), Want::Nothing)
            }
            Decision::SetAttrs { differences, attrs } => {
                if let Some(local) = local {
                    self.site.door.set_attrs(within.path, local, attrs)?;
                }
                (Action::Attributes, differences, Want::Nothing)
            }
            Decision::Make {
                action,
                differences,
            } => {
                let gives_way = match local {
                    Some(local) if local.entry.is_dir() && !entry.is_dir() => {
                        let (dir, stuck) = ((&path, local.which_dir()), &mut within.stuck);
                        self.removals.may_replace(self.site, dir, stuck)?
                    }
                    _ => GivesWay::AtOnce,
                };
                if gives_way == GivesWay::No || !self.holds(within.path, entry)? {
                    return Ok(Some(Verdict::stays(number)));
                }
                if let Some(local) = local {
                    self.removals.toll.replaces(&local.entry);
                }
                let in_the_way = local.filter(|_| gives_way == GivesWay::WithDeletions);
                if let Some(local) = in_the_way {
                    let by = match action {
                        Action::HardLink => Replacement::Link,
                        _ => Replacement::Awaited,
                    };
                    self.removals.replace(path.clone(), local.which_dir(), by);
                }
                let wanted = Wanted {
                    replaced: local.map(Replaced::from),
                    in_the_way: in_the_way.is_some(),
                    ..Wanted::default()
                };
                // Whether the directory can go is known when everything has been compared.
                let told = match gives_way {
                    GivesWay::WithDeletions => Action::Delete,
                    _ => action,
                };
                (
                    told,
                    differences,
                    self.make(within, number, entry, wanted, action)?,
                )
            }
        };
        if action == Action::HardLink && !differences.any() {
            self.links.note_present(&path, entry);
        }
        Ok(Some(Verdict {
            entry: number,
            action,
            differences,
            want,
        }))
    }

    /// Whether a file can be as long as that where it belongs. If not, that is said, and its
    /// content need not be read.
    fn holds(&mut self, dir: &RelPath, entry: &Entry) -> Result<bool, Error> {
        let len = entry.len();
        let holds = self.site.door.holds(dir, len);
        // Without room it is met again, too.
        let holds = self.site.unless_fatal(holds)?.unwrap_or(true);
        if !holds {
            let shown = self.site.door.shown(&dir.join(&entry.name));
            self.site.warn(format!(
                "cannot make {shown} on the target: it has {len} bytes, more than a file can have \
                 there; it stays as it is"
            ))?;
        }
        Ok(holds)
    }

    /// A file with the sum of its content, if the sender asks for that and it passes the quick
    /// check.
    fn sum_if_asked(&self, dir: &RelPath, entry: &Entry, local: &Listed) -> Option<Listed> {
        let rules = &self.site.rules;
        let is_asked = matches!(entry.body, Body::File { sum: Some(_), .. })
            && !rules.options.checksum
            && rules.are_alike(dir, entry, &local.entry);
        let mut summed = is_asked.then(|| local.clone())?;
        if let Body::File { sum, .. } = &mut summed.entry.body {
            // Unreadable counts as different: it is replaced.
            let opened = self.site.door.open_dir(dir);
            let opened = opened.and_then(|dir| open_file(&dir, &entry.name));
            *sum = opened.and_then(|file| sum_file(&file)).ok();
        }
        Some(summed)
    }

    /// Makes an entry, or arranges for it; returns the content it needs from the sender.
    fn make(
        &mut self,
        within: &mut Within<'_>,
        number: u32,
        entry: &Entry,
        mut wanted: Wanted,
        action: Action,
    ) -> Result<Want, Error> {
        self.site.tell_lost(within.path, entry)?;
        if action == Action::HardLink {
            self.links.pend(self.site, within.path, entry)?;
            return Ok(Want::Nothing);
        }
        let is_real = self.site.door.is_real();
        match &entry.body {
            Body::File { len, .. } => {
                let basis_len = wanted.replaced.map_or(0, |replaced| replaced.len);
                let is_long = basis_len.min(*len) >= SIGNATURE_LEN_MIN;
                let may_be_prefix = basis_len < *len && basis_len >= prefix::LEN_MIN;
                wanted.delta =
                    !self.site.rules.options.whole_file && (is_long || may_be_prefix) && is_real;
                let Some(wanted) = self.resume_file(within, entry, wanted)? else {
                    return Ok(Want::Nothing);
                };
                let want = if wanted.delta {
                    Want::Delta
                } else {
                    Want::Whole
                };
                if is_real {
                    within.wanted.insert(number, wanted);
                }
                return Ok(want);
            }
            Body::Dir | Body::Way if is_real => self.new_dirs.add(within.path, entry, false)?,
            Body::Dir | Body::Way => {}
            _ => self.make_node(within, entry, &wanted)?,
        }
        Ok(Want::Nothing)
    }

    fn make_node(
        &mut self,
        within: &Within<'_>,
        entry: &Entry,
        wanted: &Wanted,
    ) -> Result<(), Error> {
        let dir = within.path;
        let attrs = self
            .site
            .rules
            .made_attrs(dir, entry, wanted.replaced, within.inherited);
        let staged = self.site.door.stage_node(dir, entry, &attrs);
        let Some(Some((staged, made))) = self.site.unless_fatal(staged)? else {
            return Ok(());
        };
        let path = dir.join(&entry.name);
        match made {
            Err(e) => return self.site.failed("make", &path, &e),
            Ok(Err(e)) => self.site.warn_of("set the metadata of", &path, &e)?,
            Ok(Ok(())) => {}
        }
        if wanted.in_the_way {
            self.removals.arrived(&path, Replacement::Staged(staged));
            return Ok(());
        }
        let name = &entry.name;
        self.site.door.place(&staged, dir, name, Over::default())
    }

    /// Takes the content of a wanted file from an interrupted push. If there is none, it is still
    /// wanted.
    fn resume_file(
        &mut self,
        within: &Within<'_>,
        entry: &Entry,
        wanted: Wanted,
    ) -> Result<Option<Wanted>, Error> {
        if self.left.is_empty() || wanted.in_the_way {
            return Ok(Some(wanted));
        }
        // The same by the quick check; where that does not do, content is sent.
        let summed = matches!(entry.body, Body::File { sum: Some(_), .. });
        let rules = &self.site.rules;
        let fits = |found: &Listed| !summed && rules.are_alike(within.path, &found.entry, entry);
        let path = within.path.join(&entry.name);
        let Some(found) = self.left.find(&path, fits) else {
            return Ok(Some(self.resume_from_part(&path, wanted)));
        };
        let staged = self.site.door.real()?.commit.stage_for(within.path)?;
        // Another default ACL than where it was made would have been applied here.
        let moved = staged.stage.is_plain()
            && renameat(&found.dir, &*found.name, &*staged.stage, &*staged.name).is_ok();
        if !moved {
            return Ok(Some(wanted));
        }
        let remove = |place: &Place| match place {
            Place::Alone(staged) => door::remove(staged),
            Place::Within => {}
        };
        let arrived = Arrived {
            dir: within.path,
            inherited: within.inherited,
            entry,
            file: found.file,
            since: Since::Same,
            place: Place::Alone(staged),
            wanted,
        };
        arrived.settle(self.site, self.removals, remove)?;
        Ok(None)
    }

    /// Lets a large file be made from what an interrupted push has left of it, if that is more than
    /// there is anyway.
    fn resume_from_part(&self, path: &RelPath, wanted: Wanted) -> Wanted {
        let is_left =
            !self.site.rules.options.whole_file && left_of(self.left, path, &wanted).is_some();
        Wanted {
            is_left,
            delta: wanted.delta || is_left,
            ..wanted
        }
    }
}
