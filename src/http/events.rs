//! Live events: one bounded ring that the sampler and the workbench write, and a cursor into it
//! for each stream (`GET /api/v1/events`, server-sent events).
//!
//! Writing never waits for a reader: a stream that is slow, or that comes back with
//! `Last-Event-ID`, continues where it was as long as the ring holds it, and is told how many
//! events it `missed` otherwise. An event is encoded once, whoever reads it. Ids grow over
//! restarts of the daemon too (they begin at the start's time), so an id of a former daemon is
//! known as one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::ask::{Ask, quote};
use super::looks::Guard;
use super::problem::Problem;
use super::site::{Answer, Site};
use super::wire;
use crate::model::{Finding, FindingState, Nanos, Pid, PoolStatus, ProcessKey, Role, RunStatus, Snapshot};

/// Events kept for those who come back, and the bytes they may take.
const KEPT: usize = 2048;
const KEPT_BYTES: usize = 2 << 20;
/// A process that nobody has read for this long is no longer among the latest.
const FRESH: Nanos = Nanos(15_000_000_000);
/// Processes that one stream may ask for.
const MAX_SELECTED: usize = 16;
/// Events a stream takes from the ring at one time.
const BATCH: usize = 64;

/// The sender's side, given to the sampler and the workbench. Never blocks for longer than a push.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    ring: Mutex<Ring>,
    /// The latest snapshot of each process that is watched now, for metrics and health.
    latest: Mutex<HashMap<ProcessKey, Arc<Snapshot>>>,
    /// The newest id: wakes the streams.
    newest: watch::Sender<u64>,
}

struct Ring {
    /// The id of the first event this daemon made.
    first: u64,
    next: u64,
    events: VecDeque<Event>,
    bytes: usize,
}

#[derive(Clone)]
struct Event {
    id: u64,
    /// The process it is about, for those who chose some.
    about: Option<(ProcessKey, Role)>,
    is_snapshot: bool,
    taken_at: Nanos,
    frame: Bytes,
}

/// What a cursor finds.
struct Found {
    missed: u64,
    events: Vec<Event>,
    cursor: u64,
}

impl Ring {
    fn push(&mut self, kind: &str, data: &impl Serialize, event: impl FnOnce(u64, Bytes) -> Event) -> u64 {
        let id = self.next;
        self.next += 1;
        let Some(frame) = frame(Some(id), kind, data) else {
            return id;
        };
        self.bytes += frame.len();
        self.events.push_back(event(id, frame));
        while self.events.len() > KEPT || (self.bytes > KEPT_BYTES && self.events.len() > 1) {
            if let Some(oldest) = self.events.pop_front() {
                self.bytes -= oldest.frame.len();
            }
        }
        id
    }

    /// The events after `cursor`; `cursor` is the id last seen.
    fn after(&self, cursor: u64, limit: usize) -> Found {
        let oldest = self.events.front().map_or(self.next, |event| event.id);
        // An id of a daemon before us, or of one whose clock was ahead: at least one is lost.
        let stranger = cursor.saturating_add(1) < self.first || cursor >= self.next;
        let (missed, from) = if stranger {
            ((oldest - self.first).max(1), oldest)
        } else if cursor + 1 < oldest {
            (oldest - cursor - 1, oldest)
        } else {
            (0, cursor + 1)
        };
        let skip = self.events.partition_point(|event| event.id < from);
        let events: Vec<Event> = self.events.iter().skip(skip).take(limit).cloned().collect();
        let cursor = events.last().map_or(from - 1, |event| event.id);
        Found { missed, events, cursor }
    }
}

/// One event as the stream carries it. Serde writes no line breaks, so one `data` line is enough.
fn frame(id: Option<u64>, kind: &str, data: &impl Serialize) -> Option<Bytes> {
    let json = match serde_json::to_string(data) {
        Ok(json) => json,
        Err(error) => {
            tracing::error!(%error, kind, "an event could not be encoded");
            return None;
        }
    };
    Some(Bytes::from(match id {
        Some(id) => format!("id: {id}\nevent: {kind}\ndata: {json}\n\n"),
        None => format!("event: {kind}\ndata: {json}\n\n"),
    }))
}

impl Default for Live {
    fn default() -> Live {
        Live::new()
    }
}

