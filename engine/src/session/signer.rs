//! Signatures of bases, computed beside the receiver's main thread, so that it goes on comparing
//! and applying meanwhile.

use std::collections::HashMap;
use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::MESSAGE_LEN;
use super::outbox::Outbox;
use crate::delta::{BlockLen, Signature};
use crate::error::Error;
use crate::fs::Root;
use crate::path::RelPath;
use crate::source::open_file;
use crate::wire::{DirIndex, FrameKind, SignatureChunk};

/// Bytes of signatures that may be on their way or unused on the sender. One larger signature is
/// allowed alone.
const OUTSTANDING_LEN_MAX: usize = 32 << 20;

/// Threads that sum one basis: more would only wait for the memory.
const THREADS_MAX: usize = 4;

/// A basis to be summed.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) dir: DirIndex,
    pub(super) entry: u32,
    pub(super) path: RelPath,
}

/// Lengths of signatures sent and not yet used.
#[derive(Default)]
struct Outstanding {
    lens: Mutex<HashMap<(DirIndex, u32), usize>>,
    used: Condvar,
}

/// The signing thread. It ends when this is dropped and its jobs are done.
pub(super) struct Signer {
    jobs: Sender<Job>,
    outstanding: Arc<Outstanding>,
}

impl Signer {
    pub(super) fn start(root: Arc<Root>, outbox: Outbox) -> Self {
        let (jobs, queue) = channel();
        let outstanding = Arc::new(Outstanding::default());
        let shared = Arc::clone(&outstanding);
        std::thread::spawn(move || sign_all(&queue, &root, &outbox, &shared));
        Signer { jobs, outstanding }
    }

    /// Queues a basis. Its verdict must have been put into the outbox before.
    pub(super) fn sign(&self, job: Job) -> Result<(), Error> {
        self.jobs
            .send(job)
            .map_err(|_| Error::stream(&std::io::ErrorKind::BrokenPipe.into()))
    }

    /// The sender has used this signature, or will not.
    pub(super) fn used(&self, dir: DirIndex, entry: u32) {
        lock(&self.outstanding.lens).remove(&(dir, entry));
        self.outstanding.used.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sign_all(queue: &Receiver<Job>, root: &Root, outbox: &Outbox, outstanding: &Outstanding) {
    for job in queue {
        // Without a signature the sender sends the whole file.
        let encoded = sign(root, &job.path).unwrap_or_default();
        let lens = lock(&outstanding.lens);
        let too_many = |lens: &mut HashMap<_, usize>| {
            !lens.is_empty() && lens.values().sum::<usize>() + encoded.len() > OUTSTANDING_LEN_MAX
        };
        let waited = outstanding.used.wait_while(lens, too_many);
        waited
            .unwrap_or_else(PoisonError::into_inner)
            .insert((job.dir, job.entry), encoded.len());
        if send(outbox, &job, &encoded).is_err() {
            return;
        }
    }
}

fn sign(root: &Root, path: &RelPath) -> std::io::Result<Vec<u8>> {
    let (dir, name) = path.split().ok_or(std::io::ErrorKind::InvalidInput)?;
    let file: File = open_file(&root.open_dir(&dir)?, name)?;
    let len = file.metadata()?.len();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(THREADS_MAX);
    let signature = Signature::of_file(&file, len, BlockLen::for_file_len(len), threads)?;
    let mut encoded = Vec::with_capacity(signature.encoded_len());
    signature.encode(&mut encoded);
    Ok(encoded)
}

fn send(outbox: &Outbox, job: &Job, encoded: &[u8]) -> Result<(), Error> {
    let mut rest = encoded;
    loop {
        let (bytes, tail) = rest.split_at(rest.len().min(MESSAGE_LEN));
        rest = tail;
        let last = rest.is_empty();
        let chunk = SignatureChunk {
            dir: job.dir,
            entry: job.entry,
            last,
            bytes,
        };
        let mut writer = outbox.lock();
        writer.begin(FrameKind::Signature);
        chunk.put(writer.payload());
        writer.finish()?;
        if last {
            return writer.flush();
        }
    }
}
