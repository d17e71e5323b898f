//! One directory on its way to a receiver that lacks it: its entries, then the content.

use std::sync::Arc;

use super::Sender;
use super::answer::take_part;
use super::files::{Files, Rest};
use crate::error::Error;
use crate::session::window::HeldDir;
use crate::wire::ToReceiver;

pub(super) struct NewDir {
    held: Arc<HeldDir>,
    stage: Stage,
}

#[expect(clippy::large_enum_variant, reason = "there is one of it at a time")]
enum Stage {
    /// Entries have been sent up to this one.
    Entries(usize),
    /// The content follows; so many files had been put off before.
    Content(Files, usize),
}

impl NewDir {
    pub(super) fn new(held: Arc<HeldDir>) -> Self {
        let stage = Stage::Entries(0);
        NewDir { held, stage }
    }
}

impl Sender<'_> {
    /// Sends a piece; what is left, if anything is.
    pub(super) fn send_dir(&mut self, dir: NewDir) -> Result<Option<NewDir>, Error> {
        let NewDir { held, stage } = dir;
        let stage = match stage {
            Stage::Entries(sent) => self.send_entries(&held, sent)?,
            Stage::Content(files, leased) => match self.send_files(files)? {
                Some(files) => Stage::Content(files, leased),
                None => {
                    // In the order in which the receiver hears of them, whatever else is held back
                    // while the content of this directory is sent.
                    for &at in &held.dir.firsts {
                        self.links.hold_back(&held, at as usize, at);
                    }
                    let dir = held.dir.index;
                    let later = self.put_aside(leased, &held.dir.firsts);
                    self.say_later(dir, &later)?;
                    self.say(&ToReceiver::NewDirDone { dir })?;
                    return Ok(None);
                }
            },
        };
        Ok(Some(NewDir { held, stage }))
    }

    fn send_entries(&mut self, held: &Arc<HeldDir>, mut sent: usize) -> Result<Stage, Error> {
        let dir = &held.dir;
        let mut walk = dir.entries.walk_from(sent);
        let rest = std::iter::from_fn(|| walk.next().cloned());
        let entries = take_part(&mut rest.peekable());
        sent += entries.len();
        let last = sent >= dir.entries.len();
        self.say(&ToReceiver::NewDir {
            dir: dir.index,
            parent: dir.parent,
            name: dir.name().to_vec(),
            entries,
            last,
        })?;
        if !last {
            return Ok(Stage::Entries(sent));
        }
        self.say_other(dir)?;
        let files = Files::new(Rest::Of(Arc::clone(held), 0));
        Ok(Stage::Content(files, self.leased.count()))
    }
}