impl Live {
    pub fn new() -> Live {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        // A thousand ids a millisecond: later than any id of a daemon before us, and below 2^53,
        // so that it is a number to JavaScript as well.
        Live::starting_at((since.as_millis() as u64 * 1000).max(1))
    }

    fn starting_at(first: u64) -> Live {
        Live(Arc::new(Inner {
            ring: Mutex::new(Ring {
                first,
                next: first,
                events: VecDeque::new(),
                bytes: 0,
            }),
            latest: Mutex::new(HashMap::new()),
            newest: watch::Sender::new(first),
        }))
    }

    /// A tick of a watched process.
    pub fn snapshot(&self, snapshot: &Arc<Snapshot>) {
        let dropped: Vec<Arc<Snapshot>> = {
            let mut latest = self.0.latest.lock();
            let mut dropped: Vec<_> = latest.insert(snapshot.process, snapshot.clone()).into_iter().collect();
            latest.retain(|_, kept| {
                let fresh = snapshot.taken_at.saturating_sub(kept.taken_at) < FRESH;
                if !fresh {
                    dropped.push(kept.clone());
                }
                fresh
            });
            dropped
        };
        // Freeing ten thousand rows is for after the lock.
        drop(dropped);
        self.push(
            "snapshot",
            &wire::SnapshotEvent::of(snapshot),
            Some((snapshot.process, snapshot.role)),
            snapshot.taken_at,
        );
    }

    /// A watched process has ended.
    pub fn gone(&self, process: ProcessKey) {
        let last = self.0.latest.lock().remove(&process);
        let (reference, role) = match last {
            Some(snapshot) => (wire::ProcessRef::of(&snapshot), snapshot.role),
            None => (
                wire::ProcessRef {
                    pid: process.pid.0,
                    start_time: process.start.seconds(),
                    name: String::new(),
                    role: Role::Other.name(),
                },
                Role::Other,
            ),
        };
        let event = wire::GoneEvent { process: reference };
        self.push("gone", &event, Some((process, role)), Nanos(0));
    }

    /// Something wrong was found in a watched process, has changed, or is over. For all streams, as it may be
    /// any process that somebody has open.
    pub fn finding(&self, finding: &Finding, state: FindingState) {
        self.push("finding", &wire::FindingEvent::of(finding, state), None, Nanos(0));
    }

    /// A run has moved on.
    pub fn run(&self, run: &RunStatus) {
        self.push("run", &wire::Run::of(run), None, Nanos(0));
    }

    /// How the pools stand.
    pub fn pools(&self, pools: &[PoolStatus], workbench: Option<Pid>) {
        let event = wire::Pools {
            pools: pools.iter().map(wire::Pool::of).collect(),
            workbench_pid: workbench.map(|pid| pid.0),
        };
        self.push("pools", &event, None, Nanos(0));
    }

    pub(super) fn health(&self, health: &wire::Health) {
        self.push("health", health, None, Nanos(0));
    }

    /// The latest snapshots of all processes watched now.
    pub(super) fn latest(&self) -> Vec<Arc<Snapshot>> {
        let mut all: Vec<_> = self.0.latest.lock().values().cloned().collect();
        all.sort_by_key(|snapshot| snapshot.process);
        all
    }

    /// The latest snapshot of one process, where it is watched.
    pub(super) fn latest_of(&self, process: ProcessKey) -> Option<Arc<Snapshot>> {
        self.0.latest.lock().get(&process).cloned()
    }

    /// The newest snapshot of the process in this role.
    pub(super) fn latest_in(&self, role: Role) -> Option<Arc<Snapshot>> {
        let latest = self.0.latest.lock();
        let of_role = latest.values().filter(|snapshot| snapshot.role == role);
        of_role.max_by_key(|snapshot| snapshot.taken_at).cloned()
    }

    fn push(&self, kind: &str, data: &impl Serialize, about: Option<(ProcessKey, Role)>, taken_at: Nanos) {
        let id = self.0.ring.lock().push(kind, data, |id, frame| Event {
            id,
            about,
            is_snapshot: kind == "snapshot",
            taken_at,
            frame,
        });
        self.0.newest.send_replace(id);
    }

    fn now(&self) -> u64 {
        self.0.ring.lock().next - 1
    }

