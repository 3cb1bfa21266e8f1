//! The passes over rows with AVX2 and fused multiply-add: 8 floats or 32 bytes at a time.

use std::arch::x86_64::*;

use super::rows::{Spreader, combine_bytes_plain, combine_plain, half_unit};

/// Eight floats of a row from `at` on.
#[target_feature(enable = "avx2")]
fn floats(row: &[f32], at: usize) -> __m256 {
    let part = &row[at..at + 8];
    // SAFETY: `part` is eight floats long.
    unsafe { _mm256_loadu_ps(part.as_ptr()) }
}

#[target_feature(enable = "avx2")]
fn ints(table: &[i32], at: usize) -> __m256i {
    let part = &table[at..at + 8];
    // SAFETY: `part` is eight integers long, 32 bytes.
    unsafe { _mm256_loadu_si256(part.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn bytes(table: &[u8], at: usize) -> __m256i {
    let part = &table[at..at + 32];
    // SAFETY: `part` is 32 bytes long.
    unsafe { _mm256_loadu_si256(part.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn shorts(table: &[i16], at: usize) -> __m256i {
    let part = &table[at..at + 16];
    // SAFETY: `part` is 16 integers of two bytes long.
    unsafe { _mm256_loadu_si256(part.as_ptr().cast()) }
}

/// Sixteen bytes of a row, in both halves of a vector.
#[target_feature(enable = "avx2")]
fn window(row: &[u8], at: usize) -> __m256i {
    let part = &row[at..at + 16];
    // SAFETY: `part` is 16 bytes long.
    let window = unsafe { _mm_loadu_si128(part.as_ptr().cast()) };
    _mm256_broadcastsi128_si256(window)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn spread_f32(spreader: &Spreader<f32>, source: &[f32], into: &mut [f32]) {
    match spreader.axis.taps {
        1 => spread_taps::<1>(spreader, source, into),
        2 => spread_taps::<2>(spreader, source, into),
        _ => spread_taps::<4>(spreader, source, into),
    }
}

#[target_feature(enable = "avx2,fma")]
fn spread_taps<const K: usize>(spreader: &Spreader<f32>, source: &[f32], into: &mut [f32]) {
    for (block, (base, into)) in spreader.base.iter().zip(into.chunks_exact_mut(8)).enumerate() {
        let window = floats(source, *base as usize);
        let mut sum = _mm256_setzero_ps();
        for tap in 0..K {
            let at = (block * K + tap) * 8;
            let value = _mm256_permutevar8x32_ps(window, ints(&spreader.places, at));
            sum = match (K, tap) {
                (1, _) => value,
                (_, 0) => _mm256_mul_ps(value, floats(&spreader.weights, at)),
                _ => _mm256_fmadd_ps(value, floats(&spreader.weights, at), sum),
            };
        }
        // SAFETY: `into` is eight floats long.
        unsafe { _mm256_storeu_ps(into.as_mut_ptr(), sum) };
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn combine_f32(rows: &[&[f32]], weights: &[f32], into: &mut [f32]) {
    combine_plain::<true>(rows, weights, into);
}

#[target_feature(enable = "avx2")]
pub(super) fn spread_u8(spreader: &Spreader<i16>, source: &[u8], into: &mut [u8]) {
    match spreader.axis.taps {
        1 => {
            for (block, (base, into)) in spreader.base.iter().zip(into.chunks_exact_mut(32)).enumerate() {
                let picked = _mm256_shuffle_epi8(window(source, *base as usize), bytes(&spreader.bytes, block * 32));
                // SAFETY: `into` is 32 bytes long.
                unsafe { _mm256_storeu_si256(into.as_mut_ptr().cast(), picked) };
            }
        }
        2 => spread_pairs::<1>(spreader, source, into),
        _ => spread_pairs::<2>(spreader, source, into),
    }
}

#[target_feature(enable = "avx2")]
fn spread_pairs<const PAIRS: usize>(spreader: &Spreader<i16>, source: &[u8], into: &mut [u8]) {
    let precision = _mm_cvtsi32_si128(spreader.axis.precision as i32);
    let half = _mm256_set1_epi32(half_unit(spreader.axis.precision));
    for (block, (base, into)) in spreader.base.iter().zip(into.chunks_exact_mut(8)).enumerate() {
        let window = window(source, *base as usize);
        let mut sum = half;
        for pair in 0..PAIRS {
            let vector = block * PAIRS + pair;
            let picked = _mm256_shuffle_epi8(window, bytes(&spreader.bytes, vector * 32));
            let products = _mm256_madd_epi16(picked, shorts(&spreader.weights, vector * 16));
            sum = _mm256_add_epi32(sum, products);
        }
        let sum = _mm256_sra_epi32(sum, precision);
        // Saturates to 16 bits, then to a byte; the halves of the vector are packed apart.
        let words = _mm_packs_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let packed = _mm_packus_epi16(words, words);
        // SAFETY: `into` is 8 bytes long.
        unsafe { _mm_storel_epi64(into.as_mut_ptr().cast(), packed) };
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn combine_u8(rows: &[&[u8]], weights: &[i16], precision: u32, into: &mut [u8]) {
    combine_bytes_plain(rows, weights, precision, into);
}

super::tiles::convolve!(
    "avx2,fma",
    __m256,
    8,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    1,
    3,
    8
);
