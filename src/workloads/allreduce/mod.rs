//! Allreduce: every participant brings a row and ends with the same reduction of all rows.
//!
//! N participants (ranks 0 to N-1) have n elements each. An [`Algorithm`] is a program for each
//! rank: what it sends to whom in which step, and what it does with what it receives. The same
//! programs are run in three ways:
//!
//! - [`all_reduce`], with all rows in one memory, computes each element once and in the program's
//!   order. Nobody waits. This is what a trainer calls for its gradients.
//! - [`exchange`] runs participants step by step, each a thread where there are enough: they wait
//!   for each other, and a straggler can be seen. No copy is made of a message here either.
//! - [`Participant`] is a process, and messages go over Unix sockets or TCP.
//!
//! All three give the same bits, in every row: each element is reduced in one order, at one place,
//! and then only copied. The orders are told at [`Algorithm`]; the operations and what they do
//! with NaN at [`Op`]. Values are combined in f32 (f64 for f64) and rounded to their own type at
//! each hop, as a message holds them: a sum of bf16 over N ranks has N-1 roundings, as with MPI.
//! Its error is at most ((1 + u)^(N-1) - 1) times the sum of magnitudes, with u = 2^-8 for bf16,
//! 2^-24 for f32 and 2^-53 for f64. A mean is the sum, divided once it is complete. Of several
//! NaNs that meet, which payload remains is not told.
//!
//! What is sent is counted: around a ring each rank sends every chunk but one in each half, which
//! is 2(N-1)/N of the data where N divides it. [`cost`] predicts the time.
//!
//! Sources: Patarasuk and Yuan, *Bandwidth optimal all-reduce algorithms for clusters of
//! workstations* (2009), for the ring; Thakur, Rabenseifner and Gropp, *Optimization of collective
//! communication operations in MPICH* (2005), for halving-doubling, trees and the cost model.

mod combine;
mod cost;
mod failure;
mod fused;
mod oracle;
mod participant;
mod participants;
mod plan;
mod rows;
mod trial;
mod value;

pub use cost::{Costs, cost};
pub use failure::Failure;
pub use fused::{all_gather, all_reduce, reduce_scatter};
pub use participant::{Link, Participant, Sent, Stream};
pub use participants::{Course, Exchange, exchange};
pub use plan::{Algorithm, Op, Traffic, chunk, kept_chunk, traffic};
pub use trial::{Prediction, Report, Trial, TrialFailure, trial};
pub use value::Value as Sendable;

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::digest::Digest;
use super::json::{Case, told};
use super::linear::{Real, bf16, f16};
use super::random::Random;
use super::{
    About, Answer, BadInput, Domain, Fact, Join, Mismatch, Parameter, Params, Prepared, Workload, for_each_piece,
};

/// The catalogue's entry.
pub struct Allreduce;

/// Of a case: its programs grow with the square of the ranks.
const MOST_RANKS: usize = 256;
/// Elements that are checked against their definition one by one.
const SAMPLE: usize = 4096;
const DTYPES: &[&str] = &["f32", "f64", "bf16", "f16"];

