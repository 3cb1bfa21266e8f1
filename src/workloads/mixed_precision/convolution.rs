//! A small convolution net for 8x8 images, forward and backward.
//!
//! 3x3 convolution with ReLU, another, 2x2 maximum pooling, a dense layer. Activations lie channels
//! last (NHWC), so a convolution is a product: the 3x3 surroundings of every pixel, side by side
//! (im2col), times the weights `[outputs][3][3][inputs]`. The surroundings are made for a few images
//! at a time and thrown away; the second convolution's own values are never stored, only the largest
//! of each 2x2 and which of the four it was.
//!
//! Its input gradient is a convolution of dz with the kernel turned by half a turn.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::digits::{CLASSES, PIXELS, Samples};
use super::layers::{
    add_bias, bias_gradient, bias_relu, dense, dense_input_gradient, dense_weight_gradient, relu_gradient,
    softmax_cross_entropy, wide,
};
use super::perceptron::Place;
use super::spares::room;
use super::{Classifier, Network, Spares};
use crate::Join;
use crate::linear::{Element, Real};
use crate::random::Random;

/// Height and width of an image.
const SIDE: usize = 8;
/// Pixels after pooling.
const POOLED: usize = PIXELS / 4;
/// Values of a 3x3 surrounding in one channel.
const KERNEL: usize = 9;
/// Images whose surroundings exist at once: enough for a good product, few enough for the cache.
const BLOCK: usize = 4;

/// A convolution net with so many channels after each convolution.
#[derive(Debug)]
pub struct ConvolutionNet<T: Element> {
    channels: [usize; 2],
    spares: Spares<Space<T>>,
    activation_bytes: AtomicUsize,
    index_bytes: AtomicUsize,
}

/// Working memory of one pass.
#[derive(Debug)]
struct Space<T: Element> {
    /// After the first convolution, of the whole batch.
    first: Vec<T>,
    /// After pooling, of the whole batch.
    pooled: Vec<T>,
    /// Which of the four was the largest.
    largest: Vec<u8>,
    /// The gradient by the logits, and by the pooled values.
    dlogits: Vec<T>,
    dpooled: Vec<T>,
    /// Of a block of images: surroundings, gradients, sums.
    around: Vec<T>,
    dz: Vec<T>,
    turned: Vec<T>,
    sums: Vec<T::Sum>,
    bias: Vec<T::Sum>,
    row: Vec<T::Sum>,
}

impl<T: Element> Default for Space<T> {
    fn default() -> Space<T> {
        Space {
            first: Vec::new(),
            pooled: Vec::new(),
            largest: Vec::new(),
            dlogits: Vec::new(),
            dpooled: Vec::new(),
            around: Vec::new(),
            dz: Vec::new(),
            turned: Vec::new(),
            sums: Vec::new(),
            bias: Vec::new(),
            row: Vec::new(),
        }
    }
}

impl<T: Element> ConvolutionNet<T> {
    /// Panics with no channels.
    pub fn new(channels: [usize; 2]) -> ConvolutionNet<T> {
        assert!(!channels.contains(&0), "channels in both convolutions");
        ConvolutionNet {
            channels,
            spares: Spares::new(),
            activation_bytes: AtomicUsize::new(0),
            index_bytes: AtomicUsize::new(0),
        }
    }

    fn places(&self) -> [Place; 3] {
        let [first, second] = self.channels;
        let mut start = 0;
        [(KERNEL, first), (KERNEL * first, second), (POOLED * second, CLASSES)].map(|(inputs, outputs)| {
            let place = Place { inputs, outputs, start };
            start = place.end();
            place
        })
    }

    /// Leaves the activations and the logits (in `sums`) in `space`.
    fn forward(&self, weights: &[T], pixels: &[T], space: &mut Space<T>, join: &dyn Join) {
        let images = pixels.len() / PIXELS;
        let [channels, channels2] = self.channels;
        let [one, two, three] = self.places();
        room(&mut space.first, images * PIXELS * channels);
        room(&mut space.pooled, images * POOLED * channels2);
        room(&mut space.largest, images * POOLED * channels2);
        for start in (0..images).step_by(BLOCK) {
            let end = images.min(start + BLOCK);
            let rows = (end - start) * PIXELS;

            let around = room(&mut space.around, rows * one.inputs);
            surroundings(&pixels[start * PIXELS..end * PIXELS], 1, around);
            let z = room(&mut space.sums, rows * one.outputs);
            dense(join, rows, around, one.weights(weights), z);
            let first = &mut space.first[start * PIXELS * channels..end * PIXELS * channels];
            bias_relu(z, one.bias(weights, &mut space.bias), first);

            let around = room(&mut space.around, rows * two.inputs);
            surroundings(first, channels, around);
            let z = room(&mut space.sums, rows * two.outputs);
            dense(join, rows, around, two.weights(weights), z);
            let pooled = start * POOLED * channels2..end * POOLED * channels2;
            bias_relu_pool(
                z,
                two.bias(weights, &mut space.bias),
                &mut space.pooled[pooled.clone()],
                &mut space.largest[pooled],
                room(&mut space.row, channels2),
            );
        }
        let z = room(&mut space.sums, images * CLASSES);
        dense(
            join,
            images,
            &space.pooled[..images * three.inputs],
            three.weights(weights),
            z,
        );
        add_bias(z, three.bias(weights, &mut space.bias));
    }

