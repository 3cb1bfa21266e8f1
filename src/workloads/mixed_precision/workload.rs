//! The catalogue's entry: a task trains a network from scratch for some steps.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::course::{Mode, convolution_net, for_mode, perceptron};
use super::digits::{CLASSES, Digits, IMAGES, PIXELS, Samples, TEST_IMAGES};
use super::format::{Format, Stored};
use super::{
    Batches, CLASSIFIED_AT_ONCE, Classifier, Course, LossScale, MOST_SHARDS, Model, Optimizer, Settings, cases,
    correct, oracle,
};
use crate::digest::Digest;
use crate::linear::{Element, Real, product_scratch_bytes};
use crate::random::Random;
use crate::{About, Answer, BadInput, Domain, Fact, Join, Mismatch, Parameter, Params, Prepared, Sequential, Workload};

/// The catalogue's entry.
pub struct MixedPrecision;

/// In tasks the loss scale grows after so many good steps: PyTorch's 2 000 would outlast most tasks.
const GROWTH_INTERVAL: u64 = 16;

static ABOUT: About = About {
    name: "mixed_precision",
    title: "Mixed-precision training",
    summary: "Trains a small network on handwritten digits with weights, activations and their gradients in half width \
              and sums and master weights in full, with dynamic loss scaling.",
    parameters: &[
        Parameter {
            name: "model",
            meaning: "a perceptron with two hidden layers, or a net with two 3x3 convolutions, pooling and a dense layer",
            unit: "",
            domain: Domain::Choice(Model::NAMES),
            default: "mlp",
        },
        Parameter {
            name: "mode",
            meaning: "storage type; f16 and bf16 have f32 master weights and sums",
            unit: "",
            domain: Domain::Choice(Mode::NAMES),
            default: "f16",
        },
        Parameter {
            name: "hidden",
            meaning: "width of the hidden layers; of conv the channels are a quarter and a half of it",
            unit: "neurons",
            domain: Domain::Integer { min: 1, max: 2048 },
            default: "32",
        },
        Parameter {
            name: "batch",
            meaning: "images in a step",
            unit: "images",
            domain: Domain::Integer {
                min: 1,
                max: (IMAGES - TEST_IMAGES) as i64,
            },
            default: "64",
        },
        Parameter {
            name: "steps",
            meaning: "steps in a task",
            unit: "steps",
            domain: Domain::Integer { min: 1, max: 10_000 },
            default: "4",
        },
        Parameter {
            name: "shards",
            meaning: "parts of a batch, each with a gradient of its own, which may run on different workers",
            unit: "shards",
            domain: Domain::Integer {
                min: 1,
                max: MOST_SHARDS as i64,
            },
            default: "2",
        },
        Parameter {
            name: "optimizer",
            meaning: "SGD with rate 0.1 and momentum 0.9, or Adam with rate 0.003",
            unit: "",
            domain: Domain::Choice(&["sgd", "adam"]),
            default: "sgd",
        },
        Parameter {
            name: "loss_scaling",
            meaning: "scale the loss and skip steps that overflow; only in f16 and bf16",
            unit: "",
            domain: Domain::Flag,
            default: "true",
        },
        Parameter {
            name: "init_scale",
            meaning: "loss scale of the first step",
            unit: "",
            domain: Domain::Number {
                min: 1.0,
                max: 18_446_744_073_709_551_616.0,
            },
            default: "65536",
        },
    ],
    shared: "the images, read only; a few workspaces in which passes leave their activations, behind a lock",
    per_thread: "a task's master weights, half-width copy, optimizer state and a gradient for each shard; shards of one \
                 task may run on several threads, and meet in the reduction of their gradients",
    checked: "the same steps again on one thread, bit for bit; their first steps against plain f64 loops: each loss to \
              64 unit roundoffs of the storage type, with SGD the weights' way to as much of its length, and each skipped \
              step against the largest gradient that f16 had to hold",
    input_example: r#"{"op":"loss_scale","init":8,"growth_factor":2,"backoff_factor":0.5,"growth_interval":2,"overflow":[0,0,1,0]}"#,
    output_example: r#"{"growth_tracker":[1,0,0,1],"optimizer_steps":3,"scale":[8.0,16.0,8.0,8.0]}"#,
    notes: "Micikevicius et al.: Mixed Precision Training (2018); loss scaling by the rules of PyTorch's GradScaler. Other \
            cases: {\"op\":\"convert\",\"from\":\"f64\",\"to\":\"f16\",\"bits\":[\"3ff0000000000000\"]}, \
            {\"op\":\"matmul\",\"a\":[[1,2]],\"b\":[[3],[4]],\"storage\":\"f16\",\"accumulate\":\"f32\"}, \
            {\"op\":\"train\",\"data\":\"digits\",\"model\":\"mlp\",\"mode\":\"f16\",\"seed\":1,\"epochs\":5} with hidden, batch, \
            shards, optimizer, rate, loss_scaling, init, growth_factor, backoff_factor and growth_interval if wanted. \
            1 437 of the 1 797 images are for training and 360 for testing. Time of a step: 6 operations for each weight \
            and image (perceptron).",
};