static ABOUT: About = About {
    name: "allreduce",
    title: "Allreduce",
    summary: "Every participant brings a row and ends with the same sum (minimum, maximum, product, mean) of all rows.",
    parameters: &[
        Parameter {
            name: "ranks",
            meaning: "participants; each is a thread when a forked task gets as many",
            unit: "participants",
            domain: Domain::Integer { min: 1, max: 64 },
            default: "4",
        },
        Parameter {
            name: "elements",
            meaning: "length of each participant's row",
            unit: "elements",
            domain: Domain::Integer {
                min: 0,
                max: 67_108_864,
            },
            default: "65536",
        },
        Parameter {
            name: "algorithm",
            meaning: "who sends what to whom: around a ring, recursive halving and doubling, up and down a binary tree, or everyone to everyone",
            unit: "",
            domain: Domain::Choice(&Algorithm::NAMES),
            default: "ring",
        },
        Parameter {
            name: "op",
            meaning: "how two values become one",
            unit: "",
            domain: Domain::Choice(&Op::NAMES),
            default: "sum",
        },
        Parameter {
            name: "dtype",
            meaning: "type of the elements; bf16 is rounded at every hop",
            unit: "",
            domain: Domain::Choice(DTYPES),
            default: "f32",
        },
        Parameter {
            name: "exchange",
            meaning: "step by step, with participants that wait for each other, or fused: each element once, with nobody waiting",
            unit: "",
            domain: Domain::Choice(&["steps", "fused"]),
            default: "steps",
        },
        Parameter {
            name: "segment_bytes",
            meaning: "how much of a message is received before the next participant may have it",
            unit: "bytes",
            domain: Domain::Integer {
                min: 64,
                max: 67_108_864,
            },
            default: "65536",
        },
        Parameter {
            name: "straggler_rank",
            meaning: "a participant that has more to do before it brings its row; -1 for none",
            unit: "rank",
            domain: Domain::Integer { min: -1, max: 63 },
            default: "-1",
        },
        Parameter {
            name: "straggler_work",
            meaning: "how often the straggler goes over its row first",
            unit: "passes",
            domain: Domain::Integer { min: 0, max: 1_000_000 },
            default: "1000",
        },
        Parameter {
            name: "deadline_ms",
            meaning: "how long nothing may move before a participant is named and the exchange given up",
            unit: "milliseconds",
            domain: Domain::Integer { min: 1, max: 600_000 },
            default: "30000",
        },
        Parameter {
            name: "alpha",
            meaning: "for the predicted time: what a message costs however short",
            unit: "seconds",
            domain: Domain::Number { min: 0.0, max: 10.0 },
            default: "0.000005",
        },
        Parameter {
            name: "beta_s_per_byte",
            meaning: "for the predicted time: what a byte of a message costs",
            unit: "seconds a byte",
            domain: Domain::Number { min: 0.0, max: 1.0 },
            default: "0.0000000001",
        },
        Parameter {
            name: "gamma_s_per_byte",
            meaning: "for the predicted time: what combining a byte costs",
            unit: "seconds a byte",
            domain: Domain::Number { min: 0.0, max: 1.0 },
            default: "0.0000000001",
        },
        Parameter {
            name: "inputs",
            meaning: "different sets of rows that tasks take in turn",
            unit: "inputs",
            domain: Domain::Integer { min: 1, max: 64 },
            default: "4",
        },
    ],
    shared: "the rows of every input, read only; within a forked task all participants' rows, each written by its own participant and read by its neighbours, and the table that says how far each has come (one lock)",
    per_thread: "nothing but a block in the cache: a task's rows belong to the task, a row for each participant (direct: two)",
    checked: "bits of all rows against a sequential reduction; of that, up to 4096 elements against the algorithm's formula, bit by bit, and against compensated f64 within the bound of N-1 roundings; counted messages against 2(N-1)/N of the data for a ring, or the program's",
    input_example: r#"{"algorithm":"ring","op":"sum","dtype":"f32","input":[[1,2,3],[10,20,30]]}"#,
    output_example: r#"{"output":[[11.0,22.0,33.0],[11.0,22.0,33.0]],"sent_elements":[3,3],"steps":2}"#,
    notes: "In JSON: `input` has a row for each of at most 256 ranks, `output` likewise (all rows are equal, bit by bit); dtype f32, f64, bf16 or f16, to which \
            the input is rounded; NaN, Infinity and -Infinity are texts. The ring leaves rank r with chunk r+1 after its first half. \
            {\"op\":\"cost\",\"alpha\",\"beta_s_per_byte\",\"gamma_s_per_byte\",\"ranks\",\"bytes\"} gives the predicted seconds of each algorithm. \
            min and max are IEEE 754-2019's minimum and maximum: NaN when there is one, -0 below +0. \
            Sources: Patarasuk and Yuan 2009; Thakur, Rabenseifner and Gropp 2005.",
};

impl Workload for Allreduce {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn memory_bytes(&self, params: &Params, workers: usize) -> u64 {
        let (ranks, elements) = (params.integer("ranks") as u64, params.integer("elements") as u64);
        let size = match params.text("dtype") {
            "f64" => 8,
            "f32" => 4,
            _ => 2,
        };
        let rows = ranks * elements * size;
        let by_steps = params.text("exchange") == "steps";
        let direct = params.text("algorithm") == "direct";
        let scratch = if by_steps && direct { rows } else { 0 };
        // A program has at most 2 (N - 1) steps, and each gives a stage with what it needs; direct has
        // N - 1 steps and few stages, but two of them need all others.
        let programs = match (by_steps, direct) {
            (false, _) => 0,
            (true, true) => ranks * (ranks * 150 + 700),
            (true, false) => ranks * (2 * ranks + 2) * 220,
        };
        // Blocks in the cache for each thread of a forked task.
        let blocks = workers as u64 * 8 * 4096;
        let workers = workers.max(1) as u64;
        params.integer("inputs") as u64 * (rows + ranks * 64)
            + workers * (rows + scratch + programs + blocks + ranks * 512)
            + 4096
    }

