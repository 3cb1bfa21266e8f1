//! How the model is trained: forward and backward passes by hand, for the trainer of mixed precision.
//!
//! [`Backbone`] learns to tell the next token; [`Drafts`] then trains Medusa's heads on a backbone
//! that stands still (Medusa-1), each on the token its distance ahead. The residual stream, the
//! sums and the gradients are f32; what products read is stored in `T`.

use super::alphabet::VOCABULARY;
use super::shape::{EPSILON, Shape, rotation};
use crate::Join;
use crate::linear::{Element, Matrix, MatrixMut, multiply};
use crate::mixed_precision::{Network, dense, dense_input_gradient, dense_weight_gradient};
use crate::random::Random;

const HEAD: usize = Shape::HEAD_WIDTH;

/// Stretches of text, all of one length: the model reads `length` tokens of each and tells what
/// comes after every one of them. Each stretch has `ahead` tokens more, to be told.
pub struct Windows {
    pub tokens: Vec<u8>,
    pub length: usize,
    pub ahead: usize,
    /// The first this many tokens of a window are context only: nothing is learned from telling
    /// what comes after them.
    pub given: usize,
}

impl Windows {
    fn count(&self) -> usize {
        self.tokens.len() / (self.length + self.ahead)
    }

    fn window(&self, at: usize) -> &[u8] {
        let step = self.length + self.ahead;
        &self.tokens[at * step..][..step]
    }
}

/// Each row over its root mean square, rounded to `T`; the inverses are kept for the way back.
fn normalise<T: Element<Sum = f32>>(width: usize, x: &[f32], normal: &mut [T], inverse: &mut [f32], row: &mut [f32]) {
    for ((x, normal), inverse) in x.chunks_exact(width).zip(normal.chunks_exact_mut(width)).zip(inverse) {
        let square: f32 = sum(x.iter().map(|x| x * x));
        *inverse = 1.0 / (square / width as f32 + EPSILON).sqrt();
        for (row, x) in row.iter_mut().zip(x) {
            *row = x * *inverse;
        }
        T::narrow_all(row, normal);
    }
}

/// dx += the gradient through [`normalise`], of which `dnormal` is the gradient behind it.
fn normalise_back<T: Element<Sum = f32>>(
    width: usize,
    normal: &[T],
    inverse: &[f32],
    dnormal: &[f32],
    dx: &mut [f32],
    row: &mut [f32],
) {
    for (((normal, inverse), dnormal), dx) in normal
        .chunks_exact(width)
        .zip(inverse)
        .zip(dnormal.chunks_exact(width))
        .zip(dx.chunks_exact_mut(width))
    {
        T::widen_all(normal, row);
        let along = sum(row.iter().zip(dnormal).map(|(normal, d)| normal * d)) / width as f32;
        for ((dx, d), normal) in dx.iter_mut().zip(dnormal).zip(row.iter()) {
            *dx += inverse * (d - normal * along);
        }
    }
}

/// In eight parts, which the compiler can keep in a vector.
fn sum(values: impl Iterator<Item = f32>) -> f32 {
    let mut parts = [0.0_f32; 8];
    for (at, value) in values.enumerate() {
        parts[at % 8] += value;
    }
    parts.iter().sum()
}

/// What a layer's forward pass leaves for the way back.
#[derive(Default)]
struct LayerTrace<T> {
    attended: Vec<T>,
    attended_inverse: Vec<f32>,
    qkv: Vec<T>,
    mixed: Vec<T>,
    log_sums: Vec<f32>,
    fed: Vec<T>,
    fed_inverse: Vec<f32>,
    /// max(0, u) and its square.
    ramp: Vec<T>,
    square: Vec<T>,
}

/// A forward pass.
#[derive(Default)]
struct Trace<T> {
    layers: Vec<LayerTrace<T>>,
    /// The hidden states that every head reads.
    hidden: Vec<T>,
    hidden_inverse: Vec<f32>,
}

/// Turns the queries and keys of each row to its position; `back` turns them back.
fn rotate(shape: Shape, length: usize, back: bool, qkv: &mut [f32]) {
    let angles: Vec<(f32, f32)> = (0..length)
        .flat_map(|position| (0..HEAD / 2).map(move |pair| rotation(position, pair)))
        .map(|(cos, sin)| (cos as f32, if back { -sin as f32 } else { sin as f32 }))
        .collect();
    for (row, qkv) in qkv.chunks_exact_mut(3 * shape.width).enumerate() {
        let angles = &angles[row % length * (HEAD / 2)..][..HEAD / 2];
        for head in qkv[..2 * shape.width].chunks_exact_mut(HEAD) {
            let (low, high) = head.split_at_mut(HEAD / 2);
            for ((low, high), (cos, sin)) in low.iter_mut().zip(high).zip(angles) {
                (*low, *high) = (*low * cos - *high * sin, *low * sin + *high * cos);
            }
        }
    }
}

