//! The whole-file sum of a result, taken beside the thread that reads and writes it: summing costs
//! about as much as the copying itself, and another core may be free.

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use crate::page_buf::PageBuf;

/// Zero bytes summed at once.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// Pieces that may wait to be summed.
const QUEUE_LEN: usize = 4;

/// Sums bytes in order. It begins on the caller's thread, and stays there unless told otherwise.
#[derive(Debug)]
pub(super) enum Summer {
    Here {
        hasher: Box<blake3::Hasher>,
        spare: PageBuf,
    },
    Beside(Beside),
}

/// A summing thread.
#[derive(Debug)]
pub(super) struct Beside {
    pieces: SyncSender<Piece>,
    /// Buffers whose bytes have been summed.
    used: Receiver<PageBuf>,
    thread: JoinHandle<blake3::Hasher>,
}

#[derive(Debug)]
enum Piece {
    Bytes(PageBuf),
    Zeros(u64),
}

impl Summer {
    pub(super) fn new() -> Self {
        Summer::Here {
            hasher: Box::default(),
            spare: PageBuf::default(),
        }
    }

    /// Moves to a thread of its own, if one can be had.
    pub(super) fn move_beside(&mut self) {
        let Summer::Here { hasher, .. } = self else {
            return;
        };
        let mut hasher = (**hasher).clone();
        let (pieces, queue) = sync_channel::<Piece>(QUEUE_LEN);
        let (give_back, used) = channel();
        let sum_all = move || {
            for piece in queue {
                match piece {
                    Piece::Bytes(bytes) => {
                        hasher.update(&bytes);
                        // If nobody wants the buffer any more, it is just dropped.
                        let _ = give_back.send(bytes);
                    }
                    Piece::Zeros(len) => update_zeros(&mut hasher, len),
                }
            }
            hasher
        };
        if let Ok(thread) = std::thread::Builder::new().spawn(sum_all) {
            *self = Summer::Beside(Beside {
                pieces,
                used,
                thread,
            });
        }
    }

    /// A buffer to read into, for [`update_with`](Self::update_with).
    pub(super) fn buffer(&mut self) -> PageBuf {
        match self {
            Summer::Here { spare, .. } => std::mem::take(spare),
            Summer::Beside(beside) => beside.used.try_recv().unwrap_or_default(),
        }
    }

    /// Sums `bytes`.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Summer::Here { hasher, .. } => {
                hasher.update(bytes);
            }
            Summer::Beside(_) => {
                let mut buffer = self.buffer();
                buffer.resize(bytes.len());
                buffer.copy_from_slice(bytes);
                self.update_with(buffer);
            }
        }
    }

    /// Sums the bytes of a buffer that the caller is done with.
    pub(super) fn update_with(&mut self, buffer: PageBuf) {
        match self {
            Summer::Here { hasher, spare } => {
                hasher.update(&buffer);
                *spare = buffer;
            }
            Summer::Beside(beside) => beside.put(Piece::Bytes(buffer)),
        }
    }

    /// Sums `len` zero bytes.
    pub(super) fn update_zeros(&mut self, len: u64) {
        match self {
            Summer::Here { hasher, .. } => update_zeros(hasher, len),
            Summer::Beside(beside) => beside.put(Piece::Zeros(len)),
        }
    }

    /// The sum; `None` if the summing thread died.
    pub(super) fn finish(self) -> Option<blake3::Hash> {
        match self {
            Summer::Here { hasher, .. } => Some(hasher.finalize()),
            Summer::Beside(Beside { pieces, thread, .. }) => {
                drop(pieces);
                thread.join().ok().map(|hasher| hasher.finalize())
            }
        }
    }
}

impl Beside {
    fn put(&self, piece: Piece) {
        // It only fails if the thread died, which `finish` reports.
        let _ = self.pieces.send(piece);
    }
}

fn update_zeros(hasher: &mut blake3::Hasher, len: u64) {
    let mut left = len;
    while left > 0 {
        let step = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        let zeros = ZEROS.get(..step).unwrap_or_default();
        hasher.update(zeros);
        left -= zeros.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_same_here_and_beside() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|i| (i / 3) as u8).collect();
        let mut sums = Vec::new();
        for move_at in [0, 1, 2, 9] {
            let mut summer = Summer::new();
            for (step, piece) in bytes.chunks(100_000).enumerate() {
                if step == move_at {
                    summer.move_beside();
                }
                summer.update(piece);
                let mut buffer = summer.buffer();
                buffer.resize(piece.len());
                buffer.copy_from_slice(piece);
                summer.update_with(buffer);
                summer.update_zeros(70_000);
            }
            sums.push(summer.finish());
        }
        assert!(sums.iter().all(|sum| sum.is_some() && *sum == sums[0]));
    }
}
