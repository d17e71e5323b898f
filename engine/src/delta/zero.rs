//! Finds runs of zero bytes worth their own op.

use std::ops::Range;

/// Splits `bytes` into zero runs of at least [`MIN_ZERO_RUN`] and everything else, in order.
///
/// Calls `emit(range, is_zero)` with non-empty ranges that cover `bytes`.
pub(super) fn split_zero_runs<E>(
    bytes: &[u8],
    mut emit: impl FnMut(Range<usize>, bool) -> Result<(), E>,
) -> Result<(), E> {
    let mut done = 0;
    // Every run of MIN_ZERO_RUN bytes holds a byte at a multiple of MIN_ZERO_RUN: look only there.
    let mut probe = 0;
    while probe < bytes.len() {
        if bytes.get(probe) != Some(&0) {
            probe += MIN_ZERO_RUN;
            continue;
        }
        let before = bytes.get(done..probe).unwrap_or_default();
        let run_start = done
            + before
                .iter()
                .rposition(|&byte| byte != 0)
                .map_or(0, |last| last + 1);
        let run_end = probe + zero_prefix_len(bytes.get(probe..).unwrap_or_default());
        if run_end - run_start >= MIN_ZERO_RUN {
            if done < run_start {
                emit(done..run_start, false)?;
            }
            emit(run_start..run_end, true)?;
            done = run_end;
        }
        probe = (run_end / MIN_ZERO_RUN + 1) * MIN_ZERO_RUN;
    }
    if done < bytes.len() {
        emit(done..bytes.len(), false)?;
    }
    Ok(())
}

/// How many zero bytes `bytes` starts with.
pub(super) fn zero_prefix_len(bytes: &[u8]) -> usize {
    let (strides, _) = bytes.as_chunks::<64>();
    let whole = strides
        .iter()
        .take_while(|stride| stride.iter().fold(0, |any, byte| any | byte) == 0);
    let start = whole.count() * 64;
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|&&byte| byte == 0).count()
}

/// The shortest zero run that gets an op of its own: a page.
pub(super) const MIN_ZERO_RUN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &[(Range<usize>, bool)]) {
        let mut found = Vec::new();
        let result: Result<(), ()> = split_zero_runs(bytes, |range, zero| {
            found.push((range, zero));
            Ok(())
        });
        assert_eq!(result, Ok(()));
        assert_eq!(found, expected);
    }

    #[test]
    fn runs_of_a_page_or_more_are_found_wherever_they_start() {
        check(&[], &[]);
        check(&[1; 10_000], &[(0..10_000, false)]);
        check(&[0; 10_000], &[(0..10_000, true)]);
        check(&[0; 4095], &[(0..4095, false)]);
        for start in [1, 100, 4095, 4096, 4097, 8191] {
            for len in [4095, 4096, 4097, 9000] {
                let mut bytes = vec![7; 30_000];
                bytes[start..start + len].fill(0);
                if len < MIN_ZERO_RUN {
                    check(&bytes, &[(0..30_000, false)]);
                } else {
                    let end = start + len;
                    check(
                        &bytes,
                        &[(0..start, false), (start..end, true), (end..30_000, false)],
                    );
                }
            }
        }
    }

    #[test]
    fn two_runs_beside_each_other_stay_two() {
        let mut bytes = [0; 12_000];
        bytes[5000] = 1;
        check(
            &bytes,
            &[(0..5000, true), (5000..5001, false), (5001..12_000, true)],
        );
    }
}
