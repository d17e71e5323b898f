//! Telling the observer what happens, in rsync's order and the same in a dry run, and counting.

use std::ops::Range;

use super::Sender;
use super::dirs::{PendingDir, Stage};
use super::entering::{Entering, Fate, Told};
use super::reading::FileSource;
use super::siblings::{self, Siblings};
use crate::entry::{Body, Entry};
use crate::generation::Partial;
use crate::not_mirrored::NotMirrored;
use crate::observer::{
    Action, Change, Differences, Facts, Kind, Note, Observer, Progress, Summary, Warning,
};
use crate::options::Options;
use crate::path::RelPath;
use crate::scan::{LeftOut, ScannedDir, Skipped};
use crate::wire::{Verdict, Want};

/// Lines that may wait for the deletions to be decided; any more are said too early.
const REPLACEMENTS_MAX: usize = 1 << 16;

/// Everything, or not everything, that is there has been listed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    Complete,
    /// Something could not be read: what is missing may be there, and nothing is deleted.
    Incomplete,
}

/// What has been told, and counted.
pub(super) struct Telling<'a> {
    pub(super) observer: &'a mut dyn Observer,
    pub(super) summary: Summary,
    /// What keeps the target from becoming equal to the source, as far as it is known here.
    pub(super) problems: Partial,
    pub(super) listing: Listing,
    asked: Asked,
    /// The name of a single entry that gets another one.
    renamed_from: Option<Vec<u8>>,
    /// Directories that are told of when they are entered, and what waits for others.
    entering: Entering,
    /// Entries that take the place of full directories, if the deletions are not stopped.
    replacements: Vec<(RelPath, Entry, Want)>,
    /// What the observer has been told that the receiver takes from nobody with these rights.
    left_out: LeftOut,
    /// What entries have besides what is mirrored.
    passed_over: NotMirrored,
    is_scanning: bool,
    /// Entries scanned, and of those the ones whose outcome is known.
    seen: u64,
    pub(super) checked: u64,
    /// Bytes that had been written to the link before this push.
    written_before: u64,
    /// Content bytes and files sent, for progress.
    moved_bytes: u64,
    pub(super) moved_files: u64,
}

/// What the options say about it.
struct Asked {
    /// What could not be listed keeps all from being deleted.
    deletes: bool,
    /// What the target has, but for directories, is left alone: rsync does not even look at it.
    hides_existing: bool,
    /// What the target does not have is not made.
    makes_nothing: bool,
}

impl<'a> Telling<'a> {
    pub(super) fn new(
        observer: &'a mut dyn Observer,
        options: &Options,
        renamed_from: Option<Vec<u8>>,
        written_before: u64,
    ) -> Self {
        Telling {
            observer,
            summary: Summary::default(),
            problems: Partial::default(),
            listing: Listing::Complete,
            asked: Asked {
                deletes: options.delete && !options.ignore_errors,
                hides_existing: options.ignore_existing,
                makes_nothing: options.existing,
            },
            renamed_from,
            entering: Entering::default(),
            replacements: Vec::new(),
            left_out: LeftOut::default(),
            passed_over: NotMirrored::default(),
            is_scanning: true,
            seen: 0,
            checked: 0,
            written_before,
            moved_bytes: 0,
            moved_files: 0,
        }
    }

    /// Counts a directory's entries as seen.
    pub(super) fn count(&mut self, dir: &ScannedDir) {
        for (kind, len) in (0..dir.entries.len()).filter_map(|at| dir.entries.kind_and_len(at)) {
            self.summary.entries.add(kind);
            self.summary.total_len = self.summary.total_len.saturating_add(len);
        }
        self.seen += dir.entries.len() as u64;
    }

    /// Everything has been scanned.
    pub(super) fn scanned(&mut self) {
        self.is_scanning = false;
    }

