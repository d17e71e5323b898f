//! One real half, and a peer that a test plays.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{End, duplex};
use crate::error::Error;
use crate::observer::{Action, Differences, Observer, Summary};
use crate::options::Options;
use crate::overlap::Whereabouts;
use crate::policy::ServePolicy;
use crate::session::{Connection, serve};
use crate::wire::{
    FrameKind, FrameReader, FrameWriter, Hello, HelloReply, Pulse, ToReceiver, ToSender, Verdict,
    Want, decode, preamble,
};

/// Who waits for longer has been left alone.
const PATIENCE: Duration = Duration::from_secs(60);

/// The end of the stream that the test plays.
pub(super) struct Far {
    pub(super) stream: UnixStream,
    reader: FrameReader,
    writer: FrameWriter,
}

impl Far {
    fn new(stream: &UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let link = duplex(stream);
        let mut writer = FrameWriter::new(link.writer);
        writer.raw(&preamble());
        Far {
            stream: stream.try_clone().unwrap(),
            reader: FrameReader::with_runs(link.reader),
            writer,
        }
    }

    /// Says something as a receiver; `false` if nobody listens any more.
    pub(super) fn answer(&mut self, message: &ToSender) -> bool {
        let put = self.writer.put_to_sender(message);
        put.and_then(|()| self.writer.flush()).is_ok()
    }

    /// Says something as a sender.
    pub(super) fn tell(&mut self, message: &ToReceiver) -> bool {
        let put = self.writer.put_to_receiver(message);
        put.and_then(|()| self.writer.flush()).is_ok()
    }

    /// Sends ops as a sender.
    pub(super) fn ops(&mut self, ops: &[u8]) -> bool {
        let put = self.writer.put(FrameKind::Data, ops, &[]);
        put.and_then(|()| self.writer.flush()).is_ok()
    }

    /// Writes bytes, whatever they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> bool {
        (&self.stream).write_all(bytes).is_ok()
    }

    /// `false` if the session has ended before, as one does on a busy machine that may stand still
    /// for milliseconds alone.
    fn greeted(&mut self) -> bool {
        let flushed = self.writer.flush();
        flushed.is_ok() && self.reader.preamble().is_ok_and(|said| said == preamble())
    }

    /// The next message of a sender that is no ping; how many pings and frames of content came
    /// before goes to `passed`.
    pub(super) fn heard(&mut self, passed: &mut [usize; 2]) -> Option<ToReceiver> {
        loop {
            let frame = self.reader.next().ok().flatten()?;
            match (frame.kind, decode(frame.payload)) {
                (FrameKind::Message, Ok(ToReceiver::Ping(_))) => passed[0] += 1,
                (FrameKind::Message, message) => return Some(message.unwrap()),
                _ => passed[1] += 1,
            }
        }
    }

    /// Waits for a message of a sender.
    pub(super) fn await_message(&mut self, is_it: impl Fn(&ToReceiver) -> bool) -> bool {
        while let Some(message) = self.heard(&mut [0; 2]) {
            if is_it(&message) {
                return true;
            }
        }
        false
    }

    /// Waits for a message of a receiver.
    pub(super) fn await_answer(&mut self, is_it: impl Fn(&ToSender) -> bool) -> bool {
        while let Ok(Some(frame)) = self.reader.next() {
            if frame.kind == FrameKind::Message && is_it(&decode(frame.payload).unwrap()) {
                return true;
            }
        }
        false
    }

    /// Waits for one ping of either half.
    pub(super) fn await_ping(&mut self) {
        loop {
            let frame = self.reader.next().unwrap().unwrap();
            if frame.kind == FrameKind::Message
                && matches!(decode(frame.payload), Ok(ToReceiver::Ping(_)))
            {
                return;
            }
        }
    }

    /// Asks as a receiver for the content of the first `count` files of the root; `false` if the
    /// sender has ended before.
    pub(super) fn want(&mut self, count: u32) -> bool {
        if !self.await_message(|message| matches!(message, ToReceiver::Dir { .. })) {
            return false;
        }
        // The root itself is as it should be.
        let verdicts = Vec::new();
        self.answer(&ToSender::Verdicts {
            dir: 0,
            verdicts,
            last: true,
        });
        self.answer(&ToSender::Differs {
            dir: 0,
            print_len: 8,
            prints: Vec::new(),
            last: true,
        });
        let is_last =
            |message: &ToReceiver| matches!(message, ToReceiver::Entries { last: true, .. });
        if !self.await_message(is_last) {
            return false;
        }
        let verdict = |entry| Verdict {
            entry,
            action: Action::Transfer,
            differences: Differences::default(),
            want: Want::Whole,
        };
        self.answer(&ToSender::Verdicts {
            dir: 0,
            verdicts: (0..count).map(verdict).collect(),
            last: true,
        })
    }

    /// Lets a push end well that has sent everything.
    pub(super) fn done(&mut self) {
        self.answer(&ToSender::Done {
            durable: false,
            sealed: None,
            starved: 0,
        });
    }
}

pub(super) fn ping(done: u64, flushing: bool) -> Pulse {
    Pulse { done, flushing }
}

/// Pushes what is in `source` to a receiver that says no more by itself than its answer to the
/// hello, and with `answers` not even that.
pub(super) fn push_to(
    source: &Path,
    options: &Options,
    observer: &mut dyn Observer,
    answers: bool,
    act: impl FnOnce(&mut Far) + Send,
) -> Result<Summary, Error> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _end = End(&theirs);
            let mut far = Far::new(&theirs);
            let is_hello = |message: &ToReceiver| matches!(message, ToReceiver::Hello(_));
            if !far.greeted() || !far.await_message(is_hello) {
                return;
            }
            if answers {
                far.answer(&ToSender::HelloReply(Box::new(HelloReply::plain(true))));
            }
            act(&mut far);
        });
        let _end = End(&ours);
        let sources = [OsString::from(source.join(""))];
        Connection::open(duplex(&ours)).push(&sources, b"x", options, observer)
    })
}

/// Receives into `target` from a sender that says no more by itself than its hello.
pub(super) fn serve_from(
    target: &Path,
    options: Options,
    policy: &ServePolicy,
    act: impl FnOnce(&mut Far) + Send,
) -> Result<(), Error> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let hello = Hello {
        options,
        destination: target.as_os_str().as_encoded_bytes().to_vec(),
        single: false,
        digest_key: [0; 32],
        claim: None,
        whereabouts: Whereabouts::default(),
        readable: crate::namespaces::Namespaces::ALL,
        accounts: Vec::new(),
    };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _end = End(&theirs);
            let mut far = Far::new(&theirs);
            if far.greeted() && far.tell(&ToReceiver::Hello(Box::new(hello))) {
                act(&mut far);
            }
        });
        let _end = End(&ours);
        serve(duplex(&ours), policy)
    })
}
