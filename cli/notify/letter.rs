//! A notice as it is sent. Its words may come from the peer: the ways get them for the place that
//! they go to, and in no other form.

use std::borrow::Cow;

use hasync_engine::{Place, harmless};

use super::Notice;
use crate::config::Event;

/// A notice on its way.
pub(super) struct Letter {
    notice: Notice,
    node: String,
    /// How many like it were held back before.
    held_back: u64,
}

impl Letter {
    pub(super) fn new(notice: &Notice, node: &str, held_back: u64) -> Self {
        Letter {
            notice: notice.clone(),
            node: node.to_owned(),
            held_back,
        }
    }

    pub(super) fn event(&self) -> Event {
        self.notice.event
    }

    /// The name of this node.
    pub(super) fn node(&self, place: Place) -> Cow<'_, str> {
        harmless(&self.node, place)
    }

    /// The tree that it is about; empty for the node.
    pub(super) fn tree(&self) -> &str {
        self.notice.tree.as_deref().unwrap_or_default()
    }

    /// What happened.
    pub(super) fn line(&self, place: Place) -> Cow<'_, str> {
        harmless(&self.notice.line, place)
    }

    /// What to do now.
    pub(super) fn next(&self, place: Place) -> Cow<'_, str> {
        harmless(&self.notice.next, place)
    }

    /// `hasync foo0: overlap: the cycle ...`
    pub(super) fn subject(&self, place: Place) -> String {
        let (node, event) = (&self.node, self.notice.event.name());
        let tree = self.notice.tree.as_ref();
        let tree = tree.map_or_else(String::new, |tree| format!("tree {tree}: "));
        let line = &self.notice.line;
        harmless(&format!("hasync {node}: {event}: {tree}{line}"), place).into_owned()
    }

    /// Subject, the next step, and what was held back, a line each.
    pub(super) fn text(&self, place: Place) -> String {
        let mut text = format!("{}\n{}\n", self.subject(place), self.next(place));
        if self.held_back > 0 {
            let count = self.held_back;
            text.push_str(&format!(
                "{count} more like it were held back since the last one.\n"
            ));
        }
        text
    }
}
