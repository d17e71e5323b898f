//! Collects frames and passes them on in large pieces, as they are or compressed: to the link at
//! first, and to whoever writes to it in a thread of its own from then on.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::codec::encode;
use super::frame::{FRAME_LEN_MAX, FrameKind, HEADER_LEN, RUN_KIND, header_of};
use super::run::Packer;
use crate::error::{Error, ErrorKind};
use crate::options::Compression;
use crate::wire::{ToReceiver, ToSender};

/// What has been collected is passed on from this length on, in bytes.
const WRITE_LEN: usize = 256 * 1024;

/// The end of a frame that is at least this long may go by itself, plain.
const LONG_LEN: usize = 64 * 1024;

/// Noise of at least this length goes by itself: less of it does little harm among other frames.
const NOISE_LEN_MIN: usize = 16 * 1024;

/// Where a [`FrameWriter`] puts what it has collected, once that is no longer the link itself.
pub(crate) trait Sink: Send {
    /// Takes whole frames out of `batch`, which is empty then. With `flush` the peer is to have
    /// them, and those before, at once.
    fn put(&mut self, batch: &mut Vec<u8>, flush: bool) -> Result<(), Error>;
}

/// Collects frames and passes them on in large pieces.
pub(crate) struct FrameWriter {
    way: Way,
    packer: Option<Packer>,
    buf: Vec<u8>,
    /// A run that is about to be passed on.
    run: Vec<u8>,
    /// Start of the frame being built, if one is.
    open: Option<usize>,
    /// Something has been passed on since the last flush.
    unflushed: bool,
    /// Shared, so that it can be watched while the writer is in use.
    written_bytes: Arc<AtomicU64>,
    plain_bytes: u64,
}

/// A frame that is being built, after those that had been collected before.
pub(crate) struct OpenFrame {
    buf: Vec<u8>,
    at: usize,
}

impl OpenFrame {
    /// What it holds so far.
    pub(crate) fn payload(&self) -> &[u8] {
        self.buf.get(self.at + HEADER_LEN..).unwrap_or_default()
    }

    /// The buffer that ends with it. Only append to it, or shorten it back to a length it had.
    pub(crate) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    /// Empties it.
    pub(crate) fn clear(&mut self) {
        self.buf.truncate(self.at + HEADER_LEN);
    }
}

enum Way {
    Link(Box<dyn Write + Send>),
    Sink(Box<dyn Sink>),
}

impl FrameWriter {
    pub(crate) fn new(link: Box<dyn Write + Send>) -> Self {
        FrameWriter {
            way: Way::Link(link),
            packer: None,
            buf: new_batch(),
            run: Vec::new(),
            open: None,
            unflushed: false,
            written_bytes: Arc::default(),
            plain_bytes: 0,
        }
    }

    /// From now on everything goes to what `begin` makes of the link. Only the first call counts.
    pub(crate) fn write_by(&mut self, begin: impl FnOnce(Box<dyn Write + Send>) -> Box<dyn Sink>) {
        let nowhere = Way::Link(Box::new(io::sink()));
        self.way = match std::mem::replace(&mut self.way, nowhere) {
            Way::Link(link) => Way::Sink(begin(link)),
            sink @ Way::Sink(_) => sink,
        };
    }

    /// From now on frames may be compressed. What was put before must have been flushed.
    pub(crate) fn compress(&mut self, compression: Compression) -> Result<(), Error> {
        self.packer = Packer::new(compression)?;
        Ok(())
    }

