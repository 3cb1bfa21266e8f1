//! Packing with AVX-512: copies where the lanes lie side by side, transpositions in registers where
//! the depth does.

use std::arch::x86_64::*;

use super::blocks::{Lanes, pack_plainly};
use super::convert::x86::{first_16, some_16};
use super::{Element, bf16};

/// A mask of the first `count` lanes of 8; all of them from 8 on.
#[inline]
pub fn first_8(count: usize) -> u8 {
    first_16(count) as u8
}

/// Rows become columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed_16(rows: [__m512; 16]) -> [__m512; 16] {
    let mut pairs = [_mm512_setzero_ps(); 16];
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    // Each quarter of fours[4 i + j] holds four rows of column j of that quarter.
    let mut fours = [_mm512_setzero_ps(); 16];
    for i in 0..4 {
        for half in 0..2 {
            let low = _mm512_castps_pd(pairs[4 * i + half]);
            let high = _mm512_castps_pd(pairs[4 * i + 2 + half]);
            fours[4 * i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            fours[4 * i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    let mut columns = [_mm512_setzero_ps(); 16];
    for j in 0..4 {
        let even_low = _mm512_shuffle_f32x4::<0x88>(fours[j], fours[4 + j]);
        let odd_low = _mm512_shuffle_f32x4::<0xDD>(fours[j], fours[4 + j]);
        let even_high = _mm512_shuffle_f32x4::<0x88>(fours[8 + j], fours[12 + j]);
        let odd_high = _mm512_shuffle_f32x4::<0xDD>(fours[8 + j], fours[12 + j]);
        columns[j] = _mm512_shuffle_f32x4::<0x88>(even_low, even_high);
        columns[8 + j] = _mm512_shuffle_f32x4::<0xDD>(even_low, even_high);
        columns[4 + j] = _mm512_shuffle_f32x4::<0x88>(odd_low, odd_high);
        columns[12 + j] = _mm512_shuffle_f32x4::<0xDD>(odd_low, odd_high);
    }
    columns
}

/// Rows become columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed_8(rows: [__m512d; 8]) -> [__m512d; 8] {
    let mut pairs = [_mm512_setzero_pd(); 8];
    for i in 0..4 {
        pairs[2 * i] = _mm512_unpacklo_pd(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_pd(rows[2 * i], rows[2 * i + 1]);
    }
    let mut columns = [_mm512_setzero_pd(); 8];
    for j in 0..2 {
        let even_low = _mm512_shuffle_f64x2::<0x88>(pairs[j], pairs[2 + j]);
        let odd_low = _mm512_shuffle_f64x2::<0xDD>(pairs[j], pairs[2 + j]);
        let even_high = _mm512_shuffle_f64x2::<0x88>(pairs[4 + j], pairs[6 + j]);
        let odd_high = _mm512_shuffle_f64x2::<0xDD>(pairs[4 + j], pairs[6 + j]);
        columns[j] = _mm512_shuffle_f64x2::<0x88>(even_low, even_high);
        columns[4 + j] = _mm512_shuffle_f64x2::<0xDD>(even_low, even_high);
        columns[2 + j] = _mm512_shuffle_f64x2::<0x88>(odd_low, odd_high);
        columns[6 + j] = _mm512_shuffle_f64x2::<0xDD>(odd_low, odd_high);
    }
    columns
}

/// The widest panel has two vectors. A last vector that reaches over the panel's edge writes into
/// the next step, which is written afterwards, or into the slack.
macro_rules! pack_steps {
    ($lanes:ident, $width:ident, $values:literal, $steps:ident, |$step:ident, $first:ident, $count:ident| $vector:expr, $store:expr) => {
        let $steps = $lanes.depth.div_ceil($values);
        for $step in 0..$steps {
            let mut $first = 0;
            while $first < $width {
                let $count = $lanes.lanes.saturating_sub($first);
                let vector = $vector;
                $store($step * $width + $first, vector);
                $first += 16;
            }
        }
    };
}

/// Packs f32, or halves as f32. As [`super::blocks::Kernel::pack`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
pub unsafe fn pack_widened<T: Element<Sum = f32>>(lanes: &Lanes<T>, into: *mut f32, width: usize) {
    if lanes.lane_stride == 1 {
        pack_steps!(
            lanes,
            width,
            1,
            steps,
            |step, first, count| {
                let from = lanes.from.wrapping_add(step * lanes.depth_stride + first);
                // The panel beside it comes next.
                _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(width).cast());
                // SAFETY: so many lanes can be read.
                unsafe { some_16(from, count) }
            },
            // SAFETY: inside the panel or its slack.
            |at, vector| unsafe { _mm512_storeu_ps(into.add(at), vector) }
        );
    } else if lanes.depth_stride == 1 {
        for step in (0..lanes.depth).step_by(16) {
            let count = lanes.depth - step;
            for first in (0..width).step_by(16) {
                let mut rows = [_mm512_setzero_ps(); 16];
                for (lane, row) in rows.iter_mut().enumerate().take(lanes.lanes.saturating_sub(first)) {
                    let from = lanes.from.wrapping_add((first + lane) * lanes.lane_stride + step);
                    // SAFETY: so many values of the lane can be read.
                    *row = unsafe { some_16(from, count) };
                }
                let columns = transposed_16(rows);
                for (at, column) in columns.into_iter().enumerate().take(count) {
                    // SAFETY: inside the panel or its slack.
                    unsafe { _mm512_storeu_ps(into.add((step + at) * width + first), column) };
                }
            }
        }
    } else {
        // SAFETY: as promised by the caller.
        unsafe { pack_plainly(lanes, into, width, T::wide) }
    }
}

/// Packs bf16 in pairs along the depth, the earlier in the lower half.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
pub unsafe fn pack_pairs(lanes: &Lanes<bf16>, into: *mut u32, width: usize) {
    if lanes.lane_stride == 1 {
        pack_steps!(
            lanes,
            width,
            2,
            steps,
            |step, first, count| {
                let from = lanes.from.wrapping_add(2 * step * lanes.depth_stride + first);
                let next = from.wrapping_add(lanes.depth_stride);
                _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(width).cast());
                _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(width).cast());
                let mask = first_16(count);
                let second_mask = if 2 * step + 1 < lanes.depth { mask } else { 0 };
                // SAFETY: the lanes under the mask can be read.
                let low = unsafe { _mm256_maskz_loadu_epi16(mask, from.cast()) };
                // SAFETY: as above; none at a depth that there isn't.
                let high = unsafe { _mm256_maskz_loadu_epi16(second_mask, next.cast()) };
                _mm512_or_si512(
                    _mm512_cvtepu16_epi32(low),
                    _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high)),
                )
            },
            // SAFETY: inside the panel or its slack.
            |at, vector| unsafe { _mm512_storeu_si512(into.add(at).cast(), vector) }
        );
    } else if lanes.depth_stride == 1 {
        let steps = lanes.depth.div_ceil(2);
        for step in (0..steps).step_by(16) {
            let count = lanes.depth - 2 * step;
            let mask = if count >= 32 { u32::MAX } else { (1 << count) - 1 };
            for first in (0..width).step_by(16) {
                let mut rows = [_mm512_setzero_ps(); 16];
                for (lane, row) in rows.iter_mut().enumerate().take(lanes.lanes.saturating_sub(first)) {
                    let from = lanes.from.wrapping_add((first + lane) * lanes.lane_stride + 2 * step);
                    // SAFETY: the values under the mask can be read.
                    *row = _mm512_castsi512_ps(unsafe { _mm512_maskz_loadu_epi16(mask, from.cast()) });
                }
                let columns = transposed_16(rows);
                for (at, column) in columns.into_iter().enumerate().take(steps - step) {
                    // SAFETY: inside the panel or its slack.
                    unsafe { _mm512_storeu_ps(into.add((step + at) * width + first).cast(), column) };
                }
            }
        }
    } else {
        for step in 0..lanes.depth.div_ceil(2) {
            for lane in 0..width {
                let value = |depth: usize| {
                    if lane >= lanes.lanes || depth >= lanes.depth {
                        return 0;
                    }
                    let from = lanes
                        .from
                        .wrapping_add(lane * lanes.lane_stride + depth * lanes.depth_stride);
                    // SAFETY: a lane at a depth that there is.
                    u32::from(unsafe { from.read() }.to_bits())
                };
                // SAFETY: inside the panel.
                unsafe {
                    into.add(step * width + lane)
                        .write(value(2 * step) | value(2 * step + 1) << 16)
                };
            }
        }
    }
}

