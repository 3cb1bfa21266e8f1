//! The oracle: what one output value is by definition, in f64 and shared with nothing.
//!
//! It asks for one pixel at a time and knows no rows, tables, phases or threads. Coordinates are those
//! of the formula in f64, where the kernels use PyTorch's f32; the difference is bounded by [`allowance`].

use super::axis::Mode;
use super::images::Shape;
use super::interpolation::{Resize, Target};
use super::transposed::{KernelShape, Transposition};
use super::unpool::StrayIndex;

/// One axis by the formula.
#[derive(Clone, Copy, Debug)]
struct Line {
    mode: Mode,
    antialias: bool,
    align_corners: bool,
    input: usize,
    /// Source pixels to an output pixel.
    scale: f64,
    /// The axis keeps its size, and PyTorch leaves it as it is.
    kept: bool,
}

/// The interpolation of single pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Definition {
    input: (usize, usize),
    output: (usize, usize),
    lines: [Line; 2],
    /// The denominators of whole weights, for u8.
    units: [i64; 2],
}

impl Definition {
    pub fn new(input: (usize, usize), output: (usize, usize), resize: &Resize, bytes: bool) -> Definition {
        let line = |input: usize, output: usize, factor: Option<f64>| Line {
            mode: resize.mode,
            antialias: resize.antialias,
            align_corners: resize.align_corners,
            input,
            scale: match (resize.align_corners, factor) {
                (true, _) if output == 1 => 0.0,
                (true, _) => (input - 1) as f64 / (output - 1) as f64,
                (false, Some(factor)) => 1.0 / factor,
                (false, None) => input as f64 / output as f64,
            },
            kept: input == output && (bytes || resize.antialias || resize.mode == Mode::Bilinear),
        };
        let (down, across) = match resize.target {
            Target::Factor {
                height,
                width,
                recomputed: false,
            } => (Some(height), Some(width)),
            _ => (None, None),
        };
        let lines = [line(input.0, output.0, down), line(input.1, output.1, across)];
        let nearest = matches!(resize.mode, Mode::Nearest | Mode::NearestExact);
        let units = if bytes && !nearest {
            [lines[0].unit(output.0), lines[1].unit(output.1)]
        } else {
            [1; 2]
        };
        Definition {
            input,
            output,
            lines,
            units,
        }
    }

    /// The longest side, for [`allowance`].
    pub fn side(&self) -> usize {
        self.input.0.max(self.input.1).max(self.output.0).max(self.output.1)
    }

    /// Output pixel (y, x) of a plane of f32. Not for the nearest modes.
    pub fn real(&self, plane: &[f32], y: usize, x: usize) -> f64 {
        let mut sum = 0.0;
        for (v, down) in self.lines[0].weights(y) {
            for (u, across) in self.lines[1].weights(x) {
                sum += down * across * f64::from(plane[v * self.input.1 + u]);
            }
        }
        sum
    }

    /// Output pixel (y, x) of a plane of u8, by the rule of `axis.rs`. Not for the nearest modes.
    pub fn byte(&self, plane: &[u8], y: usize, x: usize) -> u8 {
        let unit = self.units;
        let across = self.lines[1].whole(x, unit[1]);
        let down = self.lines[0].whole(y, unit[0]);
        let column: Vec<i64> = down
            .iter()
            .map(|(v, _)| {
                let sum: i64 = across
                    .iter()
                    .map(|(u, weight)| weight * i64::from(plane[v * self.input.1 + u]))
                    .sum();
                nearest_byte(sum, unit[1])
            })
            .collect();
        let sum = down.iter().zip(column).map(|((_, weight), value)| weight * value).sum();
        nearest_byte(sum, unit[0]) as u8
    }

