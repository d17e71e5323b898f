//! Reading packed bytes from one place on, and the numbers in them.

use super::Spill;

/// Bytes that are read from the file at once.
const READ_LEN: usize = 64 << 10;

/// A way through packed bytes.
#[derive(Debug)]
pub(crate) struct SpillReader<'a> {
    spill: &'a Spill,
    at: u64,
    end: u64,
    /// Bytes of the file from `at` on, and those before `from` no longer.
    buffer: Vec<u8>,
    from: usize,
}

impl<'a> SpillReader<'a> {
    pub(crate) fn new(spill: &'a Spill, at: u64, end: u64) -> Self {
        SpillReader {
            spill,
            at,
            end: end.min(spill.len()),
            buffer: Vec::new(),
            from: 0,
        }
    }

    /// Where it is.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.end
    }

    /// The bytes that come next: `len` of them, or more, or all that there are.
    pub(crate) fn peek(&mut self, len: usize) -> &[u8] {
        let left = self.end.saturating_sub(self.at);
        if let Some(all) = self.spill.in_memory() {
            let range = self.at as usize..self.end as usize;
            return all.get(range).unwrap_or_default();
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(len);
        if self.buffer.len() - self.from < wanted {
            self.buffer.drain(..self.from);
            self.from = 0;
            let have = self.buffer.len();
            let more = left - have as u64;
            let more = usize::try_from(more).unwrap_or(usize::MAX);
            let more = more.min(READ_LEN.max(wanted - have));
            self.buffer.resize(have + more, 0);
            let rest = self.buffer.get_mut(have..).unwrap_or_default();
            let read = self.spill.read(self.at + have as u64, rest);
            self.buffer.truncate(have + read);
            if read < more {
                // The file has failed, or what is held ends here: nothing follows.
                self.end = self.at + self.buffer.len() as u64;
            }
        }
        self.buffer.get(self.from..).unwrap_or_default()
    }

    /// Goes on by `len` bytes, which have been looked at.
    pub(crate) fn skip(&mut self, len: usize) {
        self.at += len as u64;
        if self.spill.is_spilled() {
            self.from = (self.from + len).min(self.buffer.len());
        }
    }

    /// Takes a number that [`put_number`] has put there.
    pub(crate) fn number(&mut self) -> u64 {
        let mut bytes = self.peek(NUMBER_LEN_MAX);
        let before = bytes.len();
        let number = take_number(&mut bytes);
        let len = before - bytes.len();
        self.skip(len);
        number
    }

    /// Takes `len` bytes. `None` if there are not so many.
    pub(crate) fn take(&mut self, len: usize) -> Option<&[u8]> {
        if self.peek(len).len() < len {
            self.at = self.end;
            return None;
        }
        let (before, from) = (self.at, self.from);
        self.skip(len);
        match self.spill.in_memory() {
            Some(all) => all.get(before as usize..)?.get(..len),
            None => self.buffer.get(from..)?.get(..len),
        }
    }
}

/// Bytes of a number at most.
const NUMBER_LEN_MAX: usize = 10;

/// Adds a number as LEB128.
pub(crate) fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[inline]
pub(crate) fn take_number(bytes: &mut &[u8]) -> u64 {
    // Nearly every number is short, and every comparison of a sort reads some.
    if let Some((&byte, rest)) = bytes.split_first()
        && byte < 0x80
    {
        *bytes = rest;
        return byte.into();
    }
    let mut number = 0;
    let mut shift = 0;
    while let Some((&byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            break;
        }
        shift += 7;
    }
    number
}
