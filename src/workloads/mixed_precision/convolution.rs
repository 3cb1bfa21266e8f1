//! A small convolution net for 8x8 images, forward and backward.
//!
//! 3x3 convolution with ReLU, another, 2x2 maximum pooling, a dense layer; weights of a convolution are
//! `[outputs][3][3][inputs]`. Activations lie channels last (NHWC), channels filled up with zeros to a
//! multiple of a vector's length. The second convolution's own values are never stored, only the
//! largest of each 2x2 and which of the four it was.
//!
//! A pass goes image by image: one image in full width, framed with zeros, stays in the first-level
//! cache, and the convolutions are sums over it without any copy of surroundings (no im2col). Behind
//! the pooling three of four gradients are 0 and ReLU makes more of them so; the backward pass only
//! visits the others.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::digits::{CLASSES, PIXELS, Samples};
use super::layers::{
    add_bias, bias_gradient, bias_relu, dense, dense_input_gradient, dense_weight_gradient, relu_gradient,
    softmax_cross_entropy, wide,
};
use super::perceptron::Place;
use super::spares::room;
use super::vectors::{Kernel, LANES, Lanes, Vectors, padded};
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
/// Height and width of an image in its frame, one pixel wide.
const FRAMED_SIDE: usize = SIDE + 2;
const FRAMED: usize = FRAMED_SIDE * FRAMED_SIDE;

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
    /// After the first convolution, of the whole batch, channels padded.
    first: Vec<T>,
    /// After pooling, of the whole batch.
    pooled: Vec<T>,
    /// Which of the four was the largest.
    largest: Vec<u8>,
    /// The gradient by the logits, and by the pooled values.
    dlogits: Vec<T>,
    dpooled: Vec<T>,
    /// The gradient by one image's first sums.
    dz: Vec<T>,
    /// The dense layer's sums.
    sums: Vec<T::Sum>,
    bias: Vec<T::Sum>,
    row: Vec<T::Sum>,
    image: Image<T::Sum>,
}

/// One image in full width, and the convolutions' weights as the loops want them.
#[derive(Debug)]
struct Image<S> {
    /// The pixels, framed.
    pixels: Vec<S>,
    /// After the first convolution, framed; and its gradient.
    first: Vec<S>,
    dfirst: Vec<S>,
    /// Sums of either convolution, and the gradient by the first one's.
    z: Vec<S>,
    /// Gradient by the pooled values.
    dpooled: Vec<S>,
    biases: [Vec<S>; 2],
    /// `[3][3][inputs][outputs]`, outputs padded.
    forward: [Vec<S>; 2],
    /// Of the second convolution: `[outputs][3][3][inputs]`, inputs padded; and its gradient.
    backward: Vec<S>,
    dsecond: Vec<S>,
    /// `[3][3][outputs]`, outputs padded.
    dweights: Vec<S>,
}

impl<T: Element> Default for Space<T> {
    fn default() -> Space<T> {
        Space {
            first: Vec::new(),
            pooled: Vec::new(),
            largest: Vec::new(),
            dlogits: Vec::new(),
            dpooled: Vec::new(),
            dz: Vec::new(),
            sums: Vec::new(),
            bias: Vec::new(),
            row: Vec::new(),
            image: Image {
                pixels: Vec::new(),
                first: Vec::new(),
                dfirst: Vec::new(),
                z: Vec::new(),
                dpooled: Vec::new(),
                biases: [Vec::new(), Vec::new()],
                forward: [Vec::new(), Vec::new()],
                backward: Vec::new(),
                dsecond: Vec::new(),
                dweights: Vec::new(),
            },
        }
    }
}

impl<T: Element<Sum: Vectors>> ConvolutionNet<T> {
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

