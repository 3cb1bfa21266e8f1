//! The machine's processes: filtered, sorted and paged here, so that a client gets what it shows.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};

use super::ask::{Ask, Order};
use super::problem::Problem;
use super::site::{Answer, Site, encode, wall_clock_of};
use super::threads::{Value, compare};
use super::wire;
use crate::model::{Evidence, Process};

pub const MAX_LIMIT: u64 = 1000;
const DEFAULT_LIMIT: u64 = 100;
const SORTS: [&str; 9] = [
    "pid",
    "ppid",
    "name",
    "user",
    "role",
    "state",
    "threads",
    "cpu_ratio",
    "rss_bytes",
];

fn value<'a>(process: &'a Process, sort: &str) -> Value<'a> {
    fn whole<T: Copy + Into<u64>>(evidence: Evidence<T>) -> Value<'static> {
        evidence.map_or(Value::Unknown, |number| Value::whole(number.into()))
    }
    match sort {
        "pid" => Value::whole(process.key.pid.0.into()),
        "ppid" => Value::whole(process.parent.0.into()),
        "name" => Value::Text(&process.name),
        "user" => process.user.as_deref().map_or(Value::Unknown, Value::Text),
        "role" => Value::Text(process.role.name()),
        "state" => Value::Text(process.state),
        "threads" => whole(process.threads),
        "rss_bytes" => whole(process.rss_bytes),
        _ => process.cpu_ratio.map_or(Value::Unknown, Value::Number),
    }
}

/// Name, executable, user or pid holds the text, whatever its case.
fn fits(process: &Process, needle: &str) -> bool {
    needle.is_empty()
        || process.name.to_lowercase().contains(needle)
        || process
            .exe
            .as_deref()
            .is_ok_and(|exe| exe.to_lowercase().contains(needle))
        || process
            .user
            .as_deref()
            .is_ok_and(|user| user.to_lowercase().contains(needle))
        || process.key.pid.to_string() == needle
}

/// GET /processes
#[utoipa::path(
    get,
    path = "/api/v1/processes",
    tag = "processes",
    params(
        ("filter" = Option<String>, Query, description = "Part of the name, executable or user, or the whole pid"),
        ("role" = Option<String>, Query, description = "daemon, workbench or other; several with commas"),
        ("sort" = Option<String>, Query, description = "pid, ppid, name, user, role, state, threads, cpu_ratio (default) or rss_bytes"),
        ("order" = Option<String>, Query, description = "asc or desc; default desc for quantities, asc for names and ids"),
        ("limit" = Option<u64>, Query, description = "1 to 1000, default 100"),
        ("offset" = Option<u64>, Query, description = "Rows to skip"),
    ),
    responses(
        (status = 200, body = wire::Processes),
        (status = 400, description = "A parameter cannot be used", body = wire::Problem),
    )
)]
pub async fn list(State(site): State<Arc<Site>>, uri: Uri) -> Answer {
    let ask = Ask::of(&uri, &["filter", "role", "sort", "order", "limit", "offset"])?;
    let needle = ask.text("filter").unwrap_or_default().to_lowercase();
    let roles = ask.list_of("role", &["daemon", "workbench", "other"])?;
    let sort = ask.sort(&SORTS)?.unwrap_or("cpu_ratio");
    let order = ask.order()?.unwrap_or(match sort {
        "threads" | "cpu_ratio" | "rss_bytes" => Order::Descending,
        _ => Order::Ascending,
    });
    let limit = ask.whole("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT) as usize;
    let offset = ask.whole("offset", 0..=u64::from(u32::MAX))?.unwrap_or(0) as usize;
    site.json(move |site| {
        let census = site.looks.census();
        let findings = site.looks.all_findings();
        let mut chosen: Vec<&Process> = census
            .processes
            .iter()
            .filter(|process| roles.is_empty() || roles.contains(&process.role.name()))
            .filter(|process| fits(process, &needle))
            .collect();
        chosen.sort_by(|a, b| compare(value(a, sort), value(b, sort), order).then_with(|| a.key.cmp(&b.key)));
        encode(&wire::Processes {
            taken_at: wire::rfc3339(wall_clock_of(census.taken_at)),
            machine: wire::Machine::of(&census.machine),
            total: chosen.len(),
            hidden: census.hidden.ok(),
            processes: chosen
                .into_iter()
                .skip(offset)
                .take(limit)
                .map(|process| wire::Process::of(process, &findings))
                .collect(),
        })
    })
    .await
}

/// GET /processes/{pid}
#[utoipa::path(
    get,
    path = "/api/v1/processes/{pid}",
    tag = "processes",
    params(("pid" = String, Path, description = "A number, self or workbench")),
    responses(
        (status = 200, body = wire::ProcessDetail),
        (status = 400, description = "pid is not one", body = wire::Problem),
        (status = 404, description = "No such process", body = wire::Problem),
    )
)]
pub async fn one(State(site): State<Arc<Site>>, Path(pid): Path<String>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    site.json(move |site| {
        let pid = site.pid("pid", &pid)?;
        // The key first: the list may be a little old and still hold a process that has ended, or
        // another that had the same pid.
        let key = site.looks.resolve(pid)?;
        let find = |census: &crate::model::Census| census.processes.iter().find(|p| p.key == key).cloned();
        let process = find(&site.looks.census()).or_else(|| find(&site.looks.fresh_census()));
        match process {
            Some(process) => encode(&wire::ProcessDetail::of(
                &process,
                &site.looks.process_details(key),
                &site.looks.all_findings(),
            )),
            None => Err(Problem::new(
                StatusCode::NOT_FOUND,
                "no-such-process",
                format!("process {pid} ended while it was being read"),
            )
            .field("pid")),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fakes;
    use std::cmp::Ordering;

    #[test]
    fn every_sort_gives_a_value() {
        let census = fakes::census();
        for sort in SORTS {
            assert_ne!(
                compare(value(&census.processes[0], sort), Value::Unknown, Order::Descending),
                Ordering::Equal,
                "{sort} is unknown"
            );
        }
    }

    #[test]
    fn a_filter_finds_name_user_and_pid() {
        let census = fakes::census();
        let process = &census.processes[1];
        assert!(fits(process, "work") && fits(process, "4712") && !fits(process, "471"));
    }
}
