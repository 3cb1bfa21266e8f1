//! The types a value can be stored in, and the type its sums are kept in.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

pub use half::{bf16, f16};

use super::product::Multiplied;

/// A stored value. `Sum` is wide enough to add products of such values: f32 for the halves and
/// f32 itself, f64 for f64.
pub trait Element: Multiplied + Copy + Debug + Default + PartialEq + Send + Sync + 'static {
    type Sum: Real;

    /// As cases and parameters call it: `f32`, `bf16`.
    const NAME: &'static str;

    /// Exact.
    fn wide(self) -> Self::Sum;

    /// To the nearest, ties to even; out of range gives an infinity.
    fn narrow(value: Self::Sum) -> Self;

    /// [`Element::wide`] of each.
    fn widen_all(from: &[Self], into: &mut [Self::Sum]) {
        for (into, from) in into.iter_mut().zip(from) {
            *into = from.wide();
        }
    }

    /// [`Element::narrow`] of each.
    fn narrow_all(from: &[Self::Sum], into: &mut [Self]) {
        for (into, from) in into.iter_mut().zip(from) {
            *into = Self::narrow(*from);
        }
    }
}

/// A value that is its own sum: f32 or f64.
pub trait Real:
    Element<Sum = Self>
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    fn of(value: f64) -> Self;
    fn to_f64(self) -> f64;
    fn square_root(self) -> Self;
    fn exponential(self) -> Self;
    fn logarithm(self) -> Self;
}

macro_rules! real {
    ($real:ident) => {
        impl Element for $real {
            type Sum = $real;
            const NAME: &'static str = stringify!($real);

            #[inline]
            fn wide(self) -> $real {
                self
            }

            #[inline]
            fn narrow(value: $real) -> $real {
                value
            }
        }

        impl Real for $real {
            #[inline]
            fn of(value: f64) -> $real {
                value as $real
            }

            #[inline]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            #[inline]
            fn square_root(self) -> $real {
                self.sqrt()
            }

            #[inline]
            fn exponential(self) -> $real {
                self.exp()
            }

            #[inline]
            fn logarithm(self) -> $real {
                self.ln()
            }
        }
    };
}

real!(f32);
real!(f64);

macro_rules! half {
    ($half:ident) => {
        impl Element for $half {
            type Sum = f32;
            const NAME: &'static str = stringify!($half);

            #[inline]
            fn wide(self) -> f32 {
                self.to_f32()
            }

            #[inline]
            fn narrow(value: f32) -> $half {
                $half::from_f32(value)
            }
        }
    };
}

half!(f16);
half!(bf16);