    /// The outcome of a directory is known.
    fn resolved(&mut self, PendingDir { held, stage }: PendingDir) {
        let dir = &held.dir;
        while let Some(told) = self.entering.next_until(&dir.path) {
            self.entered(&told);
        }
        self.entering.siblings.enter(&dir.path, &dir.entries);
        self.checked += dir.entries.len() as u64;
        self.observer.compared(self.seen, self.seen - self.checked);
        for warning in &dir.warnings {
            if dir.not_listed.as_ref() == Some(&warning.message) {
                self.warn_not_listed(warning);
            } else {
                self.warn(warning);
            }
        }
        for skipped in &dir.skipped {
            let (Skipped::NonRegular(path) | Skipped::Unsafe(path, _) | Skipped::Mount(path)) =
                skipped;
            let path = path.as_bytes();
            self.observer.note(&match skipped {
                Skipped::NonRegular(_) => Note::SkippedNonRegular(&path),
                Skipped::Unsafe(_, target) => Note::SkippedUnsafe(&path, target),
                Skipped::Mount(_) => Note::SkippedMount(&path),
            });
        }
        self.tell_left_out(dir.left_out);
        self.passed_over += dir.passed_over;
        match stage {
            Stage::New => self.report_new(dir),
            Stage::Judged {
                positions,
                verdicts,
            } => {
                let mut unchanged = 0..dir.entries.len();
                // One that is lost ends the push, with whatever is said next.
                for verdict in verdicts.iter().map_while(Result::ok) {
                    let at = positions.get(verdict.entry as usize).copied();
                    let Some((at, entry)) =
                        at.and_then(|at| Some((at as usize, dir.entries.get(at as usize)?)))
                    else {
                        continue;
                    };
                    self.leave(dir, unchanged.start..at);
                    unchanged.start = at + 1;
                    self.judged(&dir.path, &entry, &verdict);
                }
                self.leave(dir, unchanged);
            }
            Stage::Same => self.leave(dir, 0..dir.entries.len()),
            Stage::Waiting
            | Stage::Differs { .. }
            | Stage::Answering { .. }
            | Stage::Sent { .. } => {}
        }
    }

    /// Says once for the push that the rights do not reach so far.
    fn tell_left_out(&mut self, here: LeftOut) {
        let told = &mut self.left_out;
        if here.devices && !std::mem::replace(&mut told.devices, true) {
            self.observer.note(&Note::DevicesNotMade);
        }
        if here.setuid && !std::mem::replace(&mut told.setuid, true) {
            self.observer.note(&Note::SetuidNotKept);
        }
    }

    fn report_new(&mut self, dir: &ScannedDir) {
        let differences = Differences {
            new: true,
            ..Differences::default()
        };
        let mut entries = dir.entries.walk();
        while let Some(entry) = entries.next() {
            if !entry.is_unmirrored() {
                self.found(&dir.path, entry, Some((made_by(entry), differences)));
            }
        }
    }

    /// What is to happen to an entry: said at once, unless a full directory has to go first.
    pub(super) fn judged(&mut self, dir: &RelPath, entry: &Entry, verdict: &Verdict) {
        if self.asked.makes_nothing && entry.is_dir() && verdict.leaves_bare() {
            self.entering.bare.add(dir.join(&entry.name));
        }
        if verdict.is_silent() {
            return;
        }
        if verdict.action != Action::Delete {
            let fate = (verdict.action, verdict.differences);
            return self.found(dir, entry, Some(fate));
        }
        let path = dir.join(&entry.name);
        if self.replacements.len() < REPLACEMENTS_MAX {
            self.replacements.push((path, entry.clone(), verdict.want));
        } else {
            self.replaced(&path, entry, verdict.want);
        }
    }

    /// What happens to an entry of `dir`: said at once, of a directory when it is entered.
    fn found(&mut self, dir: &RelPath, entry: &Entry, fate: Fate) {
        if entry.is_dir() {
            self.entering.expect(dir, entry, fate);
        } else {
            self.tell_fate(&dir.join(&entry.name), entry, fate);
        }
    }

    fn tell_fate(&mut self, path: &RelPath, entry: &Entry, fate: Fate) {
        match fate {
            Some((action, differences)) => self.change(path, entry, action, differences),
            None => self.unchanged(path, entry),
        }
    }

