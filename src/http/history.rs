//! What was, as columns: one a series, a gap where nothing is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};

use super::ask::Ask;
use super::problem::Problem;
use super::site::{Answer, Site, encode, id, monotonic_now, wall_clock_of};
use super::wire::{self, Gaps};
use crate::history::{Query, Series};
use crate::model::{Nanos, Tid};

/// The farthest back one may ask, seconds.
const FARTHEST: f64 = 7.0 * 24.0 * 3600.0;

/// Seconds from `now`, negative in the past.
pub fn before(time: Nanos, now: Nanos) -> f64 {
    (time.0 as i128 - now.0 as i128) as f64 / 1e9
}

/// GET /history
#[utoipa::path(
    get,
    path = "/api/v1/history",
    tag = "history",
    params(
        ("process" = String, Query, description = "A pid, self or workbench"),
        ("thread" = Option<u32>, Query, description = "A tid, for the series of that thread"),
        ("series" = Option<String>, Query, description = "cpu_ratio (default), run_delay_ratio, rss_bytes, threads, runnable, voluntary_switches, involuntary_switches; several with commas"),
        ("from" = Option<f64>, Query, description = "Seconds from now, zero or negative; default -300"),
        ("to" = Option<f64>, Query, description = "Seconds from now, zero or negative; default 0"),
        ("step" = Option<f64>, Query, description = "Seconds between two points, 0.1 or more; default 1"),
    ),
    responses(
        (status = 200, body = wire::History),
        (status = 400, description = "A parameter cannot be used", body = wire::Problem),
        (status = 404, description = "No such process, or nothing is kept of it", body = wire::Problem),
    )
)]
pub async fn history(State(site): State<Arc<Site>>, uri: Uri) -> Answer {
    let ask = Ask::of(&uri, &["process", "thread", "series", "from", "to", "step"])?;
    let process = ask
        .text("process")
        .ok_or_else(|| Problem::bad("process", "process is missing: a pid, self or workbench"))?
        .to_owned();
    let thread = ask
        .text("thread")
        .map(|text| id("thread", text, ""))
        .transpose()?
        .map(Tid);
    let names = Series::ALL.map(Series::name);
    let mut series: Vec<Series> = ask
        .list_of("series", &names)?
        .into_iter()
        .filter_map(Series::from_name)
        .collect();
    if series.is_empty() {
        series.push(Series::CpuRatio);
    }
    let from = ask.number("from", -FARTHEST..=0.0)?.unwrap_or(-300.0);
    let to = ask.number("to", -FARTHEST..=0.0)?.unwrap_or(0.0);
    let step = ask.number("step", 0.1..=FARTHEST)?.unwrap_or(1.0);
    if from >= to {
        return Err(Problem::bad("from", "from must lie before to"));
    }
    site.json(move |site| {
        let now = monotonic_now();
        let ago = |seconds: f64| now.saturating_sub(Nanos::from_seconds(-seconds));
        let (key, reference) = process_of(site, &process)?;
        let columns = site.past.query(&Query {
            process: key,
            thread,
            series,
            from: ago(from),
            to: ago(to),
            step: Nanos::from_seconds(step),
        })?;
        let mut gaps = Gaps::default();
        for (series, unknown) in &columns.unknown {
            gaps.note(series.name(), *unknown);
        }
        encode(&wire::History {
            process: reference,
            thread: thread.map(|tid| tid.0),
            times: columns.times.iter().map(|time| before(*time, now)).collect(),
            taken_at: wire::rfc3339(wall_clock_of(now)),
            step_seconds: columns.step.seconds(),
            series: columns
                .series
                .into_iter()
                .map(|(series, values)| (series.name(), wire::column(values)))
                .collect::<BTreeMap<_, _>>(),
            unknown: gaps.finish(),
        })
    })
    .await
}

/// The process by its latest snapshot, or by the process list when it is not watched.
fn process_of(site: &Site, text: &str) -> Result<(crate::model::ProcessKey, wire::ProcessRef), Problem> {
    let pid = site.pid("process", text)?;
    let of_process = |problem: Problem| problem.field("process");
    let key = site.looks.resolve(pid).map_err(|error| of_process(error.into()))?;
    if let Some(snapshot) = site.live.latest().iter().find(|snapshot| snapshot.process == key) {
        return Ok((key, wire::ProcessRef::of(snapshot)));
    }
    match site.looks.census().processes.iter().find(|process| process.key == key) {
        Some(process) => Ok((
            key,
            wire::ProcessRef {
                pid: pid.0,
                start_time: key.start.seconds(),
                name: process.name.to_string(),
                role: process.role.name(),
            },
        )),
        None => Err(of_process(Problem::new(
            StatusCode::NOT_FOUND,
            "no-history",
            format!("nothing is kept of process {pid} yet; it is watched from its first request on"),
        ))),
    }
}