fn settings(params: &Params) -> (Settings, Mode) {
    let mode = Mode::named(params.text("mode")).unwrap_or(Mode::F32);
    let settings = Settings {
        model: Model::at(usize::from(params.text("model") == "conv")),
        hidden: params.size("hidden"),
        batch: params.size("batch"),
        shards: params.size("shards"),
        optimizer: match params.text("optimizer") {
            "adam" => Optimizer::adam(0.003),
            _ => Optimizer::sgd(0.1, 0.9),
        },
        loss_scale: if params.flag("loss_scaling") && mode.is_half() {
            LossScale::new(params.number("init_scale") as f32, 2.0, 0.5, GROWTH_INTERVAL)
        } else {
            LossScale::off()
        },
    };
    (settings, mode)
}

impl Workload for MixedPrecision {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn memory_bytes(&self, params: &Params, workers: usize) -> u64 {
        let (settings, mode) = settings(params);
        let workers = workers.max(1) as u64;
        let shared = IMAGES * (PIXELS + 1 + 2) + TEST_IMAGES * (PIXELS * mode.bytes() + 4) + 4096;
        shared as u64 + workers * task_bytes(&settings, mode)
    }

    fn prepare(&self, params: &Params, seed: u64) -> Result<Box<dyn Prepared>, BadInput> {
        let (settings, mode) = settings(params);
        let steps = params.size("steps");
        Ok(for_mode!(mode, T => match settings.model {
            Model::Mlp => Box::new(Trainings::<T, _>::new(perceptron(settings.hidden), settings, steps, seed)),
            Model::Conv => Box::new(Trainings::<T, _>::new(convolution_net(settings.hidden), settings, steps, seed)),
        }))
    }

    fn solve(&self, input: &Value, join: &dyn Join) -> Result<Value, BadInput> {
        cases::solve(input, join)
    }
}

