//! `hasync diverged`: what differs between a tree here and the peer's, whichever of the two is
//! primary; how both came about, and the two ways out where they did not come from one another.
//! Changes nothing on either node.

use hasync_engine::generation::Standing;
use hasync_engine::{Wish, escape};

use super::any;
use super::ways::ways_out;
use crate::args::DivergedArgs;
use crate::config::{Config, RoleTest, Tree};
use crate::exit::{self, Exit, Failure};
use crate::numbers::commas;
use crate::out::{self, Out};
use crate::peer_link::PeerLink;
use crate::push_trees::{self, Plan};
use crate::role::{self, Role};
use crate::state::record::KindWord;
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
    let kind = KindWord::from(head.kind);
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