    /// Bytes of the pooling's indices, of a byte each in any precision.
    pub fn index_bytes(&self) -> usize {
        self.index_bytes.load(Ordering::Relaxed)
    }
}

impl<T: Element> Network<T> for ConvolutionNet<T> {
    type Batch = Samples<T>;

    fn parameters(&self) -> usize {
        self.places()[2].end()
    }

    fn initial(&self, seed: u64) -> Vec<T::Sum> {
        let mut flat = vec![T::Sum::default(); self.parameters()];
        let random = &mut Random::new(seed, 0);
        for place in self.places() {
            place.fill(&mut flat, random);
        }
        flat
    }

    fn gradient(
        &self,
        weights: &[T],
        batch: &Samples<T>,
        scale: T::Sum,
        gradient: &mut [T::Sum],
        join: &dyn Join,
    ) -> T::Sum {
        let images = batch.labels.len();
        if images == 0 {
            return T::Sum::default();
        }
        let [channels, channels2] = self.channels;
        let [one, two, three] = self.places();
        let mut space = self.spares.borrow();
        let space = &mut *space;
        self.forward(weights, &batch.pixels, space, join);

        let share = T::Sum::of(1.0 / images as f64);
        let logits = &mut space.sums[..images * CLASSES];
        let loss = softmax_cross_entropy(logits, &batch.labels, scale * share) * share;
        bias_gradient(logits, three.both(gradient).1);
        let dlogits = room(&mut space.dlogits, images * CLASSES);
        T::narrow_all(logits, dlogits);

        let pooled = &space.pooled[..images * three.inputs];
        dense_weight_gradient(join, images, dlogits, pooled, three.both(gradient).0);
        let da = room(&mut space.sums, images * three.inputs);
        dense_input_gradient(join, images, dlogits, three.weights(weights), da);
        relu_gradient(
            da,
            pooled,
            two.both(gradient).1,
            room(&mut space.row, channels2),
            room(&mut space.dpooled, images * three.inputs),
        );
        turn(
            two.weights(weights),
            channels2,
            channels,
            room(&mut space.turned, two.inputs * two.outputs),
        );

        for start in (0..images).step_by(BLOCK) {
            let end = images.min(start + BLOCK);
            let rows = (end - start) * PIXELS;
            let pooled = start * POOLED * channels2..end * POOLED * channels2;
            let first = &space.first[start * PIXELS * channels..end * PIXELS * channels];

            let dz = room(&mut space.dz, rows * channels2);
            unpool(&space.dpooled[pooled.clone()], &space.largest[pooled], channels2, dz);
            let around = room(&mut space.around, rows * two.inputs);
            surroundings(first, channels, around);
            dense_weight_gradient(join, rows, dz, around, two.both(gradient).0);

            let around = room(&mut space.around, rows * KERNEL * channels2);
            surroundings(dz, channels2, around);
            let da = room(&mut space.sums, rows * channels);
            dense(join, rows, around, &space.turned[..two.inputs * two.outputs], da);
            let dz = room(&mut space.dz, rows * channels);
            let (dweights, dbias) = one.both(gradient);
            relu_gradient(da, first, dbias, room(&mut space.row, channels), dz);

            let around = room(&mut space.around, rows * one.inputs);
            surroundings(&batch.pixels[start * PIXELS..end * PIXELS], 1, around);
            dense_weight_gradient(join, rows, dz, around, dweights);
        }
        let stored: [&[T]; 5] = [
            &batch.pixels,
            &space.first,
            &space.pooled,
            &space.dlogits,
            &space.dpooled,
        ];
        self.activation_bytes
            .fetch_max(stored.map(size_of_val).iter().sum(), Ordering::Relaxed);
        self.index_bytes.fetch_max(space.largest.len(), Ordering::Relaxed);
        loss
    }
}

impl<T: Element> Classifier<T> for ConvolutionNet<T> {
    fn classify(&self, weights: &[T], pixels: &[T], classes: &mut Vec<u32>, join: &dyn Join) {
        let mut space = self.spares.borrow();
        self.forward(weights, pixels, &mut space, join);
        let images = pixels.len() / PIXELS;
        super::largest_of_each(&space.sums[..images * CLASSES], CLASSES, classes);
    }