    fn prepare(&self, params: &Params, seed: u64) -> Result<Box<dyn Prepared>, BadInput> {
        let straggler = params.integer("straggler_rank");
        let ranks = params.integer("ranks");
        if straggler >= ranks {
            return Err(BadInput::new(
                "straggler_rank",
                format!(
                    "is {straggler}, but the ranks are 0 to {}; give one of these, or -1 for none",
                    ranks - 1
                ),
            ));
        }
        Ok(match params.text("dtype") {
            "f64" => Box::new(Exchanges::<f64>::new(params, seed)),
            "bf16" => Box::new(Exchanges::<bf16>::new(params, seed)),
            "f16" => Box::new(Exchanges::<f16>::new(params, seed)),
            _ => Box::new(Exchanges::<f32>::new(params, seed)),
        })
    }

    fn solve(&self, input: &Value, join: &dyn Join) -> Result<Value, BadInput> {
        if input.get("op").and_then(Value::as_str) == Some("cost") {
            return predict(input);
        }
        let case = Case::open(input, &["algorithm", "op", "dtype", "input"])?;
        let algorithm = Algorithm::ALL[case.choice("algorithm", &Algorithm::NAMES)?];
        // The other thing that `op` may be.
        let ops: Vec<&str> = Op::NAMES.into_iter().chain(["cost"]).collect();
        let op = Op::ALL[case.choice("op", &ops)?];
        let dtype = match case.optional("dtype") {
            None => DTYPES[0],
            Some(_) => DTYPES[case.choice("dtype", DTYPES)?],
        };
        let (shape, flat) = case.tensor("input", 2)?;
        let (ranks, elements) = (shape[0], shape[1]);
        if ranks == 0 {
            return Err(BadInput::new("input", "is empty; give a row of numbers for each rank"));
        }
        if ranks > MOST_RANKS {
            return Err(BadInput::new(
                "input",
                format!("has {ranks} rows; give at most {MOST_RANKS}, one for each rank"),
            ));
        }
        match dtype {
            "f64" => reduce_case::<f64>(join, &flat, ranks, elements, algorithm, op),
            "bf16" => reduce_case::<bf16>(join, &flat, ranks, elements, algorithm, op),
            "f16" => reduce_case::<f16>(join, &flat, ranks, elements, algorithm, op),
            _ => reduce_case::<f32>(join, &flat, ranks, elements, algorithm, op),
        }
    }
}

fn reduce_case<T: Sendable>(
    join: &dyn Join,
    flat: &[f64],
    ranks: usize,
    elements: usize,
    algorithm: Algorithm,
    op: Op,
) -> Result<Value, BadInput> {
    let mut rows: Vec<Vec<T>> = (0..ranks)
        .map(|rank| {
            flat[rank * elements..][..elements]
                .iter()
                .map(|value| T::of(*value))
                .collect()
        })
        .collect();
    let mut slices: Vec<&mut [T]> = rows.iter_mut().map(Vec::as_mut_slice).collect();
    let course = Course {
        algorithm,
        op,
        segment: 4096,
        deadline: Duration::from_secs(60),
        bring: &|_, _| (),
        taken: &|_, _| (),
        before: None,
    };
    let seen = exchange(join, &mut slices, &course).map_err(|failure| BadInput::new("input", failure.to_string()))?;
    let output: Vec<Vec<Value>> = rows
        .iter()
        .map(|row| row.iter().map(|value| told(value.to_f64())).collect())
        .collect();
    Ok(json!({
        "output": output,
        "steps": seen.traffic.steps,
        "sent_elements": seen.traffic.sent_elements,
    }))
}

