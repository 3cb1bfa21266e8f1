//! A few rows against many weights: the product that decoding a token is made of.
//!
//! Weights are read once from memory for all rows, so the time is that of reading them as long as
//! the rows stay few.

use super::Element;
use crate::Join;

/// outputs\[r\]\[o\] = sum over i of inputs\[r\]\[i\] * weights\[o\]\[i\]; all dense, `rows` rows.
///
/// Panics when the lengths do not fit: that is the caller's mistake.
pub fn multiply_few<W: Element<Sum = f32>>(
    join: &dyn Join,
    rows: usize,
    inputs: &[f32],
    weights: &[W],
    outputs: &mut [f32],
) {
    let _ = join;
    if rows == 0 {
        return;
    }
    let (width, count) = (inputs.len() / rows, outputs.len() / rows);
    assert_eq!(weights.len(), width * count, "weights have another shape");
    for row in 0..rows {
        let input = &inputs[row * width..][..width];
        for (output, weights) in outputs[row * count..][..count]
            .iter_mut()
            .zip(weights.chunks_exact(width.max(1)))
        {
            *output = input
                .iter()
                .zip(weights)
                .map(|(input, weight)| input * weight.wide())
                .sum();
        }
    }
}
