//! Layers as functions over slices: forward and backward.
//!
//! Matrices are dense, row after row, a row for each sample (or token); a dense layer's weights are
//! `[outputs][inputs]`, as in PyTorch. What is stored between the passes is in the storage type `T`;
//! what was just summed is in `T::Sum`, and is rounded to `T` once, after bias and activation. A
//! gradient of weights is *added to*, so that batches may come in pieces.
//!
//! In the names: `z` are a layer's sums before the activation, `dz` is the loss's gradient by `z`.

use crate::Join;
use crate::linear::{Element, Matrix, MatrixMut, Real, multiply};

/// Compiles a loop three times, for AVX-512, AVX2 and any processor, and takes the widest there is.
/// Nothing is fused or reordered, so all three give the same bits.
macro_rules! wide {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<$generic:ident: $bound:ident>
        ($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block
    ) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name<$generic: $bound>($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn plain<$generic: $bound>($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512<$generic: $bound>($($argument: $type),*) $(-> $result)? {
                plain::<$generic>($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2<$generic: $bound>($($argument: $type),*) $(-> $result)? {
                plain::<$generic>($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            match $crate::mixed_precision::layers::level() {
                // SAFETY: the processor was just asked for all of its features.
                $crate::mixed_precision::layers::Level::Avx512 => return unsafe { avx512::<$generic>($($argument),*) },
                // SAFETY: as above.
                $crate::mixed_precision::layers::Level::Avx2 => return unsafe { avx2::<$generic>($($argument),*) },
                $crate::mixed_precision::layers::Level::Plain => {}
            }
            plain::<$generic>($($argument),*)
        }
    };
}
pub(super) use wide;

/// How wide the processor's vectors are, the widest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Avx512,
    Avx2,
    Plain,
}

#[cfg(test)]
thread_local! {
    /// Narrower vectors than there are, so that tests see every level.
    pub(super) static AT_MOST: std::cell::Cell<Level> = const { std::cell::Cell::new(Level::Avx512) };
}

#[cfg(target_arch = "x86_64")]
pub(super) fn level() -> Level {
    #[cfg(test)]
    return widest().max(AT_MOST.get());
    #[cfg(not(test))]
    widest()
}

#[cfg(target_arch = "x86_64")]
fn widest() -> Level {
    use crate::linear::Level as Instructions;
    match Instructions::best() {
        Instructions::Avx512 | Instructions::Avx512Bf16 => Level::Avx512,
        Instructions::Avx2 => Level::Avx2,
        Instructions::Portable => Level::Plain,
    }
}

/// z = x weights': `rows` rows of inputs to rows of outputs.
pub fn dense<T: Element>(join: &dyn Join, rows: usize, x: &[T], weights: &[T], z: &mut [T::Sum]) {
    let Some((inputs, outputs)) = widths(rows, x.len(), z.len()) else {
        return;
    };
    multiply(
        join,
        T::Sum::of(1.0),
        Matrix::dense(x, rows, inputs),
        Matrix::dense(weights, outputs, inputs).transposed(),
        T::Sum::of(0.0),
        MatrixMut::dense(z, rows, outputs),
    );
}

/// dx = dz weights.
pub fn dense_input_gradient<T: Element>(join: &dyn Join, rows: usize, dz: &[T], weights: &[T], dx: &mut [T::Sum]) {
    let Some((inputs, outputs)) = widths(rows, dx.len(), dz.len()) else {
        return;
    };
    multiply(
        join,
        T::Sum::of(1.0),
        Matrix::dense(dz, rows, outputs),
        Matrix::dense(weights, outputs, inputs),
        T::Sum::of(0.0),
        MatrixMut::dense(dx, rows, inputs),
    );
}

/// dweights += dz' x.
pub fn dense_weight_gradient<T: Element>(join: &dyn Join, rows: usize, dz: &[T], x: &[T], dweights: &mut [T::Sum]) {
    let Some((inputs, outputs)) = widths(rows, x.len(), dz.len()) else {
        return;
    };
    multiply(
        join,
        T::Sum::of(1.0),
        Matrix::dense(dz, rows, outputs).transposed(),
        Matrix::dense(x, rows, inputs),
        T::Sum::of(1.0),
        MatrixMut::dense(dweights, outputs, inputs),
    );
}

fn widths(rows: usize, inputs: usize, outputs: usize) -> Option<(usize, usize)> {
    (rows > 0).then(|| (inputs / rows, outputs / rows))
}

wide! {
    /// z += bias, row by row.
    pub fn add_bias<S: Real>(z: &mut [S], bias: &[S]) {
        for row in z.chunks_exact_mut(bias.len().max(1)) {
            for (z, bias) in row.iter_mut().zip(bias) {
                *z += *bias;
            }
        }
    }
}

wide! {
    /// dbias += the sum of the rows of dz.
    pub fn bias_gradient<S: Real>(dz: &[S], dbias: &mut [S]) {
        for row in dz.chunks_exact(dbias.len().max(1)) {
            for (sum, dz) in dbias.iter_mut().zip(row) {
                *sum += *dz;
            }
        }
    }
}

wide! {
    /// activations = max(z + bias, 0), rounded once. NaN stays NaN, so that no overflow is hidden.
    /// `z` is overwritten.
    pub fn bias_relu<T: Element>(z: &mut [T::Sum], bias: &[T::Sum], activations: &mut [T]) {
        let columns = bias.len().max(1);
        let zero = T::Sum::default();
        for (row, activations) in z.chunks_exact_mut(columns).zip(activations.chunks_exact_mut(columns)) {
            for (z, bias) in row.iter_mut().zip(bias) {
                let value = *z + *bias;
                *z = if value < zero { zero } else { value };
            }
            T::narrow_all(row, activations);
        }
    }
}

wide! {
    /// dz = da where the activation passed the value on, else 0, rounded to `T`; dbias += the sums of
    /// dz before rounding. `da` is overwritten; `row` is room for one row.
    pub fn relu_gradient<T: Element>(
        da: &mut [T::Sum], activations: &[T], dbias: &mut [T::Sum], row: &mut [T::Sum], dz: &mut [T]
    ) {
        let columns = dbias.len().max(1);
        let zero = T::Sum::default();
        for ((da, activations), dz) in da
            .chunks_exact_mut(columns)
            .zip(activations.chunks_exact(columns))
            .zip(dz.chunks_exact_mut(columns))
        {
            T::widen_all(activations, &mut row[..columns]);
            for ((da, activation), dbias) in da.iter_mut().zip(&*row).zip(&mut *dbias) {
                let passed = if *activation == zero { zero } else { *da };
                *da = passed;
                *dbias += passed;
            }
            T::narrow_all(da, dz);
        }
    }
}

wide! {
    /// Cross-entropy of the softmax of each row of `logits` (`[rows][classes]`) against its label, added
    /// up; `logits` become `factor` times its gradient, factor * (softmax - one at the label).
    ///
    /// Safe for any finite logits: the largest of a row is taken off first.
    pub fn softmax_cross_entropy<S: Real>(logits: &mut [S], labels: &[u32], factor: S) -> S {
        let classes = logits.len() / labels.len().max(1);
        let mut total = S::default();
        for (row, label) in logits.chunks_exact_mut(classes.max(1)).zip(labels) {
            let largest = row.iter().fold(row[0], |most, value| if *value > most { *value } else { most });
            let at_label = row[*label as usize] - largest;
            let mut sum = S::default();
            for value in row.iter_mut() {
                *value = (*value - largest).exponential();
                sum += *value;
            }
            total += sum.logarithm() - at_label;
            let share = factor / sum;
            for value in row.iter_mut() {
                *value = *value * share;
            }
            let correct = &mut row[*label as usize];
            *correct = *correct - factor;
        }
        total
    }
}

wide! {
    /// Each row to mean 0 and variance 1 (over `gain.len()` columns), times `gain`, plus `bias`; the
    /// variance gets 1e-5 before its root.
    pub fn layer_norm<S: Real>(x: &[S], gain: &[S], bias: &[S], y: &mut [S]) {
        let columns = gain.len().max(1);
        for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
            let (mean, inverse) = spread(x);
            for (((y, x), gain), bias) in y.iter_mut().zip(x).zip(gain).zip(bias) {
                *y = (*x - mean) * inverse * *gain + *bias;
            }
        }
    }
}

wide! {
    /// The gradient of [`layer_norm`] from its input and dy: dx, and added to dgain and dbias.
    pub fn layer_norm_gradient<S: Real>(
        x: &[S], gain: &[S], dy: &[S], dx: &mut [S], dgain: &mut [S], dbias: &mut [S]
    ) {
        let columns = gain.len().max(1);
        let share = S::of(1.0 / columns as f64);
        for ((x, dy), dx) in x
            .chunks_exact(columns)
            .zip(dy.chunks_exact(columns))
            .zip(dx.chunks_exact_mut(columns))
        {
            let (mean, inverse) = spread(x);
            for ((dx, dy), gain) in dx.iter_mut().zip(dy).zip(gain) {
                *dx = *dy * *gain;
            }
            let along_ones = sum_of(columns, |at| dx[at]) * share;
            let along_x = sum_of(columns, |at| dx[at] * (x[at] - mean)) * inverse * share;
            for ((((dx, x), dy), dgain), dbias) in dx.iter_mut().zip(x).zip(dy).zip(&mut *dgain).zip(&mut *dbias) {
                let normal = (*x - mean) * inverse;
                *dx = inverse * (*dx - along_ones - normal * along_x);
                *dgain += *dy * normal;
                *dbias += *dy;
            }
        }
    }
}

/// Mean, and one over the standard deviation.
#[inline(always)]
fn spread<S: Real>(row: &[S]) -> (S, S) {
    let share = S::of(1.0 / row.len() as f64);
    let mean = sum_of(row.len(), |at| row[at]) * share;
    let variance = sum_of(row.len(), |at| (row[at] - mean) * (row[at] - mean)) * share;
    (mean, S::of(1.0) / (variance + S::of(1e-5)).square_root())
}

/// Sixteen sums side by side, then their sum: an order that vectors of any width can follow.
#[inline(always)]
fn sum_of<S: Real>(count: usize, value: impl Fn(usize) -> S) -> S {
    let mut sums = [S::default(); 16];
    let whole = count - count % 16;
    for start in (0..whole).step_by(16) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += value(start + lane);
        }
    }
    for at in whole..count {
        sums[at - whole] += value(at);
    }
    let mut total = S::default();
    for sum in sums {
        total += sum;
    }
    total
}