    /// Makes room for an image and puts the weights in place.
    fn lay_out(&self, weights: &[T], image: &mut Image<T::Sum>) {
        let [channels, channels2] = self.channels;
        let [width, width2] = self.channels.map(padded);
        let [one, two, _] = self.places();
        // What frames an image stays 0 for good: only the inside is ever written to.
        room(&mut image.pixels, FRAMED);
        room(&mut image.first, FRAMED * width);
        room(&mut image.dfirst, FRAMED * width);
        room(&mut image.z, PIXELS * width.max(width2));
        room(&mut image.dpooled, POOLED * channels2);
        room(&mut image.dsecond, channels2 * KERNEL * width);
        room(&mut image.dweights, KERNEL * width);
        let [bias, bias2] = &mut image.biases;
        T::widen_all(&weights[one.biases()..one.end()], &mut room(bias, width)[..channels]);
        T::widen_all(&weights[two.biases()..two.end()], &mut room(bias2, width2)[..channels2]);

        let [forward, forward2] = &mut image.forward;
        let forward = room(forward, KERNEL * width);
        for (output, kernel) in one.weights(weights).chunks_exact(KERNEL).enumerate() {
            for (tap, weight) in kernel.iter().enumerate() {
                forward[tap * width + output] = weight.wide();
            }
        }
        let forward = room(forward2, KERNEL * channels * width2);
        let backward = room(&mut image.backward, channels2 * KERNEL * width);
        for (at, weights) in two.weights(weights).chunks_exact(channels).enumerate() {
            let wide = &mut backward[at * width..][..channels];
            T::widen_all(weights, wide);
            let (output, tap) = (at / KERNEL, at % KERNEL);
            for (input, weight) in wide.iter().enumerate() {
                forward[(tap * channels + input) * width2 + output] = *weight;
            }
        }
    }

    /// Leaves the activations and the logits (in `sums`) in `space`.
    fn forward(&self, weights: &[T], pixels: &[T], space: &mut Space<T>, join: &dyn Join) {
        let images = pixels.len() / PIXELS;
        let channels = self.channels[0];
        let [width, width2] = self.channels.map(padded);
        let three = self.places()[2];
        self.lay_out(weights, &mut space.image);
        let image = &mut space.image;
        room(&mut space.first, images * PIXELS * width);
        room(&mut space.pooled, images * three.inputs);
        room(&mut space.largest, images * three.inputs);
        for (((pixels, first), pooled), largest) in pixels
            .chunks_exact(PIXELS)
            .zip(space.first.chunks_exact_mut(PIXELS * width))
            .zip(space.pooled.chunks_exact_mut(three.inputs))
            .zip(space.largest.chunks_exact_mut(three.inputs))
        {
            frame(pixels, 1, &mut image.pixels);
            T::Sum::run(Convolution {
                image: &image.pixels,
                stride: 1,
                channels: 1,
                weights: &image.forward[0],
                width,
                z: &mut image.z,
            });
            bias_relu(&mut image.z[..PIXELS * width], &image.biases[0], first);
            frame(first, width, &mut image.first);
            T::Sum::run(Convolution {
                image: &image.first,
                stride: width,
                channels,
                weights: &image.forward[1],
                width: width2,
                z: &mut image.z,
            });
            bias_relu_pool(
                &image.z[..PIXELS * width2],
                &image.biases[1],
                pooled,
                largest,
                room(&mut space.row, width2),
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

    /// From the gradient by the pooled values to those of both convolutions' weights and of the first
    /// one's biases.
    fn convolutions_gradient(&self, batch: &Samples<T>, space: &mut Space<T>, gradient: &mut [T::Sum]) {
        let [channels, channels2] = self.channels;
        let width = padded(channels);
        let [one, two, three] = self.places();
        let image = &mut space.image;
        image.dsecond.fill(T::Sum::default());
        image.dweights.fill(T::Sum::default());
        let dbias = room(&mut space.bias, width);
        dbias.fill(T::Sum::default());
        let dz = room(&mut space.dz, PIXELS * width);
        let row = room(&mut space.row, width);
        for (((pixels, first), dpooled), largest) in batch
            .pixels
            .chunks_exact(PIXELS)
            .zip(space.first.chunks_exact(PIXELS * width))
            .zip(space.dpooled.chunks_exact(three.inputs))
            .zip(space.largest.chunks_exact(three.inputs))
        {
            frame(pixels, 1, &mut image.pixels);
            frame(first, width, &mut image.first);
            T::widen_all(dpooled, &mut image.dpooled[..three.inputs]);
            image.dfirst.fill(T::Sum::default());
            T::Sum::run(ConvolutionGradient {
                image: &image.first,
                width,
                dpooled: &image.dpooled[..three.inputs],
                largest,
                channels: channels2,
                weights: &image.backward,
                dimage: &mut image.dfirst,
                dweights: &mut image.dsecond,
            });
            let z = &mut image.z[..PIXELS * width];
            for (line, z) in z.chunks_exact_mut(SIDE * width).enumerate() {
                let inside = ((line + 1) * FRAMED_SIDE + 1) * width;
                z.copy_from_slice(&image.dfirst[inside..][..SIDE * width]);
            }
            relu_gradient(z, first, dbias, row, dz);
            T::widen_all(dz, z);
            T::Sum::run(FirstGradient {
                pixels: &image.pixels,
                dz: z,
                width,
                dweights: &mut image.dweights,
            });
        }
        for (sum, value) in one.both(gradient).1.iter_mut().zip(dbias) {
            *sum += *value;
        }
        for (output, kernel) in one.both(gradient).0.chunks_exact_mut(KERNEL).enumerate() {
            for (tap, sum) in kernel.iter_mut().enumerate() {
                *sum += image.dweights[tap * width + output];
            }
        }
        for (sums, values) in two
            .both(gradient)
            .0
            .chunks_exact_mut(channels)
            .zip(image.dsecond.chunks_exact(width))
        {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += *value;
            }
        }
    }

    /// Bytes of the pooling's indices, of a byte each in any precision.
    pub fn index_bytes(&self) -> usize {
        self.index_bytes.load(Ordering::Relaxed)
    }
}

impl<T: Element<Sum: Vectors>> Network<T> for ConvolutionNet<T> {
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
        let channels2 = self.channels[1];
        let [_, two, three] = self.places();
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
        self.convolutions_gradient(batch, space, gradient);
        let stored: [&[T]; 6] = [
            &batch.pixels,
            &space.first,
            &space.pooled,
            &space.dlogits,
            &space.dpooled,
            &space.dz,
        ];
        self.activation_bytes
            .fetch_max(stored.map(size_of_val).iter().sum(), Ordering::Relaxed);
        self.index_bytes.fetch_max(space.largest.len(), Ordering::Relaxed);
        loss
    }
}

impl<T: Element<Sum: Vectors>> Classifier<T> for ConvolutionNet<T> {
    fn classify(&self, weights: &[T], pixels: &[T], classes: &mut Vec<u32>, join: &dyn Join) {
        let mut space = self.spares.borrow();
        self.forward(weights, pixels, &mut space, join);
        let images = pixels.len() / PIXELS;
        super::largest_of_each(&space.sums[..images * CLASSES], CLASSES, classes);
    }

