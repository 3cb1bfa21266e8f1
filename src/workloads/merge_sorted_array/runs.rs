//! Merges a long array with a short one: many values of the long one per step.
//!
//! When one array is several times as long as the other, its values come in runs, with single values
//! of the other between them. So a step looks at one value of the short array and at a block of the
//! long one: vector comparisons tell how many of the block come before the value. The whole block is
//! copied to the output and the value put behind those that come before it; what was copied too much
//! is overwritten by the next steps. Nothing depends on a branch that the processor could guess
//! wrong. Two such chains of steps, from the front and from the back, do not wait for each other.

use std::ops::Range;

/// Values of the long array in a step: two vectors of AVX-512. At ten to one most runs fit in.
const BLOCK: usize = 16;

/// How blocks are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// What every processor has.
    Portable,
    /// AVX2 and POPCNT.
    Avx2,
    /// AVX-512 F and POPCNT.
    Avx512,
}

impl Level {
    /// The best this machine has. The standard library remembers what it found.
    pub(super) fn best() -> Level {
        #[cfg(target_arch = "x86_64")]
        {
            let popcnt = is_x86_feature_detected!("popcnt");
            if popcnt && is_x86_feature_detected!("avx512f") {
                return Level::Avx512;
            }
            if popcnt && is_x86_feature_detected!("avx2") {
                return Level::Avx2;
            }
        }
        Level::Portable
    }

    /// From how many times the length of the short array on the long one is worth taking in blocks.
    /// Measured: with vectors as fast as single steps a little below 2, without them at about 6.
    pub(super) fn worthwhile_ratio(self) -> usize {
        match self {
            Level::Portable => 8,
            Level::Avx2 | Level::Avx512 => 2,
        }
    }

    /// Every level this processor has, for tests.
    #[cfg(test)]
    pub(super) fn available() -> impl Iterator<Item = Level> {
        [Level::Portable, Level::Avx2, Level::Avx512]
            .into_iter()
            .filter(|level| *level <= Level::best())
    }
}

/// What is left of both arrays; their merged values belong in the gap in the middle of the output.
pub(super) struct Rest {
    pub(super) long: Range<usize>,
    pub(super) short: Range<usize>,
}

impl Rest {
    /// Where in the output the rest belongs.
    pub(super) fn gap(&self) -> Range<usize> {
        self.long.start + self.short.start..self.long.end + self.short.end
    }
}

/// Merges from both ends until less than two blocks of `long` or two values of `short` are left.
/// Of equal values those of `long` come first when `LONG_FIRST`, else those of `short`.
pub(super) fn merge<const LONG_FIRST: bool>(level: Level, long: &[i64], short: &[i64], out: &mut [i64]) -> Rest {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            // SAFETY: `Level::best` gives this level only where the processor has both features.
            unsafe { x86::merge_avx512::<LONG_FIRST>(long, short, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: `Level::best` gives this level only where the processor has both features.
            unsafe { x86::merge_avx2::<LONG_FIRST>(long, short, out) }
        }
        _ => merge_by(long, short, out, |block, value| {
            block
                .iter()
                .map(|x| usize::from(if LONG_FIRST { *x <= value } else { *x < value }))
                .sum()
        }),
    }
}

