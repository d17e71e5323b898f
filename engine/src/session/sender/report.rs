//! Telling the observer what happens, in canonical order and the same in a dry run, and counting.

use super::Sender;
use super::dirs::{PendingDir, Stage};
use crate::entry::{Body, Entry};
use crate::error::Error;
use crate::observer::{Action, Change, Differences, Kind, Note, Warning};
use crate::path::RelPath;
use crate::scan::ScannedDir;
use crate::wire::Verdict;

impl Sender<'_> {
    /// Counts a directory's entries as seen.
    pub(super) fn count(&mut self, dir: &ScannedDir) {
        for entry in &dir.entries {
            self.summary.entries.add(entry.kind());
            self.summary.total_len += match &entry.body {
                Body::File { len, .. } => *len,
                Body::Symlink { target } => target.len() as u64,
                _ => 0,
            };
        }
        self.seen += dir.entries.len() as u64;
        if dir.warnings.iter().any(|warning| !warning.vanished) {
            self.deletable = false;
        }
    }

    /// Reports the directories at the front of the window whose outcome is known.
    pub(super) fn report(&mut self) -> Result<(), Error> {
        while let Some(PendingDir { held, stage }) = self.next_resolved() {
            let dir = &held.dir;
            self.checked += dir.entries.len() as u64;
            dir.warnings.iter().for_each(|warning| self.warn(warning));
            for path in &dir.skipped {
                self.observer
                    .note(&Note::SkippedNonRegular(path.as_bytes()));
            }
            match stage {
                Stage::New => self.report_new(dir),
                Stage::Judged {
                    positions,
                    verdicts,
                } => {
                    for verdict in verdicts {
                        let at = positions.get(verdict.entry as usize).copied();
                        if let Some(entry) = at.and_then(|at| dir.entries.get(at)) {
                            let path = dir.path.join(&entry.name);
                            self.change(&path, entry, verdict.action, verdict.differences);
                        }
                    }
                }
                Stage::Same | Stage::Waiting | Stage::Differs { .. } | Stage::Sent { .. } => {}
            }
        }
        Ok(())
    }

    fn report_new(&mut self, dir: &ScannedDir) {
        let differences = Differences {
            new: true,
            ..Differences::default()
        };
        for entry in &dir.entries {
            let action = match (&entry.body, &entry.link_to) {
                (Body::Unmirrored(_), _) => continue,
                (_, Some(_)) => Action::HardLink,
                (Body::File { .. }, None) => Action::Transfer,
                _ => Action::Create,
            };
            self.change(&dir.path.join(&entry.name), entry, action, differences);
        }
    }

    /// The verdict on the root itself.
    pub(super) fn report_root(&mut self, verdicts: &[Verdict]) -> Result<(), Error> {
        let entry = self.source.root_entry.clone();
        if let (Some(entry), Some(verdict)) = (entry, verdicts.first()) {
            self.change(
                &RelPath::root(),
                &entry,
                verdict.action,
                verdict.differences,
            );
        }
        self.report()
    }

    fn change(&mut self, path: &RelPath, entry: &Entry, action: Action, differences: Differences) {
        let kind = entry.kind();
        if action == Action::KeepNewer {
            self.summary.newer_skipped += 1;
        } else if differences.new {
            self.summary.created.add(kind);
        }
        if action == Action::Transfer {
            self.summary.transferred_files += 1;
            self.summary.transferred_len += entry.len();
        }
        let link = match action {
            Action::HardLink => entry.link_to.as_deref(),
            _ => entry.symlink_target(),
        };
        // A single entry that gets another name is reported by the one it has, as rsync does.
        let path = self.source.renamed_from().unwrap_or(path.shown());
        let len = entry.len();
        self.observer.change(&Change {
            path,
            kind,
            action,
            differences,
            link,
            len,
        });
    }

    /// The receiver removed, or would remove, an entry.
    pub(super) fn deleted(&mut self, path: &[u8], kind: Kind) -> Result<(), Error> {
        RelPath::parse(path).map_err(|e| Error::peer(format_args!("{e} deleted")))?;
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
        });
        Ok(())
    }

    /// Passes a warning on, and remembers what it means for the outcome.
    pub(super) fn warn(&mut self, warning: &Warning) {
        if !warning.harmless {
            self.summary.vanished |= warning.vanished;
            self.summary.partial |= !warning.vanished;
        }
        self.observer.warn(warning);
    }
}
