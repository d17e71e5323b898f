//! Frames: a four-byte header, the kind in its highest byte and the payload's length in the other
//! three, little endian; then the payload. A run is a frame whose payload is other frames,
//! compressed.

use std::io::{self, IoSlice, Read, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::codec::encode;
use super::run::{Packer, Unpacker};
use crate::error::{Error, ErrorKind};
use crate::options::Compression;
use crate::refusal::Refusal;
use crate::wire::{ToReceiver, ToSender};

/// Longest payload of a frame. A peer that announces more is cut off before anything is allocated.
pub(crate) const FRAME_LEN_MAX: usize = 1 << 20;

const HEADER_LEN: usize = 4;

/// Buffered output beyond this is handed to the link.
const WRITE_LEN: usize = 256 * 1024;

/// The end of a frame that is at least this long is not copied into the buffer first.
const UNCOPIED_LEN: usize = 64 * 1024;

/// Noise of at least this length goes by itself: less of it does little harm among other frames.
const NOISE_LEN_MIN: usize = 16 * 1024;

/// The kind of a frame that is a run.
const RUN_KIND: u8 = 4;

/// What a frame's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// One encoded message.
    Message = 0,
    /// Whole small files.
    Pack = 1,
    /// Ops of the file that is being sent.
    Data = 2,
    /// A piece of what the two halves say about the basis of a delta.
    Exchange = 3,
}

/// One frame, borrowed from the reader's buffer.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: FrameKind,
    pub(crate) payload: &'a [u8],
}

/// Reads frames from a byte stream.
pub(crate) struct FrameReader {
    link: Box<dyn Read + Send>,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    read_bytes: u64,
    runs: Runs,
}

/// Whether a peer may send runs, and the one whose frames are being read.
enum Runs {
    Refused,
    Accepted { unpacker: Unpacker, at: usize },
}

impl FrameReader {
    /// For what the receiver says: no runs.
    pub(crate) fn new(link: Box<dyn Read + Send>) -> Self {
        let buf = vec![0; 2 * (HEADER_LEN + FRAME_LEN_MAX)];
        FrameReader {
            link,
            buf,
            start: 0,
            end: 0,
            read_bytes: 0,
            runs: Runs::Refused,
        }
    }

    /// For what the sender says.
    pub(crate) fn with_runs(link: Box<dyn Read + Send>) -> Self {
        FrameReader {
            runs: Runs::Accepted {
                unpacker: Unpacker::default(),
                at: 0,
            },
            ..FrameReader::new(link)
        }
    }

    /// Bytes taken from the link so far.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Reads up to `len` raw bytes, fewer only at the end of the stream: the preamble.
    pub(crate) fn raw(&mut self, len: usize) -> Result<&[u8], Error> {
        while self.end - self.start < len && self.fill(len)? {}
        let from = self.start;
        self.start += len.min(self.end - from);
        Ok(&self.buf[from..self.start])
    }

    /// A push begins here: its runs carry a compressed stream of their own.
    pub(crate) fn expect_new_stream(&mut self) -> Result<(), Error> {
        if self.is_in_run() {
            return Err(Error::peer(Refusal::HelloInRun));
        }
        if let Runs::Accepted { unpacker, .. } = &mut self.runs {
            *unpacker = Unpacker::default();
        }
        Ok(())
    }

    /// Whether a whole frame has been read already, so that [`next`](Self::next) will not wait.
    pub(crate) fn has_frame(&self) -> bool {
        self.is_in_run()
            || header(&self.buf[self.start..self.end])
                .is_some_and(|(_, len)| self.end - self.start >= HEADER_LEN + len)
    }

