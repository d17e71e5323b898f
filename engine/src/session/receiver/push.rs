//! One push as a machine: what the sender says goes in, answers go into the outbox, and the target
//! changes.

use std::time::Instant;

use super::Receiver;
use super::ending::Ending;
use super::threshold::Threshold;
use crate::error::Error;
use crate::policy::ServePolicy;
use crate::refusal::Refusal;
use crate::session::drive::{Machine, Poll};
use crate::session::outbox::Outbox;
use crate::spill;
use crate::wire::{Frame, FrameKind, Hello, ToReceiver, decode};
use crate::work;

/// What comes from the link.
pub(in crate::session) enum Said<'a> {
    Message(ToReceiver),
    /// A frame that is no message.
    Content(Frame<'a>),
    /// Nothing more.
    End,
}

impl<'a> Said<'a> {
    /// What a frame says; `None` is the end of the stream.
    pub(in crate::session) fn by(frame: Option<Frame<'a>>) -> Result<Self, Error> {
        Ok(match frame {
            None => Said::End,
            Some(frame) if frame.kind == FrameKind::Message => {
                Said::Message(decode(frame.payload)?)
            }
            Some(frame) => Said::Content(frame),
        })
    }
}

/// How far a push is.
pub(in crate::session) struct Push {
    stage: Stage,
    /// What has been handled.
    seen: u64,
}

enum Stage {
    Receiving(Box<Receiver>),
    /// The sender has sent everything.
    Ending(Box<Ending>),
    Over,
}

impl Push {
    /// Begins what the hello asks for, with threads for what is read beside the main one if it is
    /// `threaded`.
    pub(super) fn begin(
        hello: Hello,
        outbox: &Outbox,
        policy: &ServePolicy,
        threshold: &mut Threshold,
        threaded: bool,
    ) -> Result<Self, Error> {
        let receiver = Receiver::start(hello, outbox, policy, threshold, threaded)?;
        Ok(Push {
            stage: Stage::Receiving(Box::new(receiver)),
            seen: 0,
        })
    }

    /// The same without any thread, for somebody who drives it by hand.
    #[cfg(test)]
    pub(in crate::session) fn by_hand(
        hello: Hello,
        outbox: &Outbox,
        policy: &ServePolicy,
    ) -> Result<Self, Error> {
        let mut threshold = Threshold::new(outbox, policy);
        Push::begin(hello, outbox, policy, &mut threshold, false)
    }

    /// The push has failed: what is staged is left for the next one, if that can be of use.
    pub(in crate::session) fn fail(self, cause: &Error) {
        if let Stage::Receiving(receiver) = self.stage {
            receiver.leave_staged(cause);
        }
    }
}

impl Machine for Push {
    type Event<'a> = Said<'a>;

    fn handle(&mut self, said: Said<'_>, _now: Instant) -> Result<(), Error> {
        let Stage::Receiving(receiver) = &mut self.stage else {
            return Err(Error::peer(Refusal::MessageBeforeHello));
        };
        receiver.content.exchanges.check()?;
        let end = match receiver.hear(said) {
            Ok(end) => end,
            Err(e) => {
                let Receiver { site, removals, .. } = &mut **receiver;
                return Err(site.with_sums(e, || removals.freed_bytes(site)));
            }
        };
        spill::check()?;
        self.seen += 1;
        work::did(1);
        let Some(deletable) = end else {
            return receiver.describe();
        };
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Receiving(receiver) => Stage::Ending(Box::new(receiver.into_ending(deletable))),
            stage => stage,
        };
        Ok(())
    }

    /// Says what is due before more is waited for, or does what is left to be done.
    fn poll(&mut self, _now: Instant) -> Result<Poll, Error> {
        if let Stage::Receiving(receiver) = &mut self.stage {
            receiver.catch_up()?;
            return Ok(Poll::Wait { until: None });
        }
        if let Stage::Ending(ending) = std::mem::replace(&mut self.stage, Stage::Over) {
            ending.run()?;
            spill::check()?;
        }
        Ok(Poll::Again)
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    fn seen(&self) -> u64 {
        self.seen
    }
}

impl Receiver {
    /// Takes in what the sender says. At its end, whether anything may be deleted.
    fn hear(&mut self, said: Said<'_>) -> Result<Option<bool>, Error> {
        Ok(match said {
            Said::Message(ToReceiver::ContentDone {
                deletable,
                problems,
            }) => {
                self.is_complete(&problems)?;
                Some(deletable)
            }
            Said::Message(message) => self.message(message).map(|()| None)?,
            Said::Content(frame) => self.content(&frame).map(|()| None)?,
            Said::End => return Err(Error::stream(&std::io::ErrorKind::UnexpectedEof.into())),
        })
    }
}
