//! A multilayer perceptron with ReLU: dense layers, forward and backward.
//!
//! The flat weights are, layer after layer, `[outputs][inputs]` and then the biases. The last layer's
//! sums go straight into the loss and are never stored.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::digits::Samples;
use super::layers::{
    add_bias, bias_gradient, bias_relu, dense, dense_input_gradient, dense_weight_gradient, relu_gradient,
    softmax_cross_entropy,
};
use super::spares::room;
use super::{Classifier, Network, Spares};
use crate::Join;
use crate::linear::{Element, Real};
use crate::random::Random;

/// Widths of the layers, from the input's to the number of classes.
#[derive(Debug)]
pub struct Perceptron<T: Element> {
    widths: Vec<usize>,
    spares: Spares<Space<T>>,
    activation_bytes: AtomicUsize,
}

/// Working memory of one pass.
#[derive(Debug)]
struct Space<T: Element> {
    /// After each hidden layer; kept from the forward pass for the backward pass.
    activations: Vec<Vec<T>>,
    /// The gradient by a layer's sums, and by those of the layer before it.
    dz: [Vec<T>; 2],
    /// What a product leaves, before it is rounded.
    sums: Vec<T::Sum>,
    bias: Vec<T::Sum>,
    row: Vec<T::Sum>,
}

impl<T: Element> Default for Space<T> {
    fn default() -> Space<T> {
        Space {
            activations: Vec::new(),
            dz: [Vec::new(), Vec::new()],
            sums: Vec::new(),
            bias: Vec::new(),
            row: Vec::new(),
        }
    }
}

/// Where a dense layer's weights and biases lie among all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) start: usize,
}

impl Place {
    pub(super) fn biases(self) -> usize {
        self.start + self.inputs * self.outputs
    }

    pub(super) fn end(self) -> usize {
        self.biases() + self.outputs
    }

    pub(super) fn weights<V>(self, flat: &[V]) -> &[V] {
        &flat[self.start..self.biases()]
    }

    /// The biases, widened.
    pub(super) fn bias<'b, T: Element>(self, flat: &[T], room_for: &'b mut Vec<T::Sum>) -> &'b [T::Sum] {
        let wide = room(room_for, self.outputs);
        T::widen_all(&flat[self.biases()..self.end()], wide);
        wide
    }

    /// The gradients of weights and biases.
    pub(super) fn both<V>(self, flat: &mut [V]) -> (&mut [V], &mut [V]) {
        flat[self.start..self.end()].split_at_mut(self.inputs * self.outputs)
    }

    /// He et al. (2015): uniform with variance 2 / inputs; biases 0.
    pub(super) fn fill<S: Real>(self, flat: &mut [S], random: &mut Random) {
        let bound = (6.0 / self.inputs as f64).sqrt();
        for weight in &mut flat[self.start..self.biases()] {
            let share = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
            *weight = S::of(bound * (2.0 * share - 1.0));
        }
    }
}

impl<T: Element> Perceptron<T> {
    /// Panics with fewer than two widths or a width of 0.
    pub fn new(widths: &[usize]) -> Perceptron<T> {
        assert!(widths.len() > 1 && !widths.contains(&0), "widths of input and output");
        Perceptron {
            widths: widths.to_vec(),
            spares: Spares::new(),
            activation_bytes: AtomicUsize::new(0),
        }
    }

    fn places(&self) -> impl DoubleEndedIterator<Item = Place> + ExactSizeIterator {
        (1..self.widths.len()).map(|layer| self.place(layer))
    }

    /// Of the layer that ends in `widths[layer]`.
    fn place(&self, layer: usize) -> Place {
        let start = (1..layer)
            .map(|before| (self.widths[before - 1] + 1) * self.widths[before])
            .sum();
        Place {
            inputs: self.widths[layer - 1],
            outputs: self.widths[layer],
            start,
        }
    }

    /// Leaves the hidden activations and the last layer's sums in `space`.
    fn forward(&self, weights: &[T], pixels: &[T], space: &mut Space<T>, join: &dyn Join) {
        let rows = pixels.len() / self.widths[0];
        let hidden = self.widths.len() - 2;
        space.activations.resize(hidden, Vec::new());
        for (layer, place) in self.places().enumerate() {
            let (before, after) = space.activations.split_at_mut(layer);
            let x = match before.last() {
                None => pixels,
                Some(activations) => &activations[..rows * place.inputs],
            };
            let z = room(&mut space.sums, rows * place.outputs);
            dense(join, rows, x, place.weights(weights), z);
            let bias = place.bias(weights, &mut space.bias);
            match after.first_mut() {
                Some(activations) => bias_relu(z, bias, room(activations, rows * place.outputs)),
                None => add_bias(z, bias),
            }
        }
    }
}

impl<T: Element> Network<T> for Perceptron<T> {
    type Batch = Samples<T>;

    fn parameters(&self) -> usize {
        self.place(self.widths.len() - 1).end()
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
        let rows = batch.labels.len();
        if rows == 0 {
            return T::Sum::default();
        }
        let mut space = self.spares.borrow();
        let space = &mut *space;
        self.forward(weights, &batch.pixels, space, join);

        let share = T::Sum::of(1.0 / rows as f64);
        let last = self.place(self.widths.len() - 1);
        let logits = &mut space.sums[..rows * last.outputs];
        let loss = softmax_cross_entropy(logits, &batch.labels, scale * share) * share;
        bias_gradient(logits, last.both(gradient).1);
        let [dz, dz_before] = &mut space.dz;
        T::narrow_all(logits, room(dz, rows * last.outputs));

        for (layer, place) in self.places().enumerate().rev() {
            let dz_here = &dz[..rows * place.outputs];
            let (dweights, _) = place.both(gradient);
            let Some(before) = layer.checked_sub(1) else {
                dense_weight_gradient(join, rows, dz_here, &batch.pixels, dweights);
                break;
            };
            let x = &space.activations[before][..rows * place.inputs];
            dense_weight_gradient(join, rows, dz_here, x, dweights);
            let da = room(&mut space.sums, rows * place.inputs);
            dense_input_gradient(join, rows, dz_here, place.weights(weights), da);
            let (_, dbias) = self.place(layer).both(gradient);
            relu_gradient(
                da,
                x,
                dbias,
                room(&mut space.row, place.inputs),
                room(dz_before, rows * place.inputs),
            );
            std::mem::swap(dz, dz_before);
        }
        let stored = [&dz[..], &dz_before[..]];
        let bytes: usize = space
            .activations
            .iter()
            .map(Vec::as_slice)
            .chain(stored)
            .map(size_of_val)
            .sum();
        self.activation_bytes
            .fetch_max(bytes + size_of_val(&batch.pixels[..]), Ordering::Relaxed);
        loss
    }
}

impl<T: Element> Classifier<T> for Perceptron<T> {
    fn classify(&self, weights: &[T], pixels: &[T], classes: &mut Vec<u32>, join: &dyn Join) {
        let mut space = self.spares.borrow();
        self.forward(weights, pixels, &mut space, join);
        let count = self.widths[self.widths.len() - 1];
        let rows = pixels.len() / self.widths[0];
        super::largest_of_each(&space.sums[..rows * count], count, classes);
    }

    fn activation_bytes(&self) -> usize {
        self.activation_bytes.load(Ordering::Relaxed)
    }

    fn products(&self) -> usize {
        self.places().map(|place| place.inputs * place.outputs).sum()
    }
}
