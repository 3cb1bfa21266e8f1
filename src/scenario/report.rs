//! The finished run's document: JSON, format version 1, and what is made from it (CSV, a web page).
//!
//! Times are seconds as numbers, shares are of one, unknown is `null`. The sections:
//! `plan` (what was asked), `loads` (counts, the identity `arrived = done + shed + late + cancelled +
//! panicked + outstanding`, the four latencies, the most heap one task had in use at once, and the
//! `facts` that its workloads measured of themselves), `pools` (final state and how the drain went),
//! `threads` (what the kernel says of each worker), `thresholds`, `series` (columns over time), and
//! `verdict` with `messages`. [`csv`] and [`html`] read the document back, so a report kept by an
//! earlier version of the program can still be shown.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::measure::{Counts, Summary, Tally};
use super::plan::{Executor, Load, Plan};
use super::schedule::Curve;
use super::verdict::Judged;
use crate::model::{Nanos, PoolStatus, QueuePolicy, RunStatus, Spread};
use crate::pools::DrainReport;
use crate::workloads::{Fact, ParamValue};

/// Of this document.
pub const FORMAT_VERSION: u32 = 1;

/// One load over one interval.
#[derive(Clone, Debug)]
pub struct LoadPoint {
    pub target: f64,
    pub arrived: u64,
    pub done: u64,
    pub shed: u64,
    pub late: u64,
    pub panicked: u64,
    pub outstanding: u64,
    pub response: Spread,
    pub service: Spread,
}

#[derive(Clone, Debug)]
pub struct PoolPoint {
    pub active: u32,
    pub queue_depth: u64,
}

/// One interval of the series.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its end, since the run's start.
    pub at: Nanos,
    pub width: Nanos,
    pub loads: Vec<LoadPoint>,
    pub pools: Vec<PoolPoint>,
}

/// What one part of a load's mix measured of itself.
#[derive(Clone, Debug)]
pub struct PartFacts {
    pub workload: &'static str,
    pub facts: Vec<Fact>,
}

/// All that a report is made from.
pub struct Material<'a> {
    pub status: &'a RunStatus,
    pub plan: &'a Plan,
    pub time_scale: f64,
    pub prepared_in: Nanos,
    pub loads: &'a [(Arc<str>, Summary)],
    /// For each load: what the parts of its mix measured of themselves.
    pub facts: &'a [Vec<PartFacts>],
    pub lateness: &'a [(Arc<str>, Nanos)],
    pub judged: &'a [Judged],
    pub pools: &'a [PoolStatus],
    pub drained: &'a [DrainReport],
    pub left: u64,
    pub points: &'a [Point],
    pub dropped_points: u64,
    pub threads: Value,
}

pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn head(status: &RunStatus) -> Map<String, Value> {
    let head = json!({
        "format": "threadscape-run",
        "version": FORMAT_VERSION,
        "program": concat!("threadscape ", env!("CARGO_PKG_VERSION")),
        "id": &*status.id.0,
        "scenario": &*status.scenario,
        "phase": status.phase.name(),
        "verdict": status.verdict.as_deref(),
        "messages": status.messages.iter().map(|message| &**message).collect::<Vec<_>>(),
        "seed": status.seed,
        "rate_factor": status.rate_factor,
        "started_at": rfc3339(status.started_at),
        "ended_at": status.ended_at.map(rfc3339),
        "elapsed_seconds": status.elapsed.seconds(),
        "planned_seconds": status.planned.map(Nanos::seconds),
        "machine": machine(),
    });
    match head {
        Value::Object(head) => head,
        _ => Map::new(),
    }
}

fn machine() -> Value {
    let system = rustix::system::uname();
    json!({
        "kernel": system.release().to_string_lossy(),
        "architecture": system.machine().to_string_lossy(),
        "cpus": std::thread::available_parallelism().map(usize::from).ok(),
    })
}

