//! The trainer: master weights, their half-width copy, shards, loss scaling, the update.

use std::any::Any;

use super::layers::wide;
use super::{LossScale, Moments, Optimizer};
use crate::allreduce::{Algorithm, Op, all_reduce};
use crate::linear::{Element, Real};
use crate::{Join, Sequential};

/// What the trainer trains: weights are one flat vector, so masters, copies, gradients and the
/// allreduce need no structure.
pub trait Network<T: Element>: Sync {
    type Batch: ?Sized + Sync;

    fn parameters(&self) -> usize;

    /// The weights to start from, the same for a seed in any precision before rounding.
    fn initial(&self, seed: u64) -> Vec<T::Sum>;

    /// Adds the gradient of `scale` times the mean loss over the batch to `gradient`; gives back the
    /// loss without the scale. The order of every sum must depend on the batch alone, not on `join`.
    fn gradient(
        &self,
        weights: &[T],
        batch: &Self::Batch,
        scale: T::Sum,
        gradient: &mut [T::Sum],
        join: &dyn Join,
    ) -> T::Sum;
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOutcome {
    /// Mean over the shards, of the weights before the step.
    pub loss: f64,
    /// Some gradient was not finite.
    pub overflow: bool,
    /// The weights were left alone: it overflowed, and loss scaling is on.
    pub skipped: bool,
    /// The scale this step was taken with.
    pub scale: f32,
}

/// Trains a network in the storage type `T`.
pub struct Trainer<'n, T: Element, N: Network<T>> {
    network: &'n N,
    moments: Moments<T::Sum>,
    loss_scale: LossScale,
    master: Vec<T::Sum>,
    /// The master rounded to `T`; empty when `T` is as wide as the master, which then serves itself.
    copy: Vec<T>,
    /// A gradient for each shard.
    gradients: Vec<Vec<T::Sum>>,
    losses: Vec<T::Sum>,
    rate_scale: f64,
    overflows: u64,
    skipped: u64,
    sent: u64,
}

/// Fewer values than this aren't worth another thread.
const SMALLEST_PIECE: usize = 64 * 1024;

impl<'n, T: Element, N: Network<T>> Trainer<'n, T, N> {
    /// Starts from the network's initial weights for `seed`.
    pub fn new(network: &'n N, optimizer: Optimizer, loss_scale: LossScale, seed: u64) -> Trainer<'n, T, N> {
        Trainer::from_master(network, optimizer, loss_scale, network.initial(seed))
    }

    /// Starts from given weights.
    ///
    /// Panics when they are not as many as the network's.
    pub fn from_master(
        network: &'n N,
        optimizer: Optimizer,
        loss_scale: LossScale,
        master: Vec<T::Sum>,
    ) -> Trainer<'n, T, N> {
        assert_eq!(master.len(), network.parameters(), "a weight for each parameter");
        let mut copy = Vec::new();
        if as_stored::<T>(&master).is_none() {
            copy.resize(master.len(), T::default());
            T::narrow_all(&master, &mut copy);
        }
        Trainer {
            network,
            moments: Moments::new(optimizer, master.len()),
            loss_scale,
            master,
            copy,
            gradients: Vec::new(),
            losses: Vec::new(),
            rate_scale: 1.0,
            overflows: 0,
            skipped: 0,
            sent: 0,
        }
    }

    /// One step on a batch cut into shards of equal weight: the mean of their gradients is the
    /// gradient. Shards run in parallel where `join` lets them, and inside a shard the network may
    /// fork further. Their number decides the order of sums; the width of `join` does not.
    ///
    /// Gradients meet in an allreduce around a ring. After the first step with so many shards nothing
    /// is allocated that grows with the network.
    pub fn step(&mut self, shards: &[&N::Batch], join: &dyn Join) -> StepOutcome {
        assert!(!shards.is_empty(), "a step wants at least one shard");
        let parameters = self.master.len();
        while self.gradients.len() < shards.len() {
            self.gradients.push(vec![T::Sum::default(); parameters]);
        }
        self.losses.resize(shards.len(), T::Sum::default());
        let scale = self.loss_scale.scale();
        let pass = Pass::<T, N> {
            network: self.network,
            weights: as_stored::<T>(&self.master).unwrap_or(&self.copy),
            scale: T::Sum::of(f64::from(scale)),
            // Enough shards keep every thread busy by themselves.
            within: if shards.len() >= join.width() {
                &Sequential
            } else {
                join
            },
        };
        let gradients = &mut self.gradients[..shards.len()];
        pass.run(shards, gradients, &mut self.losses, join);
        self.sent = mean(gradients, join);
        let inverse = T::Sum::of(1.0 / f64::from(scale));
        let overflow = !unscale(&mut gradients[0], inverse, join);
        let skipped = overflow && self.loss_scale.is_on();
        if !skipped {
            self.moments
                .step(&mut self.master, &gradients[0], self.rate_scale, join);
            narrow(&self.master, &mut self.copy, join);
        }
        self.loss_scale.update(overflow);
        self.overflows += u64::from(overflow);
        self.skipped += u64::from(skipped);
        let total: f64 = self.losses.iter().map(|loss| loss.to_f64()).sum();
        StepOutcome {
            loss: total / shards.len() as f64,
            overflow,
            skipped,
            scale,
        }
    }

