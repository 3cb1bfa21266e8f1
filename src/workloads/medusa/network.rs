//! How the model is trained: forward and backward passes by hand, for the trainer of mixed precision.
//!
//! [`Backbone`] learns to tell the next token; [`Drafts`] then trains Medusa's heads on a backbone
//! that stands still (Medusa-1), each on the token its distance ahead. The residual stream, the
//! sums and the gradients are f32; what products read is stored in `T`.

use super::alphabet::VOCABULARY;
use super::shape::{EPSILON, Shape, rotation};
use crate::Join;
use crate::flash_attention::{self, Heads, HeadsMut, Mask};
use crate::linear::Element;
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
        attend(shape, length, &it.qkv, &mut it.mixed, &mut it.log_sums, join);
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

/// Queries (0), keys (1) or values (2) of all heads: a token's heads lie side by side.
fn heads_of<T>(shape: Shape, length: usize, part: usize, qkv: &[T]) -> Heads<'_, T> {
    Heads {
        data: &qkv[part * shape.width..],
        batch: qkv.len() / (3 * shape.width * length),
        heads: shape.heads(),
        length,
        head_dim: HEAD,
        batch_stride: length * 3 * shape.width,
        head_stride: HEAD,
        row_stride: 3 * shape.width,
    }
}

/// Every head of every window looks back over its own window.
fn attend<T: Element<Sum = f32>>(
    shape: Shape,
    length: usize,
    qkv: &[T],
    mixed: &mut [T],
    log_sums: &mut [f32],
    join: &dyn Join,
) {
    let of = |part| heads_of(shape, length, part, qkv);
    let windows = qkv.len() / (3 * shape.width * length);
    flash_attention::forward(
        join,
        of(0),
        of(1),
        of(2),
        Mask::TopLeft,
        None,
        None,
        HeadsMut::side_by_side(mixed, windows, length, shape.heads(), HEAD),
        log_sums,
    );
}

