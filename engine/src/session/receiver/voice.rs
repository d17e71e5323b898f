//! What the receiver tells its sender, and keeps in mind of it: what went wrong makes the target
//! other than the source.

use crate::error::Error;
use crate::lineage::generation::Partial;
use crate::observer::Warning;
use crate::session::outbox::Outbox;
use crate::wire::{DirIndex, ToSender};

/// The way to the sender.
pub(super) struct Voice {
    pub(super) outbox: Outbox,
    /// What keeps the target from being equal to the source, as far as the receiver knows.
    pub(super) problems: Partial,
    /// Nobody needs to be told any more that something that was asked for cannot be kept.
    pub(super) lost_is_known: bool,
    /// The same of ACLs and extended attributes.
    pub(super) lost_attributes_are_known: bool,
    /// The same of hard links.
    pub(super) lost_links_are_known: bool,
    /// The same of owners and times of symlinks.
    pub(super) bare_links_are_known: bool,
    /// The last warning. What many entries of a directory come to grief at is said once.
    last_warning: String,
    /// Directories below this index have been answered, as far as the sender knows.
    told_below: DirIndex,
}

impl Voice {
    pub(super) fn new(outbox: &Outbox, lost_is_known: bool) -> Self {
        Voice {
            outbox: outbox.clone(),
            problems: Partial::default(),
            lost_is_known,
            lost_attributes_are_known: lost_is_known,
            lost_links_are_known: lost_is_known,
            bare_links_are_known: false,
            last_warning: String::new(),
            told_below: 0,
        }
    }

    pub(super) fn say(&self, message: &ToSender) -> Result<(), Error> {
        self.outbox.lock().put_to_sender(message)
    }

    /// Something went wrong with one entry.
    pub(super) fn warn(&mut self, message: String) -> Result<(), Error> {
        self.pass_on(Warning {
            vanished: false,
            message,
        })
    }

    pub(super) fn pass_on(&mut self, warning: Warning) -> Result<(), Error> {
        if self.last_warning == warning.message {
            return Ok(());
        }
        self.last_warning.clone_from(&warning.message);
        self.problems.add_line(&warning.message);
        self.say(&ToSender::Warning(warning))
    }

    /// Every directory below this index that needs an answer has had it.
    pub(super) fn compared(&mut self, below: DirIndex) -> Result<(), Error> {
        if std::mem::replace(&mut self.told_below, below) == below {
            return Ok(());
        }
        self.say(&ToSender::Compared { below })
    }
}