/// sqrt(2 / pi) and the cubic term of the approximation by tanh.
const GELU: (f64, f64) = (0.797_884_560_802_865_4, 0.044_715);

wide! {
    /// x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))): Hendrycks and Gimpel (2016), the form of
    /// PyTorch's `approximate="tanh"`.
    pub fn gelu<S: Real>(x: &[S], y: &mut [S]) {
        for (x, y) in x.iter().zip(y) {
            *y = S::of(0.5) * *x * (S::of(1.0) + gelu_tanh(*x));
        }
    }
}

wide! {
    /// dx = dy times the derivative of [`gelu`] at x.
    pub fn gelu_gradient<S: Real>(x: &[S], dy: &[S], dx: &mut [S]) {
        let (half, one) = (S::of(0.5), S::of(1.0));
        for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
            let tanh = gelu_tanh(*x);
            let inner = S::of(GELU.0) * (one + S::of(3.0 * GELU.1) * *x * *x);
            *dx = *dy * half * (one + tanh + *x * (one - tanh * tanh) * inner);
        }
    }
}

#[inline(always)]
fn gelu_tanh<S: Real>(x: S) -> S {
    let (one, two) = (S::of(1.0), S::of(2.0));
    let inner = S::of(GELU.0) * (x + S::of(GELU.1) * x * x * x);
    // For large `inner` the exponential is infinite and the quotient 0: tanh is 1, as it should be.
    one - two / ((two * inner).exponential() + one)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::needless_range_loop, reason = "several arrays at one place")]

    use super::*;
    use crate::Sequential;
    use crate::linear::{bf16, f16};
    use crate::random::Random;

    fn values(random: &mut Random, count: usize) -> Vec<f64> {
        (0..count).map(|_| random.below(2001) as f64 / 1000.0 - 1.0).collect()
    }

    /// The derivative of `f` by `x[at]`, from both sides.
    fn slope(x: &[f64], at: usize, f: impl Fn(&[f64]) -> f64) -> f64 {
        let step = 1e-5;
        let moved = |by: f64| {
            let mut x = x.to_vec();
            x[at] += by;
            f(&x)
        };
        (moved(step) - moved(-step)) / (2.0 * step)
    }

    fn close(got: f64, expected: f64) {
        assert!(
            (got - expected).abs() <= 1e-7 * (1.0 + expected.abs()),
            "{got} {expected}"
        );
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn dense_gradients_are_slopes() {
        let random = &mut Random::new(1, 1);
        let (rows, inputs, outputs) = (3, 5, 4);
        let x = values(random, rows * inputs);
        let weights = values(random, outputs * inputs);
        let along = values(random, rows * outputs);
        let loss = |x: &[f64], weights: &[f64]| {
            let mut z = vec![0.0; rows * outputs];
            dense(&Sequential, rows, x, weights, &mut z);
            dot(&z, &along)
        };
        let mut dx = vec![9.0; x.len()];
        dense_input_gradient(&Sequential, rows, &along, &weights, &mut dx);
        for at in 0..x.len() {
            close(dx[at], slope(&x, at, |x| loss(x, &weights)));
        }
        let mut dweights = vec![1.0; weights.len()];
        dense_weight_gradient(&Sequential, rows, &along, &x, &mut dweights);
        for at in 0..weights.len() {
            close(dweights[at], 1.0 + slope(&weights, at, |weights| loss(&x, weights)));
        }
    }

    #[test]
    fn bias_and_relu_gradients_are_slopes() {
        let random = &mut Random::new(1, 2);
        let z = values(random, 12);
        let bias = values(random, 4);
        let along = values(random, 12);
        let loss = |z: &[f64], bias: &[f64]| {
            let mut activations = vec![0.0; 12];
            bias_relu::<f64>(&mut z.to_vec(), bias, &mut activations);
            dot(&activations, &along)
        };
        let mut activations = vec![0.0; 12];
        bias_relu::<f64>(&mut z.clone(), &bias, &mut activations);
        assert!(activations.contains(&0.0) && activations.iter().any(|a| *a > 0.0));
        let (mut dbias, mut dz) = (vec![0.0; 4], vec![0.0; 12]);
        relu_gradient::<f64>(&mut along.clone(), &activations, &mut dbias, &mut [0.0; 4], &mut dz);
        for at in 0..12 {
            close(dz[at], slope(&z, at, |z| loss(z, &bias)));
        }
        for at in 0..4 {
            close(dbias[at], slope(&bias, at, |bias| loss(&z, bias)));
        }
        let mut sums = vec![0.0; 4];
        bias_gradient(&dz, &mut sums);
        assert_eq!(sums, dbias);
        let mut sum = z.clone();
        add_bias(&mut sum, &bias);
        assert_eq!(sum[5], z[5] + bias[1]);
    }

    #[test]
    fn cross_entropy_gradients_are_slopes() {
        let logits = values(&mut Random::new(1, 3), 15);
        let labels = [4, 0, 2];
        let loss = |logits: &[f64]| softmax_cross_entropy(&mut logits.to_vec(), &labels, 1.0);
        let by_definition: f64 = logits
            .chunks(5)
            .zip(labels)
            .map(|(row, label)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[label as usize])
            .sum();
        close(loss(&logits), by_definition);
        let mut gradient = logits.clone();
        softmax_cross_entropy(&mut gradient, &labels, 3.0);
        for at in 0..15 {
            close(gradient[at], 3.0 * slope(&logits, at, loss));
        }
    }

    #[test]
    fn cross_entropy_is_safe_for_large_logits() {
        let mut logits = [1e30_f32, -1e30, 0.0];
        assert_eq!(softmax_cross_entropy(&mut logits, &[0], 1.0), 0.0);
        assert_eq!(logits, [0.0, 0.0, 0.0]);
        assert!(softmax_cross_entropy(&mut [f32::NAN, 0.0], &[1], 1.0).is_nan());
        assert_eq!(softmax_cross_entropy::<f32>(&mut [], &[], 1.0), 0.0);
    }

    #[test]
    fn layer_norm_gradients_are_slopes() {
        for columns in [1, 7, 16, 37] {
            let random = &mut Random::new(1, columns as u64);
            let x = values(random, 2 * columns);
            let (gain, bias) = (values(random, columns), values(random, columns));
            let along = values(random, 2 * columns);
            let loss = |x: &[f64], gain: &[f64], bias: &[f64]| {
                let mut y = vec![0.0; x.len()];
                layer_norm(x, gain, bias, &mut y);
                dot(&y, &along)
            };
            let (mut dx, mut dgain, mut dbias) = (vec![0.0; 2 * columns], vec![0.0; columns], vec![0.0; columns]);
            layer_norm_gradient(&x, &gain, &along, &mut dx, &mut dgain, &mut dbias);
            for at in 0..x.len() {
                close(dx[at], slope(&x, at, |x| loss(x, &gain, &bias)));
            }
            for at in 0..columns {
                close(dgain[at], slope(&gain, at, |gain| loss(&x, gain, &bias)));
                close(dbias[at], slope(&bias, at, |bias| loss(&x, &gain, bias)));
            }
        }
    }

    #[test]
    fn gelu_gradients_are_slopes() {
        let x: Vec<f64> = (-40..=40).map(|at| f64::from(at) / 8.0).collect();
        let along = values(&mut Random::new(1, 5), x.len());
        let loss = |x: &[f64]| {
            let mut y = vec![0.0; x.len()];
            gelu(x, &mut y);
            dot(&y, &along)
        };
        let mut dx = vec![0.0; x.len()];
        gelu_gradient(&x, &along, &mut dx);
        for at in 0..x.len() {
            close(dx[at], slope(&x, at, loss));
        }
        let mut y = [0.0_f64; 3];
        gelu(&[1.0, 100.0, -100.0], &mut y);
        // `torch.nn.functional.gelu(torch.tensor(1.0), approximate="tanh")`.
        assert!((y[0] - 0.841_191_990_607_477).abs() < 1e-9, "{y:?}");
        assert_eq!(y[1..], [100.0, 0.0]);
    }

    #[test]
    fn relu_keeps_nan_and_rounds_once() {
        let mut out = [f16::ZERO; 3];
        bias_relu(&mut [f32::NAN, -1.0, 2049.0], &[0.0, 0.5, 0.0], &mut out);
        assert!(out[0].is_nan());
        assert_eq!(out[1], f16::ZERO);
        // 2049 lies between 2048 and 2050: to the even one.
        assert_eq!(out[2].to_f32(), 2048.0);
        let mut out = [bf16::ZERO];
        // The bias decides, before the one rounding: 257 to 256, 257.5 to 258.
        bias_relu(&mut [257.0], &[0.5], &mut out);
        assert_eq!(out[0].to_f32(), 258.0);
    }
}
