//! A bit filter of weak sums: "surely not in the basis" for almost every position, from memory that
//! stays in the cache.

/// A filter in one of five sizes, so that the inner loop knows the size it runs with.
#[derive(Debug)]
pub(super) enum Filter {
    /// Tables of 8 KiB.
    Tiny(Bits<{ 1 << 11 }>),
    /// Tables of 32 KiB.
    Small(Bits<{ 1 << 13 }>),
    /// Tables of 128 KiB.
    Medium(Bits<{ 1 << 15 }>),
    /// Tables of 512 KiB.
    Large(Bits<{ 1 << 17 }>),
    /// Tables of 2 MiB.
    Huge(Bits<{ 1 << 19 }>),
}

impl Filter {
    /// A filter for about `count` sums: at most one bit in 64 gets set, in 32 from 16 thousand
    /// sums on, up to half a million.
    pub(super) fn for_count(count: u32) -> Self {
        match count {
            0..=0x400 => Self::Tiny(Bits::new()),
            0x401..=0x1000 => Self::Small(Bits::new()),
            0x1001..=0x4000 => Self::Medium(Bits::new()),
            0x4001..=0x2_0000 => Self::Large(Bits::new()),
            0x2_0001.. => Self::Huge(Bits::new()),
        }
    }

    /// False: no block has this weak sum.
    pub(super) fn maybe(&self, weak: u32) -> bool {
        match self {
            Self::Tiny(bits) => bits.maybe(weak),
            Self::Small(bits) => bits.maybe(weak),
            Self::Medium(bits) => bits.maybe(weak),
            Self::Large(bits) => bits.maybe(weak),
            Self::Huge(bits) => bits.maybe(weak),
        }
    }

    pub(super) fn insert(&mut self, weak: u32) {
        match self {
            Self::Tiny(bits) => bits.insert(weak),
            Self::Small(bits) => bits.insert(weak),
            Self::Medium(bits) => bits.insert(weak),
            Self::Large(bits) => bits.insert(weak),
            Self::Huge(bits) => bits.insert(weak),
        }
    }
}

/// Two tables of a power of two of words with one bit per weak sum each. The first is looked at for
/// every position; the second, addressed differently, only when the first one does not settle it.
#[derive(Debug)]
pub(super) struct Bits<const WORDS: usize> {
    first: Box<[u32; WORDS]>,
    second: Box<[u32; WORDS]>,
}

impl<const WORDS: usize> Bits<WORDS> {
    fn new() -> Self {
        Self {
            first: zeroed(),
            second: zeroed(),
        }
    }

    fn insert(&mut self, weak: u32) {
        for (table, sum) in [(&mut self.first, weak), (&mut self.second, mix(weak))] {
            if let Some(word) = table.get_mut(Self::word_index(sum)) {
                *word |= 1 << (sum & 31);
            }
        }
    }

    /// The table to look at first, for [`look`].
    #[inline(always)]
    pub(super) fn first(&self) -> &[u32; WORDS] {
        &self.first
    }

    /// False: no block has this weak sum, though [`look`] could not tell.
    #[inline(always)]
    pub(super) fn look_again(&self, weak: u32) -> bool {
        let sum = mix(weak);
        self.second
            .get(Self::word_index(sum))
            .is_some_and(|word| word >> (sum & 31) & 1 != 0)
    }

    /// False: no block has this weak sum.
    #[inline(always)]
    pub(super) fn maybe(&self, weak: u32) -> bool {
        look(&self.first, weak) & 1 != 0 && self.look_again(weak)
    }

    #[inline(always)]
    fn word_index(sum: u32) -> usize {
        (sum >> (32 - WORDS.ilog2())) as usize
    }
}

/// Lowest bit clear: no block has this weak sum. The other bits mean nothing.
#[inline(always)]
pub(super) fn look<const WORDS: usize>(table: &[u32; WORDS], weak: u32) -> u32 {
    let word = table.get(Bits::<WORDS>::word_index(weak));
    word.map_or(0, |word| word >> (weak & 31))
}

/// Zeroed by the allocator: `Box::new([0; WORDS])` might build it on the stack.
fn zeroed<const WORDS: usize>() -> Box<[u32; WORDS]> {
    let words = vec![0; WORDS].into_boxed_slice();
    words.try_into().unwrap_or_else(|_| Box::new([0; WORDS]))
}

/// Spreads neighbouring weak sums over the table; the high bits are the best ones.
#[inline(always)]
pub(super) fn mix(weak: u32) -> u32 {
    let mixed = (weak ^ (weak >> 15)).wrapping_mul(0x85EB_CA6B);
    mixed ^ (mixed >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_passes_and_little_else() {
        for count in [0, 1, 1000, 10_000, 80_000, 500_000] {
            let mut filter = Filter::for_count(count);
            let sums = |seed: u32| {
                (0..count).map(move |i| {
                    let mixed = (i ^ seed).wrapping_mul(0x9E37_79B1);
                    (mixed ^ (mixed >> 15)).wrapping_mul(0x85EB_CA6B)
                })
            };
            sums(0).for_each(|weak| filter.insert(weak));
            assert!(sums(0).all(|weak| filter.maybe(weak)));
            let others = sums(0x4000_0000).filter(|&weak| filter.maybe(weak)).count();
            assert!(others <= count as usize / 200, "{others} of {count}");
        }
    }
}