    /// Whether `value` is a pixel that a nearest mode may take for (y, x): where the point lies on the
    /// border of two within the rounding of f32, either will do.
    pub fn is_near<P: PartialEq + Copy>(&self, plane: &[P], y: usize, x: usize, value: P) -> bool {
        let rows = self.lines[0].candidates(y, self.output.0);
        let columns = self.lines[1].candidates(x, self.output.1);
        rows.iter()
            .any(|v| columns.iter().any(|u| plane[v * self.input.1 + u] == value))
    }
}

/// To the nearest multiple of `unit`, halves upwards, within a byte.
fn nearest_byte(sum: i64, unit: i64) -> i64 {
    (sum + unit / 2).div_euclid(unit).clamp(0, 255)
}

impl Line {
    /// Source pixels and their weights, those beyond an edge counted as the edge's own.
    fn weights(&self, i: usize) -> Vec<(usize, f64)> {
        if self.kept {
            return vec![(i, 1.0)];
        }
        let last = self.input as i64 - 1;
        if self.antialias {
            let wide = self.scale.max(1.0);
            let centre = self.scale * (i as f64 + 0.5);
            let drawn: Vec<(usize, f64)> = (0..self.input)
                .map(|at| (at, hat(self.mode, -0.5, (at as f64 + 0.5 - centre) / wide)))
                .filter(|(_, weight)| *weight != 0.0)
                .collect();
            let total: f64 = drawn.iter().map(|(_, weight)| weight).sum();
            return drawn.into_iter().map(|(at, weight)| (at, weight / total)).collect();
        }
        let mut point = if self.align_corners {
            self.scale * i as f64
        } else {
            self.scale * (i as f64 + 0.5) - 0.5
        };
        // No point lies beyond the last pixel, and, but for bicubic, none before the first.
        if self.mode == Mode::Bilinear {
            point = point.max(0.0);
        }
        let first = (point.floor() as i64).min(last);
        let rest = (point - first as f64).min(1.0);
        (-1..=2)
            .map(|step| {
                let at = (first + step).clamp(0, last) as usize;
                (at, hat(self.mode, -0.75, step as f64 - rest))
            })
            .collect()
    }

    /// The denominator of whole weights: the largest power of two, up to 2^22, with which the
    /// greatest weight of the axis fits 16 bits.
    fn unit(&self, output: usize) -> i64 {
        if self.kept {
            return 1;
        }
        let greatest = (0..output)
            .flat_map(|i| self.gathered(i))
            .map(|(_, weight)| weight)
            .fold(0.0, f64::max);
        (0..=22)
            .map(|bits| 1i64 << bits)
            .take_while(|unit| greatest * (*unit as f64) + 0.5 < 32768.0)
            .last()
            .unwrap_or(1)
    }

    fn whole(&self, i: usize, unit: i64) -> Vec<(usize, i64)> {
        let round = |weight: f64| (weight.abs() * unit as f64 + 0.5).floor().copysign(weight) as i64;
        self.gathered(i)
            .into_iter()
            .map(|(at, weight)| (at, round(weight)))
            .collect()
    }

    /// [`Line::weights`] with those of one pixel added up.
    fn gathered(&self, i: usize) -> Vec<(usize, f64)> {
        let mut gathered: Vec<(usize, f64)> = Vec::new();
        for (at, weight) in self.weights(i) {
            match gathered.iter_mut().find(|(known, _)| *known == at) {
                Some((_, sum)) => *sum += weight,
                None => gathered.push((at, weight)),
            }
        }
        gathered
    }

    fn candidates(&self, i: usize, output: usize) -> Vec<usize> {
        let last = self.input as f64 - 1.0;
        let point = match self.mode {
            Mode::Nearest => self.scale * i as f64,
            _ => self.scale * (i as f64 + 0.5),
        };
        let slip = (self.input as f64 + 1.0) * 2.0f64.powi(-21);
        let mut found: Vec<usize> = [point - slip, point, point + slip]
            .map(|at| at.floor().clamp(0.0, last) as usize)
            .to_vec();
        // PyTorch's kernel for small outputs, whatever the factor.
        if self.mode == Mode::Nearest && output == self.input {
            found.push(i);
        }
        if self.mode == Mode::Nearest && output == 2 * self.input {
            found.push(i / 2);
        }
        found
    }
}

