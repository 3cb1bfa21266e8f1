//! A few rows against many weights: the product that decoding a token is made of.
//!
//! Weights are read once from memory for all rows, so the time is that of reading them as long as
//! the rows stay few. Weights of a few outputs are multiplied with a few rows at a time, sums in
//! registers; the next rows find the same weights in the cache.
//!
//! A sum has one order on a machine: so many partial sums as a vector has lanes, each over every
//! so-manyth product, then added in a tree. It depends on the length of a row and on nothing else.
//! So a row's outputs are the same bits alone and among others: a token that is verified with its
//! siblings gets the logits that it would get by itself.

use super::Element;
use super::level::Level;
use crate::Join;

/// outputs\[r\]\[o\] = sum over i of inputs\[r\]\[i\] * weights\[o\]\[i\]; all dense, `rows` rows.
///
/// The error of an output is at most (width + 4) 2^-24 times the sum of the products' magnitudes.
/// Panics when the lengths do not fit: that is the caller's mistake.
pub fn multiply_few<W: Element<Sum = f32>>(
    join: &dyn Join,
    rows: usize,
    inputs: &[f32],
    weights: &[W],
    outputs: &mut [f32],
) {
    multiply_few_at(Level::best(), join, rows, inputs, weights, outputs);
}

fn multiply_few_at<W: Element<Sum = f32>>(
    level: Level,
    join: &dyn Join,
    rows: usize,
    inputs: &[f32],
    weights: &[W],
    outputs: &mut [f32],
) {
    if rows == 0 {
        return;
    }
    let (width, count) = (inputs.len() / rows, outputs.len() / rows);
    assert_eq!(inputs.len(), width * rows, "inputs are not so many rows");
    assert_eq!(outputs.len(), count * rows, "outputs are not so many rows");
    assert_eq!(weights.len(), width * count, "weights have another shape");
    let part = Part {
        rows,
        width,
        count,
        stride: count,
        inputs: inputs.as_ptr(),
        weights: weights.as_ptr(),
        outputs: outputs.as_mut_ptr(),
    };
    let pieces = if join.width() > 1 {
        (size_of_val(weights) / SMALLEST_BYTES)
            .max(weights.len().saturating_mul(rows) / SMALLEST_WORK)
            .min(4 * join.width())
    } else {
        1
    };
    split(level, join, part, pieces);
}

/// A piece on another thread should have so many bytes of weights to read, or so many products to add.
const SMALLEST_BYTES: usize = 128 << 10;
const SMALLEST_WORK: usize = 512 << 10;

/// Outputs that are computed together: the weights of so many are read side by side.
pub const TOGETHER: usize = 4;

/// Some of the outputs of every row, over raw memory: `multiply_few` has checked the lengths.
pub struct Part<W> {
    pub rows: usize,
    pub width: usize,
    pub count: usize,
    /// From a row's outputs to the next row's.
    pub stride: usize,
    pub inputs: *const f32,
    pub weights: *const W,
    pub outputs: *mut f32,
}

// SAFETY: inputs and weights are only read, and parts that run at the same time write disjoint
// outputs: `split` is the only maker of several from one.
unsafe impl<W: Sync> Send for Part<W> {}

fn split<W: Element<Sum = f32>>(level: Level, join: &dyn Join, part: Part<W>, pieces: usize) {
    if pieces <= 1 || part.count <= TOGETHER {
        // SAFETY: the lengths were checked; a level is proof of its instructions.
        unsafe {
            match level {
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 | Level::Avx512Bf16 => super::few_x86::avx512::outputs(&part),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => super::few_x86::avx2::outputs(&part),
                _ => portable(&part),
            }
        }
        return;
    }
    let half = pieces / 2;
    let cut = (part.count * half / pieces)
        .next_multiple_of(TOGETHER)
        .min(part.count - 1);
    let first = Part { count: cut, ..part };
    let second = Part {
        count: part.count - cut,
        // Still inside, as `cut` is less than the count.
        weights: part.weights.wrapping_add(cut * part.width),
        outputs: part.outputs.wrapping_add(cut),
        ..part
    };
    join.join(
        || split(level, join, first, half),
        || split(level, join, second, pieces - half),
    );
}

/// Lanes of the portable form.
const LANES: usize = 8;