/// The cost model as a case.
fn predict(input: &Value) -> Result<Value, BadInput> {
    let case = Case::open(
        input,
        &["op", "alpha", "beta_s_per_byte", "gamma_s_per_byte", "ranks", "bytes"],
    )?;
    let amount = |name: &str| {
        let value = case.number(name)?;
        if value >= 0.0 && value.is_finite() {
            Ok(value)
        } else {
            Err(BadInput::new(
                name,
                format!("is {value}; give a finite number of at least 0"),
            ))
        }
    };
    let ranks = case.count("ranks")?;
    if !(1..=1 << 32).contains(&ranks) {
        return Err(BadInput::new("ranks", format!("is {ranks}; give 1 to 4294967296")));
    }
    let costs = cost(
        amount("alpha")?,
        amount("beta_s_per_byte")?,
        amount("gamma_s_per_byte")?,
        ranks,
        amount("bytes")?,
    );
    let seconds = |algorithm| told(costs.of(algorithm));
    Ok(json!({
        "ring": seconds(Algorithm::Ring),
        "halving_doubling": seconds(Algorithm::HalvingDoubling),
        "tree": seconds(Algorithm::Tree),
        "direct": seconds(Algorithm::Direct),
    }))
}

/// What of the parameters does not depend on the type of the elements.
struct Settings {
    algorithm: Algorithm,
    op: Op,
    ranks: usize,
    elements: usize,
    by_steps: bool,
    segment_bytes: usize,
    straggler: Option<usize>,
    straggler_work: usize,
    deadline: Duration,
    predicted_seconds: f64,
}

/// Sums over all exchanges so far. Relaxed: each stands alone.
struct Seen {
    exchanges: AtomicU64,
    took_ns: AtomicU64,
    waited_for_ns: Vec<AtomicU64>,
}

/// Inputs of one type.
struct Exchanges<T> {
    settings: Settings,
    inputs: Vec<Vec<Vec<T>>>,
    seen: Seen,
}

impl<T: Sendable> Exchanges<T> {
    fn new(params: &Params, seed: u64) -> Exchanges<T> {
        let algorithm = Algorithm::named(params.text("algorithm")).unwrap_or(Algorithm::Ring);
        let (ranks, elements) = (params.size("ranks"), params.size("elements"));
        let costs = cost(
            params.number("alpha"),
            params.number("beta_s_per_byte"),
            params.number("gamma_s_per_byte"),
            ranks,
            (elements * size_of::<T>()) as f64,
        );
        let settings = Settings {
            algorithm,
            op: Op::named(params.text("op")).unwrap_or(Op::Sum),
            ranks,
            elements,
            by_steps: params.text("exchange") == "steps",
            segment_bytes: params.size("segment_bytes"),
            straggler: usize::try_from(params.integer("straggler_rank")).ok(),
            straggler_work: params.size("straggler_work"),
            deadline: Duration::from_millis(params.integer("deadline_ms") as u64),
            predicted_seconds: costs.of(algorithm),
        };
        let inputs = (0..params.size("inputs"))
            .map(|number| generate(ranks, elements, &mut Random::new(seed, number as u64)))
            .collect();
        Exchanges {
            settings,
            inputs,
            seen: Seen {
                exchanges: AtomicU64::new(0),
                took_ns: AtomicU64::new(0),
                waited_for_ns: (0..ranks).map(|_| AtomicU64::new(0)).collect(),
            },
        }
    }

    fn input(&self, task: u64) -> &[Vec<T>] {
        &self.inputs[(task % self.inputs.len() as u64) as usize]
    }

    /// What a participant does before it exchanges: here is where one can be late.
    fn bring(&self, input: &[Vec<T>], rank: usize, row: &mut [T]) {
        row.copy_from_slice(&input[rank]);
        if self.settings.straggler == Some(rank) {
            for _ in 0..self.settings.straggler_work {
                let mut sum = <T::Sum as Default>::default();
                for value in black_box(&*row) {
                    sum += value.wide();
                }
                black_box(sum.to_f64());
            }
        }
    }

