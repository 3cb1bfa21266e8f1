//! The fast way when all rows are in one memory: each element is reduced once, in the order its
//! algorithm prescribes, and written to every row.
//!
//! No element depends on another, so nobody waits for anybody: the rows are cut into pieces, and
//! each piece is read from all rows and written to all rows while it is in the cache. That is the
//! least memory traffic there is, N rows in and N rows out; every line written has just been
//! read, so stores past the cache would gain nothing. The result has the bits of the
//! step-by-step exchange, and the traffic told is what its messages would carry.

use std::ops::Range;

use crate::linear::Element;
use crate::{Join, for_each_piece};

use super::combine::{combine, combine_both, divide};
use super::failure::Failure;
use super::plan::{Algorithm, Grouping, Op, Traffic, chunk, grouping, traffic};
use super::rows::Rows;

/// Bytes of a row in a block: a few of them fit the first-level cache.
const BLOCK_BYTES: usize = 4096;
/// Fewer bytes than this in all rows are not worth another thread.
const SMALLEST_PIECE_BYTES: usize = 64 * 1024;

/// Every row becomes the reduction of all of them, in place: the same bits in each, whatever
/// `join` lends. A row a rank; rows of different lengths are refused.
pub fn all_reduce<T: Element>(
    join: &dyn Join,
    rows: &mut [&mut [T]],
    algorithm: Algorithm,
    op: Op,
) -> Result<Traffic, Failure> {
    let rows = Rows::new(rows)?;
    let (ranks, elements) = (rows.ranks(), rows.elements());
    if ranks > 1 {
        for_each_piece(join, 0..elements, grain::<T>(join, ranks, elements), &|piece| {
            if algorithm != Algorithm::Ring {
                reduce_piece(&rows, &grouping(algorithm, ranks, 0), op, piece, 0..ranks);
                return;
            }
            for_each_chunk(elements, ranks, piece, |c, part| {
                reduce_piece(&rows, &grouping(algorithm, ranks, c), op, part, 0..ranks);
            });
        });
    }
    Ok(traffic(algorithm, ranks, elements))
}

/// The first half of a ring: row r ends with chunk [`kept_chunk`](super::kept_chunk)`(ranks, r)` reduced; the rest of
/// the row is as it was. With [`all_gather`] after it, it is [`all_reduce`] around a ring.
pub fn reduce_scatter<T: Element>(join: &dyn Join, rows: &mut [&mut [T]], op: Op) -> Result<Traffic, Failure> {
    let rows = Rows::new(rows)?;
    let (ranks, elements) = (rows.ranks(), rows.elements());
    if ranks > 1 {
        for_each_piece(join, 0..elements, grain::<T>(join, ranks, elements), &|piece| {
            for_each_chunk(elements, ranks, piece, |c, part| {
                let keeper = (c + ranks - 1) % ranks;
                let order = grouping(Algorithm::Ring, ranks, c);
                reduce_piece(&rows, &order, op, part, keeper..keeper + 1);
            });
        });
    }
    Ok(ring_half(ranks, elements, |rank| rank + 1))
}

/// The second half of a ring: chunk [`kept_chunk`](super::kept_chunk)`(ranks, r)` of row r goes to all rows.
pub fn all_gather<T: Element>(join: &dyn Join, rows: &mut [&mut [T]]) -> Result<Traffic, Failure> {
    let rows = Rows::new(rows)?;
    let (ranks, elements) = (rows.ranks(), rows.elements());
    if ranks > 1 {
        for_each_piece(join, 0..elements, grain::<T>(join, ranks, elements), &|piece| {
            for_each_chunk(elements, ranks, piece, |c, part| {
                let keeper = (c + ranks - 1) % ranks;
                for rank in (0..ranks).filter(|rank| *rank != keeper) {
                    // SAFETY: this piece of the elements is ours alone in all rows; rank and
                    // keeper are different rows, and only the keeper's is read.
                    let from = unsafe { rows.shared(keeper, part.clone()) };
                    // SAFETY: as above; this is the one reference into this row.
                    let into = unsafe { rows.exclusive(rank, part.clone()) };
                    into.copy_from_slice(from);
                }
            });
        });
    }
    Ok(ring_half(ranks, elements, |rank| rank + 2))
}

/// Every rank sends all chunks but one.
fn ring_half(ranks: usize, elements: usize, spared: impl Fn(usize) -> usize) -> Traffic {
    Traffic {
        steps: ranks.saturating_sub(1),
        sent_elements: (0..ranks)
            .map(|rank| (elements - chunk(elements, ranks, spared(rank) % ranks).len()) as u64)
            .collect(),
    }
}

fn grain<T>(join: &dyn Join, ranks: usize, elements: usize) -> usize {
    let smallest = SMALLEST_PIECE_BYTES / (ranks * size_of::<T>());
    // More pieces than threads, so that a late one is not waited for.
    elements.div_ceil(4 * join.width().max(1)).max(smallest).max(1)
}

/// The parts of `piece` that lie in one chunk each.
fn for_each_chunk(elements: usize, ranks: usize, piece: Range<usize>, mut body: impl FnMut(usize, Range<usize>)) {
    // Chunk c begins at or before element e exactly if floor(n c / N) <= e.
    let mut c = (piece.start as u128 * ranks as u128 / elements.max(1) as u128) as usize;
    while chunk(elements, ranks, c).end <= piece.start {
        c += 1;
    }
    let mut start = piece.start;
    while start < piece.end {
        let end = chunk(elements, ranks, c).end.min(piece.end);
        if start < end {
            body(c, start..end);
        }
        start = end;
        c += 1;
    }
}

