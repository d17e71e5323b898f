//! The ways out for two nodes that do not fit, in words and command by command.

use hasync_engine::escape;
use hasync_engine::generation::{self, Command, Standing, WayOut};

/// What can be done: a push where the lineage allows it, or one node gives its data up. `service`
/// is the node that alone has it, if that is known.
pub(crate) fn ways_out(
    tree: &str,
    here: &Standing,
    there: &Standing,
    service: Option<&String>,
) -> Vec<String> {
    let mut lines = Vec::new();
    // A node that has lost its records, or is new, has nothing to choose.
    let have_both = here.head.is_some() && there.head.is_some();
    let has_diverged = have_both && !here.led_to(there) && !there.led_to(here);
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
