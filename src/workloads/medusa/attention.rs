//! Attention of a few new tokens over a cache, to the same bits whichever way they were grouped.
//!
//! FlashAttention's forward pass may sum in an order that depends on where a key lies. Here it must
//! not: a token verified inside a tree, with its ancestors scattered among other candidates, has to
//! get the very bits that a plain step would have given it, where the same keys lie one after the
//! other. So every sum over keys is taken in *logical* order: key j of a row is the j-th token that
//! it sees, wherever it is stored. A score is a sum over the head's dimensions, in order, whatever
//! lane it is computed in; the softmax and the weighted sum of the values run over the scores after
//! those of the ancestors have been moved together. What other rows there are makes no difference.
//!
//! Keys are cached dimension by dimension, `[head][HEAD][capacity]`, so that a vector holds the same
//! dimension of sixteen keys; values row by row, `[head][capacity][HEAD]`. Both are read once for
//! several rows. Scores of one row: O(length), never length x length.

use super::shape::Shape;
use super::simd::leveled;
use super::vector::{LANES, Vector};

const HEAD: usize = Shape::HEAD_WIDTH;
/// Keys whose scores are summed at the same time.
const KEYS: usize = 4 * LANES;

/// Keys and values of one head of one layer.
#[derive(Clone, Copy)]
pub struct Cached<'a> {
    /// `[HEAD][capacity]`.
    pub keys: &'a [f32],
    /// `[capacity][HEAD]`.
    pub values: &'a [f32],
    /// A multiple of [`KEYS`].
    pub capacity: usize,
    /// Slots that every row sees; the rows' own keys and values follow.
    pub prefix: usize,
}

/// How many keys a cache of at least `slots` slots has room for.
pub fn capacity(slots: usize) -> usize {
    slots.next_multiple_of(KEYS)
}

