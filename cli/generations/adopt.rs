//! `hasync adopt`: the explicit way out after two nodes have diverged. Run on the node whose data
//! is given up, it accepts one generation of the peer's; the peer's next push is then received.

use std::cell::RefCell;

use hasync_engine::generation::{self, Adopted, GenerationId, Standing};
use hasync_engine::{Wish, escape};

use crate::args::AdoptArgs;
use crate::config::{Config, Tree};
use crate::exit::{Exit, Failure};
use crate::out::Out;
use crate::peer_link::PeerLink;
use crate::state;

/// Records that the data here is given up, after asking the peer whether it has what is accepted.
pub(crate) fn run(args: &AdoptArgs) -> Result<Exit, Failure> {
    let config = Config::load_to_act(args.config.config.as_deref())?;
    let mut link = PeerLink::configured(&config)?;
    let done = match &args.generation {
        Some(typed) => one(args, typed, &config, &mut link),
        None => all(args, &config, &mut link),
    };
    link.close();
    done
}

/// Gives up the data of each tree whose nodes have diverged.
fn all(args: &AdoptArgs, config: &Config, link: &mut PeerLink) -> Result<Exit, Failure> {
    let link = RefCell::new(link);
    super::each(config, &super::all(config)?, |tree, out| {
        let name = &tree.name;
        let (here, there, _) = link
            .borrow_mut()
            .push(|peer| peer.ask(tree, Wish::Nothing))?;
        let (Some(_), Some(head)) = (&here.head, &there.head) else {
            out.say(&format!(
                "{name}: nothing to give up, one of the nodes has no generation"
            ));
            return Ok(Exit::Ok);
        };
        if let Some(why) = nothing_to_give_up(&here, &there) {
            out.say(&format!("{name}: {why}"));
            return Ok(Exit::Ok);
        }
        check_name(&args.from, &there)?;
        out.say(&accept(
            tree,
            &args.from,
            head.id,
            &next_steps(name, &here, &there),
        )?);
        Ok(Exit::Ok)
    })
}

/// Why there is nothing to give up, if the nodes have not diverged. Of two primaries each may have
/// written.
fn nothing_to_give_up(here: &Standing, there: &Standing) -> Option<&'static str> {
    if here.is_primary && there.is_primary {
        None
    } else if here.led_to(there) {
        Some("nothing to give up, the peer's data came from what is here")
    } else if here.is_primary && there.led_to(here) {
        Some("nothing to give up, the peer takes the next push from here")
    } else {
        None
    }
}

/// Gives up the data of one tree for the generation that was typed.
fn one(
    args: &AdoptArgs,
    typed: &str,
    config: &Config,
    link: &mut PeerLink,
) -> Result<Exit, Failure> {
    let tree = chosen(config, args.tree.as_deref())?;
    let (name, named) = (&tree.name, tree.on(&config.node));
    let shown = escape(typed.as_bytes());
    let is_hex = typed.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex || !(8..=32).contains(&typed.len()) {
        return Err(Failure::usage(format!(
            "--generation {shown} is no identity of a generation: give at least its first 8 \
             hexadecimal digits, as hasync diverged {name} prints it"
        )));
    }
    let out = Out::stdout();
    let (id, next) = match link.push(|connection| connection.ask(&named, Wish::Nothing)) {
        Ok((here, there, _)) => {
            let id = present(args, typed, name, &there)?;
            if let Some(why) = nothing_to_give_up(&here, &there) {
                out.say(&format!("{name}: {why}"));
                out.finish()?;
                return Ok(Exit::Ok);
            }
            (id, next_steps(name, &here, &there))
        }
        Err(failure) if is_away(failure.exit) => {
            let id = GenerationId::parse(&typed.to_ascii_lowercase());
            let id = id.ok_or_else(|| {
                Failure::new(
                    failure.exit,
                    format!(
                        "the peer cannot be asked which generation {shown} is ({}); give all 32 \
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
    out.say(&accept(&named, &args.from, id, &next)?);
    state::note(config);
    out.finish()?;
    Ok(Exit::Ok)
}

/// Notes that the data of a tree is given up, and says so.
fn accept(
    named: &generation::Tree,
    from: &str,
    id: GenerationId,
    next: &str,
) -> Result<String, Failure> {
    let before = named.status()?;
    let given_up = before.head.as_ref().map_or_else(
        || "whatever is here".to_owned(),
        |head| format!("generation {} here", head.shown()),
    );
    named.adopt(Adopted {
        node: from.to_owned(),
        id,
    })?;
    let (name, from) = (&named.name, escape(from.as_bytes()));
    Ok(format!(
        "{name}: {given_up} is given up for generation {id} of {from}; its next push is received, \
         and what that replaces is kept until `hasync undo {name} --forget`; {next}"
    ))
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

/// Whether nobody answered, so that nothing is known either way.
fn is_away(exit: Exit) -> bool {
    matches!(
        exit,
        Exit::Timeout | Exit::NameNotResolved | Exit::Unreachable
    )
}

/// The generation that the peer has, if it is the one that was typed.
fn present(
    args: &AdoptArgs,
    typed: &str,
    tree: &str,
    there: &Standing,
) -> Result<GenerationId, Failure> {
    check_name(&args.from, there)?;
    let peer = escape(there.node.as_bytes());
    let Some(head) = &there.head else {
        return Err(Failure::new(
            Exit::NotEqual,
            format!("{peer} has no generation of tree {tree}; nothing was given up"),
        ));
    };
    let id = head.id.to_string();
    let is_typed = |id: &str| id.starts_with(&typed.to_ascii_lowercase());
    // A promotion since has the same data.
    if !is_typed(&id) && !is_typed(&head.state.to_string()) {
        return Err(Failure::new(
            Exit::NotEqual,
            format!(
                "{peer} has generation {} {id} of tree {tree} now, not {}; look at hasync diverged \
                 {tree} again; nothing was given up",
                head.number, typed
            ),
        ));
    }
    Ok(head.id)
}

/// The peer is the node that was typed.
fn check_name(from: &str, there: &Standing) -> Result<(), Failure> {
    if there.node == from {
        return Ok(());
    }
    let (peer, from) = (escape(there.node.as_bytes()), escape(from.as_bytes()));
    Err(Failure::usage(format!(
        "the peer of this node is {peer}, not {from}"
    )))
}

fn next_steps(tree: &str, here: &Standing, there: &Standing) -> String {
    let peer = escape(there.node.as_bytes());
    if there.is_primary {
        return format!("push on {peer}, or wait for its next cycle");
    }
    let above = match there.epoch < here.epoch {
        true => format!(" --above {}", here.epoch),
        false => String::new(),
    };
    format!("run `hasync promote {tree}{above}` on {peer}, then push there")
}
