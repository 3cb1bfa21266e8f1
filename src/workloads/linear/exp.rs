//! e to the power x in f32, for slices and, for kernels that hold values in registers, for vectors.
//!
//! As in Cephes' `expf` (Moshier): x = n ln 2 + r with |r| <= ln 2 / 2, where n ln 2 is taken off in
//! two parts so that nothing of r is lost; a polynomial of degree 6 for e^r; and a scaling by 2^n
//! that also gives subnormal results and infinity. The error is at most 1 unit in the last place
//! against the exact value rounded to f32 (measured over every 61st float, and by the tests over a
//! sample), 2 are promised. e^0 is 1, e^-inf is 0, e^inf is inf, and NaN stays NaN.

use super::level::Level;

/// e^x is infinity in f32 from here on at the latest, and scaling stays in range.
const GREATEST: f32 = 89.0;
/// e^x rounds to 0 from here down at the latest.
const LEAST: f32 = -104.0;
/// ln 2 in two parts; the first has nine bits, so its product with n is exact.
const LN_2_HIGH: f32 = 0.693_359_375;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Of (e^r - 1 - r) / r^2.
const POLYNOMIAL: [f32; 6] = [
    1.987_569_2e-4,
    1.398_199_95e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_55e-1,
    5.000_000_1e-1,
];
/// Added to a float below 2^22 in magnitude, it rounds it to an integer in the last bits.
const ROUNDER: f32 = 12_582_912.0;

/// Each value becomes e to its power.
pub fn exp_all(values: &mut [f32]) {
    exp_minus_at(Level::best(), values, 0.0);
}

/// Each value x becomes e^(x - `less`); gives back their sum. With the greatest value as `less` that
/// is the numerators and the denominator of a softmax. The sum has an order that depends on the length only.
pub fn exp_minus(values: &mut [f32], less: f32) -> f32 {
    exp_minus_at(Level::best(), values, less)
}

fn exp_minus_at(level: Level, values: &mut [f32], less: f32) -> f32 {
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a level is proof of its instructions.
        Level::Avx512 | Level::Avx512Bf16 => unsafe { x86::exp_minus_512(values, less) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { x86::exp_minus_256(values, less) },
        _ => {
            let mut sums = [0.0; 8];
            for values in values.chunks_mut(8) {
                for (value, sum) in values.iter_mut().zip(&mut sums) {
                    *value = exp(*value - less);
                    *sum += *value;
                }
            }
            total(&sums)
        }
    }
}

/// The halves on each other, until one is left.
fn total(sums: &[f32]) -> f32 {
    if let [sum] = sums {
        return *sum;
    }
    let (low, high) = sums.split_at(sums.len() / 2);
    total(low) + total(high)
}

/// Without branches, so that the compiler makes vectors of a loop over it.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // These comparisons keep NaN.
    let x = if x > GREATEST { GREATEST } else { x };
    let x = if x < LEAST { LEAST } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = rounded - ROUNDER;
    let exponent = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed();
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut polynomial = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        polynomial = polynomial * r + coefficient;
    }
    let power = (polynomial * (r * r) + r) + 1.0;
    // Two steps, each within range; at most the second rounds.
    let half = exponent >> 1;
    power * power_of_two(half) * power_of_two(exponent.wrapping_sub(half))
}

#[inline(always)]
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(exponent.wrapping_add(127).cast_unsigned() << 23)
}