/// dqkv from the gradient behind [`attend`]; probabilities are computed again. `parts` has room for
/// the gradients of queries, keys and values apart.
fn attend_back<T: Element<Sum = f32>>(
    shape: Shape,
    length: usize,
    trace: &LayerTrace<T>,
    dmixed: &[T],
    parts: &mut [f32],
    dqkv: &mut [f32],
    join: &dyn Join,
) {
    let of = |part| heads_of(shape, length, part, &trace.qkv);
    let (width, heads) = (shape.width, shape.heads());
    let windows = dmixed.len() / (width * length);
    let (dq, rest) = parts.split_at_mut(dmixed.len());
    let (dk, dv) = rest.split_at_mut(dmixed.len());
    flash_attention::backward(
        join,
        of(0),
        of(1),
        of(2),
        Heads::side_by_side(&trace.mixed, windows, length, heads, HEAD),
        Heads::side_by_side(dmixed, windows, length, heads, HEAD),
        &trace.log_sums,
        Mask::TopLeft,
        None,
        None,
        HeadsMut::side_by_side(dq, windows, length, heads, HEAD),
        HeadsMut::side_by_side(dk, windows, length, heads, HEAD),
        HeadsMut::side_by_side(dv, windows, length, heads, HEAD),
    );
    for (row, dqkv) in dqkv.chunks_exact_mut(3 * width).enumerate() {
        for (part, dqkv) in [&*dq, &*dk, &*dv].iter().zip(dqkv.chunks_exact_mut(width)) {
            dqkv.copy_from_slice(&part[row * width..][..width]);
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
        let mut parts = filled::<f32>(3 * rows * width);
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
            attend_back(shape, length, it, &rounded, &mut parts, dqkv, join);
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
                *mixed = *mixed / (1.0 + (-*mixed).exp()) + hidden.wide();
            }
            T::narrow_all(&mixed, &mut rounded);
            dense(join, rows, &rounded, &weights[at.unembed.clone()], &mut logits);
            total += entropy_back(windows, draft + 2, scale / shape.drafts as f32, &mut logits);
            T::narrow_all(&logits, &mut dlogits);
            dense_input_gradient(join, rows, &dlogits, &weights[at.unembed.clone()], &mut dmixed);
            dense_weight_gradient(join, rows, &dlogits, &rounded, &mut gradient[at.unembed]);
            for (d, x) in dmixed.iter_mut().zip(&resumed) {
                let gate = 1.0 / (1.0 + (-x).exp());
                *d *= gate * (1.0 + x * (1.0 - gate));
            }
            T::narrow_all(&dmixed, &mut rounded);
            dense_weight_gradient(join, rows, &rounded, &hidden, &mut gradient[at.mix]);
        }
        total / shape.drafts as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::tests::OnThreads;

    const SHAPE: Shape = Shape {
        width: 64,
        layers: 2,
        inner: 96,
        drafts: 2,
    };

    fn windows(count: usize, length: usize, ahead: usize, given: usize) -> Windows {
        let mut random = Random::new(8, 0);
        let tokens = (0..count * (length + ahead))
            .map(|_| random.below(VOCABULARY as u64) as u8)
            .collect();
        Windows {
            tokens,
            length,
            ahead,
            given,
        }
    }

    /// Along some directions, the gradient is the slope of the loss: by central differences, whose
    /// step is small against the curve and large against f32.
    fn check<N: Network<f32, Batch = Windows>>(network: &N, windows: &Windows) {
        let mut random = Random::new(9, 0);
        let mut weights = network.initial(3);
        for weight in &mut weights {
            *weight += (random.below(2001) as f32 / 1000.0 - 1.0) * 0.02;
        }
        let scale = 4.0;
        let mut gradient = vec![0.0; weights.len()];
        network.gradient(&weights, windows, scale, &mut gradient, &Sequential);
        let mut forked = vec![0.0; weights.len()];
        network.gradient(&weights, windows, scale, &mut forked, &OnThreads(3));
        assert_eq!(gradient, forked, "forking changes the gradient");
        let length: f64 = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        for trial in 0..6 {
            // The gradient's own direction, then the signs of random parts of it.
            let direction: Vec<f32> = gradient
                .iter()
                .map(|g| {
                    if trial == 0 || random.coin() {
                        *g / length as f32
                    } else {
                        0.0
                    }
                })
                .collect();
            let step = 2e-2;
            let loss_at = |step: f32| {
                let moved: Vec<f32> = weights.iter().zip(&direction).map(|(w, d)| w + step * d).collect();
                let mut unused = vec![0.0; weights.len()];
                f64::from(network.gradient(&moved, windows, scale, &mut unused, &Sequential))
            };
            let slope = (loss_at(step) - loss_at(-step)) / (2.0 * f64::from(step)) * f64::from(scale);
            let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
            assert!(
                (slope - expected).abs() < 0.01 * length,
                "trial {trial}: slope {slope}, gradient {expected}"
            );
        }
    }

    #[test]
    fn the_backbones_gradient_is_the_slope_of_its_loss() {
        check(&Backbone { shape: SHAPE }, &windows(2, 19, 1, 0));
        check(&Backbone { shape: SHAPE }, &windows(1, 1, 1, 0));
    }

    #[test]
    fn the_heads_gradient_is_the_slope_of_their_loss() {
        let backbone = Network::<f32>::initial(&Backbone { shape: SHAPE }, 1);
        let network = Drafts {
            shape: SHAPE,
            backbone: &backbone,
        };
        check(&network, &windows(2, 15, 3, 4));
    }

    #[test]
    fn a_new_head_begins_as_the_base_models_own() {
        let backbone = Network::<f32>::initial(&Backbone { shape: SHAPE }, 1);
        let network = Drafts {
            shape: SHAPE,
            backbone: &backbone,
        };
        let weights = Network::<f32>::initial(&network, 1);
        assert!(weights[SHAPE.draft(1).mix].iter().all(|weight| *weight == 0.0));
        assert_eq!(weights[SHAPE.draft(1).unembed], backbone[SHAPE.unembed()]);
    }
}
