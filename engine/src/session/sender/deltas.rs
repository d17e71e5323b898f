//! Deltas: from what the receiver tells about its basis to the means by which a file is sent.

use std::fs::{File, Metadata};

use super::Sender;
use super::reading::{DirCache, FileSource};
use crate::delta::exchange::{Comparison, ComparisonError, MAX_ANSWER_LEN, Plan, Step, is_sample};
use crate::delta::{BlockLen, IndexedSignature, Signature, is_mostly_hole};
use crate::error::Error;
use crate::refusal::Refusal;
use crate::session::SIGNATURE_LEN_MIN;
use crate::session::bases::thread_count;
use crate::session::prefix::{self, ASK_SIGNATURE, Prefix};
use crate::wire::{EXCHANGES_MAX, ExchangePiece};

/// Blocks that a signature may claim: a gigabyte in its smallest blocks.
const SIGNATURE_BLOCKS_MAX: u64 = 1 << 20;

/// Bytes about bases that are held until they are used. What comes on top is forgotten, and its
/// files are sent whole.
const RECEIVED_BYTES_MAX: usize = 64 << 20;

/// How the content of a file is sent.
pub(super) enum Means {
    /// Whole; holes are told by their length.
    Whole,
    /// Whole, when it has been opened already: it was under a lease.
    Opened(File, Metadata),
    /// Whole, though the receiver may have begun to make it from a copy of its basis, in which no
    /// holes are told.
    Dense,
    /// By searching it for the blocks of a signature.
    Signature(Box<IndexedSignature>),
    /// By what an exchange found out.
    Plan(Box<Plan>, Box<Compared>),
}

impl Means {
    /// How it is sent once more when it changed meanwhile: what was found out about it, or opened,
    /// is for one state.
    pub(super) fn once_more(&self) -> &Means {
        match self {
            Means::Plan(..) => &Means::Dense,
            Means::Opened(..) => &Means::Whole,
            Means::Whole | Means::Dense | Means::Signature(_) => self,
        }
    }

    /// How a file is sent that is mostly a hole: rolling over zeros would take time.
    pub(super) fn for_holes(&self) -> &Means {
        match self {
            Means::Signature(_) => &Means::Whole,
            _ => self,
        }
    }

    pub(super) fn tells_holes(&self) -> bool {
        matches!(self, Means::Whole | Means::Opened(..))
    }
}

/// A source that is, or has been, compared with a basis.
pub(super) struct Compared {
    pub(super) comparison: Comparison<File>,
    /// What the file was when it was opened.
    pub(super) before: Metadata,
}

/// A file whose basis the receiver describes.
pub(super) struct DeltaTask {
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
}

impl DeltaTask {
    pub(super) fn new(file: FileSource) -> Self {
        DeltaTask::at(Stage::Described, file)
    }

    fn at(stage: Stage, file: FileSource) -> Self {
        DeltaTask {
            file,
            received: Some(Vec::new()),
            stage,
        }
    }
}

/// What a message about a basis leads to.
enum Next {
    Ask(Vec<u8>, Box<Compared>),
    AskSignature,
    Send(Means),
}

