//! Random numbers that a seed fixes for good: inputs must be the same on every machine and in
//! every version.
//!
//! xoshiro256++ by name (not `StdRng`, which may change), with a stream number folded into the
//! seed so that each input has its own sequence.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

pub(super) struct Random(Xoshiro256PlusPlus);

impl Random {
    pub(super) fn new(seed: u64, stream: u64) -> Random {
        // seed_from_u64 mixes its argument through SplitMix64; the odd factor keeps neighbouring
        // seeds and streams from meeting.
        Random(Xoshiro256PlusPlus::seed_from_u64(
            seed ^ (stream.wrapping_add(1)).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        ))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 0 to `bound` - 1. The bias of the multiplication (at most `bound` / 2^64) is of no matter here.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    /// Fisher and Yates.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If these numbers change, every recorded run changes its meaning.
    #[test]
    fn a_seed_means_the_same_numbers_for_good() {
        let mut random = Random::new(7, 0);
        let first: Vec<u64> = (0..3).map(|_| random.below(1000)).collect();
        let again: Vec<u64> = {
            let mut random = Random::new(7, 0);
            (0..3).map(|_| random.below(1000)).collect()
        };
        assert_eq!(first, again);
        assert_eq!(first, GOLDEN);
        assert_ne!(Random::new(7, 0).next(), Random::new(7, 1).next());
        assert_ne!(Random::new(7, 0).next(), Random::new(8, 0).next());
    }

    const GOLDEN: [u64; 3] = [534, 508, 80];

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::new(1, 1).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