/// `before` tells how many of a block come before a value of `short`.
#[inline(always)]
fn merge_by(long: &[i64], short: &[i64], out: &mut [i64], before: impl Fn(&[i64; BLOCK], i64) -> usize) -> Rest {
    assert_eq!(out.len(), long.len() + short.len(), "the output fits the arrays");
    // long[i..p] and short[j..q] are left, and out[i + j..p + q] is to be filled.
    let (mut i, mut p) = (0, long.len());
    let (mut j, mut q) = (0, short.len());
    // Then each end has a block and a value of its own, in both the arrays and the output: what is
    // copied too much at one end never reaches what is done at the other.
    while p - i >= 2 * BLOCK && q - j >= 2 {
        let value = short[j];
        let block: &[i64; BLOCK] = long[i..].first_chunk().expect("a block is left");
        let count = before(block, value);
        let place = &mut out[i + j..][..=BLOCK];
        place[..BLOCK].copy_from_slice(block);
        place[count] = value;
        i += count;
        j += usize::from(count < BLOCK);

        let value = short[q - 1];
        let block: &[i64; BLOCK] = long[..p].last_chunk().expect("a block is left");
        let count = BLOCK - before(block, value);
        let place = &mut out[p + q - BLOCK - 1..][..=BLOCK];
        place[1..].copy_from_slice(block);
        place[BLOCK - count] = value;
        p -= count;
        q -= usize::from(count < BLOCK);
    }
    Rest {
        long: i..p,
        short: j..q,
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{BLOCK, Rest, merge_by};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,popcnt")]
    pub(super) fn merge_avx512<const LONG_FIRST: bool>(long: &[i64], short: &[i64], out: &mut [i64]) -> Rest {
        merge_by(long, short, out, |block, value| {
            let value = _mm512_set1_epi64(value);
            let (eights, _) = block.as_chunks::<8>();
            let mut mask = 0;
            for (at, eight) in eights.iter().enumerate() {
                // SAFETY: reads the eight values of the array; any alignment will do.
                let x = unsafe { _mm512_loadu_epi64(eight.as_ptr()) };
                let these = if LONG_FIRST {
                    _mm512_cmple_epi64_mask(x, value)
                } else {
                    _mm512_cmplt_epi64_mask(x, value)
                };
                mask |= u32::from(these) << (8 * at);
            }
            mask.count_ones() as usize
        })
    }

    #[target_feature(enable = "avx2,popcnt")]
    pub(super) fn merge_avx2<const LONG_FIRST: bool>(long: &[i64], short: &[i64], out: &mut [i64]) -> Rest {
        merge_by(long, short, out, |block, value| {
            let value = _mm256_set1_epi64x(value);
            let (fours, _) = block.as_chunks::<4>();
            let mut mask = 0;
            for (at, four) in fours.iter().enumerate() {
                // SAFETY: reads the four values of the array; any alignment will do.
                let x = unsafe { _mm256_loadu_si256(four.as_ptr().cast()) };
                let these = if LONG_FIRST {
                    _mm256_cmpgt_epi64(x, value)
                } else {
                    _mm256_cmpgt_epi64(value, x)
                };
                mask |= _mm256_movemask_pd(_mm256_castsi256_pd(these)) << (4 * at);
            }
            let count = mask.count_ones() as usize;
            if LONG_FIRST { BLOCK - count } else { count }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{by_sorting, split};
    use super::*;
    use proptest::prelude::*;

    /// What is done at either end is what a stable merge has there, and the rest is not too long.
    fn check<const LONG_FIRST: bool>(level: Level, long: &[i64], short: &[i64]) {
        let mut out = vec![0; long.len() + short.len()];
        let rest = merge::<LONG_FIRST>(level, long, short, &mut out);
        let told = format!(
            "{level:?}, long first: {LONG_FIRST}, {} and {}",
            long.len(),
            short.len()
        );
        assert!(
            rest.long.len() < 2 * BLOCK || rest.short.len() < 2,
            "{told}: stopped early"
        );
        let gap = rest.gap();
        let expected = by_sorting(long, short);
        assert_eq!(out[..gap.start], expected[..gap.start], "{told}: front");
        assert_eq!(out[gap.end..], expected[gap.end..], "{told}: back");
        // Of equal values the right array's are taken: equal integers can't be told apart, but how
        // many were taken from either array can.
        for (from_long, from_short) in [(rest.long.start, rest.short.start), (rest.long.end, rest.short.end)] {
            let count = from_long + from_short;
            let stable = if LONG_FIRST {
                split(long, short, count)
            } else {
                let (from_short, from_long) = split(short, long, count);
                (from_long, from_short)
            };
            assert_eq!((from_long, from_short), stable, "{told}: ties");
        }
    }

    fn check_all(long: &[i64], short: &[i64]) {
        for level in Level::available() {
            check::<true>(level, long, short);
            check::<false>(level, long, short);
        }
    }

    #[test]
    fn every_length_around_the_blocks() {
        for long in 0..=4 * BLOCK + 2 {
            let long: Vec<i64> = (0..long as i64).collect();
            for count in 0..6 {
                // From all before the long array, over its middle, to all behind it.
                for (first, step) in [(-9, 1), (5, 3), (0, 9), (15, 0), (17, 16), (70, 1)] {
                    let short: Vec<i64> = (0..count).map(|at| first + at * step).collect();
                    check_all(&long, &short);
                }
            }
        }
    }

    #[test]
    fn the_least_and_the_greatest_integer() {
        for (low, high) in [(0, 50), (50, 0), (25, 25), (3, 47)] {
            let long = [vec![i64::MIN; low], vec![i64::MAX; high]].concat();
            for short in [[i64::MIN; 3], [i64::MAX; 3], [i64::MIN, 0, i64::MAX]] {
                check_all(&long, &short);
            }
        }
    }

    proptest! {
        #[test]
        fn many_ties(
            mut long in prop::collection::vec(-9_i64..9, 0..400),
            mut short in prop::collection::vec(-10_i64..10, 0..60),
        ) {
            long.sort_unstable();
            short.sort_unstable();
            check_all(&long, &short);
        }

        #[test]
        fn any_values(
            mut long in prop::collection::vec(any::<i64>(), 0..400),
            mut short in prop::collection::vec(any::<i64>(), 0..100),
        ) {
            long.sort_unstable();
            short.sort_unstable();
            check_all(&long, &short);
        }
    }
}
