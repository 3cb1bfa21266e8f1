//! What a reduction is by definition: one element at a time, the algorithms' groupings written as
//! formulas. Shares no code with the exchange but the arithmetic of single values.

use crate::linear::{Element, Real};

use super::plan::{Algorithm, Op};

type Sum<T> = <T as Element>::Sum;

/// The reduced row. The rows are of one length.
#[cfg(test)]
pub(super) fn by_definition<T: Element>(rows: &[Vec<T>], algorithm: Algorithm, op: Op) -> Vec<T> {
    let elements = rows.first().map_or(0, Vec::len);
    (0..elements).map(|at| element(rows, at, algorithm, op)).collect()
}

/// Element `at` of the reduced row.
pub(super) fn element<T: Element>(rows: &[Vec<T>], at: usize, algorithm: Algorithm, op: Op) -> T {
    let (ranks, elements) = (rows.len(), rows[0].len());
    let x = |rank: usize| rows[rank % ranks][at];
    let reduced = match algorithm {
        Algorithm::Ring => {
            // The chunk that holds the element: the last that begins at or before it.
            let begins_by = |c: &usize| (elements as u128 * *c as u128 / ranks as u128) as usize <= at;
            let c = (0..ranks).rev().find(begins_by).unwrap_or(0);
            (1..ranks).fold(x(c), |sum, hop| two(op, sum, x(c + hop)))
        }
        Algorithm::Direct => (1..ranks).fold(x(0), |sum, rank| two(op, sum, x(rank))),
        Algorithm::HalvingDoubling => {
            let core = 1 << ranks.ilog2();
            let fold = |rank: usize| {
                if rank + core < ranks {
                    two(op, x(rank), x(rank + core))
                } else {
                    x(rank)
                }
            };
            let mut values: Vec<T> = (0..core).map(fold).collect();
            while values.len() > 1 {
                let high = values.split_off(values.len() / 2);
                values = values.iter().zip(high).map(|(low, high)| two(op, *low, high)).collect();
            }
            values[0]
        }
        Algorithm::Tree => {
            let mut values: Vec<T> = (0..ranks).map(x).collect();
            while values.len() > 1 {
                let pairs = values.chunks(2).map(|pair| match pair {
                    [a, b] => two(op, *a, *b),
                    _ => pair[0],
                });
                values = pairs.collect();
            }
            values[0]
        }
    };
    if op == Op::Mean {
        T::narrow(reduced.wide() / Sum::<T>::of(ranks as f64))
    } else {
        reduced
    }
}

/// The result as real numbers have it, computed in f64 with a running compensation, and how far
/// from it a value of precision `unit` (half the distance from 1 to the next) may lie.
///
/// N - 1 roundings of sums: ((1 + u)^(N-1) - 1) times the sum of magnitudes (Higham 2002, 4.2), and
/// likewise for products; a mean is rounded once more. Minimum and maximum are exact.
pub(super) fn real(values: &[f64], op: Op, unit: f64) -> (f64, f64) {
    let ranks = values.len() as f64;
    let growth = (1.0 + unit).powf(ranks - 1.0) - 1.0;
    let own = ranks * f64::EPSILON;
    let magnitudes: f64 = values.iter().map(|value| value.abs()).sum();
    match op {
        Op::Sum => (compensated(values), (growth + f64::EPSILON) * magnitudes),
        Op::Mean => (
            compensated(values) / ranks,
            ((growth + f64::EPSILON) * (1.0 + unit) + unit) * magnitudes / ranks,
        ),
        Op::Prod => {
            let product: f64 = values.iter().product();
            (product, (growth + own) * product.abs())
        }
        Op::Min => (values.iter().copied().fold(f64::INFINITY, f64::min), 0.0),
        Op::Max => (values.iter().copied().fold(f64::NEG_INFINITY, f64::max), 0.0),
    }
}

/// Neumaier's sum.
fn compensated(values: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for &value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() {
            (sum - next) + value
        } else {
            (value - next) + sum
        };
        sum = next;
    }
    sum + lost
}

fn two<T: Element>(op: Op, a: T, b: T) -> T {
    let (x, y) = (a.wide(), b.wide());
    let negative = |value: Sum<T>| value.to_f64().is_sign_negative();
    match op {
        Op::Sum | Op::Mean => T::narrow(x + y),
        Op::Prod => T::narrow(x * y),
        Op::Min | Op::Max if x.to_f64().is_nan() => a,
        Op::Min | Op::Max if y.to_f64().is_nan() => b,
        Op::Min if x < y || (x == y && negative(x)) => a,
        Op::Max if x > y || (x == y && !negative(x)) => a,
        Op::Min | Op::Max => b,
    }
}
