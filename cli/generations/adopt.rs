//! `hasync adopt`: the explicit way out after two nodes have diverged. Run on the node whose data
//! is given up, it accepts one generation of the peer's; the peer's next push is then received.

use hasync_engine::escape;
use hasync_engine::generation::{Adopted, GenerationId, Standing};

use super::promotion;
use crate::args::AdoptArgs;
use crate::config::{Config, Tree};
use crate::exit::{Exit, Failure};
use crate::out::Out;
use crate::peer_link::PeerLink;
use crate::push_trees::{self, Plan};

/// Records that the data here is given up, after asking the peer whether it has what is accepted.
pub(crate) fn run(args: &AdoptArgs) -> Result<Exit, Failure> {
    let config = Config::load(args.config.config.as_deref())?;
    let tree = chosen(&config, args.tree.as_deref())?;
    let (name, named) = (&tree.name, tree.on(&config.node));
    let typed = escape(args.generation.as_bytes());
    let is_hex = args.generation.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex || !(8..=32).contains(&args.generation.len()) {
        return Err(Failure::usage(format!(
            "--generation {typed} is no identity of a generation: give at least its first 8 \
             hexadecimal digits, as hasync diverged {name} prints it"
        )));
    }
    let before = named.status()?;
    let given_up = before.head.as_ref().map_or_else(
        || "whatever is here".to_owned(),
        |head| format!("generation {} here", head.shown()),
    );
    let (id, next) = match ask(&config, tree) {
        Ok((here, there)) => (
            present(args, name, &there)?,
            next_steps(name, &here, &there),
        ),
        Err(failure) if is_away(failure.exit) => {
            let id = GenerationId::parse(&args.generation.to_ascii_lowercase());
            let id = id.ok_or_else(|| {
                Failure::new(
                    failure.exit,
                    format!(
                        "the peer cannot be asked which generation {typed} is ({}); give all 32 \
                         digits to accept it unseen",
                        failure.message
                    ),
                )
            })?;
            let why = failure.message;
            (id, format!("it was not asked whether it has that: {why}"))
        }
        Err(failure) => return Err(failure),
    };
    named.adopt(Adopted {
        node: args.from.clone(),
        id,
    })?;
    let out = Out::stdout();
    let from = escape(args.from.as_bytes());
    let line = format!(
        "{name}: {given_up} is given up for generation {id} of {from}; its next push is received, \
         and what that replaces is kept until `hasync undo {name} --forget`; {next}"
    );
    out.say(&line);
    out.finish()?;
    Ok(Exit::Ok)
}

fn chosen<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Tree, Failure> {
    match (name, config.trees.as_slice()) {
        (Some(name), _) => config.tree(name),
        (None, [only]) => Ok(only),
        (None, trees) => {
            let names: Vec<_> = trees.iter().map(|tree| tree.name.as_str()).collect();
            Err(Failure::usage(format!(
                "say which tree: a generation is one of a single tree, and {} has {}",
                config.shown_file(),
                names.join(", ")
            )))
        }
    }
}

fn ask(config: &Config, tree: &Tree) -> Result<(Standing, Standing), Failure> {
    let mut link = PeerLink::configured(config)?;
    let standings = push_trees::standings(tree, &Plan::of(config, true), &mut link);
    link.close();
    standings
}

/// Whether nobody answered, so that nothing is known either way.
fn is_away(exit: Exit) -> bool {
    matches!(
        exit,
        Exit::Timeout | Exit::NameNotResolved | Exit::Unreachable
    )
}

/// The generation that the peer has, if it is the one that was typed.
fn present(args: &AdoptArgs, tree: &str, there: &Standing) -> Result<GenerationId, Failure> {
    let peer = escape(there.node.as_bytes());
    if there.node != args.from {
        let from = escape(args.from.as_bytes());
        return Err(Failure::usage(format!(
            "the peer of this node is {peer}, not {from}"
        )));
    }
    let Some(head) = &there.head else {
        return Err(Failure::new(
            Exit::NotEqual,
            format!("{peer} has no generation of tree {tree}; nothing was given up"),
        ));
    };
    let id = head.id.to_string();
    if !id.starts_with(&args.generation.to_ascii_lowercase()) {
        return Err(Failure::new(
            Exit::NotEqual,
            format!(
                "{peer} has generation {} {id} of tree {tree} now, not {}; look at hasync diverged \
                 {tree} again; nothing was given up",
                head.number, args.generation
            ),
        ));
    }
    Ok(head.id)
}

fn next_steps(tree: &str, here: &Standing, there: &Standing) -> String {
    let peer = escape(there.node.as_bytes());
    match promotion(tree, there, here) {
        Some(command) => format!("run `{command}` on {peer}, then push there"),
        None => format!("push on {peer}, or wait for its next cycle"),
    }
}
