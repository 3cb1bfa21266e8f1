//! The threads of one process: the list, filtered, sorted and paged here, and one thread with its
//! recent history.
//!
//! A page of a hundred out of ten thousand must stay cheap while every CPU is busy: only an index
//! and a sort value a thread are made, the page is selected and then sorted, and only its rows are
//! given a shape, which borrows from the snapshot.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};

use super::ask::{Ask, Order};
use super::problem::Problem;
use super::site::{Answer, Site, encode, id, json_response, wall_clock_of};
use super::wire::{self, Gaps};
use crate::history::{HistoryError, Query, Series};
use crate::model::{Evidence, JavaState, Nanos, Pid, Snapshot, Suspension, Thread, ThreadLook, ThreadState, Tid};

pub const MAX_LIMIT: u64 = 1000;
const DEFAULT_LIMIT: u64 = 100;
const MAX_SPARKLINE: u64 = 300;
/// How far back a single thread's history goes, and its step at least.
const HISTORY: Nanos = Nanos(300_000_000_000);
const HISTORY_STEP: Nanos = Nanos(1_000_000_000);

/// What rows are sorted by.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Whole(i128),
    Number(f64),
    Text(&'a str),
    Unknown,
}

impl Value<'_> {
    pub fn whole(number: u64) -> Value<'static> {
        Value::Whole(number.into())
    }
}

/// Unknown comes last, whichever way the rest goes: it is neither little nor much.
pub fn compare(a: Value<'_>, b: Value<'_>, order: Order) -> Ordering {
    let ascending = match (a, b) {
        (Value::Unknown, Value::Unknown) => return Ordering::Equal,
        (Value::Unknown, _) => return Ordering::Greater,
        (_, Value::Unknown) => return Ordering::Less,
        (Value::Whole(a), Value::Whole(b)) => a.cmp(&b),
        (Value::Number(a), Value::Number(b)) => a.total_cmp(&b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        // One column holds one kind.
        _ => Ordering::Equal,
    };
    match order {
        Order::Ascending => ascending,
        Order::Descending => ascending.reverse(),
    }
}

type Pick = for<'a> fn(&'a Thread) -> Value<'a>;

fn whole<T: Copy + Into<i128>>(evidence: &Evidence<T>) -> Value<'static> {
    evidence
        .as_ref()
        .map_or(Value::Unknown, |number| Value::Whole((*number).into()))
}

fn ratio(evidence: Evidence<f64>) -> Value<'static> {
    match evidence {
        Ok(number) if number.is_finite() => Value::Number(number),
        _ => Value::Unknown,
    }
}

fn maybe(number: Option<u64>) -> Value<'static> {
    number.map_or(Value::Unknown, Value::whole)
}

fn text(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Unknown, Value::Text)
}