#[cfg(target_arch = "x86_64")]
pub use x86::{exp_256, exp_512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The same in vectors.

    use super::*;
    use crate::linear::convert::x86::{first_16, some_8};
    use std::arch::x86_64::*;

    /// Of each lane, as [`exp_all`].
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn exp_512(x: __m512) -> __m512 {
        // The second operand is given back where one is NaN.
        let x = _mm512_max_ps(_mm512_set1_ps(LEAST), x);
        let x = _mm512_min_ps(_mm512_set1_ps(GREATEST), x);
        let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm512_mul_ps(
            x,
            _mm512_set1_ps(std::f32::consts::LOG2_E),
        ));
        let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2_HIGH), x);
        let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2_LOW), r);
        let mut polynomial = _mm512_set1_ps(POLYNOMIAL[0]);
        for coefficient in &POLYNOMIAL[1..] {
            polynomial = _mm512_fmadd_ps(polynomial, r, _mm512_set1_ps(*coefficient));
        }
        let power = _mm512_add_ps(_mm512_fmadd_ps(polynomial, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0));
        _mm512_scalef_ps(power, n)
    }

    /// Of each lane, as [`exp_all`].
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn exp_256(x: __m256) -> __m256 {
        // The second operand is given back where one is NaN.
        let x = _mm256_max_ps(_mm256_set1_ps(LEAST), x);
        let x = _mm256_min_ps(_mm256_set1_ps(GREATEST), x);
        let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm256_mul_ps(
            x,
            _mm256_set1_ps(std::f32::consts::LOG2_E),
        ));
        let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2_HIGH), x);
        let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2_LOW), r);
        let mut polynomial = _mm256_set1_ps(POLYNOMIAL[0]);
        for coefficient in &POLYNOMIAL[1..] {
            polynomial = _mm256_fmadd_ps(polynomial, r, _mm256_set1_ps(*coefficient));
        }
        let power = _mm256_add_ps(_mm256_fmadd_ps(polynomial, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0));
        // Two steps, each within range; at most the second rounds.
        let n = _mm256_cvtps_epi32(n);
        let half = _mm256_srai_epi32::<1>(n);
        let rest = _mm256_sub_epi32(n, half);
        _mm256_mul_ps(_mm256_mul_ps(power, power_of_two_256(half)), power_of_two_256(rest))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn power_of_two_256(exponent: __m256i) -> __m256 {
        let biased = _mm256_add_epi32(exponent, _mm256_set1_epi32(127));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
    pub fn exp_minus_512(values: &mut [f32], less: f32) -> f32 {
        let less = _mm512_set1_ps(less);
        let mut sums = _mm512_setzero_ps();
        for values in values.chunks_mut(16) {
            let mask = first_16(values.len());
            // SAFETY: the lanes under the mask can be read.
            let value = unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) };
            let value = exp_512(_mm512_sub_ps(value, less));
            sums = _mm512_mask_add_ps(sums, mask, sums, value);
            // SAFETY: the lanes under the mask can be written.
            unsafe { _mm512_mask_storeu_ps(values.as_mut_ptr(), mask, value) };
        }
        let mut lanes = [0.0; 16];
        // SAFETY: room for 16.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), sums) };
        total(&lanes)
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn exp_minus_256(values: &mut [f32], less: f32) -> f32 {
        let less = _mm256_set1_ps(less);
        let mut sums = [0.0; 8];
        for values in values.chunks_mut(8) {
            // SAFETY: so many can be read.
            let value = unsafe { some_8(values.as_ptr(), values.len()) };
            let mut powers = [0.0; 8];
            // SAFETY: room for 8.
            unsafe { _mm256_storeu_ps(powers.as_mut_ptr(), exp_256(_mm256_sub_ps(value, less))) };
            for ((value, power), sum) in values.iter_mut().zip(powers).zip(&mut sums) {
                *value = power;
                *sum += power;
            }
        }
        total(&sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many floats lie between two values of the same sign.
    fn apart(a: f32, b: f32) -> u32 {
        a.to_bits().abs_diff(b.to_bits())
    }

    /// Every `step`th float between the ends, both signs.
    fn check(step: usize) {
        for level in Level::all() {
            let mut worst = (0, 0.0);
            let mut xs = Vec::new();
            for first in (0..120_f32.to_bits()).step_by(step << 12) {
                xs.clear();
                for bits in (first..(first + ((step as u32) << 12)).min(120_f32.to_bits())).step_by(step) {
                    xs.extend([f32::from_bits(bits), -f32::from_bits(bits)]);
                }
                let mut powers = xs.clone();
                exp_minus_at(level, &mut powers, 0.0);
                for (x, power) in xs.iter().zip(&powers) {
                    let expected = f64::from(*x).exp() as f32;
                    let ulps = apart(*power, expected);
                    if ulps > worst.0 {
                        worst = (ulps, *x);
                    }
                }
            }
            assert!(worst.0 <= 1, "{level:?}: e^{:e} is {} units off", worst.1, worst.0);
        }
    }

    #[test]
    fn the_error_is_at_most_a_unit_in_the_last_place() {
        check(1999);
    }

    #[test]
    #[ignore = "half a minute: every 61st float"]
    fn the_error_is_at_most_a_unit_over_many_floats() {
        check(61);
    }

    #[test]
    fn the_ends_are_exact() {
        for level in Level::all() {
            let cases = [
                (0.0, 1.0),
                (-0.0, 1.0),
                (f32::INFINITY, f32::INFINITY),
                (f32::NEG_INFINITY, 0.0),
                (88.722_84, 88.722_84_f64.exp() as f32),
                (89.0, f32::INFINITY),
                (1e30, f32::INFINITY),
                (-104.0, 0.0),
                (-1e30, 0.0),
                (f32::MIN_POSITIVE, 1.0),
            ];
            let mut values: Vec<f32> = cases.iter().map(|case| case.0).collect();
            exp_minus_at(level, &mut values, 0.0);
            for ((x, expected), value) in cases.iter().zip(&values) {
                assert!(
                    apart(*value, *expected) <= 1,
                    "{level:?}: e^{x} is {value}, not {expected}"
                );
                if [0.0, 1.0, f32::INFINITY].contains(expected) {
                    assert_eq!(value.to_bits(), expected.to_bits(), "{level:?}: e^{x}");
                }
            }
            let mut nan = [1.0, f32::NAN, 2.0];
            assert!(exp_minus_at(level, &mut nan, 0.0).is_nan());
            assert!(nan[1].is_nan() && !nan[0].is_nan() && !nan[2].is_nan());
        }
    }

    #[test]
    fn every_length_gives_values_and_their_sum() {
        for level in Level::all() {
            for length in 0..70 {
                let xs: Vec<f32> = (0..length).map(|at| (at * 7 % 13) as f32 - 3.0).collect();
                let mut values = xs.clone();
                let sum = exp_minus_at(level, &mut values, 9.0);
                let mut expected = 0.0;
                for (x, value) in xs.iter().zip(&values) {
                    let power = f64::from(x - 9.0).exp();
                    assert!(apart(*value, power as f32) <= 1);
                    expected += power;
                }
                assert!(
                    (f64::from(sum) - expected).abs() <= expected * 1e-6,
                    "{level:?} {length}: {sum}"
                );
            }
        }
    }
}
