//! The options of `hasync signature`, `delta` and `patch`.

use std::path::{Path, PathBuf};

use clap::Args;

/// The options of `hasync signature`.
#[derive(Args, Clone, Debug)]
#[command(override_usage = "hasync signature [--block-len BYTES] BASIS [SIGNATURE]")]
#[command(after_help = "\
- is standard input or output, and so is a SIGNATURE left out. What stands under the name
SIGNATURE is replaced only when all of it is written and on disk.

  hasync signature image.raw image.sig        # here, where the old file is
  hasync delta image.sig image.raw change     # there, where the new one is
  hasync patch image.raw change image.raw     # here again")]
pub(crate) struct SignatureArgs {
    /// The old file
    #[arg(value_name = "BASIS")]
    pub(crate) basis: PathBuf,
    /// Where the signature goes
    #[arg(value_name = "SIGNATURE")]
    pub(crate) signature: Option<PathBuf>,
    /// A power of two from 1024 to 4194304; the length of BASIS decides otherwise
    #[arg(long, value_name = "BYTES")]
    pub(crate) block_len: Option<u32>,
}

/// The options of `hasync delta`.
#[derive(Args, Clone, Debug)]
#[command(override_usage = "hasync delta SIGNATURE NEW [DELTA]")]
#[command(after_help = "\
- is standard input or output, and so is a DELTA left out. What stands under the name DELTA is
replaced only when all of it is written and on disk.")]
pub(crate) struct DeltaArgs {
    /// The signature of the old file
    #[arg(value_name = "SIGNATURE")]
    pub(crate) signature: PathBuf,
    /// The new file
    #[arg(value_name = "NEW")]
    pub(crate) new: PathBuf,
    /// Where the delta goes
    #[arg(value_name = "DELTA")]
    pub(crate) delta: Option<PathBuf>,
}

/// The options of `hasync patch`.
#[derive(Args, Clone, Debug)]
#[command(override_usage = "hasync patch BASIS DELTA [OUTPUT]")]
#[command(after_help = "\
BASIS must be a regular file: it is read at any place. - is standard input for DELTA and
standard output for OUTPUT, and so is an OUTPUT left out. OUTPUT may be BASIS itself; it is
replaced, with its permissions and owner kept, only when the result is complete, has the
BLAKE3 sum of NEW and is on disk. What has gone to standard output cannot be taken back: it
counts only if the exit code is 0.
Long runs of zeros become holes.")]
pub(crate) struct PatchArgs {
    /// The old file
    #[arg(value_name = "BASIS")]
    pub(crate) basis: PathBuf,
    /// The delta from it to the new file
    #[arg(value_name = "DELTA")]
    pub(crate) delta: PathBuf,
    /// Where the new file goes
    #[arg(value_name = "OUTPUT")]
    pub(crate) output: Option<PathBuf>,
}

/// The file that a word names; `None` if that is standard input or output.
pub(crate) fn named(word: &Path) -> Option<&Path> {
    (word.as_os_str() != "-").then_some(word)
}
