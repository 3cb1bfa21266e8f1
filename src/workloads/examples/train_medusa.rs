//! Trains the language model of the `medusa` workload and its draft heads from the text in the
//! repository, and writes the checkpoint: `make models`.
//!
//! First the base model by Adam with a warm-up and a cosine; then Medusa's heads on the base model as
//! it stands, on windows of which half are the text and half are what the model itself says after
//! a few words of it.

use std::path::PathBuf;
use std::time::Instant;

use threadscape_workloads::Join;
use threadscape_workloads::medusa::{
    Backbone, COSTS, Decoder, Drafts, Mode, Model, RANKS, Said, Shape, Tree, Windows, accuracies, alphabet, generate,
    rounded,
};
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

/// What the command line may change.
struct Settings {
    base_steps: usize,
    draft_steps: usize,
    /// Masters of a base model trained before, to go on from.
    base: Option<PathBuf>,
    length: usize,
    out: PathBuf,
}

impl Settings {
    fn from_arguments() -> Settings {
        let argument = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
        let count = |name: &str, default: usize| {
            argument(name).map_or(default, |value| {
                value
                    .parse()
                    .unwrap_or_else(|_| panic!("{name} {value}: give a number"))
            })
        };
        Settings {
            base_steps: count("--base-steps", 1500),
            draft_steps: count("--draft-steps", 900),
            base: argument("--base").map(PathBuf::from),
            length: count("--length", 256),
            out: argument("--out").map_or_else(
                || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("medusa/model.bin"),
                PathBuf::from,
            ),
        }
    }
}

/// A warm-up, then down along a cosine to a twentieth.
fn rate_scale(step: usize, steps: usize) -> f64 {
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos());
    ((step + 1) as f64 / 50.0).min(1.0) * (0.05 + 0.95 * cosine)
}

fn adam(rate: f64) -> Optimizer {
    Optimizer::Adam {
        rate,
        beta1: 0.9,
        beta2: 0.98,
        epsilon: 1e-8,
        weight_decay: 0.05,
    }
}

/// Takes the steps and prints how the loss falls.
fn train<N: Network<f32, Batch = Windows>>(
    name: &str,
    network: &N,
    rate: f64,
    steps: usize,
    held_out: &Windows,
    mut batch: impl FnMut(&mut Dice) -> [Windows; 2],
    mut save: impl FnMut(&[f32]),
) -> Vec<f32> {
    let mut trainer = Trainer::<f32, N>::new(network, adam(rate), LossScale::off(), 1);
    let (mut dice, start, mut mean) = (Dice(1), Instant::now(), 0.0);
    for step in 0..steps {
        trainer.set_rate_scale(rate_scale(step, steps));
        let shards = batch(&mut dice);
        let loss = trainer.step(&[&shards[0], &shards[1]], &OnRayon).loss;
        mean = if step == 0 { loss } else { 0.95 * mean + 0.05 * loss };
        let done = step + 1;
        if done % 50 == 0 || done == steps {
            println!(
                "{name}: step {done} of {steps}, loss {mean:.4}, {:.0} s",
                start.elapsed().as_secs_f64()
            );
        }
        if done % 250 == 0 || done == steps {
            let mut unused = vec![0.0; network.parameters()];
            let loss = network.gradient(trainer.weights(), held_out, 1.0, &mut unused, &OnRayon);
            println!("{name}: loss on held-out text {loss:.4}");
            save(trainer.master());
        }
    }
    trainer.into_master()
}

/// What the model says after prompts from `text`, prompts included.
fn sayings(model: &Model, text: &[u8], count: usize, prompt: usize, length: usize, dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut decoder = Decoder::new(model, length, 16);
    (0..count)
        .map(|_| {
            let start = dice.below(text.len() - prompt);
            let prompt = &text[start..start + prompt];
            let said = generate(
                &mut decoder,
                model,
                Mode::Plain,
                &Tree::root(),
                prompt,
                length - prompt.len(),
            );
            [prompt, &said.tokens].concat()
        })
        .collect()
}

/// The time of a pass over 1, 2, … rows with the drafting that comes with more than one, relative to
/// one row. The least of many: others may use the machine.
fn costs(model: &Model, text: &[u8]) -> Vec<f64> {
    let mut decoder = Decoder::new(model, 256, COSTS);
    decoder.read(&text[..160]);
    let mut least = [f64::INFINITY; COSTS];
    for _ in 0..400 {
        for rows in 1..=COSTS {
            let tree = model.tree(rows);
            let start = Instant::now();
            if rows > 1 {
                std::hint::black_box(decoder.draft(0));
            }
            decoder.pass(&text[..tree.len()], &tree);
            least[rows - 1] = least[rows - 1].min(start.elapsed().as_secs_f64());
        }
    }
    println!(
        "a pass over 1 to {COSTS} rows, in microseconds: {:.0?}",
        least.iter().map(|s| s * 1e6).collect::<Vec<_>>()
    );
    least.iter().map(|time| time / least[0]).collect()
}