    fn activation_bytes(&self) -> usize {
        self.activation_bytes.load(Ordering::Relaxed)
    }
}

/// For each pixel of each image the 3x3 pixels around it, row by row, all channels of each; 0 outside
/// the image.
fn surroundings<T: Copy + Default>(images: &[T], channels: usize, around: &mut [T]) {
    let line = SIDE * channels;
    for (image, around) in images
        .chunks_exact(PIXELS * channels)
        .zip(around.chunks_exact_mut(PIXELS * KERNEL * channels))
    {
        for (pixel, around) in around.chunks_exact_mut(KERNEL * channels).enumerate() {
            let (y, x) = (pixel / SIDE, pixel % SIDE);
            for (dy, around) in around.chunks_exact_mut(3 * channels).enumerate() {
                let Some(from) = (y + dy).checked_sub(1).filter(|from| *from < SIDE) else {
                    around.fill(T::default());
                    continue;
                };
                let from = &image[from * line..][..line];
                // Pixels x - 1 to x + 1, as far as there are any.
                let (left, right) = (usize::from(x == 0), usize::from(x == SIDE - 1));
                around[..left * channels].fill(T::default());
                around[(3 - right) * channels..].fill(T::default());
                around[left * channels..(3 - right) * channels]
                    .copy_from_slice(&from[(x + left - 1) * channels..(x + 2 - right) * channels]);
            }
        }
    }
}

/// `[outputs][3][3][inputs]` to `[inputs][3][3][outputs]` with the 3x3 turned by half a turn.
fn turn<T: Copy>(weights: &[T], outputs: usize, inputs: usize, turned: &mut [T]) {
    for (input, turned) in turned.chunks_exact_mut(KERNEL * outputs).enumerate() {
        for (place, turned) in turned.chunks_exact_mut(outputs).enumerate() {
            for (output, turned) in turned.iter_mut().enumerate() {
                *turned = weights[(output * KERNEL + (KERNEL - 1 - place)) * inputs + input];
            }
        }
    }
}

wide! {
    /// The largest of each 2x2 plus its bias, at least 0, rounded once, and which of the four it was
    /// (of equal ones the first, in rows). NaN counts as the largest. `row` is room for all channels.
    fn bias_relu_pool<T: Element>(
        z: &[T::Sum], bias: &[T::Sum], pooled: &mut [T], largest: &mut [u8], row: &mut [T::Sum]
    ) {
        let channels = bias.len();
        let zero = T::Sum::default();
        for ((z, pooled), largest) in z
            .chunks_exact(2 * SIDE * channels)
            .zip(pooled.chunks_exact_mut(SIDE / 2 * channels))
            .zip(largest.chunks_exact_mut(SIDE / 2 * channels))
        {
            // Two lines of pixels; the four of a square are a pixel's width or a line apart.
            let (upper, lower) = z.split_at(SIDE * channels);
            for (((upper, lower), pooled), largest) in upper
                .chunks_exact(2 * channels)
                .zip(lower.chunks_exact(2 * channels))
                .zip(pooled.chunks_exact_mut(channels))
                .zip(largest.chunks_exact_mut(channels))
            {
                let (a, b) = upper.split_at(channels);
                let (c, d) = lower.split_at(channels);
                for channel in 0..channels {
                    let (mut most, mut at) = (a[channel], 0);
                    for (other, number) in [(b[channel], 1), (c[channel], 2), (d[channel], 3)] {
                        let more = other > most || other != other;
                        most = if more { other } else { most };
                        at = if more { number } else { at };
                    }
                    let value = most + bias[channel];
                    row[channel] = if value < zero { zero } else { value };
                    largest[channel] = at;
                }
                T::narrow_all(&row[..channels], pooled);
            }
        }
    }
}

/// Each gradient to the one of its four pixels that was the largest, 0 to the others.
fn unpool<T: Copy + Default>(dpooled: &[T], largest: &[u8], channels: usize, dz: &mut [T]) {
    for ((dpooled, largest), dz) in dpooled
        .chunks_exact(SIDE / 2 * channels)
        .zip(largest.chunks_exact(SIDE / 2 * channels))
        .zip(dz.chunks_exact_mut(2 * SIDE * channels))
    {
        let (upper, lower) = dz.split_at_mut(SIDE * channels);
        for (line, first) in [(upper, 0), (lower, 2)] {
            for ((dpooled, largest), dz) in dpooled
                .chunks_exact(channels)
                .zip(largest.chunks_exact(channels))
                .zip(line.chunks_exact_mut(2 * channels))
            {
                let (left, right) = dz.split_at_mut(channels);
                for (into, at) in [(left, first), (right, first + 1)] {
                    for ((into, value), largest) in into.iter_mut().zip(dpooled).zip(largest) {
                        *into = if *largest == at { *value } else { T::default() };
                    }
                }
            }
        }
    }
}
