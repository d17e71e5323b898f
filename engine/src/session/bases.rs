//! The bases of deltas: described to the sender and summed beside the receiver's main thread, so
//! that it goes on comparing and applying meanwhile.
//!
//! A short basis is told by its signature, or if the file has grown by its sum. A long one is told
//! by a sample, and then answers what the sender asks. If the sender wants its tree, much of it is
//! likely to stay: then the staged copy is made in the same reading.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::outbox::Outbox;
use super::prefix::{ASK_SIGNATURE, Prefix};
use crate::delta::exchange::{AskError, BasisSums, MAX_ASK_LEN};
use crate::delta::{BlockLen, Signature, StagedCopy, is_mostly_hole};
use crate::error::{Error, ErrorKind};
use crate::fs::Root;
use crate::path::RelPath;
use crate::refusal::Refusal;
use crate::source::open_file;
use crate::wire::{DirIndex, ToSender};

/// Bases from this length on are compared by exchange: below, a signature costs no more.
pub(super) const EXCHANGE_LEN_MIN: u64 = 1 << 20;

/// Bytes of asks that may wait. Honest ones are far below: one for each open basis.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// Threads that sum one file: more would only wait for the memory.
const THREADS_MAX: usize = 4;

/// The number of a file: its directory and its position there.
pub(super) type FileKey = (DirIndex, u32);

/// A basis to be described.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) file: FileKey,
    pub(super) path: RelPath,
    /// What it is, if that is not what is at `path`: at least [`EXCHANGE_LEN_MIN`] long.
    pub(super) basis: Option<File>,
    /// The length that the file is to have.
    pub(super) result_len: u64,
}

/// Where the staged copy of a basis is left for the main thread.
#[derive(Clone, Debug, Default)]
pub(super) struct CopySlot(Arc<Mutex<Option<StagedCopy>>>);

impl CopySlot {
    /// The copy, if it has been made.
    pub(super) fn take(&self) -> Option<StagedCopy> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, copy: StagedCopy) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
    }
}

/// An empty file to be made a copy of a basis.
#[derive(Debug)]
pub(super) struct CopyOrder {
    pub(super) file: File,
    pub(super) sparse: bool,
    pub(super) slot: CopySlot,
}

enum Event {
    Describe(Job),
    Ask {
        file: FileKey,
        last: bool,
        bytes: Vec<u8>,
        copy: Option<CopyOrder>,
    },
    /// The sender asks no more about this basis.
    Used(FileKey),
}

/// Whoever describes bases.
pub(super) struct Bases {
    worker: Worker,
    queued_bytes: Arc<AtomicUsize>,
    refused: Arc<OnceLock<Error>>,
}

enum Worker {
    /// A thread. It ends when this is dropped and its jobs are done.
    Thread(Sender<Event>),
    /// Whoever calls.
    Inline(Box<Describer>),
}

impl Bases {
    /// With a thread of its own, if `threaded`.
    pub(super) fn start(root: Arc<Root>, outbox: Outbox, threaded: bool) -> Self {
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let refused = Arc::new(OnceLock::new());
        let mut describer = Describer {
            refused: Arc::clone(&refused),
            root,
            outbox,
            queued_bytes: Arc::clone(&queued_bytes),
            open: HashMap::new(),
        };
        let worker = if threaded {
            let (events, queue) = channel();
            std::thread::spawn(move || describer.run(&queue));
            Worker::Thread(events)
        } else {
            Worker::Inline(Box::new(describer))
        };
        Bases {
            worker,
            queued_bytes,
            refused,
        }
    }

