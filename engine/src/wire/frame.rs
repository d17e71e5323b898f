//! Frames: a four-byte header, the kind in its highest byte and the payload's length in the other
//! three, little endian; then the payload.

use std::io::{self, Read, Write};

use super::codec::encode;
use crate::error::Error;
use crate::wire::{ToReceiver, ToSender};

/// Longest payload of a frame. A peer that announces more is cut off before anything is allocated.
pub(crate) const FRAME_LEN_MAX: usize = 1 << 20;

const HEADER_LEN: usize = 4;

/// Buffered output beyond this is handed to the link.
const WRITE_LEN: usize = 256 * 1024;

/// What a frame's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// One encoded message.
    Message = 0,
    /// Whole small files.
    Pack = 1,
    /// Ops of the file that is being sent.
    Data = 2,
    /// A piece of a signature.
    Signature = 3,
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
}

impl FrameReader {
    pub(crate) fn new(link: Box<dyn Read + Send>) -> Self {
        let buf = vec![0; 2 * (HEADER_LEN + FRAME_LEN_MAX)];
        FrameReader {
            link,
            buf,
            start: 0,
            end: 0,
            read_bytes: 0,
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

    /// Whether a whole frame has been read already, so that [`next`](Self::next) will not wait.
    pub(crate) fn has_frame(&self) -> bool {
        self.header()
            .is_some_and(|(_, len)| self.end - self.start >= HEADER_LEN + len)
    }

    /// The next frame, or `None` at the end of the stream between two frames.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, Error> {
        while self.end - self.start < HEADER_LEN {
            if !self.fill(HEADER_LEN)? {
                if self.start == self.end {
                    return Ok(None);
                }
                return Err(Error::stream(&io::ErrorKind::UnexpectedEof.into()));
            }
        }
        let (kind, len) = self.header().unwrap_or_default();
        let kind = match kind {
            0 => FrameKind::Message,
            1 => FrameKind::Pack,
            2 => FrameKind::Data,
            3 => FrameKind::Signature,
            _ => return Err(Error::peer(format_args!("unknown frame kind {kind}"))),
        };
        if len > FRAME_LEN_MAX {
            return Err(Error::peer(format_args!(
                "a frame of {len} bytes, above {FRAME_LEN_MAX}"
            )));
        }
        while self.end - self.start < HEADER_LEN + len {
            if !self.fill(HEADER_LEN + len)? {
                return Err(Error::stream(&io::ErrorKind::UnexpectedEof.into()));
            }
        }
        let from = self.start + HEADER_LEN;
        self.start = from + len;
        Ok(Some(Frame {
            kind,
            payload: &self.buf[from..from + len],
        }))
    }

    fn header(&self) -> Option<(u8, usize)> {
        let &[a, b, c, kind] = self
            .buf
            .get(self.start..self.end)?
            .first_chunk::<HEADER_LEN>()?;
        Some((
            kind,
            usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16,
        ))
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

/// Collects frames and hands them to a byte stream in large pieces.
pub(crate) struct FrameWriter {
    link: Box<dyn Write + Send>,
    buf: Vec<u8>,
    /// Start of the frame being built, if one is.
    open: Option<usize>,
    written_bytes: u64,
}

impl FrameWriter {
    pub(crate) fn new(link: Box<dyn Write + Send>) -> Self {
        let buf = Vec::with_capacity(WRITE_LEN + HEADER_LEN + FRAME_LEN_MAX);
        FrameWriter {
            link,
            buf,
            open: None,
            written_bytes: 0,
        }
    }

    /// Bytes handed to the link so far, or about to be.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes + self.buf.len() as u64
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

    /// Starts a frame whose payload is then built in [`payload`](Self::payload).
    pub(crate) fn begin(&mut self, kind: FrameKind) {
        self.open = Some(self.buf.len());
        self.buf.extend_from_slice(&[0, 0, 0, kind as u8]);
    }

    /// The buffer that ends with the open frame's payload. Only append to it, or shorten it back
    /// to a length it had since `begin`.
    pub(crate) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    /// Length of the open frame's payload so far.
    pub(crate) fn payload_len(&self) -> usize {
        self.open.map_or(0, |at| self.buf.len() - at - HEADER_LEN)
    }

    /// Ends the open frame and writes if enough has been collected.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let len = self.payload_len();
        let Some(at) = self.open.take() else {
            return Ok(());
        };
        if len > FRAME_LEN_MAX {
            return Err(Error::peer(format_args!(
                "a frame of {len} bytes was about to be sent"
            )));
        }
        let bytes = (len as u32).to_le_bytes();
        self.buf[at..at + 3].copy_from_slice(&bytes[..3]);
        if self.buf.len() >= WRITE_LEN {
            self.write()
        } else {
            Ok(())
        }
    }

    /// Hands everything collected to the peer.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.write()?;
        self.link.flush().map_err(|e| Error::stream(&e))
    }

    fn write(&mut self) -> Result<(), Error> {
        if self.buf.is_empty() {
            return Ok(());
        }
        let result = self.link.write_all(&self.buf);
        self.written_bytes += self.buf.len() as u64;
        self.buf.clear();
        result.map_err(|e| Error::stream(&e))
    }
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
}
