//! Mixed-precision training: half-width storage, full-width sums and master weights.
//!
//! A [`Trainer`] keeps the *master* weights in full width and hands a [`Network`] a copy in the
//! storage type, f16 or bf16. Everything that is large and read often is stored in half: weight
//! copies, activations, activation gradients. Everything that adds up is summed in f32: products,
//! bias gradients, the loss, the gradient of the weights, and the update of the master (Micikevicius
//! et al.: Mixed Precision Training, ICLR 2018). [`POLICY`] says it for each operation.
//!
//! f16 has no value between 0 and 6e-8: small gradients vanish in it. So the loss is multiplied by a
//! scale before the backward pass and the gradient divided by it after; [`LossScale`] grows the
//! scale as far as it goes and, when something overflows, halves it and skips the step, by the rules
//! of PyTorch's GradScaler.
//!
//! A batch comes in shards, each with a gradient of its own; they are reduced to their mean. How
//! many shards is part of the input, never the number of threads, so the trained weights are the
//! same bits on any pool.

mod convolution;
mod course;
pub mod digits;
mod layers;
mod optimizer;
mod perceptron;
mod scale;
mod spares;
mod trainer;

pub use convolution::ConvolutionNet;
pub use course::{Batches, Course, MOST_SHARDS, Model, Settings};
pub use layers::{
    add_bias, bias_gradient, bias_relu, dense, dense_input_gradient, dense_weight_gradient, gelu, gelu_gradient,
    layer_norm, layer_norm_gradient, relu_gradient, softmax_cross_entropy,
};
pub use optimizer::{Moments, Optimizer};
pub use perceptron::Perceptron;
pub use scale::LossScale;
pub use spares::{Borrowed, Spares};
pub use trainer::{Network, StepOutcome, Trainer};

use self::digits::Samples;
use crate::Join;
use crate::linear::{Element, Real};

/// A network that tells digits apart.
pub trait Classifier<T: Element>: Network<T, Batch = Samples<T>> {
    /// The likeliest class of each image.
    fn classify(&self, weights: &[T], pixels: &[T], classes: &mut Vec<u32>, join: &dyn Join);

    /// Bytes that one shard's activations and their gradients took in the storage type, counted from
    /// the buffers themselves; the largest so far.
    fn activation_bytes(&self) -> usize;
}

/// The place of the largest value of each row, of equal ones the first.
fn largest_of_each<S: Real>(rows: &[S], columns: usize, places: &mut Vec<u32>) {
    places.clear();
    places.extend(rows.chunks_exact(columns).map(|row| {
        let mut most = 0;
        for (at, value) in row.iter().enumerate() {
            if *value > row[most] {
                most = at;
            }
        }
        most as u32
    }));
}

/// The share of the samples whose class is their label.
pub fn accuracy<T: Element, N: Classifier<T>>(
    network: &N,
    weights: &[T],
    samples: &Samples<T>,
    join: &dyn Join,
) -> f64 {
    let mut classes = Vec::new();
    network.classify(weights, &samples.pixels, &mut classes, join);
    let right = classes
        .iter()
        .zip(&samples.labels)
        .filter(|(class, label)| class == label);
    right.count() as f64 / samples.labels.len().max(1) as f64
}
