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
//!
//! # Shapes and limits
//!
//! | step | reads | makes | memory |
//! |---|---|---|---|
//! | [`Signature::of`] | any reader, front to back | 26 + 20 bytes per block | that and 1 MiB |
//! | [`Signature::of_file`] | a [`Basis`], by pieces | the same | that and 1 MiB per thread |
//! | [`Signature::index`] | | [`IndexedSignature`] | 8 to 16 bytes per block more |
//! | [`diff`] | any reader, front to back | ops to a closure, in order | 256 KiB to 4 MiB |
//! | [`Patcher`] | a [`Basis`], at any offset | an [`Output`], in order | 512 KiB to 5 MiB |
//!
//! Where blocks are longer than a MiB, one block takes the place of each MiB in the last column.
//! [`diff`] looks at every position near what matched, and at a quarter of them far from it: single
//! blocks far from others may be sent though the basis has them, four in a row are always found.
//! A block is a power of two from 1 KiB to 4 MiB ([`BlockLen`]); [`BlockLen::for_file_len`] picks
//! one with which a basis of up to 4 TiB has at most 2^20 blocks. A basis has at most 2^63 - 1
//! bytes, a literal at most [`MAX_LITERAL_LEN`]. Decoders ([`Signature::decode`], [`OpDecoder`])
//! take bytes of any origin: they return errors with numbers in them, never panic, and allocate no
//! more than they were given.
//!
//! Between two ends that can talk, [`exchange`] compares top-down and sends less than a signature.
//! To carry signatures and deltas as files, [`file`] puts them into an envelope that shows damage.
//!
//! # Example
//!
//! The owner of the basis signs it, the owner of the source makes a delta file, and the first one
//! applies that; a `Vec` stands for each file here, and any reader and writer does.
//!
//! ```
//! use hasync_engine::delta::file::{self, DeltaReader, DeltaWriter};
//! use hasync_engine::delta::{BlockLen, Signature, diff};
//!
//! let basis: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
//! let mut source = basis.clone();
//! source.splice(300_000..300_000, *b"inserted");
//!
//! // Where the basis is.
//! let len = basis.len() as u64;
//! let signature = Signature::of(&basis[..], len, BlockLen::for_file_len(len))?;
//! let signature = file::write_signature(&signature, Vec::new())?;
//!
//! // Where the source is.
//! let indexed = file::read_signature(&signature[..], file::MAX_SIGNATURE_BLOCKS)?.index();
//! let mut delta = DeltaWriter::new(Vec::new(), indexed.basis_len())?;
//! let summary = diff(&source[..], &indexed, &mut |op| delta.op(op))?;
//! let delta = delta.finish(&summary)?;
//! assert!(delta.len() < 10_000);
//!
//! // Where the basis is. Nothing of the result counts before this returns `Ok`.
//! let delta = DeltaReader::open(&delta[..])?;
//! let (_, result) = file::apply(delta, &basis[..], len, Vec::new(), 1 << 30)?;
//! assert!(result == source);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod block;
mod signature;
mod tree;
mod weak;
mod wide;

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
mod source_ops;
mod sparse;
mod staged_copy;
mod summer;

pub mod exchange;
pub mod file;

#[doc(hidden)]
#[cfg(any(test, fuzzing))]
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
pub(crate) use source_ops::SourceOps;
pub(crate) use sparse::is_mostly_hole;
pub(crate) use staged_copy::{CopyPatcher, StagedCopy};
