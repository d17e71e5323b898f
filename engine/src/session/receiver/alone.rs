//! A receiver that is told one frame after another, by whoever tests it.

use std::io::Read;

use super::threshold::Threshold;
use super::{Receiver, spill};
use crate::error::Error;
use crate::policy::ServePolicy;
use crate::session::outbox::Outbox;
use crate::wire::{ExchangePiece, FrameKind, FrameReader, Hello, decode};

pub(in crate::session) struct Alone {
    receiver: Receiver,
    reader: FrameReader,
    outbox: Outbox,
}

impl Alone {
    pub(in crate::session) fn start(
        hello: Hello,
        link: Box<dyn Read + Send>,
        outbox: Outbox,
        policy: &ServePolicy,
    ) -> Result<Self, Error> {
        let mut threshold = Threshold::new(&outbox, policy);
        let receiver = Receiver::start(hello, &outbox, policy, &mut threshold)?;
        Ok(Alone {
            receiver,
            reader: FrameReader::with_runs(link),
            outbox,
        })
    }

    /// Takes in the frame that has arrived, and those in it; `true` when the push is over.
    pub(in crate::session) fn hear(&mut self) -> Result<bool, Error> {
        loop {
            let Some(frame) = self.reader.next()? else {
                return Ok(false);
            };
            let mut is_over = false;
            match frame.kind {
                FrameKind::Message => is_over = self.receiver.message(decode(frame.payload)?)?,
                FrameKind::Pack => self.receiver.pack(frame.payload)?,
                FrameKind::Data => self.receiver.data(frame.payload)?,
                FrameKind::Exchange => {
                    self.receiver.asked(&ExchangePiece::parse(frame.payload)?)?
                }
            }
            spill::check()?;
            if is_over {
                self.outbox.lock().flush()?;
                return Ok(true);
            }
            if !self.reader.has_frame() {
                return Ok(false);
            }
        }
    }

    /// Says what is to be said before it waits.
    pub(in crate::session) fn catch_up(&mut self) -> Result<(), Error> {
        self.receiver.catch_up()?;
        self.outbox.lock().flush()
    }

    pub(in crate::session) fn end(mut self, error: &Error) {
        self.receiver.leave_staged(error);
    }
}