/// The document of a run that never got to its report: what was last known of it.
pub fn of_failure(status: &RunStatus) -> String {
    let mut document = head(status);
    let loads = status.loads.iter().map(|load| {
        let counts = Counts {
            arrived: load.arrived,
            done: load.done,
            shed: load.shed,
            late: load.late,
            cancelled: load.cancelled,
            panicked: load.panicked,
            verified: load.verified,
            wrong: load.wrong,
            unchecked: 0,
        };
        json!({
            "name": &*load.name,
            "workload": &*load.workload,
            "pool": &*load.pool,
            "executor": load.executor,
            "counts": counts_json(&counts),
            "latency": {
                "lag": spread(&load.lag),
                "queue": spread(&load.queue),
                "service": spread(&load.service),
                "response": spread(&load.response),
            },
        })
    });
    document.insert("loads".into(), loads.collect());
    Value::Object(document).to_string()
}

pub fn document(of: &Material) -> String {
    let mut document = head(of.status);
    let plan = of.plan;
    document.insert("description".into(), json!(plan.description));
    document.insert("time_scale".into(), json!(of.time_scale));
    document.insert("prepared_in_seconds".into(), json!(of.prepared_in.seconds()));
    document.insert("plan".into(), plan_json(plan));
    let mut total = Summary::default();
    let mut loads = Vec::new();
    let rows = plan.loads.iter().zip(of.loads).zip(of.lateness).zip(of.facts);
    for (((load, (name, summary)), (_, lateness)), facts) in rows {
        total.merge(summary);
        let mut row = summary_json(summary);
        row.insert("name".into(), json!(&**name));
        row.insert("workload".into(), json!(load.workloads()));
        row.insert("pool".into(), json!(&*load.pool));
        row.insert("executor".into(), json!(load.executor.name()));
        row.insert("generator_lateness_p99_seconds".into(), json!(lateness.seconds()));
        row.insert("facts".into(), facts_json(facts));
        loads.push(Value::Object(row));
    }
    total.seconds = of
        .status
        .elapsed
        .min(plan.duration.unwrap_or(of.status.elapsed))
        .seconds();
    document.insert("loads".into(), Value::Array(loads));
    document.insert("total".into(), Value::Object(summary_json(&total)));
    let pools = of
        .pools
        .iter()
        .zip(of.drained)
        .map(|(pool, drained)| pool_json(pool, drained));
    document.insert("pools".into(), pools.collect());
    document.insert(
        "drain".into(),
        json!({ "timed_out": of.left > 0, "left": of.left, "timeout_seconds": plan.drain_timeout.seconds() }),
    );
    document.insert("threads".into(), of.threads.clone());
    let thresholds = of.judged.iter().map(|judged| {
        json!({
            "load": judged.threshold.load.as_deref(),
            "require": &*judged.threshold.text,
            "measured": judged.measured,
            "shown": judged.measured.map(|measured| judged.threshold.show(measured)),
            "kept": judged.kept,
        })
    });
    document.insert("thresholds".into(), thresholds.collect());
    document.insert("series".into(), series(of));
    Value::Object(document).to_string()
}

fn counts_json(counts: &Counts) -> Value {
    json!({
        "arrived": counts.arrived,
        "done": counts.done,
        "shed": counts.shed,
        "late": counts.late,
        "cancelled": counts.cancelled,
        "panicked": counts.panicked,
        "outstanding": counts.outstanding(),
        "verified": counts.verified,
        "wrong": counts.wrong,
        "unchecked": counts.unchecked,
    })
}

/// `null` where nothing was measured: a time of 0 would be a claim.
fn tally(tally: &Tally) -> Value {
    let time = |time: Nanos| (tally.count() > 0).then(|| time.seconds());
    json!({
        "count": tally.count(),
        "mean": time(tally.mean()),
        "p50": time(tally.quantile(0.5)),
        "p90": time(tally.quantile(0.9)),
        "p99": time(tally.quantile(0.99)),
        "p999": time(tally.quantile(0.999)),
        "max": time(tally.max()),
    })
}

