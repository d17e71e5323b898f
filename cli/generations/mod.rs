//! The verbs about named trees on this node: `promote`, `demote`, `recover`, and in files of their
//! own `status`, `log` and `undo`. Each is a thin layer over the engine's records.

mod adopt;
mod diverged;
mod json;
mod kept;
mod log;
mod status;
mod undo;
mod ways;

use hasync_engine::escape;
use hasync_engine::generation::{self, Data, Partial};

use crate::args::{AnyTrees, PromoteArgs, SomeTrees};
use crate::config::{Config, Tree};
use crate::exit::{self, Exit, Failure};
use crate::freshness;
use crate::memory::{self, Memory};
use crate::out::{self, Out};
use crate::rejoin::{self, Back};
use crate::state;

pub(crate) use adopt::run as adopt;
pub(crate) use diverged::run as diverged;
pub(crate) use kept::run as kept;
pub(crate) use log::run as log;
pub(crate) use status::{first_paths, run as status};
pub(crate) use undo::run as undo;
pub(crate) use ways::ways_out;

/// `hasync promote`: this node becomes primary of the trees, in a new epoch.
pub(crate) fn promote(args: &PromoteArgs) -> Result<Exit, Failure> {
    let config = state::config(args.which.config.config.as_deref())?;
    let above = args.above.map(generation::Epoch::from);
    let trees = some(&config, &args.which)?;
    // Whoever names the peer's epoch has seen how it stands.
    let heard = match args.force || above.is_some() {
        true => freshness::Heard::default(),
        false => {
            let out = Out::stdout();
            let heard = freshness::hear(&config, &trees, false, &out)?;
            out.flush();
            heard
        }
    };
    each(&config, &trees, |tree, out| {
        if !args.force {
            must_be_seen(tree)?;
        }
        if let Some(why) = heard.why_not(&tree.name) {
            return Err(why.clone());
        }
        let line = promote_one(tree, above.unwrap_or_else(|| heard.epoch(&tree.name)))?;
        out.say(&line);
        Ok(Exit::Ok)
    })
}

/// Refuses a tree whose data this node has had and cannot see.
pub(crate) fn must_be_seen(tree: &generation::Tree) -> Result<(), Failure> {
    unseen(tree)?.map_or(Ok(()), |why| Err(Failure::new(Exit::FileIo, why)))
}

/// Why the data that this node has had of a tree cannot be seen, if it cannot.
pub(crate) fn unseen(tree: &generation::Tree) -> Result<Option<String>, Failure> {
    let (root, name) = (escape(tree.root.as_os_str().as_encoded_bytes()), &tree.name);
    let what = match tree.data()? {
        Data::Here => return Ok(None),
        Data::NotMounted => "is not a file system of its own any more",
        Data::NoHead => "has no record of it beside it",
        Data::Emptied => "is empty",
    };
    Ok(Some(format!(
        "this node has had data of tree {name}, and {root} {what}: is its disk mounted? `hasync \
         promote {name} --force` goes on with what is there"
    )))
}

/// Makes this node primary of one tree, above that epoch of the peer's, and says what it is then.
pub(crate) fn promote_one(
    tree: &generation::Tree,
    above: generation::Epoch,
) -> Result<String, Failure> {
    let head = moved(tree, || tree.promote_above(above))?;
    let (name, epoch, shown) = (&tree.name, head.epoch, head.shown());
    Ok(format!(
        "{name}: primary, epoch {epoch}, generation {shown}"
    ))
}

/// Gives this node another part in a tree, and notes that it has one now, if it has. Losing that
/// costs no more than a warning about a role that is about to follow.
fn moved<T>(
    tree: &generation::Tree,
    to: impl FnOnce() -> Result<T, hasync_engine::Error>,
) -> Result<T, Failure> {
    let is_primary = || tree.standing().ok().map(|standing| standing.is_primary);
    let before = is_primary();
    let done = to()?;
    if is_primary() != before {
        let _ = Memory::change(&tree.state_dir, |memory| {
            memory.moved.insert(tree.name.clone(), memory::now());
        });
    }
    Ok(done)
}

