//! A register of equal numbers: what the kernels are written in, once for every instruction set.
//!
//! `x86` has the registers of AVX-512 and AVX2; here are plain numbers for the rest. Powers of two follow one plan: x = n + f with n whole and |f| <= 1/2, 2^f by a polynomial that is
//! exactly 1 at 0, and n into the exponent. The polynomial for f32 has degree 6 (Chebyshev nodes,
//! relative error 1e-8, far below the rounding of f32), that for f64 is Taylor's of degree 13
//! (4e-18). NaN stays NaN, minus infinity gives 0. Results below the least normal number may be 0.

use crate::linear::Real;

/// A register of [`Lanes::COUNT`] numbers.
///
/// # Safety
/// All functions: the instruction set that the type is named for must be there; `load` and `store`
/// need `COUNT` numbers at the address.
pub(super) trait Lanes: Copy {
    type Number: Real;
    const COUNT: usize;
    /// The tile of a product that stays in registers: so many rows by so many registers.
    const TILE_ROWS: usize;
    const TILE_COLUMNS: usize;

    unsafe fn splat(value: Self::Number) -> Self;
    unsafe fn load(from: *const Self::Number) -> Self;
    unsafe fn store(self, into: *mut Self::Number);
    /// `self * by + plus`, rounded once where the instruction set can.
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self;
    unsafe fn plus(self, other: Self) -> Self;
    unsafe fn minus(self, other: Self) -> Self;
    unsafe fn times(self, other: Self) -> Self;
    /// The greater; `other` when one of them is NaN.
    unsafe fn most(self, other: Self) -> Self;
    unsafe fn exp2(self) -> Self;
    /// Of all lanes, in one fixed order.
    unsafe fn sum(self) -> Self::Number;
    unsafe fn maximum(self) -> Self::Number;

    /// A square of `COUNT` rows and columns, `stride` apart, to its mirror image.
    #[inline(always)]
    #[expect(
        clippy::multiple_unsafe_ops_per_block,
        reason = "one loop over addresses that the caller vouches for"
    )]
    unsafe fn transpose(from: *const Self::Number, stride: usize, into: *mut Self::Number, into_stride: usize) {
        for k in 0..Self::COUNT {
            for row in 0..Self::COUNT {
                // SAFETY: the caller's contract.
                unsafe { *into.add(k * into_stride + row) = *from.add(row * stride + k) };
            }
        }
    }
}

/// Halves added or compared until one number is left.
macro_rules! folds {
    ($number:ty, $count:expr) => {
        #[inline(always)]
        unsafe fn sum(self) -> $number {
            let mut all = [0.0; $count];
            // SAFETY: `all` has room for all lanes.
            unsafe { self.store(all.as_mut_ptr()) };
            let mut half = $count / 2;
            while half > 0 {
                for at in 0..half {
                    all[at] += all[at + half];
                }
                half /= 2;
            }
            all[0]
        }

        #[inline(always)]
        unsafe fn maximum(self) -> $number {
            let mut all = [0.0; $count];
            // SAFETY: `all` has room for all lanes.
            unsafe { self.store(all.as_mut_ptr()) };
            let mut half = $count / 2;
            while half > 0 {
                for at in 0..half {
                    all[at] = if all[at] > all[at + half] {
                        all[at]
                    } else {
                        all[at + half]
                    };
                }
                half /= 2;
            }
            all[0]
        }
    };
}

pub(super) use folds;

/// Plain numbers, for processors with none of the above; the compiler makes of it what it can.
#[derive(Clone, Copy)]
pub(super) struct Plain<R>([R; 8]);

macro_rules! plain {
    ($number:ty) => {
        impl Lanes for Plain<$number> {
            type Number = $number;
            const COUNT: usize = 8;
            const TILE_ROWS: usize = 2;
            const TILE_COLUMNS: usize = 1;
            folds! {$number, 8}

            #[inline(always)]
            unsafe fn splat(value: $number) -> Self {
                Self([value; 8])
            }

            #[inline(always)]
            unsafe fn load(from: *const $number) -> Self {
                // SAFETY: the caller has eight numbers there; arrays of them are aligned as they are.
                Self(unsafe { *from.cast() })
            }

            #[inline(always)]
            unsafe fn store(self, into: *mut $number) {
                // SAFETY: as for `load`.
                unsafe { *into.cast() = self.0 }
            }

            #[inline(always)]
            unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
                Self(std::array::from_fn(|at| self.0[at] * by.0[at] + plus.0[at]))
            }

            #[inline(always)]
            unsafe fn plus(self, other: Self) -> Self {
                Self(std::array::from_fn(|at| self.0[at] + other.0[at]))
            }

            #[inline(always)]
            unsafe fn minus(self, other: Self) -> Self {
                Self(std::array::from_fn(|at| self.0[at] - other.0[at]))
            }

            #[inline(always)]
            unsafe fn times(self, other: Self) -> Self {
                Self(std::array::from_fn(|at| self.0[at] * other.0[at]))
            }

            #[inline(always)]
            unsafe fn most(self, other: Self) -> Self {
                Self(std::array::from_fn(|at| {
                    if self.0[at] > other.0[at] {
                        self.0[at]
                    } else {
                        other.0[at]
                    }
                }))
            }

            #[inline(always)]
            unsafe fn exp2(self) -> Self {
                Self(self.0.map(<$number>::exp2))
            }
        }
    };
}

plain!(f32);
plain!(f64);