    fn activation_bytes(&self) -> usize {
        self.activation_bytes.load(Ordering::Relaxed)
    }

    fn products(&self) -> usize {
        let [one, two, three] = self.places().map(|place| place.inputs * place.outputs);
        (one + two) * PIXELS + three
    }
}

/// Weights of a net of this width, and the bytes of a workspace for so many images.
pub(super) fn memory(hidden: usize, images: u64, stored: u64, sum: u64) -> (u64, u64) {
    let channels = [(hidden / 4).max(1), (hidden / 2).max(1)];
    let [first, second] = channels.map(|channels| channels as u64);
    let [width, width2] = channels.map(|channels| padded(channels) as u64);
    let (pixels, pooled, classes) = (PIXELS as u64, POOLED as u64, CLASSES as u64);
    let (kernel, framed) = (KERNEL as u64, FRAMED as u64);
    let parameters = (kernel + 1) * first + (kernel * first + 1) * second + classes * (pooled * second + 1);
    let kept = images * (pixels * width + 2 * pooled * second + classes) + pixels * width;
    let image = framed * (1 + 2 * width) + pixels * width.max(width2) + pooled * second;
    let laid_out = kernel * (2 * width + first * width2 + 2 * second * width) + width + width2;
    let sums = images * pooled * second + 2 * width.max(width2).max(classes);
    (
        parameters,
        kept * stored + images * pooled * second + (image + laid_out + sums) * sum,
    )
}

#[inline(always)]
#[expect(clippy::eq_op, reason = "only NaN is not equal to itself")]
fn is_nan<S: Real>(value: S) -> bool {
    value != value
}

/// Widens an image of so many channels into the inside of a frame of zeros.
fn frame<T: Element>(image: &[T], channels: usize, framed: &mut [T::Sum]) {
    let line = SIDE * channels;
    for (number, from) in image.chunks_exact(line).enumerate() {
        let inside = ((number + 1) * FRAMED_SIDE + 1) * channels;
        T::widen_all(from, &mut framed[inside..][..line]);
    }
}

/// Where a 3x3 kernel's `tap` looks, from the upper left of its surroundings in a framed image.
const fn look(tap: usize) -> usize {
    tap / 3 * FRAMED_SIDE + tap % 3
}

/// A 3x3 convolution over a framed image.
struct Convolution<'a, S> {
    image: &'a [S],
    /// From a pixel to the next.
    stride: usize,
    /// Of the image; those that count.
    channels: usize,
    /// `[3][3][channels][width]`.
    weights: &'a [S],
    width: usize,
    /// `[pixels][width]`.
    z: &'a mut [S],
}

