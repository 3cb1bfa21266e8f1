//! `GET /metrics`: Prometheus text, or OpenMetrics when the scraper accepts it.
//!
//! Every label is bounded. Threads come and go by the thousand, so they are not labels: those of a
//! process are grouped by their name with each run of digits folded to `#`, and what exceeds the
//! limit of groups is gathered in one. A value that is unknown is an absent sample, never 0. What
//! a group has used since its threads began is no counter (it falls when a thread ends), so groups
//! have gauges; what only grows is a counter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::ask::Ask;
use super::problem::Problem;
use super::site::{Answer, Site};
use crate::model::{Finding, FindingKind, Severity, Snapshot, Spread, Thread, ThreadState};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Name patterns of one process; the rest is gathered under [`REST`].
const MAX_GROUPS: usize = 100;
const REST: &str = "(other)";

type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Counter,
    Gauge,
}

/// All samples of one name.
#[derive(Debug)]
struct Family {
    /// Without unit and without `_total`.
    name: &'static str,
    help: &'static str,
    unit: Option<&'static str>,
    kind: Kind,
    samples: Vec<(Labels, f64)>,
}

impl Family {
    fn add(&mut self, labels: Labels, value: impl Into<Option<f64>>) {
        // Unknown is absent.
        if let Some(value) = value.into().filter(|value| value.is_finite()) {
            self.samples.push((labels, value));
        }
    }
}

/// What one scrape gives.
#[derive(Debug, Default)]
struct Scrape {
    families: Vec<Family>,
}

impl Scrape {
    fn family(
        &mut self,
        kind: Kind,
        name: &'static str,
        unit: Option<&'static str>,
        help: &'static str,
    ) -> &mut Family {
        self.families.push(Family {
            name,
            help,
            unit,
            kind,
            samples: Vec::new(),
        });
        self.families.last_mut().expect("one was just pushed")
    }

    fn one(
        &mut self,
        kind: Kind,
        name: &'static str,
        unit: Option<&'static str>,
        help: &'static str,
        value: impl Into<Option<f64>>,
    ) {
        self.family(kind, name, unit, help).add(Vec::new(), value);
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for family in self.families.iter().filter(|family| !family.samples.is_empty()) {
            let unit = family.unit.map(|unit| Unit::Other(unit.to_owned()));
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, unit.as_ref(), kind)?;
            // An empty label set would be written as `{}`.
            if let [(labels, value)] = family.samples.as_slice()
                && labels.is_empty()
            {
                encode(family.kind, *value, metric)?;
                continue;
            }
            for (labels, value) in &family.samples {
                encode(family.kind, *value, metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

fn encode(kind: Kind, value: f64, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(encoder),
        Kind::Gauge => ConstGauge::new(value).encode(encoder),
    }
}

/// GET /metrics
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "live",
    responses((status = 200, description = "Prometheus text 0.0.4, or OpenMetrics by Accept", content_type = "text/plain", body = String))
)]
pub async fn metrics(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap) -> Answer {
    Ask::of(&uri, &[])?;
    let open = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let body = site.ask(move |site| write(scrape(site), open)).await?;
    let mut response: Response = (StatusCode::OK, body).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(if open { OPEN_METRICS } else { TEXT }),
    );
    Ok(response)
}

fn write(scrape: Scrape, open: bool) -> Result<String, Problem> {
    let counters: BTreeSet<String> = scrape
        .families
        .iter()
        .filter(|family| family.kind == Kind::Counter)
        .map(|family| match family.unit {
            Some(unit) => format!("{}_{unit}", family.name),
            None => family.name.to_owned(),
        })
        .collect();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut body = String::new();
    text::encode(&mut body, &registry).map_err(|error| Problem::ours(&error))?;
    Ok(if open { body } else { plain(&body, &counters) })
}

