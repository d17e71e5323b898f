//! The promotion score of this node, by which the cluster chooses whom to promote, and what its
//! status shows of it. The order of generations decides; the peer is asked where this node's own
//! records do not settle it, and never more often than that.

use std::collections::BTreeMap;
use std::time::Duration;

use hasync_engine::generation::{Candidate, GenerationId, Rank, Standing, Unfit};
use hasync_engine::{Wish, escape};

use super::mark::{Mark, Part};
use crate::config::{Config, Stale, Tree};
use crate::exit::{Exit, Failure};
use crate::freshness::{Asker, PATIENCE};
use crate::memory::Memory;
use crate::shell;
use crate::writable;

/// How long one of the cluster's own programs may take.
const PATIENCE_WITH_CLUSTER: Duration = Duration::from_secs(5);
/// The most that the epoch adds to the score of a primary; a million means infinity.
const EPOCH_MAX: u32 = 900_000;
/// Where they are, besides the path.
const SBIN: &str = "/usr/sbin:/sbin";

/// The score of a rank; `None` keeps a node from being promoted.
fn score_of(rank: Rank, stale: Stale) -> Option<u32> {
    match rank {
        Rank::Primary => Some(1000),
        Rank::LastPrimary => Some(500),
        Rank::Newest => Some(100),
        Rank::Behind => Some(10),
        Rank::None(Unfit::Unknown) if stale == Stale::Warn => Some(5),
        Rank::None(_) => None,
    }
}

/// Why it could not be recorded that this node is primary.
fn first_obstacle(config: &Config, trees: &[&Tree]) -> Option<Failure> {
    let dirs = trees.iter().map(|tree| tree.dir());
    let mut dirs = [config.node.state.as_path()].into_iter().chain(dirs);
    dirs.find_map(writable::obstacle)
}

/// Sets the score anew; why there is none, if there is none.
pub(super) fn update(config: &Config, mark: &mut Mark) -> Result<Option<String>, Failure> {
    let trees = config.in_push_order();
    if mark.part != Part::Promoted
        && let Some(failure) = first_obstacle(config, &trees)
    {
        forget(PATIENCE_WITH_CLUSTER);
        let why = failure.message;
        return Ok(Some(format!("this node is not to be promoted: {why}")));
    }
    let here = trees.iter().map(|tree| Here::of(config, tree, mark));
    let here = here.collect::<Result<Vec<_>, _>>()?;
    let mut ranks: Vec<Rank> = here.iter().map(|own| own.rank(None)).collect();
    let mut peer = vec![Err("it was not asked".to_owned()); trees.len()];
    if !settled(config, mark, &ranks) {
        peer = ask(config, &trees);
        let beside = here.iter().zip(&peer);
        ranks = beside
            .map(|(own, there)| own.rank(there.as_ref().ok()))
            .collect();
    }
    prove(mark, &trees, &here, &ranks);
    let of_each = trees.iter().zip(&peer).zip(&ranks);
    let worst = of_each.min_by_key(|(_, rank)| **rank);
    let (Some(((tree, said), _)), Some(rank)) = (worst, of_node(&ranks)) else {
        return Ok(None);
    };
    let is_promoted = mark.part == Part::Promoted;
    let has_left = !is_promoted && has_left(&peer);
    // Of two that were promoted apart the cluster keeps one, before anybody has compared them.
    let epochs = here.iter().map(|own| own.standing.epoch);
    let epoch = epochs
        .max()
        .and_then(|epoch| epoch.to_string().parse().ok());
    let epoch = EPOCH_MAX.min(epoch.unwrap_or(EPOCH_MAX));
    let score = match score_of(rank, config.lineage.stale) {
        Some(score) if rank == Rank::Primary => Some(score + epoch),
        // It serves: which node is to have the service instead, people decide.
        None if is_promoted => score_of(Rank::Primary, config.lineage.stale),
        Some(_) if has_left && rank <= Rank::Newest => None,
        score => score,
    };
    match score {
        Some(score) => {
            let set = format!("crm_attribute --promotion -v {score}");
            call(&set, PATIENCE_WITH_CLUSTER);
        }
        None => forget(PATIENCE_WITH_CLUSTER),
    }
    Ok(match rank {
        _ if score.is_some() => None,
        Rank::None(why) => Some(sentence(tree, why, said)),
        _ => Some(format!(
            "{}: the other node is primary, has not handed over and is no member of the cluster: \
             start the cluster manager there, or run `hasync mirror stop` there",
            tree.name
        )),
    })
}

