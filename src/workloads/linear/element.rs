//! The types a value can be stored in, and the type its sums are kept in.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

pub use half::{bf16, f16};

use super::convert;
use super::level::Level;
use super::product::Multiplied;

/// Lets a kernel for several types choose its instructions when it is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    F32,
    F64,
    F16,
    Bf16,
}

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

    /// The nearest to `value`, ties to even, rounded once: not by way of another type.
    fn nearest(value: f64) -> Self;

    /// [`Element::wide`] of each, as many as both slices hold.
    fn widen_all(from: &[Self], into: &mut [Self::Sum]);

    /// [`Element::narrow`] of each, as many as both slices hold.
    fn narrow_all(from: &[Self::Sum], into: &mut [Self]);
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

            #[inline]
            fn nearest(value: f64) -> $real {
                value as $real
            }

            fn widen_all(from: &[$real], into: &mut [$real]) {
                let count = from.len().min(into.len());
                into[..count].copy_from_slice(&from[..count]);
            }

            fn narrow_all(from: &[$real], into: &mut [$real]) {
                let count = from.len().min(into.len());
                into[..count].copy_from_slice(&from[..count]);
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
    ($half:ident, $widen:ident, $narrow:ident) => {
        impl Element for $half {
            type Sum = f32;
            const NAME: &'static str = stringify!($half);

            #[inline]
            fn wide(self) -> f32 {
                convert::$widen(self)
            }

            #[inline]
            fn narrow(value: f32) -> $half {
                convert::$narrow(value)
            }

            #[inline]
            fn nearest(value: f64) -> $half {
                convert::$narrow(convert::odd_f32(value))
            }

            fn widen_all(from: &[$half], into: &mut [f32]) {
                convert::widen_all(Level::best(), from, into);
            }

            fn narrow_all(from: &[f32], into: &mut [$half]) {
                convert::narrow_all(Level::best(), from, into);
            }
        }
    };
}

half!(f16, widen_f16, narrow_f16);
half!(bf16, widen_bf16, narrow_bf16);