/// OpenMetrics in the older form: a counter's own lines carry the suffix too; no units, no end mark.
fn plain(open: &str, counters: &BTreeSet<String>) -> String {
    let mut text = String::with_capacity(open.len() + 1024);
    for line in open.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(word @ ("HELP" | "TYPE")), Some(name), Some(rest)) if counters.contains(name) => {
                let _ = writeln!(text, "# {word} {name}_total {rest}");
            }
            _ => {
                text += line;
                text.push('\n');
            }
        }
    }
    text
}

/// `ts-demo-12` and `ts-demo-7` are of one kind. Control characters are of no use in a label.
fn pattern(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        if !c.is_ascii_digit() {
            pattern.push(if c.is_control() { '?' } else { c });
        } else if !pattern.ends_with('#') {
            pattern.push('#');
        }
    }
    pattern
}

fn process_labels(snapshot: &Snapshot) -> Labels {
    vec![
        (
            "process",
            snapshot
                .name
                .chars()
                .map(|c| if c.is_control() { '?' } else { c })
                .collect(),
        ),
        ("pid", snapshot.process.pid.to_string()),
        ("role", snapshot.role.name().to_owned()),
    ]
}

fn with(mut labels: Labels, more: impl IntoIterator<Item = (&'static str, String)>) -> Labels {
    labels.extend(more);
    labels
}

/// The threads of a process by their name's pattern.
fn groups(threads: &[Thread]) -> BTreeMap<String, Vec<&Thread>> {
    let mut groups: BTreeMap<String, Vec<&Thread>> = BTreeMap::new();
    for thread in threads {
        let pattern = pattern(&thread.name);
        if groups.len() >= MAX_GROUPS && !groups.contains_key(&pattern) {
            groups.entry(REST.to_owned()).or_default().push(thread);
        } else {
            groups.entry(pattern).or_default().push(thread);
        }
    }
    groups
}

/// The sum of what is known; `None` when nothing is.
fn sum<'a>(threads: &[&'a Thread], of: impl Fn(&'a Thread) -> Option<f64>) -> Option<f64> {
    threads.iter().filter_map(|thread| of(thread)).reduce(|a, b| a + b)
}

fn scrape(site: &Site) -> Scrape {
    let mut scrape = Scrape::default();
    ourselves(site, &mut scrape);
    processes(&site.live.latest(), &mut scrape);
    findings(&site.looks.all_findings(), &mut scrape);
    pools_and_runs(site, &mut scrape);
    scrape
}

fn ourselves(site: &Site, scrape: &mut Scrape) {
    use Kind::{Counter, Gauge};
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let own = site
        .live
        .latest()
        .into_iter()
        .find(|s| s.role == crate::model::Role::Daemon);
    let started = site.started.duration_since(SystemTime::UNIX_EPOCH).ok();
    scrape
        .family(
            Gauge,
            "threadscape_build",
            Some("info"),
            "The version of the daemon; always 1",
        )
        .add(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0);
    scrape.one(
        Counter,
        "process_cpu",
        Some("seconds"),
        "CPU time of the daemon itself",
        cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
    );
    scrape.one(
        Gauge,
        "process_resident_memory",
        Some("bytes"),
        "Resident memory of the daemon itself",
        own.and_then(|own| own.rss_bytes.ok()).map(|bytes| bytes as f64),
    );
    scrape.one(
        Gauge,
        "process_start_time",
        Some("seconds"),
        "When the daemon started, since 1970",
        started.map(|started| started.as_secs_f64()),
    );

    let cost = site.looks.cost();
    let sampler: [(Kind, &str, Option<&str>, &str, f64); 5] = [
        (
            Counter,
            "threadscape_sampler_snapshots",
            None,
            "Snapshots made",
            cost.snapshots as f64,
        ),
        (
            Counter,
            "threadscape_sampler_cpu",
            Some("seconds"),
            "CPU time of the sampler",
            cost.cpu.seconds(),
        ),
        (
            Gauge,
            "threadscape_sampler_lateness",
            Some("seconds"),
            "How late the last pass began",
            cost.lateness.seconds(),
        ),
        (
            Gauge,
            "threadscape_sampler_worst_lateness",
            Some("seconds"),
            "How late a pass began at worst",
            cost.worst_lateness.seconds(),
        ),
        (
            Gauge,
            "threadscape_sampler_watched_processes",
            None,
            "Processes read at every tick",
            cost.watched as f64,
        ),
    ];
    for (kind, name, unit, help, value) in sampler {
        scrape.one(kind, name, unit, help, value);
    }
    scrape.one(
        Gauge,
        "threadscape_history",
        Some("bytes"),
        "Memory held by the history",
        site.past.memory_bytes() as f64,
    );
    let streams = site.settings.max_streams - site.streams.available_permits();
    scrape.one(
        Gauge,
        "threadscape_http_streams",
        None,
        "Event streams open",
        streams as f64,
    );
    let answers = scrape.family(
        Counter,
        "threadscape_http_answers",
        None,
        "Answers by the class of their status",
    );
    for (class, count) in site.answered.iter().enumerate().skip(1) {
        // Relaxed: a tally that stands alone.
        answers.add(
            vec![("status", format!("{class}xx"))],
            count.load(Ordering::Relaxed) as f64,
        );
    }
}

