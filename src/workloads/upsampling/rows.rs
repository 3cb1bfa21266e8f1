//! The two passes over rows that an interpolation is made of, for pixels of f32 and of u8.
//!
//! [`Pixel::spread`] makes an output row's width out of a source row: the horizontal pass.
//! [`Pixel::combine`] weighs such rows into one output row: the vertical pass. Each has a portable
//! form and, on x86-64, one of AVX2 and one of AVX-512. The horizontal pass is bound by finding
//! its pixels, not by arithmetic, so its tables are made for shuffles: a block of outputs reads one
//! window of neighbouring source pixels into a register, and each tap picks its pixels out of it.

use super::axis::{self, Ask, Axis};
use super::level::Level;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// f32 or u8.
pub trait Pixel: Copy + Default + PartialEq + std::fmt::Debug + Send + Sync + 'static + Passes {
    /// As cases and parameters call it.
    const NAME: &'static str;
}

impl Pixel for f32 {
    const NAME: &'static str = "f32";
}

impl Pixel for u8 {
    const NAME: &'static str = "u8";
}

/// The passes of one kind of pixel; sealed, since what a pixel is decides how it is rounded.
pub trait Passes: Sized {
    #[doc(hidden)]
    type Weight: Copy + Default + Send + Sync + 'static;

    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn axis(ask: &Ask) -> Axis<Self::Weight>;

    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn spreader(axis: &Axis<Self::Weight>, level: Level) -> Spreader<Self::Weight>;

    /// The horizontal pass: all of `source`'s row into the first pixels of `into`, which has room
    /// for whole blocks.
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn spread(spreader: &Spreader<Self::Weight>, source: &[Self], into: &mut [Self]);

    /// The vertical pass. Rows are at least [`SLACK`] longer than `into`. `stream` says that `into`
    /// won't be read soon.
    #[doc(hidden)]
    fn combine(
        level: Level,
        rows: &[&[Self]],
        weights: &[Self::Weight],
        precision: u32,
        into: &mut [Self],
        stream: bool,
    );

    /// The values of two rows in turn, into a row of twice their length.
    #[doc(hidden)]
    fn zip(level: Level, first: &[Self], second: &[Self], into: &mut [Self], stream: bool);
}

/// Two rows in turn, for the compiler to vectorise.
fn zip_plain<T: Copy>(first: &[T], second: &[T], into: &mut [T]) {
    for (into, (first, second)) in into.as_chunks_mut::<2>().0.iter_mut().zip(first.iter().zip(second)) {
        *into = [*first, *second];
    }
}

/// How many pixels beyond its end a row may be read or written: the widest vector.
pub(super) const SLACK: usize = 64;

/// The tables of a horizontal pass.
#[derive(Debug)]
pub(super) struct Spreader<W> {
    pub axis: Axis<W>,
    /// The level whose kernel these tables are for; portable when a block's pixels don't fit a window.
    pub level: Level,
    /// Source pixels to a window.
    pub window: usize,
    /// Where the window of each block of outputs begins.
    pub base: Vec<u32>,
    /// f32: for each block and tap, each output's place in the window.
    pub places: Vec<i32>,
    /// u8: for each block, and each one or two taps, where each byte of the vector comes from.
    pub bytes: Vec<u8>,
    /// As the kernel reads them, beside `places` or `bytes`.
    pub weights: Vec<W>,
}

impl<W: Copy + Default> Spreader<W> {
    /// Portable: the axis is its own table.
    fn plain(axis: &Axis<W>) -> Spreader<W> {
        Spreader {
            axis: axis.clone(),
            level: Level::Portable,
            window: 1,
            base: Vec::new(),
            places: Vec::new(),
            bytes: Vec::new(),
            weights: Vec::new(),
        }
    }

