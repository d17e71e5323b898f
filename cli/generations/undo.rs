//! `hasync undo`: brings a tree, or some paths of it, back to an earlier generation, which is a
//! generation again.

use hasync_engine::generation::{Generation, GenerationId, NodeRole, Number, Tree};
use hasync_engine::history::{Undone, UndoneChange};
use hasync_engine::{Shown, escape};

use super::told_failed;
use crate::args::UndoArgs;
use crate::exit::{Exit, Failure};
use crate::out::Out;
use crate::state;

/// Undoes the last generation of a tree, or all back to the one that was named.
pub(crate) fn run(args: &UndoArgs) -> Result<Exit, Failure> {
    let config = state::config(args.config.config.as_deref())?;
    let tree = config.tree(&args.tree)?.on(&config.node);
    if let Some(word) = &args.forget {
        let forgotten = forget(&tree, word);
        state::note(&config);
        return forgotten;
    }
    let wanted = match &args.to {
        Some(word) => Some(find(&tree.log()?, word, &args.tree)?),
        None => None,
    };
    let out = Out::stdout();
    let undo = |dry_run| match args.paths[..] {
        [] => tree.undo(wanted, dry_run).map(Some),
        _ => tree.undo_paths(wanted, &args.paths, dry_run),
    };
    // Nothing is announced that there is nothing to.
    let follows = what_follows(&tree, args.dry_run)?;
    if let Some(line) = follows
        && undo(true)?.is_some()
    {
        out.say(&line);
        out.flush();
    }
    let Some(undone) = undo(args.dry_run)? else {
        out.say(&format!(
            "{}: already as it was then, nothing to undo",
            tree.name
        ));
        out.finish()?;
        return Ok(Exit::Ok);
    };
    let count = |wanted: UndoneChange| {
        let changes = undone.changes.iter();
        changes.filter(|(change, _)| *change == wanted).count()
    };
    if args.verbose {
        for (change, path) in &undone.changes {
            let word = match change {
                UndoneChange::Restored => "restored",
                UndoneChange::Removed => "removed",
                UndoneChange::Attributes => "attributes",
            };
            out.write(format!("{word:<10} {}\n", escape(path)).as_bytes());
        }
    }
    let (verb, head) = if args.dry_run {
        ("would be", String::new())
    } else {
        ("are", format!(", generation {}", undone.generation.shown()))
    };
    let line = format!(
        "{}: {} entries {verb} restored, {} removed, {} changed in place{head}",
        tree.name,
        count(UndoneChange::Restored),
        count(UndoneChange::Removed),
        count(UndoneChange::Attributes),
    );
    out.say(&line);
    if undone.failed.count > 0 {
        out.say(&what_is_left(args, &undone));
    }
    state::note(&config);
    out.finish()?;
    Ok(told_failed(&undone.failed))
}

/// How to go on with an undo that was not carried out whole.
fn what_is_left(args: &UndoArgs, undone: &Undone) -> String {
    let paths = args.paths.iter().map(|path| {
        let path = path.as_os_str().as_encoded_bytes();
        format!(" --path {}", Shown(path))
    });
    let (name, paths) = (&args.tree, paths.collect::<String>());
    let wanted = &undone.wanted.to_string()[..8];
    format!(
        "{name}: once that is fixed, `hasync undo {name}{paths} --to {wanted}` brings back the rest"
    )
}

/// What an undo on a standby means for the mirror, said before it is done.
fn what_follows(tree: &Tree, dry_run: bool) -> Result<Option<String>, Failure> {
    let status = tree.status()?;
    if status.role != NodeRole::Standby {
        return Ok(None);
    }
    let name = &tree.name;
    let made = state::last_made(tree)?;
    let (primary, back) = made.map_or_else(
        || ("the primary".to_owned(), String::new()),
        |made| {
            let node = escape(made.node.as_bytes()).into_owned();
            let adopt = format!(
                "; to take what {node} has, `hasync adopt {name} --from {node} --generation {}`",
                made.id
            );
            (node, adopt)
        },
    );
    let would = if dry_run { "would stop" } else { "stops" };
    Ok(Some(format!(
        "{name}: this node is standby, and the mirror {would}: the next push of {primary} is \
         refused (81); to go on with what is then here, `hasync promote {name}`{back}"
    )))
}

/// Lets go of what a pinned generation replaced.
fn forget(tree: &Tree, word: &str) -> Result<Exit, Failure> {
    let pinned = tree.status()?.pinned.into_iter();
    let pinned: Vec<_> = pinned.map(|pinned| pinned.generation).collect();
    if pinned.is_empty() {
        let name = &tree.name;
        let line = format!("nothing of tree {name} is kept until it is forgotten");
        return Err(Failure::usage(line));
    }
    let forgotten = tree.forget(find(&pinned, word, &tree.name)?)?;
    let out = Out::stdout();
    let (name, shown) = (&tree.name, forgotten.shown());
    let line = format!("{name}: what generation {shown} replaced is removed");
    out.say(&line);
    out.finish()?;
    Ok(Exit::Ok)
}

/// The generation that a number, or the beginning of an identity, means.
pub(super) fn find(log: &[Generation], word: &str, tree: &str) -> Result<GenerationId, Failure> {
    let by_number: Vec<_> = match word.parse::<u64>() {
        Ok(number) => {
            let number = Number::from(number);
            log.iter().filter(|one| one.number == number).collect()
        }
        Err(_) => Vec::new(),
    };
    let found = if by_number.is_empty() && word.len() >= 4 {
        let word = word.to_ascii_lowercase();
        let begins = |one: &&Generation| one.id.to_string().starts_with(&word);
        log.iter().filter(begins).collect()
    } else {
        by_number
    };
    let shown = escape(word.as_bytes());
    match found[..] {
        [one] => Ok(one.id),
        [] => Err(Failure::usage(format!(
            "tree {tree} has no generation {shown}; see hasync log {tree}"
        ))),
        _ => {
            let all: Vec<_> = found.iter().map(|one| one.shown()).collect();
            Err(Failure::usage(format!(
                "tree {tree} has several generations {shown}: {}; name one by its identity",
                all.join(", ")
            )))
        }
    }
}
