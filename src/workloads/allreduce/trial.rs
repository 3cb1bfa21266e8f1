//! A verified exchange between processes: rows from a seed, so that each process knows what all
//! others bring and can say whether the result is right; and its time beside the predicted one.

use std::time::Duration;

use crate::linear::{bf16, f16};
use crate::random::Random;
use crate::stopwatch::Stopwatch;
use crate::{Join, Sequential};

use super::combine::combine;
use super::cost::cost;
use super::failure::Failure;
use super::fused::all_reduce;
use super::participant::{Participant, Stream};
use super::plan::{Algorithm, Op};
use super::value::Value;

/// What all participants agree on beforehand.
#[derive(Clone, Debug)]
pub struct Trial {
    pub algorithm: Algorithm,
    pub op: Op,
    /// `f32`, `f64`, `bf16` or `f16`.
    pub dtype: String,
    pub elements: usize,
    pub seed: u64,
    /// Timed exchanges, one after the other.
    pub rounds: usize,
    pub deadline: Duration,
    /// Whether the links are measured first, for the prediction.
    pub calibrate: bool,
}

/// How it went, as one participant saw it.
#[derive(Clone, Debug)]
pub struct Report {
    pub steps: usize,
    pub sent_elements: u64,
    pub sent_bytes: u64,
    /// Of the reduced row: equal in all ranks.
    pub digest: u64,
    /// The quickest round, and all of them together by their number.
    pub least_seconds: f64,
    pub mean_seconds: f64,
    pub prediction: Option<Prediction>,
}

/// The cost model with the constants of these links.
#[derive(Clone, Copy, Debug)]
pub struct Prediction {
    pub alpha: f64,
    pub beta_s_per_byte: f64,
    pub gamma_s_per_byte: f64,
    pub seconds: f64,
}

/// Why a trial has no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrialFailure {
    #[error(transparent)]
    Exchange(#[from] Failure),
    #[error("element {at} of round {round} is not what the rows reduce to; this is a defect of threadscape")]
    Wrong { at: usize, round: usize },
    #[error("there is no type {0}; give f32, f64, bf16 or f16")]
    Type(String),
}

/// Exchanges rows with all other participants, who must do the same trial.
pub fn trial<S: Stream>(participant: &mut Participant<S>, trial: &Trial) -> Result<Report, TrialFailure> {
    match trial.dtype.as_str() {
        "f32" => typed::<f32, S>(participant, trial),
        "f64" => typed::<f64, S>(participant, trial),
        "bf16" => typed::<bf16, S>(participant, trial),
        "f16" => typed::<f16, S>(participant, trial),
        other => Err(TrialFailure::Type(other.to_owned())),
    }
}

fn typed<T: Value, S: Stream>(participant: &mut Participant<S>, trial: &Trial) -> Result<Report, TrialFailure> {
    let (ranks, rank) = (participant.ranks(), participant.rank());
    let Trial {
        algorithm,
        op,
        elements,
        deadline,
        ..
    } = *trial;
    let mut rows: Vec<Vec<T>> = (0..ranks)
        .map(|rank| super::row(elements, &mut Random::new(trial.seed, rank as u64)))
        .collect();
    let own = rows[rank].clone();
    let mut slices: Vec<&mut [T]> = rows.iter_mut().map(Vec::as_mut_slice).collect();
    let alone: &dyn Join = &Sequential;
    all_reduce(alone, &mut slices, algorithm, op)?;
    let expected = rows.swap_remove(0);
    drop(rows);

    let prediction = if trial.calibrate && ranks > 1 {
        Some(calibrate::<T, S>(participant, trial)?)
    } else {
        None
    };
    let mut data = own.clone();
    let (mut least, mut total) = (f64::INFINITY, 0.0);
    let mut sent = None;
    for round in 0..trial.rounds.max(1) {
        data.copy_from_slice(&own);
        // So that nobody's time begins before the others are there.
        participant.all_reduce(&mut [0.0_f32], Algorithm::Tree, Op::Sum, deadline)?;
        let watch = Stopwatch::start();
        let told = participant.all_reduce(&mut data, algorithm, op, deadline)?;
        let seconds = watch.elapsed().as_secs_f64();
        least = f64::min(least, seconds);
        total += seconds;
        sent = Some(told);
        let differs = |(ours, expected): (&T, &T)| ours.bits() != expected.bits();
        if let Some(at) = data.iter().zip(&expected).position(differs) {
            return Err(TrialFailure::Wrong { at, round });
        }
    }
    let (steps, sent_elements, sent_bytes) = sent.map_or((0, 0, 0), |sent| (sent.steps, sent.elements, sent.bytes));
    Ok(Report {
        steps,
        sent_elements,
        sent_bytes,
        digest: super::digest(&data),
        least_seconds: least,
        mean_seconds: total / trial.rounds.max(1) as f64,
        prediction,
    })
}

/// The constants of the cost model: alpha from rings of one element a chunk, gamma from combining
/// in memory, beta from what a ring of some megabytes takes more.
fn calibrate<T: Value, S: Stream>(participant: &mut Participant<S>, trial: &Trial) -> Result<Prediction, Failure> {
    let bytes = trial.elements.saturating_mul(size_of::<T>());
    // Long enough to hide alpha, and beyond the caches if the rows are.
    let long_bytes = bytes.clamp(1 << 20, 16 << 20);
    let ranks = participant.ranks();
    let hops = 2.0 * (ranks - 1) as f64;
    let mut ring = |elements: usize, times: usize| {
        let mut data = vec![T::default(); elements];
        let mut least = f64::INFINITY;
        for _ in 0..times {
            let watch = Stopwatch::start();
            participant.all_reduce(&mut data, Algorithm::Ring, Op::Sum, trial.deadline)?;
            least = least.min(watch.elapsed().as_secs_f64());
        }
        Ok::<f64, Failure>(least)
    };
    let alpha = ring(ranks, 50)? / hops;
    let long = ring(long_bytes / size_of::<T>(), 5)?;
    let (mut ours, theirs) = (
        vec![T::default(); long_bytes / size_of::<T>()],
        vec![T::default(); long_bytes / size_of::<T>()],
    );
    let mut combining = f64::INFINITY;
    for _ in 0..3 {
        let watch = Stopwatch::start();
        combine(trial.op, &mut ours, std::hint::black_box(&theirs));
        combining = combining.min(watch.elapsed().as_secs_f64());
    }
    let gamma = combining / long_bytes as f64;
    let share = (ranks - 1) as f64 / ranks as f64 * long_bytes as f64;
    let beta = ((long - hops * alpha - share * gamma) / (2.0 * share)).max(0.0);
    Ok(Prediction {
        alpha,
        beta_s_per_byte: beta,
        gamma_s_per_byte: gamma,
        seconds: cost(alpha, beta, gamma, ranks, bytes as f64).of(trial.algorithm),
    })
}