/// Bytes that a task and its check take at most.
pub(super) fn task_bytes(settings: &Settings, mode: Mode) -> u64 {
    let (stored, sum) = (mode.bytes() as u64, mode.sum_bytes() as u64);
    let shards = settings.shards.min(settings.batch) as u64;
    let rows = settings.batch.div_ceil(shards as usize) as u64;
    // Testing goes by pieces of its own length through the same workspaces.
    let rows = rows.max(CLASSIFIED_AT_ONCE as u64);
    let hidden = settings.hidden as u64;
    let (parameters, workspace) = match settings.model {
        Model::Mlp => {
            let widest = hidden.max(PIXELS as u64);
            let stored_values = 2 * rows * hidden + 2 * rows * hidden.max(CLASSES as u64);
            let sums = rows * hidden.max(CLASSES as u64) + 2 * widest;
            (
                65 * hidden + (hidden + 1) * hidden + 10 * (hidden + 1),
                stored_values * stored + sums * sum,
            )
        }
        Model::Conv => super::convolution::memory(settings.hidden, rows, stored, sum),
    };
    let copy = if mode.is_half() { stored } else { 0 };
    let weights = parameters * (sum * (1 + settings.optimizer.moments() as u64 + shards) + copy);
    let batches = IMAGES as u64 * 2 + settings.batch as u64 * (PIXELS as u64 * stored + 4);
    let products = shards * for_mode!(mode, T => packed_bytes::<T>(settings, rows as usize));
    let check = parameters * 8 * 6 + ORACLE_STEPS as u64 * settings.batch as u64 * 2 + 96 * 1024;
    weights + batches + shards * workspace + products + check
}

/// What the products of one shard keep of packed matrices, at most.
fn packed_bytes<T: Element>(settings: &Settings, rows: usize) -> u64 {
    let layers = match settings.model {
        Model::Mlp => {
            let hidden = settings.hidden;
            vec![(PIXELS, hidden), (hidden, hidden), (hidden, CLASSES)]
        }
        Model::Conv => vec![(PIXELS / 4 * (settings.hidden / 2).max(1), CLASSES)],
    };
    let of = |(inputs, outputs): (usize, usize)| {
        product_scratch_bytes::<T>(rows, outputs, inputs)
            .max(product_scratch_bytes::<T>(rows, inputs, outputs))
            .max(product_scratch_bytes::<T>(outputs, inputs, rows))
    };
    layers.into_iter().map(of).max().unwrap_or(0)
}

/// Steps that the oracle retraces at most.
const ORACLE_STEPS: usize = 3;

/// The oracle takes about so many products at most, but at least one step.
const ORACLE_PRODUCTS: usize = 300_000_000;

/// What the trainer says of the first steps, for the oracle.
struct Beginning {
    losses: Vec<f64>,
    scales: Vec<f64>,
    skipped: Vec<bool>,
    weights: Vec<f64>,
}

/// Trainings of one network from different seeds.
struct Trainings<T: Element, N> {
    digits: Digits,
    network: N,
    test: Samples<T>,
    settings: Settings,
    steps: usize,
    seed: u64,
    tally: Tally,
}

/// Of the tasks so far. Relaxed throughout: each figure stands alone.
#[derive(Default)]
struct Tally {
    tasks: AtomicU64,
    overflows: AtomicU64,
    skipped: AtomicU64,
    /// The bits of the f64 of the last task that ended.
    loss_scale: AtomicU64,
    accuracy: AtomicU64,
    weight_bytes: AtomicU64,
}

impl<T: Stored, N: Classifier<T>> Trainings<T, N> {
    fn new(network: N, settings: Settings, steps: usize, seed: u64) -> Trainings<T, N> {
        let digits = Digits::unpack();
        let test = digits.samples(digits.test());
        Trainings {
            digits,
            network,
            test,
            settings,
            steps,
            seed,
            tally: Tally::default(),
        }
    }

    fn seed_of(&self, task: u64) -> u64 {
        Random::new(self.seed, task).next()
    }