/// Every field of a row by which rows can be sorted, and whether more is what one looks for first.
const SORTS: [(&str, bool, Pick); 43] = [
    ("tid", false, |t| Value::whole(t.key.tid.0.into())),
    ("name", false, |t| Value::Text(&t.name)),
    ("start_time", false, |t| Value::whole(t.key.start.0)),
    ("state", false, |t| Value::Text(t.state.name())),
    ("pool", false, |t| text(t.pool.as_deref())),
    ("cpu_ratio", true, |t| ratio(t.cpu_ratio)),
    ("user_seconds", true, |t| whole(&t.user_time.map(|ticks| ticks.0))),
    ("system_seconds", true, |t| whole(&t.system_time.map(|ticks| ticks.0))),
    ("on_cpu_seconds", true, |t| whole(&t.on_cpu.map(|nanos| nanos.0))),
    ("run_delay_seconds", true, |t| whole(&t.run_delay.map(|nanos| nanos.0))),
    ("run_delay_ratio", true, |t| ratio(t.run_delay_ratio)),
    ("timeslices", true, |t| whole(&t.timeslices)),
    ("voluntary_switches", true, |t| whole(&t.voluntary_switches)),
    ("involuntary_switches", true, |t| whole(&t.involuntary_switches)),
    ("minor_faults", true, |t| whole(&t.minor_faults)),
    ("major_faults", true, |t| whole(&t.major_faults)),
    ("last_cpu", false, |t| whole(&t.last_cpu)),
    ("nice", false, |t| whole(&t.nice)),
    ("policy", false, |t| text(t.policy.ok())),
    ("rt_priority", true, |t| whole(&t.rt_priority)),
    ("allowed_cpus", false, |t| text(t.allowed_cpus.as_deref().ok())),
    ("wait.kind", false, |t| {
        text(t.wait.as_ref().ok().map(|wait| wait.kind.name()))
    }),
    ("wait.syscall", false, |t| {
        text(t.wait.as_ref().ok().and_then(|wait| wait.syscall))
    }),
    ("wait.lock", false, |t| {
        text(t.wait.as_ref().ok().and_then(|wait| wait.lock.as_deref()))
    }),
    ("stack.reserved_bytes", true, |t| {
        maybe(t.stack.ok().map(|stack| stack.reserved_bytes))
    }),
    ("stack.resident_bytes", true, |t| {
        maybe(t.stack.and_then(|stack| stack.resident_bytes).ok())
    }),
    ("stack.used_bytes", true, |t| {
        maybe(t.stack.and_then(|stack| stack.used_bytes).ok())
    }),
    ("heap.allocated_bytes", true, |t| {
        maybe(t.heap.ok().map(|heap| heap.allocated_bytes))
    }),
    ("heap.freed_bytes", true, |t| {
        maybe(t.heap.ok().map(|heap| heap.freed_bytes))
    }),
    ("heap.net_bytes", true, |t| {
        t.heap
            .map_or(Value::Unknown, |heap| Value::Whole(heap.net_bytes().into()))
    }),
    ("heap.allocations", true, |t| {
        maybe(t.heap.ok().map(|heap| heap.allocations))
    }),
    ("heap.frees", true, |t| maybe(t.heap.ok().map(|heap| heap.frees))),
    ("task.pool", false, |t| {
        text(t.task.as_ref().ok().map(|task| &*task.pool))
    }),
    ("task.workload", false, |t| {
        text(t.task.as_ref().ok().and_then(|task| task.workload.as_deref()))
    }),
    ("task.id", false, |t| {
        maybe(t.task.as_ref().ok().and_then(|task| task.id))
    }),
    ("task.age_seconds", true, |t| {
        maybe(t.task.as_ref().ok().and_then(|task| task.age).map(|age| age.0))
    }),
    ("task.done", true, |t| maybe(t.task.as_ref().ok().map(|task| task.done))),
    ("task.queue_seconds_total", true, |t| {
        maybe(t.task.as_ref().ok().map(|task| task.queue_wait.0))
    }),
    ("task.service_seconds_total", true, |t| {
        maybe(t.task.as_ref().ok().map(|task| task.service.0))
    }),
    ("java_state", false, |t| text(t.java_state().ok().map(JavaState::name))),
    ("suspended", false, |t| text(t.suspended().map(Suspension::name))),
    ("wait.object", false, |t| {
        text(
            t.wait
                .as_ref()
                .ok()
                .and_then(|wait| wait.object.as_ref().ok())
                .map(|object| &*object.name),
        )
    }),
    ("state_letter", false, |t| Value::whole(t.state_letter.into())),
];

/// What the list is asked for.
struct Wanted {
    pick: Pick,
    order: Order,
    states: Vec<ThreadState>,
    /// In lower case.
    name: String,
    pool: Option<String>,
    /// Asked for by their ids, in this order; else empty.
    tids: Vec<Tid>,
    limit: usize,
    offset: usize,
    sparkline: usize,
}

const PARAMETERS: [&str; 9] = [
    "sort",
    "order",
    "state",
    "name",
    "pool",
    "tid",
    "limit",
    "offset",
    "sparkline",
];