    /// The next frame, or `None` at the end of the stream between two frames.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, Error> {
        if !self.is_in_run() {
            let Some((kind, payload)) = self.next_on_link()? else {
                return Ok(None);
            };
            if kind != RUN_KIND {
                return Ok(Some(Frame {
                    kind: frame_kind(kind)?,
                    payload: &self.buf[payload],
                }));
            }
            match &mut self.runs {
                Runs::Refused => return Err(Error::peer(Refusal::RunFromReceiver)),
                Runs::Accepted { unpacker, at } => {
                    *at = 0;
                    unpacker.unpack(&self.buf[payload])?;
                }
            }
        }
        self.next_in_run().map(Some)
    }

    fn is_in_run(&self) -> bool {
        matches!(&self.runs, Runs::Accepted { unpacker, at } if *at < unpacker.frames().len())
    }

    fn next_in_run(&mut self) -> Result<Frame<'_>, Error> {
        let Runs::Accepted { unpacker, at } = &mut self.runs else {
            return Err(Error::peer(Refusal::RunFromReceiver));
        };
        let rest = unpacker.frames().get(*at..).unwrap_or_default();
        let whole = header(rest).and_then(|(kind, len)| {
            let payload = rest.get(HEADER_LEN..HEADER_LEN + len)?;
            Some((kind, payload))
        });
        let (kind, payload) = whole.ok_or_else(|| Error::peer(Refusal::RunCut))?;
        *at += HEADER_LEN + payload.len();
        let kind = frame_kind(kind)?;
        Ok(Frame { kind, payload })
    }

    /// Kind of the next frame that is no part of a run, and where its payload is.
    fn next_on_link(&mut self) -> Result<Option<(u8, Range<usize>)>, Error> {
        while self.end - self.start < HEADER_LEN {
            if !self.fill(HEADER_LEN)? {
                if self.start == self.end {
                    return Ok(None);
                }
                return Err(Error::stream(&io::ErrorKind::UnexpectedEof.into()));
            }
        }
        let (kind, len) = header(&self.buf[self.start..self.end]).unwrap_or_default();
        if kind != RUN_KIND {
            frame_kind(kind)?;
        }
        if len > FRAME_LEN_MAX {
            let max = FRAME_LEN_MAX;
            return Err(Error::peer(Refusal::FrameLen { len, max }));
        }
        while self.end - self.start < HEADER_LEN + len {
            if !self.fill(HEADER_LEN + len)? {
                return Err(Error::stream(&io::ErrorKind::UnexpectedEof.into()));
            }
        }
        let from = self.start + HEADER_LEN;
        self.start = from + len;
        Ok(Some((kind, from..from + len)))
    }

    /// Reads more; `needed` bytes from `start` must fit the buffer. `false` at the end.
    fn fill(&mut self, needed: usize) -> Result<bool, Error> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.start + needed > self.buf.len() {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        loop {
            match self.link.read(&mut self.buf[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(len) => {
                    self.end += len;
                    self.read_bytes += len as u64;
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::stream(&e)),
            }
        }
    }
}

/// Kind and length that a header says, if `bytes` starts with a whole one.
fn header(bytes: &[u8]) -> Option<(u8, usize)> {
    let &[a, b, c, kind] = bytes.first_chunk::<HEADER_LEN>()?;
    let len = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
    Some((kind, len))
}

fn header_of(kind: u8, len: usize) -> [u8; HEADER_LEN] {
    let [a, b, c, _] = (len as u32).to_le_bytes();
    [a, b, c, kind]
}

fn frame_kind(kind: u8) -> Result<FrameKind, Error> {
    match kind {
        0 => Ok(FrameKind::Message),
        1 => Ok(FrameKind::Pack),
        2 => Ok(FrameKind::Data),
        3 => Ok(FrameKind::Exchange),
        _ => Err(Error::peer(Refusal::FrameKind { kind })),
    }
}

/// Collects frames and hands them to a byte stream in large pieces.
pub(crate) struct FrameWriter {
    link: Box<dyn Write + Send>,
    packer: Option<Packer>,
    buf: Vec<u8>,
    /// Start of the frame being built, if one is.
    open: Option<usize>,
    /// Shared, so that it can be watched while the writer is in use.
    written_bytes: Arc<AtomicU64>,
    plain_bytes: u64,
}

impl FrameWriter {
    pub(crate) fn new(link: Box<dyn Write + Send>) -> Self {
        let buf = Vec::with_capacity(WRITE_LEN + HEADER_LEN + FRAME_LEN_MAX);
        FrameWriter {
            link,
            packer: None,
            buf,
            open: None,
            written_bytes: Arc::default(),
            plain_bytes: 0,
        }
    }

    /// From now on frames may be compressed. What was put before must have been flushed.
    pub(crate) fn compress(&mut self, compression: Compression) -> Result<(), Error> {
        self.packer = Packer::new(compression)?;
        Ok(())
    }

