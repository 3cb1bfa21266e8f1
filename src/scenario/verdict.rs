//! Thresholds, and the verdict of a run.
//!
//! A threshold is a sentence: `response.p99 < 50ms`. On its left is what is measured of one load
//! or of all together, on its right a value with its unit:
//!
//! | measured | unit |
//! |---|---|
//! | `response`, `queue`, `service`, `lag` with `.mean .p50 .p90 .p99 .p999 .max` | a time |
//! | `throughput` (finished tasks a second over the load's time) | a rate |
//! | `errors` (shed, late, cancelled, panicked and wrong), or one of `shed late cancelled panicked`, of what arrived; `wrong`, of what was checked | a share |
//!
//! A run is **invalid** when its own generator was late: then its numbers say nothing, whatever
//! the thresholds are. Else it **fails** when a threshold is missed, when a checked answer was
//! wrong, when a task panicked although no threshold speaks of panics, or when work was left at
//! the drain's deadline. Else it is a **pass**.

use std::sync::Arc;

use super::measure::Summary;
use super::page::nearest;
use super::units;
use crate::model::Nanos;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    Response,
    Queue,
    Service,
    Lag,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    Mean,
    Quantile(f64),
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Errors,
    Shed,
    Late,
    Cancelled,
    Panicked,
    Wrong,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    Time(Latency, Statistic),
    Throughput,
    Share(Share),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// What a run must keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// `None`: all loads together.
    pub load: Option<Arc<str>>,
    pub metric: Metric,
    pub relation: Relation,
    /// Seconds, events a second, or a share of one.
    pub limit: f64,
    /// As it was written.
    pub text: Arc<str>,
}

const LATENCIES: &[(&str, Latency)] = &[
    ("response", Latency::Response),
    ("queue", Latency::Queue),
    ("service", Latency::Service),
    ("lag", Latency::Lag),
];

const STATISTICS: &[(&str, Statistic)] = &[
    ("mean", Statistic::Mean),
    ("p50", Statistic::Quantile(0.5)),
    ("p90", Statistic::Quantile(0.9)),
    ("p99", Statistic::Quantile(0.99)),
    ("p999", Statistic::Quantile(0.999)),
    ("max", Statistic::Max),
];

const SHARES: &[(&str, Share)] = &[
    ("errors", Share::Errors),
    ("shed", Share::Shed),
    ("late", Share::Late),
    ("cancelled", Share::Cancelled),
    ("panicked", Share::Panicked),
    ("wrong", Share::Wrong),
];

impl Threshold {
    /// Reads a sentence; a refusal comes with the nearest valid name where there is one.
    pub fn parse(load: Option<Arc<str>>, text: &str) -> Result<Threshold, (String, Option<String>)> {
        let shape = || {
            (
                format!("\"{text}\" is not a threshold; write one like \"response.p99 < 50ms\""),
                None,
            )
        };
        let operator = text.find(['<', '>']).ok_or_else(shape)?;
        let rest = &text[operator..];
        let (relation, width) = match (rest.as_bytes()[0], rest.as_bytes().get(1)) {
            (b'<', Some(b'=')) => (Relation::AtMost, 2),
            (b'<', _) => (Relation::Below, 1),
            (b'>', Some(b'=')) => (Relation::AtLeast, 2),
            _ => (Relation::Above, 1),
        };
        let metric = metric(text[..operator].trim())?;
        let limit = rest[width..].trim();
        let limit = match metric {
            Metric::Time(..) => units::time(limit).map(Nanos::seconds),
            Metric::Throughput => units::rate(limit),
            Metric::Share(_) => units::share(limit),
        }
        .map_err(|message| (message, None))?;
        Ok(Threshold {
            load,
            metric,
            relation,
            limit,
            text: text.trim().into(),
        })
    }

    /// What was measured; `None` when there was nothing to measure.
    pub fn measure(&self, of: &Summary) -> Option<f64> {
        match self.metric {
            Metric::Time(latency, statistic) => {
                let tally = match latency {
                    Latency::Response => &of.response,
                    Latency::Queue => &of.queue,
                    Latency::Service => &of.service,
                    Latency::Lag => &of.lag,
                };
                (tally.count() > 0).then(|| {
                    match statistic {
                        Statistic::Mean => tally.mean(),
                        Statistic::Quantile(q) => tally.quantile(q),
                        Statistic::Max => tally.max(),
                    }
                    .seconds()
                })
            }
            Metric::Throughput => (of.seconds > 0.0).then(|| of.counts.done as f64 / of.seconds),
            Metric::Share(share) => {
                let counts = &of.counts;
                let (part, whole) = match share {
                    Share::Errors => (
                        counts.shed + counts.late + counts.cancelled + counts.panicked + counts.wrong,
                        counts.arrived,
                    ),
                    Share::Shed => (counts.shed, counts.arrived),
                    Share::Late => (counts.late, counts.arrived),
                    Share::Cancelled => (counts.cancelled, counts.arrived),
                    Share::Panicked => (counts.panicked, counts.arrived),
                    Share::Wrong => (counts.wrong, counts.verified),
                };
                (whole > 0).then(|| part as f64 / whole as f64)
            }
        }
    }

