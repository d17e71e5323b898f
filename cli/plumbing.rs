//! `hasync signature`, `delta` and `patch`: the delta engine on single files, for admins who carry
//! deltas by other means than a push.

mod input;
mod new_file;
mod output;
mod sink;

use std::io::{self, BufReader, Read};
use std::path::Path;

use hasync_engine::Shown;
use hasync_engine::delta::file::{
    self, ApplyError, DeltaReader, DeltaWriter, FileError, MAX_SIGNATURE_BLOCKS,
};
use hasync_engine::delta::{BlockLen, PatchError, Signature, diff};

use crate::args::{DeltaArgs, PatchArgs, SignatureArgs, named};
use crate::exit::{self, Exit, Failure};

use input::Input;
use output::Output;
use sink::Sink;

/// A signature file's reader and a delta file's reader take small and large pieces in turn.
const READ_AHEAD_LEN: usize = 1 << 16;

/// The length a basis is taken to have, in bytes, if that is not known beforehand.
const USUAL_LEN: u64 = 1 << 30;

/// The longest result: the largest offset in a file that the kernel knows.
const MAX_FILE_LEN: u64 = i64::MAX as u64;

/// Signs a basis.
pub(crate) fn signature(args: &SignatureArgs) -> Result<Exit, Failure> {
    let basis = Input::open(&args.basis)?;
    let block_len = match args.block_len {
        Some(len) => {
            BlockLen::new(len).map_err(|error| Failure::usage(format!("--block-len: {error}")))?
        }
        None => BlockLen::for_file_len(basis.len().unwrap_or(USUAL_LEN)),
    };
    let max_len = MAX_SIGNATURE_BLOCKS * u64::from(block_len.get());
    if basis.len().is_some_and(|len| len > max_len) {
        return Err(too_long(&basis, max_len));
    }
    let output = Output::open(args.signature.as_deref(), &[&basis])?;
    let signed = match basis.len() {
        // Files of /proc have no length and content all the same.
        Some(len) if len > 0 && basis.is_named() => {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            Signature::of_file(basis.file(), len, block_len, threads)
        }
        len => {
            let limited = basis.file().take(max_len + 1);
            Signature::of(limited, len.unwrap_or(0), block_len)
        }
    };
    let signature = signed.map_err(|cause| basis.cannot_read(&cause))?;
    if signature.basis_len() > max_len {
        return Err(too_long(&basis, max_len));
    }
    let shown = output.shown().to_owned();
    let output = file::write_signature(&signature, output)
        .map_err(|cause| output::cannot_write(&shown, &cause))?;
    output.commit()
}

/// Writes the delta from the basis that a signature is of to a new file.
pub(crate) fn delta(args: &DeltaArgs) -> Result<Exit, Failure> {
    if named(&args.signature).is_none() && named(&args.new).is_none() {
        return Err(Failure::usage(
            "SIGNATURE and NEW cannot both be standard input",
        ));
    }
    let (signature, new) = (Input::open(&args.signature)?, Input::open(&args.new)?);
    let output = Output::open(args.delta.as_deref(), &[&signature, &new])?;
    let reader = BufReader::with_capacity(READ_AHEAD_LEN, signature.file());
    let indexed = file::read_signature(reader, MAX_SIGNATURE_BLOCKS)
        .map_err(|error| cannot_use(&signature, &error, "sign the basis again"))?
        .index();

    let shown = output.shown().to_owned();
    let cannot_write = |cause: &io::Error| output::cannot_write(&shown, cause);
    let mut delta =
        DeltaWriter::new(output, indexed.basis_len()).map_err(|cause| cannot_write(&cause))?;
    let mut write_error = None;
    let summary = diff(new.file(), &indexed, &mut |op| {
        delta.op(op).map_err(|error| {
            write_error = Some(error);
            io::ErrorKind::Other.into()
        })
    })
    .map_err(|cause| match &write_error {
        Some(cause) => cannot_write(cause),
        None => new.cannot_read(&cause),
    })?;
    let output = delta
        .finish(&summary)
        .map_err(|cause| cannot_write(&cause))?;
    output.commit()
}

/// Makes the new file of a basis and a delta.
pub(crate) fn patch(args: &PatchArgs) -> Result<Exit, Failure> {
    let basis = Input::open_regular(&args.basis)?;
    let delta = Input::open(&args.delta)?;
    let output = Output::open(args.output.as_deref(), &[&delta])?;
    let mut sink = Sink::new(output, basis.has_holes());
    match apply(&basis, &delta, &mut sink) {
        Ok(()) => sink.finish()?.commit(),
        Err(mut failure) => {
            if sink.output().has_written_to_stdout() {
                let line = "; throw away what has gone to standard output";
                failure.message.push_str(line);
            }
            Err(failure)
        }
    }
}

fn apply(basis: &Input, delta: &Input, sink: &mut Sink) -> Result<(), Failure> {
    let shown = sink.output().shown().to_owned();
    let basis_len = basis.len().unwrap_or(0);
    let reader = BufReader::with_capacity(READ_AHEAD_LEN, delta.file());
    let outcome = DeltaReader::open(reader)
        .map_err(ApplyError::Delta)
        .and_then(|reader| file::apply(reader, basis.file(), basis_len, sink, MAX_FILE_LEN));
    let Err(error) = outcome else {
        return Ok(());
    };
    let exit = exit::of_apply_error(&error);
    let (basis_name, delta_name) = (basis.shown(), delta.shown());
    Err(match error {
        ApplyError::Delta(error) => cannot_use(delta, &error, "fetch or make it again"),
        ApplyError::BasisLen { expected, found } => Failure::new(
            exit,
            format!(
                "{basis_name} has {found} bytes, but {delta_name} was made for a basis of \
                 {expected}; name that one, or sign this one and make a delta for it"
            ),
        ),
        ApplyError::OtherBasis => Failure::new(
            exit,
            format!(
                "{basis_name} is not the basis that {delta_name} was made for, or changed while \
                 it was read; name that one, or sign this one and make a delta for it"
            ),
        ),
        ApplyError::Patch(PatchError::Output(cause)) => output::cannot_write(&shown, &cause),
        ApplyError::Patch(PatchError::Basis { error, .. }) => basis.cannot_read(&error),
        ApplyError::Patch(error) => Failure::new(
            exit,
            format!("{delta_name} is malformed: {error}; make it again"),
        ),
    })
}

fn cannot_use(input: &Input, error: &FileError, cure: &str) -> Failure {
    match error {
        FileError::Read(cause) => input.cannot_read(cause),
        _ => Failure::new(
            exit::of_file_error(error),
            format!("{} {error}; {cure}", input.shown()),
        ),
    }
}

fn too_long(basis: &Input, max_len: u64) -> Failure {
    Failure::usage(format!(
        "{} has more than {max_len} bytes, the most for blocks of this length; use a larger \
         --block-len",
        basis.shown()
    ))
}

/// A path as it appears in a message.
fn quoted(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    Shown(path.as_os_str().as_bytes()).to_string()
}
