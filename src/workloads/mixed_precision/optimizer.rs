//! From the gradient to the next weights: SGD with momentum, and Adam.
//!
//! All of it in full width on the master weights. The formulas are PyTorch's (`torch.optim.SGD`
//! without dampening, `torch.optim.AdamW`), in one pass over memory.

use super::super::Join;
use super::layers::wide;
use crate::linear::Real;

/// Which rule, and its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// velocity = momentum * velocity + gradient + weight_decay * weight; weight -= rate * velocity.
    Sgd {
        rate: f64,
        momentum: f64,
        weight_decay: f64,
    },
    /// Kingma and Ba (2015), with bias correction; weight decay apart from the gradient (Loshchilov
    /// and Hutter, 2019). With no decay it is plain Adam.
    Adam {
        rate: f64,
        beta1: f64,
        beta2: f64,
        epsilon: f64,
        weight_decay: f64,
    },
}

impl Optimizer {
    pub fn sgd(rate: f64, momentum: f64) -> Optimizer {
        Optimizer::Sgd {
            rate,
            momentum,
            weight_decay: 0.0,
        }
    }

    /// The usual 0.9, 0.999 and 1e-8.
    pub fn adam(rate: f64) -> Optimizer {
        Optimizer::Adam {
            rate,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }

    /// Values of state for each weight.
    pub fn moments(&self) -> usize {
        match self {
            Optimizer::Sgd { momentum, .. } => usize::from(*momentum != 0.0),
            Optimizer::Adam { .. } => 2,
        }
    }
}

/// An optimizer at work: its settings and what it remembers of earlier gradients.
#[derive(Clone, Debug)]
pub struct Moments<S> {
    optimizer: Optimizer,
    /// SGD's velocity, or Adam's mean.
    first: Vec<S>,
    /// Adam's mean of squares.
    second: Vec<S>,
    steps: u64,
}

/// Fewer weights than this aren't worth another thread.
const SMALLEST_PIECE: usize = 64 * 1024;

impl<S: Real> Moments<S> {
    pub fn new(optimizer: Optimizer, parameters: usize) -> Moments<S> {
        let vector = |wanted| vec![S::default(); if wanted { parameters } else { 0 }];
        Moments {
            optimizer,
            first: vector(optimizer.moments() > 0),
            second: vector(optimizer.moments() > 1),
            steps: 0,
        }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One step of `rate` times `rate_scale` (1 for a constant rate, less for a schedule).
    pub fn step(&mut self, master: &mut [S], gradient: &[S], rate_scale: f64, join: &dyn Join) {
        assert_eq!(master.len(), gradient.len(), "a gradient for each weight");
        self.steps += 1;
        match self.optimizer {
            Optimizer::Sgd {
                rate,
                momentum,
                weight_decay,
            } => {
                let settings = [rate * rate_scale, momentum, weight_decay].map(S::of);
                sgd(master, gradient, &mut self.first, settings, join);
            }
            Optimizer::Adam {
                rate,
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => {
                let steps = self.steps.min(i32::MAX as u64) as i32;
                let corrected = |beta: f64| 1.0 - beta.powi(steps);
                let settings = [
                    1.0 - rate * rate_scale * weight_decay,
                    1.0 - beta1,
                    beta2,
                    1.0 - beta2,
                    1.0 / corrected(beta2).sqrt(),
                    epsilon,
                    rate * rate_scale / corrected(beta1),
                ]
                .map(S::of);
                adam(master, gradient, &mut self.first, &mut self.second, settings, join);
            }
        }
    }
}

fn sgd<S: Real>(master: &mut [S], gradient: &[S], velocity: &mut [S], settings: [S; 3], join: &dyn Join) {
    if master.len() <= SMALLEST_PIECE {
        if velocity.is_empty() {
            plain_descent(master, gradient, settings);
        } else {
            momentum_descent(master, gradient, velocity, settings);
        }
        return;
    }
    let middle = master.len() / 2;
    let (master, master_end) = master.split_at_mut(middle);
    let (gradient, gradient_end) = gradient.split_at(middle);
    let (velocity, velocity_end) = velocity.split_at_mut(middle.min(velocity.len()));
    join.join(
        || sgd(master, gradient, velocity, settings, join),
        || sgd(master_end, gradient_end, velocity_end, settings, join),
    );
}

fn adam<S: Real>(
    master: &mut [S],
    gradient: &[S],
    first: &mut [S],
    second: &mut [S],
    settings: [S; 7],
    join: &dyn Join,
) {
    if master.len() <= SMALLEST_PIECE {
        adam_descent(master, gradient, first, second, settings);
        return;
    }
    let middle = master.len() / 2;
    let (master, master_end) = master.split_at_mut(middle);
    let (gradient, gradient_end) = gradient.split_at(middle);
    let (first, first_end) = first.split_at_mut(middle);
    let (second, second_end) = second.split_at_mut(middle);
    join.join(
        || adam(master, gradient, first, second, settings, join),
        || adam(master_end, gradient_end, first_end, second_end, settings, join),
    );
}

wide! {
    fn plain_descent<S: Real>(master: &mut [S], gradient: &[S], settings: [S; 3]) {
        let [rate, _, decay] = settings;
        for (weight, gradient) in master.iter_mut().zip(gradient) {
            *weight = *weight - rate * (*gradient + decay * *weight);
        }
    }
}

wide! {
    fn momentum_descent<S: Real>(master: &mut [S], gradient: &[S], velocity: &mut [S], settings: [S; 3]) {
        let [rate, momentum, decay] = settings;
        for ((weight, gradient), velocity) in master.iter_mut().zip(gradient).zip(velocity) {
            *velocity = momentum * *velocity + (*gradient + decay * *weight);
            *weight = *weight - rate * *velocity;
        }
    }
}

wide! {
    fn adam_descent<S: Real>(
        master: &mut [S], gradient: &[S], first: &mut [S], second: &mut [S], settings: [S; 7]
    ) {
        let [kept, new1, old2, new2, correction2, epsilon, rate] = settings;
        for (((weight, gradient), first), second) in master.iter_mut().zip(gradient).zip(first).zip(second) {
            *first = *first + new1 * (*gradient - *first);
            *second = old2 * *second + new2 * *gradient * *gradient;
            let root = second.square_root() * correction2 + epsilon;
            *weight = kept * *weight - rate * *first / root;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::tests::OnThreads;

    /// Two weights, three steps, against numbers worked out by hand.
    fn check(optimizer: Optimizer, expected: [f64; 2]) {
        let mut master = [1.0, -2.0];
        let mut moments = Moments::new(optimizer, 2);
        for gradient in [[0.5, -1.0], [0.25, 3.0], [-1.0, 0.125]] {
            moments.step(&mut master, &gradient, 1.0, &Sequential);
        }
        for (got, expected) in master.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{master:?} {expected}");
        }
        assert_eq!(moments.steps(), 3);
    }

    #[test]
    fn sgd_by_hand() {
        check(Optimizer::sgd(0.1, 0.0), [1.025, -2.2125]);
        // Velocities 0.5, 0.7, -0.37 and -1, 2.1, 2.015.
        check(Optimizer::sgd(0.1, 0.9), [0.917, -2.3115]);
        // With decay 0.1 the gradient is larger by a tenth of the weight: 0.6, 0.344, -0.90944.
        check(
            Optimizer::Sgd {
                rate: 0.1,
                momentum: 0.0,
                weight_decay: 0.1,
            },
            [0.996544, -2.152088],
        );
    }

    #[test]
    fn adam_by_the_formula() {
        // m and v for the first weight: 0.05, 0.07, -0.037 and 0.00025, 0.00031225, 0.00131193775.
        let by_formula = |moments: [(f64, f64); 3], start: f64| {
            moments.iter().enumerate().fold(start, |weight, (at, (m, v))| {
                let t = at as i32 + 1;
                let (m, v) = (m / (1.0 - 0.9_f64.powi(t)), v / (1.0 - 0.999_f64.powi(t)));
                weight - 0.01 * m / (v.sqrt() + 1e-8)
            })
        };
        check(
            Optimizer::adam(0.01),
            [
                by_formula([(0.05, 0.00025), (0.07, 0.00031225), (-0.037, 0.00131193775)], 1.0),
                by_formula([(-0.1, 0.001), (0.21, 0.009999), (0.2015, 0.010004626)], -2.0),
            ],
        );
    }

    #[test]
    fn forking_changes_no_bit() {
        let length = 3 * SMALLEST_PIECE + 5;
        let gradient: Vec<f32> = (0..length).map(|at| (at % 1013) as f32 / 512.0 - 1.0).collect();
        for optimizer in [
            Optimizer::sgd(0.1, 0.9),
            Optimizer::sgd(0.1, 0.0),
            Optimizer::adam(0.01),
        ] {
            let run = |join: &dyn Join| {
                let mut master = vec![0.5_f32; length];
                let mut moments = Moments::new(optimizer, length);
                for _ in 0..2 {
                    moments.step(&mut master, &gradient, 0.5, join);
                }
                master
            };
            assert!(run(&Sequential) == run(&OnThreads(2)));
        }
    }
}