    fn entered(&mut self, told: &Told) {
        self.tell_fate(&told.path, &told.entry, told.fate);
    }

    /// Everything has been compared: nothing more is entered, and nothing waits.
    pub(super) fn compared(&mut self) {
        while let Some(told) = self.entering.next() {
            self.entered(&told);
        }
        self.tell_siblings();
        self.entering.siblings = Siblings::default();
    }

    /// Says what was passed over by the options of a push, and what because of the receiver's
    /// rights. A tree with a name is configured that way.
    pub(super) fn tell_passed_over(&mut self, options: &Options, is_named: bool) {
        let found = self.passed_over;
        let not_asked = NotMirrored {
            acls: found.acls * u64::from(!options.acls),
            capabilities: found.capabilities * u64::from(!options.xattrs),
            others: 0,
        };
        if !is_named && not_asked != NotMirrored::default() {
            self.observer.note(&Note::NotAsked(not_asked));
        }
        let not_settable = NotMirrored { acls: 0, ..found };
        if options.xattrs && not_settable != NotMirrored::default() {
            self.observer.note(&Note::NotSettable(not_settable));
        }
    }

    /// The deletions have been decided: says what takes the place of full directories.
    pub(super) fn report_replacements(&mut self) {
        for (path, entry, want) in std::mem::take(&mut self.replacements) {
            self.replaced(&path, &entry, want);
        }
    }

    /// Whether something is to come in place of a full directory, once the deletions are decided.
    pub(super) fn awaits_deletions(&self) -> bool {
        !self.replacements.is_empty()
    }

    /// The receiver does not delete so many entries, nor anything that is in the way.
    pub(super) fn deletions_stopped(&mut self, count: u64) {
        self.summary.deletions_stopped = count;
        self.replacements.clear();
    }

    fn replaced(&mut self, path: &RelPath, entry: &Entry, want: Want) {
        let differences = Differences {
            new: true,
            ..Differences::default()
        };
        let action = match want {
            Want::Nothing => made_by(entry),
            // It may have been a link to a file that has to stay as it is.
            Want::Whole | Want::Delta => Action::Transfer,
        };
        self.change(path, entry, action, differences);
    }

    fn change(&mut self, path: &RelPath, entry: &Entry, action: Action, differences: Differences) {
        let kind = entry.kind();
        if entry.body == Body::Way {
            return;
        }
        if action == Action::KeepNewer {
            self.summary.newer_skipped += 1;
        } else if differences.new {
            self.summary.created.add(kind);
        }
        if action == Action::Transfer {
            self.summary.transferred_files += 1;
            let len = &mut self.summary.transferred_len;
            *len = len.saturating_add(entry.len());
        }
        self.tell(path, entry, action, differences, true);
    }

    /// Nothing happens to these entries, which is said if that is asked for.
    fn leave(&mut self, dir: &ScannedDir, entries: Range<usize>) {
        if !self.observer.wants_unchanged() || self.entering.bare.holds(&dir.path) {
            return;
        }
        for entry in entries.filter_map(|at| dir.entries.get(at)) {
            if !entry.is_unmirrored() {
                self.found(&dir.path, &entry, None);
            }
        }
    }

    fn unchanged(&mut self, path: &RelPath, entry: &Entry) {
        let is_hidden = self.asked.hides_existing && !entry.is_dir() || entry.body == Body::Way;
        if self.observer.wants_unchanged() && !is_hidden {
            let nothing = Differences::default();
            self.tell(path, entry, Action::Attributes, nothing, false);
        }
    }