fn main() {
    let settings = Settings::from_arguments();
    let shape = Shape::STANDARD;
    let length = settings.length;
    let (text, held_out) = (read("training.txt"), read("held_out.txt"));
    let bytes = |weights: &[f32]| {
        weights
            .iter()
            .flat_map(|weight| weight.to_le_bytes())
            .collect::<Vec<u8>>()
    };

    let base = match &settings.base {
        Some(path) => {
            let bytes = std::fs::read(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|word| f32::from_le_bytes(*word))
                .collect()
        }
        None => train(
            "base model",
            &Backbone { shape },
            3e-3,
            settings.base_steps,
            &windows(&held_out, 16, length, 1, &mut Dice(7)),
            |dice| std::array::from_fn(|_| windows(&text, 1024 / length, length, 1, dice)),
            |master| {
                // So that a run that was cut short was not for nothing.
                let path = settings.out.with_extension("base");
                std::fs::write(&path, bytes(master)).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            },
        ),
    };
    let base = rounded(&base);

    // Medusa's heads, on the base model as it decodes: rounded. Their windows are two thirds its own.
    let ahead = shape.drafts + 1;
    let none = vec![half::bf16::ZERO; shape.drafts_weights()];
    let bare = Model::new(shape, &base, &none, Vec::new(), Vec::new());
    let said = sayings(&bare, &text, 1200, 32, length + ahead, &mut Dice(3));
    println!("for example: {:?}", alphabet::text(&said[0]));
    let backbone: Vec<f32> = base.iter().map(|weight| weight.to_f32()).collect();
    let drafts = train(
        "heads",
        &Drafts {
            shape,
            backbone: &backbone,
        },
        5e-3,
        settings.draft_steps,
        &windows(&held_out, 16, length, ahead, &mut Dice(7)),
        |dice| {
            let own = (0..1536 / length).flat_map(|_| said[dice.below(said.len())].iter().copied());
            let own = Windows {
                tokens: own.collect(),
                length,
                ahead,
                given: 31,
            };
            [own, windows(&text, 512 / length, length, ahead, dice)]
        },
        |_| {},
    );
    let drafts = rounded(&drafts);

    // What is measured of it: from held-out prompts on, and on held-out text as it stands.
    let bare = Model::new(shape, &base, &drafts, Vec::new(), Vec::new());
    let own = sayings(&bare, &held_out, 60, 32, 192, &mut Dice(11));
    let accurate = accuracies(&bare, RANKS, 32, own.iter().map(Vec::as_slice));
    let on_text = accuracies(&bare, RANKS, 32, held_out.chunks_exact(192).take(60));
    for head in 0..shape.drafts {
        println!(
            "head {}: right {:.3?} of what the model says, {:.3?} of held-out text",
            head + 1,
            accurate[head],
            on_text[head]
        );
    }
    let model = Model::new(shape, &base, &drafts, accurate, vec![1.0; COSTS]);
    let costs = costs(&model, &held_out);
    let model = Model::new(shape, &base, &drafts, model.accuracies, costs);
    let nodes = model.best_size();
    println!(
        "best is a tree of {nodes} nodes, {:.2} tokens a pass expected",
        model.tree(nodes).expected(&model.accuracies)
    );
    std::fs::write(&settings.out, model.write()).unwrap_or_else(|why| panic!("{}: {why}", settings.out.display()));
    println!("written to {}", settings.out.display());

    // Greedy Medusa against plain decoding, in turns.
    let prompts: Vec<&[u8]> = held_out.chunks_exact(500).map(|chunk| &chunk[..48]).collect();
    let mut decoder = Decoder::new(&model, 256, 16);
    for nodes in 1..=COSTS {
        let tree = model.tree(nodes);
        let (mut plain, mut medusa, mut passes, mut tokens) = (0.0, 0.0, 0, 0);
        for prompt in &prompts {
            let mut timed = |mode| {
                let mut least = f64::INFINITY;
                let mut said = Said::default();
                for _ in 0..3 {
                    let start = Instant::now();
                    said = generate(&mut decoder, &model, mode, &tree, prompt, 128);
                    least = least.min(start.elapsed().as_secs_f64());
                }
                (said, least)
            };
            let ((one, slow), (other, fast)) = (timed(Mode::Plain), timed(Mode::Greedy));
            assert_eq!(one.tokens, other.tokens, "greedy Medusa differs from plain decoding");
            plain += slow;
            medusa += fast;
            passes += other.accepted.len();
            tokens += other.accepted.iter().sum::<usize>();
        }
        println!(
            "{nodes} nodes: {:.2} tokens a pass, {:.2} times as fast as plain decoding ({:.0} tokens a second)",
            tokens as f64 / passes as f64,
            plain / medusa,
            128.0 * prompts.len() as f64 / plain
        );
    }
}
