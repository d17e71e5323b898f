//! `hasync kept`: what the generations of a tree replaced on this node, listed or copied out.

use hasync_engine::Kind;
use hasync_engine::escape;
use hasync_engine::generation::Generation;
use hasync_engine::history::{Replaced, ReplacedEntry};

use super::told_failed;
use super::undo::find;
use crate::args::KeptArgs;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::numbers::{bytes, commas};
use crate::out::Out;
use crate::times::{rfc3339_of_ns, slashed};

/// Lists what is kept, or copies what one generation replaced into a directory.
pub(crate) fn run(args: &KeptArgs) -> Result<Exit, Failure> {
    let config = Config::load(args.config.config.as_deref())?;
    let tree = config.tree(&args.tree)?.on(&config.node);
    let out = Out::stdout();
    let kept = tree.replaced(&args.paths)?;
    let [word, dir] = &args.extract[..] else {
        if kept.is_empty() {
            out.say(&format!("{}: nothing is kept", tree.name));
        }
        for replaced in &kept {
            out.say(&head(replaced));
            for entry in &replaced.entries {
                out.write(line(entry).as_bytes());
            }
        }
        out.finish()?;
        return Ok(Exit::Ok);
    };
    let word = word.to_string_lossy();
    let generations: Vec<Generation> = kept.into_iter().map(|one| one.generation).collect();
    let id = find(&generations, &word, &tree.name)?;
    let extracted = tree.extract(id, &args.paths, dir.as_ref())?;
    let dir = escape(dir.as_encoded_bytes());
    out.say(&format!(
        "{}: {} entries that generation {word} replaced are in {dir}",
        tree.name,
        commas(extracted.entries)
    ));
    out.finish()?;
    Ok(told_failed(&extracted.failed))
}

fn head(replaced: &Replaced) -> String {
    let generation = &replaced.generation;
    let until = if replaced.is_pinned {
        format!(", until hasync undo --forget {}", generation.number)
    } else {
        String::new()
    };
    format!(
        "generation {} of {}, {}: replaced {} entries{until}",
        generation.shown(),
        escape(generation.node.as_bytes()),
        rfc3339_of_ns(generation.made_ns),
        commas(replaced.entries.len() as u64),
    )
}

fn line(entry: &ReplacedEntry) -> String {
    let what = if entry.is_replaced {
        "replaced"
    } else {
        "removed"
    };
    let (len, slash) = match entry.kind {
        Kind::Dir => (String::new(), "/"),
        _ => (bytes(entry.len), ""),
    };
    let time = slashed(entry.mtime.secs, ' ');
    format!(
        "  {what:<8}  {time}  {len:>8}  {}{slash}\n",
        escape(&entry.path)
    )
}