    /// Runs one exchange; the digest of each rank's row.
    fn exchange(&self, task: u64, join: &dyn Join) -> Result<(Traffic, Vec<u64>), Failure> {
        let settings = &self.settings;
        let input = self.input(task);
        // Zeroed by the kernel: a row's pages are first touched by the thread that brings it.
        let mut rows: Vec<Vec<T>> = (0..settings.ranks)
            .map(|_| vec![T::default(); settings.elements])
            .collect();
        let mut slices: Vec<&mut [T]> = rows.iter_mut().map(Vec::as_mut_slice).collect();
        let digests: Vec<AtomicU64> = (0..settings.ranks).map(|_| AtomicU64::new(0)).collect();
        let bring = |rank: usize, row: &mut [T]| self.bring(input, rank, row);
        // Relaxed: read after the join, which orders it.
        let taken = |rank: usize, row: &[T]| digests[rank].store(digest(row), Ordering::Relaxed);
        let traffic = if settings.by_steps {
            let course = Course {
                algorithm: settings.algorithm,
                op: settings.op,
                segment: (settings.segment_bytes / size_of::<T>()).max(1),
                deadline: settings.deadline,
                bring: &bring,
                taken: &taken,
                before: None,
            };
            let seen = exchange(join, &mut slices, &course)?;
            self.seen.exchanges.fetch_add(1, Ordering::Relaxed);
            self.seen
                .took_ns
                .fetch_add(seen.took.as_nanos() as u64, Ordering::Relaxed);
            for (all, waited) in self.seen.waited_for_ns.iter().zip(&seen.waited_for) {
                all.fetch_add(waited.as_nanos() as u64, Ordering::Relaxed);
            }
            seen.traffic
        } else {
            {
                let rows = rows::Rows::new(&mut slices)?;
                for_each_piece(join, 0..settings.ranks, 1, &|piece| {
                    // SAFETY: this piece, and no other, is this rank's.
                    let row = unsafe { rows.exclusive(piece.start, 0..settings.elements) };
                    bring(piece.start, row);
                });
            }
            let traffic = all_reduce(join, &mut slices, settings.algorithm, settings.op)?;
            for_each_piece(join, 0..settings.ranks, 1, &|piece| {
                taken(piece.start, slices[piece.start]);
            });
            traffic
        };
        Ok((traffic, digests.into_iter().map(AtomicU64::into_inner).collect()))
    }
}

fn generate<T: Sendable>(ranks: usize, elements: usize, random: &mut Random) -> Vec<Vec<T>> {
    (0..ranks).map(|_| row(elements, random)).collect()
}

/// Values between 1/2 and 2 in magnitude, of both signs: so that neither sums nor products leave
/// the range of any type.
fn row<T: Sendable>(elements: usize, random: &mut Random) -> Vec<T> {
    (0..elements)
        .map(|_| {
            let bits = random.next();
            let size = 0.5 + 1.5 * ((bits >> 11) as f64 / (1_u64 << 53) as f64);
            T::of(if bits & 1 == 1 { -size } else { size })
        })
        .collect()
}

/// Eight chains of the usual digest over the row's bytes: one alone would take longer than the
/// exchange.
fn digest<T: Sendable>(row: &[T]) -> u64 {
    let mut lanes = [(); 8].map(|()| Digest::new());
    let mut blocks = value::bytes(row).chunks_exact(64);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            lane.push(u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
    }
    let rest = blocks.remainder().iter().map(|byte| u64::from(*byte));
    Digest::of(lanes.iter().map(Digest::value).chain(rest).chain([row.len() as u64]))
}

impl<T: Sendable> Prepared for Exchanges<T> {
    fn run(&self, task: u64, join: &dyn Join) -> Answer {
        match self.exchange(task, join) {
            Ok((traffic, digests)) => {
                let digest = Digest::of(digests);
                let sent: u64 = traffic.sent_elements.iter().sum();
                Answer {
                    text: format!(
                        "{} ranks in {} steps, {sent} elements sent, digest {digest:016x}",
                        self.settings.ranks, traffic.steps
                    ),
                    words: vec![traffic.steps as u64, sent, digest],
                }
            }
            Err(failure) => Answer {
                text: failure.to_string(),
                words: vec![u64::MAX, failure.rank().map_or(u64::MAX, |rank| rank as u64), 0],
            },
        }
    }