fn spread(spread: &Spread) -> Value {
    let time = |time: Nanos| (spread.count > 0).then(|| time.seconds());
    json!({
        "count": spread.count,
        "mean": time(spread.mean),
        "p50": time(spread.p50),
        "p90": time(spread.p90),
        "p99": time(spread.p99),
        "max": time(spread.max),
    })
}

/// A row for each fact. `part` is the place in the load's mix: the same workload may stand there with
/// several sets of parameters.
fn facts_json(parts: &[PartFacts]) -> Value {
    let rows = parts.iter().enumerate().flat_map(|(part, of)| {
        of.facts.iter().map(move |fact| {
            json!({
                "part": part,
                "workload": of.workload,
                "name": fact.name,
                "unit": fact.unit,
                "meaning": fact.meaning,
                // JSON has no NaN and no infinity: such a figure is unknown.
                "value": fact.value.is_finite().then_some(fact.value),
            })
        })
    });
    rows.collect()
}

fn summary_json(summary: &Summary) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("seconds".into(), json!(summary.seconds));
    row.insert("counts".into(), counts_json(&summary.counts));
    let throughput = (summary.seconds > 0.0).then(|| summary.counts.done as f64 / summary.seconds);
    row.insert("throughput".into(), json!(throughput));
    row.insert("heap_peak_bytes".into(), json!(summary.heap_peak));
    row.insert(
        "latency".into(),
        json!({
            "lag": tally(&summary.lag),
            "queue": tally(&summary.queue),
            "service": tally(&summary.service),
            "response": tally(&summary.response),
        }),
    );
    row
}

/// As scenario files spell it.
pub fn policy_name(policy: QueuePolicy) -> &'static str {
    match policy {
        QueuePolicy::Block => "block",
        QueuePolicy::Reject => "reject",
    }
}

fn pool_json(pool: &PoolStatus, drained: &DrainReport) -> Value {
    json!({
        "name": &*pool.name,
        "kind": pool.kind,
        "size": pool.size,
        "queue_capacity": pool.queue_capacity,
        "policy": policy_name(pool.policy),
        "submitted": pool.submitted,
        "done": pool.done,
        "panicked": pool.panicked,
        "rejected": pool.rejected,
        "abandoned": pool.abandoned + drained.abandoned,
        "queue_wait": spread(&pool.queue_wait),
        "service": spread(&pool.service),
        "drain": {
            "done": drained.done,
            "abandoned": drained.abandoned,
            "stuck": drained.stuck.iter().map(|tid| tid.0).collect::<Vec<_>>(),
        },
        "workers": pool.workers.iter().map(|worker| json!({
            "tid": worker.tid.0,
            "name": &*worker.name,
            "done": worker.done,
            "stolen": worker.stolen,
        })).collect::<Vec<_>>(),
    })
}

/// The plan as it was resolved, all defaults filled in; `threadscape check --json` prints it too.
pub fn plan_json(plan: &Plan) -> Value {
    json!({
        "name": &*plan.name,
        "description": plan.description,
        "duration_seconds": plan.duration.map(Nanos::seconds),
        "seed": plan.seed,
        "memory_limit_bytes": plan.memory_limit,
        "memory_bytes": plan.memory_bytes,
        "max_lateness_seconds": plan.max_lateness.seconds(),
        "drain_timeout_seconds": plan.drain_timeout.seconds(),
        "verify": plan.verify,
        "threads": plan.threads(),
        "pools": plan.pools.iter().map(|pool| json!({
            "name": &*pool.name,
            "kind": kind_name(pool.kind),
            "workers": pool.workers,
            "queue": pool.queue_capacity,
            "policy": policy_name(pool.policy),
            "stack_size_bytes": pool.stack_bytes,
        })).collect::<Vec<_>>(),
        "loads": plan.loads.iter().map(|load| load_json(load, plan.duration)).collect::<Vec<_>>(),
        "thresholds": plan.thresholds.iter().map(|threshold| json!({
            "load": threshold.load.as_deref(),
            "require": &*threshold.text,
        })).collect::<Vec<_>>(),
    })
}