impl Wanted {
    fn of(uri: &Uri) -> Result<Wanted, Problem> {
        let ask = Ask::of(uri, &PARAMETERS)?;
        let tids = tids_of(&ask)?;
        let names = SORTS.map(|(name, _, _)| name);
        let sort = ask.sort(&names)?.unwrap_or("cpu_ratio");
        let (_, more_first, pick) = SORTS.into_iter().find(|(name, _, _)| *name == sort).unwrap_or(SORTS[0]);
        let states = ThreadState::ALL.map(ThreadState::name);
        Ok(Wanted {
            pick,
            order: ask.order()?.unwrap_or(if more_first {
                Order::Descending
            } else {
                Order::Ascending
            }),
            states: ask
                .list_of("state", &states)?
                .into_iter()
                .filter_map(ThreadState::from_name)
                .collect(),
            name: ask.text("name").unwrap_or_default().to_lowercase(),
            pool: ask.text("pool").map(str::to_owned),
            tids,
            limit: ask.whole("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT) as usize,
            offset: ask.whole("offset", 0..=u64::from(u32::MAX))?.unwrap_or(0) as usize,
            sparkline: ask.whole("sparkline", 0..=MAX_SPARKLINE)?.unwrap_or(0) as usize,
        })
    }

    fn fits(&self, thread: &Thread) -> bool {
        (self.states.is_empty() || self.states.contains(&thread.state))
            && self
                .pool
                .as_deref()
                .is_none_or(|pool| thread.pool.as_deref() == Some(pool))
            && holds(&thread.name, &self.name)
    }

    /// How many fit, and those of the page in order.
    fn page<'a>(&self, snapshot: &'a Snapshot) -> (usize, Vec<&'a Thread>) {
        let mut fitting: Vec<(Value<'a>, &'a Thread)> = snapshot
            .threads
            .iter()
            .filter(|thread| self.fits(thread))
            .map(|thread| ((self.pick)(thread), thread))
            .collect();
        let total = fitting.len();
        let by = |a: &(Value<'_>, &Thread), b: &(Value<'_>, &Thread)| {
            compare(a.0, b.0, self.order).then_with(|| a.1.key.cmp(&b.1.key))
        };
        let start = self.offset.min(total);
        let end = start.saturating_add(self.limit).min(total);
        // Twice in linear time: all that belongs before the page's end, of it all from its start.
        if end < total {
            fitting.select_nth_unstable_by(end, by);
            fitting.truncate(end);
        }
        if start > 0 && start < end {
            fitting.select_nth_unstable_by(start, by);
        }
        let page = &mut fitting[start..];
        page.sort_unstable_by(by);
        (total, page.iter().map(|(_, thread)| *thread).collect())
    }
}

/// `tid=71,72`: as many as a page may have. They can't be filtered and sorted as well.
fn tids_of(ask: &Ask) -> Result<Vec<Tid>, Problem> {
    let Some(text) = ask.text("tid") else {
        return Ok(Vec::new());
    };
    if let Some(other) = PARAMETERS
        .into_iter()
        .find(|name| !matches!(*name, "tid" | "sparkline") && ask.text(name).is_some())
    {
        let detail = format!("{other} cannot be given together with tid, which names the rows and their order");
        return Err(Problem::bad(other, detail));
    }
    let tids: Vec<Tid> = text
        .split(',')
        .map(|part| id("tid", part.trim(), "").map(Tid))
        .collect::<Result<_, _>>()?;
    if tids.len() as u64 > MAX_LIMIT {
        return Err(Problem::bad("tid", format!("tid names more than {MAX_LIMIT} threads")));
    }
    Ok(tids)
}

/// `needle` is in lower case.
fn holds(name: &str, needle: &str) -> bool {
    if needle.is_empty() {
        return true;
    }
    if name.is_ascii() && needle.is_ascii() {
        return name
            .as_bytes()
            .windows(needle.len())
            .any(|part| part.eq_ignore_ascii_case(needle.as_bytes()));
    }
    name.to_lowercase().contains(needle)
}

fn answer(site: &Site, snapshot: &Snapshot, wanted: &Wanted) -> Result<Vec<u8>, Problem> {
    if !wanted.tids.is_empty() {
        return by_tid(site, snapshot, wanted);
    }
    let (total, page) = wanted.page(snapshot);
    let mut answer = wire::Threads::of(snapshot, total, &page);
    add_sparklines(site, snapshot, wanted, &page, &mut answer);
    encode(&answer)
}

/// Those that were named, in that order; null for one that isn't there.
fn by_tid(site: &Site, snapshot: &Snapshot, wanted: &Wanted) -> Result<Vec<u8>, Problem> {
    let found: Vec<Option<&Thread>> = wanted
        .tids
        .iter()
        .map(|tid| {
            let place = snapshot.threads.binary_search_by_key(tid, Thread::tid);
            place.ok().map(|place| &snapshot.threads[place])
        })
        .collect();
    let page: Vec<&Thread> = found.iter().copied().flatten().collect();
    let mut answer = wire::Threads::of(snapshot, page.len(), &page);
    add_sparklines(site, snapshot, wanted, &page, &mut answer);
    let mut rows = std::mem::take(&mut answer.threads).into_iter();
    answer.threads = found.iter().map(|thread| thread.and_then(|_| rows.next()?)).collect();
    encode(&answer)
}

