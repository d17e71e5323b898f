//! Before this node is promoted, its peer is asked whether it has the service, or data that is
//! newer than what is here. Whoever fails over does not wait for a peer that is down: one
//! connection for all trees has two seconds, from looking up the name to how it stands. Of a peer
//! that is primary, its test of the role may take longer: that is waited for, and so is its last
//! push, if it has lost the service and has not pushed one yet. No lock is held meanwhile.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use hasync_engine::generation::{self, Epoch, Freshness, Standing};
use hasync_engine::{Wish, escape};

use crate::config::{Config, Stale, Tree};
use crate::exit::{self, Exit, Failure};
use crate::out::Out;
use crate::peer_link::PeerLink;
use crate::role::{self, Role};
use crate::state;
use crate::times::long;

/// How long the peer may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is asked again while its last push is awaited.
const POLL: Duration = Duration::from_millis(100);

/// What the peer says before this node is promoted.
#[derive(Default)]
pub(crate) struct Heard<'a> {
    /// The trees that this node should not be promoted of, each with the reason.
    pub(crate) stale: Vec<(&'a Tree, Failure)>,
    /// The peer's epoch of each tree of which it is the higher: a promotion goes above it.
    epochs: Vec<(&'a str, Epoch)>,
}

impl Heard<'_> {
    /// Why this node should not be promoted of a tree.
    pub(crate) fn why_not(&self, name: &str) -> Option<&Failure> {
        let mut stale = self.stale.iter();
        stale
            .find(|(tree, _)| tree.name == name)
            .map(|(_, why)| why)
    }

    /// The peer's epoch, if it is the higher, and one that an honest peer can be in.
    pub(crate) fn epoch(&self, name: &str) -> Epoch {
        let mut epochs = self.epochs.iter();
        let found = epochs.find(|(tree, _)| *tree == name);
        found.map(|(_, epoch)| *epoch).unwrap_or_default()
    }
}

/// Asks the peer. What is no reason to stop is said. `hands_over`: whoever asks for the promotion
/// has the peer hand over first, so that a peer that is primary still has not.
///
/// # Errors
///
/// The service went from this node while the peer was waited for.
pub(crate) fn hear<'a>(
    config: &Config,
    trees: &[&'a Tree],
    hands_over: bool,
    out: &Out,
) -> Result<Heard<'a>, Failure> {
    let asker = Asker::start(config, trees);
    let told = match asker.ask(Wish::Nothing, PATIENCE) {
        Ok(told) if told.iter().flatten().any(|answer| answer.there.is_primary) => {
            await_primary(config, &asker, told, out)?
        }
        told => told,
    };
    let mut heard = Heard::default();
    let told = match told {
        Ok(told) => told,
        Err(failure) => {
            out.say(&format!("the peer cannot be asked: {}", failure.message));
            trees.iter().for_each(|tree| say_age(config, tree, out));
            return Ok(heard);
        }
    };
    for (tree, answer) in trees.iter().zip(told) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                let (name, why) = (&tree.name, &failure.message);
                out.say(&format!("{name}: the peer cannot be asked about it: {why}"));
                say_age(config, tree, out);
                continue;
            }
        };
        let epoch = answer.there.epoch;
        if epoch > answer.here.epoch && epoch.is_within_reach(answer.here.epoch) {
            heard.epochs.push((&tree.name, epoch));
        }
        let Some(why) = reason(tree, &answer, hands_over) else {
            if answer.freshness() == Freshness::Unknown {
                out.say(&unknown(tree, &answer));
            }
            continue;
        };
        match config.lineage.stale {
            Stale::Refuse => heard.stale.push((*tree, Failure::new(Exit::Fenced, why))),
            Stale::Warn => out.say(&format!("{}: warning: {why}", tree.name)),
        }
    }
    Ok(heard)
}

/// Waits until a peer that is primary has said whether it has the service, and for its last push if
/// it has not: both together no longer than `last_push`. `before` is what it has said without.
fn await_primary(
    config: &Config,
    asker: &Asker,
    before: Vec<Result<Answer, Failure>>,
    out: &Out,
) -> Result<Told, Failure> {
    asker.wish(Wish::LastPush);
    let has_service = || role::find(config).is_ok_and(|found| found.role == Role::Primary);
    let (had_service, began, limit) = (has_service(), Instant::now(), config.cycle.last_push.0);
    let still_here = || match had_service && !has_service() {
        false => Ok(()),
        true => Err(Failure::new(
            Exit::Locked,
            "the service has gone from this node while the peer was waited for; nothing was \
             promoted",
        )),
    };
    let mut told = loop {
        match asker.hear(POLL) {
            Some(told) => break told,
            None if began.elapsed() >= limit => {
                out.say(&format!(
                    "the peer has not said within {} whether it has the service",
                    long(limit)
                ));
                return Ok(Ok(before));
            }
            None => still_here()?,
        }
    };
    while let Ok(answers) = &told
        && is_awaited(answers)
    {
        if began.elapsed() >= limit {
            out.say(&format!(
                "the last push of the peer did not come within {}: what changed there since the \
                 last good push is there alone",
                long(limit)
            ));
            break;
        }
        still_here()?;
        thread::sleep(POLL);
        // Whether it has the service it has said; that it would have it again shows here.
        told = asker.ask(Wish::Nothing, PATIENCE);
    }
    Ok(told)
}

fn is_awaited(told: &[Result<Answer, Failure>]) -> bool {
    told.iter()
        .flatten()
        .any(|answer| answer.freshness() == Freshness::Awaited)
}

