//! The end of a push: what waited for everything else, deletions, the flush, the acknowledgement.

use std::mem::take;

use super::door::Door;
use super::links::Links;
use super::named::Named;
use super::new_dirs::NewDirs;
use super::removals::Removals;
use super::seal;
use super::site::Site;
use crate::error::Error;
use crate::generation::Sealed;
use crate::history::Interrupted;
use crate::spill;
use crate::wire::ToSender;

/// All that is left to be done when everything asked for has been sent and settled. It needs
/// nothing of the sender any more, and may take as long as a disk takes to write what it holds.
pub(super) struct Ending {
    pub(super) site: Site,
    pub(super) named: Option<Named>,
    pub(super) new_dirs: NewDirs,
    pub(super) links: Links,
    pub(super) removals: Removals,
    pub(super) left: Interrupted,
    /// The sender has listed all that it has.
    pub(super) deletable: bool,
}

impl Ending {
    /// Finishes the push, and says so. What a broken link leaves undone is left for the next one.
    pub(super) fn run(mut self) -> Result<(), Error> {
        let result = self.finish();
        let result = result.map_err(|e| self.site.with_sums(e, || 0));
        if let Err(e) = &result {
            self.site.leave_staged(e, Vec::new);
        }
        result
    }

    fn finish(&mut self) -> Result<(), Error> {
        let site = &mut self.site;
        take(&mut self.new_dirs).make_bare(site)?;
        site.door.run()?;
        let removals = take(&mut self.removals);
        let (ways, mut going) = removals.carry_out(site, self.named.as_ref(), self.deletable)?;
        spill::check()?;
        let is_atomic = match &site.door {
            Door::Dry(_) => return site.done(false, None, 0),
            Door::Real(real) => real.commit.is_atomic(),
        };
        take(&mut self.links).carry_out(site, &ways)?;
        spill::check()?;
        if is_atomic {
            return seal::run(site, self.named.take(), take(&mut self.left), &mut going);
        }
        site.door.run()?;
        let unmoved = site.door.real()?.commit.take_unmoved();
        going.tell_rest(site, &[&unmoved])?;
        let durable = site.door.real()?.commit.finish()?;
        let starved = site.full.starved(&site.door, going.gone())?;
        site.done(durable, None, starved)
    }
}

impl Site {
    /// Says that everything is done, after what went wrong on the way.
    pub(super) fn done(
        &mut self,
        durable: bool,
        sealed: Option<Sealed>,
        starved: u64,
    ) -> Result<(), Error> {
        self.tell_warnings()?;
        let sealed = sealed.map(Box::new);
        self.say(&ToSender::Done {
            durable,
            sealed,
            starved,
        })
    }
}