    fn keeps(&self, measured: f64) -> bool {
        match self.relation {
            Relation::Below => measured < self.limit,
            Relation::AtMost => measured <= self.limit,
            Relation::Above => measured > self.limit,
            Relation::AtLeast => measured >= self.limit,
        }
    }

    /// A measured value in the metric's unit.
    pub fn show(&self, measured: f64) -> String {
        match self.metric {
            Metric::Time(..) => units::show_time(Nanos::from_seconds(measured)),
            Metric::Throughput => format!("{measured:.1}/s"),
            Metric::Share(_) => format!("{:.3}%", measured * 100.0),
        }
    }

    /// The sentence with its load.
    pub fn sentence(&self) -> String {
        match &self.load {
            Some(load) => format!("{load}: {}", self.text),
            None => self.text.to_string(),
        }
    }
}

fn metric(name: &str) -> Result<Metric, (String, Option<String>)> {
    if name == "throughput" {
        return Ok(Metric::Throughput);
    }
    if let Some((_, share)) = SHARES.iter().find(|(known, _)| *known == name) {
        return Ok(Metric::Share(*share));
    }
    if let Some((latency, statistic)) = name.split_once('.') {
        let latency = LATENCIES.iter().find(|(known, _)| *known == latency);
        let statistic = STATISTICS.iter().find(|(known, _)| *known == statistic);
        if let (Some((_, latency)), Some((_, statistic))) = (latency, statistic) {
            return Ok(Metric::Time(*latency, *statistic));
        }
    }
    let mut known: Vec<String> = vec!["throughput".into()];
    known.extend(SHARES.iter().map(|(name, _)| (*name).to_owned()));
    for (latency, _) in LATENCIES {
        known.extend(STATISTICS.iter().map(|(statistic, _)| format!("{latency}.{statistic}")));
    }
    Err((
        format!(
            "\"{name}\" is not measured; known: throughput, errors, shed, late, cancelled, panicked, wrong, and response, queue, service or lag with .mean .p50 .p90 .p99 .p999 .max"
        ),
        nearest(name, known.iter().map(String::as_str)),
    ))
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail,
    Invalid,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Invalid => "invalid",
        }
    }
}

/// One threshold, judged.
#[derive(Clone, Debug)]
pub struct Judged {
    pub threshold: Threshold,
    /// `None`: nothing to measure, so the threshold is missed.
    pub measured: Option<f64>,
    pub kept: bool,
}

/// What a verdict is made from.
pub struct Judgement<'a> {
    pub thresholds: &'a [Threshold],
    /// Each load, and all together.
    pub loads: &'a [(Arc<str>, Summary)],
    pub total: &'a Summary,
    /// The generator's own lateness of each load, p99.
    pub lateness: &'a [(Arc<str>, Nanos)],
    pub max_lateness: Nanos,
    /// Tasks that the drain's deadline left.
    pub left: u64,
}