    fn verify(&self, task: u64, answer: &Answer) -> Result<(), Mismatch> {
        let Settings {
            algorithm,
            op,
            ranks,
            elements,
            ..
        } = self.settings;
        let mismatch = |message: String| Err(Mismatch { task, message });
        let input = self.input(task);
        let mut rows = input.to_vec();
        let mut slices: Vec<&mut [T]> = rows.iter_mut().map(Vec::as_mut_slice).collect();
        if let Err(failure) = all_reduce(&super::Sequential, &mut slices, algorithm, op) {
            return mismatch(failure.to_string());
        }
        let reduced = &rows[0];
        let stride = (elements / SAMPLE).max(1);
        for at in (0..elements).step_by(stride) {
            let defined = oracle::element(input, at, algorithm, op);
            if reduced[at].bits() != defined.bits() {
                return mismatch(format!(
                    "element {at} is {} and by the order of the {} {}",
                    reduced[at].to_f64(),
                    algorithm.name(),
                    defined.to_f64()
                ));
            }
            let values: Vec<f64> = input.iter().map(|row| row[at].to_f64()).collect();
            let (real, bound) = oracle::real(&values, op, T::UNIT);
            let error = (reduced[at].to_f64() - real).abs();
            if error > bound || error.is_nan() {
                return mismatch(format!(
                    "element {at} is {}, which is {error:e} from {real}; at most {bound:e} comes of rounding",
                    reduced[at].to_f64()
                ));
            }
        }
        let steps = traffic(algorithm, ranks, elements);
        let expected = [
            steps.steps as u64,
            steps.sent_elements.iter().sum(),
            Digest::of(vec![digest(reduced); ranks]),
        ];
        if answer.words == expected {
            return Ok(());
        }
        mismatch(format!(
            "{}; sequentially it is {} elements sent, digest {:016x} in every row",
            answer.text, expected[1], expected[2]
        ))
    }