    /// From the next step on the rate is the optimizer's times this.
    pub fn set_rate_scale(&mut self, rate_scale: f64) {
        self.rate_scale = rate_scale;
    }

    /// The weights as the network sees them.
    pub fn weights(&self) -> &[T] {
        as_stored::<T>(&self.master).unwrap_or(&self.copy)
    }

    /// The weights in full width.
    pub fn master(&self) -> &[T::Sum] {
        &self.master
    }

    pub fn into_master(self) -> Vec<T::Sum> {
        self.master
    }

    pub fn loss_scale(&self) -> &LossScale {
        &self.loss_scale
    }

    /// The gradient that the last step took, or would have taken had it not overflowed.
    pub fn gradient(&self) -> &[T::Sum] {
        self.gradients.first().map_or(&[], Vec::as_slice)
    }

    /// Steps so far whose gradient was not finite.
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Steps so far that left the weights alone.
    pub fn skipped_steps(&self) -> u64 {
        self.skipped
    }

    /// Steps so far that changed the weights.
    pub fn optimizer_steps(&self) -> u64 {
        self.moments.steps()
    }

    /// Bytes that the shard which sent most sent in the last step's allreduce.
    pub fn allreduce_bytes(&self) -> u64 {
        self.sent * size_of::<T::Sum>() as u64
    }

    /// Bytes of the weights as the network reads them: half in half width.
    pub fn weight_bytes(&self) -> usize {
        size_of_val(self.weights())
    }
}

/// The master as weights of `T`, when `T` is the master's own type.
#[expect(
    clippy::ptr_arg,
    reason = "a `Vec` has a type at run time that can be asked for, a borrowed slice has none"
)]
fn as_stored<T: Element>(master: &Vec<T::Sum>) -> Option<&[T]> {
    (master as &dyn Any).downcast_ref::<Vec<T>>().map(Vec::as_slice)
}

/// One forward and backward pass over all shards.
struct Pass<'a, T: Element, N> {
    network: &'a N,
    weights: &'a [T],
    scale: T::Sum,
    within: &'a dyn Join,
}

impl<T: Element, N: Network<T>> Pass<'_, T, N> {
    fn run(&self, shards: &[&N::Batch], gradients: &mut [Vec<T::Sum>], losses: &mut [T::Sum], join: &dyn Join) {
        if let ([shard], [gradient], [loss]) = (shards, &mut *gradients, &mut *losses) {
            gradient.fill(T::Sum::default());
            *loss = self
                .network
                .gradient(self.weights, shard, self.scale, gradient, self.within);
            return;
        }
        let middle = shards.len() / 2;
        let (shards, shards_end) = shards.split_at(middle);
        let (gradients, gradients_end) = gradients.split_at_mut(middle);
        let (losses, losses_end) = losses.split_at_mut(middle);
        join.join(
            || self.run(shards, gradients, losses, join),
            || self.run(shards_end, gradients_end, losses_end, join),
        );
    }
}

/// The mean of all rows, into each of them, around a ring; gives back the elements that a shard sent.
fn mean<S: Real>(rows: &mut [Vec<S>], join: &dyn Join) -> u64 {
    if rows.len() < 2 {
        return 0;
    }
    let mut rows: Vec<&mut [S]> = rows.iter_mut().map(Vec::as_mut_slice).collect();
    match all_reduce(join, &mut rows, Algorithm::Ring, Op::Mean) {
        Ok(traffic) => traffic.sent_elements.into_iter().max().unwrap_or(0),
        Err(failure) => unreachable!("gradients are all of one length: {failure}"),
    }
}

/// Multiplies each by `inverse`; whether all were finite.
fn unscale<S: Real>(gradient: &mut [S], inverse: S, join: &dyn Join) -> bool {
    if gradient.len() <= SMALLEST_PIECE {
        return unscale_piece(gradient, inverse);
    }
    let (start, end) = gradient.split_at_mut(gradient.len() / 2);
    let (start, end) = join.join(|| unscale(start, inverse, join), || unscale(end, inverse, join));
    start && end
}

wide! {
    fn unscale_piece<S: Real>(gradient: &mut [S], inverse: S) -> bool {
        // 0 x is 0 for a finite x and NaN for any other, and NaN sticks to a sum. Several sums, so that
        // the processor can add many values at once.
        let mut tell = [S::default(); 32];
        let (chunks, rest) = gradient.as_chunks_mut::<32>();
        for chunk in chunks {
            for (tell, value) in tell.iter_mut().zip(chunk) {
                *tell += *value * S::default();
                *value = *value * inverse;
            }
        }
        for (tell, value) in tell.iter_mut().zip(rest) {
            *tell += *value * S::default();
            *value = *value * inverse;
        }
        tell.iter().all(|tell| *tell == S::default())
    }
}

/// The master into its copy, when there is one.
fn narrow<T: Element>(master: &[T::Sum], copy: &mut [T], join: &dyn Join) {
    if copy.len() <= SMALLEST_PIECE {
        if !copy.is_empty() {
            T::narrow_all(master, copy);
        }
        return;
    }
    let middle = copy.len() / 2;
    let (master, master_end) = master.split_at(middle);
    let (copy, copy_end) = copy.split_at_mut(middle);
    join.join(|| narrow(master, copy, join), || narrow(master_end, copy_end, join));
}
