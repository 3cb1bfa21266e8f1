//! Where the threads of one process stand, alone or with the locks that they wait for.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;

use super::ask::Ask;
use super::problem::Problem;
use super::site::{Answer, Site, encode};
use super::wire;
use crate::model::{Dump, Pid, Tid};
use crate::observe::StackOptions;

/// The parameters that say how stacks are read.
pub(super) const READING: [&str; 3] = ["pause", "max_depth", "tid"];

/// More frames than any stack that is read by a person.
const MOST_FRAMES: u64 = 4096;

/// How the request wants stacks to be read.
pub(super) fn options(ask: &Ask) -> Result<StackOptions, Problem> {
    let usual = StackOptions::default();
    Ok(StackOptions {
        pause: ask.flag("pause")?,
        max_depth: ask
            .whole("max_depth", 1..=MOST_FRAMES)?
            .map_or(usual.max_depth, |depth| depth as usize),
        only: ask.whole("tid", 1..=i32::MAX as u64)?.map(|tid| Tid(tid as u32)),
        ..usual
    })
}

/// Which process an answer is about.
pub(super) fn reference(site: &Site, dump: &Dump) -> wire::ProcessRef {
    wire::ProcessRef {
        pid: dump.process.pid.0,
        start_time: dump.process.start.seconds(),
        name: dump.name.to_string(),
        role: site.role(dump.process.pid).name(),
    }
}

/// A thread that was asked for alone, and is not there, is nobody.
pub(super) fn found(dump: &Dump, pid: Pid, only: Option<Tid>) -> Result<(), Problem> {
    match only {
        Some(tid) if dump.thread(tid).is_none() => Err(crate::observe::InspectError::NoThread { pid, tid }.into()),
        _ => Ok(()),
    }
}

/// GET /processes/{pid}/stacks
#[utoipa::path(
    get,
    path = "/api/v1/processes/{pid}/stacks",
    tag = "stacks",
    params(
        ("pid" = String, Path, description = "A number, self or workbench"),
        ("pause" = Option<bool>, Query, description = "Stop each thread that runs for a moment (50 ms at most) to read it; by default nothing is stopped"),
        ("max_depth" = Option<u32>, Query, description = "Most frames of one stack, 1 to 4096; 256 without it"),
        ("tid" = Option<u32>, Query, description = "Only this thread"),
    ),
    responses(
        (status = 200, body = wire::Stacks),
        (status = 400, description = "A parameter cannot be used", body = wire::Problem),
        (status = 403, description = "The kernel does not let us read this process", body = wire::Problem),
        (status = 404, description = "No such process or thread", body = wire::Problem),
    )
)]
pub async fn stacks(State(site): State<Arc<Site>>, Path(pid): Path<String>, uri: Uri) -> Answer {
    let options = options(&Ask::of(&uri, &READING)?)?;
    site.json(move |site| {
        let pid = site.pid("pid", &pid)?;
        let dump = site.looks.stacks(pid, &options)?;
        found(&dump, pid, options.only)?;
        encode(&wire::Stacks::of(
            &dump,
            reference(site, &dump),
            wire::rfc3339(dump.wall_clock),
        ))
    })
    .await
}

/// GET /processes/{pid}/dump
#[utoipa::path(
    get,
    path = "/api/v1/processes/{pid}/dump",
    tag = "stacks",
    params(
        ("pid" = String, Path, description = "A number, self or workbench"),
        ("pause" = Option<bool>, Query, description = "Stop each thread that runs for a moment (50 ms at most) to read it; by default nothing is stopped"),
        ("max_depth" = Option<u32>, Query, description = "Most frames of one stack, 1 to 4096; 256 without it"),
    ),
    responses(
        (status = 200, body = wire::Dump),
        (status = 400, description = "A parameter cannot be used", body = wire::Problem),
        (status = 403, description = "The kernel does not let us read this process", body = wire::Problem),
        (status = 404, description = "No such process", body = wire::Problem),
    )
)]
pub async fn dump(State(site): State<Arc<Site>>, Path(pid): Path<String>, uri: Uri) -> Answer {
    let options = options(&Ask::of(&uri, &["pause", "max_depth"])?)?;
    site.json(move |site| {
        let pid = site.pid("pid", &pid)?;
        let report = site.looks.locks(pid, &options)?;
        let taken_at = wire::rfc3339(report.dump.wall_clock);
        encode(&wire::Dump::of(&report, &reference(site, &report.dump), &taken_at))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fakes;
    use serde_json::json;

    fn shape(dump: &Dump) -> serde_json::Value {
        let process = wire::ProcessRef {
            pid: 1,
            start_time: 0.0,
            name: String::new(),
            role: "other",
        };
        serde_json::to_value(wire::Stacks::of(dump, process, String::new())).unwrap()
    }

    #[test]
    fn equal_stacks_are_one_with_its_threads_and_the_most_frequent_comes_first() {
        let dump = fakes::dump(&[&[0x10, 0x20], &[0x10, 0x30], &[], &[0x10, 0x30]]);
        let shape = shape(&dump);
        let first = fakes::OTHER.0;
        assert_eq!(shape["stacks"][0]["tids"], json!([first + 1, first + 3]));
        assert_eq!(shape["stacks"][0]["count"], 2);
        assert_eq!(shape["stacks"][0]["frames"][1]["function"], "function_30");
        assert_eq!(shape["stacks"][1]["tids"], json!([first]));
        let places: Vec<_> = (0..4).map(|at| shape["threads"][at]["stack"].clone()).collect();
        assert_eq!(places, [json!(1), json!(0), json!(null), json!(0)]);
    }

    #[test]
    fn a_thread_without_a_stack_says_why() {
        let shape = shape(&fakes::dump(&[&[]]));
        assert_eq!(shape["threads"][0]["unknown"]["code"], "running");
        assert_eq!(shape["unknown"]["stack"]["threads"], 1);
    }

    #[test]
    fn a_frame_says_how_far_it_can_be_trusted() {
        let shape = shape(&fakes::dump(&[&[0x10, 0x20]]));
        assert_eq!(shape["stacks"][0]["frames"][0]["trust"], "context");
        assert_eq!(shape["stacks"][0]["frames"][1]["trust"], "unwound");
        assert_eq!(shape["stacks"][0]["end"]["complete"], true);
    }
}