/// `hasync demote`: this node pushes the trees no more, and receives them.
pub(crate) fn demote(args: &SomeTrees) -> Result<Exit, Failure> {
    let config = state::config(args.config.config.as_deref())?;
    each(&config, &some(&config, args)?, |tree, out| {
        let line = demote_one(tree, false)?;
        out.say(&line);
        Ok(Exit::Ok)
    })
}

/// Makes this node a standby of one tree, and says what it is then. `handed_over`: all it had was
/// pushed before.
pub(crate) fn demote_one(tree: &generation::Tree, handed_over: bool) -> Result<String, Failure> {
    let head = moved(tree, || tree.demote(handed_over))?;
    let head = head.map_or_else(
        || "no generation yet".to_owned(),
        |head| format!("generation {}", head.shown()),
    );
    Ok(format!("{}: standby, {head}", tree.name))
}

/// `hasync recover`: brings commits to their end that were cut off, and lets a node that was
/// primary before its peer was promoted follow.
pub(crate) fn recover(args: &AnyTrees) -> Result<Exit, Failure> {
    let config = state::config(args.config.config.as_deref())?;
    let trees = any(&config, args)?;
    let recovered = each(&config, &trees, |tree, out| {
        let name = &tree.name;
        let Some(recovered) = tree.recover()? else {
            out.say(&format!("{name}: nothing to recover"));
            return Ok(Exit::Ok);
        };
        let head = recovered.head.as_ref();
        let head = head.map_or_else(|| "unknown".to_owned(), generation::Generation::shown);
        out.say(&format!(
            "{name}: an interrupted commit is complete, generation {head}"
        ));
        Ok(told_failed(&recovered.failed))
    })?;
    let out = Out::stdout();
    for back in rejoin::rejoin(&config, &trees)? {
        match back {
            Back::Follows(tree, peer) => out.say(&rejoin::follows(tree, &peer)),
            Back::Asks(tree, line) => out.say(&format!("{}: {line}", tree.name)),
            Back::Stays(_) => {}
        }
    }
    state::note(&config);
    out.finish()?;
    Ok(recovered)
}

/// Says what of a commit could not be carried out, and how that leaves.
fn told_failed(failed: &Partial) -> Exit {
    for line in failed.shown() {
        out::error(&line);
    }
    if failed.count == 0 {
        Exit::Ok
    } else {
        Exit::Partial
    }
}

/// The trees of a verb that must be told which.
fn some<'a>(config: &'a Config, args: &SomeTrees) -> Result<Vec<&'a Tree>, Failure> {
    if args.all {
        all(config)
    } else {
        args.trees.iter().map(|name| config.tree(name)).collect()
    }
}

/// The trees of a verb that is about all unless told.
pub(crate) fn any<'a>(config: &'a Config, args: &AnyTrees) -> Result<Vec<&'a Tree>, Failure> {
    if args.trees.is_empty() {
        all(config)
    } else {
        args.trees.iter().map(|name| config.tree(name)).collect()
    }
}

fn all(config: &Config) -> Result<Vec<&Tree>, Failure> {
    if config.trees.is_empty() {
        return Err(Failure::new(
            Exit::Config,
            format!(
                "{} names no tree; add a [[tree]] with name and path",
                config.shown_file()
            ),
        ));
    }
    Ok(config.in_push_order())
}

/// Does the same to each tree; one that fails is told and does not keep the others from it.
fn each(
    config: &Config,
    trees: &[&Tree],
    work: impl Fn(&generation::Tree, &Out) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let out = Out::stdout();
    let mut worst = Exit::Ok;
    for tree in trees {
        let exit = work(&tree.on(&config.node), &out).unwrap_or_else(|failure| {
            out.flush();
            out::error(&format!("tree {}: {}", tree.name, failure.message));
            failure.exit
        });
        worst = exit::worse(worst, exit);
    }
    state::note(config);
    out.finish()?;
    Ok(worst)
}
