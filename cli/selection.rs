//! What of the sources is pushed, as the engine's options; reads the list that says it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hasync_engine::{Options, SourceList, escape};

use crate::args::SelectionArgs;
use crate::exit::Failure;
use crate::{filters, target};

/// The most bytes read from a list.
const LIST_LEN_MAX: u64 = 64 << 20;

/// Refuses what makes no sense with these sources.
pub(crate) fn check(
    args: &SelectionArgs,
    sources: &[OsString],
    atomic: bool,
) -> Result<(), Failure> {
    if args.keep_dirlinks && atomic {
        return Err(Failure::usage(
            "-K does not go with --atomic: symlinks could lead elsewhere by the time that a commit \
             which was cut off is brought to its end; leave one of them out",
        ));
    }
    let Some(list) = &args.files_from else {
        return Ok(());
    };
    if sources.len() != 1 {
        return Err(Failure::usage(
            "--files-from lists what is pushed of one source; give a single SRC",
        ));
    }
    if target::names_host(list.as_os_str().as_bytes()) {
        let name = escape(list.as_os_str().as_bytes());
        return Err(Failure::usage(format!(
            "--files-from \"{name}\" names a list on another host; fetch it before, or write \
             ./{name} for a local name with a colon"
        )));
    }
    Ok(())
}

/// The options that say what is pushed; all others are as without them.
pub(crate) fn options(args: &SelectionArgs, zeros: bool) -> Result<Options, Failure> {
    let list = args.files_from.as_deref();
    Ok(Options {
        dirs: args.dirs,
        relative: args.relative,
        implied_dirs: !args.no_implied_dirs,
        files_from: list.map(|file| read(file, zeros)).transpose()?,
        prune_empty_dirs: args.prune_empty_dirs,
        copy_links: args.copy_links,
        copy_dirlinks: args.copy_dirlinks,
        copy_unsafe_links: args.copy_unsafe_links,
        safe_links: args.safe_links,
        delete_missing: args.delete_missing_args,
        keep_dirlinks: args.keep_dirlinks,
        ..Options::default()
    })
}

fn read(file: &Path, zeros: bool) -> Result<SourceList, Failure> {
    let text = filters::read(file, LIST_LEN_MAX).map_err(|cause| {
        let name = escape(file.as_os_str().as_bytes());
        Failure::cannot(format!("read \"{name}\" of --files-from"), &cause)
    })?;
    Ok(SourceList::parse(&text, zeros))
}
