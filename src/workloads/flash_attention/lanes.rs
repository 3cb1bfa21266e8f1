//! A register of equal numbers: what the kernels are written in, once for every instruction set.
//!
//! Powers of two follow one plan: x = n + f with n whole and |f| <= 1/2, 2^f by a polynomial that is
//! exactly 1 at 0, and n into the exponent. The polynomial for f32 has degree 6 (Chebyshev nodes,
//! relative error 1e-8, far below the rounding of f32), that for f64 is Taylor's of degree 13
//! (4e-18). NaN stays NaN, minus infinity gives 0. Results below the least normal number may be 0.

use std::arch::x86_64::*;

use crate::linear::Real;

/// A register of [`Lanes::COUNT`] numbers.
///
/// # Safety
/// All functions: the instruction set that the type is named for must be there; `load` and `store`
/// need `COUNT` numbers at the address.
#[expect(clippy::missing_safety_doc, reason = "said once, above")]
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

/// 2^f = 1 + f (c0 + f (c1 + ...)).
const EXP2_F32: [f32; 6] = [
    0.693_147_2,
    0.240_226_5,
    0.055_503_57,
    0.009_618_083,
    0.001_339_086_3,
    0.000_154_531_63,
];

const EXP2_F64: [f64; 13] = [
    0.693_147_180_559_945_3,
    0.240_226_506_959_100_7,
    0.055_504_108_664_821_576,
    0.009_618_129_107_628_477,
    0.001_333_355_814_642_844_3,
    0.000_154_035_303_933_816_06,
    1.525_273_380_405_983_8e-5,
    1.321_548_679_014_430_5e-6,
    1.017_808_600_923_969_7e-7,
    7.054_911_620_801_121e-9,
    4.445_538_271_870_81e-10,
    2.567_843_599_348_819_6e-11,
    1.369_148_885_390_412_4e-12,
];

/// The polynomial above at `f`.
macro_rules! power {
    ($lanes:ty, $f:expr, $coefficients:expr) => {{
        let f = $f;
        let mut value = <$lanes>::splat($coefficients[$coefficients.len() - 1]);
        for c in $coefficients.iter().rev().skip(1) {
            value = value.mul_add(f, <$lanes>::splat(*c));
        }
        value.mul_add(f, <$lanes>::splat(1.0))
    }};
}

