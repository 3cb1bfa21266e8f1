//! Real-number arithmetic on f64: sums and products without any loss.
//!
//! Two forms. An [`Expansion`] is an unevaluated sum of f64 that do not overlap, however many it
//! takes (Shewchuk, "Adaptive Precision Floating-Point Arithmetic and Fast Robust Geometric
//! Predicates", 1997): the sign of a polynomial in the coordinates is exactly the sign of its last
//! part. A [`Double`] is a sum of two, about 32 digits: what quotients and roots are worked out in,
//! to be rounded once at the end. Both are for the rare case and the last step; the common case is
//! settled by a plain f64 and its error bound.

use std::cmp::Ordering;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// The rounded sum and what the rounding lost.
#[inline]
pub(super) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let from_b = sum - a;
    let from_a = sum - from_b;
    (sum, (a - from_a) + (b - from_b))
}

/// The same for |a| >= |b|.
#[inline]
fn fast_two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    (sum, b - (sum - a))
}

/// The rounded product and what the rounding lost, by Dekker's splitting: no fused instruction needed.
#[inline]
pub(super) fn two_product(a: f64, b: f64) -> (f64, f64) {
    let split = |value: f64| {
        let spread = 134_217_729.0 * value;
        let high = spread - (spread - value);
        (high, value - high)
    };
    let product = a * b;
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    let low = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low);
    (product, low)
}

/// An exact number: the sum of the parts, least first, none of them 0, no two overlapping.
#[derive(Clone, Debug, Default)]
pub(super) struct Expansion(Vec<f64>);

impl Expansion {
    pub(super) fn plus_f64(&mut self, value: f64) {
        let mut carry = value;
        self.0.retain_mut(|part| {
            let (sum, lost) = two_sum(carry, *part);
            carry = sum;
            *part = lost;
            lost != 0.0
        });
        if carry != 0.0 {
            self.0.push(carry);
        }
    }

    fn times_f64(&self, by: f64) -> Expansion {
        let mut scaled = Expansion::default();
        for part in &self.0 {
            let (high, low) = two_product(*part, by);
            scaled.plus_f64(low);
            scaled.plus_f64(high);
        }
        scaled
    }

    pub(super) fn sign(&self) -> Ordering {
        let last = self.0.last().copied().unwrap_or(0.0);
        last.partial_cmp(&0.0).unwrap_or(Ordering::Equal)
    }

    /// Rounded to two parts.
    pub(super) fn rounded(&self) -> Double {
        self.0
            .iter()
            .fold(Double::default(), |sum, part| sum + Double::from(*part))
    }
}

impl From<(f64, f64)> for Expansion {
    fn from((high, low): (f64, f64)) -> Expansion {
        let mut sum = Expansion::default();
        sum.plus_f64(low);
        sum.plus_f64(high);
        sum
    }
}

impl Add for &Expansion {
    type Output = Expansion;

    fn add(self, other: &Expansion) -> Expansion {
        let mut sum = self.clone();
        for part in &other.0 {
            sum.plus_f64(*part);
        }
        sum
    }
}

impl Sub for &Expansion {
    type Output = Expansion;

    fn sub(self, other: &Expansion) -> Expansion {
        let mut sum = self.clone();
        for part in &other.0 {
            sum.plus_f64(-part);
        }
        sum
    }
}

impl Mul for &Expansion {
    type Output = Expansion;

    fn mul(self, other: &Expansion) -> Expansion {
        let scaled = other.0.iter().map(|part| self.times_f64(*part));
        scaled.reduce(|sum, term| &sum + &term).unwrap_or_default()
    }
}

/// Two f64 that do not overlap: a relative error of about 2^-104 for each operation, but not for a
/// difference of almost equal numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Double {
    high: f64,
    low: f64,
}

impl Double {
    pub(super) fn value(self) -> f64 {
        self.high
    }

    pub(super) fn sqrt(self) -> Double {
        if self.high <= 0.0 {
            return Double::default();
        }
        let root = self.high.sqrt();
        // One step of Newton's: the rest, over twice the root.
        let rest = self - Double::from(two_product(root, root));
        Double::from(root) + Double::from(rest.high / (2.0 * root))
    }
}

impl From<f64> for Double {
    fn from(value: f64) -> Double {
        Double { high: value, low: 0.0 }
    }
}

impl From<(f64, f64)> for Double {
    fn from((high, low): (f64, f64)) -> Double {
        let (high, low) = fast_two_sum(high, low);
        Double { high, low }
    }
}

impl Neg for Double {
    type Output = Double;

    fn neg(self) -> Double {
        Double {
            high: -self.high,
            low: -self.low,
        }
    }
}

impl Add for Double {
    type Output = Double;

    fn add(self, other: Double) -> Double {
        let (high, low) = two_sum(self.high, other.high);
        let (middle, least) = two_sum(self.low, other.low);
        let (high, low) = fast_two_sum(high, low + middle);
        Double::from((high, low + least))
    }
}

impl Sub for Double {
    type Output = Double;

    fn sub(self, other: Double) -> Double {
        self + -other
    }
}

impl Mul for Double {
    type Output = Double;

    fn mul(self, other: Double) -> Double {
        let (high, low) = two_product(self.high, other.high);
        Double::from((high, low + (self.high * other.low + self.low * other.high)))
    }
}

impl Div for Double {
    type Output = Double;

    fn div(self, by: Double) -> Double {
        let first = self.high / by.high;
        let rest = self - by * Double::from(first);
        let second = rest.high / by.high;
        let rest = rest - by * Double::from(second);
        let third = rest.high / by.high;
        Double::from((first, second)) + Double::from(third)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(value: i128) -> Expansion {
        // Four parts of 32 bits.
        let mut sum = Expansion::default();
        for part in 0..4 {
            let bits = (value.unsigned_abs() >> (32 * part)) & 0xFFFF_FFFF;
            let sign = if value < 0 { -1.0 } else { 1.0 };
            sum.plus_f64(sign * bits as f64 * f64::from(part * 32).exp2());
        }
        sum
    }

    proptest! {
        #[test]
        fn sums_and_products_lose_nothing(a in any::<i64>(), b in any::<i64>(), c in any::<i64>(), d in any::<i64>()) {
            let [a, b, c, d] = [a, b, c, d].map(i128::from);
            let exact = &(&whole(a) * &whole(b)) + &(&whole(c) * &whole(d));
            // Halved, so that the sum fits.
            let odd = a * b % 2 + c * d % 2;
            let known = a * b / 2 + c * d / 2 + odd / 2;
            let rest = &exact - &(&whole(known) + &whole(known));
            let left = odd % 2;
            prop_assert_eq!((&rest - &whole(left)).sign(), Ordering::Equal);
        }

        #[test]
        fn a_quotient_and_a_root_have_thirty_digits(a in 1.0..1e9_f64, b in 1.0..1e9_f64) {
            let quotient = Double::from(a) / Double::from(b);
            let back = quotient * Double::from(b) - Double::from(a);
            prop_assert!(back.value().abs() <= a * 1e-30, "{back:?}");
            let root = Double::from(a).sqrt();
            prop_assert!((root * root - Double::from(a)).value().abs() <= a * 1e-30);
        }
    }

    #[test]
    fn nothing_is_left_of_a_number_less_itself() {
        let mut sum = Expansion::default();
        for value in [1e60, 0.1, -1e-30, -1e60, 1e-30, -0.1] {
            sum.plus_f64(value);
        }
        assert_eq!(sum.sign(), Ordering::Equal);
        assert_eq!(Double::default().sqrt().value(), 0.0);
    }
}