/// The verdict with its reasons, and every threshold with what was measured.
pub fn judge(of: &Judgement) -> (Verdict, Vec<String>, Vec<Judged>) {
    let mut messages = Vec::new();
    let mut judged = Vec::new();
    for threshold in of.thresholds {
        let summary = match &threshold.load {
            Some(name) => of
                .loads
                .iter()
                .find(|(load, _)| load == name)
                .map(|(_, summary)| summary),
            None => Some(of.total),
        };
        let measured = summary.and_then(|summary| threshold.measure(summary));
        let kept = measured.is_some_and(|measured| threshold.keeps(measured));
        if !kept {
            messages.push(match measured {
                Some(measured) => format!(
                    "missed: {} (measured {})",
                    threshold.sentence(),
                    threshold.show(measured)
                ),
                None => format!("missed: {} (nothing was measured)", threshold.sentence()),
            });
        }
        judged.push(Judged {
            threshold: threshold.clone(),
            measured,
            kept,
        });
    }
    let counts = &of.total.counts;
    if counts.wrong > 0 {
        messages.push(format!(
            "{} of {} checked answers were wrong",
            counts.wrong, counts.verified
        ));
    }
    let speaks_of_panics =
        |threshold: &Threshold| matches!(threshold.metric, Metric::Share(Share::Panicked | Share::Errors));
    if counts.panicked > 0 && !of.thresholds.iter().any(speaks_of_panics) {
        messages.push(format!(
            "{} tasks panicked, and no threshold allows it",
            counts.panicked
        ));
    }
    if of.left > 0 {
        messages.push(format!("{} tasks were left at the drain's deadline", of.left));
    }
    let mut verdict = if messages.is_empty() {
        Verdict::Pass
    } else {
        Verdict::Fail
    };
    for (load, late) in of.lateness.iter().filter(|(_, late)| *late > of.max_lateness) {
        verdict = Verdict::Invalid;
        messages.insert(
            0,
            format!(
                "invalid: the generator of load {load} was itself late by {} (p99), more than max_lateness {}; its machine had no time for it, so the latencies say nothing: lower the rate or the workers, or give it more CPUs",
                units::show_time(*late),
                units::show_time(of.max_lateness)
            ),
        );
    }
    (verdict, messages, judged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::measure::{Counts, Tally};

    fn parse(text: &str) -> Threshold {
        Threshold::parse(None, text).unwrap_or_else(|(message, _)| panic!("{message}"))
    }

    fn summary(response: &[u64], counts: Counts) -> Summary {
        let mut tally = Tally::default();
        for millis in response {
            tally.add(Nanos(millis * 1_000_000));
        }
        Summary {
            counts,
            response: tally,
            seconds: 2.0,
            ..Summary::default()
        }
    }

    fn verdict(thresholds: &[Threshold], total: &Summary, late: Nanos) -> (Verdict, Vec<String>) {
        let (verdict, messages, _) = judge(&Judgement {
            thresholds,
            loads: &[],
            total,
            lateness: &[("a".into(), late)],
            max_lateness: Nanos(1_000_000),
            left: 0,
        });
        (verdict, messages)
    }

    #[test]
    fn a_threshold_is_a_sentence() {
        let threshold = parse("response.p99 <= 50ms");
        assert_eq!(
            threshold.metric,
            Metric::Time(Latency::Response, Statistic::Quantile(0.99))
        );
        assert_eq!((threshold.relation, threshold.limit), (Relation::AtMost, 0.05));
        assert_eq!(parse("throughput>100/s").limit, 100.0);
        assert_eq!(parse("errors < 1%").limit, 0.01);
    }

    #[test]
    fn a_bad_sentence_is_told_with_the_nearest_metric() {
        let refused = |text| Threshold::parse(None, text).unwrap_err();
        assert_eq!(refused("respons.p99 < 5ms").1.as_deref(), Some("response.p99"));
        assert!(refused("response.p99 < 5").0.contains("no unit"));
        assert!(refused("errors < 0.1").0.contains("\"0.1%\""));
        assert!(refused("response.p99").0.contains("not a threshold"));
        assert!(refused("").0.contains("not a threshold"));
    }

    #[test]
    fn a_missed_threshold_fails_and_says_what_was_measured() {
        let total = summary(
            &[10; 100],
            Counts {
                arrived: 100,
                done: 100,
                ..Counts::default()
            },
        );
        assert_eq!(
            verdict(&[parse("response.p50 < 20ms")], &total, Nanos(0)).0,
            Verdict::Pass
        );
        let (failed, messages) = verdict(&[parse("throughput >= 51/s")], &total, Nanos(0));
        assert_eq!(failed, Verdict::Fail);
        assert!(messages[0].contains("measured 50.0/s"), "{messages:?}");
    }

    #[test]
    fn nothing_measured_is_a_miss_not_a_pass() {
        let (failed, messages) = verdict(&[parse("response.max < 1h")], &Summary::default(), Nanos(0));
        assert_eq!(failed, Verdict::Fail);
        assert!(messages[0].contains("nothing was measured"));
    }

    #[test]
    fn a_late_generator_outweighs_every_threshold() {
        let total = summary(&[1], Counts::default());
        let (invalid, messages) = verdict(&[parse("response.max < 1ns")], &total, Nanos(2_000_000));
        assert_eq!(invalid, Verdict::Invalid);
        assert!(messages[0].starts_with("invalid:"), "{messages:?}");
    }

    #[test]
    fn panics_fail_a_run_unless_a_threshold_speaks_of_them() {
        let total = summary(
            &[1],
            Counts {
                arrived: 100,
                done: 99,
                panicked: 1,
                ..Counts::default()
            },
        );
        assert_eq!(verdict(&[], &total, Nanos(0)).0, Verdict::Fail);
        assert_eq!(verdict(&[parse("panicked <= 2%")], &total, Nanos(0)).0, Verdict::Pass);
    }
}