/// From when the data is that this node goes on with.
fn say_age(config: &Config, tree: &Tree, out: &Out) {
    let name = &tree.name;
    let as_of = state::of_tree(config, tree).ok();
    let as_of = as_of.and_then(|tree| tree.facts.data.as_of);
    out.say(&as_of.map_or_else(
        || format!("{name}: how old the data here is, is not known"),
        |as_of| {
            let when = as_of.time;
            format!("{name}: the data here is as of {when} by the primary's clock")
        },
    ));
}

/// Why this node should not be promoted of a tree.
fn reason(tree: &Tree, answer: &Answer, hands_over: bool) -> Option<String> {
    let (name, peer) = (&tree.name, escape(answer.there.node.as_bytes()));
    let shown = |standing: &Standing| {
        let head = standing.head.as_ref();
        head.map_or_else(|| "none".to_owned(), generation::Generation::shown)
    };
    let (here, there) = (shown(&answer.here), shown(&answer.there));
    match answer.freshness() {
        Freshness::Served => Some(format!(
            "{peer} is primary of tree {name} (generation {there}) and has the service, by its \
             [role]: stop the service there first; `hasync promote {name} --force` here makes both \
             primary"
        )),
        Freshness::Behind => Some(format!(
            "{peer} is standby of tree {name} and ahead, with generation {there}; here is \
             generation {here}: start the service there, and push from there; `hasync promote \
             {name} --force` here goes on with what is here"
        )),
        Freshness::Unknown if hands_over => Some(format!(
            "{peer} is primary of tree {name} (generation {there}) and has not handed over: start \
             the cluster manager there, or run `hasync mirror stop` there; `hasync promote {name} \
             --force` here goes on with what is here"
        )),
        Freshness::Fresh | Freshness::Unknown | Freshness::Awaited => None,
    }
}

/// What is said where nobody can tell whether the peer still has the service.
fn unknown(tree: &Tree, answer: &Answer) -> String {
    let (name, peer) = (&tree.name, escape(answer.there.node.as_bytes()));
    format!(
        "{name}: warning: {peer} is primary of it too, and no [role] there tells whether it \
         serves: until `hasync demote {name}` there, each refuses the other's pushes (80)"
    )
}

/// How both nodes stand to a tree.
pub(crate) struct Answer {
    here: Standing,
    pub(crate) there: Standing,
    /// Whether the peer has the service, as far as it is known.
    serves: Option<bool>,
}

impl Answer {
    fn freshness(&self) -> Freshness {
        Freshness::of(&self.here, &self.there, self.serves)
    }
}

/// What the peer says of each tree, or why it says nothing at all.
pub(crate) type Told = Result<Vec<Result<Answer, Failure>>, Failure>;

/// A thread that asks, so that nothing it may hang in holds up more than that thread.
pub(crate) struct Asker {
    wishes: Sender<Wish>,
    told: Receiver<Told>,
}

impl Asker {
    pub(crate) fn start(config: &Config, trees: &[&Tree]) -> Self {
        let (wishes, wish) = channel();
        let (tell, told) = channel();
        let config = config.clone();
        let trees: Vec<_> = trees.iter().map(|tree| tree.on(&config.node)).collect();
        thread::spawn(move || {
            let mut link = PeerLink::configured(&config);
            let mut serves = None;
            while let Ok(wish) = wish.recv() {
                let answers = match &mut link {
                    Ok(link) => ask_all(link, &trees, wish, &mut serves),
                    Err(failure) => Err(failure.clone()),
                };
                if tell.send(answers).is_err() {
                    return;
                }
            }
            if let Ok(link) = &mut link {
                link.close();
            }
        });
        Asker { wishes, told }
    }

    pub(crate) fn ask(&self, wish: Wish, patience: Duration) -> Told {
        self.wish(wish);
        self.hear(patience).unwrap_or_else(|| {
            let message = format!("it has not answered within {}", long(patience));
            Err(Failure::new(Exit::Timeout, message))
        })
    }

    /// What the peer says to it is heard later.
    fn wish(&self, wish: Wish) {
        // Without a thread to take it, nothing will be heard.
        let _ = self.wishes.send(wish);
    }

    fn hear(&self, patience: Duration) -> Option<Told> {
        self.told.recv_timeout(patience).ok()
    }
}

/// Asks about each tree; about the service, which is one for all, with the first that the peer
/// knows. One of which it says nothing does not keep the others from being asked about.
fn ask_all(
    link: &mut PeerLink,
    trees: &[generation::Tree],
    wish: Wish,
    serves: &mut Option<bool>,
) -> Told {
    let mut wish = wish;
    let mut answers = Vec::new();
    for tree in trees {
        let asked = link.push(|connection| connection.ask(tree, wish));
        answers.push(match asked {
            Ok((here, there, told)) => {
                if wish != Wish::Nothing {
                    *serves = told;
                }
                wish = Wish::Nothing;
                Ok(Answer {
                    here,
                    there,
                    serves: *serves,
                })
            }
            Err(failure) if is_about_all(&failure, link) => return Err(failure),
            Err(failure) => Err(failure),
        });
    }
    Ok(answers)
}

/// Whether the answer to each other question would be the same.
fn is_about_all(failure: &Failure, link: &PeerLink) -> bool {
    // What is wrong with the peer's configuration ends the connection.
    let ended = !link.is_open() && matches!(failure.exit, Exit::Stream | Exit::Config);
    ended || exit::is_about_the_way(failure.exit)
}