fn processes(latest: &[Arc<Snapshot>], scrape: &mut Scrape) {
    use Kind::{Counter, Gauge};
    type Of = fn(&Snapshot) -> Option<f64>;
    let whole: [(Kind, &str, Option<&str>, &str, Of); 6] = [
        (
            Gauge,
            "threadscape_process_cpu",
            Some("ratio"),
            "CPUs' worth a watched process uses",
            |s| s.cpu_ratio.ok(),
        ),
        (
            Gauge,
            "threadscape_process_resident_memory",
            Some("bytes"),
            "Resident memory of a watched process",
            |s| s.rss_bytes.ok().map(|bytes| bytes as f64),
        ),
        (
            Gauge,
            "threadscape_process_threads",
            None,
            "Threads of a watched process",
            |s| Some(s.threads.len() as f64),
        ),
        (
            Gauge,
            "threadscape_process_threads_peak",
            None,
            "Most threads at one time since the watch began",
            |s| Some(f64::from(s.peak)),
        ),
        (
            Counter,
            "threadscape_process_threads_started",
            None,
            "Threads seen to start since the watch began",
            |s| Some(s.started_total as f64),
        ),
        (
            Counter,
            "threadscape_process_threads_ended",
            None,
            "Threads seen to end since the watch began",
            |s| Some(s.ended_total as f64),
        ),
    ];
    for (kind, name, unit, help, of) in whole {
        let family = scrape.family(kind, name, unit, help);
        for snapshot in latest {
            family.add(process_labels(snapshot), of(snapshot));
        }
    }

    let grouped: Vec<_> = latest
        .iter()
        .map(|snapshot| (process_labels(snapshot), groups(&snapshot.threads)))
        .collect();
    let each = || {
        grouped.iter().flat_map(|(labels, groups)| {
            groups
                .iter()
                .map(|(group, threads)| (with(labels.clone(), [("group", group.clone())]), threads))
        })
    };
    let by_state = scrape.family(
        Gauge,
        "threadscape_threads",
        None,
        "Threads of a watched process by name pattern and state",
    );
    for (labels, threads) in each() {
        for state in ThreadState::ALL {
            let count = threads.iter().filter(|thread| thread.state == state).count();
            if count > 0 {
                by_state.add(with(labels.clone(), [("state", state.name().to_owned())]), count as f64);
            }
        }
    }
    let cpu = scrape.family(
        Gauge,
        "threadscape_thread_group_cpu",
        Some("ratio"),
        "CPUs' worth that threads of one name pattern use",
    );
    for (labels, threads) in each() {
        cpu.add(labels, sum(threads, |thread| thread.cpu_ratio.ok()));
    }
    let delay = scrape.family(
        Gauge,
        "threadscape_thread_group_run_delay",
        Some("ratio"),
        "Threads' worth of waiting for a CPU by name pattern",
    );
    for (labels, threads) in each() {
        delay.add(labels, sum(threads, |thread| thread.run_delay_ratio.ok()));
    }
}