fn add_sparklines(site: &Site, snapshot: &Snapshot, wanted: &Wanted, page: &[&Thread], answer: &mut wire::Threads<'_>) {
    if wanted.sparkline == 0 {
        return;
    }
    let tids: Vec<Tid> = page.iter().map(|thread| thread.key.tid).collect();
    let lines = site.past.sparklines(snapshot.process, &tids, wanted.sparkline);
    for (thread, line) in answer.threads.iter_mut().flatten().zip(lines) {
        let line = line
            .into_iter()
            .map(|point| point.ok().filter(|value| value.is_finite()));
        thread.sparkline = Some(line.collect());
    }
}

/// GET /processes/{pid}/threads
#[utoipa::path(
    get,
    path = "/api/v1/processes/{pid}/threads",
    tag = "threads",
    params(
        ("pid" = String, Path, description = "A number, self or workbench"),
        ("sort" = Option<String>, Query, description = "A field of the row, such as cpu_ratio (default; cpu for short), name or stack.used_bytes"),
        ("order" = Option<String>, Query, description = "asc or desc; default desc for quantities, asc for names and ids; unknown is last in both"),
        ("state" = Option<String>, Query, description = "runnable, sleeping, disk_sleep, stopped, traced, zombie, dead, idle or parked; several with commas"),
        ("name" = Option<String>, Query, description = "Part of the thread's name, whatever its case"),
        ("pool" = Option<String>, Query, description = "The exact name of a pool"),
        ("tid" = Option<String>, Query, description = "Up to 1000 thread ids with commas: exactly these rows in this order, null for one that is not there; not together with filters, sort and pages"),
        ("limit" = Option<u64>, Query, description = "1 to 1000, default 100"),
        ("offset" = Option<u64>, Query, description = "Rows to skip"),
        ("sparkline" = Option<u64>, Query, description = "Give each row its newest values of cpu_ratio, up to 300"),
    ),
    responses(
        (status = 200, body = wire::Threads),
        (status = 400, description = "A parameter cannot be used", body = wire::Problem),
        (status = 403, description = "The kernel does not let us read this process", body = wire::Problem),
        (status = 404, description = "No such process", body = wire::Problem),
    )
)]
pub async fn list(State(site): State<Arc<Site>>, Path(pid): Path<String>, uri: Uri) -> Answer {
    let wanted = Wanted::of(&uri)?;
    let at_hand = site.at_hand(&pid);
    if let (Some(snapshot), 0) = (&at_hand, wanted.sparkline) {
        // Less work than handing it to another thread and back on a busy machine.
        return Ok(json_response(StatusCode::OK, answer(&site, snapshot, &wanted)?));
    }
    site.json(move |site| {
        let snapshot = match at_hand {
            Some(snapshot) => snapshot,
            None => site.looks.snapshot(site.pid("pid", &pid)?)?,
        };
        answer(site, &snapshot, &wanted)
    })
    .await
}

/// GET /processes/{pid}/threads/{tid}
#[utoipa::path(
    get,
    path = "/api/v1/processes/{pid}/threads/{tid}",
    tag = "threads",
    params(
        ("pid" = String, Path, description = "A number, self or workbench"),
        ("tid" = u32, Path, description = "The thread's id"),
    ),
    responses(
        (status = 200, body = wire::ThreadDetail),
        (status = 400, description = "pid or tid is not one", body = wire::Problem),
        (status = 403, description = "The kernel does not let us read this process", body = wire::Problem),
        (status = 404, description = "No such process or thread", body = wire::Problem),
    )
)]
pub async fn one(State(site): State<Arc<Site>>, Path((pid, tid)): Path<(String, String)>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    site.json(move |site| {
        let pid: Pid = site.pid("pid", &pid)?;
        let tid = Tid(id("tid", &tid, "")?);
        let ThreadLook {
            snapshot,
            thread,
            details,
        } = site.looks.closely(pid, tid)?;
        let now = super::site::monotonic_now();
        let mut gaps = Gaps::default();
        let thread = wire::Thread::of(&thread, &mut gaps);
        let details = wire::Details::of(&details, &mut gaps);
        encode(&wire::ThreadDetail {
            process: wire::ProcessRef::of(&snapshot),
            taken_at: wire::rfc3339(wall_clock_of(now)),
            thread,
            details,
            history: recent(site, &snapshot, tid, now)?,
            unknown: gaps.finish(),
        })
    })
    .await
}