    /// Whether something that was asked has been refused meanwhile.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.refused.get().cloned().map_or(Ok(()), Err)
    }

    /// Describes a basis. Its verdict must have been put into the outbox before.
    pub(super) fn describe(&mut self, job: Job) -> Result<(), Error> {
        self.send(Event::Describe(job))
    }

    /// Passes on a piece of what the sender asks; `copy` if this is the time to stage a copy.
    pub(super) fn ask(
        &mut self,
        file: FileKey,
        last: bool,
        bytes: &[u8],
        copy: Option<CopyOrder>,
    ) -> Result<(), Error> {
        let before = self.queued_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        if before + bytes.len() > QUEUED_BYTES_MAX {
            let max = QUEUED_BYTES_MAX;
            return Err(Error::peer(Refusal::AskedTooMuch { max }));
        }
        let bytes = bytes.to_vec();
        self.send(Event::Ask {
            file,
            last,
            bytes,
            copy,
        })
    }

    /// The sender has all it needs of this basis, or wants none of it.
    pub(super) fn used(&mut self, file: FileKey) {
        // If the thread is gone, so is what it held.
        let _ = self.send(Event::Used(file));
    }

    fn send(&mut self, event: Event) -> Result<(), Error> {
        let sent = match &mut self.worker {
            Worker::Inline(describer) => return describer.handle(event),
            Worker::Thread(events) => events.send(event),
        };
        sent.map_err(|_| {
            let broken = || Error::stream(&io::ErrorKind::BrokenPipe.into());
            self.refused.get().cloned().unwrap_or_else(broken)
        })
    }
}

/// What the sender may still ask about a basis.
#[derive(Default)]
enum Askable {
    /// Nothing: it has the signature, or the basis cannot be read.
    #[default]
    Nothing,
    /// The signature of the basis at this path: it has the sum of the whole.
    Signature(RelPath),
    /// As much as it wants.
    Sums(Box<BasisSums<File>>),
}

/// A basis that the sender has heard of.
struct Open {
    askable: Askable,
    result_len: u64,
    /// What has come of the present ask.
    ask: Vec<u8>,
}

struct Describer {
    refused: Arc<OnceLock<Error>>,
    root: Arc<Root>,
    outbox: Outbox,
    queued_bytes: Arc<AtomicUsize>,
    open: HashMap<FileKey, Open>,
}

impl Describer {
    fn run(&mut self, queue: &Receiver<Event>) {
        loop {
            // What has been put goes out before anything is waited for.
            let event = match queue.try_recv() {
                Err(TryRecvError::Empty) if self.outbox.lock().flush().is_ok() => queue.recv().ok(),
                event => event.ok(),
            };
            let Some(event) = event else {
                return;
            };
            if self.handle(event).is_err() {
                // The link is broken, as the main thread will see.
                return;
            }
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Describe(job) => {
                // Without a description the sender sends the whole file.
                let (askable, bytes) = self.describe(&job).unwrap_or_default();
                self.outbox.put_exchange(job.file, &bytes)?;
                let open = Open {
                    askable,
                    result_len: job.result_len,
                    ask: Vec::new(),
                };
                self.open.insert(job.file, open);
                Ok(())
            }
            Event::Ask {
                file,
                last,
                bytes,
                copy,
            } => {
                self.queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                self.asked(file, last, &bytes, copy)
            }
            Event::Used(file) => {
                self.open.remove(&file);
                Ok(())
            }
        }
    }

    fn describe(&self, job: &Job) -> io::Result<(Askable, Vec<u8>)> {
        let file = match &job.basis {
            Some(file) => file.try_clone()?,
            None => self.open_basis(&job.path)?,
        };
        let metadata = file.metadata()?;
        if is_mostly_hole(&metadata) {
            return Ok((Askable::Nothing, Vec::new()));
        }
        let len = metadata.len();
        if len >= EXCHANGE_LEN_MIN {
            let sums = BasisSums::new(file, len, thread_count())?;
            let sample = sums.sample()?;
            return Ok((Askable::Sums(Box::new(sums)), sample));
        }
        if len < job.result_len {
            let prefix = Prefix::of(&file, len)?;
            return Ok((Askable::Signature(job.path.clone()), prefix.encode()));
        }
        Ok((Askable::Nothing, signature(&file, len)?))
    }

    fn open_basis(&self, path: &RelPath) -> io::Result<File> {
        let (dir, name) = path.split().ok_or(io::ErrorKind::InvalidInput)?;
        open_file(&self.root.open_dir(&dir)?, name)
    }