/// Every kind with every severity, also where there is none: an alert must be able to see it end.
fn findings(found: &[Finding], scrape: &mut Scrape) {
    let family = scrape.family(
        Kind::Gauge,
        "threadscape_findings",
        None,
        "What detectors find wrong now in the processes that are watched",
    );
    for kind in FindingKind::ALL {
        for severity in Severity::ALL {
            let is_meant = |finding: &&Finding| finding.kind == kind && finding.severity == severity;
            let labels = vec![
                ("kind", kind.name().to_owned()),
                ("severity", severity.name().to_owned()),
            ];
            family.add(labels, found.iter().filter(is_meant).count() as f64);
        }
    }
}

fn quantiles(labels: &Labels, spread: &Spread) -> Vec<(Labels, f64)> {
    [
        ("0.5", spread.p50),
        ("0.9", spread.p90),
        ("0.99", spread.p99),
        ("1", spread.max),
    ]
    .into_iter()
    .filter(|_| spread.count > 0)
    .map(|(quantile, time)| {
        (
            with(labels.clone(), [("quantile", quantile.to_owned())]),
            time.seconds(),
        )
    })
    .collect()
}

fn pools_and_runs(site: &Site, scrape: &mut Scrape) {
    use Kind::{Counter, Gauge};
    let pools = site.runs.pools();
    let label = |pool: &crate::model::PoolStatus| vec![("pool", pool.name.to_string())];
    type Of = fn(&crate::model::PoolStatus) -> f64;
    let gauges: [(&str, &str, Of); 4] = [
        ("threadscape_pool_workers", "Worker threads of a pool", |p| {
            f64::from(p.size)
        }),
        (
            "threadscape_pool_active_workers",
            "Workers with a task in their hands",
            |p| f64::from(p.active),
        ),
        ("threadscape_pool_queue_tasks", "Tasks that wait in the queue", |p| {
            p.queue_depth as f64
        }),
        (
            "threadscape_pool_queue_capacity_tasks",
            "Tasks that the queue can hold",
            |p| p.queue_capacity as f64,
        ),
    ];
    for (name, help, of) in gauges {
        let family = scrape.family(Gauge, name, None, help);
        for pool in &pools {
            family.add(label(pool), of(pool));
        }
    }
    let submitted = scrape.family(
        Counter,
        "threadscape_pool_submitted_tasks",
        None,
        "Tasks given to a pool",
    );
    for pool in &pools {
        submitted.add(label(pool), pool.submitted as f64);
    }
    let tasks = scrape.family(Counter, "threadscape_pool_tasks", None, "Tasks by how they ended");
    for pool in &pools {
        for (outcome, count) in [
            ("done", pool.done),
            ("panicked", pool.panicked),
            ("rejected", pool.rejected),
            ("abandoned", pool.abandoned),
        ] {
            tasks.add(with(label(pool), [("outcome", outcome.to_owned())]), count as f64);
        }
    }
    let waits = scrape.family(
        Gauge,
        "threadscape_pool_queue_wait",
        Some("seconds"),
        "Quantiles of the time tasks spend in the queue",
    );
    for pool in &pools {
        waits.samples.extend(quantiles(&label(pool), &pool.queue_wait));
    }
    let service = scrape.family(
        Gauge,
        "threadscape_pool_service",
        Some("seconds"),
        "Quantiles of the time tasks spend in a worker's hands",
    );
    for pool in &pools {
        service.samples.extend(quantiles(&label(pool), &pool.service));
    }

    let runs = site.runs.list();
    let under_way: Vec<_> = runs.iter().filter(|run| !run.phase.is_over()).collect();
    scrape.one(
        Gauge,
        "threadscape_runs_active",
        None,
        "Runs under way",
        under_way.len() as f64,
    );
    let outcomes = scrape.family(
        Counter,
        "threadscape_load_tasks",
        None,
        "Tasks of the run under way by load and outcome",
    );
    for run in &under_way {
        for load in &run.loads {
            for (outcome, count) in [
                ("done", load.done),
                ("shed", load.shed),
                ("late", load.late),
                ("cancelled", load.cancelled),
                ("panicked", load.panicked),
                ("wrong", load.wrong),
            ] {
                let labels = vec![
                    ("scenario", run.scenario.to_string()),
                    ("load", load.name.to_string()),
                    ("outcome", outcome.to_owned()),
                ];
                outcomes.add(labels, count as f64);
            }
        }
    }
    let responses = scrape.family(
        Gauge,
        "threadscape_load_response",
        Some("seconds"),
        "Quantiles of the time from the intended start to the end, of the run under way",
    );
    for run in &under_way {
        for load in &run.loads {
            let labels = vec![("scenario", run.scenario.to_string()), ("load", load.name.to_string())];
            responses.samples.extend(quantiles(&labels, &load.response));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fakes;

    fn text_of(snapshot: Snapshot, open: bool) -> String {
        let mut scrape = Scrape::default();
        processes(&[Arc::new(snapshot)], &mut scrape);
        write(scrape, open).unwrap()
    }

    #[test]
    fn hostile_names_stay_inside_their_quotes() {
        let mut snapshot = (*fakes::snapshot(1)).clone();
        snapshot.name = "a\"} 1\nevil{x=\"\\".into();
        snapshot.threads[0].name = "w\"\\\n7".into();
        let text = text_of(snapshot, false);
        assert!(
            text.lines()
                .all(|line| line.starts_with("# ") || line.starts_with("threadscape_")),
            "{text}"
        );
        assert!(text.contains(r#"process="a\"} 1?evil{x=\"\\""#), "{text}");
        assert!(text.contains(r#"group="w\"\\?#""#), "{text}");
    }

    #[test]
    fn names_with_numbers_are_one_group_and_groups_are_bounded() {
        assert_eq!(pattern("ts-demo-12"), "ts-demo-#");
        let mut snapshot = (*fakes::snapshot(500)).clone();
        for (index, thread) in snapshot.threads.iter_mut().enumerate() {
            let letters: String = index.to_string().bytes().map(|digit| char::from(digit + 49)).collect();
            thread.name = letters.into();
        }
        let groups = groups(&snapshot.threads);
        assert_eq!(groups.len(), MAX_GROUPS + 1);
        assert_eq!(groups.values().map(Vec::len).sum::<usize>(), 500);
    }

    #[test]
    fn every_kind_of_finding_has_a_sample_also_where_there_is_none() {
        let mut scrape = Scrape::default();
        findings(&[fakes::finding()], &mut scrape);
        let text = write(scrape, false).unwrap();
        assert!(
            text.contains("threadscape_findings{kind=\"deadlock\",severity=\"critical\"} 1.0\n"),
            "{text}"
        );
        assert!(text.contains("threadscape_findings{kind=\"deadlock\",severity=\"notice\"} 0.0\n"));
        let samples = text.lines().filter(|line| line.starts_with("threadscape_findings{"));
        assert_eq!(samples.count(), FindingKind::ALL.len() * Severity::ALL.len());
    }

    #[test]
    fn unknown_is_an_absent_sample() {
        let mut snapshot = (*fakes::snapshot(1)).clone();
        assert!(text_of(snapshot.clone(), false).contains("threadscape_process_cpu_ratio{"));
        snapshot.cpu_ratio = Err(crate::model::Unknown::SeenOnce);
        assert!(!text_of(snapshot, false).contains("threadscape_process_cpu_ratio"));
    }

    #[test]
    fn counters_carry_their_suffix_in_both_forms() {
        let old = text_of((*fakes::snapshot(1)).clone(), false);
        assert!(
            old.contains("# TYPE threadscape_process_threads_started_total counter\n"),
            "{old}"
        );
        assert!(old.contains("\nthreadscape_process_threads_started_total{"), "{old}");
        assert!(!old.contains("# EOF") && !old.contains("# UNIT"));
        let open = text_of((*fakes::snapshot(1)).clone(), true);
        assert!(
            open.contains("# TYPE threadscape_process_threads_started counter\n"),
            "{open}"
        );
        assert!(open.ends_with("# EOF\n"));
    }
}