/// Packs f64.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
pub unsafe fn pack_f64(lanes: &Lanes<f64>, into: *mut f64, width: usize) {
    if lanes.lane_stride == 1 {
        for step in 0..lanes.depth {
            for first in (0..width).step_by(8) {
                let from = lanes.from.wrapping_add(step * lanes.depth_stride + first);
                _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(width).cast());
                // SAFETY: so many lanes can be read.
                let vector = unsafe { _mm512_maskz_loadu_pd(first_8(lanes.lanes.saturating_sub(first)), from) };
                // SAFETY: inside the panel or its slack.
                unsafe { _mm512_storeu_pd(into.add(step * width + first), vector) };
            }
        }
    } else if lanes.depth_stride == 1 {
        for step in (0..lanes.depth).step_by(8) {
            let count = lanes.depth - step;
            for first in (0..width).step_by(8) {
                let mut rows = [_mm512_setzero_pd(); 8];
                for (lane, row) in rows.iter_mut().enumerate().take(lanes.lanes.saturating_sub(first)) {
                    let from = lanes.from.wrapping_add((first + lane) * lanes.lane_stride + step);
                    // SAFETY: so many values of the lane can be read.
                    *row = unsafe { _mm512_maskz_loadu_pd(first_8(count), from) };
                }
                let columns = transposed_8(rows);
                let mask = first_8(width - first);
                for (at, column) in columns.into_iter().enumerate().take(count) {
                    // SAFETY: inside the panel. The mask keeps off the next step's first lanes, which
                    // were written before these.
                    unsafe { _mm512_mask_storeu_pd(into.add((step + at) * width + first), mask, column) };
                }
            }
        }
    } else {
        // SAFETY: as promised by the caller.
        unsafe { pack_plainly(lanes, into, width, |value| value) }
    }
}