    fn after(&self, cursor: u64) -> Found {
        self.0.ring.lock().after(cursor, BATCH)
    }
}

/// A process a stream has chosen. Our own two by their role: the workbench may be a new one tomorrow.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Chosen {
    Process(ProcessKey),
    Role(Role),
}

impl Chosen {
    fn takes(self, (process, role): (ProcessKey, Role)) -> bool {
        match self {
            Chosen::Process(key) => key == process,
            Chosen::Role(chosen) => chosen == role,
        }
    }
}

/// Which events a stream passes on.
struct Choice {
    chosen: Vec<Chosen>,
    interval: Option<Nanos>,
    last: HashMap<ProcessKey, Nanos>,
}

impl Choice {
    fn takes(&mut self, event: &Event) -> bool {
        let Some(about) = event.about else { return true };
        if !self.chosen.iter().any(|chosen| chosen.takes(about)) {
            return false;
        }
        if let (true, Some(interval)) = (event.is_snapshot, self.interval) {
            // Another client may have the process watched faster. A little less than the interval:
            // ticks are not exact, and each second one must not fall out for that.
            let least = Nanos(interval.0 / 10 * 9);
            if let Some(last) = self.last.get(&about.0)
                && event.taken_at.saturating_sub(*last) < least
            {
                return false;
            }
            self.last.insert(about.0, event.taken_at);
        } else if !event.is_snapshot {
            self.last.remove(&about.0);
        }
        true
    }
}

/// GET /events
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "live",
    params(
        ("process" = Option<String>, Query, description = "Whose snapshots: a pid, self or workbench; repeat it or use commas for several. It stays watched while the stream is open. Without it: the daemon and the workbench"),
        ("interval" = Option<f64>, Query, description = "Seconds between two snapshots of these processes, 0.1 to 60"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Resume after this event; `missed` tells how many are lost"),
    ),
    responses(
        (status = 200, description = "text/event-stream of hello, snapshot, gone, finding, run, pools, health and missed. A `finding` event is a finding of any watched process with `state`: raised, changed or cleared", content_type = "text/event-stream"),
        (status = 404, description = "No such process", body = wire::Problem),
        (status = 503, description = "Too many streams", body = wire::Problem),
    )
)]
pub async fn stream(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap) -> Answer {
    let (names, interval) = asked(&uri)?;
    let resume = match headers.get("last-event-id") {
        None => None,
        Some(value) => Some(
            value
                .to_str()
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok())
                .ok_or_else(|| Problem::bad("Last-Event-ID", "Last-Event-ID must be the id of an event"))?,
        ),
    };
    let Ok(permit) = site.streams.clone().try_acquire_owned() else {
        return Err(Problem::busy(format!(
            "there are {} event streams already; close one",
            site.settings.max_streams
        )));
    };

    // From here on nothing is missed, also what happens while the process is first read.
    let cursor = resume.unwrap_or_else(|| site.live.now());
    let (chosen, guards, boot_id) = site.ask(move |site| choose(site, &names, interval)).await?;
    let choice = Choice {
        chosen,
        interval: interval.map(|interval| Nanos(interval.as_nanos() as u64)),
        last: HashMap::new(),
    };

    let (tell, told) = mpsc::channel(8);
    let task_site = site.clone();
    tokio::spawn(async move {
        let _held = (permit, guards);
        play(&task_site, choice, cursor, boot_id, tell).await;
    });
    let mut response: Response = (StatusCode::OK, Body::from_stream(Frames(told))).into_response();
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies must not gather events into blocks.
    head.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn asked(uri: &Uri) -> Result<(Vec<String>, Option<Duration>), Problem> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| Problem::bad("query", "the query string is not made of name=value pairs"))?;
    let (processes, rest): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == "process");
    if let Some((name, _)) = rest.iter().find(|(name, _)| name != "interval") {
        return Err(super::ask::unknown(name, &["process", "interval"]));
    }
    let names: Vec<String> = processes
        .iter()
        .flat_map(|(_, value)| value.split(','))
        .map(|name| name.trim().to_owned())
        .collect();
    if names.len() > MAX_SELECTED {
        return Err(Problem::bad(
            "process",
            format!("one stream follows at most {MAX_SELECTED} processes"),
        ));
    }
    // `process` may repeat, so the strict reader only sees the rest.
    let rest = uri.query().map_or(String::new(), |query| {
        query
            .split('&')
            .filter(|pair| !pair.starts_with("process=") && *pair != "process" && !pair.is_empty())
            .collect::<Vec<_>>()
            .join("&")
    });
    let rest: Uri = format!("/?{rest}")
        .parse()
        .map_err(|_| Problem::bad("query", "the query string is not valid"))?;
    let interval = Ask::of(&rest, &["interval"])?.number("interval", 0.1..=60.0)?;
    Ok((names, interval.map(Duration::from_secs_f64)))
}