fn filled<T: Default + Clone>(count: usize) -> Vec<T> {
    vec![T::default(); count]
}

/// The base model's forward pass over all windows.
fn forward<T: Element<Sum = f32>>(shape: Shape, weights: &[T], windows: &Windows, join: &dyn Join) -> Trace<T> {
    let (width, inner, length) = (shape.width, shape.inner, windows.length);
    let rows = windows.count() * length;
    let mut x = filled::<f32>(rows * width);
    let embed = &weights[shape.embed()];
    for (x, token) in x.chunks_exact_mut(width).zip(inputs(windows)) {
        T::widen_all(&embed[usize::from(token) * width..][..width], x);
    }
    let mut row = filled::<f32>(width);
    let mut wide = filled::<f32>(rows * inner.max(3 * width));
    let mut narrow = filled::<f32>(rows * width);
    let mut trace = Trace::default();
    for layer in 0..shape.layers {
        let at = shape.layer(layer);
        let mut it = LayerTrace {
            attended: filled(rows * width),
            attended_inverse: filled(rows),
            qkv: filled(rows * 3 * width),
            mixed: filled(rows * width),
            log_sums: filled(rows * shape.heads()),
            fed: filled(rows * width),
            fed_inverse: filled(rows),
            ramp: filled(rows * inner),
            square: filled(rows * inner),
        };
        normalise(width, &x, &mut it.attended, &mut it.attended_inverse, &mut row);
        let qkv = &mut wide[..rows * 3 * width];
        dense(join, rows, &it.attended, &weights[at.qkv], qkv);
        rotate(shape, length, false, qkv);
        T::narrow_all(qkv, &mut it.qkv);
        attend(shape, length, &it.qkv, &mut narrow, &mut it.log_sums, join);
        T::narrow_all(&narrow, &mut it.mixed);
        dense(join, rows, &it.mixed, &weights[at.out], &mut narrow);
        add(&mut x, &narrow);

        normalise(width, &x, &mut it.fed, &mut it.fed_inverse, &mut row);
        let up = &mut wide[..rows * inner];
        dense(join, rows, &it.fed, &weights[at.up], up);
        for up in up.iter_mut() {
            *up = up.max(0.0);
        }
        T::narrow_all(up, &mut it.ramp);
        for up in up.iter_mut() {
            *up *= *up;
        }
        T::narrow_all(up, &mut it.square);
        dense(join, rows, &it.square, &weights[at.down], &mut narrow);
        add(&mut x, &narrow);
        trace.layers.push(it);
    }
    trace.hidden = filled(rows * width);
    trace.hidden_inverse = filled(rows);
    normalise(width, &x, &mut trace.hidden, &mut trace.hidden_inverse, &mut row);
    trace
}

fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

fn inputs(windows: &Windows) -> impl Iterator<Item = u8> + '_ {
    (0..windows.count()).flat_map(|at| windows.window(at)[..windows.length].iter().copied())
}

/// Logits become `scale` times the gradient of the loss by them; gives back the mean loss of the
/// rows that count: how unlikely the model took the token `distance` after each.
fn entropy_back(windows: &Windows, distance: usize, scale: f32, logits: &mut [f32]) -> f32 {
    let counted = windows.count() * (windows.length - windows.given);
    let share = 1.0 / counted.max(1) as f32;
    let mut loss = 0.0_f64;
    for (row, logits) in logits.chunks_exact_mut(VOCABULARY).enumerate() {
        let (window, place) = (row / windows.length, row % windows.length);
        if place < windows.given {
            logits.fill(0.0);
            continue;
        }
        let target = usize::from(windows.window(window)[place + distance]);
        let most = logits.iter().fold(f32::NEG_INFINITY, |most, value| most.max(*value));
        let chosen = logits[target] - most;
        let mut total = 0.0;
        for value in logits.iter_mut() {
            *value = (*value - most).exp();
            total += *value;
        }
        loss += f64::from(total.ln() - chosen);
        let factor = scale * share / total;
        for value in logits.iter_mut() {
            *value *= factor;
        }
        logits[target] -= scale * share;
    }
    (loss * f64::from(share)) as f32
}