    /// Where the windows of blocks of so many outputs begin; `None` when a window is too short for
    /// some block, or the taps are not of a number that has a kernel.
    fn windows(axis: &Axis<W>, lanes: usize, window: usize) -> Option<Vec<u32>> {
        if !matches!(axis.taps, 1 | 2 | 4) || !axis.even() {
            return None;
        }
        axis.index
            .chunks(lanes * axis.taps)
            .map(|block| {
                let least = block.iter().min().copied().unwrap_or(0);
                let most = block.iter().max().copied().unwrap_or(0);
                // A window ends with the row at the latest. Rows shorter than a window are copied
                // to the front of one.
                let base = least.min(axis.input.saturating_sub(window) as u32);
                ((most - base) < window as u32).then_some(base)
            })
            .collect()
    }

    /// Runs a kernel on `source`, or on a copy that fills a window.
    fn with_window<P: Copy + Default>(&self, source: &[P], kernel: impl FnOnce(&[P])) {
        if source.len() < self.window {
            let mut copy = [P::default(); SLACK];
            copy[..source.len()].copy_from_slice(source);
            kernel(&copy[..self.window]);
        } else {
            kernel(source);
        }
    }
}

impl Spreader<f32> {
    /// Tables for windows of `window` pixels and blocks of `lanes`.
    fn with_places(axis: &Axis<f32>, level: Level, lanes: usize, window: usize) -> Option<Spreader<f32>> {
        let base = Self::windows(axis, lanes, window)?;
        let taps = axis.taps;
        let mut places = vec![0; base.len() * taps * lanes];
        let mut weights = vec![0.0; base.len() * taps * lanes];
        for output in 0..axis.output {
            let (block, lane) = (output / lanes, output % lanes);
            let (index, weight) = axis.at(output);
            for tap in 0..taps {
                let at = (block * taps + tap) * lanes + lane;
                places[at] = (index[tap] - base[block]) as i32;
                weights[at] = weight[tap];
            }
        }
        Some(Spreader {
            axis: axis.clone(),
            level,
            window,
            base,
            places,
            bytes: Vec::new(),
            weights,
        })
    }
}

impl Spreader<i16> {
    /// Tables for windows of `window` bytes and vectors of as many bytes as `width`. One tap: a
    /// byte an output. Two or four: pairs of taps, each tap two bytes of which the upper stays 0
    /// (a place above 127).
    fn with_bytes(axis: &Axis<i16>, level: Level, width: usize, window: usize) -> Option<Spreader<i16>> {
        let taps = axis.taps;
        let lanes = if taps == 1 { width } else { width / 4 };
        let base = Self::windows(axis, lanes, window)?;
        let pairs = taps.div_ceil(2);
        let mut bytes = vec![0xFF; base.len() * pairs * width];
        let mut weights = vec![0; if taps == 1 { 0 } else { base.len() * pairs * width / 2 }];
        for output in 0..axis.output {
            let (block, lane) = (output / lanes, output % lanes);
            let (index, weight) = axis.at(output);
            if taps == 1 {
                bytes[output] = (index[0] - base[block]) as u8;
                continue;
            }
            for tap in 0..taps {
                let vector = block * pairs + tap / 2;
                bytes[vector * width + lane * 4 + tap % 2 * 2] = (index[tap] - base[block]) as u8;
                weights[vector * width / 2 + lane * 2 + tap % 2] = weight[tap];
            }
        }
        Some(Spreader {
            axis: axis.clone(),
            level,
            window,
            base,
            places: Vec::new(),
            bytes,
            weights,
        })
    }
}

#[allow(private_interfaces)]
impl Passes for f32 {
    type Weight = f32;

    fn axis(ask: &Ask) -> Axis<f32> {
        axis::of_f32(ask)
    }

    fn spreader(axis: &Axis<f32>, level: Level) -> Spreader<f32> {
        let tables = match level {
            Level::Portable => None,
            Level::Avx2 => Spreader::with_places(axis, level, 8, 8),
            Level::Avx512 => {
                Spreader::with_places(axis, level, 16, 16).or_else(|| Spreader::with_places(axis, level, 16, 32))
            }
        };
        tables.unwrap_or_else(|| Spreader::<f32>::plain(axis))
    }