/// Finds the processes and has them watched.
fn choose(
    site: &Site,
    names: &[String],
    interval: Option<Duration>,
) -> Result<(Vec<Chosen>, Vec<Guard>, String), Problem> {
    let boot_id = site.looks.census().machine.boot_id.to_string();
    if names.is_empty() {
        let both = vec![Chosen::Role(Role::Daemon), Chosen::Role(Role::Workbench)];
        return Ok((both, Vec::new(), boot_id));
    }
    let mut chosen = Vec::new();
    let mut guards: Vec<Guard> = Vec::new();
    for name in names {
        let of_process = |problem: Problem| problem.field("process");
        let (one, pid) = match name.as_str() {
            "self" => (Chosen::Role(Role::Daemon), Some(Pid(std::process::id()))),
            "workbench" => (Chosen::Role(Role::Workbench), site.runs.workbench_pid()),
            "" => return Err(Problem::bad("process", format!("process cannot be {}", quote(name)))),
            _ => {
                let pid = site.pid("process", name)?;
                let key = site.looks.resolve(pid).map_err(|e| of_process(e.into()))?;
                (Chosen::Process(key), Some(pid))
            }
        };
        chosen.push(one);
        if let Some(pid) = pid {
            let every = interval.unwrap_or(Duration::from_secs(1));
            match site.looks.watch(pid, every) {
                Ok(guard) => guards.push(guard),
                // The workbench may end at any time; a stream that follows it waits for the next one.
                Err(_) if matches!(one, Chosen::Role(_)) => {}
                Err(error) => return Err(of_process(error.into())),
            }
        }
    }
    Ok((chosen, guards, boot_id))
}

/// Runs until the client leaves or the daemon stops.
async fn play(site: &Site, mut choice: Choice, mut cursor: u64, boot_id: String, tell: mpsc::Sender<Bytes>) {
    let hello = wire::Hello {
        version: env!("CARGO_PKG_VERSION"),
        boot_id,
        started_at: wire::rfc3339(site.started),
    };
    let mut newest = site.live.0.newest.subscribe();
    let mut stopping = site.stopping.clone();

    // What was missed comes before all else.
    let found = site.live.after(cursor);
    let mut first = Vec::new();
    if found.missed > 0 {
        first.extend(frame(None, "missed", &wire::MissedEvent { count: found.missed }));
        cursor = found.events.first().map_or(found.cursor, |event| event.id - 1);
    }
    first.extend(frame(None, "hello", &hello));
    for frame in first {
        if !send(&tell, frame, &mut stopping).await {
            return;
        }
    }
    loop {
        // Marked as seen before the ring is read: what comes in between wakes us again.
        newest.mark_unchanged();
        let found = site.live.after(cursor);
        let more = found.events.len() == BATCH;
        cursor = found.cursor;
        if found.missed > 0 {
            let missed = wire::MissedEvent { count: found.missed };
            if let Some(frame) = frame(None, "missed", &missed)
                && !send(&tell, frame, &mut stopping).await
            {
                return;
            }
        }
        for event in found.events {
            if choice.takes(&event) && !send(&tell, event.frame, &mut stopping).await {
                return;
            }
        }
        if more {
            continue;
        }
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(site.settings.heartbeat) => {
                if !send(&tell, Bytes::from_static(b": still here\n\n"), &mut stopping).await {
                    return;
                }
            }
            () = stopped(&mut stopping) => return,
            () = tell.closed() => return,
        }
    }
}

/// False when there is nobody left to tell.
async fn send(tell: &mpsc::Sender<Bytes>, frame: Bytes, stopping: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        sent = tell.send(frame) => sent.is_ok(),
        () = stopped(stopping) => false,
    }
}