impl Sender<'_> {
    /// A piece of what the receiver says about a basis.
    pub(super) fn told(&mut self, piece: &ExchangePiece<'_>) -> Result<(), Error> {
        let key = (piece.dir, piece.entry);
        let task = self.deltas.get_mut(&key);
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
        if piece.last
            && let Some(task) = self.deltas.remove(&key)
        {
            self.deltas_ready.push_back(task);
        }
        Ok(())
    }

    /// Takes in what has been said about one basis: asks on, or sends the file.
    pub(super) fn go_on(&mut self, task: DeltaTask) -> Result<(), Error> {
        let DeltaTask {
            file,
            received,
            stage,
        } = task;
        let received = received.unwrap_or_default();
        self.received_bytes -= received.len();
        self.open_exchanges -= usize::from(matches!(stage, Stage::Compared(_)));
        let key = (file.dir(), file.number());
        match self.next_step(&file, stage, &received)? {
            Next::Ask(ask, mut compared) => {
                self.open_exchanges += 1;
                if self.open_exchanges > EXCHANGES_MAX {
                    let max = EXCHANGES_MAX;
                    return Err(Error::peer(Refusal::TooManyExchanges { max }));
                }
                self.outbox.put_exchange(key, &ask)?;
                self.outbox.lock().flush()?;
                // An error will come again with the answer, and then the file goes over whole.
                let _ = compared.comparison.sum_ahead();
                let task = DeltaTask::at(Stage::Compared(compared), file);
                self.deltas.insert(key, task);
                Ok(())
            }
            Next::AskSignature => {
                self.outbox.put_exchange(key, &ASK_SIGNATURE)?;
                let task = DeltaTask::at(Stage::SignatureAsked, file);
                self.deltas.insert(key, task);
                Ok(())
            }
            Next::Send(means) => {
                self.delta_sources.insert(key, file.clone());
                self.send_large(&mut DirCache::default(), &file, &means)
            }
        }
    }

    /// What follows from a message: a signature, a sample, an answer, or nothing, which means that
    /// the basis cannot be used.
    fn next_step(&self, file: &FileSource, stage: Stage, received: &[u8]) -> Result<Next, Error> {
        let step = match (stage, received) {
            (Stage::Compared(_), []) => return Ok(Next::Send(Means::Dense)),
            (_, []) => return Ok(Next::Send(Means::Whole)),
            (Stage::Compared(mut compared), answer) => {
                let step = compared.comparison.answer(answer);
                step.map(|step| (step, compared))
            }
            (Stage::Described, sample) if is_sample(sample) => {
                let opened = DirCache::default().open(file).ok();
                let opened = opened.filter(|(_, before)| !is_mostly_hole(before));
                let Some((source, before)) = opened else {
                    // The same error comes again when it is sent, and is reported.
                    return Ok(Next::Send(Means::Whole));
                };
                let started = Comparison::start(source, before.len(), thread_count(), received);
                started.map(|(comparison, step)| (step, Box::new(Compared { comparison, before })))
            }
            (Stage::Described, [prefix::FORMAT, ..]) => {
                let basis =
                    Prefix::decode(received).ok_or_else(|| Error::peer(Refusal::PrefixSum))?;
                return Ok(after_prefix(file, &basis));
            }
            (Stage::Described | Stage::SignatureAsked, signature) => {
                let decoded = Signature::decode(signature, SIGNATURE_BLOCKS_MAX);
                let decoded = decoded.map_err(|error| Error::peer(Refusal::Signature { error }));
                let index = decoded?.index();
                return Ok(Next::Send(Means::Signature(Box::new(index))));
            }
        };
        match step {
            Ok((Step::Ask(ask), compared)) => Ok(Next::Ask(ask, compared)),
            Ok((Step::Ready(plan), compared)) => Ok(Next::Send(Means::Plan(plan, compared))),
            Err(ComparisonError::Source(_)) => Ok(Next::Send(Means::Dense)),
            Err(ComparisonError::Peer(error)) => Err(Error::peer(Refusal::Exchange { error })),
        }
    }
}

/// What to do about a basis of which the sum is known. If the source begins with it, they have that
/// part of a signature in common.
fn after_prefix(file: &FileSource, basis: &Prefix) -> Next {
    let Ok((source, before)) = DirCache::default().open(file) else {
        return Next::Send(Means::Whole);
    };
    if basis.len <= before.len() && basis.begins(&source) {
        let block_len = BlockLen::for_file_len(basis.len);
        let signature = Signature::of_file(&source, basis.len, block_len, 1);
        return Next::Send(signature.map_or(Means::Whole, |signature| {
            Means::Signature(Box::new(signature.index()))
        }));
    }
    if basis.len < SIGNATURE_LEN_MIN {
        Next::Send(Means::Whole)
    } else {
        Next::AskSignature
    }
}