    /// Trains; `watch` sees the course after each step.
    fn train(
        &self,
        task: u64,
        join: &dyn Join,
        mut watch: impl FnMut(&Course<'_, T, N>, super::StepOutcome),
    ) -> Answer {
        let mut course = Course::new(&self.digits, &self.network, &self.settings, self.seed_of(task));
        let mut loss = 0.0;
        for _ in 0..self.steps {
            let outcome = course.step(join);
            loss = outcome.loss;
            watch(&course, outcome);
        }
        let trainer = &course.trainer;
        let right = correct(&self.network, trainer.weights(), &self.test, join);
        let digest = Digest::of(trainer.master().iter().map(|weight| weight.to_f64().to_bits()));
        self.tally.tasks.fetch_add(1, Ordering::Relaxed);
        self.tally.overflows.fetch_add(trainer.overflows(), Ordering::Relaxed);
        self.tally.skipped.fetch_add(trainer.skipped_steps(), Ordering::Relaxed);
        self.tally
            .loss_scale
            .store(f64::from(trainer.loss_scale().scale()).to_bits(), Ordering::Relaxed);
        self.tally
            .accuracy
            .store((right as f64 / TEST_IMAGES as f64).to_bits(), Ordering::Relaxed);
        self.tally
            .weight_bytes
            .store(trainer.weight_bytes() as u64, Ordering::Relaxed);
        Answer {
            text: format!("loss {loss:.4}, {right} of {TEST_IMAGES} test images right, weights {digest:016x}"),
            words: vec![loss.to_bits(), right as u64, digest],
        }
    }

    fn hold(&self, task: u64, beginning: &Beginning) -> Result<(), String> {
        let count = beginning.losses.len();
        let mut batches = Batches::new(&self.digits, self.seed_of(task));
        let batches: Vec<Vec<u16>> = (0..count).map(|_| batches.next(self.settings.batch).to_vec()).collect();
        let initial: Vec<f64> = self
            .network
            .initial(self.seed_of(task))
            .iter()
            .map(|weight| weight.to_f64())
            .collect();
        let trace = oracle::train(
            &self.digits,
            &self.settings,
            &initial,
            &batches,
            &beginning.scales,
            &beginning.skipped,
        );
        let bound = loss_bound::<T>();
        for step in 0..count {
            let (got, expected) = (beginning.losses[step], trace.losses[step]);
            // A step that overflowed may have no loss to speak of; that it had to overflow is checked below.
            if !beginning.skipped[step] && (got - expected).abs() > bound * (1.0 + expected) {
                return Err(format!("loss {got} at step {step} but f64 loops give {expected}"));
            }
            if T::FORMAT == Format::F16 && self.settings.loss_scale.is_on() {
                let share = trace.largest_stored[step] / T::FORMAT.largest();
                let fits = if beginning.skipped[step] {
                    share > 0.9
                } else {
                    share < 1.1
                };
                if !fits {
                    let did = if beginning.skipped[step] { "was" } else { "was not" };
                    return Err(format!(
                        "step {step} {did} skipped, with a largest gradient of {share} times the largest f16"
                    ));
                }
            }
        }
        // Adam divides by the root of the mean square: where a gradient is nearly 0, as after an
        // underflow, its steps say little of their own error. Only SGD's are compared.
        if matches!(self.settings.optimizer, Optimizer::Sgd { .. }) {
            let square = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
            let apart = square(&beginning.weights, &trace.weights).sqrt();
            let way = square(&initial, &trace.weights).sqrt();
            if apart.is_nan() || apart > bound * way {
                return Err(format!(
                    "after {count} steps the weights are {apart} from those of f64 loops, which moved by {way}"
                ));
            }
        }
        Ok(())
    }
}

/// How far losses may be from those of f64, relative to 1 + loss, and weights relative to the way they
/// went: 64 unit roundoffs, 0.03 in f16 and 0.25 in bf16.
fn loss_bound<T: Stored>() -> f64 {
    64.0 * T::FORMAT.unit_roundoff()
}

impl<T: Stored, N: Classifier<T> + Send> Prepared for Trainings<T, N> {
    fn run(&self, task: u64, join: &dyn Join) -> Answer {
        self.train(task, join, |_, _| {})
    }

