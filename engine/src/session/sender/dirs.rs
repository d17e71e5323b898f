//! Announcing directories and answering what the receiver says about them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Sender;
use super::answer::Answer;
use super::asked::Verdicts;
use super::reading::FileSource;
use crate::attributes::Attributes;
use crate::digest::EntryPrint;
use crate::error::Error;
use crate::ids::{IdKind, name_of};
use crate::path::RelPath;
use crate::refusal::Refusal;
use crate::scan::{NewId, ScannedDir};
use crate::session::place::Place;
use crate::session::prints;
use crate::session::window::HeldDir;
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

/// The directories on their way.
#[derive(Default)]
pub(super) struct Dirs {
    /// The verdict on the root itself is due.
    pub(super) root_verdict_due: bool,
    /// The directory announced last.
    announced: Option<(DirIndex, RelPath)>,
    /// Those below this index have been compared, as far as the receiver has said.
    compared_below: DirIndex,
    /// The one below which no first answer is due: those come in the order of the directories.
    answered_below: DirIndex,
    /// Directories announced or scanned, in order, whose outcome is not reported yet.
    pub(super) pending: VecDeque<PendingDir>,
    /// The last directory that the receiver lacks: everything below goes unasked.
    lacking: Option<Lacking>,
    /// Directories about which the receiver has said what it has, and waits for the rest.
    pub(super) answers: VecDeque<DirIndex>,
    /// What is held of the receiver's prints for these and for others.
    held_prints: usize,
    /// Directories to be sent whole.
    pub(super) pushes: VecDeque<Arc<HeldDir>>,
    /// The same, as long as they have to wait for the directory above all that is lacking there.
    waiting: HashMap<DirIndex, Vec<Arc<HeldDir>>>,
}

impl Dirs {
    /// Whether the outcome of everything announced is known.
    pub(super) fn are_compared(&self) -> bool {
        self.pending.is_empty() && !self.root_verdict_due
    }

    /// Whether the first answer about that directory may come.
    fn is_first_due(&self, dir: DirIndex) -> bool {
        dir >= self.answered_below && dir >= self.compared_below
    }

    /// Takes a directory at the front whose outcome is known.
    pub(super) fn next_resolved(&mut self) -> Option<PendingDir> {
        if self.root_verdict_due || !self.pending.front()?.stage.is_resolved() {
            return None;
        }
        self.pending.pop_front()
    }
}

