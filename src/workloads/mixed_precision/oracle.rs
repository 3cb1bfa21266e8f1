//! The first steps of a training, worked out again in f64 from the definitions, image by image.
//!
//! Shares no code with the networks, the layers, the optimizers or the trainer: plain loops over
//! arrays indexed as the formulas are.

#![expect(clippy::needless_range_loop, reason = "loops as the formulas have them")]

use super::digits::Digits;
use super::{Model, Optimizer, Settings};

/// What happened.
pub(super) struct Trace {
    /// Before each step.
    pub losses: Vec<f64>,
    /// The largest magnitude among the scaled gradients that a trainer in half width has to store.
    pub largest_stored: Vec<f64>,
    /// After the last step.
    pub weights: Vec<f64>,
}

/// Trains on these batches from these weights. `scales` are the loss scales of the steps and
/// `skipped` says which steps left the weights alone; both as the trainer had them.
pub(super) fn train(
    digits: &Digits,
    settings: &Settings,
    initial: &[f64],
    batches: &[Vec<u16>],
    scales: &[f64],
    skipped: &[bool],
) -> Trace {
    let mut weights = initial.to_vec();
    let (mut first, mut second) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
    let mut steps = 0;
    let mut trace = Trace {
        losses: Vec::new(),
        largest_stored: Vec::new(),
        weights: Vec::new(),
    };
    for ((batch, scale), skipped) in batches.iter().zip(scales).zip(skipped) {
        let shards = settings.shards.clamp(1, batch.len());
        let mut gradient = vec![0.0; weights.len()];
        let (mut loss, mut largest) = (0.0, 0.0_f64);
        for shard in 0..shards {
            let images = &batch[batch.len() * shard / shards..batch.len() * (shard + 1) / shards];
            for image in images {
                let (pixels, label) = digits.image(*image);
                let pixels: Vec<f64> = pixels.iter().map(|pixel| f64::from(*pixel) / 16.0).collect();
                let here = Image {
                    pixels: &pixels,
                    label: usize::from(label),
                    weights: &weights,
                    // Shards count alike, and within a shard its images.
                    share: 1.0 / (shards * images.len()) as f64,
                };
                let (image_loss, image_largest) = match settings.model {
                    Model::Mlp => here.perceptron(settings.hidden, &mut gradient),
                    Model::Conv => here.convolution_net(settings.hidden, &mut gradient),
                };
                loss += image_loss * here.share;
                // A shard's gradient is of its own mean, not yet of all shards'.
                largest = largest.max(image_largest * here.share * shards as f64 * scale);
            }
        }
        trace.losses.push(loss);
        trace.largest_stored.push(largest);
        if !skipped {
            steps += 1;
            for at in 0..weights.len() {
                match settings.optimizer {
                    Optimizer::Sgd {
                        rate,
                        momentum,
                        weight_decay,
                    } => {
                        first[at] = momentum * first[at] + gradient[at] + weight_decay * weights[at];
                        weights[at] -= rate * first[at];
                    }
                    Optimizer::Adam {
                        rate,
                        beta1,
                        beta2,
                        epsilon,
                        weight_decay,
                    } => {
                        first[at] = beta1 * first[at] + (1.0 - beta1) * gradient[at];
                        second[at] = beta2 * second[at] + (1.0 - beta2) * gradient[at].powi(2);
                        let mean = first[at] / (1.0 - beta1.powi(steps));
                        let square = second[at] / (1.0 - beta2.powi(steps));
                        weights[at] -= rate * weight_decay * weights[at] + rate * mean / (square.sqrt() + epsilon);
                    }
                }
            }
        }
    }
    trace.weights = weights;
    trace
}

/// One image's loss and gradient.
struct Image<'a> {
    pixels: &'a [f64],
    label: usize,
    weights: &'a [f64],
    share: f64,
}

