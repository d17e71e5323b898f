//! What a sender begins with, and with again after each push: a push, or a question.

use super::HELLO_TIME;
use crate::error::{Error, ErrorKind};
use crate::refusal::Refusal;
use crate::wire::{Ask, FrameKind, FrameReader, Hello, ToReceiver, decode};

/// What a sender begins with.
pub(super) enum Request {
    Push(Box<Hello>),
    Ask(Ask),
}

/// What the sender wants next; `None` at the end of the stream.
pub(super) fn next_request(reader: &mut FrameReader) -> Result<Option<Request>, Error> {
    loop {
        let message = match reader.next()? {
            None => return Ok(None),
            Some(frame) if frame.kind == FrameKind::Message => decode(frame.payload)?,
            Some(_) => return Err(Error::peer(Refusal::ContentBeforeHello)),
        };
        match message {
            ToReceiver::Hello(hello) => {
                reader.expect_new_stream()?;
                return Ok(Some(Request::Push(hello)));
            }
            ToReceiver::Ask(ask) => return Ok(Some(Request::Ask(ask))),
            ToReceiver::Ping(_) => {}
            _ => return Err(Error::peer(Refusal::MessageBeforeHello)),
        }
    }
}

pub(super) fn no_hello() -> Error {
    let limit_s = HELLO_TIME.as_secs();
    let message = format!("the peer has not said within {limit_s} s what it wants");
    Error::new(ErrorKind::Timeout, message)
}