/// Every head of every window looks back over its own window.
fn attend<T: Element<Sum = f32>>(
    shape: Shape,
    length: usize,
    qkv: &[T],
    mixed: &mut [f32],
    log_sums: &mut [f32],
    join: &dyn Join,
) {
    let (width, heads) = (shape.width, shape.heads());
    let scale = 1.0 / (HEAD as f32).sqrt();
    let mut scores = vec![0.0; length * length];
    let mut rounded = vec![T::default(); length * length];
    for window in 0..qkv.len() / (3 * width * length) {
        for head in 0..heads {
            let of = |part: usize| of_head(shape, length, window, part, head, qkv);
            multiply(
                join,
                scale,
                of(0),
                of(1).transposed(),
                0.0,
                MatrixMut::dense(&mut scores, length, length),
            );
            for (row, scores) in scores.chunks_exact_mut(length).enumerate() {
                let (seen, unseen) = scores.split_at_mut(row + 1);
                unseen.fill(0.0);
                let most = seen.iter().fold(f32::NEG_INFINITY, |most, value| most.max(*value));
                for score in seen.iter_mut() {
                    *score = fast_exp(*score - most);
                }
                let total = sum(seen.iter().copied());
                for score in seen {
                    *score /= total;
                }
                log_sums[(window * heads + head) * length + row] = most + total.ln();
            }
            T::narrow_all(&scores, &mut rounded);
            multiply(
                join,
                1.0,
                Matrix::dense(&rounded, length, length),
                of(2),
                0.0,
                MatrixMut {
                    data: &mut mixed[window * length * width + head * HEAD..],
                    rows: length,
                    columns: HEAD,
                    row_stride: width,
                },
            );
        }
    }
}

/// Queries (0), keys (1) or values (2) of one head in one window.
fn of_head<T>(shape: Shape, length: usize, window: usize, part: usize, head: usize, qkv: &[T]) -> Matrix<'_, T> {
    Matrix {
        data: &qkv[window * length * 3 * shape.width + part * shape.width + head * HEAD..],
        rows: length,
        columns: HEAD,
        row_stride: 3 * shape.width,
        column_stride: 1,
    }
}

fn fast_exp(x: f32) -> f32 {
    let x = x.max(-87.0);
    let n = (x * std::f32::consts::LOG2_E + 12582912.0) - 12582912.0;
    let r = x - n * 0.693359375 + n * 2.12194440e-4;
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (0.16666667 + r * (0.041666666 + r * (0.008333333 + r * 0.0013888889)))));
    p * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

/// dqkv from the gradient behind [`attend`]; probabilities are computed again.
fn attend_back<T: Element<Sum = f32>>(
    shape: Shape,
    length: usize,
    qkv: &[T],
    mixed: &[T],
    log_sums: &[f32],
    dmixed: &[T],
    dqkv: &mut [f32],
    join: &dyn Join,
) {
    let (width, heads) = (shape.width, shape.heads());
    let scale = 1.0 / (HEAD as f32).sqrt();
    let mut scores = vec![0.0; length * length];
    let mut slopes = vec![0.0; length * length];
    let mut rounded = vec![T::default(); length * length];
    for window in 0..qkv.len() / (3 * width * length) {
        for head in 0..heads {
            let of = |part: usize| of_head(shape, length, window, part, head, qkv);
            let start = window * length * width + head * HEAD;
            let dout = Matrix {
                data: &dmixed[start..],
                rows: length,
                columns: HEAD,
                row_stride: width,
                column_stride: 1,
            };
            multiply(
                join,
                scale,
                of(0),
                of(1).transposed(),
                0.0,
                MatrixMut::dense(&mut scores, length, length),
            );
            for (row, scores) in scores.chunks_exact_mut(length).enumerate() {
                let log_sum = log_sums[(window * heads + head) * length + row];
                let (seen, unseen) = scores.split_at_mut(row + 1);
                unseen.fill(0.0);
                for score in seen {
                    *score = fast_exp(*score - log_sum);
                }
            }
            T::narrow_all(&scores, &mut rounded);
            let mut into = |part: usize, a: Matrix<'_, T>, b: Matrix<'_, T>, alpha: f32| {
                multiply(
                    join,
                    alpha,
                    a,
                    b,
                    0.0,
                    MatrixMut {
                        data: &mut dqkv[window * length * 3 * width + part * width + head * HEAD..],
                        rows: length,
                        columns: HEAD,
                        row_stride: 3 * width,
                    },
                );
            };
            into(2, Matrix::dense(&rounded, length, length).transposed(), dout, 1.0);
            multiply(
                join,
                1.0,
                dout,
                of(2).transposed(),
                0.0,
                MatrixMut::dense(&mut slopes, length, length),
            );
            for (row, (scores, slopes)) in scores
                .chunks_exact(length)
                .zip(slopes.chunks_exact_mut(length))
                .enumerate()
            {
                let at = start + row * width;
                let along: f32 = sum(mixed[at..at + HEAD]
                    .iter()
                    .zip(&dmixed[at..at + HEAD])
                    .map(|(o, d)| o.wide() * d.wide()));
                for (slope, score) in slopes.iter_mut().zip(scores) {
                    *slope = score * (*slope - along);
                }
            }
            T::narrow_all(&slopes, &mut rounded);
            into(0, Matrix::dense(&rounded, length, length), of(1), scale);
            into(1, Matrix::dense(&rounded, length, length).transposed(), of(0), scale);
        }
    }
}