/// The rank of a node, given those of its trees: the worst, unless none is unfit or behind. Who is
/// still primary of one then has to be promoted, or nobody can be.
fn of_node(ranks: &[Rank]) -> Option<Rank> {
    let (worst, best) = (*ranks.iter().min()?, *ranks.iter().max()?);
    Some(if worst < Rank::Newest { worst } else { best })
}

/// Takes the score away, within this time if it is short.
pub(super) fn forget(patience: Duration) {
    let patience = patience.min(PATIENCE_WITH_CLUSTER);
    call("crm_attribute --promotion -D", patience);
}

/// Has the cluster's status (`crm_mon -A`) show a line about this node, or none.
pub(super) fn show(instance: &str, mark: &mut Mark, line: Option<&String>) {
    if mark.shown.as_ref() == line {
        return;
    }
    mark.shown = line.cloned();
    let name = quoted(&format!("hasync-{instance}"));
    let update = match line {
        Some(line) => format!("attrd_updater -n {name} -U {}", quoted(line)),
        None => format!("attrd_updater -n {name} -D"),
    };
    call(&update, PATIENCE_WITH_CLUSTER);
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    let word = escape(word.as_bytes());
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Runs a program of the cluster's. Outside of one, as under ocf-tester, it fails, and nobody
/// promotes by scores.
fn call(command: &str, patience: Duration) {
    let path = format!("{}:{SBIN}", std::env::var("PATH").unwrap_or_default());
    let _ = shell::run(command, &[("PATH", &path)], b"", patience);
}

/// Whether a peer that is primary is outside of this node's part of the cluster: then nobody has
/// made it hand over.
fn has_left(peer: &[Result<Standing, String>]) -> bool {
    if !peer.iter().flatten().any(|there| there.is_primary) {
        return false;
    }
    let path = format!("{}:{SBIN}", std::env::var("PATH").unwrap_or_default());
    let members = shell::run(
        "crm_node -p",
        &[("PATH", &path)],
        b"",
        PATIENCE_WITH_CLUSTER,
    );
    // Without a cluster nobody knows.
    members.is_ok_and(|members| members.code == 0 && members.stdout.split_whitespace().count() < 2)
}

/// Whether the ranks stand without the peer's word.
fn settled(config: &Config, mark: &Mark, ranks: &[Rank]) -> bool {
    if mark.part == Part::Promoted {
        let last = Memory::recall(&config.node.state).cycles.pop();
        let refused = [Exit::Fenced, Exit::Diverged].map(|exit| exit as u8);
        return last.is_none_or(|cycle| !refused.contains(&cycle.exit));
    }
    let is_proven = |rank: &Rank| *rank == Rank::Newest;
    ranks.iter().all(is_proven)
}

/// What the peer says of each tree, or why it says nothing.
fn ask(config: &Config, trees: &[&Tree]) -> Vec<Result<Standing, String>> {
    match Asker::start(config, trees).ask(Wish::Nothing, PATIENCE) {
        Ok(told) => told
            .into_iter()
            .map(|answer| answer.map_or_else(|why| Err(why.message), |answer| Ok(answer.there)))
            .collect(),
        Err(why) => vec![Err(why.message); trees.len()],
    }
}

/// Remembers of which trees this node has the newest generation.
fn prove(mark: &mut Mark, trees: &[&Tree], here: &[Here], ranks: &[Rank]) {
    let newest = trees.iter().zip(here).zip(ranks);
    let newest = newest.filter(|(_, rank)| **rank == Rank::Newest);
    mark.proven = newest
        .filter_map(|((tree, own), _)| {
            let head = own.standing.head.as_ref()?;
            Some((tree.name.clone(), head.id.to_string()))
        })
        .collect::<BTreeMap<_, _>>();
}

/// What this node knows of itself and one tree.
struct Here {
    standing: Standing,
    was_primary: Option<bool>,
    is_interrupted: bool,
    data: hasync_engine::generation::Data,
    proven: Option<GenerationId>,
}

impl Here {
    fn of(config: &Config, tree: &Tree, mark: &Mark) -> Result<Self, Failure> {
        let named = tree.on(&config.node);
        let status = named.status()?;
        let proven = mark.proven.get(&tree.name);
        Ok(Here {
            standing: named.standing()?,
            was_primary: status.was_primary,
            is_interrupted: status.is_interrupted,
            data: named.data()?,
            proven: proven.and_then(|id| GenerationId::parse(id)),
        })
    }

    fn rank(&self, peer: Option<&Standing>) -> Rank {
        let own = Candidate {
            standing: &self.standing,
            was_primary: self.was_primary,
            data: self.data,
            is_interrupted: self.is_interrupted,
            proven: self.proven,
        };
        Rank::of(own, peer)
    }
}

/// Why a node is not to be promoted, and what to do.
fn sentence(tree: &Tree, why: Unfit, peer: &Result<Standing, String>) -> String {
    let name = &tree.name;
    let what = match (why, peer) {
        (Unfit::Interrupted, _) => format!("a commit was cut off: run `hasync recover {name}`"),
        (Unfit::Unseen, _) => {
            "its data cannot be seen: is its disk mounted? `hasync status` says more".to_owned()
        }
        (Unfit::GivenUp, _) => "its data is given up for the next push that it receives".to_owned(),
        (Unfit::Diverged, _) => format!(
            "the nodes have diverged: `hasync diverged {name}` lists what differs and the two \
             ways out"
        ),
        (Unfit::Empty, _) => "nothing was received yet, and the other node has data".to_owned(),
        (Unfit::BothEmpty, _) => {
            "neither node has a generation: run `hasync promote --all` on the node with the data"
                .to_owned()
        }
        (Unfit::Unknown, Err(unreached)) => format!(
            "whether the other node has newer data is not known, for it cannot be asked \
             ({unreached}): run `hasync promote --all` here to go on with what is here"
        ),
        (Unfit::Unknown, Ok(_)) => "nothing is known of its data".to_owned(),
    };
    format!("{name}: this node is not to be promoted: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_keep_the_order_of_the_ranks() {
        let ranks = [
            Rank::None(Unfit::Diverged),
            Rank::Behind,
            Rank::Newest,
            Rank::LastPrimary,
            Rank::Primary,
        ];
        for pair in ranks.windows(2) {
            let [lower, higher] = pair else { continue };
            assert!(score_of(*lower, Stale::Refuse) < score_of(*higher, Stale::Refuse));
        }
        let unknown = Rank::None(Unfit::Unknown);
        assert_eq!(score_of(unknown, Stale::Refuse), None);
        assert!(score_of(unknown, Stale::Warn) < score_of(Rank::Behind, Stale::Warn));
        assert!(score_of(unknown, Stale::Warn).is_some());
        let diverged = Rank::None(Unfit::Diverged);
        assert_eq!(score_of(diverged, Stale::Warn), None);
    }

    #[test]
    fn one_tree_can_spoil_the_rank_of_a_node_and_one_that_is_primary_makes_it() {
        use Rank::{Behind, LastPrimary, Newest, Primary};
        let diverged = Rank::None(Unfit::Diverged);
        for (ranks, expected) in [
            (&[][..], None),
            (&[Newest, Newest], Some(Newest)),
            (&[Newest, Primary], Some(Primary)),
            (&[LastPrimary, Newest], Some(LastPrimary)),
            (&[Primary, Behind], Some(Behind)),
            (&[diverged, Primary], Some(diverged)),
        ] {
            assert_eq!(of_node(ranks), expected, "{ranks:?}");
        }
    }

    #[test]
    fn a_word_for_the_shell_stays_one() {
        assert_eq!(quoted("it's; $(x)"), "'it'\\''s; $(x)'");
    }
}