    fn spread(spreader: &Spreader<f32>, source: &[f32], into: &mut [f32]) {
        match spreader.level {
            Level::Portable => spread_plain(&spreader.axis, source, into),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => spreader.with_window(source, |source| {
                // SAFETY: tables of this level are only made where the processor has AVX2 and FMA.
                unsafe { avx2::spread_f32(spreader, source, into) }
            }),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => spreader.with_window(source, |source| {
                // SAFETY: tables of this level are only made where the processor has AVX-512.
                unsafe { avx512::spread_f32(spreader, source, into) }
            }),
            #[cfg(not(target_arch = "x86_64"))]
            _ => spread_plain(&spreader.axis, source, into),
        }
    }

    fn combine(level: Level, rows: &[&[f32]], weights: &[f32], _: u32, into: &mut [f32], stream: bool) {
        match level {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the level says that the processor has AVX2 and FMA.
            Level::Avx2 => unsafe { avx2::combine_f32(rows, weights, into) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the level says that the processor has AVX-512.
            Level::Avx512 => unsafe { avx512::combine_f32(rows, weights, into, stream) },
            _ => combine_plain::<false>(rows, weights, into),
        }
        let _ = stream;
    }

    fn zip(level: Level, first: &[f32], second: &[f32], into: &mut [f32], stream: bool) {
        match level {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the level says that the processor has AVX-512.
            Level::Avx512 => unsafe { avx512::zip_f32(first, second, into, stream) },
            _ => zip_plain(first, second, into),
        }
        let _ = stream;
    }
}

/// The horizontal pass as it is written.
fn spread_plain(axis: &Axis<f32>, source: &[f32], into: &mut [f32]) {
    for (output, into) in into[..axis.output].iter_mut().enumerate() {
        let (index, weight) = axis.at(output);
        *into = if axis.taps == 1 {
            // A pixel is passed on bit for bit.
            source[index[0] as usize]
        } else {
            let mut sum = weight[0] * source[index[0] as usize];
            for (index, weight) in index.iter().zip(weight).skip(1) {
                sum += weight * source[*index as usize];
            }
            sum
        };
    }
}

/// The vertical pass, for the compiler to vectorise: rows and weights of a number known to it where
/// it is one of the common ones.
#[inline(always)]
pub(super) fn combine_plain<const FUSED: bool>(rows: &[&[f32]], weights: &[f32], into: &mut [f32]) {
    #[inline(always)]
    fn few<const K: usize, const FUSED: bool>(rows: [&[f32]; K], weights: [f32; K], into: &mut [f32]) {
        let length = into.len();
        let rows = rows.map(|row| &row[..length]);
        for x in 0..length {
            let mut sum = weights[0] * rows[0][x];
            for k in 1..K {
                sum = if FUSED {
                    weights[k].mul_add(rows[k][x], sum)
                } else {
                    weights[k] * rows[k][x] + sum
                };
            }
            into[x] = sum;
        }
    }
    match (rows, weights) {
        ([row], _) => into.copy_from_slice(&row[..into.len()]),
        (&[a, b], &[v, w]) => few::<2, FUSED>([a, b], [v, w], into),
        (&[a, b, c, d], &[p, q, r, s]) => few::<4, FUSED>([a, b, c, d], [p, q, r, s], into),
        _ => {
            into.fill(0.0);
            for (row, weight) in rows.iter().zip(weights) {
                for (into, value) in into.iter_mut().zip(*row) {
                    *into = if FUSED {
                        weight.mul_add(*value, *into)
                    } else {
                        weight * value + *into
                    };
                }
            }
        }
    }
}

#[allow(private_interfaces)]
impl Passes for u8 {
    type Weight = i16;

    fn axis(ask: &Ask) -> Axis<i16> {
        axis::of_u8(ask)
    }