fn recent(site: &Site, snapshot: &Snapshot, tid: Tid, now: Nanos) -> Result<wire::ThreadHistory, Problem> {
    let asked = site.past.query(&Query {
        process: snapshot.process,
        thread: Some(tid),
        series: vec![
            Series::CpuRatio,
            Series::RunDelayRatio,
            Series::VoluntarySwitches,
            Series::InvoluntarySwitches,
        ],
        from: now.saturating_sub(HISTORY),
        to: now,
        step: snapshot.interval.unwrap_or(HISTORY_STEP).max(HISTORY_STEP),
    });
    let columns = match asked {
        Ok(columns) => columns,
        // A thread seen for the first time has no past.
        Err(HistoryError::Nothing) => return Ok(wire::ThreadHistory::default()),
        Err(error) => return Err(error.into()),
    };
    let mut history = wire::ThreadHistory {
        times: columns
            .times
            .iter()
            .map(|time| super::history::before(*time, now))
            .collect(),
        ..wire::ThreadHistory::default()
    };
    for (series, values) in columns.series {
        let values = wire::column(values);
        match series {
            Series::CpuRatio => history.cpu_ratio = values,
            Series::RunDelayRatio => history.run_delay_ratio = values,
            Series::VoluntarySwitches => history.voluntary_switches = values,
            Series::InvoluntarySwitches => history.involuntary_switches = values,
            _ => {}
        }
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fakes;
    use proptest::prelude::*;

    fn wanted(query: &str) -> Result<Wanted, Problem> {
        Wanted::of(&format!("/x?{query}").parse().unwrap())
    }

    fn tids(snapshot: &Snapshot, query: &str) -> Vec<u32> {
        let (_, page) = wanted(query).unwrap().page(snapshot);
        page.iter().map(|thread| thread.key.tid.0).collect()
    }

    #[test]
    fn unknown_is_last_whichever_way() {
        let mut snapshot = (*fakes::snapshot(3)).clone();
        snapshot.threads[0].cpu_ratio = Err(crate::model::Unknown::SeenOnce);
        snapshot.threads[1].cpu_ratio = Ok(0.2);
        snapshot.threads[2].cpu_ratio = Ok(0.9);
        let [first, second, third] = [0, 1, 2].map(|i| snapshot.threads[i].key.tid.0);
        assert_eq!(tids(&snapshot, "sort=cpu_ratio"), [third, second, first]);
        assert_eq!(tids(&snapshot, "sort=cpu"), [third, second, first]);
        assert_eq!(tids(&snapshot, "sort=cpu_ratio&order=asc"), [second, third, first]);
    }

    #[test]
    fn a_name_is_found_whatever_its_case() {
        assert!(holds("ts-Demo-1", "demo") && holds("ÄRGER", "ärger") && !holds("ab", "abc") && holds("x", ""));
    }

    #[test]
    fn every_field_can_be_sorted_by_and_page_through() {
        let snapshot = fakes::snapshot(50);
        for (name, _, _) in SORTS {
            let all = tids(&snapshot, &format!("sort={name}"));
            let pieces: Vec<u32> = (0..50)
                .step_by(7)
                .flat_map(|offset| tids(&snapshot, &format!("sort={name}&limit=7&offset={offset}")))
                .collect();
            assert_eq!(pieces, all, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_page_is_a_piece_of_the_sorted_whole(
            ratios in prop::collection::vec(prop::option::of(0.0f64..1.0), 0..60),
            offset in 0usize..70,
            limit in 1usize..70,
            ascending: bool,
        ) {
            let mut snapshot = (*fakes::snapshot(ratios.len())).clone();
            for (thread, ratio) in snapshot.threads.iter_mut().zip(&ratios) {
                thread.cpu_ratio = ratio.ok_or(crate::model::Unknown::SeenOnce);
            }
            let order = if ascending { "asc" } else { "desc" };
            let mut whole: Vec<&Thread> = snapshot.threads.iter().collect();
            whole.sort_by(|a, b| match (a.cpu_ratio, b.cpu_ratio) {
                (Ok(a), Ok(b)) => if ascending { a.total_cmp(&b) } else { b.total_cmp(&a) },
                (a, b) => a.is_err().cmp(&b.is_err()),
            });
            let expected: Vec<u32> = whole.iter().skip(offset).take(limit).map(|t| t.key.tid.0).collect();
            prop_assert_eq!(tids(&snapshot, &format!("order={order}&offset={offset}&limit={limit}")), expected);
        }
    }
}