impl<S: Real> Kernel<S> for Convolution<'_, S> {
    #[inline(always)]
    fn run<V: Lanes<S>>(mut self) {
        for y in 0..SIDE {
            let mut output = 0;
            // Two vectors of outputs share the broadcast of an input.
            while output + 2 * LANES <= self.width {
                self.line::<V, 2>(y, output);
                output += 2 * LANES;
            }
            if output < self.width {
                self.line::<V, 1>(y, output);
            }
        }
    }
}

impl<S: Real> Convolution<'_, S> {
    /// Eight pixels of a line, `GROUP` vectors of outputs, all sums in registers.
    #[inline(always)]
    fn line<V: Lanes<S>, const GROUP: usize>(&mut self, y: usize, output: usize) {
        let mut sums = [[V::splat(S::default()); GROUP]; SIDE];
        for tap in 0..KERNEL {
            let start = (y * FRAMED_SIDE + look(tap)) * self.stride;
            let seen: [&[S]; SIDE] = std::array::from_fn(|x| &self.image[start + x * self.stride..][..self.channels]);
            let weights = &self.weights[tap * self.channels * self.width..][..self.channels * self.width];
            for (channel, weights) in weights.chunks_exact(self.width).enumerate() {
                let weights = &weights[output..][..GROUP * LANES];
                let weights: [V; GROUP] = std::array::from_fn(|group| V::load(&weights[group * LANES..]));
                for (sums, seen) in sums.iter_mut().zip(seen) {
                    let value = V::splat(seen[channel]);
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum = sum.plus(value, weight);
                    }
                }
            }
        }
        for (x, sums) in sums.into_iter().enumerate() {
            let z = &mut self.z[(y * SIDE + x) * self.width + output..][..GROUP * LANES];
            for (sum, z) in sums.into_iter().zip(z.chunks_exact_mut(LANES)) {
                sum.store(z);
            }
        }
    }
}

/// The gradients of a 3x3 convolution behind which each channel was pooled: from each 2x2 only the pixel
/// that was the largest has one.
struct ConvolutionGradient<'a, S> {
    /// The framed input, `[pixels][width]`.
    image: &'a [S],
    width: usize,
    /// `[cells][channels]`.
    dpooled: &'a [S],
    largest: &'a [u8],
    channels: usize,
    /// `[channels][3][3][width]`.
    weights: &'a [S],
    /// Added to, framed as the image is.
    dimage: &'a mut [S],
    /// Added to.
    dweights: &'a mut [S],
}