    /// Bytes handed to the link so far, or about to be.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed) + self.buf.len() as u64
    }

    /// Bytes written to the link so far, to be looked at by anybody.
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

    /// Puts a frame whose payload is `start` and `end` together. A long `end` goes to the link
    /// from where it is.
    pub(crate) fn put(&mut self, kind: FrameKind, start: &[u8], end: &[u8]) -> Result<(), Error> {
        let goes_plain = |packer: &mut Packer| packer.goes_plain(end);
        if end.len() >= UNCOPIED_LEN && self.packer.as_mut().is_none_or(goes_plain) {
            return self.put_uncopied(kind, start, end);
        }
        self.begin(kind);
        self.buf.extend_from_slice(start);
        self.buf.extend_from_slice(end);
        self.finish()
    }

    /// Puts a frame like [`put`](Self::put), whose `end` has been [taken](Self::take_noise) out of
    /// others.
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
        self.put_uncopied(kind, start, end)
    }

    fn put_uncopied(&mut self, kind: FrameKind, start: &[u8], end: &[u8]) -> Result<(), Error> {
        if self.packer.is_some() {
            // What waits here may well compress.
            self.write(&[])?;
        }
        self.begin(kind);
        self.buf.extend_from_slice(start);
        self.close(end.len())?;
        self.write(end)
    }

    /// Starts a frame whose payload is then built in [`payload`](Self::payload).
    pub(crate) fn begin(&mut self, kind: FrameKind) {
        self.open = Some(self.buf.len());
        self.buf.extend_from_slice(&header_of(kind as u8, 0));
    }

    /// The buffer that ends with the open frame's payload. Only append to it, or shorten it back
    /// to a length it had since `begin`.
    pub(crate) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    /// The open frame's payload so far.
    pub(crate) fn open_payload(&self) -> &[u8] {
        let from = self.open.map_or(self.buf.len(), |at| at + HEADER_LEN);
        self.buf.get(from..).unwrap_or_default()
    }

    /// Moves the end of the open frame, from `start` of the buffer on, to `noise` if the content
    /// in it, from `content_at` on, is noise that had better not be compressed with the rest.
    pub(crate) fn take_noise(&mut self, start: usize, content_at: usize, noise: &mut Vec<u8>) {
        if let Some(packer) = &mut self.packer
            && let Some(content) = self.buf.get(content_at..)
            && packer.is_noise(content)
        {
            noise.extend(self.buf.drain(start..));
        }
    }

    /// Forgets the open frame.
    pub(crate) fn discard(&mut self) {
        if let Some(at) = self.open.take() {
            self.buf.truncate(at);
        }
    }

    /// Ends the open frame and writes if enough has been collected.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.close(0)?;
        if self.buf.len() >= WRITE_LEN {
            self.write(&[])
        } else {
            Ok(())
        }
    }

    /// Completes the header of the open frame, of which `more` bytes are not in the buffer.
    fn close(&mut self, more: usize) -> Result<(), Error> {
        let len = self.open_payload().len() + more;
        let Some(at) = self.open.take() else {
            return Ok(());
        };
        if len > FRAME_LEN_MAX {
            let message = format!("a frame of {len} bytes was about to be sent");
            return Err(Error::new(ErrorKind::Stream, message));
        }
        let bytes = (len as u32).to_le_bytes();
        self.buf[at..at + 3].copy_from_slice(&bytes[..3]);
        Ok(())
    }

    /// Hands everything collected to the peer.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.write(&[])?;
        self.link.flush().map_err(|e| Error::stream(&e))
    }

    /// Hands what has been collected to the link, and `end`, which goes plain.
    fn write(&mut self, end: &[u8]) -> Result<(), Error> {
        let plain_len = self.buf.len() + end.len();
        if plain_len == 0 {
            return Ok(());
        }
        let run_header;
        let mut parts = [&self.buf[..], end];
        if end.is_empty()
            && let Some(packer) = &mut self.packer
            && !packer.goes_plain(&self.buf)
        {
            let payload = packer.pack(&self.buf)?;
            run_header = header_of(RUN_KIND, payload.len());
            parts = [&run_header, payload];
        }
        let wire_len = parts[0].len() + parts[1].len();
        let start = Instant::now();
        let result = write_both(&mut *self.link, parts);
        self.written_bytes
            .fetch_add(wire_len as u64, Ordering::Relaxed);
        self.plain_bytes += plain_len as u64;
        self.buf.clear();
        if let Some(packer) = &mut self.packer {
            packer.written(plain_len, wire_len, start);
        }
        result.map_err(|e| Error::stream(&e))
    }
}