/// Returns once the daemon is stopping, or when nobody can say any more.
pub async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// The receiving end as a response body.
struct Frames(mpsc::Receiver<Bytes>);

impl futures_core::Stream for Frames {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fakes;

    fn texts(found: &Found) -> Vec<String> {
        found
            .events
            .iter()
            .map(|event| String::from_utf8(event.frame.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn a_cursor_resumes_where_it_was() {
        let live = Live::starting_at(1000);
        let start = live.now();
        live.snapshot(&fakes::snapshot(3));
        live.snapshot(&fakes::snapshot(4));
        let found = live.after(start);
        assert_eq!((found.missed, found.events.len(), found.cursor), (0, 2, 1001));
        assert!(texts(&found)[0].starts_with("id: 1000\nevent: snapshot\ndata: {\"process\":"));
        assert_eq!(live.after(1000).events.len(), 1);
        assert_eq!(live.after(1001).events.len(), 0);
    }

    #[test]
    fn a_finding_is_told_to_all_streams_with_what_has_become_of_it() {
        let live = Live::starting_at(1000);
        live.finding(&fakes::finding(), FindingState::Raised);
        let found = live.after(999);
        let text = &texts(&found)[0];
        assert!(
            text.starts_with("id: 1000\nevent: finding\ndata: {\"state\":\"raised\","),
            "{text}"
        );
        for part in [
            "\"kind\":\"deadlock\"",
            "\"severity\":\"critical\"",
            "\"pid\":4712",
            "\"lasted_seconds\":3.0",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let mut nothing_chosen = Choice {
            chosen: Vec::new(),
            interval: None,
            last: HashMap::new(),
        };
        assert!(nothing_chosen.takes(&found.events[0]));
    }

    #[test]
    fn what_has_left_the_ring_is_counted() {
        let live = Live::starting_at(1000);
        for _ in 0..KEPT + 10 {
            live.pools(&[], None);
        }
        let found = live.after(999);
        assert_eq!(found.missed, 10);
        assert_eq!(found.events.len(), BATCH);
        assert_eq!(found.events[0].id, 1010);
        assert_eq!(live.after(1004).missed, 5);
        assert_eq!(live.after(1009).missed, 0);
    }

    #[test]
    fn an_id_of_another_daemon_has_missed_something() {
        let live = Live::starting_at(1_000_000);
        live.pools(&[], None);
        for stranger in [5, 2_000_000, u64::MAX] {
            let found = live.after(stranger);
            assert_eq!((found.missed, found.events.len()), (1, 1), "{stranger}");
        }
    }

    #[test]
    fn the_ring_is_bounded_by_bytes_as_well() {
        let live = Live::new();
        let mut run = fakes::run("r1");
        run.messages = vec!["m".repeat(1 << 20).into()];
        for _ in 0..10 {
            live.run(&run);
        }
        let ring = live.0.ring.lock();
        assert!(ring.bytes <= KEPT_BYTES && ring.events.len() < 3);
    }

    #[test]
    fn a_stream_with_an_interval_gets_no_more_than_it_asked_for() {
        let live = Live::starting_at(1);
        let mut choice = Choice {
            chosen: vec![Chosen::Role(Role::Other)],
            interval: Some(Nanos(1_000_000_000)),
            last: HashMap::new(),
        };
        let passed = (0..20)
            .filter(|tenth| {
                let mut snapshot = (*fakes::snapshot(1)).clone();
                snapshot.taken_at = Nanos(tenth * 100_000_000);
                live.snapshot(&Arc::new(snapshot));
                let newest = live.after(live.now() - 1).events.pop().unwrap();
                choice.takes(&newest)
            })
            .count();
        // 0 s, 0.9 s and 1.8 s.
        assert_eq!(passed, 3);
    }

    #[test]
    fn only_what_is_watched_now_is_among_the_latest() {
        let live = Live::new();
        let old = fakes::snapshot(1);
        live.snapshot(&old);
        let mut new = (*fakes::snapshot(1)).clone();
        new.process.pid = Pid(4711);
        new.taken_at = Nanos(old.taken_at.0 + FRESH.0);
        live.snapshot(&Arc::new(new.clone()));
        assert_eq!(live.latest().len(), 1);
        live.gone(new.process);
        assert!(live.latest().is_empty());
    }
}