/// The functions that are one instruction.
macro_rules! instructions {
    ($number:ty, $splat:ident, $load:ident, $store:ident, $fmadd:ident, $add:ident, $sub:ident, $mul:ident, $max:ident) => {
        type Number = $number;

        #[inline(always)]
        unsafe fn splat(value: $number) -> Self {
            // SAFETY: the trait's contract: the instruction set is there.
            Self(unsafe { $splat(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const $number) -> Self {
            // SAFETY: as above, and the caller has so many numbers there.
            Self(unsafe { $load(from) })
        }

        #[inline(always)]
        unsafe fn store(self, into: *mut $number) {
            // SAFETY: as for `load`.
            unsafe { $store(into, self.0) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
            // SAFETY: the trait's contract.
            Self(unsafe { $fmadd(self.0, by.0, plus.0) })
        }

        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            // SAFETY: the trait's contract.
            Self(unsafe { $add(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn minus(self, other: Self) -> Self {
            // SAFETY: the trait's contract.
            Self(unsafe { $sub(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn times(self, other: Self) -> Self {
            // SAFETY: the trait's contract.
            Self(unsafe { $mul(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn most(self, other: Self) -> Self {
            // SAFETY: the trait's contract.
            Self(unsafe { $max(self.0, other.0) })
        }
    };
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

#[derive(Clone, Copy)]
pub(super) struct F32x16(__m512);

impl Lanes for F32x16 {
    const COUNT: usize = 16;
    const TILE_ROWS: usize = 6;
    const TILE_COLUMNS: usize = 4;
    instructions! {f32, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps, _mm512_add_ps,
    _mm512_sub_ps, _mm512_mul_ps, _mm512_max_ps}

    #[inline(always)]
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one formula")]
    unsafe fn exp2(self) -> Self {
        // SAFETY: the trait's contract. The bound comes first so that NaN stays.
        unsafe {
            let x = Self::splat(-160.0).most(self);
            let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x.0);
            let value = power!(Self, x.minus(Self(n)), EXP2_F32);
            Self(_mm512_scalef_ps(value.0, n))
        }
    }

    /// By quarters: pairs of rows, then fours, then sixteen.
    #[inline(always)]
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one network of shuffles")]
    unsafe fn transpose(from: *const f32, stride: usize, into: *mut f32, into_stride: usize) {
        // SAFETY: the trait's contract.
        unsafe {
            let mut rows = [_mm512_setzero_ps(); 16];
            for (at, row) in rows.iter_mut().enumerate() {
                *row = _mm512_loadu_ps(from.add(at * stride));
            }
            let mut pairs = [_mm512_setzero_ps(); 16];
            for at in 0..8 {
                pairs[2 * at] = _mm512_unpacklo_ps(rows[2 * at], rows[2 * at + 1]);
                pairs[2 * at + 1] = _mm512_unpackhi_ps(rows[2 * at], rows[2 * at + 1]);
            }
            // fours[4g + c]: columns c, c + 4, c + 8, c + 12 of rows 4g to 4g + 3.
            let mut fours = [_mm512_setzero_ps(); 16];
            for at in 0..4 {
                let low = (_mm512_castps_pd(pairs[4 * at]), _mm512_castps_pd(pairs[4 * at + 2]));
                let high = (_mm512_castps_pd(pairs[4 * at + 1]), _mm512_castps_pd(pairs[4 * at + 3]));
                fours[4 * at] = _mm512_castpd_ps(_mm512_unpacklo_pd(low.0, low.1));
                fours[4 * at + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low.0, low.1));
                fours[4 * at + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high.0, high.1));
                fours[4 * at + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high.0, high.1));
            }
            for c in 0..4 {
                let (a, b, d, e) = (fours[c], fours[4 + c], fours[8 + c], fours[12 + c]);
                let ab_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
                let ab_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
                let de_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(d, e);
                let de_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(d, e);
                let columns = [
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_even, de_even),
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_odd, de_odd),
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_even, de_even),
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_odd, de_odd),
                ];
                for (n, column) in columns.into_iter().enumerate() {
                    _mm512_storeu_ps(into.add((4 * n + c) * into_stride), column);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_reduce_add_ps(self.0) }
    }

    #[inline(always)]
    unsafe fn maximum(self) -> f32 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_reduce_max_ps(self.0) }
    }
}

#[derive(Clone, Copy)]
pub(super) struct F64x8(__m512d);

impl Lanes for F64x8 {
    const COUNT: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_COLUMNS: usize = 4;
    instructions! {f64, _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_fmadd_pd, _mm512_add_pd,
    _mm512_sub_pd, _mm512_mul_pd, _mm512_max_pd}
    folds! {f64, 8}

    #[inline(always)]
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one formula")]
    unsafe fn exp2(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let x = Self::splat(-1100.0).most(self);
            let n = _mm512_roundscale_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x.0);
            let value = power!(Self, x.minus(Self(n)), EXP2_F64);
            Self(_mm512_scalef_pd(value.0, n))
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct F32x8(__m256);

impl Lanes for F32x8 {
    const COUNT: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_COLUMNS: usize = 2;
    instructions! {f32, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps, _mm256_add_ps,
    _mm256_sub_ps, _mm256_mul_ps, _mm256_max_ps}
    folds! {f32, 8}

    #[inline(always)]
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one formula")]
    unsafe fn exp2(self) -> Self {
        // SAFETY: the trait's contract. From -127 on the exponent's bits are 0, and so is the result;
        // at 128 they are those of infinity.
        unsafe {
            let x = Self(_mm256_min_ps(_mm256_set1_ps(128.0), Self::splat(-127.0).most(self).0));
            let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x.0);
            let value = power!(Self, x.minus(Self(n)), EXP2_F32);
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            value.times(Self(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))))
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct F64x4(__m256d);

impl Lanes for F64x4 {
    const COUNT: usize = 4;
    const TILE_ROWS: usize = 6;
    const TILE_COLUMNS: usize = 2;
    instructions! {f64, _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_fmadd_pd, _mm256_add_pd,
    _mm256_sub_pd, _mm256_mul_pd, _mm256_max_pd}
    folds! {f64, 4}

    #[inline(always)]
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one formula")]
    unsafe fn exp2(self) -> Self {
        // SAFETY: the trait's contract. Adding 1.5 * 2^52 leaves the rounded number in the lowest bits.
        unsafe {
            let x = Self(_mm256_min_pd(_mm256_set1_pd(1024.0), Self::splat(-1023.0).most(self).0));
            let shift = Self::splat(6_755_399_441_055_744.0);
            let shifted = x.plus(shift);
            let value = power!(Self, x.minus(shifted.minus(shift)), EXP2_F64);
            let exponent = _mm256_add_epi64(_mm256_castpd_si256(shifted.0), _mm256_set1_epi64x(1023));
            value.times(Self(_mm256_castsi256_pd(_mm256_slli_epi64::<52>(exponent))))
        }
    }
}

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