/// Reduces one piece and writes it to the rows `into`. Nobody else may touch this piece of any row.
fn reduce_piece<T: Element>(rows: &Rows<'_, T>, order: &[Grouping], op: Op, piece: Range<usize>, into: Range<usize>) {
    if rows.ranks() == 2 && into.len() == 2 {
        // SAFETY: the caller has this piece of all rows for itself; rows 0 and 1 are apart.
        let a = unsafe { rows.exclusive(0, piece.clone()) };
        // SAFETY: as above.
        let b = unsafe { rows.exclusive(1, piece) };
        combine_both(op, a, b);
        return;
    }
    let block = (BLOCK_BYTES / size_of::<T>()).max(1);
    let mut stack = vec![T::default(); depth(order) * block.min(piece.len())];
    let mut start = piece.start;
    while start < piece.end {
        let range = start..(start + block).min(piece.end);
        start = range.end;
        let length = range.len();
        let mut top = 0;
        for step in order {
            match *step {
                Grouping::Push(rank) => {
                    // SAFETY: the caller has this piece of all rows for itself; nothing writes to
                    // it until the order is done.
                    let row = unsafe { rows.shared(rank, range.clone()) };
                    stack[top * length..][..length].copy_from_slice(row);
                    top += 1;
                }
                Grouping::With(rank) => {
                    // SAFETY: as above.
                    let row = unsafe { rows.shared(rank, range.clone()) };
                    combine(op, &mut stack[(top - 1) * length..][..length], row);
                }
                Grouping::Merge => {
                    let (below, above) = stack.split_at_mut((top - 1) * length);
                    combine(op, &mut below[(top - 2) * length..], &above[..length]);
                    top -= 1;
                }
            }
        }
        let reduced = &mut stack[..length];
        if op == Op::Mean {
            divide(reduced, rows.ranks());
        }
        for rank in into.clone() {
            // SAFETY: the caller has this piece of all rows for itself, and the reads are over.
            let row = unsafe { rows.exclusive(rank, range.clone()) };
            row.copy_from_slice(reduced);
        }
    }
}

/// How many values lie on the stack at most.
fn depth(order: &[Grouping]) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for step in order {
        match step {
            Grouping::Push(_) => now += 1,
            Grouping::With(_) => {}
            Grouping::Merge => now -= 1,
        }
        most = most.max(now);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::allreduce::kept_chunk;
    use crate::tests::OnThreads;
    use proptest::prelude::*;

    /// Row r of made-up values whose sums depend on their order.
    pub(in super::super) fn rows(ranks: usize, elements: usize) -> Vec<Vec<f32>> {
        (0..ranks)
            .map(|rank| {
                (0..elements)
                    .map(|at| ((rank * 31 + at * 17) % 97) as f32 / 7.0 - 5.0 + 1e-4 * rank as f32)
                    .collect()
            })
            .collect()
    }

    fn slices<T>(rows: &mut [Vec<T>]) -> Vec<&mut [T]> {
        rows.iter_mut().map(Vec::as_mut_slice).collect()
    }

    #[test]
    fn scattering_and_gathering_is_the_ring() {
        for ranks in 1..6 {
            for elements in [0, 1, 3, 100, 50_001] {
                let mut whole = rows(ranks, elements);
                let mut parts = whole.clone();
                let told = all_reduce(&OnThreads(2), &mut slices(&mut whole), Algorithm::Ring, Op::Mean).unwrap();
                let scatter = reduce_scatter(&OnThreads(2), &mut slices(&mut parts), Op::Mean).unwrap();
                for (rank, row) in parts.iter().enumerate() {
                    let kept = chunk(elements, ranks, kept_chunk(ranks, rank));
                    assert_eq!(row[kept.clone()], whole[rank][kept]);
                }
                let gather = all_gather(&OnThreads(2), &mut slices(&mut parts)).unwrap();
                assert_eq!(parts, whole);
                assert_eq!(told.steps, scatter.steps + gather.steps);
                for rank in 0..ranks {
                    assert_eq!(
                        told.sent_elements[rank],
                        scatter.sent_elements[rank] + gather.sent_elements[rank]
                    );
                }
            }
        }
    }

    #[test]
    fn rows_of_different_lengths_are_refused() {
        let (mut a, mut b) = ([1.0_f32; 3], [2.0_f32; 4]);
        let refused = all_reduce(&Sequential, &mut [&mut a, &mut b], Algorithm::Ring, Op::Sum).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "rank 1 brings 4 elements and rank 0 brings 3; all must bring the same number"
        );
        assert_eq!(
            all_reduce::<f32>(&Sequential, &mut [], Algorithm::Tree, Op::Sum),
            Ok(Traffic::default())
        );
    }

    proptest! {
        #[test]
        fn a_piece_is_cut_at_the_chunks(elements in 1_usize..500, ranks in 1_usize..40, ends in (0_usize..500, 0_usize..500)) {
            let (a, b) = (ends.0 % (elements + 1), ends.1 % (elements + 1));
            let piece = a.min(b)..a.max(b);
            let mut next = piece.start;
            for_each_chunk(elements, ranks, piece.clone(), |c, part| {
                assert_eq!(part.start, next);
                let whole = chunk(elements, ranks, c);
                assert!(whole.start <= part.start && part.end <= whole.end);
                next = part.end;
            });
            prop_assert_eq!(next, piece.end);
        }
    }
}