    /// Bytes passed on so far, or about to be.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed) + self.buf.len() as u64
    }

    /// Bytes passed on so far, to be looked at by anybody, and added to by who puts frames of its
    /// own on the link.
    pub(crate) fn written(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.written_bytes)
    }

    /// The same before compression.
    pub(crate) fn plain_bytes(&self) -> u64 {
        self.plain_bytes + self.buf.len() as u64
    }

    /// Puts bytes outside any frame: the preamble.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Puts a message of the sender.
    pub(crate) fn put_to_receiver(&mut self, message: &ToReceiver) -> Result<(), Error> {
        self.begin(FrameKind::Message);
        encode(message, &mut self.buf)?;
        self.finish()
    }

    /// Puts a message of the receiver.
    pub(crate) fn put_to_sender(&mut self, message: &ToSender) -> Result<(), Error> {
        self.begin(FrameKind::Message);
        encode(message, &mut self.buf)?;
        self.finish()
    }

    /// Puts a frame whose payload is `start` and `end` together.
    pub(crate) fn put(&mut self, kind: FrameKind, start: &[u8], end: &[u8]) -> Result<(), Error> {
        let goes_plain = |packer: &mut Packer| packer.goes_plain(end);
        if end.len() >= LONG_LEN && self.packer.as_mut().is_none_or(goes_plain) {
            return self.put_plain(kind, start, end);
        }
        self.begin(kind);
        self.buf.extend_from_slice(start);
        self.buf.extend_from_slice(end);
        self.finish()
    }

    /// Puts a frame like [`put`](Self::put), whose `end` is [noise](Self::is_noise).
    pub(crate) fn put_noise(
        &mut self,
        kind: FrameKind,
        start: &[u8],
        end: &[u8],
    ) -> Result<(), Error> {
        if end.len() < NOISE_LEN_MIN {
            return self.put(kind, start, end);
        }
        if let Some(packer) = &mut self.packer {
            packer.passes_noise();
        }
        self.put_plain(kind, start, end)
    }

    fn put_plain(&mut self, kind: FrameKind, start: &[u8], end: &[u8]) -> Result<(), Error> {
        if self.packer.is_some() {
            // What waits here may well compress.
            self.write(false)?;
        }
        self.begin(kind);
        self.buf.extend_from_slice(start);
        self.buf.extend_from_slice(end);
        self.close()?;
        let now = Instant::now();
        let len = self.buf.len();
        self.pass_on(false)?;
        self.passed(len, len, now);
        Ok(())
    }

    /// Starts a frame whose payload is then built in [`payload`](Self::payload).
    pub(crate) fn begin(&mut self, kind: FrameKind) {
        self.open = Some(self.buf.len());
        self.buf.extend_from_slice(&header_of(kind as u8, 0));
    }

    /// The buffer that ends with the open frame's payload. Only append to it.
    pub(crate) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    /// Starts a frame that is built by itself, while nobody holds this.
    pub(crate) fn take_out(&mut self, kind: FrameKind) -> OpenFrame {
        self.begin(kind);
        OpenFrame {
            at: self.open.take().unwrap_or_default(),
            buf: std::mem::take(&mut self.buf),
        }
    }

    /// Puts a frame that was taken out, unless it is empty; what was put meanwhile follows it.
    pub(crate) fn put_back(&mut self, frame: OpenFrame) -> Result<(), Error> {
        let is_empty = frame.payload().is_empty();
        let OpenFrame { buf, at } = frame;
        let since = std::mem::replace(&mut self.buf, buf);
        self.open = Some(at);
        if is_empty {
            self.discard();
        }
        self.close()?;
        self.buf.extend_from_slice(&since);
        self.finish()
    }

    /// Whether content had better not be compressed with the rest.
    pub(crate) fn is_noise(&mut self, content: &[u8]) -> bool {
        let packer = self.packer.as_mut();
        packer.is_some_and(|packer| packer.is_noise(content))
    }

    /// The open frame's payload so far.
    fn open_payload(&self) -> &[u8] {
        let from = self.open.map_or(self.buf.len(), |at| at + HEADER_LEN);
        self.buf.get(from..).unwrap_or_default()
    }

    /// Forgets the open frame.
    fn discard(&mut self) {
        if let Some(at) = self.open.take() {
            self.buf.truncate(at);
        }
    }

    /// Ends the open frame and passes on what has been collected, if that is enough.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.close()?;
        if self.buf.len() >= WRITE_LEN {
            self.write(false)
        } else {
            Ok(())
        }
    }

    /// Completes the header of the open frame.
    fn close(&mut self) -> Result<(), Error> {
        let len = self.open_payload().len();
        let Some(at) = self.open.take() else {
            return Ok(());
        };
        if len > FRAME_LEN_MAX {
            let message = format!("a frame of {len} bytes was about to be sent");
            return Err(Error::new(ErrorKind::Stream, message));
        }
        set_len(&mut self.buf[at..]);
        Ok(())
    }

    /// Has the peer get everything collected. Costs nothing where there is nothing.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if self.unflushed || !self.buf.is_empty() {
            self.write(true)?;
        }
        Ok(())
    }

    /// Whoever fills this writer has waited since `start` for what it passed on to be taken.
    pub(crate) fn waited(&mut self, start: Instant) {
        if let Some(packer) = &mut self.packer {
            packer.waited(start);
        }
    }

    /// Passes on what has been collected, compressed if that is worth while.
    fn write(&mut self, flush: bool) -> Result<(), Error> {
        let plain_len = self.buf.len();
        if let Some(packer) = &mut self.packer
            && plain_len > 0
            && !packer.goes_plain(&self.buf)
        {
            self.run.extend_from_slice(&header_of(RUN_KIND, 0));
            packer.pack(&self.buf, &mut self.run)?;
            set_len(&mut self.run);
            std::mem::swap(&mut self.run, &mut self.buf);
            self.run.clear();
        }
        let (wire_len, start) = (self.buf.len(), Instant::now());
        self.pass_on(flush)?;
        self.passed(plain_len, wire_len, start);
        Ok(())
    }

    fn pass_on(&mut self, flush: bool) -> Result<(), Error> {
        let len = self.buf.len() as u64;
        self.unflushed = !flush;
        let result = match &mut self.way {
            Way::Sink(sink) => sink.put(&mut self.buf, flush),
            Way::Link(link) => {
                let written = link.write_all(&self.buf);
                let flushed = written.and_then(|()| if flush { link.flush() } else { Ok(()) });
                flushed.map_err(|e| Error::stream(&e))
            }
        };
        self.buf.clear();
        self.written_bytes.fetch_add(len, Ordering::Relaxed);
        result
    }

    fn passed(&mut self, plain_len: usize, wire_len: usize, start: Instant) {
        self.plain_bytes += plain_len as u64;
        if let Some(packer) = &mut self.packer {
            packer.written(plain_len, wire_len, start);
        }
    }
}

