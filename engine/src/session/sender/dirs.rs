//! Announcing directories and answering what the receiver says about them.

use std::sync::Arc;

use super::answer::{Answer, take_part};
use super::asked::Verdicts;
use super::deltas::DeltaTask;
use super::reading::FileSource;
use super::{HeldDir, Sender};
use crate::digest::EntryPrint;
use crate::error::Error;
use crate::ids::{IdKind, name_of};
use crate::path::RelPath;
use crate::refusal::Refusal;
use crate::scan::ScannedDir;
use crate::session::place::Place;
use crate::session::prints;
use crate::wire::{DirIndex, ToReceiver, Verdict, Want};

/// Prints that are held at once: of a directory with ten million names, and more.
const PRINTS_MAX: usize = 11 << 20;

/// A directory on its way through the window.
pub(super) struct PendingDir {
    pub(super) held: Arc<HeldDir>,
    pub(super) stage: Stage,
}

/// What has been heard about a directory.
pub(super) enum Stage {
    /// Announced.
    Waiting,
    /// The receiver's prints are coming.
    Differs {
        print_len: u8,
        prints: Vec<EntryPrint>,
    },
    /// The entries that differ from prints of this length are being sent.
    Answering { print_len: u8, answer: Answer },
    /// They were sent: their positions. Verdicts are coming, or longer prints.
    Sent {
        print_len: u8,
        positions: Vec<u32>,
        verdicts: Verdicts,
    },
    /// Equal.
    Same,
    /// The receiver lacks it.
    New,
    Judged {
        positions: Vec<u32>,
        verdicts: Verdicts,
    },
}

impl Stage {
    fn is_resolved(&self) -> bool {
        matches!(self, Stage::Same | Stage::New | Stage::Judged { .. })
    }
}

/// A directory that the receiver lacks, and with it everything below.
pub(super) struct Lacking {
    root: RelPath,
    /// The directory above it.
    parent: DirIndex,
}