    /// The signature of a basis that has grown; nothing if it cannot be read any more.
    fn signature_of(&self, path: &RelPath) -> Vec<u8> {
        let signed = self.open_basis(path).and_then(|file| {
            let len = file.metadata()?.len().min(EXCHANGE_LEN_MIN);
            signature(&file, len)
        });
        signed.unwrap_or_default()
    }

    fn asked(
        &mut self,
        file: FileKey,
        last: bool,
        bytes: &[u8],
        copy: Option<CopyOrder>,
    ) -> Result<(), Error> {
        let Some(Open {
            askable,
            result_len,
            ask: received,
        }) = self.open.get_mut(&file)
        else {
            return self.refuse(Refusal::AskNotOffered);
        };
        let sums = match askable {
            Askable::Sums(sums) => sums,
            Askable::Signature(path) if last && bytes == ASK_SIGNATURE => {
                let path = std::mem::take(path);
                *askable = Askable::Nothing;
                return self.outbox.put_exchange(file, &self.signature_of(&path));
            }
            _ => return self.refuse(Refusal::AskOfNothing),
        };
        received.extend_from_slice(bytes);
        if received.len() > MAX_ASK_LEN {
            let max = MAX_ASK_LEN;
            return self.refuse(Refusal::AskLen { max });
        }
        if !last {
            return Ok(());
        }
        let ask = std::mem::take(received);
        if sums.needs_tree(&ask)
            && let Some(order) = copy
        {
            let (len, result_len, threads) = (sums.basis_len(), *result_len, thread_count());
            let CopyOrder { file, sparse, slot } = order;
            let made = StagedCopy::make(sums.file(), file, len, result_len, sparse, threads);
            // If it could not be made, the same error will be met, and reported, when the file is
            // staged in the usual way.
            if let Ok(copy) = made {
                sums.set_tree(copy.tree());
                slot.put(copy);
            }
        }
        match sums.answer(&ask) {
            Ok(answer) => self.outbox.put_exchange(file, &answer),
            // The sender gives the exchange up and sends the whole.
            Err(AskError::Basis(_)) => self.outbox.put_exchange(file, &[]),
            Err(AskError::Peer(error)) => self.refuse(Refusal::Ask { error }),
        }
    }

    /// Ends the session from here: the main thread may be waiting for the sender.
    fn refuse(&self, refusal: Refusal) -> Result<(), Error> {
        let error = Error::peer(refusal);
        let _ = self.refused.set(error.clone());
        let fatal = ToSender::Fatal {
            kind: ErrorKind::Stream,
            message: error.message.clone(),
        };
        let mut writer = self.outbox.lock();
        writer.put_to_sender(&fatal)?;
        writer.flush()?;
        Err(error)
    }
}

fn signature(file: &File, len: u64) -> io::Result<Vec<u8>> {
    let signature = Signature::of_file(file, len, BlockLen::for_file_len(len), 1)?;
    let mut encoded = Vec::with_capacity(signature.encoded_len());
    signature.encode(&mut encoded);
    Ok(encoded)
}

/// Threads for one file.
pub(super) fn thread_count() -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    threads.min(THREADS_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::Fault;
    use crate::refusal::Refusal;

    #[test]
    fn asks_pile_up_to_a_limit_while_nothing_is_answered() {
        let temp = tempfile::tempdir().unwrap();
        let root = Arc::new(Root::from_fd(
            File::open(temp.path()).unwrap().into(),
            temp.path().to_owned(),
        ));
        let outbox = Outbox::new(Box::new(io::sink()));
        let mut bases = Bases::start(root, outbox.clone(), true);
        // The thread that answers waits for the link.
        let _busy = outbox.lock();
        let piece = vec![0; 1 << 20];
        // It may have taken one before.
        let refused = (0..=QUEUED_BYTES_MAX / piece.len() + 1)
            .find_map(|_| bases.ask((0, 0), false, &piece, None).err());
        let max = QUEUED_BYTES_MAX;
        let refused = refused.map(|e| e.fault);
        assert!(matches!(
            refused,
            Some(Fault::Peer(refusal)) if *refusal == Refusal::AskedTooMuch { max }
        ));
    }
}