    fn verify(&self, task: u64, answer: &Answer) -> Result<(), Mismatch> {
        let refuse = |message| Mismatch { task, message };
        let products = 3 * self.settings.batch * self.network.products();
        let count = self
            .steps
            .min(ORACLE_STEPS)
            .min((ORACLE_PRODUCTS / products.max(1)).max(1));
        let mut beginning = Beginning {
            losses: Vec::new(),
            scales: Vec::new(),
            skipped: Vec::new(),
            weights: Vec::new(),
        };
        let again = self.train(task, &Sequential, |course, outcome| {
            if beginning.losses.len() < count {
                beginning.losses.push(outcome.loss);
                beginning.scales.push(f64::from(outcome.scale));
                beginning.skipped.push(outcome.skipped);
                if beginning.losses.len() == count {
                    let master = course.trainer.master();
                    beginning.weights = master.iter().map(|weight| weight.to_f64()).collect();
                }
            }
        });
        if again.words != answer.words {
            return Err(refuse(format!("{} but again it is {}", answer.text, again.text)));
        }
        self.hold(task, &beginning).map_err(refuse)
    }

    fn facts(&self) -> Vec<Fact> {
        let count = |name, unit, meaning, value: f64| Fact {
            name,
            unit,
            meaning,
            value,
        };
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        if load(&self.tally.tasks) == 0 {
            return Vec::new();
        }
        let shards = self.settings.shards.min(self.settings.batch) as f64;
        let activations = self.network.activation_bytes() as f64 * shards;
        let weights = load(&self.tally.weight_bytes) as f64;
        let to_f32 = 4.0 / size_of::<T>() as f64;
        vec![
            count(
                "loss_scale",
                "1",
                "factor on the loss after the last task's last step",
                f64::from_bits(load(&self.tally.loss_scale)),
            ),
            count(
                "overflows",
                "steps",
                "steps with a gradient that was not finite",
                load(&self.tally.overflows) as f64,
            ),
            count(
                "skipped_steps",
                "steps",
                "steps that left the weights alone because of it",
                load(&self.tally.skipped) as f64,
            ),
            count(
                "test_accuracy",
                "1",
                "share of the test images that the last task's network tells",
                f64::from_bits(load(&self.tally.accuracy)),
            ),
            count(
                "activation_bytes",
                "bytes",
                "activations and their gradients of one step, in the storage type",
                activations,
            ),
            count("activation_bytes_f32", "bytes", "the same in f32", activations * to_f32),
            count(
                "weight_bytes",
                "bytes",
                "weights as the network reads them, in the storage type",
                weights,
            ),
            count("weight_bytes_f32", "bytes", "the same in f32", weights * to_f32),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParamValue;
    use crate::tests::OnThreads;

    fn prepared(given: &[(&str, ParamValue)], seed: u64) -> Box<dyn Prepared> {
        let given: Vec<_> = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let params = Params::resolve(&ABOUT, &given).unwrap();
        MixedPrecision.prepare(&params, seed).unwrap()
    }

    fn text(value: &str) -> ParamValue {
        ParamValue::Text(value.to_owned())
    }

    #[test]
    fn every_mode_model_and_optimizer_agrees_with_f64_loops() {
        for mode in Mode::NAMES {
            for model in Model::NAMES {
                for optimizer in ["sgd", "adam"] {
                    let prepared = prepared(
                        &[
                            ("mode", text(mode)),
                            ("model", text(model)),
                            ("optimizer", text(optimizer)),
                            ("hidden", ParamValue::Integer(20)),
                            ("batch", ParamValue::Integer(30)),
                            ("shards", ParamValue::Integer(4)),
                        ],
                        7,
                    );
                    for task in 0..2 {
                        let answer = prepared.run(task, &OnThreads(2));
                        assert_eq!(prepared.verify(task, &answer), Ok(()), "{mode} {model} {optimizer}");
                    }
                }
            }
        }
    }

    #[test]
    fn scales_that_must_overflow_and_scales_switched_off_verify() {
        for model in Model::NAMES {
            for (scaling, init_scale) in [(true, 1e19), (true, 3e6), (true, 1.0), (false, 1e19)] {
                let prepared = prepared(
                    &[
                        ("model", text(model)),
                        ("loss_scaling", ParamValue::Flag(scaling)),
                        ("init_scale", ParamValue::Number(init_scale)),
                    ],
                    7,
                );
                let answer = prepared.run(5, &Sequential);
                assert_eq!(prepared.verify(5, &answer), Ok(()), "{model} {scaling} {init_scale}");
                let skipped = fact(&*prepared, "skipped_steps");
                let expected = match (scaling, init_scale) {
                    // All four steps, in the run and in the check's.
                    (true, 1e19) => 8.0..=8.0,
                    // The first step or two.
                    (true, 3e6) => 2.0..=4.0,
                    _ => 0.0..=0.0,
                };
                assert!(expected.contains(&skipped), "{model} {init_scale}: {skipped}");
            }
        }
    }

    fn fact(prepared: &dyn Prepared, name: &str) -> f64 {
        prepared.facts().iter().find(|fact| fact.name == name).unwrap().value
    }

    #[test]
    fn facts_tell_the_scale_and_half_the_bytes() {
        let prepared = prepared(
            &[
                ("steps", ParamValue::Integer(40)),
                ("init_scale", ParamValue::Number(64.0)),
            ],
            1,
        );
        assert!(prepared.facts().is_empty());
        prepared.run(0, &Sequential);
        // Twice sixteen good steps.
        assert_eq!(fact(&*prepared, "loss_scale"), 256.0);
        assert_eq!(fact(&*prepared, "overflows"), 0.0);
        for figure in ["activation_bytes", "weight_bytes"] {
            let name = format!("{figure}_f32");
            assert_eq!(2.0 * fact(&*prepared, figure), fact(&*prepared, &name));
        }
        assert!(fact(&*prepared, "test_accuracy") > 0.8);
    }

    /// The oracle must be able to tell: weights that went another way, a loss that is another, a skip
    /// without a reason.
    #[test]
    fn a_training_that_went_wrong_is_told() {
        let given = &[("mode", text("bf16")), ("optimizer", text("sgd"))];
        let params: Vec<_> = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let (settings, _) = settings(&Params::resolve(&ABOUT, &params).unwrap());
        let trainings = Trainings::<crate::linear::f16, _>::new(perceptron(32), settings, 2, 3);
        let beginning = || {
            let mut beginning = Beginning {
                losses: Vec::new(),
                scales: Vec::new(),
                skipped: Vec::new(),
                weights: Vec::new(),
            };
            trainings.train(9, &Sequential, |course, outcome| {
                beginning.losses.push(outcome.loss);
                beginning.scales.push(f64::from(outcome.scale));
                beginning.skipped.push(outcome.skipped);
                beginning.weights = course
                    .trainer
                    .master()
                    .iter()
                    .map(|weight| f64::from(*weight))
                    .collect();
            });
            beginning
        };
        assert_eq!(trainings.hold(9, &beginning()), Ok(()));
        let mut wrong = beginning();
        wrong.losses[1] *= 1.1;
        assert!(trainings.hold(9, &wrong).unwrap_err().contains("loss"));
        let mut wrong = beginning();
        wrong.skipped[1] = true;
        assert!(trainings.hold(9, &wrong).unwrap_err().contains("was skipped"));
        let mut wrong = beginning();
        wrong.scales[1] = 1e15;
        assert!(trainings.hold(9, &wrong).unwrap_err().contains("was not skipped"));
        let mut wrong = beginning();
        let initial: Vec<f32> =
            super::super::Network::<crate::linear::f16>::initial(&trainings.network, trainings.seed_of(9));
        for (weight, start) in wrong.weights.iter_mut().zip(initial) {
            *weight += 0.1 * (*weight - f64::from(start));
        }
        assert!(trainings.hold(9, &wrong).unwrap_err().contains("weights"));
    }
}
