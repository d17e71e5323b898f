//! Deltas: from what the receiver tells about its basis to the means by which a file is sent.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::Arc;

use super::asked::ExpectedFiles;
use super::reading::{DirCache, FileSource, Key, Opened};
use crate::delta::exchange::{Comparison, ComparisonError, MAX_ANSWER_LEN, Plan, Step, is_sample};
use crate::delta::{BlockLen, IndexedSignature, Signature, is_mostly_hole};
use crate::error::Error;
use crate::refusal::Refusal;
use crate::session::SIGNATURE_LEN_MIN;
use crate::session::bases::thread_count;
use crate::session::prefix::{self, ASK_SIGNATURE, Prefix};
use crate::wire::{DirIndex, EXCHANGES_MAX, ExchangePiece};

/// Blocks that a signature may claim: a gigabyte in its smallest blocks.
const SIGNATURE_BLOCKS_MAX: u64 = 1 << 20;

/// Bytes about bases that are held until they are used. What comes on top is forgotten, and its
/// files are sent whole.
const RECEIVED_BYTES_MAX: usize = 64 << 20;

/// Files that are being prepared to be sent, or are: each may hold the index of a signature.
const PREPARED_MAX: usize = 2;

/// Files sent by a delta of which it is not known how they came out: with more, no further one is
/// prepared. A receiver settles one as soon as it has it.
const UNSETTLED_MAX: usize = 4096;

/// How the content of a file is sent.
pub(in crate::session) enum Means {
    /// Whole; holes are told by their length.
    Whole,
    /// Whole, when it has been opened already: it was under a lease.
    Opened(Opened),
    /// Whole, though the receiver may have begun to make it from a copy of its basis, in which no
    /// holes are told.
    Dense,
    /// By searching it for the blocks of a signature.
    Signature(Arc<IndexedSignature>),
    /// By what an exchange found out.
    Plan(Box<Plan>, Opened),
}

/// What is to be asked about a basis, and the source if it is to be summed meanwhile.
type Asked = (Vec<u8>, Option<Box<Compared>>);

impl Means {
    /// How it is sent once more when it changed meanwhile: what was found out about it, or opened,
    /// is for one state.
    pub(super) fn once_more(&self) -> Means {
        match self {
            Means::Plan(..) | Means::Dense => Means::Dense,
            Means::Opened(..) | Means::Whole => Means::Whole,
            Means::Signature(index) => Means::Signature(Arc::clone(index)),
        }
    }
}

/// A source that is, or has been, compared with a basis.
pub(in crate::session) struct Compared {
    comparison: Comparison<Arc<File>>,
    opened: Opened,
}

impl Compared {
    pub(super) fn sum_ahead(&mut self) {
        // An error will come again with the answer, and then the file goes over whole.
        let _ = self.comparison.sum_ahead();
    }
}

/// A file whose basis the receiver describes.
pub(in crate::session) struct DeltaTask {
    file: FileSource,
    /// What has come of the present message, unless it was forgotten.
    received: Option<Vec<u8>>,
    stage: Stage,
}

/// How far the talk about a basis is.
enum Stage {
    /// Nothing has been asked.
    Described,
    /// The signature is due.
    SignatureAsked,
    Compared(Box<Compared>),
    /// The source is being summed; the answer may have come meanwhile.
    Summing {
        is_answered: bool,
    },
}

/// What a message about a basis leads to.
pub(in crate::session) enum Next {
    Ask(Vec<u8>, Box<Compared>),
    AskSignature,
    Send(Means),
}

/// The files of which the receiver has a basis.
#[derive(Default)]
pub(super) struct Deltas {
    /// Whose bases are to be described.
    expected: ExpectedFiles,
    /// About whose basis something more is awaited.
    awaited: HashMap<Key, DeltaTask>,
    /// About whose basis something has been said.
    ready: VecDeque<DeltaTask>,
    /// How many are being prepared, and those that can be sent.
    preparing: usize,
    prepared: VecDeque<(FileSource, Means)>,
    /// Those sent, or about to be, and not settled: the receiver may ask for the whole.
    sources: HashMap<Key, FileSource>,
    /// Bytes about bases that wait to be used.
    received_bytes: usize,
    /// Comparisons that have asked something, each with an open file.
    open_exchanges: usize,
}