leveled! {
    /// Attention of `ancestors.len()` rows: `queries` holds a row's query of this head every
    /// `query_stride` values, already divided by the root of the head's width; `mixed` is written every
    /// `mixed_stride` values. Bit a of `ancestors[r]`: row r sees the key in slot prefix + a. `scores`
    /// has room for `4 * capacity`.
    pub fn attend<FUSED, V>(
        cached: Cached<'_>,
        ancestors: &[u64],
        queries: &[f32],
        query_stride: usize,
        scores: &mut [f32],
        mixed: &mut [f32],
        mixed_stride: usize,
    ) {
        let slots = cached.prefix + ancestors.len();
        let mut row = 0;
        while row < ancestors.len() {
            let queries = &queries[row * query_stride..];
            let mixed = &mut mixed[row * mixed_stride..];
            let sees = &ancestors[row..];
            match sees.len() {
                1 => {
                    some::<V, FUSED, 1>(cached, slots, sees, queries, query_stride, scores, mixed, mixed_stride);
                    row += 1;
                }
                2 | 3 => {
                    some::<V, FUSED, 2>(cached, slots, sees, queries, query_stride, scores, mixed, mixed_stride);
                    row += 2;
                }
                _ => {
                    some::<V, FUSED, 4>(cached, slots, sees, queries, query_stride, scores, mixed, mixed_stride);
                    row += 4;
                }
            }
        }
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the operands of the operation")]
fn some<V: Vector, const FUSED: bool, const ROWS: usize>(
    cached: Cached<'_>,
    slots: usize,
    ancestors: &[u64],
    queries: &[f32],
    query_stride: usize,
    scores: &mut [f32],
    mixed: &mut [f32],
    mixed_stride: usize,
) {
    let Cached {
        keys,
        values,
        capacity,
        prefix,
    } = cached;
    let query: [&[f32; HEAD]; ROWS] = std::array::from_fn(|row| {
        queries[row * query_stride..]
            .first_chunk()
            .unwrap_or_else(|| unreachable!("a query is as wide as a head"))
    });
    for block in (0..slots).step_by(KEYS) {
        let mut sums = [[V::splat(0.0); KEYS / LANES]; ROWS];
        for dimension in 0..HEAD {
            let keys = vectors(&keys[dimension * capacity + block..][..KEYS]);
            let keys: [V; KEYS / LANES] = std::array::from_fn(|part| V::load(&keys[part]));
            for row in 0..ROWS {
                let query = V::splat(query[row][dimension]);
                for (sum, keys) in sums[row].iter_mut().zip(keys) {
                    *sum = query.fused(keys, *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let scores = vectors_mut(&mut scores[row * capacity + block..][..KEYS]);
            for (sum, scores) in sums.iter().zip(scores) {
                sum.store(scores);
            }
        }
    }

    let mut total = [0.0; ROWS];
    for row in 0..ROWS {
        let scores = &mut scores[row * capacity..][..capacity];
        // The ancestors' scores, moved together: a node is never behind its place.
        let mut seen = prefix;
        let mut left = ancestors[row];
        while left != 0 {
            scores[seen] = scores[prefix + left.trailing_zeros() as usize];
            seen += 1;
            left &= left - 1;
        }
        total[row] = soften::<FUSED>(scores, seen);
    }

    // Even and odd keys apart, so that a row alone has sums enough to keep the processor busy.
    let mut sums = [[[V::splat(0.0); HEAD / LANES]; 2]; ROWS];
    let (scores, _) = scores.split_at(ROWS * capacity);
    let pairs = prefix / 2;
    for pair in 0..pairs {
        #[expect(clippy::needless_range_loop, reason = "of every row's sums")]
        for side in 0..2 {
            let place = 2 * pair + side;
            let values = vectors(&values[place * HEAD..][..HEAD]);
            let values: [V; HEAD / LANES] = std::array::from_fn(|part| V::load(&values[part]));
            for row in 0..ROWS {
                let score = V::splat(scores[row * capacity + place]);
                for (sum, values) in sums[row][side].iter_mut().zip(values) {
                    *sum = score.fused(values, *sum);
                }
            }
        }
    }
    for row in 0..ROWS {
        let mut left = ancestors[row];
        // What is left of the prefix, then the ancestors.
        let mut place = 2 * pairs;
        while place < prefix || left != 0 {
            let slot = if place < prefix {
                place
            } else {
                let ancestor = left.trailing_zeros() as usize;
                left &= left - 1;
                prefix + ancestor
            };
            let score = V::splat(scores[row * capacity + place]);
            let values = vectors(&values[slot * HEAD..][..HEAD]);
            for (sum, values) in sums[row][place % 2].iter_mut().zip(values) {
                *sum = score.fused(V::load(values), *sum);
            }
            place += 1;
        }
        let (one, inverse) = (V::splat(1.0), V::splat(1.0 / total[row]));
        let mixed = vectors_mut(&mut mixed[row * mixed_stride..][..HEAD]);
        for (part, mixed) in mixed.iter_mut().enumerate() {
            let sum = sums[row][0][part].fused(one, sums[row][1][part]);
            sum.fused(inverse, V::splat(0.0)).store(mixed);
        }
    }
}

fn vectors(values: &[f32]) -> &[[f32; LANES]] {
    values.as_chunks().0
}

fn vectors_mut(values: &mut [f32]) -> &mut [[f32; LANES]] {
    values.as_chunks_mut().0
}

/// exp(score - greatest) of the first `count` in place; gives back their sum. `scores` is a multiple
/// of a vector long.
#[inline(always)]
fn soften<const FUSED: bool>(scores: &mut [f32], count: usize) -> f32 {
    let end = count.next_multiple_of(LANES);
    scores[count..end].fill(f32::NEG_INFINITY);
    let (vectors, _) = scores[..end].as_chunks_mut::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for vector in vectors.iter() {
        for lane in 0..LANES {
            most[lane] = if vector[lane] > most[lane] {
                vector[lane]
            } else {
                most[lane]
            };
        }
    }
    let most = most.iter().fold(f32::NEG_INFINITY, |most, value| most.max(*value));
    let mut sums = [0.0; LANES];
    for vector in vectors {
        for lane in 0..LANES {
            vector[lane] = exp::<FUSED>(vector[lane] - most);
            sums[lane] += vector[lane];
        }
    }
    fold(sums)
}

/// The sum of a vector's lanes, always in the same order.
#[inline(always)]
pub fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// a b + c, rounded once where the processor can.
#[inline(always)]
pub fn fused<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// e to the power of x for x <= 88, to 2 units in the last place; 0 below -87. 2^n times a
/// polynomial of the rest (Cephes' `expf`), without a branch, so that it runs in all lanes.
#[inline(always)]
pub fn exp<const FUSED: bool>(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number.
    let inside = if x > -87.0 { x } else { -87.0 };
    let shifted = fused::<FUSED>(inside, std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let rest = fused::<FUSED>(n, -0.693_359_4, inside);
    let rest = fused::<FUSED>(n, 2.121_944_4e-4, rest);
    let mut sum = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        sum = fused::<FUSED>(sum, rest, coefficient);
    }
    let sum = fused::<FUSED>(sum, rest * rest, rest) + 1.0;
    // The low bits of `shifted` are n.
    let power = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    if x > -87.0 { sum * power } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::flash_attention::{Heads, HeadsMut, Mask, forward};
    use crate::medusa::simd::Level;
    use crate::random::Random;

    #[test]
    fn a_tree_sees_what_flash_attention_with_the_same_mask_sees() {
        let mut random = Random::new(5, 0);
        for (prefix, rows) in [(0, 1), (1, 3), (40, 7), (64, 5), (130, 64)] {
            let ancestors: Vec<u64> = (0..rows)
                .map(|row| random.next() & ((1 << row) - 1) | 1 << row)
                .collect();
            let slots = prefix + rows;
            let capacity = capacity(slots);
            let mut numbers =
                |count: usize| -> Vec<f32> { (0..count).map(|_| random.below(4001) as f32 / 1000.0 - 2.0).collect() };
            let (queries, keys, mut values) = (numbers(rows * HEAD), numbers(slots * HEAD), numbers(slots * HEAD));
            let (mut expected, mut log_sums) = (vec![0.0; rows * HEAD], vec![0.0; rows]);
            forward(
                &Sequential,
                Heads::dense(&queries, 1, 1, rows, HEAD),
                Heads::dense(&keys, 1, 1, slots, HEAD),
                Heads::dense(&values, 1, 1, slots, HEAD),
                Mask::Tree {
                    prefix,
                    ancestors: &ancestors,
                },
                Some(1.0),
                None,
                HeadsMut::dense(&mut expected, 1, 1, rows, HEAD),
                &mut log_sums,
            );
            let mut cached_keys = vec![0.0; HEAD * capacity];
            for (slot, key) in keys.chunks_exact(HEAD).enumerate() {
                for (dimension, value) in key.iter().enumerate() {
                    cached_keys[dimension * capacity + slot] = *value;
                }
            }
            values.resize(capacity * HEAD, 0.0);
            for level in Level::all() {
                let cached = Cached {
                    keys: &cached_keys,
                    values: &values,
                    capacity,
                    prefix,
                };
                let (mut scores, mut mixed) = (vec![0.0; 4 * capacity], vec![0.0; rows * HEAD]);
                attend(level, cached, &ancestors, &queries, HEAD, &mut scores, &mut mixed, HEAD);
                for (ours, theirs) in mixed.iter().zip(&expected) {
                    assert!(
                        (ours - theirs).abs() < 2e-5,
                        "{level:?} {prefix} {rows}: {ours}, not {theirs}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_exponential_is_within_two_units_in_the_last_place() {
        for at in 0..200_000 {
            let x = -86.9 + at as f32 * (174.0 / 200_000.0);
            let expected = f64::from(x).exp();
            for ours in [exp::<true>(x), exp::<false>(x)] {
                let error = (f64::from(ours) - expected).abs() / expected;
                assert!(error < 2.4e-7, "exp({x}) is {expected}, not {ours}");
            }
        }
        assert_eq!(exp::<true>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<false>(0.0), 1.0);
    }
}
