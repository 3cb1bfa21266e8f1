//! What a reduction is by definition: one element at a time, the algorithms' groupings written as
//! formulas. Shares no code with the exchange but the arithmetic of single values.

use crate::linear::{Element, Real};

use super::plan::{Algorithm, Op};

type Sum<T> = <T as Element>::Sum;

/// The reduced row. The rows are of one length.
pub(super) fn by_definition<T: Element>(rows: &[Vec<T>], algorithm: Algorithm, op: Op) -> Vec<T> {
    let ranks = rows.len();
    let elements = rows.first().map_or(0, Vec::len);
    (0..elements)
        .map(|at| {
            let x = |rank: usize| rows[rank % ranks][at];
            let reduced = match algorithm {
                Algorithm::Ring => {
                    // The chunk that holds the element: the last that begins at or before it.
                    let c = (0..ranks).rev().find(|c| elements * c / ranks <= at).unwrap_or(0);
                    (1..ranks).fold(x(c), |sum, hop| two(op, sum, x(c + hop)))
                }
                Algorithm::Direct => (1..ranks).fold(x(0), |sum, rank| two(op, sum, x(rank))),
                Algorithm::HalvingDoubling => {
                    let core = 1 << ranks.ilog2();
                    let mut values: Vec<T> = (0..core)
                        .map(|rank| {
                            if rank + core < ranks {
                                two(op, x(rank), x(rank + core))
                            } else {
                                x(rank)
                            }
                        })
                        .collect();
                    while values.len() > 1 {
                        let high = values.split_off(values.len() / 2);
                        values = values.iter().zip(high).map(|(low, high)| two(op, *low, high)).collect();
                    }
                    values[0]
                }
                Algorithm::Tree => {
                    let mut values: Vec<T> = (0..ranks).map(x).collect();
                    while values.len() > 1 {
                        values = values
                            .chunks(2)
                            .map(|pair| match pair {
                                [a, b] => two(op, *a, *b),
                                _ => pair[0],
                            })
                            .collect();
                    }
                    values[0]
                }
            };
            if op == Op::Mean {
                T::narrow(reduced.wide() / Sum::<T>::of(ranks as f64))
            } else {
                reduced
            }
        })
        .collect()
}

fn two<T: Element>(op: Op, a: T, b: T) -> T {
    let (x, y) = (a.wide(), b.wide());
    let negative = |value: Sum<T>| value.to_f64().is_sign_negative();
    match op {
        Op::Sum | Op::Mean => T::narrow(x + y),
        Op::Prod => T::narrow(x * y),
        // A NaN is the only value that differs from itself.
        Op::Min | Op::Max if x != x => a,
        Op::Min | Op::Max if y != y => b,
        Op::Min if x < y || (x == y && negative(x)) => a,
        Op::Max if x > y || (x == y && !negative(x)) => a,
        Op::Min | Op::Max => b,
    }
}
