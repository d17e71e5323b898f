//! What the words about compression come to: each implies the same wish more or less exactly, and
//! the last word counts.

use clap::{ArgMatches, Args};
use hasync_engine::Compression;

use super::push::{HOW, last_index};

/// Whether what is sent is compressed.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompressArgs {
    /// Compress, even where the link is not the limit
    #[arg(short = 'z', long, aliases = ["old-compress", "new-compress"], help_heading = HOW)]
    compress: bool,
    /// Never compress
    #[arg(long, alias = "no-z", help_heading = HOW)]
    #[arg(hide_short_help = true)]
    no_compress: bool,
    /// zstd is -z, none is --no-compress; zstd stands for zlib, zlibx and lz4 too
    #[arg(long, value_name = "NAME", visible_alias = "zc", help_heading = HOW)]
    #[arg(value_parser = ["zstd", "lz4", "zlibx", "zlib", "auto", "none"])]
    #[arg(hide_short_help = true)]
    compress_choice: Option<String>,
    /// -z at this level of zstd, up to 22; below 1 is faster still (default: 3 to 6)
    #[arg(long, value_name = "N", visible_alias = "zl", help_heading = HOW)]
    #[arg(allow_negative_numbers = true)]
    #[arg(hide_short_help = true)]
    compress_level: Option<i64>,
    /// What the words come to.
    #[arg(skip)]
    pub(crate) wish: Compression,
}

impl CompressArgs {
    /// Takes the words together.
    pub(super) fn settle(&mut self, matches: &ArgMatches) {
        self.wish = self.wish(matches);
    }

    /// What was asked for; without any word the link decides.
    fn wish(&self, matches: &ArgMatches) -> Compression {
        let latest = |id| last_index(matches, id);
        let asked = ["compress", "compress_choice", "compress_level"].map(latest);
        let asked = asked.into_iter().max().flatten();
        if asked.is_none() && !self.no_compress {
            return Compression::Adaptive;
        }
        if latest("no_compress") > asked || self.compress_choice.as_deref() == Some("none") {
            return Compression::Never;
        }
        Compression::Always {
            level: self.compress_level.and_then(level),
        }
    }
}

/// As rsync reads a level of zstd: 0 is none in particular, and beyond the ends is at the end.
fn level(typed: i64) -> Option<i32> {
    (typed != 0).then(|| typed.clamp(FASTEST.into(), SMALLEST.into()) as i32)
}

const FASTEST: i32 = -131_072;
const SMALLEST: i32 = 22;
