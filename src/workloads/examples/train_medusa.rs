//! Trains the language model of the `medusa` workload and its draft heads from the text in the
//! repository, and writes the checkpoint: `make models`.
//!
//! First the base model by Adam with a warm-up and a cosine; then Medusa's heads on the base model as
//! it stands, on windows of which half are the text and half are what the model itself says after
//! a few words of it.

use std::path::PathBuf;
use std::time::Instant;

use threadscape_workloads::Join;
use threadscape_workloads::medusa::{Backbone, Shape, Windows, alphabet};
use threadscape_workloads::mixed_precision::{LossScale, Network, Optimizer, Trainer};

struct OnRayon;

impl Join for OnRayon {
    fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        rayon::join(a, b);
    }

    fn width(&self) -> usize {
        rayon::current_num_threads()
    }
}

fn read(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("medusa/text").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    alphabet::tokens(&text).unwrap_or_else(|symbol| panic!("{}: {symbol:?} is no token", path.display()))
}

/// A seed fixes the windows for good.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((u128::from(z ^ (z >> 31)) * bound as u128) >> 64) as usize
    }
}

fn windows(text: &[u8], count: usize, length: usize, ahead: usize, dice: &mut Dice) -> Windows {
    let mut tokens = Vec::new();
    for _ in 0..count {
        let start = dice.below(text.len() - length - ahead);
        tokens.extend_from_slice(&text[start..start + length + ahead]);
    }
    Windows {
        tokens,
        length,
        ahead,
        given: 0,
    }
}

fn main() {
    let argument = |name: &str, default: &str| {
        let mut given = std::env::args().skip_while(|argument| argument != name);
        given.nth(1).unwrap_or_else(|| default.to_owned())
    };
    let steps: usize = argument("--steps", "2000").parse().unwrap();
    let rate: f64 = argument("--rate", "3e-3").parse().unwrap();
    let length: usize = argument("--length", "512").parse().unwrap();
    let out = argument("--masters", "/tmp/medusa/base.f32");
    let shape = Shape::STANDARD;
    let (text, held_out) = (read("training.txt"), read("held_out.txt"));
    let network = Backbone { shape };
    let optimizer = Optimizer::Adam {
        rate,
        beta1: 0.9,
        beta2: 0.98,
        epsilon: 1e-8,
        weight_decay: 0.05,
    };
    let mut trainer = Trainer::<f32, Backbone>::new(&network, optimizer, LossScale::off(), 1);
    let (mut dice, start) = (Dice(1), Instant::now());
    let mut mean = 0.0;
    let held = windows(&held_out, 16, length, 1, &mut Dice(7));
    for step in 0..steps {
        let warm = ((step + 1) as f64 / 50.0).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos());
        trainer.set_rate_scale(warm * (0.05 + 0.95 * cosine));
        let shards = [
            windows(&text, 1024 / length, length, 1, &mut dice),
            windows(&text, 1024 / length, length, 1, &mut dice),
        ];
        let outcome = trainer.step(&[&shards[0], &shards[1]], &OnRayon);
        mean = if step == 0 {
            outcome.loss
        } else {
            0.95 * mean + 0.05 * outcome.loss
        };
        if (step + 1) % 50 == 0 || step < 3 {
            println!(
                "step {} loss {mean:.4} after {:.0} s",
                step + 1,
                start.elapsed().as_secs_f64()
            );
        }
        if (step + 1) % 250 == 0 || step + 1 == steps {
            let mut unused = vec![0.0; shape.base_weights()];
            let loss = Network::<f32>::gradient(&network, trainer.weights(), &held, 1.0, &mut unused, &OnRayon);
            println!("held out {loss:.4}");
            let bytes: Vec<u8> = trainer
                .master()
                .iter()
                .flat_map(|weight| weight.to_le_bytes())
                .collect();
            std::fs::write(&out, bytes).unwrap();
        }
    }
}
