//! What the words about compression come to: each implies the same wish more or less exactly, and
//! the last word counts.

use clap::ArgMatches;
use hasync_engine::Compression;

use super::push::{PushArgs, last_index};

/// What was asked for; without any word the link decides.
pub(super) fn wish(args: &PushArgs, matches: &ArgMatches) -> Compression {
    let latest = |id| last_index(matches, id);
    let asked = ["compress", "compress_choice", "compress_level"].map(latest);
    let asked = asked.into_iter().max().flatten();
    if asked.is_none() && !args.no_compress {
        return Compression::Adaptive;
    }
    if latest("no_compress") > asked || args.compress_choice.as_deref() == Some("none") {
        return Compression::Never;
    }
    Compression::Always {
        level: args.compress_level.and_then(level),
    }
}

/// As rsync reads a level of zstd: 0 is none in particular, and beyond the ends is at the end.
fn level(typed: i64) -> Option<i32> {
    (typed != 0).then(|| typed.clamp(FASTEST.into(), SMALLEST.into()) as i32)
}

const FASTEST: i32 = -131_072;
const SMALLEST: i32 = 22;
