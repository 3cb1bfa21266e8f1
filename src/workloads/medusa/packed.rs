//! Matrices of weights packed for decoding, and their product with a few rows.
//!
//! Decoding reads every weight for every pass, so its time is that of reading them, as long as the
//! rows stay few and their arithmetic cheap. Hence bf16 on both sides: rows are rounded to it, and
//! where the processor can (AVX512-BF16), one instruction multiplies 32 pairs of values and adds them
//! to sixteen f32 sums. A matrix is stored as `[inputs / 2][outputs]` words of two weights: lanes are
//! outputs and the inputs are broadcast, so nothing is added across lanes. An output is the sum over
//! its inputs in order, two at a time, whatever other rows are processed with it: its bits do not
//! depend on them. (They do depend on the processor's level: the last bits of a sum.)

use super::simd::{Level, leveled};
use crate::linear::{Element, bf16};

/// Outputs of a vector.
const LANES: usize = 16;

/// A matrix of weights.
pub struct Packed {
    inputs: usize,
    outputs: usize,
    /// `[inputs / 2][outputs]`: in the low half of a word the weight of the even input.
    pairs: Vec<u32>,
}

impl Packed {
    /// From `[outputs][inputs]`.
    ///
    /// Panics unless the inputs are even and the outputs a multiple of sixteen, as all of the
    /// model's are.
    pub fn new(weights: &[bf16], inputs: usize) -> Packed {
        let outputs = weights.len() / inputs;
        assert!(
            inputs.is_multiple_of(2) && outputs.is_multiple_of(LANES) && weights.len() == inputs * outputs,
            "a matrix of {outputs} by {inputs} cannot be packed"
        );
        let mut pairs = Vec::with_capacity(weights.len() / 2);
        for input in (0..inputs).step_by(2) {
            for row in weights.chunks_exact(inputs) {
                pairs.push(word(row[input].to_bits(), row[input + 1].to_bits()));
            }
        }
        Packed { inputs, outputs, pairs }
    }

