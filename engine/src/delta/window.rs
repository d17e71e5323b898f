//! A window over a streaming source: the bytes around the search position, refilled in large reads.
//!
//! Refills always read until the buffer is full or the source ends, so that what the search sees at
//! each step does not depend on how the reader splits its data.

use std::io::{self, ErrorKind, Read};

use crate::page_buf::PageBuf;

#[derive(Debug)]
pub(super) struct Window<R> {
    source: R,
    buffer: PageBuf,
    capacity: usize,
    /// Offset in the source of the buffer's first byte.
    start: u64,
    filled: usize,
    ended: bool,
}

impl<R: Read> Window<R> {
    pub(super) fn new(source: R, capacity: usize) -> Self {
        Self {
            source,
            buffer: PageBuf::default(),
            capacity,
            start: 0,
            filled: 0,
            ended: false,
        }
    }

    /// Drops the bytes before source offset `from` (at least one) and reads until the buffer is
    /// full.
    ///
    /// Returns the offset of the first new byte.
    pub(super) fn refill(&mut self, from: u64) -> io::Result<u64> {
        let dropped = self.index(from);
        self.buffer.copy_within(dropped..self.filled, 0);
        self.start += dropped as u64;
        self.filled -= dropped;
        let first_new = self.end();
        // Most files are small: the first read does not ask for all the room.
        let wanted = if self.buffer.is_empty() {
            self.capacity.min(FIRST_LEN)
        } else {
            self.capacity
        };
        self.buffer.resize(wanted);
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let room_len = room.len();
        let read = read_full(&mut self.source, room)?;
        self.filled += read;
        self.ended = read < room_len;
        Ok(first_new)
    }

    /// Offset in the source behind the last byte held.
    pub(super) fn end(&self) -> u64 {
        self.start + self.filled as u64
    }

    /// True once the source has no bytes after [`Window::end`].
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// The bytes of the source from offset `from` up to `to`, as far as they are held.
    pub(super) fn bytes(&self, from: u64, to: u64) -> &[u8] {
        self.buffer
            .get(self.index(from)..self.index(to))
            .unwrap_or_default()
    }

    fn index(&self, offset: u64) -> usize {
        let index = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        index.min(self.filled)
    }
}

/// The first read asks for at most this much.
const FIRST_LEN: usize = 72 << 10;

/// Reads until `buffer` is full or `source` ends; returns how many bytes were read.
pub(super) fn read_full(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match source.read(room) {
            Ok(0) => break,
            // A reader that claims more than it was given room for gets no further than the room.
            Ok(read) => filled += read.min(room.len()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