impl Deltas {
    /// The receiver wants a file, and is going to describe its basis.
    pub(super) fn expect(&mut self, file: &FileSource) {
        self.expected.push(file);
    }

    fn wait_for(&mut self, file: FileSource, stage: Stage) {
        let key = file.key();
        let task = DeltaTask {
            file,
            received: Some(Vec::new()),
            stage,
        };
        self.awaited.insert(key, task);
    }

    /// Those whose bases have been described, as far as they have not been sent.
    fn under_way(&self) -> usize {
        self.awaited.len() + self.ready.len() + self.preparing + self.prepared.len()
    }

    /// All of them have been sent.
    pub(super) fn are_sent(&self) -> bool {
        self.expected.len() + self.under_way() == 0
    }

    /// The receiver has them as they should be, too, or asked for more.
    pub(super) fn are_settled(&self) -> bool {
        self.are_sent() && self.sources.is_empty()
    }

    /// The receiver knows how a delta came out, or has nothing to do with it any more.
    pub(super) fn settle(&mut self, dir: DirIndex, entry: u32) -> Option<FileSource> {
        self.sources.remove(&(dir, entry))
    }

    /// Takes a file that can be sent.
    pub(super) fn pop_prepared(&mut self) -> Option<(FileSource, Means)> {
        self.prepared.pop_front()
    }

    /// What has been said last about some basis, to be made something of.
    pub(super) fn pop_ready(&mut self) -> Option<Box<DeltaTask>> {
        let is_full = self.preparing + self.prepared.len() >= PREPARED_MAX;
        if is_full || self.sources.len() >= UNSETTLED_MAX {
            return None;
        }
        let task = self.ready.pop_front()?;
        self.preparing += 1;
        self.received_bytes -= task.received.as_ref().map_or(0, Vec::len);
        self.open_exchanges -= usize::from(matches!(task.stage, Stage::Compared(_)));
        Some(Box::new(task))
    }

    /// A piece of what the receiver says about a basis.
    pub(super) fn told(&mut self, piece: &ExchangePiece<'_>) -> Result<(), Error> {
        let key = (piece.dir, piece.entry);
        if !self.awaited.contains_key(&key)
            && let Some(file) = self.expected.take(key)
        {
            if self.under_way() >= EXCHANGES_MAX {
                return Err(too_many());
            }
            self.wait_for(file, Stage::Described);
        }
        let is_awaited = |task: &&mut DeltaTask| {
            let is_answered = true;
            !matches!(task.stage, Stage::Summing { is_answered: told } if told == is_answered)
        };
        let task = self.awaited.get_mut(&key).filter(is_awaited);
        let task = task.ok_or_else(|| Error::peer(Refusal::BasisUnannounced))?;
        if let Some(received) = &mut task.received {
            received.extend_from_slice(piece.bytes);
            self.received_bytes += piece.bytes.len();
            if received.len() > MAX_ANSWER_LEN {
                let max = MAX_ANSWER_LEN;
                return Err(Error::peer(Refusal::AnswerLen { max }));
            }
            if self.received_bytes > RECEIVED_BYTES_MAX {
                self.received_bytes -= received.len();
                task.received = None;
            }
        }
        if !piece.last {
            return Ok(());
        }
        if let Stage::Summing { is_answered } = &mut task.stage {
            *is_answered = true;
        } else {
            self.ready.extend(self.awaited.remove(&key));
        }
        Ok(())
    }

    /// A source has been summed.
    pub(super) fn summed(&mut self, key: Key, compared: Box<Compared>) {
        let Some(task) = self.awaited.get_mut(&key) else {
            return;
        };
        let before = std::mem::replace(&mut task.stage, Stage::Compared(compared));
        if matches!(before, Stage::Summing { is_answered: true }) {
            self.ready.extend(self.awaited.remove(&key));
        }
    }