/// A frame with one message, for who has no [`FrameWriter`] at hand.
pub(crate) fn message_frame(message: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    let mut frame = header_of(FrameKind::Message as u8, 0).to_vec();
    encode(message, &mut frame)?;
    set_len(&mut frame);
    Ok(frame)
}

/// Completes the header of a frame.
fn set_len(frame: &mut [u8]) {
    let len = (frame.len() - HEADER_LEN) as u32;
    frame[..3].copy_from_slice(&len.to_le_bytes()[..3]);
}

/// Room for what is collected before it is passed on.
pub(crate) fn new_batch() -> Vec<u8> {
    Vec::with_capacity(WRITE_LEN + HEADER_LEN + FRAME_LEN_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::frame::FrameReader;
    use super::*;

    /// What a writer is given, to be looked at.
    #[derive(Clone, Default)]
    struct Wire(Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn noise_leaves_the_pack_and_goes_by_itself() {
        let (text, noise) = (b"some text, and more. ".repeat(1000), noise(40_000));
        let wire = Wire::default();
        let mut writer = FrameWriter::new(Box::new(wire.clone()));
        let always = Compression::Always { level: Some(3) };
        writer.compress(always).unwrap();
        let mut pack = writer.take_out(FrameKind::Pack);
        let mut taken = Vec::new();
        for content in [&text, &noise, &text] {
            let to = match writer.is_noise(content) {
                true => &mut taken,
                false => pack.end(),
            };
            to.extend_from_slice(&[b"head", &content[..]].concat());
        }
        assert!(taken == [b"head", &noise[..]].concat());
        // What is put meanwhile comes after it.
        writer.put(FrameKind::Data, b"later", b"").unwrap();
        writer.put_back(pack).unwrap();
        writer.put_noise(FrameKind::Pack, b"dir", &taken).unwrap();
        let mut nothing = writer.take_out(FrameKind::Pack);
        nothing.end().extend_from_slice(b"something");
        nothing.clear();
        writer.put_back(nothing).unwrap();
        writer.flush().unwrap();

        let bytes = wire.0.lock().unwrap().clone();
        assert!(bytes.windows(noise.len()).any(|plain| plain == noise));
        assert!(bytes.len() < noise.len() + 1000, "{}", bytes.len());
        let mut reader = FrameReader::with_runs(Box::new(io::Cursor::new(bytes)));
        let texts = [b"head", &text[..]].concat().repeat(2);
        for expected in [texts, b"later".to_vec(), [b"dir", &taken[..]].concat()] {
            assert!(reader.next().unwrap().unwrap().payload == expected);
        }
        assert!(reader.next().unwrap().is_none());
    }
}
