//! Signs of products and determinants, exact for f64 as they are.
//!
//! What the `robust` crate doesn't have: vectors from anywhere to anywhere, and determinants of
//! three lines. First plain arithmetic with a bound on its error; when that can't tell the sign,
//! expansions (Shewchuk, Adaptive Precision Floating-Point Arithmetic, 1997): a number is the
//! exact sum of f64 that do not overlap, the last of them the greatest.
//!
//! Exact as long as nothing over- or underflows: values 0 or of a magnitude between 1e-90 and 1e90
//! are safe everywhere, and so are their differences.

use std::cmp::Ordering;

use super::Point;

/// Half the distance from 1 to the next f64: the greatest relative error of one operation.
const UNIT: f64 = f64::EPSILON / 2.0;
/// Below this an error bound may itself be spoilt by underflow.
const TINY: f64 = 1e-270;

/// The rounded sum and what the rounding lost.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let from_b = sum - a;
    let from_a = sum - from_b;
    (sum, (a - from_a) + (b - from_b))
}

/// The rounded product and what the rounding lost.
fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    (product, a.mul_add(b, -product))
}

/// An exact number: the sum of its parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Expansion(Vec<f64>);

impl Expansion {
    pub(super) fn of(value: f64) -> Expansion {
        let mut sum = Expansion::default();
        sum.add(value);
        sum
    }

    /// `a` - `b`.
    pub(super) fn difference(a: f64, b: f64) -> Expansion {
        let mut sum = Expansion::of(a);
        sum.add(-b);
        sum
    }

    /// Shewchuk's Grow-Expansion, zeros left out.
    fn add(&mut self, value: f64) {
        let mut carry = value;
        let mut kept = 0;
        for at in 0..self.0.len() {
            let (sum, lost) = two_sum(carry, self.0[at]);
            carry = sum;
            if lost != 0.0 {
                self.0[kept] = lost;
                kept += 1;
            }
        }
        self.0.truncate(kept);
        if carry != 0.0 {
            self.0.push(carry);
        }
    }

    fn add_product(&mut self, a: f64, b: f64) {
        let (product, lost) = two_product(a, b);
        self.add(lost);
        self.add(product);
    }

    pub(super) fn plus(mut self, other: &Expansion) -> Expansion {
        for part in &other.0 {
            self.add(*part);
        }
        self
    }

    pub(super) fn minus(mut self, other: &Expansion) -> Expansion {
        for part in &other.0 {
            self.add(-*part);
        }
        self
    }

    pub(super) fn times(&self, other: &Expansion) -> Expansion {
        let mut product = Expansion::default();
        for a in &self.0 {
            for b in &other.0 {
                product.add_product(*a, *b);
            }
        }
        product
    }

    /// Rounded, within 1 unit in the last place.
    pub(super) fn value(&self) -> f64 {
        self.0.iter().sum()
    }

    /// Against 0: the greatest part outweighs all others together.
    pub(super) fn sign(&self) -> Ordering {
        sign(self.0.last().copied().unwrap_or(0.0))
    }
}

/// Of a number that is known to have the right sign.
pub(super) fn sign(value: f64) -> Ordering {
    value.partial_cmp(&0.0).unwrap_or(Ordering::Equal)
}

/// The sign of `value`, if its error is at most `bound`.
fn certain(value: f64, bound: f64) -> Option<Ordering> {
    if value > bound {
        Some(Ordering::Greater)
    } else if value < -bound {
        Some(Ordering::Less)
    } else {
        None
    }
}

/// The sign of a·d - b·c.
pub(super) fn det2_sign(a: f64, b: f64, c: f64, d: f64) -> Ordering {
    let (left, right) = (a * d, b * c);
    let bound = 4.0 * UNIT * (left.abs() + right.abs()) + TINY;
    certain(left - right, bound).unwrap_or_else(|| {
        let mut exact = Expansion::default();
        exact.add_product(a, d);
        exact.add_product(-b, c);
        exact.sign()
    })
}

/// The value of a·d - b·c within 2 units in the last place (Jeannerod, Louvet, Muller: Further
/// analysis of Kahan's algorithm, 2013).
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
    let magnitude =
        (a.abs() + b.abs()) * r[0].abs() + (c.abs() + d.abs()) * r[1].abs() + (e.abs() + f.abs()) * r[2].abs();
    // As in Shewchuk's orient3d: 7 roundings on the longest way, and one to spare.
    certain(value, 8.0 * UNIT * magnitude + TINY).unwrap_or_else(|| {
        let mut exact = Expansion(Vec::with_capacity(24));
        for (i, j, k) in [(1, 2, 0), (2, 0, 1), (0, 1, 2)] {
            for (x, y) in [(p[i], q[j]), (-p[j], q[i])] {
                let (product, lost) = two_product(x, y);
                exact.add_product(lost, r[k]);
                exact.add_product(product, r[k]);
            }
        }
        exact.sign()
    })
}