    fn facts(&self) -> Vec<Fact> {
        let Settings {
            algorithm,
            ranks,
            elements,
            ..
        } = self.settings;
        let traffic = traffic(algorithm, ranks, elements);
        let sent = traffic.sent_elements.iter().copied().max().unwrap_or(0) as f64;
        let fact = |name, unit, meaning, value| Fact {
            name,
            unit,
            meaning,
            value,
        };
        let mut facts = vec![
            fact("steps", "1", "rounds in which everyone may send", traffic.steps as f64),
            fact(
                "sent_bytes",
                "bytes",
                "sent by the participant that sends most, in one exchange",
                sent * size_of::<T>() as f64,
            ),
            fact(
                "predicted_seconds",
                "seconds",
                "one exchange by the alpha-beta-gamma model with the parameters given",
                self.settings.predicted_seconds,
            ),
        ];
        let least = 2.0 * (ranks as f64 - 1.0) / ranks as f64 * elements as f64;
        if least > 0.0 {
            facts.push(fact(
                "sent_to_least",
                "1",
                "that, as a multiple of 2(N-1)/N of the data, the least there can be",
                sent / least,
            ));
        }
        // Relaxed: recent values are enough.
        let exchanges = self.seen.exchanges.load(Ordering::Relaxed);
        if exchanges > 0 {
            let took = self.seen.took_ns.load(Ordering::Relaxed) as f64 / 1e9;
            facts.push(fact(
                "measured_seconds",
                "seconds",
                "one exchange on average, from the last row brought to the last row reduced",
                took / exchanges as f64,
            ));
            let waited: Vec<u64> = self
                .seen
                .waited_for_ns
                .iter()
                .map(|waited| waited.load(Ordering::Relaxed))
                .collect();
            facts.push(fact(
                "waited_seconds",
                "seconds",
                "that threads lay waiting for another participant, all together in one exchange",
                waited.iter().sum::<u64>() as f64 / 1e9 / exchanges as f64,
            ));
            let longest = waited.iter().enumerate().max_by_key(|(_, waited)| **waited);
            if let Some((rank, _)) = longest.filter(|(_, waited)| **waited > 0) {
                facts.push(fact(
                    "straggler",
                    "rank",
                    "the participant that others lay waiting for longest",
                    rank as f64,
                ));
            }
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::tests::{OnThreads, solve};
    use crate::{ParamValue, find};

    fn params(given: &[(&str, ParamValue)]) -> Params {
        let given: Vec<_> = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        Params::resolve(&ABOUT, &given).unwrap()
    }

    fn text(value: &str) -> ParamValue {
        ParamValue::Text(value.to_owned())
    }

    #[test]
    fn every_choice_verifies_and_both_exchanges_agree() {
        for algorithm in Algorithm::NAMES {
            for op in Op::NAMES {
                for (dtype, ranks, elements) in [("f32", 3, 1000), ("f64", 5, 100), ("bf16", 64, 70), ("f16", 2, 9)] {
                    let mut words = Vec::new();
                    for exchange in ["steps", "fused"] {
                        let params = params(&[
                            ("algorithm", text(algorithm)),
                            ("op", text(op)),
                            ("dtype", text(dtype)),
                            ("exchange", text(exchange)),
                            ("ranks", ParamValue::Integer(ranks)),
                            ("elements", ParamValue::Integer(elements)),
                        ]);
                        let prepared = Allreduce.prepare(&params, 5).unwrap();
                        let answer = prepared.run(1, &Sequential);
                        assert_eq!(
                            prepared.verify(1, &answer),
                            Ok(()),
                            "{algorithm} {op} {dtype} {exchange}"
                        );
                        words.push(answer.words);
                    }
                    assert_eq!(words[0], words[1]);
                }
            }
        }
    }

    #[test]
    fn the_shortest_rows_and_a_single_rank_verify_too() {
        for (ranks, elements) in [(1, 0), (1, 1), (1, 100), (8, 0), (8, 1), (8, 7), (64, 63)] {
            for algorithm in Algorithm::NAMES {
                let params = params(&[
                    ("algorithm", text(algorithm)),
                    ("op", text("mean")),
                    ("ranks", ParamValue::Integer(ranks)),
                    ("elements", ParamValue::Integer(elements)),
                ]);
                let prepared = Allreduce.prepare(&params, 5).unwrap();
                let answer = prepared.run(0, &OnThreads(2));
                assert_eq!(prepared.verify(0, &answer), Ok(()));
            }
        }
    }

    #[test]
    fn a_straggler_is_named_and_given_up_after_the_deadline() {
        let late = params(&[
            ("ranks", ParamValue::Integer(3)),
            ("straggler_rank", ParamValue::Integer(1)),
            ("straggler_work", ParamValue::Integer(15_000)),
            ("deadline_ms", ParamValue::Integer(400)),
        ]);
        let prepared = Allreduce.prepare(&late, 5).unwrap();
        let answer = prepared.run(0, &OnThreads(3));
        assert_eq!(answer.text, "rank 1 did not send step 0 within 400ms");
        let mismatch = prepared.verify(0, &answer).unwrap_err();
        assert!(mismatch.message.starts_with("rank 1 did not send step 0"), "{mismatch}");

        let patient = params(&[
            ("ranks", ParamValue::Integer(3)),
            ("straggler_rank", ParamValue::Integer(1)),
            ("straggler_work", ParamValue::Integer(5_000)),
        ]);
        let prepared = Allreduce.prepare(&patient, 5).unwrap();
        let answer = prepared.run(0, &OnThreads(3));
        assert_eq!(prepared.verify(0, &answer), Ok(()));
        let straggler = prepared.facts().into_iter().find(|fact| fact.name == "straggler");
        assert_eq!(straggler.map(|fact| fact.value), Some(1.0));
    }

    #[test]
    fn a_straggler_that_is_no_rank_is_refused() {
        let wrong = params(&[("straggler_rank", ParamValue::Integer(4))]);
        let refused = Allreduce.prepare(&wrong, 1).err().unwrap();
        assert_eq!(
            refused.to_string(),
            "straggler_rank: is 4, but the ranks are 0 to 3; give one of these, or -1 for none"
        );
    }

    #[test]
    fn a_ring_sends_the_least_there_can_be() {
        let prepared = Allreduce.prepare(&params(&[]), 1).unwrap();
        let fact = |name: &str| {
            prepared
                .facts()
                .into_iter()
                .find(|fact| fact.name == name)
                .unwrap()
                .value
        };
        assert_eq!(fact("sent_to_least"), 1.0);
        assert_eq!(fact("sent_bytes"), 1.5 * 65536.0 * 4.0);
        let predicted = 6.0 * 5e-6 + 2.25 * 65536.0 * 4.0 * 1e-10;
        assert!((fact("predicted_seconds") / predicted - 1.0).abs() < 1e-12);
    }

    #[test]
    fn cases() {
        for (case, expected) in [
            (
                r#"{"algorithm":"direct","op":"mean","dtype":"f64","input":[[1,5],[2,-5]]}"#,
                r#"{"output":[[1.5,0.0],[1.5,0.0]],"sent_elements":[2,2],"steps":1}"#,
            ),
            (
                r#"{"algorithm":"tree","op":"max","dtype":"f32","input":[[1,"NaN"],[2,7],["Infinity",8]]}"#,
                r#"{"output":[["Infinity","NaN"],["Infinity","NaN"],["Infinity","NaN"]],"sent_elements":[4,2,2],"steps":4}"#,
            ),
            (
                r#"{"algorithm":"halving_doubling","op":"prod","dtype":"bf16","input":[[3],[5],[7]]}"#,
                r#"{"output":[[105.0],[105.0],[105.0]],"sent_elements":[2,1,1],"steps":4}"#,
            ),
            (
                r#"{"algorithm":"ring","op":"min","dtype":"f32","input":[[0.0],[-0.0]]}"#,
                r#"{"output":[[-0.0],[-0.0]],"sent_elements":[1,1],"steps":2}"#,
            ),
            (
                r#"{"algorithm":"ring","op":"sum","dtype":"f32","input":[[],[],[]]}"#,
                r#"{"output":[[],[],[]],"sent_elements":[0,0,0],"steps":4}"#,
            ),
            (
                r#"{"algorithm":"ring","op":"sum","dtype":"f32","input":[[4,5]]}"#,
                r#"{"output":[[4.0,5.0]],"sent_elements":[0],"steps":0}"#,
            ),
            (
                r#"{"op":"cost","alpha":1,"beta_s_per_byte":0.25,"gamma_s_per_byte":0.5,"ranks":4,"bytes":16}"#,
                r#"{"direct":39.0,"halving_doubling":16.0,"ring":18.0,"tree":36.0}"#,
            ),
        ] {
            assert_eq!(solve(&Allreduce, case).unwrap(), expected, "{case}");
        }
    }

    #[test]
    fn bad_cases_are_refused_with_the_way_out() {
        let many = format!(
            r#"{{"algorithm":"ring","op":"sum","dtype":"f32","input":[{}[1]]}}"#,
            "[1],".repeat(256)
        );
        for (case, expected) in [
            ("[]", "input: is an array; give an object with the fields"),
            (
                r#"{"algorithm":"rong","op":"sum","dtype":"f32","input":[[1]]}"#,
                "algorithm: `rong` is not known; did you mean `ring`?",
            ),
            (
                r#"{"algorithm":"ring","op":"som","dtype":"f32","input":[[1]]}"#,
                "op: `som` is not known; did you mean `sum`?",
            ),
            (
                r#"{"algorithm":"ring","op":"sum","dtype":"i32","input":[[1]]}"#,
                "dtype: `i32` is not known; did you mean `f32`?",
            ),
            (
                r#"{"algorithm":"ring","op":"sum","dtype":"f32","input":[[1,2],[3]]}"#,
                "input: has arrays of 2 and of 1 values at the same depth",
            ),
            (
                r#"{"algorithm":"ring","op":"sum","dtype":"f32","input":[]}"#,
                "input: is empty; give a row of numbers for each rank",
            ),
            (
                r#"{"algorithm":"ring","op":"sum","dtype":"f32","input":[1,2]}"#,
                "input: has a number where an array belongs",
            ),
            (r#"{"algorithm":"ring","op":"sum","dtype":"f32"}"#, "input: is missing"),
            (
                r#"{"algorithm":"ring","op":"sum","dtype":"f32","input":[[true]]}"#,
                "input: is a truth value; give a number",
            ),
            (&many, "input: has 257 rows; give at most 256, one for each rank"),
            (
                r#"{"op":"cost","alpha":-1,"beta_s_per_byte":0,"gamma_s_per_byte":0,"ranks":4,"bytes":16}"#,
                "alpha: is -1; give a finite number of at least 0",
            ),
            (
                r#"{"op":"cost","alpha":1,"beta_s_per_byte":0,"gamma_s_per_byte":0,"ranks":0,"bytes":16}"#,
                "ranks: is 0; give 1 to 4294967296",
            ),
            (
                r#"{"op":"cost","alpha":1,"beta_s_per_byte":0,"gamma_s_per_byte":0,"ranks":2}"#,
                "bytes: is missing",
            ),
        ] {
            let refused = solve(&Allreduce, case).unwrap_err();
            assert!(refused.starts_with(expected), "{refused}\n{expected}");
        }
    }

    #[test]
    fn the_catalogue_lists_it() {
        assert!(find("allreduce").is_some());
    }
}
