//! The receiving half of a connection: one push after another, as the sender begins them. One
//! thread, driven by the incoming frames; answers are flushed before it waits for more.

use std::time::{Duration, Instant};

use super::push::{Push, Said};
use super::request::{Request, next_request, no_hello};
use super::standing;
use super::threshold::Threshold;
use crate::error::Error;
use crate::policy::{Greeted, Over, ServePolicy};
use crate::refusal::Refusal;
use crate::session::Duplex;
use crate::session::drive::{Events, Waiting, drive};
use crate::session::headway::{Headway, standstill};
use crate::session::outbox::Outbox;
use crate::spill;
use crate::wire::{FrameReader, Hello, ToReceiver, ToSender, check_preamble, preamble};

/// How long a sender may take until it has said what it wants, whatever it says meanwhile. A link
/// that is silent altogether has to see to that itself.
pub const HELLO_TIME: Duration = Duration::from_secs(30);

/// Runs the receiver half: one push after another, until the sender ends the stream between two.
///
/// # Errors
///
/// Everything that ends a push early, which ends the connection; the sender has been told the
/// reason when it could be. A stream that ends before anything has been asked for.
pub fn serve(link: Duplex, policy: &ServePolicy) -> Result<(), Error> {
    let mut reader = FrameReader::with_runs(link.reader);
    let outbox = Outbox::new(link.writer);
    {
        let mut writer = outbox.lock();
        writer.raw(&preamble());
        writer.flush()?;
    }
    let result = serve_pushes(&mut reader, &outbox, policy);
    if let Err(e) = &result {
        let fatal = ToSender::Fatal {
            kind: e.kind,
            message: e.message.clone(),
        };
        let mut writer = outbox.lock();
        // If the sender is gone, there is nobody to tell.
        let _ = writer.put_to_sender(&fatal);
    }
    let ended = outbox.end();
    result.and(ended)
}

fn serve_pushes(
    reader: &mut FrameReader,
    outbox: &Outbox,
    policy: &ServePolicy,
) -> Result<(), Error> {
    reader.expect_by(Instant::now().checked_add(HELLO_TIME), no_hello);
    let said = reader.preamble()?;
    if said.is_empty() {
        // A push that finds nothing to send closes before it says anything.
        return Ok(());
    }
    check_preamble(said)?;
    let mut threshold = Threshold::new(outbox, policy);
    while let Some(request) = next_request(reader)? {
        reader.expect_by(None, no_hello);
        if let Some(Greeted(greeted)) = &policy.greeted {
            greeted();
        }
        match request {
            Request::Push(hello) => {
                let named = named(&hello);
                let result = threshold
                    .approach(&hello)
                    .and_then(|()| Push::begin(*hello, outbox, policy, &mut threshold, true))
                    .and_then(|push| run(reader, outbox, push, policy.stall));
                if let (Some(Over(over)), Some(tree)) = (&policy.over, named) {
                    over(&tree, result.as_ref().err());
                }
                result?;
            }
            Request::Ask(ask) => {
                threshold.approach_names()?;
                standing::tell(&ask, policy, outbox)?;
            }
        }
    }
    if !threshold.is_crossed() {
        return Err(Error::peer(Refusal::NoHello));
    }
    Ok(())
}

/// The tree that a push is to change by its name.
fn named(hello: &Hello) -> Option<String> {
    let claim = hello.claim.as_ref()?;
    let is_real = !hello.options.dry_run && !claim.compares;
    is_real.then(|| claim.tree.clone())
}

/// Runs one push to its end.
fn run(
    reader: &mut FrameReader,
    outbox: &Outbox,
    mut push: Push,
    stall: Duration,
) -> Result<(), Error> {
    let mut hearing = Hearing {
        reader,
        outbox,
        headway: Headway::new(stall, Instant::now()),
    };
    let result = drive(&mut push, &mut hearing, outbox);
    reader.expect_by(None, standstill);
    // What follows from bytes that could not be kept is nobody else's fault.
    let result = spill::check().and(result);
    if let Err(e) = &result {
        push.fail(e);
    }
    result
}

/// What the sender says in the course of a push.
struct Hearing<'a> {
    reader: &'a mut FrameReader,
    outbox: &'a Outbox,
    headway: Headway,
}

impl Hearing<'_> {
    /// The next thing that is said, unless that is a ping.
    fn next(&mut self) -> Result<Option<Said<'_>>, Error> {
        let said = Said::by(self.reader.next()?)?;
        if let Said::Message(ToReceiver::Ping(pulse)) = said {
            self.headway.pinged(pulse, Instant::now());
            return Ok(None);
        }
        Ok(Some(said))
    }
}

impl Events<Push> for Hearing<'_> {
    fn take(&mut self) -> Result<Option<Said<'_>>, Error> {
        if self.reader.has_frame() {
            self.next()
        } else {
            Ok(None)
        }
    }

    fn wait(&mut self, waiting: Waiting, seen: u64) -> Result<Option<Said<'_>>, Error> {
        if let Waiting::ForRoom = waiting {
            // Whoever puts anything waits until there is some.
            self.outbox.lock().flush()?;
            return Ok(None);
        }
        let now = Instant::now();
        self.headway.saw(seen, now);
        let until = now.checked_add(self.headway.check(now)?);
        self.reader.expect_by(until, standstill);
        self.next()
    }
}