/// As scenario files spell it.
pub fn kind_name(kind: crate::pools::PoolKind) -> &'static str {
    match kind {
        crate::pools::PoolKind::Stealing => "stealing",
        crate::pools::PoolKind::SharedChannel => "shared-channel",
    }
}

fn curve_json(curve: &Curve) -> Value {
    let stages = curve
        .segments()
        .iter()
        .map(|stage| json!({ "from": stage.from, "to": stage.to, "seconds": stage.seconds }));
    json!({ "stages": stages.collect::<Vec<_>>(), "repeat": curve.repeats() })
}

fn load_json(load: &Load, run: Option<Nanos>) -> Value {
    let executor = match &load.executor {
        Executor::Open { spacing, rate } => json!({
            "kind": "open",
            "arrivals": spacing.name(),
            "rate": curve_json(rate),
        }),
        Executor::Closed {
            users,
            think,
            exponential,
        } => json!({
            "kind": "closed",
            "users": curve_json(users),
            "think_time_seconds": think.seconds(),
            "think": if *exponential { "exponential" } else { "constant" },
        }),
    };
    json!({
        "name": &*load.name,
        "pool": &*load.pool,
        "executor": executor,
        "start_seconds": load.start.seconds(),
        "seconds": load.span(run).map(Nanos::seconds),
        "patience_seconds": load.patience.map(Nanos::seconds),
        "expected_tasks": load.expected_tasks(run).map(f64::round),
        "mix": load.mix.iter().map(|part| json!({
            "workload": part.workload.about().name,
            "weight": part.weight,
            "fork": part.fork,
            "params": part.given.iter().map(|(name, value)| (name.clone(), param(value))).collect::<Map<_, _>>(),
        })).collect::<Vec<_>>(),
    })
}

fn param(value: &ParamValue) -> Value {
    match value {
        ParamValue::Integer(number) => json!(number),
        ParamValue::Number(number) => json!(number),
        ParamValue::Text(text) => json!(text),
        ParamValue::Flag(flag) => json!(flag),
    }
}

/// Columns, one entry a point, so that a plot takes them as they are.
fn series(of: &Material) -> Value {
    let column = |pick: &dyn Fn(&Point) -> Value| of.points.iter().map(pick).collect::<Vec<Value>>();
    let loads = of.plan.loads.iter().enumerate().map(|(index, load)| {
        let field = |pick: &dyn Fn(&LoadPoint) -> Value| column(&|point| pick(&point.loads[index]));
        let time = |spread: &Spread, time: Nanos| json!((spread.count > 0).then(|| time.seconds()));
        let row = json!({
            "target": field(&|load| json!(load.target)),
            "arrived": field(&|load| json!(load.arrived)),
            "done": field(&|load| json!(load.done)),
            "shed": field(&|load| json!(load.shed)),
            "late": field(&|load| json!(load.late)),
            "panicked": field(&|load| json!(load.panicked)),
            "outstanding": field(&|load| json!(load.outstanding)),
            "response_p50": field(&|load| time(&load.response, load.response.p50)),
            "response_p99": field(&|load| time(&load.response, load.response.p99)),
            "response_max": field(&|load| time(&load.response, load.response.max)),
            "service_p50": field(&|load| time(&load.service, load.service.p50)),
            "service_p99": field(&|load| time(&load.service, load.service.p99)),
        });
        (load.name.to_string(), row)
    });
    let pools = of.pools.iter().enumerate().map(|(index, pool)| {
        let field =
            |pick: &dyn Fn(&PoolPoint) -> Value| column(&|point| point.pools.get(index).map_or(Value::Null, pick));
        let row = json!({
            "active": field(&|pool| json!(pool.active)),
            "queue_depth": field(&|pool| json!(pool.queue_depth)),
        });
        (pool.name.to_string(), row)
    });
    json!({
        "at_seconds": column(&|point| json!(point.at.seconds())),
        "width_seconds": column(&|point| json!(point.width.seconds())),
        "dropped_points": of.dropped_points,
        "loads": loads.collect::<Map<_, _>>(),
        "pools": pools.collect::<Map<_, _>>(),
    })
}