    fn tell(
        &mut self,
        path: &RelPath,
        entry: &Entry,
        action: Action,
        differences: Differences,
        changes: bool,
    ) {
        let link = match action {
            Action::HardLink => entry.link_to.as_deref(),
            _ => entry.symlink_target(),
        };
        let waits = match path.split() {
            Some((dir, _)) if !entry.is_dir() => self.entering.siblings.holds(&dir),
            _ => self.entering.siblings.holds(path),
        };
        if !waits {
            self.tell_siblings();
        }
        // A single entry that gets another name is reported by the one it has, as rsync does.
        let path = path.shown();
        let path = self.renamed_from.as_deref().unwrap_or(&path);
        let change = Change {
            path,
            kind: entry.kind(),
            action,
            differences,
            link,
            len: match entry.symlink_target() {
                Some(target) => target.len() as u64,
                None => entry.len(),
            },
            facts: Facts {
                mode: entry.mode,
                uid: entry.uid,
                gid: entry.gid,
                mtime_secs: entry.mtime.secs,
            },
        };
        // What cannot wait is told too early.
        if waits && self.entering.siblings.push(&change, changes).is_ok() {
            return;
        }
        if changes {
            self.observer.change(&change);
        } else {
            self.observer.unchanged(&change);
        }
    }

    fn tell_siblings(&mut self) {
        if let Some(waiting) = self.entering.siblings.take() {
            siblings::tell(&waiting, self.observer);
        }
    }

    /// The receiver removed, or would remove, an entry.
    pub(super) fn deleted(&mut self, path: &[u8], kind: Kind) {
        self.summary.deleted.add(kind);
        let differences = Differences::default();
        let action = Action::Delete;
        self.observer.change(&Change {
            path,
            kind,
            action,
            differences,
            link: None,
            len: 0,
            facts: Facts::default(),
        });
    }

    /// Something could not be listed that may be there: the first time it is said what follows.
    pub(super) fn warn_not_listed(&mut self, warning: &Warning) {
        let before = std::mem::replace(&mut self.listing, Listing::Incomplete);
        let says_so = self.asked.deletes && matches!(before, Listing::Complete);
        let end = if says_so {
            "; so nothing is deleted"
        } else {
            ""
        };
        self.warn(&Warning {
            vanished: warning.vanished,
            message: format!("{}{end}", warning.message),
        });
    }

    /// Passes a warning on, and remembers what it means for the outcome.
    pub(super) fn warn(&mut self, warning: &Warning) {
        if !warning.vanished {
            self.problems.add_line(&warning.message);
        }
        self.take_in(warning);
        self.observer.warn(warning);
    }

    /// The receiver's warning, of which it keeps account itself.
    pub(super) fn pass_on(&mut self, warning: &Warning) {
        self.take_in(warning);
        self.observer.told(warning);
    }

    fn take_in(&mut self, warning: &Warning) {
        self.summary.vanished |= warning.vanished;
        self.summary.partial |= !warning.vanished;
    }

    pub(super) fn progress(
        &mut self,
        file: &FileSource,
        file_offset: u64,
        more: u64,
        written: u64,
    ) {
        self.moved_bytes = self.moved_bytes.saturating_add(more);
        let path = file.path();
        self.observer.progress(&Progress {
            path: &path.shown(),
            file_offset,
            file_len: file.len(),
            total_bytes: self.moved_bytes,
            total_len: self.summary.total_len,
            wanted_len: self.summary.transferred_len,
            link_bytes: written - self.written_before,
            file_count: self.moved_files,
            to_check: self.seen - self.checked,
            seen: self.seen,
            scanning: self.is_scanning,
        });
    }
}

impl Sender<'_> {
    /// Reports the directories at the front of the window whose outcome is known.
    pub(super) fn report(&mut self) {
        while let Some(resolved) = self.dirs.next_resolved() {
            self.telling.resolved(resolved);
        }
    }

    /// The verdict on the root itself.
    pub(super) fn report_root(&mut self, verdicts: &[Verdict]) {
        let root = RelPath::root();
        match (&self.source.root_entry, verdicts.first()) {
            (Some(entry), Some(verdict)) => {
                let (action, differences) = (verdict.action, verdict.differences);
                self.telling.change(&root, entry, action, differences);
            }
            (Some(entry), None) => self.telling.unchanged(&root, entry),
            (None, _) => {}
        }
        self.report();
    }
}

/// How an entry is made where there was nothing.
fn made_by(entry: &Entry) -> Action {
    match (&entry.body, &entry.link_to) {
        (_, Some(_)) => Action::HardLink,
        (Body::File { .. }, None) => Action::Transfer,
        _ => Action::Create,
    }
}
