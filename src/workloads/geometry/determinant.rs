//! Determinants of two and of three lines: their signs exactly, their values to the last digits.
//!
//! As in `predicate.rs`: first plain arithmetic with a bound on its error, and without any loss when that cannot tell.
//! For the same range of numbers.

use std::cmp::Ordering;

use super::expansion::{Expansion, two_product};

/// Half the distance from 1 to the next f64: the greatest relative error of one operation.
const ROUNDING: f64 = f64::EPSILON / 2.0;

/// The sign of `value`, if its error is at most `bound`.
fn settled(value: f64, bound: f64) -> Option<Ordering> {
    if value > bound {
        Some(Ordering::Greater)
    } else if value < -bound {
        Some(Ordering::Less)
    } else {
        None
    }
}

fn add_product(sum: &mut Expansion, a: f64, b: f64) {
    let (product, lost) = two_product(a, b);
    sum.plus_f64(lost);
    sum.plus_f64(product);
}

/// The sign of a·d - b·c.
pub(super) fn det2_sign(a: f64, b: f64, c: f64, d: f64) -> Ordering {
    let (left, right) = (a * d, b * c);
    settled(left - right, 3.0 * ROUNDING * (left.abs() + right.abs())).unwrap_or_else(|| {
        let mut exact = Expansion::default();
        add_product(&mut exact, a, d);
        add_product(&mut exact, -b, c);
        exact.sign()
    })
}

/// The value of a·d - b·c within 2 units in the last place (Jeannerod, Louvet, Muller: Further analysis of Kahan's
/// algorithm, 2013).
pub(super) fn det2(a: f64, b: f64, c: f64, d: f64) -> f64 {
    let right = b * c;
    let lost = (-b).mul_add(c, right);
    a.mul_add(d, -right) + lost
}

/// The sign of the determinant with rows `p`, `q` and `r`.
pub(super) fn det3_sign(p: [f64; 3], q: [f64; 3], r: [f64; 3]) -> Ordering {
    let products = |i: usize, j: usize| (p[i] * q[j], p[j] * q[i]);
    let ((a, b), (c, d), (e, f)) = (products(1, 2), products(2, 0), products(0, 1));
    let value = (a - b) * r[0] + (c - d) * r[1] + (e - f) * r[2];
    let size = (a.abs() + b.abs()) * r[0].abs() + (c.abs() + d.abs()) * r[1].abs() + (e.abs() + f.abs()) * r[2].abs();
    // As in Shewchuk's orient3d: 7 roundings on the longest way, and one to spare.
    settled(value, 8.0 * ROUNDING * size).unwrap_or_else(|| {
        let mut exact = Expansion::default();
        for (i, j, k) in [(1, 2, 0), (2, 0, 1), (0, 1, 2)] {
            for (x, y) in [(p[i], q[j]), (-p[j], q[i])] {
                let (product, lost) = two_product(x, y);
                add_product(&mut exact, lost, r[k]);
                add_product(&mut exact, product, r[k]);
            }
        }
        exact.sign()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn differences_too_small_for_plain_arithmetic_are_told() {
        let next = 1.0 + f64::EPSILON;
        // next² - (next + EPSILON) = EPSILON², which a rounded product loses.
        assert_eq!(det2_sign(next, next + f64::EPSILON, 1.0, next), Ordering::Greater);
        assert_eq!(det2_sign(next, next, next, next), Ordering::Equal);
        let rows = [[next, next + f64::EPSILON, 0.0], [1.0, next, 0.0], [0.0, 0.0, 3.0]];
        assert_eq!(det3_sign(rows[0], rows[1], rows[2]), Ordering::Greater);
        assert_eq!(det3_sign(rows[1], rows[0], rows[2]), Ordering::Less);
        assert_eq!(det2(next, next + f64::EPSILON, 1.0, next), f64::EPSILON * f64::EPSILON);
    }

    proptest! {
        /// Small whole numbers times powers of two: i128 knows the answer, and ties are common.
        #[test]
        fn signs_and_values_agree_with_integers(v in prop::collection::vec((-9_i128..=9, 0_u32..12), 9)) {
            let w: Vec<i128> = v.iter().map(|(m, e)| m << e).collect();
            let f: Vec<f64> = w.iter().map(|w| *w as f64).collect();
            let det = w[0] * w[3] - w[1] * w[2];
            prop_assert_eq!(det2_sign(f[0], f[1], f[2], f[3]), det.cmp(&0));
            prop_assert_eq!(det2(f[0], f[1], f[2], f[3]), det as f64);
            let det = w[0] * (w[4] * w[8] - w[5] * w[7]) - w[1] * (w[3] * w[8] - w[5] * w[6])
                + w[2] * (w[3] * w[7] - w[4] * w[6]);
            prop_assert_eq!(det3_sign([f[0], f[1], f[2]], [f[3], f[4], f[5]], [f[6], f[7], f[8]]), det.cmp(&0));
        }

        /// Nearly dependent rows: the determinant is less than what plain arithmetic loses on the way.
        #[test]
        fn nearly_dependent_rows_are_told_apart(
            p in prop::array::uniform3(1_i128 << 39..1 << 40),
            e in prop::array::uniform3(-3_i128..=3),
            nudge in prop::array::uniform3(-1_i128..=1),
        ) {
            let q: [i128; 3] = std::array::from_fn(|i| 2 * p[i] + e[i]);
            let r: [i128; 3] = std::array::from_fn(|i| p[i] + q[i] + nudge[i]);
            let det = p[0] * (q[1] * r[2] - q[2] * r[1]) - p[1] * (q[0] * r[2] - q[2] * r[0])
                + p[2] * (q[0] * r[1] - q[1] * r[0]);
            let [p, q, r] = [p, q, r].map(|row| row.map(|value| value as f64));
            prop_assert_eq!(det3_sign(p, q, r), det.cmp(&0));
        }
    }
}