/// The base model, to be trained.
#[derive(Clone, Copy, Debug)]
pub struct Backbone {
    pub shape: Shape,
}

impl<T: Element<Sum = f32>> Network<T> for Backbone {
    type Batch = Windows;

    fn parameters(&self) -> usize {
        self.shape.base_weights()
    }

    /// Normal numbers: matrices keep the mean square of what they read; those that write into the
    /// residual stream begin small, so that it begins as the embedding.
    fn initial(&self, seed: u64) -> Vec<f32> {
        let (shape, mut random) = (self.shape, Random::new(seed, 0));
        let mut weights = filled::<f32>(self.shape.base_weights());
        let narrow = 1.0 / (shape.width as f32).sqrt();
        fill(&mut weights[shape.embed()], 0.5, &mut random);
        for layer in 0..shape.layers {
            let at = shape.layer(layer);
            fill(&mut weights[at.qkv], narrow, &mut random);
            fill(&mut weights[at.out], 0.2 * narrow, &mut random);
            fill(&mut weights[at.up], narrow, &mut random);
            fill(&mut weights[at.down], 0.2 / (shape.inner as f32).sqrt(), &mut random);
        }
        fill(&mut weights[shape.unembed()], 0.2 * narrow, &mut random);
        weights
    }

    fn gradient(&self, weights: &[T], windows: &Windows, scale: f32, gradient: &mut [f32], join: &dyn Join) -> f32 {
        let shape = self.shape;
        let (width, inner, length) = (shape.width, shape.inner, windows.length);
        let rows = windows.count() * length;
        let trace = forward(shape, weights, windows, join);
        let mut row = filled::<f32>(width);
        let mut rounded = filled::<T>(rows * width);
        let mut rounded_wide = filled::<T>(rows * inner.max(3 * width));
        let mut wide = filled::<f32>(rows * inner.max(3 * width));
        let mut narrow = filled::<f32>(rows * width);
        let mut dx = filled::<f32>(rows * width);

        let logits = &mut wide[..rows * VOCABULARY];
        dense(join, rows, &trace.hidden, &weights[shape.unembed()], logits);
        let loss = entropy_back(windows, 1, scale, logits);
        let dlogits = &mut rounded_wide[..rows * VOCABULARY];
        T::narrow_all(logits, dlogits);
        dense_input_gradient(join, rows, dlogits, &weights[shape.unembed()], &mut narrow);
        dense_weight_gradient(join, rows, dlogits, &trace.hidden, &mut gradient[shape.unembed()]);
        normalise_back(width, &trace.hidden, &trace.hidden_inverse, &narrow, &mut dx, &mut row);

        for layer in (0..shape.layers).rev() {
            let (at, it) = (shape.layer(layer), &trace.layers[layer]);
            T::narrow_all(&dx, &mut rounded);
            let up = &mut wide[..rows * inner];
            dense_input_gradient(join, rows, &rounded, &weights[at.down.clone()], up);
            dense_weight_gradient(join, rows, &rounded, &it.square, &mut gradient[at.down]);
            for (d, ramp) in up.iter_mut().zip(&it.ramp) {
                *d *= 2.0 * ramp.wide();
            }
            let dup = &mut rounded_wide[..rows * inner];
            T::narrow_all(up, dup);
            dense_input_gradient(join, rows, dup, &weights[at.up.clone()], &mut narrow);
            dense_weight_gradient(join, rows, dup, &it.fed, &mut gradient[at.up]);
            normalise_back(width, &it.fed, &it.fed_inverse, &narrow, &mut dx, &mut row);

            T::narrow_all(&dx, &mut rounded);
            dense_input_gradient(join, rows, &rounded, &weights[at.out.clone()], &mut narrow);
            dense_weight_gradient(join, rows, &rounded, &it.mixed, &mut gradient[at.out]);
            T::narrow_all(&narrow, &mut rounded);
            let dqkv = &mut wide[..rows * 3 * width];
            attend_back(shape, length, &it.qkv, &it.mixed, &it.log_sums, &rounded, dqkv, join);
            rotate(shape, length, true, dqkv);
            let drounded = &mut rounded_wide[..rows * 3 * width];
            T::narrow_all(dqkv, drounded);
            dense_input_gradient(join, rows, drounded, &weights[at.qkv.clone()], &mut narrow);
            dense_weight_gradient(join, rows, drounded, &it.attended, &mut gradient[at.qkv]);
            normalise_back(width, &it.attended, &it.attended_inverse, &narrow, &mut dx, &mut row);
        }
        let embed = &mut gradient[shape.embed()];
        for (dx, token) in dx.chunks_exact(width).zip(inputs(windows)) {
            add(&mut embed[usize::from(token) * width..][..width], dx);
        }
        loss
    }
}