/// Why a kept report could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("the report is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("the report has format version {0}; this program knows {FORMAT_VERSION}")]
    Version(String),
}

fn open(document: &str) -> Result<Value, ReportError> {
    let value: Value = serde_json::from_str(document)?;
    match value["version"].as_u64() {
        Some(version) if version == u64::from(FORMAT_VERSION) => Ok(value),
        _ => Err(ReportError::Version(value["version"].to_string())),
    }
}

const SERIES: [&str; 12] = [
    "target",
    "arrived",
    "done",
    "shed",
    "late",
    "panicked",
    "outstanding",
    "response_p50",
    "response_p99",
    "response_max",
    "service_p50",
    "service_p99",
];

/// The series as CSV (RFC 4180), a row for each load and interval; unknown is an empty field.
pub fn csv(document: &str) -> Result<String, ReportError> {
    let document = open(document)?;
    let mut out = String::from("at_seconds,width_seconds,load");
    for name in SERIES {
        let _ = write!(out, ",{name}");
    }
    out.push_str("\r\n");
    let series = &document["series"];
    let none = Map::new();
    let loads = series["loads"].as_object().unwrap_or(&none);
    for (index, at) in series["at_seconds"].as_array().into_iter().flatten().enumerate() {
        for (name, columns) in loads {
            let _ = write!(out, "{at},{},{}", series["width_seconds"][index], csv_field(name));
            for column in SERIES {
                let value = &columns[column][index];
                if value.is_null() {
                    out.push(',');
                } else {
                    let _ = write!(out, ",{value}");
                }
            }
            out.push_str("\r\n");
        }
    }
    Ok(out)
}

