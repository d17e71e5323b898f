//! The delta engine: what must travel so that a peer's old copy of a file, the *basis*, becomes the
//! new one.
//!
//! Data goes one way, `signature -> delta -> apply`, and the modules stand in that order: the owner
//! of the basis sums it block by block ([`Signature`]); the owner of the new file, the *source*,
//! searches it for those blocks ([`diff`]) and emits ops ([`Op`]: copy from the basis, literal,
//! zero run); the first one applies them ([`Patcher`]). Everything streams: memory depends on the
//! block count, never on the file length. A match rests on 16 bytes of block sum, so the result is
//! proven only by the whole-file BLAKE3 that both [`DiffSummary`] and [`Patcher::finish`] return:
//! compare them, and send the file [`whole`] if they differ.

mod block;
mod signature;
mod tree;
mod weak;

mod emit;
mod filter;
mod index;
mod lanes;
mod roll;
mod search;
mod window;
mod zero;

mod ops;
mod patch;
mod pieces;
mod summer;

pub mod exchange;

#[doc(hidden)]
pub mod fuzzing;

#[cfg(test)]
mod tests;

pub use block::{BlockLen, BlockLenError};
pub use emit::DiffSummary;
pub use index::IndexedSignature;
pub use ops::{MAX_LITERAL_LEN, Op, OpDecoder, OpEncoder, OpsError};
pub use patch::{Basis, Output, PatchError, PatchSummary, Patcher};
pub use search::{diff, whole};
pub use signature::{Signature, SignatureError};
