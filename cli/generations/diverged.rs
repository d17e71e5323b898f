//! `hasync diverged`: what differs between a tree here and the peer's, whichever of the two is
//! primary; how both came about, and the two ways out where they did not come from one another.
//! Changes nothing on either node.

use hasync_engine::escape;
use hasync_engine::generation::Standing;

use super::{any, promotion};
use crate::args::DivergedArgs;
use crate::config::{Config, Tree};
use crate::exit::{self, Exit, Failure};
use crate::numbers::commas;
use crate::out::{self, Out};
use crate::peer_link::PeerLink;
use crate::push_trees::{self, Plan};
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
        let exit = match one(tree, &plan, &mut link, &out) {
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

fn one(tree: &Tree, plan: &Plan, link: &mut PeerLink, out: &Out) -> Result<Exit, Failure> {
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
    for line in ways_out(name, here, there) {
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

/// What can be done: a push where the lineage allows it, or one node gives its data up.
fn ways_out(tree: &str, here: &Standing, there: &Standing) -> Vec<String> {
    if here.head.is_none() || there.head.is_none() {
        return Vec::new();
    }
    let mut lines = Vec::new();
    let has_diverged = !here.led_to(there) && !there.led_to(here);
    if has_diverged {
        lines.push("the two did not come from one another: decide which data to keep".to_owned());
    }
    for (kept, given_up) in [(here, there), (there, here)] {
        let fits = given_up.led_to(kept);
        if !fits && !has_diverged || fits && kept.is_primary && !given_up.is_primary {
            continue;
        }
        let (winner, loser) = (
            escape(kept.node.as_bytes()),
            escape(given_up.node.as_bytes()),
        );
        let mut words = Vec::new();
        if given_up.is_primary {
            words.push(format!("on {loser} `hasync demote {tree}`"));
        }
        if let Some(head) = kept.head.as_ref().filter(|_| !fits) {
            let id = head.id;
            words.push(format!(
                "on {loser} `hasync adopt {tree} --from {winner} --generation {id}`"
            ));
        }
        if let Some(command) = promotion(tree, kept, given_up) {
            words.push(format!("on {winner} `{command}`"));
        }
        words.push(format!("on {winner} `hasync push --tree {tree}`"));
        lines.push(format!("to keep what {winner} has: {}", words.join(", ")));
    }
    lines
}
