//! A push must not change what it reads: source and target are apart, or a filter keeps the one
//! out of the other.

use crate::error::{Error, ErrorKind};
use crate::filter::Filter;
use crate::options::Options;
use crate::overlap::{SOURCE_DIRS_MAX, Target, Whereabouts};
use crate::refusal::Refusal;
use crate::target::Found;

/// Refuses what would be pushed into itself: a tree that `is_named`, or anything else. Nothing has
/// been made yet, and the only entry of the source `is_renamed` if the target is to be that.
pub(super) fn refuse_shared(
    source: &Whereabouts,
    (found, is_renamed): (&Found, bool),
    (options, filter): (&Options, &Filter),
    is_named: bool,
) -> Result<(), Error> {
    if !source.is_bounded() {
        let max = SOURCE_DIRS_MAX;
        return Err(Error::peer(Refusal::TooManySources { max }));
    }
    let target = Target {
        dir: found.dir(),
        made: found.missing().filter(|_| !is_renamed),
        only: found.missing().filter(|_| is_renamed),
        is_named,
    };
    match source.refuse(&target, filter, options.one_file_system) {
        None => Ok(()),
        Some(why) if is_named => Err(Error::new(ErrorKind::Config, why)),
        Some(why) => Err(Error::new(ErrorKind::Usage, why)),
    }
}
