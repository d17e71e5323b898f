//! A bit filter of weak sums: "surely not in the basis" for almost every position, from memory that stays in
//! the cache.

/// A filter in one of four sizes, so that the inner loop knows the size it runs with.
#[derive(Debug)]
pub(super) enum Filter {
    /// 8 KiB.
    Small(Bits<{ 1 << 11 }>),
    /// 64 KiB.
    Medium(Bits<{ 1 << 14 }>),
    /// 512 KiB.
    Large(Bits<{ 1 << 17 }>),
    /// 4 MiB.
    Huge(Bits<{ 1 << 20 }>),
}

impl Filter {
    /// A filter for about `count` sums: at most one bit in 48 gets set, up to 700,000 sums.
    pub(super) fn for_count(count: u32) -> Self {
        match count {
            0..=1360 => Self::Small(Bits::new()),
            ..=10_900 => Self::Medium(Bits::new()),
            ..=87_000 => Self::Large(Bits::new()),
            _ => Self::Huge(Bits::new()),
        }
    }

    pub(super) fn insert(&mut self, weak: u32) {
        match self {
            Self::Small(bits) => bits.insert(weak),
            Self::Medium(bits) => bits.insert(weak),
            Self::Large(bits) => bits.insert(weak),
            Self::Huge(bits) => bits.insert(weak),
        }
    }
}

/// One bit per weak sum in a power of two of words.
#[derive(Debug)]
pub(super) struct Bits<const WORDS: usize>(Box<[u32; WORDS]>);

impl<const WORDS: usize> Bits<WORDS> {
    fn new() -> Self {
        // Zeroed by the allocator: `Box::new([0; WORDS])` would build it on the stack.
        let words = vec![0; WORDS].into_boxed_slice();
        Self(words.try_into().unwrap_or_else(|_| Box::new([0; WORDS])))
    }

    fn insert(&mut self, weak: u32) {
        if let Some(word) = self.0.get_mut(Self::word_index(weak)) {
            *word |= 1 << (weak & 31);
        }
    }

    /// Lowest bit clear: no block has this weak sum. The other bits mean nothing.
    #[inline(always)]
    pub(super) fn look(&self, weak: u32) -> u32 {
        self.0
            .get(Self::word_index(weak))
            .map_or(0, |word| word >> (weak & 31))
    }

    /// False: no block has this weak sum.
    #[inline(always)]
    pub(super) fn maybe(&self, weak: u32) -> bool {
        self.look(weak) & 1 != 0
    }

    #[inline(always)]
    fn word_index(sum: u32) -> usize {
        (sum >> (32 - WORDS.ilog2())) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(filter: &Filter, weak: u32) -> bool {
        match filter {
            Filter::Small(bits) => bits.maybe(weak),
            Filter::Medium(bits) => bits.maybe(weak),
            Filter::Large(bits) => bits.maybe(weak),
            Filter::Huge(bits) => bits.maybe(weak),
        }
    }

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
            assert!(sums(0).all(|weak| passing(&filter, weak)));
            let others = sums(0x4000_0000)
                .filter(|&weak| passing(&filter, weak))
                .count();
            assert!(others <= count as usize / 30, "{others} of {count}");
        }
    }
}
