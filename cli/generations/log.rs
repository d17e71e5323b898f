//! `hasync log`: the generations of a tree, oldest first, one line each.

use hasync_engine::escape;
use hasync_engine::generation::Generation;

use super::json;
use crate::args::LogArgs;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::out::Out;
use crate::state::record::KindWord;
use crate::times::rfc3339_of_ns;

/// Prints the log of one tree.
pub(crate) fn run(args: &LogArgs) -> Result<Exit, Failure> {
    let config = Config::load(args.config.config.as_deref())?;
    let tree = config.tree(&args.tree)?;
    let log = tree.on(&config.node).log()?;
    let out = Out::stdout();
    if args.json {
        out.json(&json::log(tree, &log));
    } else {
        for generation in &log {
            out.say(&line(generation));
        }
    }
    out.finish()?;
    Ok(Exit::Ok)
}

fn line(generation: &Generation) -> String {
    let counts = &generation.counts;
    let partial = generation
        .partial
        .as_ref()
        .map_or_else(String::new, |partial| {
            format!(", partial: {} not mirrored", partial.count)
        });
    format!(
        "{}  {}  {} by {}, epoch {}: {} placed, {} removed, {} changed in place{partial}",
        generation.shown(),
        rfc3339_of_ns(generation.made_ns),
        KindWord::from(generation.kind),
        escape(generation.node.as_bytes()),
        generation.epoch,
        counts.placed,
        counts.removed,
        counts.attributes,
    )
}