/// The kernel of a mode at a distance: 1 - |d|, or Keys'.
fn hat(mode: Mode, a: f64, distance: f64) -> f64 {
    let d = distance.abs();
    match mode {
        Mode::Bicubic if d <= 1.0 => (a + 2.0) * d.powi(3) - (a + 3.0) * d.powi(2) + 1.0,
        Mode::Bicubic if d < 2.0 => a * (d.powi(3) - 5.0 * d.powi(2) + 8.0 * d - 4.0),
        Mode::Bicubic => 0.0,
        _ => (1.0 - d).max(0.0),
    }
}

/// How far a result in f32 may be from [`Definition::real`], for sides up to `side` and values up to `most`:
/// a coordinate is off by at most 2^-22 of the side on each axis, and weights follow with a slope of
/// at most 4 in sum; products and sums add less than 2^-20.
pub(super) fn allowance(side: usize, most: f64) -> f64 {
    most * (2.0 * 4.0 * side as f64 * 2.0f64.powi(-22) + 2.0f64.powi(-20))
}

/// Where pixel shuffle's output value comes from, as a place in the input.
pub(super) fn shuffled_from(input: Shape, factor: usize, output: Shape, at: usize) -> usize {
    let (x, rest) = (at % output.width, at / output.width);
    let (y, rest) = (rest % output.height, rest / output.height);
    let (channel, image) = (rest % output.channels, rest / output.channels);
    let from = channel * factor * factor + y % factor * factor + x % factor;
    ((image * input.channels + from) * input.height + y / factor) * input.width + x / factor
}

/// All of a max-unpooling, value by value.
pub(super) fn unpooled(input: &[f32], indices: &[i64], taken: usize, plane: usize) -> Result<Vec<f32>, StrayIndex> {
    let mut output = vec![0.0; input.len() / taken * plane];
    for (at, (value, index)) in input.iter().zip(indices).enumerate() {
        if *index < 0 || *index >= plane as i64 {
            return Err(StrayIndex {
                at,
                index: *index,
                plane,
            });
        }
        output[at / taken * plane + *index as usize] = *value;
    }
    Ok(output)
}

/// One value of a transposed convolution without bias, and the sum of its terms' sizes: its error in
/// f32 is at most (terms + 1) 2^-24 of the latter.
pub(super) fn convolved(
    (input, values): (Shape, &[f32]),
    (kernel, weight): (KernelShape, &[f32]),
    how: &Transposition,
    [image, channel, y, x]: [usize; 4],
) -> (f64, f64, usize) {
    let (mut sum, mut size, mut terms) = (0.0, 0.0, 0);
    let group = channel / kernel.outputs;
    let channels = input.channels / how.groups;
    // Which source pixel gives this one through a kernel place.
    let source = |at: usize, place: usize, axis: usize, side: usize| {
        let whole = (at + how.padding[axis]).checked_sub(place * how.dilation[axis])?;
        (whole.is_multiple_of(how.stride[axis]) && whole / how.stride[axis] < side).then_some(whole / how.stride[axis])
    };
    for from in group * channels..(group + 1) * channels {
        for ky in 0..kernel.height {
            for kx in 0..kernel.width {
                let (Some(v), Some(u)) = (source(y, ky, 0, input.height), source(x, kx, 1, input.width)) else {
                    continue;
                };
                let at = ((image * input.channels + from) * input.height + v) * input.width + u;
                let place = ((from * kernel.outputs + channel % kernel.outputs) * kernel.height + ky) * kernel.width;
                let term = f64::from(values[at]) * f64::from(weight[place + kx]);
                sum += term;
                size += term.abs();
                terms += 1;
            }
        }
    }
    (sum, size, terms)
}
