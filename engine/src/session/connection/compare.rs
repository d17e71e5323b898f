//! What a connection does besides pushes: it asks how the peer stands to a named tree, or what
//! differs between the two nodes. Neither is refused because of the lineage, and neither changes
//! anything on either node.

use std::ffi::OsString;

use super::{Connection, Event, ended};
use crate::error::Error;
use crate::generation::{Partial, Sending, Standing, Tree};
use crate::observer::{Observer, Summary};
use crate::options::Options;
use crate::refusal::Refusal;
use crate::wire::{ToReceiver, ToSender};

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
        let options = comparing(options);
        let summary = self.push_from(sources, b"", &options, observer, Some(&mut sending))?;
        let there = peer(sending, tree)?;
        Ok(Comparison {
            here,
            there,
            summary,
        })
    }

    /// How this node and the peer stand to a named tree.
    ///
    /// # Errors
    ///
    /// As [`compare_tree`](Self::compare_tree).
    pub fn standings(
        &mut self,
        tree: &Tree,
        options: &Options,
    ) -> Result<(Standing, Standing), Error> {
        let (mut sending, here) = Sending::compare(tree)?;
        self.check()?;
        if std::mem::replace(&mut self.has_ended, true) {
            return Err(ended());
        }
        self.greet(
            b"",
            &comparing(options),
            Default::default(),
            Some(&mut sending),
        )?;
        {
            let nothing = ToReceiver::ContentDone {
                deletable: false,
                problems: Partial::default(),
            };
            let mut writer = self.outbox.lock();
            writer.put_to_receiver(&nothing)?;
            writer.flush()?;
        }
        loop {
            match self.next_event()? {
                Event::Message(ToSender::Fatal { kind, message }) => {
                    return Err(Error::told(kind, message));
                }
                Event::Message(ToSender::Done { .. }) => break,
                Event::Message(_) => {}
                Event::LinkEnd(e) => return Err(e),
                _ => return Err(Error::peer(Refusal::BasisOfNothing)),
            }
        }
        self.has_ended = false;
        self.is_new = false;
        Ok((here, peer(sending, tree)?))
    }
}

fn comparing(options: &Options) -> Options {
    Options {
        atomic: true,
        fsync: true,
        dry_run: true,
        ..options.clone()
    }
}

fn peer(sending: Sending, tree: &Tree) -> Result<Standing, Error> {
    let tree = &tree.name;
    let standing = sending.into_peer();
    standing.ok_or_else(|| Error::peer(Refusal::NoStanding { tree: tree.clone() }))
}
