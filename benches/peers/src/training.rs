//! One step of the trainer: forward, backward, and the optimizer.

use half::{bf16, f16};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use threadscape_workloads::Join;
use threadscape_workloads::linear::{Element, Real};
use threadscape_workloads::mixed_precision::digits::Samples;
use threadscape_workloads::mixed_precision::{
    ConvolutionNet, LossScale, Network, Optimizer, Perceptron, Trainer, Vectors,
};

use crate::{Asked, Case};

pub fn open(name: &str, asked: &Asked) -> Box<dyn Case + Send> {
    assert_eq!(name, "step", "no case is named training.{name}");
    match asked.text("mode") {
        "f64" => typed::<f64>(asked),
        "f32" => typed::<f32>(asked),
        "bf16" => typed::<bf16>(asked),
        "f16" => typed::<f16>(asked),
        other => panic!("no mode is named {other}"),
    }
}

fn typed<T: Element<Sum: Vectors>>(asked: &Asked) -> Box<dyn Case + Send> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let batch = asked.size("batch");
    let samples = Samples {
        pixels: (0..64 * batch)
            .map(|_| T::narrow(<T::Sum as Real>::of((random.next_u64() % 17) as f64 / 16.0)))
            .collect(),
        labels: (0..batch).map(|_| (random.next_u64() % 10) as u32).collect(),
    };
    if asked.text("model") == "mlp" {
        let hidden = asked.size("hidden");
        step(Perceptron::new(&[64, hidden, hidden, 10]), samples)
    } else {
        step(ConvolutionNet::new([16, 32]), samples)
    }
}

fn step<T: Element, N>(network: N, samples: Samples<T>) -> Box<dyn Case + Send>
where
    N: Network<T, Batch = Samples<T>> + Send + 'static,
{
    // The trainer borrows its network; this process has one.
    let network: &'static N = Box::leak(Box::new(network));
    Box::new(Step {
        trainer: Trainer::new(network, Optimizer::sgd(0.01, 0.9), LossScale::off(), 1),
        samples,
        shards: Vec::new(),
    })
}

struct Step<T: Element, N: Network<T> + 'static> {
    trainer: Trainer<'static, T, N>,
    samples: Samples<T>,
    /// The same, a part for each thread.
    shards: Vec<Samples<T>>,
}

impl<T: Element, N: Network<T, Batch = Samples<T>>> Case for Step<T, N> {
    fn run(&mut self, join: &dyn Join) {
        if self.shards.len() != join.width() {
            let count = self.samples.labels.len().div_ceil(join.width());
            let parts = self
                .samples
                .labels
                .chunks(count)
                .zip(self.samples.pixels.chunks(64 * count));
            self.shards = parts
                .map(|(labels, pixels)| Samples {
                    pixels: pixels.to_vec(),
                    labels: labels.to_vec(),
                })
                .collect();
        }
        let shards: Vec<&Samples<T>> = self.shards.iter().collect();
        self.trainer.step(&shards, join);
    }
}