fn write_both(link: &mut dyn Write, [first, second]: [&[u8]; 2]) -> io::Result<()> {
    let parts = &mut [IoSlice::new(first), IoSlice::new(second)][..];
    let mut parts = parts;
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match link.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => IoSlice::advance_slices(&mut parts, len),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Gives out its bytes `step` at a time.
    struct Trickle(Vec<u8>, usize, usize);

    impl Read for Trickle {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let len = self.2.min(out.len()).min(self.0.len() - self.1);
            out[..len].copy_from_slice(&self.0[self.1..self.1 + len]);
            self.1 += len;
            Ok(len)
        }
    }

    fn stream(frames: &[(u8, usize)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(kind, len) in frames {
            bytes.extend_from_slice(&(len as u32).to_le_bytes()[..3]);
            bytes.push(kind);
            bytes.extend((0..len).map(|i| i as u8));
        }
        bytes
    }

    #[test]
    fn frames_come_out_whole_however_they_arrive() {
        let bytes = stream(&[
            (0, 5),
            (2, FRAME_LEN_MAX),
            (1, 0),
            (3, 70_000),
            (2, FRAME_LEN_MAX),
        ]);
        for step in [1, 7, 4096, 1 << 22] {
            // One byte at a time over megabytes is slow and shows nothing that 7 does not.
            let bytes = if step == 1 {
                stream(&[(0, 5), (1, 0), (3, 700)])
            } else {
                bytes.clone()
            };
            let total = bytes.len();
            let mut reader = FrameReader::new(Box::new(Trickle(bytes, 0, step)));
            let mut seen = 0;
            while let Some(frame) = reader.next().unwrap() {
                assert!(frame.payload.iter().enumerate().all(|(i, &b)| b == i as u8));
                seen += HEADER_LEN + frame.payload.len();
            }
            assert_eq!(seen, total);
            assert_eq!(reader.read_bytes(), total as u64);
        }
    }

    #[test]
    fn a_cut_frame_and_a_huge_one_are_errors() {
        let bytes = stream(&[(0, 100)]);
        for cut in 1..bytes.len() {
            let mut reader = FrameReader::new(Box::new(Trickle(bytes[..cut].to_vec(), 0, 64)));
            assert!(reader.next().is_err(), "cut at {cut}");
        }
        let mut reader = FrameReader::new(Box::new(Trickle(vec![0xff, 0xff, 0xff, 2], 0, 64)));
        assert!(reader.next().unwrap_err().message.contains("16777215"));
        let mut reader = FrameReader::new(Box::new(Trickle(vec![0, 0, 0, 9], 0, 64)));
        assert!(reader.next().is_err());
    }

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
        writer.begin(FrameKind::Pack);
        let mut taken = Vec::new();
        for content in [&text, &noise, &text] {
            let start = writer.payload().len();
            writer.payload().extend_from_slice(b"head");
            writer.payload().extend_from_slice(content);
            writer.take_noise(start, start + 4, &mut taken);
        }
        assert!(taken == [b"head", &noise[..]].concat());
        writer.finish().unwrap();
        writer.put_noise(FrameKind::Pack, b"dir", &taken).unwrap();
        writer.begin(FrameKind::Pack);
        writer.discard();
        writer.flush().unwrap();

        let bytes = wire.0.lock().unwrap().clone();
        assert!(bytes.windows(noise.len()).any(|plain| plain == noise));
        assert!(bytes.len() < noise.len() + 1000, "{}", bytes.len());
        let mut reader = FrameReader::with_runs(Box::new(Trickle(bytes, 0, 5000)));
        let texts = [b"head", &text[..]].concat().repeat(2);
        for expected in [texts, [b"dir", &taken[..]].concat()] {
            assert!(reader.next().unwrap().unwrap().payload == expected);
        }
        assert!(reader.next().unwrap().is_none());
    }
}
