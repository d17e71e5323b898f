//! `hasync diverged`: what differs between a tree here and the peer's, whichever of the two is
//! primary; how both came about, and the two ways out where they did not come from one another.
//! Changes nothing on either node.

use hasync_engine::generation::{self, Command, Standing, WayOut};
use hasync_engine::{Wish, escape};

use super::any;
use crate::args::DivergedArgs;
use crate::config::{Config, RoleTest, Tree};
use crate::exit::{self, Exit, Failure};
use crate::numbers::commas;
use crate::out::{self, Out};
use crate::peer_link::PeerLink;
use crate::push_trees::{self, Plan};
use crate::role::{self, Role};
use crate::times::rfc3339_of_ns;

/// Lists the differences of each tree; 3 if there are any.
pub(crate) fn run(args: &DivergedArgs) -> Result<Exit, Failure> {
    let config = Config::load(args.which.config.config.as_deref())?;
    let trees = any(&config, &args.which)?;
    let mut link = PeerLink::configured(&config)?;
    let plan = Plan::of(&config, false).listing(args.checksum);
    let out = Out::stdout();
    let mut worst = Exit::Ok;
    for tree in trees {
        let exit = match one(&config, tree, &plan, &mut link, &out) {
            Ok(exit) => exit,
            Err(failure) if exit::is_about_the_way(failure.exit) => return Err(failure),
            Err(failure) => {
                out.flush();
                out::error(&format!("tree {}: {}", tree.name, failure.message));
                failure.exit
            }
        };
        worst = exit::worse(worst, exit);
    }
    link.close();
    out.finish()?;
    Ok(worst)
}

fn one(
    config: &Config,
    tree: &Tree,
    plan: &Plan,
    link: &mut PeerLink,
    out: &Out,
) -> Result<Exit, Failure> {
    let name = &tree.name;
    let (found, changed, deleted) = push_trees::list(tree, plan, link, out)?;
    let (here, there) = (&found.here, &found.there);
    let peer = escape(there.node.as_bytes());
    let total = commas(found.summary.entries.total());
    let mut text = if changed == 0 && deleted == 0 {
        format!("{name}: no difference to {peer} in {total} entries\n")
    } else {
        let (changed, deleted) = (commas(changed), commas(deleted));
        format!(
            "{name}: {changed} of {total} entries here are missing or different on {peer}, \
             {deleted} exist there alone (*deleting); nothing was changed\n"
        )
    };
    text.push_str(&format!("  {}\n", shown(here)));
    // When that was, its clock alone tells.
    let clock = if there.head.is_some() {
        " by its clock"
    } else {
        ""
    };
    text.push_str(&format!("  {}{clock}\n", shown(there)));
    let named = tree.on(&config.node);
    let asked = link.push(|connection| connection.ask(&named, Wish::Service));
    let service = match (serves(config), asked.ok().and_then(|(_, _, serves)| serves)) {
        (Some(true), Some(false)) => Some(&here.node),
        (Some(false), Some(true)) => Some(&there.node),
        _ => None,
    };
    for line in ways_out(name, here, there, service) {
        text.push_str(&format!("  {line}\n"));
    }
    out.say_all(&text);
    out.flush();
    Ok(if found.summary.partial {
        Exit::Partial
    } else if changed == 0 && deleted == 0 {
        Exit::Ok
    } else {
        Exit::NotEqual
    })
}

/// One node's side: who it is, what it has, who made that and when.
fn shown(standing: &Standing) -> String {
    let node = escape(standing.node.as_bytes());
    let role = if standing.is_primary {
        "primary"
    } else {
        "standby"
    };
    let epoch = standing.epoch;
    let Some(head) = &standing.head else {
        return format!("{node}: {role}, epoch {epoch}, no generation");
    };
    let kind = super::json::kind(head.kind);
    let maker = escape(head.node.as_bytes());
    let made = rfc3339_of_ns(head.made_ns);
    format!(
        "{node}: {role}, epoch {epoch}, generation {} {}, a {kind} by {maker} of {made}",
        head.number, head.id
    )
}

/// Whether this node has the service, if that is known by more than its own records.
fn serves(config: &Config) -> Option<bool> {
    match config.role {
        RoleTest::Recorded => None,
        _ => Some(role::find(config).ok()?.role == Role::Primary),
    }
}

/// What can be done: a push where the lineage allows it, or one node gives its data up. `service`
/// is the node that alone has it, if that is known.
fn ways_out(
    tree: &str,
    here: &Standing,
    there: &Standing,
    service: Option<&String>,
) -> Vec<String> {
    if here.head.is_none() || there.head.is_none() {
        return Vec::new();
    }
    let mut lines = Vec::new();
    let has_diverged = !here.led_to(there) && !there.led_to(here);
    // Who was promoted last has a push to send, and the other may have what it never could.
    let are_both_primary = here.is_primary && there.is_primary;
    if has_diverged {
        lines.push("the two did not come from one another: decide which data to keep".to_owned());
    } else if are_both_primary {
        lines.push(
            "both are primary, and what either wrote since the other was promoted is there alone: \
             decide which data to keep"
                .to_owned(),
        );
    }
    let ways = generation::ways_out(here, there);
    // The next push brings what differs.
    let is_in_order = |way: &WayOut<'_>| way.commands.is_empty();
    if ways.iter().any(is_in_order) {
        return lines;
    }
    for way in ways {
        let winner = escape(way.keeps.node.as_bytes());
        let steps = steps(tree, &way, service).join(", ");
        lines.push(format!("to keep what {winner} has: {steps}"));
    }
    lines
}

/// The commands of a way out, with the node that each is typed on.
fn steps(tree: &str, way: &WayOut<'_>, service: Option<&String>) -> Vec<String> {
    let node = |standing: &Standing| escape(standing.node.as_bytes()).into_owned();
    let (winner, loser) = (node(way.keeps), node(way.follows));
    let mut steps = Vec::new();
    for (on, command) in &way.commands {
        let words = match command {
            Command::Demote => format!("demote {tree}"),
            Command::Adopt { from, id } => {
                let from = escape(from.as_bytes());
                format!("adopt {tree} --from {from} --generation {id}")
            }
            Command::Promote { above: Some(above) } => format!("promote {tree} --above {above}"),
            Command::Promote { above: None } => format!("promote {tree} --force"),
        };
        steps.push(format!("on {} `hasync {words}`", node(on)));
    }
    if service == Some(&way.follows.node) {
        steps.push(format!(
            "move the service as its cluster manager does, which calls on {loser} `hasync mirror \
             stop` and on {winner} `hasync mirror start`"
        ));
    }
    steps.push(format!("on {winner} `hasync push --tree {tree}`"));
    steps
}