fn csv_field(text: &str) -> String {
    // A leading = + - @ is a formula to a spreadsheet.
    let text = if text.starts_with(['=', '+', '-', '@']) {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

const PAGE_STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}\
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .7rem;border-bottom:1px solid #8884;text-align:right}th:first-child,td:first-child{text-align:left}\
.pass{color:#1a7f37}.fail,.invalid,.failed{color:#c62828}svg{width:100%;height:120px;background:#8881}";

/// A page of its own: no script, no reference to anything outside it.
pub fn html(document: &str) -> Result<String, ReportError> {
    let document = open(document)?;
    let text = |value: &Value| match value {
        Value::String(text) => escape(text),
        Value::Null => "–".into(),
        other => escape(&other.to_string()),
    };
    let time = |value: &Value| {
        value.as_f64().map_or("–".to_owned(), |seconds| {
            escape(&super::units::show_time(Nanos::from_seconds(seconds)))
        })
    };
    let outcome = document["verdict"]
        .as_str()
        .or(document["phase"].as_str())
        .unwrap_or("unknown");
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{0}: {1}</title><style>{PAGE_STYLE}</style>\
         <h1>{0}: <span class=\"{1}\">{1}</span></h1><p>{2}</p>\
         <p>Run {3}, started {4}, seed {5}, {6} long, on {7} CPUs, kernel {8}.</p>",
        text(&document["scenario"]),
        escape(outcome),
        text(&document["description"]),
        text(&document["id"]),
        text(&document["started_at"]),
        text(&document["seed"]),
        time(&document["elapsed_seconds"]),
        text(&document["machine"]["cpus"]),
        text(&document["machine"]["kernel"]),
    );
    let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
    let messages = list("messages");
    if !messages.is_empty() {
        page.push_str("<ul>");
        for message in &messages {
            let _ = write!(page, "<li>{}</li>", text(message));
        }
        page.push_str("</ul>");
    }
    page.push_str("<h2>Loads</h2><table><tr><th>load<th>arrived<th>done<th>shed<th>late<th>cancelled<th>panicked<th>outstanding<th>wrong / checked<th>a second</tr>");
    for load in list("loads") {
        let counts = &load["counts"];
        let _ = write!(page, "<tr><td>{}", text(&load["name"]));
        for key in [
            "arrived",
            "done",
            "shed",
            "late",
            "cancelled",
            "panicked",
            "outstanding",
        ] {
            let _ = write!(page, "<td>{}", text(&counts[key]));
        }
        let throughput = load["throughput"]
            .as_f64()
            .map_or("–".into(), |rate| format!("{rate:.1}"));
        let _ = write!(
            page,
            "<td>{} / {}<td>{throughput}</tr>",
            text(&counts["wrong"]),
            text(&counts["verified"])
        );
    }
    page.push_str(
        "</table><h2>Latencies</h2><table><tr><th>load<th><th>mean<th>p50<th>p90<th>p99<th>p99.9<th>max</tr>",
    );
    for load in list("loads") {
        for (key, meaning) in [
            ("lag", "lag: intended start to queue"),
            ("queue", "in the queue"),
            ("service", "in a worker's hands"),
            ("response", "response: intended start to end"),
        ] {
            let _ = write!(page, "<tr><td>{}<td>{}", text(&load["name"]), escape(meaning));
            for column in ["mean", "p50", "p90", "p99", "p999", "max"] {
                let _ = write!(page, "<td>{}", time(&load["latency"][key][column]));
            }
            page.push_str("</tr>");
        }
    }
    page.push_str("</table>");
    let facts: Vec<(String, Value)> = list("loads").iter().flat_map(facts_of).collect();
    if !facts.is_empty() {
        page.push_str("<h2>Of the workloads</h2><table><tr><th>load<th>workload<th>figure<th>meaning<th>value</tr>");
        for (load, fact) in &facts {
            let _ = write!(
                page,
                "<tr><td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
                escape(load),
                escape(&fact_part(fact)),
                text(&fact["name"]),
                text(&fact["meaning"]),
                escape(&show_fact(fact))
            );
        }
        page.push_str("</table>");
    }
    if let Some(loads) = document["series"]["loads"].as_object() {
        page.push_str("<h2>Over time</h2>");
        for (name, columns) in loads {
            for (key, label) in [("done", "finished tasks"), ("response_p99", "response p99")] {
                let _ = write!(
                    page,
                    "<figure><figcaption>{}: {label}</figcaption>{}</figure>",
                    escape(name),
                    line(&columns[key])
                );
            }
        }
    }
    let thresholds = list("thresholds");
    if !thresholds.is_empty() {
        page.push_str("<h2>Thresholds</h2><table><tr><th>required<th>of<th>measured<th></tr>");
        for row in &thresholds {
            let kept = row["kept"] == true;
            let _ = write!(
                page,
                "<tr><td>{}<td>{}<td>{}<td class=\"{}\">{}</tr>",
                text(&row["require"]),
                row["load"].as_str().map_or("all loads".into(), escape),
                text(&row["shown"]),
                if kept { "pass" } else { "fail" },
                if kept { "kept" } else { "missed" },
            );
        }
        page.push_str("</table>");
    }
    let threads = list("threads");
    if !threads.is_empty() {
        page.push_str("<h2>Worker threads, from the kernel</h2><table><tr><th>thread<th>tid<th>on CPU<th>waiting for a CPU<th>voluntary switches<th>involuntary switches<th>page faults</tr>");
        for row in &threads {
            let _ = write!(
                page,
                "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
                text(&row["name"]),
                text(&row["tid"]),
                time(&row["on_cpu_seconds"]),
                time(&row["run_delay_seconds"]),
                text(&row["voluntary_switches"]),
                text(&row["involuntary_switches"]),
                text(&row["minor_faults"]),
            );
        }
        page.push_str("</table>");
    }
    page.push_str("</html>\n");
    Ok(page)
}

/// The facts of one load of the document, and the heap that a task of it took, with the load's name.
pub fn facts_of(load: &Value) -> Vec<(String, Value)> {
    let name = load["name"].as_str().unwrap_or_default().to_owned();
    let heap = load["heap_peak_bytes"].as_u64().map(|bytes| {
        json!({
            "workload": "all",
            "name": "heap_peak_bytes",
            "unit": "bytes",
            "meaning": "the most heap one task had in use at once, on the worker that ran it (ledger)",
            "value": bytes,
        })
    });
    heap.into_iter()
        .chain(load["facts"].as_array().into_iter().flatten().cloned())
        .map(|fact| (name.clone(), fact))
        .collect()
}

/// Which part of the load's mix a fact is of: `medusa`, or `2: medusa` where it is not the first.
pub fn fact_part(fact: &Value) -> String {
    let workload = fact["workload"].as_str().unwrap_or_default();
    match fact["part"].as_u64() {
        None | Some(0) => workload.to_owned(),
        Some(part) => format!("{}: {workload}", part + 1),
    }
}

/// A fact's value with its unit, for people.
pub fn show_fact(fact: &Value) -> String {
    let Some(value) = fact["value"].as_f64() else {
        return "unknown".into();
    };
    match fact["unit"].as_str() {
        Some("bytes") => super::units::show_size(value as u64),
        Some("seconds") => super::units::show_time(Nanos::from_seconds(value)),
        unit => {
            let number = if value.fract() == 0.0 && value.abs() < 1e15 {
                format!("{value:.0}")
            } else {
                format!("{value:.4}")
            };
            match unit {
                None | Some("1" | "") => number,
                Some(unit) => format!("{number} {unit}"),
            }
        }
    }
}

/// A column as a line; a gap where it is unknown.
fn line(column: &Value) -> String {
    let values: Vec<Option<f64>> = column.as_array().into_iter().flatten().map(Value::as_f64).collect();
    let top = values.iter().flatten().fold(0.0f64, |top, value| top.max(*value));
    let step = 1000.0 / (values.len().max(2) - 1) as f64;
    let mut path = String::new();
    let mut pen_down = false;
    for (index, value) in values.iter().enumerate() {
        match value {
            Some(value) => {
                let height = if top > 0.0 { 115.0 - value / top * 110.0 } else { 115.0 };
                let _ = write!(
                    path,
                    "{}{:.1} {height:.1}",
                    if pen_down { "L" } else { "M" },
                    index as f64 * step
                );
                pen_down = true;
            }
            None => pen_down = false,
        }
    }
    format!(
        "<svg viewBox=\"0 0 1000 120\" preserveAspectRatio=\"none\" role=\"img\"><path d=\"{path}\" fill=\"none\" stroke=\"currentColor\" vector-effect=\"non-scaling-stroke\"/></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> String {
        json!({
            "version": 1, "scenario": "<b>x</b>", "verdict": "pass", "messages": ["a & b"],
            "loads": [{ "name": "=1+1", "counts": { "arrived": 3 }, "latency": {} }],
            "series": { "at_seconds": [1.0, 2.0], "width_seconds": [1.0, 1.0], "loads": {
                "=1+1": { "done": [3, null], "response_p99": [0.5, null] } } },
        })
        .to_string()
    }

    #[test]
    fn a_page_shows_hostile_names_as_text() {
        let page = html(&sample()).unwrap();
        assert!(!page.contains("<b>x</b>"));
        assert!(page.contains("&lt;b&gt;x&lt;/b&gt;") && page.contains("a &amp; b"));
    }

    #[test]
    fn csv_leaves_the_unknown_empty_and_defuses_formulas() {
        let csv = csv(&sample()).unwrap();
        let rows: Vec<&str> = csv.lines().collect();
        assert_eq!(rows.len(), 3);
        assert!(rows[1].starts_with("1.0,1.0,'=1+1,,,3,"), "{}", rows[1]);
        assert!(rows[2].starts_with("2.0,1.0,'=1+1,,,,"), "{}", rows[2]);
    }

    #[test]
    fn a_document_of_another_version_is_refused() {
        assert!(matches!(csv("{\"version\": 2}"), Err(ReportError::Version(_))));
        assert!(matches!(html("{"), Err(ReportError::NotJson(_))));
    }
}