    /// As `[outputs][inputs]` again.
    pub fn unpacked(&self) -> Vec<bf16> {
        (0..self.outputs)
            .flat_map(|output| (0..self.inputs).map(move |input| (output, input)))
            .map(|(output, input)| {
                let word = self.pairs[input / 2 * self.outputs + output];
                bf16::from_bits((word >> (16 * (input % 2))) as u16)
            })
            .collect()
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The weights of a pair of inputs, for each output.
    pub fn of_inputs(&self, pair: usize) -> &[u32] {
        &self.pairs[pair * self.outputs..][..self.outputs]
    }

    pub fn bytes(&self) -> usize {
        4 * self.pairs.len()
    }

    /// outputs\[r\]\[o\] = the sum over i of inputs\[r\]\[i\] * weights\[o\]\[i\]; the inputs are `rows`
    /// rows of pairs, as [`round`] makes them.
    pub fn times(&self, level: Level, rows: usize, inputs: &[u32], outputs: &mut [f32]) {
        assert_eq!(inputs.len(), rows * self.inputs / 2, "rows of another width");
        assert_eq!(outputs.len(), rows * self.outputs, "room for other rows");
        let pairs = self.inputs / 2;
        let mut from = 0;
        while from < self.outputs {
            // One row alone needs many sums to keep the processor busy; several rows bring their own.
            let left = (self.outputs - from) / LANES;
            let vectors = match rows {
                1 if left >= 12 => 12,
                _ if left >= 4 => 4,
                _ => 1,
            };
            let mut row = 0;
            while row < rows {
                let some = match rows - row {
                    left @ 1..=6 => left,
                    7 => 4,
                    _ => {
                        if rows.is_multiple_of(6) {
                            6
                        } else {
                            4
                        }
                    }
                };
                let piece = Piece {
                    weights: &self.pairs[from..],
                    weights_stride: self.outputs,
                    pairs,
                    inputs: &inputs[row * pairs..],
                    outputs: &mut outputs[row * self.outputs + from..],
                };
                piece.run(level, some, vectors);
                row += some;
            }
            from += vectors * LANES;
        }
    }
}

/// Two halves as one word.
fn word(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

leveled! {
    /// Rounds to bf16, to the nearest, ties to even, two values to a word.
    pub fn round<FUSED, V>(values: &[f32], pairs: &mut [u32]) {
        let (values, _) = values.as_chunks::<2>();
        for (pair, [low, high]) in pairs.iter_mut().zip(values) {
            *pair = half(*low) >> 16 | half(*high);
        }
    }
}

/// The value rounded to bf16, its sixteen bits above sixteen zeros.
#[inline(always)]
fn half(value: f32) -> u32 {
    let bits = value.to_bits();
    // A NaN stays one only when its high bits say so; finite weights and tokens make none.
    bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000
}

/// The two values of a word.
#[inline(always)]
pub fn values(pair: u32) -> [f32; 2] {
    [f32::from_bits(pair << 16), f32::from_bits(pair & 0xFFFF_0000)]
}

/// Some rows times some vectors of outputs.
struct Piece<'a> {
    weights: &'a [u32],
    weights_stride: usize,
    pairs: usize,
    /// Rows `pairs` apart.
    inputs: &'a [u32],
    /// Rows `weights_stride` apart.
    outputs: &'a mut [f32],
}

macro_rules! by_shape {
    ($self:ident, $rows:ident, $vectors:ident, $run:ident $(, $fused:literal)?) => {
        match ($rows, $vectors) {
            (1, 12) => $run::<$($fused,)? 1, 12>($self),
            (1, 4) => $run::<$($fused,)? 1, 4>($self),
            (1, _) => $run::<$($fused,)? 1, 1>($self),
            (2, 4) => $run::<$($fused,)? 2, 4>($self),
            (2, _) => $run::<$($fused,)? 2, 1>($self),
            (3, 4) => $run::<$($fused,)? 3, 4>($self),
            (3, _) => $run::<$($fused,)? 3, 1>($self),
            (4, 4) => $run::<$($fused,)? 4, 4>($self),
            (4, _) => $run::<$($fused,)? 4, 1>($self),
            (5, 4) => $run::<$($fused,)? 5, 4>($self),
            (5, _) => $run::<$($fused,)? 5, 1>($self),
            (_, 4) => $run::<$($fused,)? 6, 4>($self),
            (_, _) => $run::<$($fused,)? 6, 1>($self),
        }
    };
}

impl Piece<'_> {
    fn run(self, level: Level, rows: usize, vectors: usize) {
        match level {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a level is proof that the processor has its features.
            Level::Avx512Bf16 => unsafe { self.run_avx512_bf16(rows, vectors) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Level::Avx512 => unsafe { self.run_avx512(rows, vectors) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Level::Avx2 => unsafe { self.run_avx2(rows, vectors) },
            _ => by_shape!(self, rows, vectors, widened, false),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    fn run_avx512_bf16(self, rows: usize, vectors: usize) {
        by_shape!(self, rows, vectors, paired);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    fn run_avx512(self, rows: usize, vectors: usize) {
        by_shape!(self, rows, vectors, widened, true);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn run_avx2(self, rows: usize, vectors: usize) {
        by_shape!(self, rows, vectors, widened, true);
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn paired<const ROWS: usize, const VECTORS: usize>(piece: Piece<'_>) {
    use std::arch::x86_64::*;
    // One check for all of the reads and writes below.
    let stride = piece.weights_stride;
    assert!(piece.weights.len() >= (piece.pairs - 1) * stride + VECTORS * LANES);
    assert!(piece.inputs.len() >= ROWS * piece.pairs);
    assert!(piece.outputs.len() >= (ROWS - 1) * stride + VECTORS * LANES);
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    let mut weights = piece.weights.as_ptr();
    for pair in 0..piece.pairs {
        let mut columns = [_mm512_setzero_si512(); VECTORS];
        for (vector, column) in columns.iter_mut().enumerate() {
            // SAFETY: pair `pair` has `VECTORS` vectors of weights from here on, as was checked.
            *column = unsafe { _mm512_loadu_si512(weights.wrapping_add(vector * LANES).cast()) };
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: there are `ROWS` rows of `pairs` words, as was checked.
            let input = unsafe { *piece.inputs.get_unchecked(row * piece.pairs + pair) };
            // SAFETY: only the type changes: sixteen words are thirty-two halves.
            let input = unsafe { std::mem::transmute::<[u32; LANES], __m512bh>([input; LANES]) };
            for (sum, column) in sums.iter_mut().zip(&columns) {
                // SAFETY: only the type changes: sixteen words are thirty-two halves.
                let column = unsafe { std::mem::transmute::<__m512i, __m512bh>(*column) };
                *sum = _mm512_dpbf16_ps(*sum, column, input);
            }
        }
        weights = weights.wrapping_add(stride);
    }
    for (row, sums) in sums.iter().enumerate() {
        for (vector, sum) in sums.iter().enumerate() {
            let outputs = piece.outputs[row * stride + vector * LANES..].as_mut_ptr();
            // SAFETY: the row has `VECTORS` vectors of outputs, as was checked.
            unsafe { _mm512_storeu_ps(outputs, *sum) };
        }
    }
}

#[inline(always)]
fn widened<const FUSED: bool, const ROWS: usize, const VECTORS: usize>(piece: Piece<'_>) {
    // Narrower vectors: one after the other, so that the sums fit the registers.
    for vector in 0..VECTORS {
        let mut sums = [[0.0_f32; LANES]; ROWS];
        for pair in 0..piece.pairs {
            let weights = &piece.weights[pair * piece.weights_stride + vector * LANES..][..LANES];
            for (row, sums) in sums.iter_mut().enumerate() {
                let [low, high] = values(piece.inputs[row * piece.pairs + pair]);
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    let weights = values(*weights);
                    let first = super::attention::fused::<FUSED>(weights[0], low, *sum);
                    *sum = super::attention::fused::<FUSED>(weights[1], high, first);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            piece.outputs[row * piece.weights_stride + vector * LANES..][..LANES].copy_from_slice(sums);
        }
    }
}

/// Of masters in full width.
pub fn rounded(masters: &[f32]) -> Vec<bf16> {
    let mut weights = vec![bf16::default(); masters.len()];
    bf16::narrow_all(masters, &mut weights);
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn numbers(random: &mut Random, count: usize) -> Vec<f32> {
        (0..count).map(|_| random.below(2_000_001) as f32 / 1e6 - 1.0).collect()
    }

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        let mut random = Random::new(3, 0);
        let mut numbers: Vec<f32> = (0..100_000)
            .map(|_| f32::from_bits(random.next() as u32))
            .map(|value| if value.is_nan() { 0.0 } else { value })
            .collect();
        // Ties, and what rounds to infinity.
        numbers.extend([
            f32::from_bits(0x3F80_8000),
            f32::from_bits(0x3F81_8000),
            -f32::from_bits(0x3F80_8000),
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            0.0,
            -0.0,
        ]);
        let mut pairs = vec![0; numbers.len() / 2];
        round(Level::best(), &numbers, &mut pairs);
        for (pair, numbers) in pairs.iter().zip(numbers.chunks(2)) {
            for (value, number) in values(*pair).iter().zip(numbers) {
                assert_eq!(value.to_bits(), bf16::from_f32(*number).to_f32().to_bits(), "{number}");
            }
        }
    }

    #[test]
    fn products_are_those_of_the_definition_and_rows_do_not_touch_each_other() {
        let mut random = Random::new(4, 0);
        for level in Level::all() {
            for (inputs, outputs) in [(2, 16), (192, 576), (64, 80), (768, 192), (30, 208)] {
                let weights = rounded(&numbers(&mut random, inputs * outputs));
                let packed = Packed::new(&weights, inputs);
                assert_eq!(packed.unpacked(), weights);
                let rows = 17;
                let plain = numbers(&mut random, rows * inputs);
                let mut pairs = vec![0; rows * inputs / 2];
                round(level, &plain, &mut pairs);
                let mut alone = vec![0.0; rows * outputs];
                for (pairs, alone) in pairs.chunks_exact(inputs / 2).zip(alone.chunks_exact_mut(outputs)) {
                    packed.times(level, 1, pairs, alone);
                }
                for (at, sum) in alone.iter().enumerate() {
                    let (row, output) = (at / outputs, at % outputs);
                    let terms: Vec<f64> = (0..inputs)
                        .map(|input| {
                            let input_value = values(pairs[row * inputs / 2 + input / 2])[input % 2];
                            f64::from(input_value) * weights[output * inputs + input].to_f64()
                        })
                        .collect();
                    let (expected, size): (f64, f64) = (terms.iter().sum(), terms.iter().map(|term| term.abs()).sum());
                    let error = (f64::from(*sum) - expected).abs();
                    assert!(
                        error <= 1e-5 * size + 1e-9,
                        "{level:?} {inputs}x{outputs}: {sum}, not {expected}"
                    );
                }
                for rows in 1..=rows {
                    let mut together = vec![0.0; rows * outputs];
                    packed.times(level, rows, &pairs[..rows * inputs / 2], &mut together);
                    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&together), bits(&alone[..rows * outputs]), "{level:?} {rows} rows");
                }
            }
        }
    }
}
