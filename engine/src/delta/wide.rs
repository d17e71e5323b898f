//! The widest vector instructions of this machine, for loops that are written plainly: a second
//! compilation of the same loop for AVX2, chosen when it runs.

/// Runs `work` as compiled for AVX2 where the processor has that, and as compiled for every
/// processor of this architecture otherwise.
///
/// What is to profit must be inlined into `work`, and `work` itself: mark the closure and what it
/// calls `#[inline(always)]`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn widest<R>(work: impl FnOnce() -> R) -> R {
    match fearless_simd::Level::new().as_avx2() {
        Some(avx2) => fearless_simd::Simd::vectorize(avx2, work),
        None => work(),
    }
}

/// Runs `work`: other architectures have their vector instructions in every compilation.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn widest<R>(work: impl FnOnce() -> R) -> R {
    work()
}