impl<S: Real> Kernel<S> for ConvolutionGradient<'_, S> {
    #[inline(always)]
    fn run<V: Lanes<S>>(self) {
        let width = self.width;
        for channel in 0..self.channels {
            // Places with a gradient, found without branches, which would be taken at random.
            let mut there = [(0, S::default()); POOLED];
            let mut count = 0;
            for cell in 0..POOLED {
                let value = self.dpooled[cell * self.channels + channel];
                let corner = cell / (SIDE / 2) * 2 * FRAMED_SIDE + cell % (SIDE / 2) * 2;
                let which = usize::from(self.largest[cell * self.channels + channel]);
                there[count % POOLED] = (corner + which / 2 * FRAMED_SIDE + which % 2, value);
                count += usize::from(value != S::default());
            }
            let kernel = channel * KERNEL * width..(channel + 1) * KERNEL * width;
            let weights = &self.weights[kernel.clone()];
            let dweights = &mut self.dweights[kernel];
            for input in (0..width).step_by(LANES) {
                let weights: [V; KERNEL] = std::array::from_fn(|tap| V::load(&weights[tap * width + input..]));
                let mut sums: [V; KERNEL] = std::array::from_fn(|tap| V::load(&dweights[tap * width + input..]));
                for (place, value) in &there[..count] {
                    let value = V::splat(*value);
                    for (row, (weights, sums)) in weights.chunks_exact(3).zip(sums.chunks_exact_mut(3)).enumerate() {
                        let start = (place + row * FRAMED_SIDE) * width + input;
                        let image = &self.image[start..][..2 * width + LANES];
                        let dimage = &mut self.dimage[start..][..2 * width + LANES];
                        for (column, (weight, sum)) in weights.iter().zip(sums).enumerate() {
                            *sum = sum.plus(value, V::load(&image[column * width..]));
                            let dimage = &mut dimage[column * width..];
                            V::load(dimage).plus(value, *weight).store(dimage);
                        }
                    }
                }
                for (tap, sum) in sums.into_iter().enumerate() {
                    sum.store(&mut dweights[tap * width + input..]);
                }
            }
        }
    }
}

/// The gradient of the first convolution's weights, whose input has one channel.
struct FirstGradient<'a, S> {
    /// Framed.
    pixels: &'a [S],
    /// `[pixels][width]`.
    dz: &'a [S],
    width: usize,
    /// `[3][3][width]`; added to.
    dweights: &'a mut [S],
}

impl<S: Real> Kernel<S> for FirstGradient<'_, S> {
    #[inline(always)]
    fn run<V: Lanes<S>>(self) {
        let width = self.width;
        for output in (0..width).step_by(LANES) {
            let mut sums: [V; KERNEL] = std::array::from_fn(|tap| V::load(&self.dweights[tap * width + output..]));
            for (pixel, dz) in self.dz.chunks_exact(width).enumerate() {
                let dz = V::load(&dz[output..]);
                let start = pixel / SIDE * FRAMED_SIDE + pixel % SIDE;
                let seen = &self.pixels[start..][..2 * FRAMED_SIDE + 3];
                for (tap, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.plus(V::splat(seen[look(tap)]), dz);
                }
            }
            for (tap, sum) in sums.into_iter().enumerate() {
                sum.store(&mut self.dweights[tap * width + output..]);
            }
        }
    }
}

wide! {
    /// The largest of each 2x2 plus its bias, at least 0, rounded once, and which of the four it was
    /// (of equal ones the first, in rows). NaN counts as the largest. `z` and `bias` are padded, the others
    /// are not; `row` is room for the padded channels.
    fn bias_relu_pool<T: Element>(
        z: &[T::Sum], bias: &[T::Sum], pooled: &mut [T], largest: &mut [u8], row: &mut [T::Sum]
    ) {
        let width = bias.len();
        let channels = pooled.len() / POOLED;
        let zero = T::Sum::default();
        for ((z, pooled), largest) in z
            .chunks_exact(2 * SIDE * width)
            .zip(pooled.chunks_exact_mut(SIDE / 2 * channels))
            .zip(largest.chunks_exact_mut(SIDE / 2 * channels))
        {
            // Two lines of pixels; the four of a square are a pixel's width or a line apart.
            let (upper, lower) = z.split_at(SIDE * width);
            for (((upper, lower), pooled), largest) in upper
                .chunks_exact(2 * width)
                .zip(lower.chunks_exact(2 * width))
                .zip(pooled.chunks_exact_mut(channels))
                .zip(largest.chunks_exact_mut(channels))
            {
                let [a, b] = [&upper[..channels], &upper[width..][..channels]];
                let [c, d] = [&lower[..channels], &lower[width..][..channels]];
                let (bias, row, largest) = (&bias[..channels], &mut row[..channels], &mut largest[..channels]);
                for channel in 0..channels {
                    let (mut most, mut at) = (a[channel], 0);
                    for (other, number) in [(b[channel], 1), (c[channel], 2), (d[channel], 3)] {
                        let more = other > most || is_nan(other);
                        most = if more { other } else { most };
                        at = if more { number } else { at };
                    }
                    let value = most + bias[channel];
                    row[channel] = if value < zero { zero } else { value };
                    largest[channel] = at;
                }
                T::narrow_all(row, pooled);
            }
        }
    }
}