/// The cross product of `q` - `p` and `t` - `s`, within 2 units in the last place.
pub(super) fn cross(p: Point, q: Point, s: Point, t: Point) -> f64 {
    let along = |from: f64, to: f64| two_sum(to, -from);
    let product = |(a, a_lost): (f64, f64), (b, b_lost): (f64, f64)| {
        let (high, low) = two_product(a, b);
        (high, low + (a * b_lost + a_lost * b))
    };
    let (left, left_low) = product(along(p.x, q.x), along(s.y, t.y));
    let (right, right_low) = product(along(p.y, q.y), along(s.x, t.x));
    let (high, low) = two_sum(left, -right);
    let value = high + (low + (left_low - right_low));
    // Twice the precision leaves an error of some UNIT² of the products. What is much greater is right.
    if value.abs() > 16.0 * UNIT * (left.abs() + right.abs()) + TINY {
        return value;
    }
    exact_cross(p, q, s, t).value()
}

fn exact_cross(p: Point, q: Point, s: Point, t: Point) -> Expansion {
    let along = |from: f64, to: f64| Expansion::difference(to, from);
    let right = along(p.y, q.y).times(&along(s.x, t.x));
    along(p.x, q.x).times(&along(s.y, t.y)).minus(&right)
}

/// How `t` - `s` lies to `q` - `p`: `Greater` when it points counter-clockwise of it (by less than
/// half a turn), `Equal` when both lie along one line.
pub(super) fn turn(p: Point, q: Point, s: Point, t: Point) -> Ordering {
    let (u, v) = (q - p, t - s);
    let (left, right) = (u.x * v.y, u.y * v.x);
    let bound = 6.0 * UNIT * (left.abs() + right.abs()) + TINY;
    certain(left - right, bound).unwrap_or_else(|| exact_cross(p, q, s, t).sign())
}

/// On which side of the line from `a` to `b` the point `c` lies: `Greater` is left.
pub(super) fn side(a: Point, b: Point, c: Point) -> Ordering {
    let coord = |p: Point| robust::Coord { x: p.x, y: p.y };
    sign(robust::orient2d(coord(a), coord(b), coord(c)))
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
        assert_eq!(
            det3_sign([next, next + f64::EPSILON, 0.0], [1.0, next, 0.0], [0.0, 0.0, 3.0]),
            Ordering::Greater
        );
        assert_eq!(det2(next, next + f64::EPSILON, 1.0, next), f64::EPSILON * f64::EPSILON);
    }

    #[test]
    fn a_turn_between_far_vectors_is_exact() {
        let p = |x, y| Point::new(x, y);
        // The first vector is (1 + 2^-60, 1): its length isn't an f64.
        let tail = -(0.5_f64.powi(60));
        assert_eq!(
            turn(p(tail, 0.0), p(1.0, 1.0), p(0.0, 0.0), p(1.0, 1.0)),
            Ordering::Greater
        );
        assert_eq!(
            turn(p(0.0, 0.0), p(1.0, 1.0), p(tail, 0.0), p(1.0, 1.0)),
            Ordering::Less
        );
        assert_eq!(
            turn(p(tail, 0.0), p(1.0, 1.0), p(tail, 0.0), p(1.0, 1.0)),
            Ordering::Equal
        );
    }

    proptest! {
        /// Small integers times powers of two: i128 knows the answer, and ties are common.
        #[test]
        fn signs_agree_with_integers(v in prop::collection::vec((-9_i128..=9, 0_u32..12), 9)) {
            let whole: Vec<i128> = v.iter().map(|(m, e)| m << e).collect();
            let f: Vec<f64> = whole.iter().map(|w| *w as f64 * 0.5_f64.powi(40)).collect();
            let w = &whole;
            prop_assert_eq!(det2_sign(f[0], f[1], f[2], f[3]), (w[0] * w[3] - w[1] * w[2]).cmp(&0));
            let det = w[0] * (w[4] * w[8] - w[5] * w[7]) - w[1] * (w[3] * w[8] - w[5] * w[6])
                + w[2] * (w[3] * w[7] - w[4] * w[6]);
            prop_assert_eq!(det3_sign([f[0], f[1], f[2]], [f[3], f[4], f[5]], [f[6], f[7], f[8]]), det.cmp(&0));
            let cross = (w[2] - w[0]) * (w[7] - w[5]) - (w[3] - w[1]) * (w[6] - w[4]);
            let at = |i: usize| Point::new(f[i], f[i + 1]);
            prop_assert_eq!(turn(at(0), at(2), at(4), at(6)), cross.cmp(&0));
        }
    }
}
