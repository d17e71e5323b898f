//! Frames: a four-byte header, the kind in its highest byte and the payload's length in the other
//! three, little endian; then the payload. A run is a frame whose payload is other frames,
//! compressed.

use std::io::{self, Read};
use std::ops::Range;
use std::time::Instant;

use super::preamble::{PREAMBLE_LEN, may_be_preamble};
use super::run::Unpacker;
use crate::error::Error;
use crate::refusal::Refusal;

/// Longest payload of a frame. A peer that announces more is cut off before anything is allocated.
pub(crate) const FRAME_LEN_MAX: usize = 1 << 20;

pub(super) const HEADER_LEN: usize = 4;

/// The kind of a frame that is a run.
pub(super) const RUN_KIND: u8 = 4;

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
    /// When what is being read must be there, and what it means if it is not.
    deadline: Option<(Instant, fn() -> Error)>,
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
            deadline: None,
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

    /// From now on a reading that ends after `deadline`, whatever it has brought, fails with what
    /// `late` says. Bytes that drip in keep no one waiting for ever.
    pub(crate) fn expect_by(&mut self, deadline: Option<Instant>, late: fn() -> Error) {
        self.deadline = deadline.map(|deadline| (deadline, late));
    }

    /// Reads the preamble, or as much of what the peer says as shows that it is none: a peer that
    /// is not hasync may say no more.
    pub(crate) fn preamble(&mut self) -> Result<&[u8], Error> {
        let said = |reader: &Self| reader.end - reader.start;
        while said(self) < PREAMBLE_LEN
            && may_be_preamble(&self.buf[self.start..self.end])
            && self.fill(PREAMBLE_LEN)?
        {}
        let from = self.start;
        self.start += PREAMBLE_LEN.min(self.end - from);
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
                    return match self.deadline {
                        Some((deadline, late)) if Instant::now() > deadline => Err(late()),
                        _ => Ok(true),
                    };
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

pub(super) fn header_of(kind: u8, len: usize) -> [u8; HEADER_LEN] {
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