    fn spreader(axis: &Axis<i16>, level: Level) -> Spreader<i16> {
        let tables = match level {
            Level::Portable => None,
            Level::Avx2 => Spreader::with_bytes(axis, level, 32, 16),
            Level::Avx512 => Spreader::with_bytes(axis, level, 64, 64),
        };
        tables.unwrap_or_else(|| Spreader::<i16>::plain(axis))
    }

    fn spread(spreader: &Spreader<i16>, source: &[u8], into: &mut [u8]) {
        match spreader.level {
            Level::Portable => spread_bytes_plain(&spreader.axis, source, into),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => spreader.with_window(source, |source| {
                // SAFETY: tables of this level are only made where the processor has AVX2.
                unsafe { avx2::spread_u8(spreader, source, into) }
            }),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => spreader.with_window(source, |source| {
                // SAFETY: tables of this level are only made where the processor has AVX-512 with VBMI.
                unsafe { avx512::spread_u8(spreader, source, into) }
            }),
            #[cfg(not(target_arch = "x86_64"))]
            _ => spread_bytes_plain(&spreader.axis, source, into),
        }
    }

    fn combine(level: Level, rows: &[&[u8]], weights: &[i16], precision: u32, into: &mut [u8], stream: bool) {
        match level {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the level says that the processor has AVX2.
            Level::Avx2 => unsafe { avx2::combine_u8(rows, weights, precision, into) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the level says that the processor has AVX-512.
            Level::Avx512 => unsafe { avx512::combine_u8(rows, weights, precision, into, stream) },
            _ => combine_bytes_plain(rows, weights, precision, into),
        }
        let _ = stream;
    }

    fn zip(_: Level, first: &[u8], second: &[u8], into: &mut [u8], _: bool) {
        zip_plain(first, second, into);
    }
}

/// The end of the u8 rule: to the nearest, halves upwards, within a byte.
#[inline(always)]
fn byte(sum: i32, precision: u32) -> u8 {
    (sum >> precision).clamp(0, 255) as u8
}

/// What the sum of a pass begins with: half of the unit.
#[inline(always)]
pub(super) fn half_unit(precision: u32) -> i32 {
    (1 << precision) >> 1
}

fn spread_bytes_plain(axis: &Axis<i16>, source: &[u8], into: &mut [u8]) {
    let precision = axis.precision;
    for (output, into) in into[..axis.output].iter_mut().enumerate() {
        let (index, weight) = axis.at(output);
        let mut sum = half_unit(precision);
        for (index, weight) in index.iter().zip(weight) {
            sum += i32::from(*weight) * i32::from(source[*index as usize]);
        }
        *into = byte(sum, precision);
    }
}

/// The vertical pass over bytes, for the compiler to vectorise.
#[inline(always)]
pub(super) fn combine_bytes_plain(rows: &[&[u8]], weights: &[i16], precision: u32, into: &mut [u8]) {
    #[inline(always)]
    fn few<const K: usize>(rows: [&[u8]; K], weights: [i16; K], precision: u32, into: &mut [u8]) {
        let length = into.len();
        let rows = rows.map(|row| &row[..length]);
        for x in 0..length {
            let mut sum = half_unit(precision);
            for k in 0..K {
                sum += i32::from(weights[k]) * i32::from(rows[k][x]);
            }
            into[x] = byte(sum, precision);
        }
    }
    match (rows, weights) {
        ([row], _) if precision == 0 => into.copy_from_slice(&row[..into.len()]),
        (&[a, b], &[v, w]) => few([a, b], [v, w], precision, into),
        (&[a, b, c, d], &[p, q, r, s]) => few([a, b, c, d], [p, q, r, s], precision, into),
        _ => {
            for (x, into) in into.iter_mut().enumerate() {
                let mut sum = half_unit(precision);
                for (row, weight) in rows.iter().zip(weights) {
                    sum += i32::from(*weight) * i32::from(row[x]);
                }
                *into = byte(sum, precision);
            }
        }
    }
}