impl Image<'_> {
    /// Adds `share` times the gradient; gives back the loss, and the largest gradient by any layer's sums.
    fn perceptron(&self, hidden: usize, gradient: &mut [f64]) -> (f64, f64) {
        let widths = [64, hidden, hidden, 10];
        let mut starts = [0; 3];
        for layer in 1..3 {
            starts[layer] = starts[layer - 1] + (widths[layer - 1] + 1) * widths[layer];
        }
        let mut values = vec![self.pixels.to_vec()];
        for layer in 0..3 {
            let (inputs, outputs) = (widths[layer], widths[layer + 1]);
            let mut next = vec![0.0; outputs];
            for (o, next) in next.iter_mut().enumerate() {
                *next = self.weights[starts[layer] + inputs * outputs + o];
                for i in 0..inputs {
                    *next += self.weights[starts[layer] + o * inputs + i] * values[layer][i];
                }
                if layer < 2 {
                    *next = next.max(0.0);
                }
            }
            values.push(next);
        }
        let (loss, mut dz) = self.loss(&values[3]);
        let mut largest = largest_of(&dz);
        for layer in (0..3).rev() {
            let (inputs, outputs) = (widths[layer], widths[layer + 1]);
            let mut before = vec![0.0; inputs];
            for o in 0..outputs {
                gradient[starts[layer] + inputs * outputs + o] += self.share * dz[o];
                for i in 0..inputs {
                    let at = starts[layer] + o * inputs + i;
                    gradient[at] += self.share * dz[o] * values[layer][i];
                    before[i] += dz[o] * self.weights[at];
                }
            }
            if layer > 0 {
                for i in 0..inputs {
                    if values[layer][i] <= 0.0 {
                        before[i] = 0.0;
                    }
                }
                largest = largest.max(largest_of(&before));
            }
            dz = before;
        }
        (loss, largest)
    }

    fn convolution_net(&self, hidden: usize, gradient: &mut [f64]) -> (f64, f64) {
        let (c1, c2) = ((hidden / 4).max(1), (hidden / 2).max(1));
        let second = 10 * c1;
        let third = second + (9 * c1 + 1) * c2;
        let weights = self.weights;
        // The pixel that `tap` of a 3x3 kernel sees from (y, x), if it is in the image.
        let seen = |y: usize, x: usize, tap: usize| {
            let (y, x) = ((y + tap / 3).checked_sub(1)?, (x + tap % 3).checked_sub(1)?);
            (y < 8 && x < 8).then_some(y * 8 + x)
        };
        let mut a1 = vec![vec![0.0; c1]; 64];
        let mut a2 = vec![vec![0.0; c2]; 64];
        for at in 0..64 {
            for c in 0..c1 {
                let mut sum = weights[9 * c1 + c];
                for tap in 0..9 {
                    if let Some(from) = seen(at / 8, at % 8, tap) {
                        sum += weights[c * 9 + tap] * self.pixels[from];
                    }
                }
                a1[at][c] = sum.max(0.0);
            }
        }
        for at in 0..64 {
            for c in 0..c2 {
                let mut sum = weights[second + 9 * c1 * c2 + c];
                for tap in 0..9 {
                    if let Some(from) = seen(at / 8, at % 8, tap) {
                        for i in 0..c1 {
                            sum += weights[second + (c * 9 + tap) * c1 + i] * a1[from][i];
                        }
                    }
                }
                a2[at][c] = sum.max(0.0);
            }
        }
        let mut pooled = vec![0.0; 16 * c2];
        let mut chosen = vec![0; 16 * c2];
        for cell in 0..16 {
            let corner = cell / 4 * 16 + cell % 4 * 2;
            for c in 0..c2 {
                let four = [corner, corner + 1, corner + 8, corner + 9];
                let best = four
                    .into_iter()
                    .reduce(|best, at| if a2[at][c] > a2[best][c] { at } else { best })
                    .unwrap_or(corner);
                pooled[cell * c2 + c] = a2[best][c];
                chosen[cell * c2 + c] = best;
            }
        }
        let inputs = 16 * c2;
        let logits: Vec<f64> = (0..10)
            .map(|o| {
                let products = (0..inputs).map(|i| weights[third + o * inputs + i] * pooled[i]);
                weights[third + 10 * inputs + o] + products.sum::<f64>()
            })
            .collect();

        let (loss, dlogits) = self.loss(&logits);
        let mut largest = largest_of(&dlogits);
        let mut dpooled = vec![0.0; inputs];
        for o in 0..10 {
            gradient[third + 10 * inputs + o] += self.share * dlogits[o];
            for i in 0..inputs {
                gradient[third + o * inputs + i] += self.share * dlogits[o] * pooled[i];
                dpooled[i] += dlogits[o] * weights[third + o * inputs + i];
            }
        }
        let mut da1 = vec![vec![0.0; c1]; 64];
        for i in 0..inputs {
            if pooled[i] <= 0.0 {
                continue;
            }
            largest = largest.max(dpooled[i].abs());
            let (c, at) = (i % c2, chosen[i]);
            gradient[second + 9 * c1 * c2 + c] += self.share * dpooled[i];
            for tap in 0..9 {
                if let Some(from) = seen(at / 8, at % 8, tap) {
                    for k in 0..c1 {
                        let weight = second + (c * 9 + tap) * c1 + k;
                        gradient[weight] += self.share * dpooled[i] * a1[from][k];
                        da1[from][k] += dpooled[i] * weights[weight];
                    }
                }
            }
        }
        for at in 0..64 {
            for c in 0..c1 {
                if a1[at][c] <= 0.0 {
                    continue;
                }
                largest = largest.max(da1[at][c].abs());
                gradient[9 * c1 + c] += self.share * da1[at][c];
                for tap in 0..9 {
                    if let Some(from) = seen(at / 8, at % 8, tap) {
                        gradient[c * 9 + tap] += self.share * da1[at][c] * self.pixels[from];
                    }
                }
            }
        }
        (loss, largest)
    }

    fn loss(&self, logits: &[f64]) -> (f64, Vec<f64>) {
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        let mut dlogits: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp() / sum).collect();
        dlogits[self.label] -= 1.0;
        (largest + sum.ln() - logits[self.label], dlogits)
    }
}

fn largest_of(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most: f64, value| most.max(value.abs()))
}
