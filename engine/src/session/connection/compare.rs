//! What a connection does besides pushes: it asks how the peer stands to a named tree, or what
//! differs between the two nodes. Neither is refused because of the lineage, and neither changes
//! anything on either node.

use std::ffi::OsString;
use std::time::Duration;

use super::{Connection, Event};
use crate::error::{Error, ErrorKind};
use crate::generation::{Sending, Tree};
use crate::lineage::claim::Standing;
use crate::node_id::NodeId;
use crate::observer::{Observer, Summary};
use crate::options::Options;
use crate::policy::Wish;
use crate::refusal::Refusal;
use crate::term::Term;
use crate::wire::{Ask, ToReceiver, ToSender};

/// How two nodes stand to a tree, and what differs between their data.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// This node.
    pub here: Standing,
    /// The peer.
    pub there: Standing,
    /// What a push from here would do, if the lineage allowed it.
    pub summary: Summary,
}

impl Connection {
    /// Compares a named tree here with the peer's, whichever node is primary and however they have
    /// diverged: `observer` is told what a push from here would change.
    ///
    /// # Errors
    ///
    /// As [`push_tree`](Self::push_tree), except for what concerns the lineage. Besides, if a
    /// commit to the tree was cut off on either node.
    pub fn compare_tree(
        &mut self,
        sources: &[OsString],
        tree: &Tree,
        options: &Options,
        observer: &mut dyn Observer,
    ) -> Result<Comparison, Error> {
        let (mut sending, here) = Sending::compare(tree)?;
        let options = Options {
            atomic: true,
            fsync: true,
            dry_run: true,
            recheck: sending.recheck(),
            ..options.clone()
        };
        let summary = self.push_from(sources, b"", &options, observer, Some(&mut sending))?;
        let there = peer(sending, tree)?;
        Ok(Comparison {
            here,
            there,
            summary,
        })
    }

    /// Asks how the peer stands to a named tree and, by `service`, whether it has the service, if
    /// it knows. However the nodes stand, and whatever else runs there, it answers.
    ///
    /// # Errors
    ///
    /// Config, if the tree has no such name there or is not for this key; else as
    /// [`push_tree`](Self::push_tree).
    pub fn ask(
        &mut self,
        tree: &Tree,
        service: Wish,
    ) -> Result<(Standing, Standing, Option<bool>), Error> {
        let answer = self.asked(tree, service)?;
        Ok((answer.here, answer.there, answer.serves))
    }

    /// Asks for the terms of the peer's configuration, by a tree that it shares.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub fn ask_terms(&mut self, tree: &Tree) -> Result<Vec<Term>, Error> {
        Ok(self.asked(tree, Wish::Terms)?.terms)
    }

    fn asked(&mut self, tree: &Tree, service: Wish) -> Result<Answer, Error> {
        let (here, node_id) = (tree.standing()?, NodeId::of(&tree.state_dir)?);
        self.check()?;
        self.has_ended = true;
        let ask = Ask {
            tree: tree.name.clone(),
            node_id,
            service,
        };
        self.say_first(&ToReceiver::Ask(ask))?;
        self.hearing.begin(Duration::ZERO);
        let (there, serves, terms) = match self.next_event()? {
            Event::Message(ToSender::Told {
                standing,
                serves,
                terms,
            }) => (standing, serves, terms),
            Event::Message(ToSender::Fatal { kind, message }) => {
                return Err(Error::told(kind, message));
            }
            Event::LinkEnd(e) => return Err(e),
            _ => return Err(Error::peer(Refusal::NotReply)),
        };
        let Some(there) = there else {
            // That is an answer, and others may follow.
            (self.has_ended, self.is_new) = (false, false);
            let name = &tree.name;
            let message = format!("the peer has no tree named {name} for this key");
            return Err(Error::new(ErrorKind::Config, message));
        };
        node_id.refuse_own(there.node_id, &tree.state_dir)?;
        let number = here.head.as_ref().map(|head| head.number);
        there.believe(&tree.name, here.epoch, number.unwrap_or_default())?;
        self.has_ended = false;
        self.is_new = false;
        Ok(Answer {
            here,
            there: *there,
            serves,
            terms,
        })
    }
}

/// What the peer has told.
struct Answer {
    here: Standing,
    there: Standing,
    serves: Option<bool>,
    terms: Vec<Term>,
}

fn peer(sending: Sending, tree: &Tree) -> Result<Standing, Error> {
    let tree = &tree.name;
    let standing = sending.into_peer();
    standing.ok_or_else(|| Error::peer(Refusal::NoStanding { tree: tree.clone() }))
}