impl Sender<'_> {
    /// A directory was scanned: announce it, or queue it if the receiver lacks it anyway.
    pub(super) fn scanned(&mut self, mut held: HeldDir) -> Result<(), Error> {
        let dir = &mut held.dir;
        self.telling.count(dir);
        for (kind, id, is) in std::mem::take(&mut dir.new_ids) {
            self.say(&match is {
                NewId::Named(name) => ToReceiver::Id { kind, id, name },
                NewId::Mapped(becomes) => ToReceiver::MappedId { kind, id, becomes },
            })?;
        }
        let lacking = self.dirs.lacking.as_ref();
        let lacking = lacking.filter(|lacking| dir.path.is_within(&lacking.root));
        let above = lacking.map(|lacking| lacking.parent);
        let held = Arc::new(held);
        let dir = &held.dir;
        if let Some(above) = above {
            self.queue_push(&held, above);
            self.dirs.pending.push_back(PendingDir {
                held,
                stage: Stage::New,
            });
            self.report();
            return Ok(());
        }
        self.telling.summary.dirs_compared += 1;
        self.announce(dir)?;
        self.dirs.pending.push_back(PendingDir {
            held,
            stage: Stage::Waiting,
        });
        Ok(())
    }

    fn announce(&mut self, dir: &ScannedDir) -> Result<(), Error> {
        let place = Place::after(self.dirs.announced.as_ref(), dir.index, &dir.path);
        self.say(&ToReceiver::Dir {
            skipped: place.skipped,
            up: place.up,
            shared: place.shared,
            rest: place.rest.to_vec(),
            digest: dir.digest,
            complete: dir.complete,
        })?;
        self.dirs.announced = Some((dir.index, dir.path.clone()));
        self.say_other(dir)
    }

    /// Says with which metadata the directory was read, if those are not the listed ones.
    pub(super) fn say_other(&self, dir: &ScannedDir) -> Result<(), Error> {
        let Some((meta, attributes)) = dir.other.clone() else {
            return Ok(());
        };
        self.say(&ToReceiver::OtherDir {
            dir: dir.index,
            meta,
            attributes,
        })
    }

    /// Queues a directory that the receiver lacks. `above` is the one above all that it lacks here.
    fn queue_push(&mut self, held: &Arc<HeldDir>, above: DirIndex) {
        if self.options.dry_run {
            return;
        }
        match self.dirs.waiting.get_mut(&above) {
            Some(waiting) => waiting.push(Arc::clone(held)),
            None => self.dirs.pushes.push_back(Arc::clone(held)),
        }
    }

    /// Lets what is lacking below `above` wait until the entries of that directory have been
    /// accepted: if prints collided there, the receiver has forgotten the answer and does not know
    /// yet what is to be there.
    fn wait_for(&mut self, above: DirIndex) {
        let at = self.find(above).ok();
        let pending = at.and_then(|at| self.dirs.pending.get(at));
        let is_open = pending.is_some_and(|pending| {
            matches!(
                pending.stage,
                Stage::Differs { .. } | Stage::Answering { .. } | Stage::Sent { .. }
            )
        });
        if is_open {
            self.dirs.waiting.entry(above).or_default();
        }
    }

    /// The entries of `above` have been accepted.
    fn go_on_below(&mut self, above: DirIndex) {
        self.dirs
            .pushes
            .extend(self.dirs.waiting.remove(&above).unwrap_or_default());
    }

    /// Announces ids that are used before, or after, the directories announce theirs.
    pub(super) fn announce_ids(
        &self,
        uid: u32,
        gid: u32,
        attributes: &Attributes,
    ) -> Result<(), Error> {
        let own = [(IdKind::User, uid), (IdKind::Group, gid)];
        for (kind, id) in own.into_iter().chain(attributes.ids()) {
            let becomes = self.terms.recast.becomes(kind, id);
            if let Some(becomes) = becomes {
                self.say(&ToReceiver::MappedId { kind, id, becomes })?;
            } else if !self.options.numeric_ids
                && id != 0
                && let Some(name) = name_of(kind, id)
            {
                self.say(&ToReceiver::Id { kind, id, name })?;
            }
        }
        Ok(())
    }

    /// Every directory below `below` that has had no other answer is equal.
    pub(super) fn compared(&mut self, below: DirIndex) -> Result<(), Error> {
        let announced = self.dirs.announced.as_ref();
        if below > announced.map_or(0, |(last, _)| last + 1) {
            return Err(unasked(below));
        }
        let before = std::mem::replace(&mut self.dirs.compared_below, below);
        let is_before = |pending: &PendingDir| pending.held.dir.index < before;
        let from = self.dirs.pending.partition_point(is_before);
        for pending in self.dirs.pending.iter_mut().skip(from) {
            if pending.held.dir.index >= below {
                break;
            }
            if matches!(pending.stage, Stage::Waiting) {
                pending.stage = Stage::Same;
            }
        }
        self.report();
        Ok(())
    }

    pub(super) fn lacks(&mut self, dir: DirIndex) -> Result<(), Error> {
        let at = self.find(dir)?;
        // In a dry run there may be no root.
        let may_lack = dir != 0 || self.options.dry_run;
        let is_due = self.dirs.is_first_due(dir);
        let lacking = match self.dirs.pending.get(at) {
            Some(PendingDir {
                held,
                stage: Stage::Waiting,
            }) if is_due && may_lack => Lacking {
                root: held.dir.path.clone(),
                parent: held.dir.parent,
            },
            _ => return Err(unasked(dir)),
        };
        self.dirs.answered_below = dir + 1;
        let mut found = Vec::new();
        for pending in self.dirs.pending.iter_mut().skip(at) {
            if !pending.held.dir.path.is_within(&lacking.root) {
                break;
            }
            pending.stage = Stage::New;
            found.push(Arc::clone(&pending.held));
        }
        let above = lacking.parent;
        self.wait_for(above);
        found.iter().for_each(|held| self.queue_push(held, above));
        self.dirs.lacking = Some(lacking);
        self.report();
        Ok(())
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
        let is_due = self.dirs.is_first_due(dir);
        let Some(pending) = self.dirs.pending.get_mut(at) else {
            return Err(unasked(dir));
        };
        let prints = match std::mem::replace(&mut pending.stage, Stage::Waiting) {
            Stage::Waiting if is_due => {
                self.telling.summary.dirs_exchanged += 1;
                self.dirs.answered_below = dir + 1;
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
        self.dirs.held_prints += more_count;
        if self.dirs.held_prints > PRINTS_MAX {
            let max = PRINTS_MAX;
            return Err(Error::peer(Refusal::TooManyPrints { max }));
        }
        if !last {
            pending.stage = Stage::Differs { print_len, prints };
            return Ok(());
        }
        self.dirs.held_prints -= prints.len();
        let answer = Answer::to(&pending.held.dir, &self.fields, print_len, &prints);
        self.dirs.held_prints += answer.held_prints();
        pending.stage = Stage::Answering { print_len, answer };
        self.dirs.answers.push_back(dir);
        while self.outbox.state().has_room() && self.answer_first()? {}
        Ok(())
    }

    /// Sends a part of the answer about the first directory that waits for one, if any does.
    pub(super) fn answer_first(&mut self) -> Result<bool, Error> {
        let first = self.dirs.answers.front().copied();
        first.map_or(Ok(false), |dir| self.answer(dir).map(|()| true))
    }

    fn answer(&mut self, dir: DirIndex) -> Result<(), Error> {
        let at = self.find(dir)?;
        let Some(PendingDir { held, stage }) = self.dirs.pending.get_mut(at) else {
            return Err(unasked(dir));
        };
        let Stage::Answering { print_len, answer } = stage else {
            return Err(unasked(dir));
        };
        let message = answer.next_part(dir, &held.dir.entries);
        if matches!(message, ToReceiver::Entries { last: true, .. }) {
            self.dirs.answers.pop_front();
            self.dirs.held_prints -= answer.held_prints();
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
        if dir == 0 && self.dirs.root_verdict_due {
            self.dirs.root_verdict_due = false;
            self.report_root(more);
            return Ok(());
        }
        let at = self.find(dir)?;
        let Some(pending) = self.dirs.pending.get_mut(at) else {
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
            let verdict = verdict?;
            let Some(&position) = positions.get(verdict.entry as usize) else {
                continue;
            };
            let position = position as usize;
            if verdict.want == Want::Nothing {
                self.links.note_present(&held, position, &verdict);
                continue;
            }
            let entry = verdict.entry;
            let file = FileSource::new(&held, position, entry)
                .ok_or_else(|| Error::peer(Refusal::WantWithoutContent { dir, entry }))?;
            if self.options.dry_run {
                continue;
            }
            if verdict.want == Want::Delta {
                self.deltas.expect(&file);
            } else if verdict.differences.new
                && self.links.hold_back(&held, position, verdict.entry)
            {
                later.push(verdict.entry);
            } else {
                self.content.asked.push_back(&file);
            }
        }
        self.say_later(dir, &later)?;
        if let Some(pending) = self.dirs.pending.get_mut(at) {
            pending.stage = Stage::Judged {
                positions,
                verdicts,
            };
        }
        self.report();
        Ok(())
    }

    fn find(&self, dir: DirIndex) -> Result<usize, Error> {
        self.dirs
            .pending
            .binary_search_by_key(&dir, |pending| pending.held.dir.index)
            .map_err(|_| unasked(dir))
    }
}

fn unasked(dir: DirIndex) -> Error {
    Error::peer(Refusal::NotDue { dir })
}
