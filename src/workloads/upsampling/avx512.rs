//! The passes over rows with AVX-512: 16 floats or 64 bytes at a time, and stores past the cache.
//!
//! An output much larger than the cache is written by stores that go to memory in whole lines
//! (`stream`); a row's first and last pixels, which share a line with other rows, are stored as usual.

use std::arch::x86_64::*;

use super::rows::{Spreader, combine_bytes_plain, combine_plain, half_unit};

/// Sixteen floats of a row from `at` on.
#[inline]
#[target_feature(enable = "avx512f")]
fn floats(row: &[f32], at: usize) -> __m512 {
    let part = &row[at..at + 16];
    // SAFETY: `part` is 16 floats long.
    unsafe { _mm512_loadu_ps(part.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn ints(table: &[i32], at: usize) -> __m512i {
    let part = &table[at..at + 16];
    // SAFETY: `part` is 16 integers of four bytes long.
    unsafe { _mm512_loadu_si512(part.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn bytes(row: &[u8], at: usize) -> __m512i {
    let part = &row[at..at + 64];
    // SAFETY: `part` is 64 bytes long.
    unsafe { _mm512_loadu_si512(part.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn shorts(table: &[i16], at: usize) -> __m512i {
    let part = &table[at..at + 32];
    // SAFETY: `part` is 32 integers of two bytes long.
    unsafe { _mm512_loadu_si512(part.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
pub(super) fn spread_f32(spreader: &Spreader<f32>, source: &[f32], into: &mut [f32]) {
    match (spreader.axis.taps, spreader.window) {
        (1, 16) => spread_taps::<1, false>(spreader, source, into),
        (1, _) => spread_taps::<1, true>(spreader, source, into),
        (2, 16) => spread_taps::<2, false>(spreader, source, into),
        (2, _) => spread_taps::<2, true>(spreader, source, into),
        (_, 16) => spread_taps::<4, false>(spreader, source, into),
        _ => spread_taps::<4, true>(spreader, source, into),
    }
}

#[target_feature(enable = "avx512f")]
fn spread_taps<const K: usize, const WIDE: bool>(spreader: &Spreader<f32>, source: &[f32], into: &mut [f32]) {
    let places = spreader.places.chunks_exact(16 * K);
    let weights = spreader.weights.chunks_exact(16 * K);
    let blocks = spreader.base.iter().zip(places.zip(weights));
    for ((base, (places, weights)), into) in blocks.zip(into.chunks_exact_mut(16)) {
        let low = floats(source, *base as usize);
        let high = if WIDE { floats(source, *base as usize + 16) } else { low };
        let mut sum = _mm512_setzero_ps();
        for tap in 0..K {
            let places = ints(places, tap * 16);
            let value = if WIDE {
                _mm512_permutex2var_ps(low, places, high)
            } else {
                _mm512_permutexvar_ps(places, low)
            };
            sum = match (K, tap) {
                (1, _) => value,
                (_, 0) => _mm512_mul_ps(value, floats(weights, tap * 16)),
                _ => _mm512_fmadd_ps(value, floats(weights, tap * 16), sum),
            };
        }
        // SAFETY: `into` is 16 floats long.
        unsafe { _mm512_storeu_ps(into.as_mut_ptr(), sum) };
    }
}

#[target_feature(enable = "avx512f")]
pub(super) fn combine_f32(rows: &[&[f32]], weights: &[f32], into: &mut [f32], stream: bool) {
    match (rows, weights) {
        (&[row], _) => combine_rows([row], [1.0], into, stream),
        (&[a, b], &[v, w]) => combine_rows([a, b], [v, w], into, stream),
        (&[a, b, c, d], &[p, q, r, s]) => combine_rows([a, b, c, d], [p, q, r, s], into, stream),
        _ => combine_plain::<true>(rows, weights, into),
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn weigh<const K: usize>(rows: &[&[f32]; K], weights: &[__m512; K], at: usize) -> __m512 {
    let mut sum = floats(rows[0], at);
    if K > 1 {
        sum = _mm512_mul_ps(sum, weights[0]);
    }
    for k in 1..K {
        sum = _mm512_fmadd_ps(floats(rows[k], at), weights[k], sum);
    }
    sum
}

#[target_feature(enable = "avx512f")]
fn combine_rows<const K: usize>(rows: [&[f32]; K], weights: [f32; K], into: &mut [f32], stream: bool) {
    let mut wide = [_mm512_setzero_ps(); K];
    for (wide, weight) in wide.iter_mut().zip(weights) {
        *wide = _mm512_set1_ps(weight);
    }
    let length = into.len();
    let rows = rows.map(|row| &row[..length + 16]);
    // Up to the first whole line; rows are readable beyond their end, so the lanes that aren't
    // stored may be computed.
    let head = into.as_ptr().align_offset(64).min(length);
    if head > 0 {
        store_some(weigh(&rows, &wide, 0), &mut into[..head]);
    }
    let mut at = head;
    while at + 16 <= length {
        let sum = weigh(&rows, &wide, at);
        let line = &mut into[at..at + 16];
        if stream {
            // SAFETY: `line` is 16 floats long and begins at a multiple of 64 bytes: `head` saw to it.
            unsafe { _mm512_stream_ps(line.as_mut_ptr(), sum) };
        } else {
            // SAFETY: `line` is 16 floats long.
            unsafe { _mm512_storeu_ps(line.as_mut_ptr(), sum) };
        }
        at += 16;
    }
    if at < length {
        store_some(weigh(&rows, &wide, at), &mut into[at..]);
    }
}

/// Two rows in turn. Lines of the output begin wherever `into` does: streamed only when that is a
/// whole line.
#[target_feature(enable = "avx512f")]
pub(super) fn zip_f32(first: &[f32], second: &[f32], into: &mut [f32], stream: bool) {
    let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    let stream = stream && into.as_ptr().align_offset(64) == 0;
    let (lines, rest) = into.as_chunks_mut::<32>();
    for (block, line) in lines.iter_mut().enumerate() {
        let (a, b) = (floats(first, block * 16), floats(second, block * 16));
        let halves = [_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b)];
        for (half, into) in halves.into_iter().zip(line.as_chunks_mut::<16>().0) {
            if stream {
                // SAFETY: `into` is 16 floats long and a whole line, since the row begins with one.
                unsafe { _mm512_stream_ps(into.as_mut_ptr(), half) };
            } else {
                // SAFETY: `into` is 16 floats long.
                unsafe { _mm512_storeu_ps(into.as_mut_ptr(), half) };
            }
        }
    }
    let done = lines.len() * 16;
    for (into, (first, second)) in rest.chunks_exact_mut(2).zip(first[done..].iter().zip(&second[done..])) {
        into.copy_from_slice(&[*first, *second]);
    }
}

/// Stores as many lanes as `into` has room for, less than 16.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_some(value: __m512, into: &mut [f32]) {
    let mask = (1u32 << into.len().min(16)) - 1;
    // SAFETY: the mask has as many lanes as `into` has floats; the others are not touched.
    unsafe { _mm512_mask_storeu_ps(into.as_mut_ptr(), mask as u16, value) };
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn spread_u8(spreader: &Spreader<i16>, source: &[u8], into: &mut [u8]) {
    match spreader.axis.taps {
        1 => {
            for (block, (base, into)) in spreader.base.iter().zip(into.chunks_exact_mut(64)).enumerate() {
                let window = bytes(source, *base as usize);
                let picked = _mm512_permutexvar_epi8(bytes(&spreader.bytes, block * 64), window);
                // SAFETY: `into` is 64 bytes long.
                unsafe { _mm512_storeu_si512(into.as_mut_ptr().cast(), picked) };
            }
        }
        2 => spread_pairs::<1>(spreader, source, into),
        _ => spread_pairs::<2>(spreader, source, into),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn spread_pairs<const PAIRS: usize>(spreader: &Spreader<i16>, source: &[u8], into: &mut [u8]) {
    /// The lower byte of each pair of bytes.
    const LOWER: u64 = 0x5555_5555_5555_5555;
    let precision = _mm_cvtsi32_si128(spreader.axis.precision as i32);
    let half = _mm512_set1_epi32(half_unit(spreader.axis.precision));
    let places = spreader.bytes.chunks_exact(64 * PAIRS);
    let weights = spreader.weights.chunks_exact(32 * PAIRS);
    let blocks = spreader.base.iter().zip(places.zip(weights));
    for ((base, (places, weights)), into) in blocks.zip(into.chunks_exact_mut(16)) {
        let window = bytes(source, *base as usize);
        let mut sum = half;
        for pair in 0..PAIRS {
            let picked = _mm512_maskz_permutexvar_epi8(LOWER, bytes(places, pair * 64), window);
            sum = _mm512_add_epi32(sum, _mm512_madd_epi16(picked, shorts(weights, pair * 32)));
        }
        let sum = _mm512_max_epi32(_mm512_sra_epi32(sum, precision), _mm512_setzero_si512());
        let packed = _mm512_cvtusepi32_epi8(sum);
        // SAFETY: `into` is 16 bytes long.
        unsafe { _mm_storeu_si128(into.as_mut_ptr().cast(), packed) };
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn combine_u8(rows: &[&[u8]], weights: &[i16], precision: u32, into: &mut [u8], stream: bool) {
    match (rows, weights) {
        (&[row], _) if precision == 0 => combine_bytes([row], [], precision, into, stream),
        (&[a, b], &[v, w]) => combine_bytes([a, b], [pair(v, w)], precision, into, stream),
        (&[a, b, c, d], &[p, q, r, s]) => {
            combine_bytes([a, b, c, d], [pair(p, q), pair(r, s)], precision, into, stream);
        }
        _ => combine_bytes_plain(rows, weights, precision, into),
    }
}

/// Two weights as a pair of neighbouring lanes.
fn pair(first: i16, second: i16) -> i32 {
    i32::from(first as u16) | i32::from(second) << 16
}

/// 64 outputs from `at` on: rows two by two, their bytes made 16 bits wide and laid side by side, so
/// that one instruction multiplies and adds a pair. Unpacking and packing both work within
/// quarters of the vector and undo each other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn weigh_bytes<const K: usize, const PAIRS: usize>(
    rows: &[&[u8]; K],
    weights: &[__m512i; PAIRS],
    half: __m512i,
    precision: __m128i,
    at: usize,
) -> __m512i {
    if PAIRS == 0 {
        return bytes(rows[0], at);
    }
    let zero = _mm512_setzero_si512();
    let mut sums = [half; 4];
    for pair in 0..PAIRS {
        let first = bytes(rows[2 * pair], at);
        let second = bytes(rows[2 * pair + 1], at);
        let low = (_mm512_unpacklo_epi8(first, zero), _mm512_unpacklo_epi8(second, zero));
        let high = (_mm512_unpackhi_epi8(first, zero), _mm512_unpackhi_epi8(second, zero));
        let quarters = [
            _mm512_unpacklo_epi16(low.0, low.1),
            _mm512_unpackhi_epi16(low.0, low.1),
            _mm512_unpacklo_epi16(high.0, high.1),
            _mm512_unpackhi_epi16(high.0, high.1),
        ];
        for (sum, quarter) in sums.iter_mut().zip(quarters) {
            *sum = _mm512_add_epi32(*sum, _mm512_madd_epi16(quarter, weights[pair]));
        }
    }
    for sum in &mut sums {
        *sum = _mm512_sra_epi32(*sum, precision);
    }
    // Sums fit 16 bits with a sign after the shift; the last step brings them within a byte.
    _mm512_packus_epi16(
        _mm512_packs_epi32(sums[0], sums[1]),
        _mm512_packs_epi32(sums[2], sums[3]),
    )
}

#[target_feature(enable = "avx512f,avx512bw")]
fn combine_bytes<const K: usize, const PAIRS: usize>(
    rows: [&[u8]; K],
    weights: [i32; PAIRS],
    precision: u32,
    into: &mut [u8],
    stream: bool,
) {
    let mut wide = [_mm512_setzero_si512(); PAIRS];
    for (wide, weight) in wide.iter_mut().zip(weights) {
        *wide = _mm512_set1_epi32(weight);
    }
    let half = _mm512_set1_epi32(half_unit(precision));
    let shift = _mm_cvtsi32_si128(precision as i32);
    let length = into.len();
    let rows = rows.map(|row| &row[..length + 64]);
    let head = into.as_ptr().align_offset(64).min(length);
    if head > 0 {
        store_some_bytes(weigh_bytes(&rows, &wide, half, shift, 0), &mut into[..head]);
    }
    let mut at = head;
    while at + 64 <= length {
        let sum = weigh_bytes(&rows, &wide, half, shift, at);
        let line = &mut into[at..at + 64];
        if stream {
            // SAFETY: `line` is 64 bytes long and begins at a multiple of 64: `head` saw to it.
            unsafe { _mm512_stream_si512(line.as_mut_ptr().cast(), sum) };
        } else {
            // SAFETY: `line` is 64 bytes long.
            unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), sum) };
        }
        at += 64;
    }
    if at < length {
        store_some_bytes(weigh_bytes(&rows, &wide, half, shift, at), &mut into[at..]);
    }
}

/// Stores as many bytes as `into` has room for, less than 64.
#[inline]
#[target_feature(enable = "avx512bw")]
fn store_some_bytes(value: __m512i, into: &mut [u8]) {
    let mask = (1u64 << into.len().min(63)) - 1;
    // SAFETY: the mask has as many lanes as `into` has bytes; the others are not touched.
    unsafe { _mm512_mask_storeu_epi8(into.as_mut_ptr().cast(), mask, value) };
}

/// Makes streamed stores visible to whoever is told next that the output is done.
pub(super) fn settle() {
    // SAFETY: an instruction of SSE, which every x86-64 processor has; it only orders stores.
    unsafe { _mm_sfence() };
}

super::tiles::convolve!(
    "avx512f",
    __m512,
    16,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    3,
    6,
    6
);
