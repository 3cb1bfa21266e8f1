//! A few rows against many weights, in AVX-512 and AVX2.

use std::arch::x86_64::*;

/// The loops of one level: by fours of outputs, then by groups of rows that fit the registers.
macro_rules! level {
    ($name:ident, $features:literal, $lanes:literal, $group:literal, [$($rows:literal),+],
     $vector:ty, $zero:ident, $all:ident, $some:ident, $fma:ident, $totals:ident) => {
        pub mod $name {
            use super::super::Element;
            use super::super::convert::x86::{$all, $some};
            use super::super::few::{Part, TOGETHER};
            use super::$totals;
            use std::arch::x86_64::*;

            /// # Safety
            ///
            /// The part's lengths fit its memory, and the machine has these instructions.
            #[target_feature(enable = $features)]
            pub unsafe fn outputs<W: Element<Sum = f32>>(part: &Part<W>) {
                let groups = part.rows.div_ceil($group);
                for first in (0..part.count).step_by(TOGETHER) {
                    for group in 0..groups {
                        // As even as can be: of 8 rows 4 and 4, not 6 and 2.
                        let row = part.rows * group / groups;
                        let rows = part.rows * (group + 1) / groups - row;
                        // SAFETY: as promised by the caller.
                        unsafe {
                            if first + TOGETHER <= part.count {
                                match rows {
                                    $($rows => block::<W, $rows, TOGETHER>(part, row, first),)+
                                    _ => unreachable!("a group is that large"),
                                }
                            } else {
                                for output in first..part.count {
                                    match rows {
                                        $($rows => block::<W, $rows, 1>(part, row, output),)+
                                        _ => unreachable!("a group is that large"),
                                    }
                                }
                            }
                        }
                    }
                }
            }

            /// `O` outputs of `R` rows.
            #[target_feature(enable = $features)]
            unsafe fn block<W: Element<Sum = f32>, const R: usize, const O: usize>(
                part: &Part<W>,
                row: usize,
                output: usize,
            ) {
                let inputs = part.inputs.wrapping_add(row * part.width);
                let weights = part.weights.wrapping_add(output * part.width);
                let mut sums = [[$zero(); O]; R];
                let whole = part.width - part.width % $lanes;
                let mut at = 0;
                while at < whole {
                    let mut columns = [$zero(); O];
                    for o in 0..O {
                        let from = weights.wrapping_add(o * part.width + at);
                        // The first rows wait for memory: what the next outputs need is asked for now.
                        if row == 0 {
                            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(O * part.width).cast());
                        }
                        // SAFETY: so many lanes are left of the output's weights.
                        columns[o] = unsafe { $all(from) };
                    }
                    for r in 0..R {
                        // SAFETY: so many lanes are left of the row.
                        let input = unsafe { $all(inputs.wrapping_add(r * part.width + at)) };
                        for o in 0..O {
                            sums[r][o] = $fma(input, columns[o], sums[r][o]);
                        }
                    }
                    at += $lanes;
                }
                if at < part.width {
                    let left = part.width - at;
                    let mut columns = [$zero(); O];
                    for o in 0..O {
                        // SAFETY: so many are left of the output's weights.
                        columns[o] = unsafe { $some(weights.wrapping_add(o * part.width + at), left) };
                    }
                    for r in 0..R {
                        // SAFETY: so many are left of the row.
                        let input = unsafe { $some(inputs.wrapping_add(r * part.width + at), left) };
                        for o in 0..O {
                            sums[r][o] = $fma(input, columns[o], sums[r][o]);
                        }
                    }
                }
                for r in 0..R {
                    // One output is added up as one of four: the order is the same.
                    let four: [$vector; 4] = std::array::from_fn(|o| if o < O { sums[r][o] } else { $zero() });
                    let totals = $totals(four);
                    let to = part.outputs.wrapping_add((row + r) * part.stride + output);
                    if O == TOGETHER {
                        // SAFETY: four outputs of this row.
                        unsafe { _mm_storeu_ps(to, totals) };
                    } else {
                        // SAFETY: an output of this row.
                        unsafe { to.write(_mm_cvtss_f32(totals)) };
                    }
                }
            }
        }
    };
}

level!(
    avx512,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c",
    16,
    6,
    [1, 2, 3, 4, 5, 6],
    __m512,
    _mm512_setzero_ps,
    all_16,
    some_16,
    _mm512_fmadd_ps,
    totals_512
);

level!(
    avx2,
    "avx2,fma,f16c",
    8,
    3,
    [1, 2, 3],
    __m256,
    _mm256_setzero_ps,
    all_8,
    some_8,
    _mm256_fmadd_ps,
    totals_256
);

/// The sum of the lanes of each of four vectors.
#[inline]
#[target_feature(enable = "avx512f")]
fn totals_512([a, b, c, d]: [__m512; 4]) -> __m128 {
    // Quarters of 128 bits, numbered: a0 + a2, a1 + a3, b0 + b2, b1 + b3.
    let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xEE>(a, b));
    let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xEE>(c, d));
    // A quarter for each.
    let four = _mm512_add_ps(
        _mm512_shuffle_f32x4::<0x88>(ab, cd),
        _mm512_shuffle_f32x4::<0xDD>(ab, cd),
    );
    let four = _mm512_add_ps(four, _mm512_permute_ps::<0b01_00_11_10>(four));
    let four = _mm512_add_ps(four, _mm512_permute_ps::<0b10_11_00_01>(four));
    let firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, four))
}

/// The sum of the lanes of each of four vectors.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn totals_256([a, b, c, d]: [__m256; 4]) -> __m128 {
    let four = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps::<1>(four))
}
