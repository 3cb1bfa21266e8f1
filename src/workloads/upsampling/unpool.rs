//! Max-unpooling: values go back to the places that a max-pooling took them from; the rest is 0.
//!
//! An index counts pixels within its own plane of the output, as the pooling gives them. Where two
//! values name one place (windows that overlap), the later one in memory stays.

use super::fresh::zeros;
use super::images::Shape;
use crate::{BadInput, Join};

/// The pooling that is to be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pooling {
    /// Height and width, as in all pairs here.
    pub kernel: [i64; 2],
    pub stride: [i64; 2],
    pub padding: [i64; 2],
}

/// The shape that the pooling made `input` from: `(n - 1) stride - 2 padding + kernel` on each side, or
/// `size`, which must be nearer to that than one stride.
pub fn unpooled(input: Shape, pooling: &Pooling, size: Option<[i64; 2]>) -> Result<Shape, BadInput> {
    let too_large = |field: &str| BadInput::new(field, "is too large: the output's sides must fit 64 bits");
    let mut sides = [0; 2];
    for (axis, (name, length)) in [("height", input.height), ("width", input.width)]
        .into_iter()
        .enumerate()
    {
        let (kernel, stride, padding) = (pooling.kernel[axis], pooling.stride[axis], pooling.padding[axis]);
        let usual = i64::try_from(length)
            .ok()
            .and_then(|length| (length - 1).checked_mul(stride))
            .and_then(|steps| steps.checked_add(kernel))
            .and_then(|end| end.checked_sub(padding.checked_mul(2)?))
            .ok_or_else(|| too_large("kernel_size"))?;
        sides[axis] = match size {
            None => usual,
            Some(size) => {
                let least = usual.checked_sub(stride).ok_or_else(|| too_large("stride"))?;
                let most = usual.checked_add(stride).ok_or_else(|| too_large("stride"))?;
                if size[axis] <= least || size[axis] >= most {
                    return Err(BadInput::new(
                        "output_size",
                        format!(
                            "has a {name} of {}; this pooling makes {length} of sides between {least} and {most}, without both",
                            size[axis]
                        ),
                    ));
                }
                size[axis]
            }
        };
        if sides[axis] < 0 {
            return Err(BadInput::new(
                if size.is_some() { "output_size" } else { "padding" },
                format!(
                    "makes the output's {name} {}; give one that leaves 0 or more",
                    sides[axis]
                ),
            ));
        }
    }
    Ok(Shape {
        images: input.images,
        channels: input.channels,
        height: sides[0] as usize,
        width: sides[1] as usize,
    })
}

/// An index that is no pixel of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrayIndex {
    /// Its place among all indices.
    pub at: usize,
    pub index: i64,
    /// Pixels of an output plane.
    pub plane: usize,
}

impl From<StrayIndex> for BadInput {
    fn from(stray: StrayIndex) -> BadInput {
        BadInput::new(
            "indices",
            format!(
                "element {} (counted in order) is {}; an output plane has the pixels 0 to {}",
                stray.at,
                stray.index,
                stray.plane as i64 - 1
            ),
        )
    }
}

/// Puts every value of `input` (planes of `taken` values) in its place of `output`, and 0 elsewhere. On a stray
/// index, the first one is told and what `output` holds is of no use.
///
/// Panics when the lengths do not fit: that is the caller's mistake.
pub fn max_unpool_into(
    join: &dyn Join,
    input: &[f32],
    indices: &[i64],
    taken: usize,
    output: &mut [f32],
) -> Result<(), StrayIndex> {
    scatter(join, input, indices, taken, output, false)
}

/// [`max_unpool_into`] new memory, for planes of `plane` values.
pub fn max_unpool(
    join: &dyn Join,
    input: &[f32],
    indices: &[i64],
    taken: usize,
    plane: usize,
) -> Result<Vec<f32>, StrayIndex> {
    let mut output = zeros(input.len() / taken.max(1) * plane);
    max_unpool_into_zeros(join, input, indices, taken, &mut output)?;
    Ok(output)
}

/// As [`max_unpool_into`], for an output that holds zeros already, as new memory does.
pub fn max_unpool_into_zeros(
    join: &dyn Join,
    input: &[f32],
    indices: &[i64],
    taken: usize,
    output: &mut [f32],
) -> Result<(), StrayIndex> {
    scatter(join, input, indices, taken, output, true)
}

fn scatter(
    join: &dyn Join,
    input: &[f32],
    indices: &[i64],
    taken: usize,
    output: &mut [f32],
    zeroed: bool,
) -> Result<(), StrayIndex> {
    assert_eq!(input.len(), indices.len(), "each value needs an index");
    if taken == 0 || input.is_empty() {
        output.fill(0.0);
        return Ok(());
    }
    let planes = input.len() / taken;
    assert_eq!(planes * taken, input.len(), "the input is not made of planes");
    let plane = output.len() / planes;
    assert_eq!(planes * plane, output.len(), "the output is not made of as many planes");
    part(join, input, indices, taken, output, 0, zeroed)
}

/// Planes of at least this many values together are worth another thread.
const SMALLEST_PIECE: usize = 32 * 1024;

fn part(
    join: &dyn Join,
    input: &[f32],
    indices: &[i64],
    taken: usize,
    output: &mut [f32],
    first: usize,
    zeroed: bool,
) -> Result<(), StrayIndex> {
    let planes = input.len() / taken;
    let plane = output.len() / planes;
    if planes > 1 && join.width() > 1 && input.len() + output.len() > SMALLEST_PIECE {
        let half = planes / 2;
        let (low, high) = output.split_at_mut(half * plane);
        let (input, indices) = (input.split_at(half * taken), indices.split_at(half * taken));
        let (low, high) = join.join(
            || part(join, input.0, indices.0, taken, low, first, zeroed),
            || part(join, input.1, indices.1, taken, high, first + half * taken, zeroed),
        );
        // The one that comes first in memory is told, whichever thread was first.
        return low.and(high);
    }
    for number in 0..planes {
        // Plane by plane, so that the zeros are still in the cache.
        let into = &mut output[number * plane..][..plane];
        if !zeroed {
            into.fill(0.0);
        }
        let range = number * taken..(number + 1) * taken;
        for (at, (value, index)) in input[range.clone()].iter().zip(&indices[range]).enumerate() {
            match usize::try_from(*index).ok().and_then(|index| into.get_mut(index)) {
                Some(into) => *into = *value,
                None => {
                    return Err(StrayIndex {
                        at: first + number * taken + at,
                        index: *index,
                        plane,
                    });
                }
            }
        }
    }
    Ok(())
}
