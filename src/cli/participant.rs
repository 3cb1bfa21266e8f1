//! `threadscape participant`: one of N processes that exchange rows over sockets; started N times.
//!
//! Every process knows from the seed what all others bring, so each checks the result by itself.
//! It prints a line of JSON when all others are there, and one with the result.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Exit, Failure};
use crate::workloads::allreduce::{self, Algorithm, Op, Participant, Report, Stream, Trial, TrialFailure};

/// Rows of all ranks are made by each, to know the right result.
const MOST_BYTES: usize = 4 << 30;
const MOST_RANKS: usize = 64;

/// Take part in an allreduce between processes (one rank of it)
#[derive(clap::Args)]
pub struct Args {
    /// How many processes take part
    #[arg(long)]
    ranks: usize,
    /// Which of them this is, from 0
    #[arg(long)]
    rank: usize,
    /// Meet at Unix sockets in this folder
    #[arg(long, value_name = "DIR", required_unless_present = "tcp", conflicts_with = "tcp")]
    unix: Option<PathBuf>,
    /// Meet at these ports of the loopback address, one for each rank
    #[arg(long, value_name = "PORT,PORT,...", value_delimiter = ',')]
    tcp: Vec<u16>,
    #[arg(long, default_value = "ring", value_parser = clap::builder::PossibleValuesParser::new(Algorithm::NAMES))]
    algorithm: String,
    #[arg(long, default_value = "sum", value_parser = clap::builder::PossibleValuesParser::new(Op::NAMES))]
    op: String,
    #[arg(long, default_value = "f32", value_parser = ["f32", "f64", "bf16", "f16"])]
    dtype: String,
    /// Length of each rank's row
    #[arg(long, default_value_t = 1_000_000)]
    elements: usize,
    /// What the rows are made from: the same for all ranks
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Exchanges, one after the other
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long nothing may move before a rank is named
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    deadline: Duration,
    /// Do not measure the links for a prediction
    #[arg(long)]
    no_prediction: bool,
}

pub fn run(args: Args) -> Result<Exit, Failure> {
    check(&args)?;
    let (Some(algorithm), Some(op)) = (Algorithm::named(&args.algorithm), Op::named(&args.op)) else {
        return Err(Failure::usage("the algorithm or the operation is not known"));
    };
    let trial = Trial {
        algorithm,
        op,
        dtype: args.dtype.clone(),
        elements: args.elements,
        seed: args.seed,
        rounds: args.rounds,
        deadline: args.deadline,
        calibrate: !args.no_prediction,
    };
    let report = match &args.unix {
        Some(folder) => Participant::over_unix(folder, args.ranks, args.rank, args.deadline)
            .map_err(TrialFailure::from)
            .and_then(|participant| take_part(participant, &trial)),
        None => Participant::over_tcp(&args.tcp, args.rank, args.deadline)
            .map_err(TrialFailure::from)
            .and_then(|participant| take_part(participant, &trial)),
    };
    let report = report.map_err(ended)?;
    say(&shown(&args, &report));
    Ok(Exit::Fine)
}

fn check(args: &Args) -> Result<(), Failure> {
    if args.ranks == 0 || args.ranks > MOST_RANKS {
        return Err(Failure::usage(format!(
            "--ranks is {}; give 1 to {MOST_RANKS}",
            args.ranks
        )));
    }
    if args.rank >= args.ranks {
        return Err(Failure::usage(format!(
            "--rank is {}; of {} ranks give 0 to {}",
            args.rank,
            args.ranks,
            args.ranks - 1
        )));
    }
    if args.unix.is_none() && args.tcp.len() != args.ranks {
        return Err(Failure::usage(format!(
            "--tcp has {} ports for {} ranks; give a port for each rank",
            args.tcp.len(),
            args.ranks
        )));
    }
    let bytes = args.elements.saturating_mul(8).saturating_mul(args.ranks);
    if bytes > MOST_BYTES {
        return Err(Failure::usage(format!(
            "--elements is {}, for which each rank would hold {bytes} bytes to check the result; give at most {}",
            args.elements,
            MOST_BYTES / 8 / args.ranks
        )));
    }
    Ok(())
}

fn take_part<S: Stream>(mut participant: Participant<S>, trial: &Trial) -> Result<Report, TrialFailure> {
    say(&json!({"connected": true, "rank": participant.rank(), "ranks": participant.ranks()}));
    allreduce::trial(&mut participant, trial)
}

/// A line on stdout, at once. Where nobody reads it, the exchange goes on.
fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn ended(failure: TrialFailure) -> Failure {
    use allreduce::Failure as Exchange;
    let exit = match &failure {
        TrialFailure::Exchange(Exchange::Stalled { .. } | Exchange::Absent { .. }) => Exit::TimeLimit,
        TrialFailure::Exchange(Exchange::Disagrees { .. } | Exchange::NoPlace { .. }) | TrialFailure::Type(_) => {
            Exit::Usage
        }
        _ => Exit::Found,
    };
    Failure {
        exit,
        message: failure.to_string(),
    }
}

fn shown(args: &Args, report: &Report) -> Value {
    let mut line = json!({
        "rank": args.rank,
        "ranks": args.ranks,
        "transport": if args.unix.is_some() { "unix" } else { "tcp" },
        "algorithm": args.algorithm,
        "op": args.op,
        "dtype": args.dtype,
        "elements": args.elements,
        "rounds": args.rounds.max(1),
        "verified": true,
        "digest": format!("{:016x}", report.digest),
        "steps": report.steps,
        "sent_elements": report.sent_elements,
        "sent_bytes": report.sent_bytes,
        "least_seconds": report.least_seconds,
        "mean_seconds": report.mean_seconds,
        "predicted_seconds": null,
    });
    if let Some(prediction) = report.prediction {
        line["predicted_seconds"] = prediction.seconds.into();
        line["alpha"] = prediction.alpha.into();
        line["beta_s_per_byte"] = prediction.beta_s_per_byte.into();
        line["gamma_s_per_byte"] = prediction.gamma_s_per_byte.into();
    }
    line
}
