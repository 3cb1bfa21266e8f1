//! A course of training: which images make which batch, and the trainer that takes them.

use super::digits::{CLASSES, Digits, PIXELS, Samples};
use super::{Classifier, ConvolutionNet, LossScale, Optimizer, Perceptron, StepOutcome, Trainer, Vectors};
use crate::Join;
use crate::linear::Element;
use crate::random::Random;

/// Shards a batch can be cut into.
pub const MOST_SHARDS: usize = 16;

/// What is trained, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub model: Model,
    /// Of a perceptron the width of both hidden layers; of a convolution net the channels of the
    /// second convolution are half of it, those of the first a quarter.
    pub hidden: usize,
    /// Images in a step.
    pub batch: usize,
    /// Parts of a batch, each with a gradient of its own.
    pub shards: usize,
    pub optimizer: Optimizer,
    pub loss_scale: LossScale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// 64 - hidden - hidden - 10.
    Mlp,
    Conv,
}

impl Model {
    pub const NAMES: &'static [&'static str] = &["mlp", "conv"];

    pub fn at(place: usize) -> Model {
        if place == 0 { Model::Mlp } else { Model::Conv }
    }
}

/// The networks behind [`Model`].
pub(super) fn perceptron<T: Element>(hidden: usize) -> Perceptron<T> {
    Perceptron::new(&[PIXELS, hidden, hidden, CLASSES])
}

pub(super) fn convolution_net<T: Element<Sum: Vectors>>(hidden: usize) -> ConvolutionNet<T> {
    ConvolutionNet::new([(hidden / 4).max(1), (hidden / 2).max(1)])
}

/// The images of each batch: the training images in an order that `seed` gives, shuffled again when
/// too few are left for a batch.
pub struct Batches {
    order: Vec<u16>,
    random: Random,
    at: usize,
}

impl Batches {
    pub fn new(digits: &Digits, seed: u64) -> Batches {
        Batches {
            order: digits.train().to_vec(),
            random: Random::new(seed, 1),
            at: usize::MAX,
        }
    }

    /// `batch` images, at most as many as there are.
    pub fn next(&mut self, batch: usize) -> &[u16] {
        let batch = batch.min(self.order.len());
        if self.at.saturating_add(batch) > self.order.len() {
            self.random.shuffle(&mut self.order);
            self.at = 0;
        }
        let images = &self.order[self.at..][..batch];
        self.at += batch;
        images
    }
}

/// Where shard number `shard` of `shards` begins in a batch of `batch`.
pub(super) fn shard_start(batch: usize, shards: usize, shard: usize) -> usize {
    batch * shard / shards
}

/// A network in training on the digits.
pub struct Course<'c, T: Element, N: Classifier<T>> {
    digits: &'c Digits,
    pub trainer: Trainer<'c, T, N>,
    batches: Batches,
    batch: usize,
    shards: Vec<Samples<T>>,
}

impl<'c, T: Element, N: Classifier<T>> Course<'c, T, N> {
    /// Weights and batches both come from `seed`, and are the same in every storage type.
    pub fn new(digits: &'c Digits, network: &'c N, settings: &Settings, seed: u64) -> Course<'c, T, N> {
        let batch = settings.batch.clamp(1, digits.train().len());
        let shards = settings.shards.clamp(1, batch.min(MOST_SHARDS));
        let longest = batch.div_ceil(shards);
        Course {
            digits,
            trainer: Trainer::new(network, settings.optimizer, settings.loss_scale, seed),
            batches: Batches::new(digits, seed),
            batch,
            shards: (0..shards)
                .map(|_| Samples {
                    pixels: Vec::with_capacity(longest * PIXELS),
                    labels: Vec::with_capacity(longest),
                })
                .collect(),
        }
    }

    /// Steps that use up the training images once.
    pub fn steps_per_epoch(&self) -> usize {
        self.digits.train().len() / self.batch
    }

    /// Trains on the next batch.
    pub fn step(&mut self, join: &dyn Join) -> StepOutcome {
        let images = self.batches.next(self.batch);
        let count = self.shards.len();
        for (number, samples) in self.shards.iter_mut().enumerate() {
            let of = shard_start(self.batch, count, number)..shard_start(self.batch, count, number + 1);
            self.digits.gather(&images[of], samples);
        }
        let mut shards = [&self.shards[0]; MOST_SHARDS];
        for (shard, samples) in shards.iter_mut().zip(&self.shards) {
            *shard = samples;
        }
        self.trainer.step(&shards[..count], join)
    }
}

/// The storage type of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    F64,
    F32,
    /// With f32 master weights and sums.
    F16,
    /// With f32 master weights and sums.
    Bf16,
}

impl Mode {
    pub const NAMES: &'static [&'static str] = &["f64", "f32", "f16", "bf16"];

    pub fn named(name: &str) -> Option<Mode> {
        let all = [Mode::F64, Mode::F32, Mode::F16, Mode::Bf16];
        all.into_iter().find(|mode| mode.name() == name)
    }

    pub fn name(self) -> &'static str {
        Mode::NAMES[self as usize]
    }

    pub fn is_half(self) -> bool {
        matches!(self, Mode::F16 | Mode::Bf16)
    }

    /// Of a stored value.
    pub fn bytes(self) -> usize {
        [8, 4, 2, 2][self as usize]
    }

    /// Of a sum or a master weight.
    pub fn sum_bytes(self) -> usize {
        [8, 4, 4, 4][self as usize]
    }
}

/// Evaluates an expression with `$type` being the mode's storage type.
macro_rules! for_mode {
    ($mode:expr, $type:ident => $body:expr) => {
        match $mode {
            $crate::mixed_precision::Mode::F64 => {
                type $type = f64;
                $body
            }
            $crate::mixed_precision::Mode::F32 => {
                type $type = f32;
                $body
            }
            $crate::mixed_precision::Mode::F16 => {
                type $type = $crate::linear::f16;
                $body
            }
            $crate::mixed_precision::Mode::Bf16 => {
                type $type = $crate::linear::bf16;
                $body
            }
        }
    };
}
pub(super) use for_mode;