fn fill(weights: &mut [f32], deviation: f32, random: &mut Random) {
    for weight in weights {
        // Twelve uniform numbers make a normal one, near enough.
        let sum: f64 = (0..12)
            .map(|_| (random.next() >> 11) as f64 / (1_u64 << 53) as f64)
            .sum();
        *weight = (sum - 6.0) as f32 * deviation;
    }
}

/// Medusa's heads, to be trained on a backbone that stands still.
#[derive(Clone, Copy, Debug)]
pub struct Drafts<'a, T> {
    pub shape: Shape,
    pub backbone: &'a [T],
}

impl<T: Element<Sum = f32>> Network<T> for Drafts<'_, T> {
    type Batch = Windows;

    fn parameters(&self) -> usize {
        self.shape.drafts_weights()
    }

    /// As the paper has it: W1 is zero and W2 the base model's own head, so that each head begins by
    /// telling what the base model tells.
    fn initial(&self, _: u64) -> Vec<f32> {
        let mut weights = filled::<f32>(self.shape.drafts_weights());
        for draft in 0..self.shape.drafts {
            let unembed = &mut weights[self.shape.draft(draft).unembed];
            T::widen_all(&self.backbone[self.shape.unembed()], unembed);
        }
        weights
    }

    /// The loss is the mean of the heads' own.
    fn gradient(&self, weights: &[T], windows: &Windows, scale: f32, gradient: &mut [f32], join: &dyn Join) -> f32 {
        let (shape, width) = (self.shape, self.shape.width);
        let rows = windows.count() * windows.length;
        let hidden = forward(shape, self.backbone, windows, join).hidden;
        let mut mixed = filled::<f32>(rows * width);
        let mut dmixed = filled::<f32>(rows * width);
        let mut rounded = filled::<T>(rows * width);
        let mut logits = filled::<f32>(rows * VOCABULARY);
        let mut dlogits = filled::<T>(rows * VOCABULARY);
        let mut total = 0.0;
        for draft in 0..shape.drafts {
            let at = shape.draft(draft);
            dense(join, rows, &hidden, &weights[at.mix.clone()], &mut mixed);
            let resumed = mixed.clone();
            for (mixed, hidden) in mixed.iter_mut().zip(&hidden) {
                *mixed = *mixed / (1.0 + fast_exp(-*mixed)) + hidden.wide();
            }
            T::narrow_all(&mixed, &mut rounded);
            dense(join, rows, &rounded, &weights[at.unembed.clone()], &mut logits);
            total += entropy_back(windows, draft + 2, scale / shape.drafts as f32, &mut logits);
            T::narrow_all(&logits, &mut dlogits);
            dense_input_gradient(join, rows, &dlogits, &weights[at.unembed.clone()], &mut dmixed);
            dense_weight_gradient(join, rows, &dlogits, &rounded, &mut gradient[at.unembed]);
            for (d, x) in dmixed.iter_mut().zip(&resumed) {
                let gate = 1.0 / (1.0 + fast_exp(-x));
                *d *= gate * (1.0 + x * (1.0 - gate));
            }
            T::narrow_all(&dmixed, &mut rounded);
            dense_weight_gradient(join, rows, &rounded, &hidden, &mut gradient[at.mix]);
        }
        total / shape.drafts as f32
    }
}