    /// It is known what follows from what was said about the basis of a file: what is to be asked,
    /// and the source if it is to be summed meanwhile.
    pub(super) fn prepared(
        &mut self,
        file: FileSource,
        next: Next,
    ) -> Result<Option<Asked>, Error> {
        self.preparing -= 1;
        match next {
            Next::Ask(ask, compared) => {
                self.open_exchanges += 1;
                if self.open_exchanges > EXCHANGES_MAX {
                    return Err(too_many());
                }
                self.wait_for(file, Stage::Summing { is_answered: false });
                Ok(Some((ask, Some(compared))))
            }
            Next::AskSignature => {
                self.wait_for(file, Stage::SignatureAsked);
                Ok(Some((ASK_SIGNATURE.to_vec(), None)))
            }
            Next::Send(means) => {
                self.sources.insert(file.key(), file.clone());
                self.prepared.push_back((file, means));
                Ok(None)
            }
        }
    }
}

/// More is said of bases than an honest receiver says at once.
fn too_many() -> Error {
    let max = EXCHANGES_MAX;
    Error::peer(Refusal::TooManyExchanges { max })
}

impl DeltaTask {
    /// What follows from a message: a signature, a sample, an answer, or nothing, which means that
    /// the basis cannot be used.
    pub(super) fn next(self) -> (FileSource, Result<Next, Error>) {
        let DeltaTask {
            file,
            received,
            stage,
        } = self;
        let next = next(&file, stage, &received.unwrap_or_default());
        (file, next)
    }
}

fn next(file: &FileSource, stage: Stage, received: &[u8]) -> Result<Next, Error> {
    let step = match (stage, received) {
        (Stage::Compared(_), []) => return Ok(Next::Send(Means::Dense)),
        (_, []) => return Ok(Next::Send(Means::Whole)),
        (Stage::Compared(mut compared), answer) => {
            let step = compared.comparison.answer(answer);
            step.map(|step| (step, compared))
        }
        (Stage::Described, sample) if is_sample(sample) => {
            let opened = DirCache::default().open(file).ok();
            let Some(opened) = opened.filter(|opened| !is_mostly_hole(&opened.before)) else {
                // The same error comes again when it is sent, and is reported.
                return Ok(Next::Send(Means::Whole));
            };
            let (source, len) = (Arc::clone(&opened.file), opened.before.len());
            let started = Comparison::start(source, len, thread_count(), received);
            started.map(|(comparison, step)| (step, Box::new(Compared { comparison, opened })))
        }
        (Stage::Described, [prefix::FORMAT, ..]) => {
            let basis = Prefix::decode(received).ok_or_else(|| Error::peer(Refusal::PrefixSum))?;
            return Ok(after_prefix(file, &basis));
        }
        (_, signature) => {
            let decoded = Signature::decode(signature, SIGNATURE_BLOCKS_MAX);
            let decoded = decoded.map_err(|error| Error::peer(Refusal::Signature { error }));
            return Ok(Next::Send(Means::Signature(Arc::new(decoded?.index()))));
        }
    };
    match step {
        Ok((Step::Ask(ask), compared)) => Ok(Next::Ask(ask, compared)),
        Ok((Step::Ready(plan), compared)) => Ok(Next::Send(Means::Plan(plan, compared.opened))),
        Err(ComparisonError::Source(_)) => Ok(Next::Send(Means::Dense)),
        Err(ComparisonError::Peer(error)) => Err(Error::peer(Refusal::Exchange { error })),
    }
}

/// What to do about a basis of which the sum is known. If the source begins with it, they have that
/// part of a signature in common.
fn after_prefix(file: &FileSource, basis: &Prefix) -> Next {
    let Ok(Opened { file, before }) = DirCache::default().open(file) else {
        return Next::Send(Means::Whole);
    };
    if basis.len <= before.len() && basis.begins(&file) {
        let block_len = BlockLen::for_file_len(basis.len);
        let signature = Signature::of_file(&file, basis.len, block_len, 1);
        return Next::Send(signature.map_or(Means::Whole, |signature| {
            Means::Signature(Arc::new(signature.index()))
        }));
    }
    if basis.len < SIGNATURE_LEN_MIN {
        Next::Send(Means::Whole)
    } else {
        Next::AskSignature
    }
}