impl Sender<'_> {
    /// A directory was scanned: announce it, or queue it if the receiver lacks it anyway.
    pub(super) fn scanned(&mut self, mut held: HeldDir) -> Result<(), Error> {
        let dir = &mut held.dir;
        self.count(dir);
        for (kind, id, name) in std::mem::take(&mut dir.new_ids) {
            self.say(&ToReceiver::Id { kind, id, name })?;
        }
        let lacking = self.lacking.as_ref();
        let lacking = lacking.filter(|lacking| dir.path.is_within(&lacking.root));
        let above = lacking.map(|lacking| lacking.parent);
        let held = Arc::new(held);
        let dir = &held.dir;
        if let Some(above) = above {
            self.queue_push(&held, above);
            self.window.push_back(PendingDir {
                held,
                stage: Stage::New,
            });
            return self.report();
        }
        self.summary.dirs_compared += 1;
        self.announce(dir)?;
        self.window.push_back(PendingDir {
            held,
            stage: Stage::Waiting,
        });
        Ok(())
    }

    fn announce(&mut self, dir: &ScannedDir) -> Result<(), Error> {
        let place = Place::after(self.announced.as_ref(), dir.index, &dir.path);
        self.say(&ToReceiver::Dir {
            skipped: place.skipped,
            up: place.up,
            shared: place.shared,
            rest: place.rest.to_vec(),
            digest: dir.digest,
            complete: dir.complete,
        })?;
        self.announced = Some((dir.index, dir.path.clone()));
        self.say_other(dir)
    }

    /// Says with which metadata the directory was read, if those are not the listed ones.
    fn say_other(&self, dir: &ScannedDir) -> Result<(), Error> {
        let (dir, other) = (dir.index, dir.other);
        other.map_or(Ok(()), |meta| self.say(&ToReceiver::OtherDir { dir, meta }))
    }

    /// Queues a directory that the receiver lacks. `above` is the one above all that it lacks here.
    fn queue_push(&mut self, held: &Arc<HeldDir>, above: DirIndex) {
        if self.options.dry_run {
            return;
        }
        match self.waiting.get_mut(&above) {
            Some(waiting) => waiting.push(Arc::clone(held)),
            None => self.pushes.push_back(Arc::clone(held)),
        }
    }

    /// Lets what is lacking below `above` wait until the entries of that directory have been
    /// accepted: if prints collided there, the receiver has forgotten the answer and does not know
    /// yet what is to be there.
    fn wait_for(&mut self, above: DirIndex) {
        let at = self.find(above).ok();
        let pending = at.and_then(|at| self.window.get(at));
        let is_open = pending.is_some_and(|pending| {
            matches!(
                pending.stage,
                Stage::Differs { .. } | Stage::Answering { .. } | Stage::Sent { .. }
            )
        });
        if is_open {
            self.waiting.entry(above).or_default();
        }
    }

    /// The entries of `above` have been accepted.
    fn go_on_below(&mut self, above: DirIndex) {
        self.pushes
            .extend(self.waiting.remove(&above).unwrap_or_default());
    }

    /// Announces ids that are used before, or after, the directories announce theirs.
    pub(super) fn announce_ids(&self, uid: u32, gid: u32) -> Result<(), Error> {
        if self.options.numeric_ids {
            return Ok(());
        }
        for (kind, id) in [(IdKind::User, uid), (IdKind::Group, gid)] {
            if let Some(name) = name_of(kind, id) {
                self.say(&ToReceiver::Id { kind, id, name })?;
            }
        }
        Ok(())
    }

    /// Every directory below `below` that has had no other answer is equal.
    pub(super) fn compared(&mut self, below: DirIndex) -> Result<(), Error> {
        for pending in &mut self.window {
            if pending.held.dir.index >= below {
                break;
            }
            if matches!(pending.stage, Stage::Waiting) {
                pending.stage = Stage::Same;
            }
        }
        self.report()
    }

    pub(super) fn lacks(&mut self, dir: DirIndex) -> Result<(), Error> {
        let at = self.find(dir)?;
        let lacking = match self.window.get(at) {
            Some(PendingDir { held, stage })
                if matches!(stage, Stage::Waiting) && dir != 0 || self.options.dry_run =>
            {
                Lacking {
                    root: held.dir.path.clone(),
                    parent: held.dir.parent,
                }
            }
            _ => return Err(unasked(dir)),
        };
        let mut found = Vec::new();
        for pending in self.window.iter_mut().skip(at) {
            if !pending.held.dir.path.is_within(&lacking.root) {
                break;
            }
            pending.stage = Stage::New;
            found.push(Arc::clone(&pending.held));
        }
        let above = lacking.parent;
        self.wait_for(above);
        found.iter().for_each(|held| self.queue_push(held, above));
        self.lacking = Some(lacking);
        self.report()
    }

    pub(super) fn differs(
        &mut self,
        dir: DirIndex,
        print_len: u8,
        more: &[u8],
        last: bool,
    ) -> Result<(), Error> {
        let at = self.find(dir)?;
        let more = prints::decode(more, print_len)?;
        let more_count = more.len();
        let Some(pending) = self.window.get_mut(at) else {
            return Err(unasked(dir));
        };
        let prints = match std::mem::replace(&mut pending.stage, Stage::Waiting) {
            Stage::Waiting => {
                self.summary.dirs_exchanged += 1;
                more
            }
            Stage::Differs {
                print_len: before,
                mut prints,
            } if before == print_len => {
                prints.extend(more);
                prints
            }
            Stage::Sent {
                print_len: before,
                verdicts,
                ..
            } if before < print_len && verdicts.is_empty() => more,
            _ => return Err(unasked(dir)),
        };
        self.held_prints += more_count;
        if self.held_prints > PRINTS_MAX {
            let max = PRINTS_MAX;
            return Err(Error::peer(Refusal::TooManyPrints { max }));
        }
        if !last {
            pending.stage = Stage::Differs { print_len, prints };
            return Ok(());
        }
        self.held_prints -= prints.len();
        let answer = Answer::to(&pending.held.dir, &self.fields, print_len, &prints);
        self.held_prints += answer.held_prints();
        pending.stage = Stage::Answering { print_len, answer };
        self.answers.push_back(dir);
        while let Some(&first) = self.answers.front()
            && self.outbox.state().has_room()
        {
            self.answer(first)?;
        }
        Ok(())
    }

    /// Sends a part of the answer about the first directory that waits for one.
    pub(super) fn answer(&mut self, dir: DirIndex) -> Result<(), Error> {
        let at = self.find(dir)?;
        let Some(PendingDir { held, stage }) = self.window.get_mut(at) else {
            return Err(unasked(dir));
        };
        let Stage::Answering { print_len, answer } = stage else {
            return Err(unasked(dir));
        };
        let message = answer.next_part(dir, &held.dir.entries);
        if matches!(message, ToReceiver::Entries { last: true, .. }) {
            self.answers.pop_front();
            self.held_prints -= answer.held_prints();
            *stage = Stage::Sent {
                print_len: *print_len,
                positions: std::mem::take(&mut answer.positions),
                verdicts: Verdicts::default(),
            };
        }
        self.say(&message)
    }

    pub(super) fn verdicts(
        &mut self,
        dir: DirIndex,
        more: &[Verdict],
        last: bool,
    ) -> Result<(), Error> {
        if dir == 0 && self.root_verdict_due {
            self.root_verdict_due = false;
            return self.report_root(more);
        }
        let at = self.find(dir)?;
        let Some(pending) = self.window.get_mut(at) else {
            return Err(unasked(dir));
        };
        let Stage::Sent {
            positions,
            verdicts,
            ..
        } = &mut pending.stage
        else {
            return Err(unasked(dir));
        };
        for verdict in more {
            if verdict.entry as usize >= positions.len() || !verdicts.push(verdict)? {
                return Err(Error::peer(Refusal::VerdictsOrder { dir }));
            }
        }
        if !last {
            return Ok(());
        }
        let (positions, verdicts) = (std::mem::take(positions), std::mem::take(verdicts));
        let held = Arc::clone(&pending.held);
        self.go_on_below(dir);
        let mut later = Vec::new();
        for verdict in verdicts.iter() {
            let Some(&position) = positions.get(verdict.entry as usize) else {
                continue;
            };
            let position = position as usize;
            if verdict.want == Want::Nothing {
                self.note_present(&held, position, &verdict);
                continue;
            }
            let entry = verdict.entry;
            let file = FileSource::new(&held, position, entry)
                .ok_or_else(|| Error::peer(Refusal::WantWithoutContent { dir, entry }))?;
            if self.options.dry_run {
                continue;
            }
            if verdict.want == Want::Delta {
                self.deltas
                    .insert((dir, verdict.entry), DeltaTask::new(file));
            } else if verdict.differences.new && self.hold_back(&held, position, verdict.entry) {
                later.push(verdict.entry);
            } else {
                self.files.push_back(&file);
            }
        }
        self.say_later(dir, &later)?;
        pending_set(
            self,
            at,
            Stage::Judged {
                positions,
                verdicts,
            },
        );
        self.report()
    }

    /// Sends a directory that the receiver lacks: its entries, then the content.
    pub(super) fn push_dir(&mut self, held: &Arc<HeldDir>) -> Result<(), Error> {
        let dir = &held.dir;
        let mut rest = dir.entries.iter().peekable();
        loop {
            self.make_room()?;
            let entries = take_part(&mut rest);
            let last = rest.peek().is_none();
            let (index, parent, name) = (dir.index, dir.parent, dir.name().to_vec());
            self.say(&ToReceiver::NewDir {
                dir: index,
                parent,
                name,
                entries,
                last,
            })?;
            if last {
                break;
            }
        }
        self.say_other(dir)?;
        for &at in &dir.firsts {
            self.hold_back(held, at as usize, at);
        }
        let is_first = |at: usize| dir.firsts.binary_search(&(at as u32)).is_ok();
        let files = (0..dir.entries.len()).filter(|&at| !is_first(at));
        let files = files.filter_map(|at| FileSource::new(held, at, at as u32));
        let leased = self.leased.count();
        self.send_files(&mut files.filter(|file| !file.is_linked()))?;
        let later = self.put_aside(leased, &dir.firsts);
        self.say_later(dir.index, &later)?;
        let dir = dir.index;
        self.say(&ToReceiver::NewDirDone { dir })
    }

    fn find(&self, dir: DirIndex) -> Result<usize, Error> {
        self.window
            .binary_search_by_key(&dir, |pending| pending.held.dir.index)
            .map_err(|_| unasked(dir))
    }

    /// Takes the directories at the front whose outcome is known out of the window.
    pub(super) fn next_resolved(&mut self) -> Option<PendingDir> {
        if self.root_verdict_due || !self.window.front()?.stage.is_resolved() {
            return None;
        }
        self.window.pop_front()
    }
}

fn pending_set(sender: &mut Sender<'_>, at: usize, stage: Stage) {
    if let Some(pending) = sender.window.get_mut(at) {
        pending.stage = stage;
    }
}

fn unasked(dir: DirIndex) -> Error {
    Error::peer(Refusal::NotDue { dir })
}
