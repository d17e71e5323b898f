//! A buffer that begins at a page boundary, for large reads.
//!
//! The kernel copies file content to user space by `rep movsb` from the start of a page. Large
//! allocations come 16 bytes behind a page boundary, and at that distance several generations of
//! AMD processors copy at a quarter of their speed (1.4 against 6 GB/s on an EPYC).

use std::ops::{Deref, DerefMut};

/// Bytes that begin at a page boundary, all zero at first.
#[derive(Debug, Default)]
pub(crate) struct PageBuf {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

const PAGE_LEN: usize = 4096;

impl PageBuf {
    pub(crate) fn with_len(len: usize) -> Self {
        let mut buf = Self::default();
        buf.resize(len);
        buf
    }

    /// Makes it `len` bytes long. What it held stays as far as it fits; what is new is undefined.
    pub(crate) fn resize(&mut self, len: usize) {
        if self.memory.len() < self.start + len {
            let memory = vec![0; len + PAGE_LEN];
            let start = memory.as_ptr().align_offset(PAGE_LEN).min(PAGE_LEN);
            let old = std::mem::replace(self, PageBuf { memory, start, len });
            self.split_at_mut(old.len).0.copy_from_slice(&old);
        }
        self.len = len;
    }
}

impl Deref for PageBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory
            .get(self.start..self.start + self.len)
            .unwrap_or_default()
    }
}

impl DerefMut for PageBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory
            .get_mut(self.start..self.start + self.len)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_begins_at_a_page() {
        let mut buf = PageBuf::default();
        for len in [0, 1, 4096, 100, 1 << 20, 3, (1 << 20) + 1] {
            buf.resize(len);
            assert_eq!(buf.len(), len);
            assert!(len == 0 || buf.as_ptr().align_offset(PAGE_LEN) == 0);
            buf.fill(7);
        }
        buf.resize(2 << 20);
        assert!(buf.iter().take((1 << 20) + 1).all(|byte| *byte == 7));
    }
}