unsafe fn portable<W: Element<Sum = f32>>(part: &Part<W>) {
    let whole = part.width - part.width % LANES;
    for output in 0..part.count {
        // SAFETY: the weights of an output, within what was checked.
        let weights = unsafe { std::slice::from_raw_parts(part.weights.add(output * part.width), part.width) };
        for row in 0..part.rows {
            // SAFETY: a row, within what was checked.
            let inputs = unsafe { std::slice::from_raw_parts(part.inputs.add(row * part.width), part.width) };
            let mut sums = [0.0; LANES];
            for (inputs, weights) in inputs.chunks_exact(LANES).zip(weights.chunks_exact(LANES)) {
                for ((sum, input), weight) in sums.iter_mut().zip(inputs).zip(weights) {
                    *sum += input * weight.wide();
                }
            }
            for ((sum, input), weight) in sums.iter_mut().zip(&inputs[whole..]).zip(&weights[whole..]) {
                *sum += input * weight.wide();
            }
            let [a, b, c, d, e, f, g, h] = sums;
            let sum = ((a + e) + (c + g)) + ((b + f) + (d + h));
            // SAFETY: an output of this part.
            unsafe { part.outputs.add(row * part.stride + output).write(sum) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::linear::{bf16, f16};
    use crate::random::Random;
    use crate::tests::OnThreads;

    fn numbers(random: &mut Random, count: usize) -> Vec<f32> {
        (0..count).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect()
    }

    fn product<W: Element<Sum = f32>>(
        level: Level,
        join: &dyn Join,
        rows: usize,
        inputs: &[f32],
        weights: &[W],
        count: usize,
    ) -> Vec<f32> {
        let mut outputs = vec![f32::NAN; rows * count];
        multiply_few_at(level, join, rows, inputs, weights, &mut outputs);
        outputs
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    fn check<W: Element<Sum = f32>>(random: &mut Random, rows: usize, width: usize, count: usize) {
        let inputs = numbers(random, rows * width);
        let weights: Vec<W> = numbers(random, width * count).into_iter().map(W::narrow).collect();
        for level in Level::all() {
            let name = format!("{} {level:?} {rows} rows {width} -> {count}", W::NAME);
            let outputs = product(level, &Sequential, rows, &inputs, &weights, count);
            for row in 0..rows {
                let row_inputs = &inputs[row * width..][..width];
                let alone = product(level, &Sequential, 1, row_inputs, &weights, count);
                assert!(
                    bits(&alone) == bits(&outputs[row * count..][..count]),
                    "{name}: row {row} alone differs"
                );
                for output in 0..count {
                    let (mut sum, mut magnitude) = (0.0, 0.0);
                    for (input, weight) in row_inputs.iter().zip(&weights[output * width..]) {
                        let product = f64::from(*input) * f64::from(weight.wide());
                        sum += product;
                        magnitude += product.abs();
                    }
                    let error = (f64::from(outputs[row * count + output]) - sum).abs();
                    let bound = (width as f64 + 4.0) * 2_f64.powi(-24) * magnitude;
                    assert!(error <= bound, "{name}: row {row} output {output} is off by {error:e}");
                }
            }
            for threads in [2, 5] {
                let forked = product(level, &OnThreads(threads), rows, &inputs, &weights, count);
                assert!(
                    bits(&forked) == bits(&outputs),
                    "{name}: {threads} threads give other bits"
                );
            }
        }
    }

    #[test]
    fn every_number_of_rows_is_within_the_bound_and_has_the_bits_of_each_row_alone() {
        let mut random = Random::new(3, 0);
        for rows in (1..=20).chain([31, 37, 64]) {
            let (width, count) = (1 + random.below(90) as usize, 1 + random.below(30) as usize);
            check::<f32>(&mut random, rows, width, count);
            check::<f16>(&mut random, rows, width, count);
            check::<bf16>(&mut random, rows, width, count);
        }
    }

    #[test]
    fn every_remainder_of_width_and_outputs() {
        let mut random = Random::new(3, 1);
        for width in 0..=50 {
            check::<f32>(&mut random, 3, width, 1 + width % 9);
            check::<bf16>(&mut random, 7, width, 1 + width % 7);
            check::<f16>(&mut random, 2, width, 1 + width % 5);
        }
    }

    #[test]
    fn large_enough_to_be_cut() {
        let mut random = Random::new(3, 2);
        check::<f32>(&mut random, 5, 600, 343);
        check::<bf16>(&mut random, 2, 1030, 301);
    }

    #[test]
    fn nothing_gives_nothing_and_an_empty_sum_is_zero() {
        multiply_few::<f32>(&Sequential, 0, &[], &[], &mut []);
        multiply_few::<f32>(&Sequential, 3, &[], &[], &mut []);
        let mut outputs = [1.0; 6];
        multiply_few::<f32>(&Sequential, 2, &[], &[], &mut outputs);
        assert_eq!(outputs, [0.0; 6]);
    }

    #[test]
    fn infinities_and_nan_go_where_the_definition_has_them() {
        for level in Level::all() {
            let mut inputs = vec![1.0; 2 * 40];
            inputs[7] = f32::INFINITY;
            inputs[40 + 33] = f32::NAN;
            let mut weights = vec![1.0_f32; 5 * 40];
            weights[2 * 40 + 7] = 0.0;
            weights[3 * 40 + 7] = -1.0;
            let outputs = product(level, &Sequential, 2, &inputs, &weights, 5);
            assert_eq!(outputs[0], f32::INFINITY);
            assert!(outputs[2].is_nan());
            assert_eq!(outputs[3], f32::NEG_INFINITY);
            assert!(outputs[5..].iter().all(|output| output.is_nan()));
        }
    }

    #[test]
    #[should_panic(expected = "weights have another shape")]
    fn weights_of_another_shape_are_told() {
        multiply_few(&Sequential, 1, &[1.0, 2.0], &[1.0_f32; 3], &mut [0.0]);
    }
}
