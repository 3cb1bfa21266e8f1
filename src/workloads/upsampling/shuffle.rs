//! Pixel shuffle (Shi et al. 2016: sub-pixel convolution) and its inverse: depth to space.
//!
//! With factor r, output channel c at (y r + i, x r + j) is input channel c r^2 + i r + j at (y, x). No value
//! changes; the work is to read r rows side by side and to write one, and it is bound by memory.

use super::fresh::zeros;
use super::images::Shape;
use super::level::Level;
use super::rows::Pixel;
use super::split::for_each_run;
use crate::{BadInput, Join};

/// The shape that [`pixel_shuffle_into`] makes of `input`.
pub fn pixel_shuffled(input: Shape, factor: usize) -> Result<Shape, BadInput> {
    let square = squared("upscale_factor", factor)?;
    if !input.channels.is_multiple_of(square) {
        return Err(BadInput::new(
            "upscale_factor",
            format!(
                "is {factor}, and {} channels are not divisible by its square, {square}",
                input.channels
            ),
        ));
    }
    Ok(Shape {
        images: input.images,
        channels: input.channels / square,
        height: input.height.saturating_mul(factor),
        width: input.width.saturating_mul(factor),
    })
}

/// The shape that [`pixel_unshuffle_into`] makes of `input`.
pub fn pixel_unshuffled(input: Shape, factor: usize) -> Result<Shape, BadInput> {
    let square = squared("downscale_factor", factor)?;
    for (side, length) in [("height", input.height), ("width", input.width)] {
        if !length.is_multiple_of(factor) {
            return Err(BadInput::new(
                "downscale_factor",
                format!("is {factor}, and the {side} of {length} pixels is not divisible by it"),
            ));
        }
    }
    Ok(Shape {
        images: input.images,
        channels: input.channels.saturating_mul(square),
        height: input.height / factor,
        width: input.width / factor,
    })
}

fn squared(field: &str, factor: usize) -> Result<usize, BadInput> {
    factor.checked_mul(factor).filter(|square| *square > 0).ok_or_else(|| {
        BadInput::new(
            field,
            format!("is {factor}; give a factor of at least 1 whose square fits 64 bits"),
        )
    })
}

/// [`pixel_shuffle_into`] new memory.
pub fn pixel_shuffle<P: Pixel>(
    join: &dyn Join,
    input: &[P],
    shape: Shape,
    factor: usize,
) -> Result<(Shape, Vec<P>), BadInput> {
    let made = pixel_shuffled(shape, factor)?;
    let mut output = zeros(made.count());
    pixel_shuffle_into(join, input, shape, factor, &mut output);
    Ok((made, output))
}

/// [`pixel_unshuffle_into`] new memory.
pub fn pixel_unshuffle<P: Pixel>(
    join: &dyn Join,
    input: &[P],
    shape: Shape,
    factor: usize,
) -> Result<(Shape, Vec<P>), BadInput> {
    let made = pixel_unshuffled(shape, factor)?;
    let mut output = zeros(made.count());
    pixel_unshuffle_into(join, input, shape, factor, &mut output);
    Ok((made, output))
}

/// Outputs of fewer bytes than this stay in the cache for whoever reads them next.
const STREAMED_BYTES: usize = 24 << 20;

/// Channels into space. Panics when the lengths are not those of the shapes.
pub fn pixel_shuffle_into<P: Pixel>(join: &dyn Join, input: &[P], shape: Shape, factor: usize, output: &mut [P]) {
    shuffle_with(Level::best(), join, input, shape, factor, output);
}

pub(super) fn shuffle_with<P: Pixel>(
    level: Level,
    join: &dyn Join,
    input: &[P],
    shape: Shape,
    factor: usize,
    output: &mut [P],
) {
    let made = pixel_shuffled(shape, factor).unwrap_or_else(|bad| panic!("{bad}"));
    assert_eq!(input.len(), shape.count(), "the input has another shape");
    assert_eq!(output.len(), made.count(), "the output has another shape");
    let stream = size_of_val(output) >= STREAMED_BYTES && level == Level::Avx512;
    for_each_run(join, output, made.width, &|first, rows| {
        for (number, into) in rows.chunks_exact_mut(made.width).enumerate() {
            // Output row (plane, y factor + i) is made of rows y of the planes that i chooses.
            let (plane, row) = ((first + number) / made.height, (first + number) % made.height);
            let (y, i) = (row / factor, row % factor);
            let source = |j: usize| {
                let plane = (plane * factor + i) * factor + j;
                &input[(plane * shape.height + y) * shape.width..][..shape.width]
            };
            match factor {
                1 => into.copy_from_slice(source(0)),
                2 => P::zip(level, source(0), source(1), into, stream),
                4 => alternate([source(0), source(1), source(2), source(3)], into),
                3 => alternate([source(0), source(1), source(2)], into),
                _ => {
                    for j in 0..factor {
                        for (into, value) in into[j..].iter_mut().step_by(factor).zip(source(j)) {
                            *into = *value;
                        }
                    }
                }
            }
        }
        settle(stream);
    });
}

fn settle(stream: bool) {
    #[cfg(target_arch = "x86_64")]
    if stream {
        super::avx512::settle();
    }
    let _ = stream;
}

/// The rows' values in turn.
fn alternate<P: Pixel, const R: usize>(rows: [&[P]; R], into: &mut [P]) {
    let rows = rows.map(|row| &row[..into.len() / R]);
    for (x, into) in into.as_chunks_mut::<R>().0.iter_mut().enumerate() {
        for (into, row) in into.iter_mut().zip(rows) {
            *into = row[x];
        }
    }
}

/// Space into channels. Panics when the lengths are not those of the shapes.
pub fn pixel_unshuffle_into<P: Pixel>(join: &dyn Join, input: &[P], shape: Shape, factor: usize, output: &mut [P]) {
    let made = pixel_unshuffled(shape, factor).unwrap_or_else(|bad| panic!("{bad}"));
    assert_eq!(input.len(), shape.count(), "the input has another shape");
    assert_eq!(output.len(), made.count(), "the output has another shape");
    for_each_run(join, output, made.width, &|first, rows| {
        for (number, into) in rows.chunks_exact_mut(made.width).enumerate() {
            let (plane, y) = ((first + number) / made.height, (first + number) % made.height);
            let (plane, i, j) = (plane / (factor * factor), plane / factor % factor, plane % factor);
            let source = &input[(plane * shape.height + y * factor + i) * shape.width..][..shape.width];
            match factor {
                1 => into.copy_from_slice(source),
                2 => every::<P, 2>(source, j, into),
                4 => every::<P, 4>(source, j, into),
                _ => {
                    for (into, value) in into.iter_mut().zip(source[j..].iter().step_by(factor)) {
                        *into = *value;
                    }
                }
            }
        }
    });
}

/// Every `R`th value, from the `j`th on.
fn every<P: Pixel, const R: usize>(source: &[P], j: usize, into: &mut [P]) {
    for (into, values) in into.iter_mut().zip(source.as_chunks::<R>().0) {
        *into = values[j];
    }
}
